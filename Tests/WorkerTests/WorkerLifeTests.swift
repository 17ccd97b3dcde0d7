import Plan
import Stages
import Testing
import Worker

@Suite("The life of a worker")
struct WorkerLifeTests {
    @Test("says hello at once, then with growing pauses of half a second to thirty")
    func backsOff() {
        var worker = CoreHarness()
        #expect(worker.tick().controls == [.hello(worker.core.hello)])
        #expect(worker.tick(after: 0.1).isEmpty)
        var pauses: [Double] = []
        var last = 0.0
        for _ in 0..<3000 {
            let effects = worker.tick(after: 0.1)
            guard !effects.controls.isEmpty else { continue }
            #expect(effects.controls == [.hello(worker.core.hello)])
            let time = Double(worker.now) / 1e9
            pauses.append(time - last)
            last = time
        }
        #expect(pauses.count > 10)
        #expect(pauses.allSatisfy { 0.4...30.2 ~= $0 })
        #expect((pauses.first ?? 9) < 1.1 && (pauses.last ?? 0) > 14)
    }

    @Test("gives up only when told how long to wait")
    func givesUp() {
        var limits = WorkerCore.Limits()
        limits.unreachableAfter = 5_000_000_000
        var worker = CoreHarness(limits: limits)
        worker.tick()
        #expect(worker.tick(after: 4.9).ending == nil)
        let ending = worker.tick(after: 0.1).ending
        #expect(ending?.text.contains("tcp://there:5790 for 5 s") == true)
        #expect(worker.tick(after: 100).isEmpty, "nothing is handled after the end")
    }

    @Test("is welcomed, loads its share, reports it, opens its links and says that it is there")
    func joins() {
        var worker = CoreHarness("node2")
        worker.join()
        #expect(worker.core.life == .greeted)
        #expect(worker.effects.contains(.openData("tcp://there:5791")))
        let share = Share(encodes: false, span: 2..<4, decodes: false)
        #expect(worker.send(.control(.assign(CoreHarness.plan(3)))).loads == [share])
        #expect(worker.effects.contains(.openDownstream("node3", endpoint: "tcp://node3:1")))
        #expect(worker.core.assignment == nil)
        worker.send(.loaded(share, .success(1234)))
        #expect(worker.effects.controls == [.loaded(Loaded(epoch: 3, residentBytes: 1234))])
        #expect(worker.effects.contains(.credit(to: .upstream("node1"), epoch: 3, limit: Credit(messages: 2))))
        #expect(worker.effects.contains(.credit(to: .coordinator, epoch: 3, limit: Credit())))
        #expect(worker.effects.contains(.credit(to: .downstream("node3"), epoch: 3, limit: Credit())))
        #expect(worker.core.assignment?.epoch == 3)
    }

    @Test("asked again, it says again that it has loaded; while it loads it goes on")
    func repeatsThatItHasLoaded() {
        var worker = CoreHarness("node2")
        worker.join()
        let share = Share(encodes: false, span: 2..<4, decodes: false)
        worker.send(.control(.assign(CoreHarness.plan(3))))
        #expect(worker.send(.control(.assign(CoreHarness.plan(3)))).isEmpty)
        worker.send(.loaded(share, .success(1234)))
        #expect(worker.effects.controls == [.loaded(Loaded(epoch: 3, residentBytes: 1234))])
        let effects = worker.send(.control(.assign(CoreHarness.plan(3))))
        #expect(effects.controls == [.loaded(Loaded(epoch: 3, residentBytes: 1234))] && effects.count == 1)
        #expect(worker.send(.control(.assign(CoreHarness.plan(2)))).isEmpty, "that one is over")
    }

    @Test(
        "a refusal for good ends it with the coordinator's words",
        arguments: [Refusal.Code.protocolVersion, .model, .malformed, .kernelClass])
    func refused(_ code: Refusal.Code) {
        var worker = CoreHarness()
        worker.tick()
        let refusal = Refusal(code: code, text: "node1 has model a, this cluster renders b: start it with b")
        #expect(worker.send(.control(.refuse(refusal))).ending == .refused(refusal))
    }

    @Test("a name still taken by its last run is asked for again")
    func nameTaken() {
        var worker = CoreHarness()
        worker.tick()
        worker.send(.control(.refuse(Refusal(code: .name, text: "node1 is taken"))))
        #expect(worker.effects.ending == nil)
        #expect(worker.tick(after: 5).controls == [.hello(worker.core.hello)])
    }

    @Test("that it is still taken is logged now and then, and nobody says that there is no answer")
    func nameTakenForLong() {
        var worker = CoreHarness()
        var lines: [String] = []
        for _ in 0..<2000 {
            let effects = worker.tick(after: 0.5)
            lines += effects.logged
            guard !effects.controls.isEmpty else { continue }
            lines += worker.send(.control(.refuse(Refusal(code: .name, text: "node1 is taken")))).logged
        }
        let taken = lines.filter { $0.contains("node1 is taken; trying again") }
        #expect(1...3 ~= taken.count && !lines.contains { $0.contains("no answer") }, "\(lines)")
    }

    @Test("a process that was stopped for long reads first what it was told meanwhile")
    func wasStopped() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.tick(after: 1)
        #expect(!worker.tick(after: 100).contains(.reconnect))
        worker.send(.control(.alive))
        for _ in 0..<14 { #expect(!worker.tick(after: 1).contains(.reconnect)) }
        #expect((0..<3).contains { _ in worker.tick(after: 1).contains(.reconnect) }, "that is silence")
    }

    @Test("a coordinator that is patient with its workers is waited for as patiently")
    func isPatient() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(
            .control(
                .welcome(Welcome(heartbeatMilliseconds: 1000, dataEndpoint: "tcp://x:1", lostAfterMilliseconds: 60_000))
            ))
        for _ in 0..<89 { #expect(!worker.tick(after: 1).contains(.reconnect)) }
        #expect((0..<3).contains { _ in worker.tick(after: 1).contains(.reconnect) })
    }

    @Test("a new epoch with the same share keeps the weights; another share replaces them; no share drops them")
    func reassigned() {
        var worker = CoreHarness("node2")
        worker.start(CoreHarness.plan(1))
        worker.send(.control(.assign(CoreHarness.plan(2))))
        #expect(worker.effects.loads.isEmpty && !worker.effects.contains(.drop))
        #expect(worker.effects.controls == [.loaded(Loaded(epoch: 2, residentBytes: 1000))])

        worker.send(.control(.assign(CoreHarness.plan(3, spans: [0..<2, 2..<5]))))
        #expect(worker.effects.contains(.drop))
        #expect(worker.effects.contains(.closeDownstream))
        #expect(worker.effects.loads == [Share(encodes: false, span: 2..<5, decodes: true)])
        worker.send(.loaded(Share(encodes: false, span: 2..<5, decodes: true), .success(1)))
        #expect(worker.core.assignment?.epoch == 3)

        worker.send(.control(.assign(CoreHarness.plan(4, spans: [0..<5]))))
        #expect(worker.core.life == .greeted)
        #expect(worker.effects.contains(.drop))
    }

    @Test("a plan that changes while weights are read loads once more, and reports only the newest epoch")
    func reassignedWhileLoading() {
        var worker = CoreHarness("node2")
        worker.join()
        let first = worker.send(.control(.assign(CoreHarness.plan(1)))).loads
        #expect(worker.send(.control(.assign(CoreHarness.plan(2, spans: [0..<2, 2..<5])))).loads.isEmpty)
        worker.send(.loaded(first[0], .success(1)))
        #expect(worker.effects.controls.isEmpty, "the share of an epoch that is over is not reported")
        #expect(worker.effects.loads == [Share(encodes: false, span: 2..<5, decodes: true)])
        worker.send(.loaded(Share(encodes: false, span: 2..<5, decodes: true), .success(5)))
        #expect(worker.effects.controls == [.loaded(Loaded(epoch: 2, residentBytes: 5))])
    }

    @Test("a share that is taken away and given again while it is read is kept when it is there")
    func takenAndGivenAgain() {
        var worker = CoreHarness("node2")
        worker.join()
        let share = worker.send(.control(.assign(CoreHarness.plan(1)))).loads[0]
        let taken = worker.send(.control(.assign(CoreHarness.plan(2, spans: [0..<5]))))
        #expect(!taken.contains(.drop), "nothing is there yet")
        #expect(!worker.send(.control(.assign(CoreHarness.plan(3)))).contains(.drop))
        let effects = worker.send(.loaded(share, .success(7)))
        #expect(effects.controls == [.loaded(Loaded(epoch: 3, residentBytes: 7))] && !effects.contains(.drop))

        // Not given again, it goes.
        worker.send(.control(.assign(CoreHarness.plan(4, spans: [0..<2, 2..<5]))))
        worker.send(.control(.assign(CoreHarness.plan(5, spans: [0..<5]))))
        #expect(worker.send(.loaded(Share(encodes: false, span: 2..<5, decodes: true), .success(9))).contains(.drop))
    }

    @Test("weights that cannot be read are reported, and the worker waits for another plan")
    func loadFails() {
        var worker = CoreHarness()
        worker.join()
        let share = worker.send(.control(.assign(CoreHarness.plan(1)))).loads[0]
        worker.send(.loaded(share, .failure(LoadFailure(text: "vae: no such file"))))
        #expect(worker.effects.controls == [.loaded(Loaded(epoch: 1, residentBytes: 0, failure: "vae: no such file"))])
        #expect(worker.core.life == .greeted)
        worker.assign(CoreHarness.plan(2))
        #expect(worker.core.assignment?.epoch == 2)
    }

    @Test("heartbeats go out every second and carry the counters")
    func heartbeats() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(.task(step(0), from: .coordinator))
        var beats: [Heartbeat] = []
        for _ in 0..<35 {
            worker.now += 100_000_000
            worker.send(.tick(Vitals(residentBytes: 99, block: 1, computing: 5)))
            for case .heartbeat(let beat) in worker.effects.controls { beats.append(beat) }
        }
        #expect(beats.count == 3)
        #expect(beats.last?.image == image(0))
        #expect(beats.last?.block == 1)
        #expect(beats.last?.epoch == 1)
        #expect(beats.last?.counters.residentBytes == 99)
        #expect(beats.last?.counters.busyNanoseconds == 5)
        #expect(beats.last?.counters.upNanoseconds == 3_000_000_000)
    }

    @Test("heartbeats tell each task once, with its time, and of too many the newest, with a gap that shows the others")
    func tellsTasks() throws {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        func beat() throws -> SpanReport {
            for case .heartbeat(let beat) in worker.tick(after: 1).controls { return try #require(beat.done) }
            throw WorkerError(.compute(.f32))
        }
        #expect(try beat() == SpanReport(clock: 1_000_000_000, first: 0, spans: []))
        worker.send(.task(step(4, 7), from: .coordinator))
        worker.now += 30_000_000
        worker.send(.computed(step(4, 7).key, .success(.activation(stream(1))), elapsed: 20_000_000))
        worker.send(.task(encode(2), from: .coordinator))
        worker.now += 5_000_000
        worker.send(.computed(encode(2).key, .failure(WorkFailure(text: "no")), elapsed: 5_000_000))
        let report = try beat()
        let began: UInt64 = 1_000_000_000
        #expect(
            report.spans == [
                TaskSpan(
                    kind: .step, image: image(4), step: 7, epoch: 1, stage: 0, tokens: 3, began: began + 10_000_000,
                    nanoseconds: 20_000_000),
                TaskSpan(
                    kind: .encode, image: image(2), step: 0, epoch: 1, stage: 0, tokens: 0, began: began + 30_000_000,
                    nanoseconds: 5_000_000),
            ])
        #expect(report.first == 0 && report.clock == worker.now)
        for index in 0..<UInt32(SpanReport.limit + 88) {
            worker.send(.task(encode(index), from: .coordinator))
            worker.send(.computed(encode(index).key, .failure(WorkFailure(text: "no")), elapsed: 0))
        }
        let full = try beat()
        #expect(full.first == 2 + 88 && full.spans.count == SpanReport.limit)
        #expect(full.spans.first?.image == image(88))
        #expect(try beat().first == UInt64(2 + 88 + SpanReport.limit))
    }

    @Test("a report that is asked for goes out at once with its number, and only once")
    func reports() {
        var worker = CoreHarness("node2")
        worker.start(CoreHarness.plan(1))
        worker.tick(after: 1)
        worker.send(.control(.report(17)))
        let beats = (worker.tick() + worker.tick() + worker.tick(after: 1)).controls.compactMap {
            if case .heartbeat(let heartbeat) = $0 { heartbeat } else { nil }
        }
        #expect(beats.map(\.answering) == [17, nil])
    }

    @Test("a silent coordinator is lost after 15 seconds: work stops, weights stay, and it is welcome back")
    func losesCoordinator() {
        var worker = CoreHarness("node2")
        worker.start(CoreHarness.plan(1))
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.task(activation(1), from: .upstream("node1")))
        worker.tick(after: 10)
        worker.send(.control(.alive))
        for _ in 0..<149 { #expect(!worker.tick(after: 0.1).contains(.reconnect)) }
        let lost = worker.tick(after: 0.1)
        #expect(lost.contains(.reconnect) && lost.contains(.closeDownstream))
        #expect(lost.controls == [.hello(worker.core.hello)])
        #expect(!lost.contains(.drop))
        #expect(worker.core.drops.abandoned == 1)
        worker.send(.computed(activation(0).key, .success(.activation(stream())), elapsed: 1))
        #expect(worker.effects.answers.isEmpty && worker.effects.computed.isEmpty)

        worker.join()
        worker.send(.control(.assign(CoreHarness.plan(2))))
        #expect(worker.effects.loads.isEmpty, "the weights are still there")
        #expect(worker.core.assignment?.epoch == 2)
    }

    @Test(
        "one that was told to end ends when the coordinator knows nothing of it any more",
        arguments: [ControlMessage.introduce, .refuse(Refusal(code: .name, text: "taken"))])
    func endsWhenForgotten(message: ControlMessage) {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(.drain)
        worker.send(.control(message))
        #expect(worker.core.life == .left(.drained))
    }

    @Test("introduces itself again when the coordinator has forgotten it")
    func introduces() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        #expect(worker.send(.control(.introduce)).controls == [.hello(worker.core.hello)])
        worker.join()
        worker.send(.control(.assign(CoreHarness.plan(1))))
        #expect(worker.core.assignment?.epoch == 1, "a restarted coordinator may count its epochs anew")
        #expect(worker.effects.loads.isEmpty)
    }

    @Test("a signal asks the coordinator, works on until it is let go, then leaves; a second signal ends at once")
    func drains() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.task(step(1), from: .coordinator))
        #expect(worker.send(.drain).controls == [.drain])
        #expect(worker.effects.ending == nil)
        var stopped = worker

        worker.send(.control(.drain))
        #expect(worker.effects.ending == nil, "work is in hand")
        worker.send(.credit(from: .downstream("node2"), epoch: 1, limit: Credit(messages: 2)))
        worker.send(.computed(step(0).key, .success(.activation(stream())), elapsed: 1))
        #expect(worker.effects.answers.count == 1)
        #expect(worker.effects.computed == [step(1).key], "what was queued is done too")
        worker.send(.computed(step(1).key, .success(.activation(stream())), elapsed: 1))
        #expect(worker.effects.answers.count == 1)
        #expect(worker.effects.controls == [.leave])
        #expect(worker.effects.ending == nil, "nobody has heard it yet")
        #expect(worker.send(.control(.leave)).ending == .drained)

        #expect(stopped.send(.drain).ending == .stopped)
    }

    @Test("a leaving worker waits for half a second at most, and not for a coordinator that is gone")
    func leaves() {
        func leaving() -> CoreHarness {
            var worker = CoreHarness()
            worker.start(CoreHarness.plan(1))
            worker.send(.drain)
            worker.send(.control(.drain))
            #expect(worker.effects.controls == [.leave] && worker.core.life.isLeaving)
            return worker
        }
        var unheard = leaving()
        #expect(unheard.tick(after: 0.4).ending == nil)
        #expect(unheard.tick(after: 0.1).ending == .drained)
        var cut = leaving()
        #expect(cut.send(.connection(isUp: false)).ending == .drained)
        var again = leaving()
        #expect(again.send(.drain).ending == .drained)
        var assigned = leaving()
        #expect(assigned.send(.control(.assign(CoreHarness.plan(2)))).loads.isEmpty)
        #expect(assigned.core.life.isLeaving)
    }

    @Test("told to end, it does not wait for a coordinator that is gone or hangs")
    func drainsWithoutCoordinator() {
        var gone = CoreHarness()
        gone.start(CoreHarness.plan(1))
        gone.send(.task(step(0), from: .coordinator))
        gone.send(.connection(isUp: false))
        #expect(gone.effects.ending == nil, "it may come back")
        #expect(gone.send(.drain).ending == .drained)

        var goes = CoreHarness()
        goes.start(CoreHarness.plan(1))
        #expect(goes.send(.drain).ending == nil)
        #expect(goes.send(.connection(isUp: false)).ending == .drained)

        var hangs = CoreHarness()
        hangs.start(CoreHarness.plan(1))
        hangs.send(.drain)
        #expect(hangs.tick(after: 2.9).ending == nil)
        #expect(hangs.tick(after: 0.2).ending == .drained)
    }

    @Test("takes no heartbeat interval that is absurd", arguments: [(1 << 62, 60.0), (-5, 0.01), (Int.min, 0.01)])
    func clampsHeartbeat(_ milliseconds: Int, _ seconds: Double) {
        var worker = CoreHarness()
        worker.tick()
        worker.send(
            .control(
                .welcome(
                    Welcome(heartbeatMilliseconds: milliseconds, dataEndpoint: "tcp://there:1"))))
        var quiet = seconds * 0.99
        while quiet > 10 {
            worker.now += 10_000_000_000
            worker.send(.control(.alive))
            quiet -= 10
        }
        #expect(worker.tick(after: quiet).controls.isEmpty)
        worker.send(.control(.alive))
        #expect(worker.tick(after: seconds * 0.02).controls.count == 1)
    }

    @Test("a plan that no model or pipeline can follow is refused with what is wrong with it")
    func refusesPlans() {
        func share(
            _ name: String, _ span: Range<Int>, _ endpoint: String = "tcp://node:1", replica: Int? = nil
        ) -> Placement {
            Placement(worker: name, span: span, encodes: true, decodes: true, endpoint: endpoint, replica: replica)
        }
        let plans: [(blocks: Int, shares: [Placement], part: String)] = [
            (9, [share("node1", 0..<9)], "a model of 9 blocks, this one has 5"),
            (5, [share("node1", 0..<9)], "node1 has blocks 0..<9"),
            (5, [share("node1", -3..<2), share("node2", 2..<5)], "node1 has blocks -3..<2"),
            (5, [share("node1", Int.min..<Int.max)], "node1 has blocks"),
            (5, [share("node1", 0..<2), share("node2", 3..<5)], "node2 has blocks 3..<5, after 0..<2"),
            (5, [share("node1", 0..<2)], "nobody has blocks 2..<5"),
            (5, [share("node1", 0..<2), share("node1", 2..<5)], "node1 is in it twice"),
            (5, [share("node1", 0..<2), share("node2", 2..<5, "node2")], "tcp://HOST:PORT"),
            (5, [share("node1", 0..<2), share("node 2", 2..<5)], "no name of a worker"),
            (5, [], "names 0 workers"),
            (
                5, [share("node1", 0..<5, replica: 0), share("node2", 0..<3, replica: 1)],
                "nobody has blocks 3..<5 of replica 1"
            ),
            (
                5, [share("node1", 0..<5, replica: 0), share("node2", 0..<5, replica: 2)],
                "nobody has blocks 0..<5 of replica 1"
            ),
            (5, [share("node1", 0..<5, replica: 0), share("node2", 0..<5, replica: 0)], "after 0..<5"),
            (5, [share("node1", 0..<5, replica: -1)], "the replica of node1"),
        ]
        for (place, plan) in plans.enumerated() {
            var worker = CoreHarness()
            worker.start(CoreHarness.plan(1))
            let epoch = Epoch(place + 2)
            worker.send(.control(.assign(ClusterPlan(epoch: epoch, placements: plan.shares, blockCount: plan.blocks))))
            guard case .loaded(let loaded) = worker.effects.controls.last else {
                Issue.record("no answer to \(plan)")
                continue
            }
            #expect(loaded.epoch == epoch && loaded.failure?.contains(plan.part) == true, "\(loaded)")
            #expect(worker.core.life == .greeted && worker.effects.loads.isEmpty)
        }
    }

    @Test("the operator's drain leaves it standing by, and a new plan brings it back")
    func standsBy() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(.control(.drain))
        #expect(worker.effects.controls == [.leave])
        #expect(worker.effects.contains(.drop))
        #expect(worker.core.life == .standby)
        worker.assign(CoreHarness.plan(2))
        #expect(worker.core.assignment?.epoch == 2)
    }

    @Test("an answer that nobody takes does not keep a released worker for ever")
    func drainsOverdue() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.computed(step(0).key, .success(.activation(stream())), elapsed: 1))
        worker.send(.drain)
        worker.send(.control(.drain))
        #expect(worker.effects.ending == nil)
        for _ in 0..<27 {
            worker.send(.control(.alive))
            #expect(worker.tick(after: 1.1).ending == nil)
        }
        worker.send(.control(.alive))
        worker.tick(after: 0.4)
        #expect(worker.core.life.isLeaving && worker.effects.controls == [.leave])
        #expect(worker.tick(after: 0.5).ending == .drained)
    }
}

extension WorkerCore.Life {
    var isLeaving: Bool { if case .leaving = self { true } else { false } }
}
