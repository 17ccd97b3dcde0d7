import Plan
import Stages
import Testing
import Worker

@Suite("Measuring the link to the next worker")
struct LinkProbeTests {
    /// Plays a link of so many bytes a second and so many nanoseconds there and back, from the first echo on.
    ///
    /// As TCP does: a window of 14,600 bytes that doubles with each round trip, until the link is full, and stays.
    private static func speed(_ bytesPerSecond: Double, roundTrip: UInt64) -> (LinkSpeed?, sent: Int) {
        var probe = LinkProbe(now: 1000)
        var now: UInt64 = 1000
        var window = 14_600.0
        var sent = 0
        var move = LinkProbe.Move.send(number: 0, bytes: 0)
        while case .send(let number, let bytes) = move {
            sent += bytes
            var left = Double(bytes)
            let full = bytesPerSecond * Double(roundTrip) * 1e-9
            while left > window && window < full {
                left -= window
                now += roundTrip
                window *= 2
            }
            now += roundTrip + UInt64(left / bytesPerSecond * 1e9)
            if now > 5_000_001_000 {
                move = probe.passed(now: 5_000_001_000)
            } else {
                move = probe.echoed(number, now: now)
            }
        }
        guard case .done(let speed) = move, probe.isOver else { return (nil, sent) }
        return (speed, sent)
    }

    @Test(
        "finds the speed of slow and fast links, near and far, although TCP begins slowly",
        arguments: [1.25e5, 2.5e6, 12.5e6, 1.25e8, 5e9] as [Double],
        [100_000, 1_000_000, 10_000_000, 40_000_000] as [UInt64])
    func measures(bytesPerSecond: Double, roundTrip: UInt64) throws {
        let (speed, sent) = Self.speed(bytesPerSecond, roundTrip: roundTrip)
        let found = try #require(speed)
        // The largest probe does not fill a link that is both fast and far: one round trip of it is known at least.
        let filled = min(bytesPerSecond, Double(LinkProbe.mostBytes) / (Double(roundTrip) * 1e-9))
        #expect(found.bytesPerSecond > 0.7 * filled && found.bytesPerSecond < 1.2 * bytesPerSecond, "\(found)")
        #expect(abs(found.roundTrip - Double(roundTrip) * 1e-9) < 1e-5)
        #expect(sent < 11 << 20 && (bytesPerSecond > 1e6 || sent < 1 << 18), "\(sent) bytes")
    }

    @Test("a link too slow for the first large probe is known to be slower than that")
    func measuresSlow() throws {
        let (speed, _) = Self.speed(1e4, roundTrip: 1_000_000)
        let found = try #require(speed)
        #expect(found.bytesPerSecond > 1e4 && found.bytesPerSecond < 2e4, "\(found)")
    }

    @Test("repeats the first probe until the next worker is there, and believes no echo but the one it waits for")
    func repeats() {
        var probe = LinkProbe(now: 0)
        #expect(probe.passed(now: 200_000_000) == .wait)
        #expect(probe.passed(now: 300_000_000) == .send(number: 0, bytes: 0))
        #expect(probe.passed(now: 400_000_000) == .wait)
        #expect(probe.echoed(3, now: 400_000_000) == .wait)
        #expect(probe.echoed(0, now: 450_000_000) == .send(number: 1, bytes: 1))
        #expect(probe.echoed(0, now: 460_000_000) == .wait, "the echo of the repetition")
        #expect(probe.passed(now: 900_000_000) == .wait, "only the first one is repeated")
        #expect(probe.echoed(1, now: 1_000_000_000) == .send(number: 2, bytes: 1))
    }

    @Test("gives up after five seconds, and what comes later changes nothing")
    func givesUp() {
        var probe = LinkProbe(now: 7)
        _ = probe.echoed(0, now: 100)
        #expect(probe.passed(now: 5_000_000_006) == .wait && !probe.isOver)
        #expect(probe.passed(now: 5_000_000_007) == .done(nil) && probe.isOver)
        #expect(probe.echoed(1, now: 5_000_000_008) == .done(nil))
    }

    /// A worker in the middle of three that was given a plan which asks for links.
    private func assigned(loads: Bool = true) -> CoreHarness {
        var worker = CoreHarness("node2")
        worker.join()
        var plan = CoreHarness.plan(1)
        plan.measuresLinks = true
        worker.send(.control(.assign(plan)))
        #expect(worker.effects.contains(.probe(0, bytes: 0, epoch: 1)))
        if loads { for share in worker.effects.loads { worker.send(.loaded(share, .success(1000))) } }
        return worker
    }

    @Test("a worker is ready when its share is loaded and its link is measured, and tells the speed")
    func waits() throws {
        var worker = assigned()
        #expect(worker.core.assignment == nil && worker.effects.controls.isEmpty)
        worker.send(.echoed(0, epoch: 1, from: .downstream("node9")))
        worker.send(.echoed(0, epoch: 2, from: .downstream("node3")))
        #expect(worker.effects.isEmpty)
        var (number, bytes): (UInt32, Int) = (0, 0)
        for _ in 0..<10 where worker.core.assignment == nil {
            worker.now += 1_000_000 + UInt64(bytes) * 100  // 10 MB/s, 1 ms
            worker.send(.echoed(number, epoch: 1, from: .downstream("node3")))
            for case .probe(let next, let size, 1) in worker.effects {
                (number, bytes) = (next, size)
            }
        }
        var loaded: Loaded?
        for case .loaded(let said) in worker.effects.controls { loaded = said }
        let link = try #require(loaded?.link)
        #expect(abs(link.bytesPerSecond / 1e7 - 1) < 0.01 && abs(link.roundTrip - 0.001) < 1e-4)
        #expect(worker.core.assignment != nil)
    }

    @Test("a worker that measured first says so when it has loaded; one that could not measure is ready all the same")
    func loadsLater() throws {
        var worker = assigned(loads: false)
        worker.tick(after: 6)
        #expect(worker.core.assignment == nil)
        worker.send(.loaded(Share(encodes: false, span: 2..<4, decodes: false), .success(1000)))
        var loaded: Loaded?
        for case .loaded(let said) in worker.effects.controls { loaded = said }
        #expect(loaded?.epoch == 1 && loaded?.link == nil)
    }

    @Test("probes of the worker before are echoed, others are not, and the last of a pipeline sends none")
    func echoes() {
        var worker = CoreHarness("node3")
        worker.join()
        var plan = CoreHarness.plan(1)
        plan.measuresLinks = true
        worker.assign(plan)
        #expect(worker.core.assignment != nil)
        #expect(worker.send(.probed(3, epoch: 1, from: .upstream("node2"))) == [.echo(3, epoch: 1)])
        #expect(worker.send(.probed(3, epoch: 2, from: .upstream("node2"))).isEmpty)
        #expect(worker.send(.probed(3, epoch: 1, from: .upstream("node1"))).isEmpty)
        #expect(worker.send(.probed(3, epoch: 1, from: .coordinator)).isEmpty)
    }
}
