@testable import Coordinator
import Plan
import Testing

@Suite("The speed of a worker")
struct SpeedTests {
    /// Heartbeats each `beat` seconds of a worker whose step ends each `step` seconds, up to `seconds`.
    private struct Run {
        var samples = SpeedSamples()
        var now = 0.0
        var steps = 0.0

        mutating func work(
            step: Double, for seconds: Double, beat: Double = 1, isBusy: Bool = true,
            _ look: (WorkerRates) -> Void = { _ in }
        ) {
            let end = now + seconds
            while now < end {
                now += beat
                if isBusy { steps += beat / step }
                var counters = WorkerCounters()
                counters.steps = UInt64(steps)
                counters.tokens = 256 * counters.steps
                counters.upNanoseconds = UInt64(now * 1e9)
                counters.busyNanoseconds = UInt64(steps * step * 1e9)
                var link = LinkCounters(source: "a", target: "b")
                link.totalBytes = 1000 * counters.steps
                counters.links = [link]
                samples.note(counters, isWorking: isBusy, now: UInt64(now * 1e9))
                look(samples.rates(of: "a"))
            }
        }
    }

    @Test("is that of its last steps, however long one takes", arguments: [0.01, 0.3, 1, 3, 20, 74], [0.3, 1])
    func steady(step: Double, beat: Double) {
        var run = Run()
        run.work(step: step, for: 3 * step + 12, beat: beat)
        run.work(step: step, for: 10 * step + 60, beat: beat) { rates in
            #expect(0.8...1.25 ~= rates.steps * step, "\(rates.steps) a second, a step takes \(step) s")
            #expect(0.8...1.25 ~= rates.tokens * step / 256)
            #expect(0.8...1.25 ~= rates.sent * step / 1000)
            #expect(rates.busy > 0.95)
        }
    }

    @Test("falls to nothing within seconds where the work ends, and does not where a step takes longer")
    func ends() {
        var run = Run()
        run.work(step: 0.1, for: 60)
        run.work(step: 0.1, for: 12, isBusy: false)
        #expect(run.samples.rates(of: "a") == WorkerRates())
        var slower = Run()
        slower.work(step: 20, for: 200)
        var last = slower.samples.rates(of: "a").steps
        slower.work(step: 150, for: 140) { rates in
            #expect(rates.steps > 0.02 && rates.steps <= last + 1e-9, "\(rates.steps)")
            last = rates.steps
        }
        slower.work(step: 150, for: 1000)
        #expect(0.8...1.25 ~= slower.samples.rates(of: "a").steps * 150)
    }

    @Test("after a rest is that of the steps since, and a first step tells nothing yet")
    func rests() {
        for step in [0.1, 1, 20] {
            var run = Run()
            run.work(step: step, for: 20 * step)
            run.work(step: step, for: 300, isBusy: false)
            run.work(step: step, for: 10 * step + 20) { rates in
                #expect(rates.steps == 0 || 0.8...1.25 ~= rates.steps * step, "\(rates.steps) a second, \(step)")
            }
            #expect(0.8...1.25 ~= run.samples.rates(of: "a").steps * step)
        }
        // Four workers with one picture: each waits for the others.
        var lonely = Run()
        for _ in 0..<10 {
            lonely.work(step: 18, for: 18)
            lonely.work(step: 18, for: 54, isBusy: false)
        }
        #expect(0.8...1.25 ~= lonely.samples.rates(of: "a").steps * 72)
        var long = Run()
        long.work(step: 700, for: 1300) { #expect($0.steps == 0) }
        long.work(step: 700, for: 1400) { #expect(0.7...1.4 ~= $0.steps * 700 || $0.steps == 0) }
        #expect(0.8...1.25 ~= long.samples.rates(of: "a").steps * 700)
    }

    @Test("begins anew where counters fall, and is nothing before two heartbeats")
    func beginsAnew() {
        #expect(SpeedSamples().rates(of: "a") == WorkerRates())
        var run = Run()
        run.work(step: 1, for: 100)
        (run.now, run.steps) = (0, 0)
        let samples = run.samples
        run = Run()
        run.samples = samples
        run.now = 101
        run.work(step: 1, for: 1)
        #expect(run.samples.rates(of: "a").steps == 0)
    }

    @Test("takes no more memory for a heartbeat a second than for some hundred samples")
    func bounded() {
        var run = Run()
        run.work(step: 0.01, for: 5000)
        run.work(step: 0.01, for: 20, beat: 0.001)
        #expect(
            Mirror(reflecting: run.samples).children.compactMap { $0.value as? [Any] }.allSatisfy { $0.count < 130 })
    }
}
