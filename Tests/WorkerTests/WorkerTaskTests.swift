import DiT
import Plan
import Tensors
import Testing
import Worker

@Suite("What a worker does with tasks")
struct WorkerTaskTests {
    /// A worker in the middle of three, ready in epoch 1, whose downstream has granted `credit`.
    private func middle(credit: UInt32 = 0) -> CoreHarness {
        var worker = CoreHarness("node2")
        worker.start(CoreHarness.plan(1))
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: credit)))
        return worker
    }

    private let done: Result<Outcome, WorkFailure> = .success(.activation(stream(1)))

    @Test("an activation is computed and sent on when the next worker has room")
    func passesOn() {
        var worker = middle()
        #expect(worker.send(.task(activation(0), from: .upstream("node1"))).computed == [activation(0).key])
        worker.send(.computed(activation(0).key, done, elapsed: 5))
        #expect(worker.effects.answers.isEmpty, "no credit yet")
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1)))
        #expect(worker.effects.answers.map(\.1) == [.downstream("node3")])
        #expect(worker.effects.answers.first?.0.outcome == .activation(stream(1)))
    }

    @Test("never sends more than the next worker granted, and computes nothing ahead of an answer that waits")
    func keepsCredit() {
        var worker = middle(credit: 1)
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.task(activation(1), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, done, elapsed: 1))
        #expect(worker.effects.answers.count == 1)
        #expect(worker.effects.computed == [activation(1).key])
        worker.send(.task(activation(2), from: .upstream("node1")))
        worker.send(.computed(activation(1).key, done, elapsed: 1))
        #expect(worker.effects.answers.isEmpty && worker.effects.computed.isEmpty)
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1)))
        #expect(worker.effects.answers.isEmpty, "a repeated credit grants nothing new")
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 2)))
        #expect(worker.effects.answers.count == 1)
        #expect(worker.effects.computed == [activation(2).key])
    }

    @Test("grants two slots, holds at most three activations, and refuses what comes without credit")
    func boundsMemory() {
        var worker = middle(credit: 1)
        var granted: UInt32 = 2
        var sent: UInt32 = 0
        var most = 0
        // The sender uses every credit at once; the next worker takes one answer and then no more.
        for round in 0..<6 {
            while sent < granted {
                worker.send(.task(activation(sent), from: .upstream("node1")))
                sent += 1
                granted = max(granted, worker.grant ?? 0)
            }
            if round < 5, let key = Optional(activation(UInt32(round)).key) {
                worker.send(.computed(key, done, elapsed: 1))
                granted = max(granted, worker.grant ?? 0)
            }
            most = max(most, worker.core.hiddenRows)
        }
        #expect(most == 3 * 5)
        #expect(sent == 4, "one sent on, one waiting to be, two in the slots")
        #expect(worker.core.drops.stale == 3, "answers to tasks that were never begun")
        worker.send(.task(activation(99), from: .upstream("node1")))
        #expect(worker.core.drops.overrun == 1)
        #expect(worker.effects.faults.map(\.isRetriable) == [true])
        #expect(worker.core.hiddenRows == 3 * 5)
    }

    @Test("as many small hidden states as weigh what two large ones do may be here, and are sent on by their bytes")
    func countsBytes() {
        func task(_ index: UInt32, rows: Int) -> WorkItem {
            WorkItem(
                key: TaskKey(kind: .activation, image: image(index), step: 0, epoch: 1),
                work: .activation(Self.rows(rows)))
        }
        // 16 bytes a row of four values, two rows of text: 18 rows, then 6.
        var worker = middle()
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1, bytes: 0)))
        worker.send(.task(task(0, rows: 16), from: .upstream("node1")))
        #expect(worker.limit == Credit(messages: 2, bytes: 2 * 288))
        worker.send(.computed(task(0, rows: 16).key, .success(.activation(Self.rows(16))), elapsed: 1))
        #expect(worker.effects.answers.count == 1)
        #expect(worker.limit == Credit(messages: 3, bytes: 3 * 288))
        for index in 1...6 { worker.send(.task(task(UInt32(index), rows: 4), from: .upstream("node1"))) }
        #expect(worker.core.drops.overrun == 0 && worker.core.hiddenRows == 6 * 6 + 18)
        worker.send(.task(task(7, rows: 4), from: .upstream("node1")))
        #expect(worker.core.drops.overrun == 1)
        // What was sent was by a message; the next one waits for a message or for its 96 bytes.
        worker.send(.computed(task(1, rows: 4).key, .success(.activation(Self.rows(4))), elapsed: 1))
        #expect(worker.effects.answers.isEmpty)
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1, bytes: 288 + 95)))
        #expect(worker.effects.answers.isEmpty)
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1, bytes: 288 + 96)))
        #expect(worker.effects.answers.count == 1)
    }

    @Test("its own page tells what it dropped, where it stands and what it holds")
    func report() {
        var worker = middle(credit: 1)
        worker.now = 5_000_000_000
        worker.send(.task(activation(0, epoch: 9), from: .upstream("node1")))
        worker.send(.task(activation(0), from: .upstream("node1")))
        let report = worker.core.report(Vitals(residentBytes: 77, computing: 3), now: 7_000_000_000)
        #expect(report.name == "node2" && report.life == "ready" && WorkerReport.lives.contains(report.life))
        #expect(report.epoch == 1 && report.blocks == 2 && report.isConnected && report.silenceSeconds == 7)
        #expect(report.dropped["stale"] == 1 && report.dropped["overrun"] == 0 && report.dropped.count == 6)
        #expect(report.hiddenStateBytes == 5 * 16)
        #expect(report.counters.residentBytes == 77 && report.counters.busyNanoseconds == 3)
    }

    private static func rows(_ rows: Int) -> Stream {
        Stream(
            text: Tensor(repeating: 0, shape: [2, 4]), image: Tensor(repeating: 0, shape: [rows, 4]),
            vector: Tensor(repeating: 0, shape: [4]), positions: Tensor(repeating: 0, shape: [rows, 3]))
    }

    @Test("tasks of an older or a coming epoch are dropped and counted")
    func dropsStale() {
        var worker = CoreHarness("node2")
        worker.start(CoreHarness.plan(5))
        worker.send(.task(activation(0, epoch: 4), from: .upstream("node1")))
        worker.send(.task(activation(0, epoch: 6), from: .upstream("node1")))
        #expect(worker.effects.isEmpty)
        #expect(worker.core.drops.stale == 2)
    }

    @Test("a new epoch drops what is queued, and the answer in hand is not sent")
    func newEpochDrops() {
        var worker = middle(credit: 2)
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.task(activation(1), from: .upstream("node1")))
        worker.send(.control(.assign(CoreHarness.plan(2))))
        #expect(worker.core.drops.stale == 1)
        #expect(worker.grant == 1, "the task in hand still takes a slot")
        worker.send(.computed(activation(0).key, done, elapsed: 1))
        #expect(worker.effects.answers.isEmpty && worker.effects.computed.isEmpty)
        #expect(worker.core.drops.stale == 2)
        #expect(worker.grant == 2)
    }

    @Test("the last task asked again is answered from memory; one that is queued is dropped")
    func answersDuplicates() {
        var worker = CoreHarness("node3")
        worker.start(CoreHarness.plan(1))
        let velocity: Result<Outcome, WorkFailure> = .success(.velocity(.init(repeating: 2, shape: [3, 64])))
        worker.send(.task(activation(0), from: .upstream("node2")))
        worker.send(.task(activation(0), from: .upstream("node2")))
        #expect(worker.effects.computed.isEmpty)
        worker.send(.computed(activation(0).key, velocity, elapsed: 1))
        #expect(worker.effects.answers.map(\.1) == [.coordinator])
        worker.send(.task(activation(0), from: .upstream("node2")))
        #expect(worker.effects.computed.isEmpty)
        #expect(worker.effects.answers.map(\.1) == [.coordinator])
        #expect(worker.core.drops.duplicate == 2)
        worker.send(.task(activation(0, 1), from: .upstream("node2")))
        #expect(worker.effects.computed == [activation(0, 1).key])
    }

    @Test("encode and decode take turns with steps in beginning")
    func takesTurns() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.task(step(1), from: .coordinator))
        for index in 10..<13 as Range<UInt32> { worker.send(.task(encode(index), from: .coordinator)) }
        worker.send(.task(decode(20), from: .coordinator))
        var order = [step(0).key]
        var ended = 0
        while ended < order.count {
            let key = order[ended]
            let outcome: Outcome =
                key.isStep ? .velocity(.init(repeating: 0, shape: [3, 64])) : .conditioning(conditioning())
            worker.send(.computed(key, .success(outcome), elapsed: 1))
            ended += 1
            order += worker.effects.computed
        }
        #expect(order.map(\.kind) == [.step, .encode, .step, .encode, .encode, .decode])
    }

    @Test("a step is begun beside the side task in hand, one at a time, and is what heartbeats tell of")
    func stepBesideSide() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        func told() -> ImageID?? {
            for case .heartbeat(let beat) in worker.tick(after: 1).controls { return beat.image }
            return nil
        }
        #expect(worker.send(.task(decode(20), from: .coordinator)).computed == [decode(20).key])
        #expect(told() == .some(image(20)))
        #expect(worker.send(.task(step(0), from: .coordinator)).computed == [step(0).key])
        #expect(told() == .some(image(0)))
        #expect(worker.send(.task(step(1), from: .coordinator)).computed.isEmpty)
        #expect(worker.send(.task(decode(21), from: .coordinator)).computed.isEmpty)
        #expect(worker.core.hiddenRows == 5)
        let velocity = Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
        #expect(worker.send(.computed(step(0).key, .success(velocity), elapsed: 3)).computed == [step(1).key])
        worker.send(.computed(step(1).key, .success(velocity), elapsed: 3))
        #expect(worker.effects.computed.isEmpty, "the second decode waits for the first one")
        #expect(told() == .some(image(20)))
        let picture = Outcome.picture(rgb8: [0, 0, 0], width: 1, height: 1)
        worker.now += 100
        worker.send(.computed(decode(20).key, .success(picture), elapsed: 10, given: 6))
        #expect(worker.effects.answers.map(\.0.outcome) == [picture])
        #expect(worker.effects.computed == [decode(21).key])
        var counters: WorkerCounters?
        for case .heartbeat(let beat) in worker.tick(after: 1).controls {
            counters = beat.counters
            let span = beat.done?.spans.last
            #expect(span?.nanoseconds == 16, "in a trace it lasts as long as what it holds")
        }
        #expect(counters?.busyNanoseconds == 16, "what steps took is counted as theirs")
    }

    @Test("a side task that somebody waits for goes before steps, also beside another side task, and takes no slot")
    func urgent() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        worker.send(.task(encode(20), from: .coordinator))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.task(step(1), from: .coordinator))
        let mine = decode(21, isUrgent: true)
        #expect(worker.send(.task(mine, from: .coordinator)).computed.isEmpty)
        worker.send(.task(mine, from: .coordinator))
        #expect(worker.core.drops.duplicate == 1)
        let velocity = Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
        worker.send(.computed(step(0).key, .success(velocity), elapsed: 1))
        #expect(worker.effects.computed == [mine.key] && worker.grant == 3)
        let picture = Outcome.picture(rgb8: [0, 0, 0], width: 1, height: 1)
        worker.send(.computed(mine.key, .success(picture), elapsed: 1))
        #expect(worker.effects.answers.map(\.0.ticket.key) == [mine.key])
        #expect(worker.effects.computed == [step(1).key])
    }

    @Test(
        "an urgent decode waits for the decode in hand and goes next, steps wait with it; an urgent encode does not wait"
    )
    func noDecodeInsideAnother() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        let picture = Outcome.picture(rgb8: [0, 0, 0], width: 1, height: 1)
        worker.send(.task(decode(20), from: .coordinator))
        worker.send(.task(decode(21), from: .coordinator))
        let mine = decode(22, isUrgent: true)
        #expect(worker.send(.task(mine, from: .coordinator)).computed.isEmpty)
        #expect(worker.send(.task(step(0), from: .coordinator)).computed.isEmpty)
        let prompt = encode(23, isUrgent: true)
        #expect(worker.send(.task(prompt, from: .coordinator)).computed == [prompt.key])
        worker.send(.computed(prompt.key, .success(.conditioning(conditioning())), elapsed: 1))
        #expect(worker.effects.computed.isEmpty)
        #expect(worker.send(.computed(decode(20).key, .success(picture), elapsed: 1)).computed == [mine.key])
        #expect(worker.send(.computed(mine.key, .success(picture), elapsed: 1)).computed == [step(0).key])
        let velocity = Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
        #expect(worker.send(.computed(step(0).key, .success(velocity), elapsed: 1)).computed == [decode(21).key])
    }

    @Test("what is in hand beside each other is forgotten, or outlived by a new epoch, each for itself")
    func forgetsBesideEachOther() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        worker.send(.task(decode(20), from: .coordinator))
        worker.send(.task(step(0), from: .coordinator))
        #expect(worker.send(.control(.forget([image(19)]))).abandoned.isEmpty)
        worker.send(.control(.forget([image(20)])))
        #expect(worker.core.drops.forgotten == 1)
        #expect(worker.effects.abandoned == [decode(20).key], "it is not computed to its end for nobody")
        let velocity = Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
        worker.send(.computed(step(0).key, .success(velocity), elapsed: 1))
        #expect(worker.effects.answers.count == 1)
        let picture = Outcome.picture(rgb8: [0, 0, 0], width: 1, height: 1)
        worker.send(.computed(decode(20).key, .success(picture), elapsed: 1))
        #expect(worker.effects.answers.isEmpty && worker.core.drops.stale == 1)

        worker.send(.task(decode(21), from: .coordinator))
        worker.send(.task(step(1), from: .coordinator))
        worker.send(.control(.assign(CoreHarness.plan(2, spans: [0..<5]))))
        #expect(worker.effects.abandoned == [decode(21).key])
        #expect(worker.send(.task(step(2, epoch: 2), from: .coordinator)).computed.isEmpty)
        worker.send(.computed(step(1).key, .success(velocity), elapsed: 1))
        #expect(worker.effects.answers.isEmpty)
        #expect(worker.effects.computed == [step(2, epoch: 2).key])
        worker.send(.computed(decode(21).key, .success(picture), elapsed: 1))
        #expect(worker.effects.answers.isEmpty && worker.core.drops.stale == 3)
    }

    @Test("two side tasks in hand that a new epoch does not want are both given up")
    func abandonsBoth() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        worker.send(.task(decode(20), from: .coordinator))
        let prompt = encode(23, isUrgent: true)
        #expect(worker.send(.task(prompt, from: .coordinator)).computed == [prompt.key])
        worker.send(.control(.assign(CoreHarness.plan(2, spans: [0..<5]))))
        #expect(Set(worker.effects.abandoned) == [decode(20).key, prompt.key])
    }

    @Test("with both hands full all is forgotten, or outlived, and what is sent again is computed again")
    func sentAgainBesideEachOther() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        func done(_ item: WorkItem) -> (answers: Int, computed: [TaskKey]) {
            let outcome =
                item.key.isStep
                ? Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
                : .picture(rgb8: [0, 0, 0], width: 1, height: 1)
            let effects = worker.send(.computed(item.key, .success(outcome), elapsed: 1))
            return (effects.answers.count, effects.computed)
        }
        worker.send(.task(decode(20), from: .coordinator))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.control(.forget([image(0), image(20)])))
        #expect(worker.core.drops.forgotten == 2)
        for item in [step(0), decode(20)] {
            #expect(worker.send(.task(item, from: .coordinator)).computed.isEmpty)
        }
        #expect(worker.core.drops.duplicate == 0)
        #expect(done(step(0)) == (0, [step(0).key]))
        #expect(done(decode(20)) == (0, []), "a side task begins when no step is in hand")
        #expect(done(step(0)) == (1, [decode(20).key]))
        #expect(done(decode(20)) == (1, []))

        worker.send(.task(decode(20), from: .coordinator))
        #expect(worker.core.drops.duplicate == 1, "answered from memory")
        worker.send(.task(decode(21), from: .coordinator))
        worker.send(.task(step(1), from: .coordinator))
        worker.send(.control(.assign(CoreHarness.plan(2, spans: [0..<5]))))
        for item in [decode(21, epoch: 2), step(1, epoch: 2)] {
            #expect(worker.send(.task(item, from: .coordinator)).computed.isEmpty, "both hands are full")
        }
        #expect(done(step(1)) == (0, [step(1, epoch: 2).key]))
        #expect(done(decode(21)) == (0, []))
        #expect(done(step(1, epoch: 2)) == (1, [decode(21, epoch: 2).key]))
        worker.send(.control(.forget([image(21)])))
        worker.send(.task(decode(21, epoch: 2), from: .coordinator))
        #expect(done(decode(21, epoch: 2)) == (0, [decode(21, epoch: 2).key]))
        #expect(done(decode(21, epoch: 2)) == (1, []))
    }

    @Test("a step without conditioning uses what was sent before; when that is gone it asks for it")
    func remembersConditioning() {
        var limits = WorkerCore.Limits()
        limits.conditionings = 2
        var worker = CoreHarness("node1", limits: limits)
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        func run(_ item: WorkItem) -> [Effect] {
            let effects = worker.send(.task(item, from: .coordinator))
            let answer = Outcome.velocity(.init(repeating: 0, shape: [3, 64]))
            for key in effects.computed { worker.send(.computed(key, .success(answer), elapsed: 1)) }
            return effects
        }
        #expect(run(step(0, 0, conditioning: conditioning(5))).computed.count == 1)
        for case .compute(let item) in run(step(0, 1, conditioning: nil)) {
            #expect(item.work == step(0, 1, conditioning: conditioning(5)).work)
        }
        _ = run(step(1, 0))
        _ = run(step(0, 2, conditioning: nil))
        _ = run(step(2, 0))
        #expect(run(step(1, 1, conditioning: nil)).faults.map(\.isRetriable) == [true], "the oldest one went")
        #expect(run(step(0, 3, conditioning: nil)).faults.isEmpty)
        worker.assign(CoreHarness.plan(2, spans: [0..<5]))
        #expect(run(step(0, 4, epoch: 2, conditioning: nil)).faults.isEmpty, "conditioning outlives an epoch")
    }

    @Test("a message that does not fit the model is asked for again, is counted, and gives its slot back")
    func malformed() {
        var worker = middle()
        let task = TaskID(.step, image(0), step: 4, epoch: 1)
        for _ in 0..<3 {
            worker.send(
                .malformed(MalformedTask(task: task, epoch: 1, isStep: true, bytes: 0, text: "node1: tensor image")))
            #expect(worker.effects.faults == [Fault(task, text: "node1: tensor image", isRetriable: true)])
        }
        #expect(worker.grant == 5)
        #expect(worker.core.drops.refused == 3)
    }

    @Test("what nobody wants any more is dropped wherever it is, its slots are free, and it may be wanted again")
    func forgets() {
        var worker = middle(credit: 1)
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, done, elapsed: 1))
        worker.send(.task(activation(1), from: .upstream("node1")))
        worker.send(.computed(activation(1).key, done, elapsed: 1))
        worker.send(.task(activation(2), from: .upstream("node1")))
        worker.send(.task(activation(3), from: .upstream("node1")))
        #expect(worker.core.hiddenRows == 3 * 5, "one answer waits for credit, two tasks behind it")
        worker.send(.control(.forget([image(1), image(2)])))
        #expect(worker.core.drops.forgotten == 2)
        #expect(worker.effects.computed == [activation(3).key])
        worker.send(.control(.forget([image(3), image(9)])))
        #expect(worker.core.drops.forgotten == 3)
        worker.send(.task(activation(3), from: .upstream("node1")))
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 5)))
        #expect(worker.effects.answers.isEmpty)
        worker.send(.computed(activation(3).key, done, elapsed: 1))
        #expect(worker.effects.answers.isEmpty, "nobody wanted that one")
        #expect(worker.effects.computed == [activation(3).key], "it was wanted again meanwhile")
        worker.send(.computed(activation(3).key, done, elapsed: 1))
        #expect(worker.effects.answers.count == 1)
    }

    @Test("tasks from a peer that has no business sending them are refused")
    func wrongPeer() {
        var worker = middle()
        worker.send(.task(activation(0), from: .upstream("node3")))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.task(encode(0), from: .coordinator))
        worker.send(.task(encode(0), from: .upstream("node1")))
        #expect(worker.core.drops.refused == 4)
        #expect(worker.effects.computed.isEmpty)
    }

    @Test("a task that cannot be computed is a fault, and the next one starts")
    func computeFails() {
        var worker = middle()
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.task(activation(1), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, .failure(WorkFailure(text: "no")), elapsed: 1))
        #expect(
            worker.effects.faults == [
                Fault(TaskID(.step, image(0), step: 0, epoch: 1), text: "node2: no", isRetriable: false)
            ])
        #expect(worker.effects.computed == [activation(1).key])
    }

    @Test("a neighbour that says it is there is told its credit, and credits are repeated with heartbeats")
    func repeatsCredits() {
        var worker = middle()
        #expect(
            worker.send(.credit(from: .upstream("node1"), epoch: 1, limit: Credit())).contains(
                .credit(to: .upstream("node1"), epoch: 1, limit: Credit(messages: 2))))
        #expect(worker.send(.credit(from: .upstream("node1"), epoch: 2, limit: Credit())).isEmpty)
        #expect(worker.send(.credit(from: .upstream("node9"), epoch: 1, limit: Credit())).isEmpty)
        let effects = worker.tick(after: 1)
        #expect(effects.contains(.credit(to: .upstream("node1"), epoch: 1, limit: Credit(messages: 2))))
        #expect(effects.contains(.credit(to: .downstream("node3"), epoch: 1, limit: Credit())))
        #expect(effects.contains(.credit(to: .coordinator, epoch: 1, limit: Credit())))
    }

    /// What the next heartbeat says of the link, a second later.
    private func link(_ worker: inout CoreHarness) -> Heartbeat.LinkTrouble? {
        worker.send(.control(.alive))
        for case .heartbeat(let beat) in worker.tick(after: 1).controls { return beat.link }
        return nil
    }

    @Test("a worker whose next one falls silent while work flows says so, until it is heard again or the epoch is over")
    func tellsSilence() {
        var worker = middle(credit: 1)
        for _ in 0..<20 { #expect(link(&worker) == nil, "nothing is on its way") }
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, done, elapsed: 5))
        for _ in 0..<5 { #expect(link(&worker) == nil) }
        #expect(link(&worker) == .silent)
        #expect(link(&worker) == .silent)
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1)))
        #expect(link(&worker) == nil)
        for _ in 0..<5 { _ = link(&worker) }
        #expect(link(&worker) == .silent)
        worker.assign(CoreHarness.plan(2))
        for _ in 0..<20 { #expect(link(&worker) == nil) }
    }

    @Test("a worker whose link broke with work on its way says so once it stands again")
    func tellsBreak() {
        var worker = middle(credit: 2)
        worker.send(.link(isUp: false))
        #expect(link(&worker) == nil)
        worker.send(.link(isUp: true))
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, done, elapsed: 5))
        #expect(link(&worker) == nil, "nothing was on its way")
        worker.assign(CoreHarness.plan(2))
        worker.send(.credit(from: .downstream("node3"), epoch: 2, limit: Credit(messages: 2)))
        worker.send(.task(activation(0, epoch: 2), from: .upstream("node1")))
        worker.send(.computed(activation(0, epoch: 2).key, done, elapsed: 5))
        #expect(link(&worker) == nil)
        worker.send(.link(isUp: false))
        #expect(link(&worker) == nil)
        worker.send(.link(isUp: true))
        #expect(link(&worker) == .broken)
        worker.assign(CoreHarness.plan(3))
        #expect(link(&worker) == nil)
    }

    @Test("counts steps and their time by resolution stage, and stages beyond the last one with it")
    func countsStages() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        for (index, stage) in [1, 2, 2, 255].enumerated() as EnumeratedSequence<[UInt8]> {
            var item = step(UInt32(index))
            item.stage = stage
            worker.send(.task(item, from: .coordinator))
            worker.send(.computed(item.key, .success(.velocity(.init(repeating: 0, shape: [3, 64]))), elapsed: 10))
        }
        var counters: WorkerCounters?
        for case .heartbeat(let beat) in worker.tick(after: 1).controls { counters = beat.counters }
        #expect(counters?.stages.map(\.steps) == [1, 2, 0, 0, 0, 0, 0, 1])
        #expect(counters?.stages.map(\.busyNanoseconds) == [10, 20, 0, 0, 0, 0, 0, 10])
        #expect(counters?.steps == 4)
    }

    @Test("counts the time that an answer waits for the next worker, and the round trip of heartbeats")
    func countsWaits() {
        var worker = middle()
        worker.send(.task(activation(0), from: .upstream("node1")))
        worker.send(.computed(activation(0).key, done, elapsed: 5))
        worker.tick(after: 1)
        worker.now += 500_000_000
        worker.send(.control(.alive))
        worker.now += 250_000_000
        worker.send(.credit(from: .downstream("node3"), epoch: 1, limit: Credit(messages: 1)))
        var counters: WorkerCounters?
        for case .heartbeat(let beat) in worker.tick(after: 1).controls { counters = beat.counters }
        #expect(counters?.creditWaitNanoseconds == 1_750_000_000)
        #expect(counters?.roundTripNanoseconds == 500_000_000)
    }

    @Test("counts steps, tokens, pictures and busy time")
    func counts() {
        var worker = CoreHarness()
        worker.start(CoreHarness.plan(1, spans: [0..<5]))
        worker.send(.task(step(0), from: .coordinator))
        worker.send(.computed(step(0).key, .success(.velocity(.init(repeating: 0, shape: [3, 64]))), elapsed: 7))
        worker.send(.task(decode(0), from: .coordinator))
        worker.send(.computed(decode(0).key, .success(.picture(rgb8: [0, 0, 0], width: 1, height: 1)), elapsed: 4))
        var counters: WorkerCounters?
        for case .heartbeat(let beat) in worker.tick(after: 1).controls { counters = beat.counters }
        #expect(counters?.steps == 1 && counters?.tokens == 3 && counters?.images == 1)
        #expect(counters?.busyNanoseconds == 11)
        #expect(counters?.queued == 0)
    }
}
