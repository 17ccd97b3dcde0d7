@testable import Coordinator
import Plan
import Tensors
import Testing

@Suite("Pace")
struct PaceTests {
    @Test("a pace is said after some steps, follows the machine, and believes no time that cannot be")
    func follows() throws {
        var pace = Pace()
        for _ in 0..<23 { pace.note(seconds: 2, expected: 1, now: 5) }
        #expect(pace.factor(now: 5) == nil && !pace.isOfThisPlan)
        pace.note(seconds: 2, expected: 1, now: 5)
        #expect(pace.factor(now: 5) == 2 && pace.isOfThisPlan)
        pace.beginPlan()
        #expect(pace.factor(now: 5) == 2 && !pace.isOfThisPlan)
        for _ in 0..<400 { pace.note(seconds: 0.5, expected: 1, now: 5) }
        #expect(abs((pace.factor(now: 5) ?? 0) - 0.5) < 0.01)
        let before = pace
        for seconds in [0, -1, .infinity, .nan, 1e9] { pace.note(seconds: seconds, expected: 1, now: 5) }
        for expected in [0, -1, .infinity, .nan] { pace.note(seconds: 1, expected: expected, now: 5) }
        #expect(pace == before)
        for _ in 0..<1000 { pace.note(seconds: 1e5, expected: 1e-9, now: 5) }
        #expect(pace.factor(now: 600_000_000_005) == 32)
        #expect(pace.factor(now: 600_000_000_006) == nil, "who was slow once is not left without work for good")
    }

    @Test("the cut is looked at again where workers, the plan or a pace are others, and after a while")
    func looksAgain() {
        func look(_ pace: Double = 1, _ workers: Set<String> = ["a", "b"], epoch: Epoch = 1, at seconds: UInt64 = 0)
            -> PaceLook
        {
            PaceLook(epoch: epoch, paces: ["a": pace, "b": 1], workers: workers, at: seconds * 1_000_000_000)
        }
        let first = look()
        #expect(look(1.02, at: 15).isAsAt(first) && look(0.98, at: 299).isAsAt(first))
        for other in [look(1.04), look(0.96), look(1, ["a"]), look(epoch: 2), look(at: 300)] {
            #expect(!other.isAsAt(first))
        }
        let unknown = PaceLook(epoch: 1, paces: ["a": 1], workers: ["a", "b"], at: 0)
        #expect(!first.isAsAt(unknown) && !unknown.isAsAt(first))
    }

    /// Two workers with equal benchmarks whose steps take so many times as long; every step that is answered is reported.
    private final class Cluster {
        let bench: Bench
        let paces: [String: Double]

        init(
            _ paces: [String: Double], loading: Double = 0,
            _ change: (inout CoordinatorSettings) -> Void = { _ in }
        ) {
            self.paces = paces
            bench = Bench(change)
            let hellos = paces.keys.sorted().map { PlannerTests.hello($0, 0.1) }
            for hello in hellos { bench.say(.hello(hello), hello.name) }
            bench.wait(0.6)
            bench.wait(loading, beating: paces.keys.sorted())
            bench.load()
        }

        /// Blocks of each worker.
        var cut: [String: Int] {
            Dictionary(
                uniqueKeysWithValues: (bench.core.plan?.pipeline ?? []).map { ($0.worker, $0.span.count) })
        }

        /// Answers so many steps, the workers reporting each; every task takes ten seconds.
        func work(_ steps: Int) {
            var left = steps
            while left > 0, !bench.tasks.isEmpty {
                let task = bench.tasks[0]
                bench.now += 10_000_000_000
                for worker in paces.keys.sorted() { bench.beat(worker, image: task.key.image) }
                bench.answer(task)
                if task.key.need == .step {
                    left -= 1
                    report(task)
                }
                bench.handle(.tick)
                if case .loading = bench.core.planning { bench.load() }
            }
        }

        private func report(_ task: Bench.Task) {
            guard case .step(let latents, _, _, let stage, _) = task.input, let plan = bench.core.plan else { return }
            for share in plan.pipeline {
                let seconds = 0.1 * Double(share.span.count) * (paces[share.worker] ?? 1)
                let span = TaskSpan(
                    kind: .step, image: task.key.image, step: UInt16(task.key.step), epoch: task.key.epoch,
                    stage: UInt8(stage), tokens: latents.count, began: bench.now - 9_000_000_000,
                    nanoseconds: UInt64(seconds * 1e9))
                bench.say(
                    .heartbeat(
                        Heartbeat(
                            epoch: plan.epoch, image: nil, block: nil, counters: .init(),
                            done: SpanReport(clock: bench.now, spans: [span]))), share.worker)
            }
        }
    }

    @Test("a worker whose steps take longer than it measured is given less, once, and pictures stay the same")
    func cutsAnew() throws {
        let cluster = Cluster(["a": 1, "b": 2])
        let blocks = FakeModel.facts.blockCount
        #expect(cluster.cut == ["a": blocks / 2, "b": blocks / 2])
        let requests = (0..<40).map { ImageRequest.euler("p\($0)", seed: UInt64($0), side: 64) }
        let id = try cluster.bench.submit(requests)
        cluster.work(20)
        #expect(cluster.cut["b"] == blocks / 2, "too few steps to say")
        func predicted() throws -> Double {
            guard case .nodes(let status) = cluster.bench.ask(.nodes) else { throw PlanningFailure("no answer") }
            return try #require(status.predictedPerHour)
        }
        let before = try predicted()
        cluster.work(60)
        let ratio = try predicted() / before
        #expect(abs(ratio - 0.75) < 0.05, "two thirds of one worker's blocks at its speed, where both had half")
        #expect(cluster.cut == ["a": blocks * 2 / 3, "b": blocks / 3])
        guard case .nodes(let status) = cluster.bench.ask(.nodes) else { throw PlanningFailure("no answer") }
        for worker in status.workers {
            // Embedders and head take a hundredth of a block.
            let pace = try #require(worker.pace)
            #expect(abs(pace / (cluster.paces[worker.hello.name] ?? 0) - 1) < 0.05, "\(worker.hello.name) \(pace)")
        }
        cluster.work(1000)
        #expect(try cluster.bench.status(id).done == 40)
        #expect(cluster.bench.measurements.filter { $0 == .planned(.pace) }.count == 1)
        #expect(cluster.bench.core.paceWait == 0, "a cut that stays makes the next look come soon again")
        for request in requests { #expect(cluster.bench.files.values.contains(try FakeModel.render(request))) }
    }

    @Test("no cut is changed for less than it costs to load, nor for a few percent")
    func staysPut() throws {
        for (paces, loading) in [(["a": 1.0, "b": 2], 3000.0), (["a": 1, "b": 1.1], 0)] {
            let cluster = Cluster(paces, loading: loading)
            let id = try cluster.bench.submit((0..<20).map { .euler("p\($0)", side: 64) })
            cluster.work(1000)
            #expect(try cluster.bench.status(id).done == 20)
            #expect(cluster.bench.measurements.filter { $0 == .planned(.pace) }.isEmpty)
        }
    }

    @Test("where hidden states travel in a short format pictures depend on the cut, and time does not change it")
    func keepsPictures() throws {
        let cluster = Cluster(["a": 1, "b": 2]) { $0.wire = .format(.bf16) }
        let id = try cluster.bench.submit((0..<30).map { .euler("p\($0)", side: 64) })
        cluster.work(2000)
        #expect(try cluster.bench.status(id).done == 30)
        #expect(cluster.bench.measurements.filter { $0 == .planned(.pace) }.isEmpty)
    }

    @Test("a plan for which nobody reads weights does not make the next one look free")
    func loadingCounts() throws {
        let bench = Bench { $0.wire = .auto }
        for name in ["a", "b"] { bench.say(.hello(PlannerTests.hello(name, 0.01)), name) }
        _ = try bench.submit([.euler("p", steps: 4, side: 64)])
        bench.wait(0.6)
        bench.wait(100, beating: ["a", "b"])
        bench.load(link: LinkSpeed(bytesPerSecond: 8e3, roundTrip: 0))
        let first = bench.core.lastLoading
        #expect(99...102 ~= first)
        bench.wait(0.2)
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.wire == .int8, "the same shares, another format")
        bench.load()
        #expect(bench.core.lastLoading == first)
    }
}
