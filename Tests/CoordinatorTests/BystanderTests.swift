@testable import Coordinator
import Plan
import Testing

/// Workers that do nothing for the cluster: others draw on as if they were not there, and whoever asks is told why.
@Suite("Bystanders")
struct BystanderTests {
    /// What happens to a worker without a share.
    enum News: CaseIterable {
        case saysHello, isHeardAgain, isDrained, leaves, joinsForNothing
    }

    @Test("news of a worker that gets no share hold up no step", arguments: News.allCases)
    func holdsNothingUp(_ news: News) throws {
        let bench = Bench()
        bench.join([PlannerTests.hello("a", 0.1), PlannerTests.hello("b", 0.1)])
        // It would have to take a block, and is hundred times slower.
        bench.join([PlannerTests.hello("slow", 10)])
        let plan = try #require(bench.core.plan)
        try #require(!plan.placements.contains { $0.worker == "slow" })
        if news == .saysHello || news == .isHeardAgain { bench.ask(.drain(worker: "slow")) }
        let id = try bench.submit((0..<8).map { .euler("p\($0)", steps: 3) })
        bench.work(until: { _ in bench.tasks.allSatisfy { $0.key.need == .step } && bench.tasks.count > 2 })
        try #require(bench.tasks.count > 2)
        switch news {
        case .saysHello: bench.say(.hello(PlannerTests.hello("slow", 10)), "slow")
        case .isHeardAgain:
            bench.wait(4, beating: ["a", "b"])
            try #require(bench.life("slow") == .suspect)
            bench.beat("slow")
        case .isDrained: bench.ask(.drain(worker: "slow"))
        case .leaves: bench.say(.drain, "slow")
        case .joinsForNothing: bench.join([PlannerTests.hello("slower", 20)])
        }
        var answered = 0
        while let task = bench.tasks.first(where: { $0.key.need == .step }) {
            let before = bench.tasks.count
            bench.answer(task)
            answered += 1
            bench.wait(0.4, beating: ["a", "b"])
            if answered == 3 { #expect(bench.tasks.count >= before, "a step that ended is followed by another") }
        }
        bench.work()
        #expect(try bench.status(id).done == 8)
        #expect(bench.core.plan == plan)
    }

    @Test("what was decided for one wish is found anew for the next, and work stays held back")
    func decidesAgain() throws {
        let bench = Bench()
        bench.join([PlannerTests.hello("a", 0.1), PlannerTests.hello("b", 0.1)])
        let first = try #require(bench.core.plan)
        _ = try bench.submit((0..<4).map { .euler("p\($0)", steps: 3) })
        bench.work(until: { $0.key.need == .step })
        bench.say(.hello(PlannerTests.hello("c", 0.05)), "c")
        bench.wait(0.6, beating: ["a", "b", "c"])
        #expect(bench.core.isHeldForPlan && bench.core.replan?.decision?.runs?.keys.sorted() == ["a", "b", "c"])
        #expect(bench.core.replan?.decision?.placements?.count == 3 && bench.core.plan == first)
        // Its link to the next one carries nothing: the plan that was decided would have used it.
        let names = try #require(bench.core.replan?.decision?.placements?.map(\.worker))
        bench.core.partings[.init(from: names[0], to: names[1])] = .init(since: bench.now, until: .max, times: 1)
        bench.core.wantPlan(.link, "a link is silent", isGraceful: true)
        #expect(bench.core.isHeldForPlan && bench.core.replan?.decision?.runs == nil)
        while let task = bench.tasks.first { bench.answer(task) }
        bench.wait(0.6, beating: ["a", "b", "c"])
        let neighbours = try #require(bench.core.plan).pipelines.flatMap { zip($0, $0.dropFirst()) }
        #expect(!neighbours.contains { $0.0.worker == names[0] && $0.1.worker == names[1] })
    }

    private func nodes(_ bench: Bench) throws -> ClusterStatus {
        guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
        return status
    }

    private func idle(_ bench: Bench, _ name: String) throws -> WorkerStatus.Idle? {
        try nodes(bench).workers.first { $0.hello.name == name }?.idle
    }

    @Test("a worker without a share is told of with the reason, one with a share is not")
    func tellsWhy() throws {
        let bench = Bench()
        bench.join([PlannerTests.hello("a", 0.1), PlannerTests.hello("b", 0.1)])
        bench.join([PlannerTests.hello("slow", 10)])
        #expect(try idle(bench, "a") == nil)
        #expect(try idle(bench, "slow")?.code == .spare)
        bench.ask(.drain(worker: "slow"))
        #expect(try idle(bench, "slow") == nil, "its life says it")

        let failed = Bench()
        failed.join("a")
        failed.say(.hello(FakeModel.hello("b")), "b")
        failed.wait(0.6, beating: ["a", "b"])
        failed.say(.loaded(Loaded(epoch: 2, residentBytes: 0, failure: "model.safetensors is truncated")), "b")
        failed.wait(0.6, beating: ["a", "b"])
        failed.load()
        let idle = try #require(try idle(failed, "b"))
        #expect(idle.code == .loadFailure)
        #expect(idle.text.contains("model.safetensors is truncated; tried again in 5"), "\(idle.text)")
    }

    @Test("nobody says that a worker is not needed before that was looked at")
    func tellsLater() throws {
        let bench = Bench()
        bench.join("a")
        bench.say(.hello(FakeModel.hello("b")), "b")
        #expect(try idle(bench, "b") == nil)
    }

    @Test("where one replica draws and another still loads, news of a worker that gets no share hold up no step")
    func holdsNoReplicaUp() throws {
        let bench = Bench { $0.replicas = .count(2) }
        for name in ["a", "b"] { bench.say(.hello(PlannerTests.hello(name, 0.1)), name) }
        bench.wait(0.6, beating: ["a", "b"])
        let plan = try #require(bench.core.plan)
        try #require(plan.pipelines.count == 2)
        bench.load(only: ["a"])
        let id = try bench.submit((0..<6).map { .euler("p\($0)", steps: 3) })
        bench.work(until: { $0.key.need == .step })
        try #require(!bench.tasks.isEmpty)
        bench.say(.hello(PlannerTests.hello("slow", 10)), "slow")
        for _ in 0..<8 {
            if let task = bench.tasks.first { bench.answer(task) }
            bench.wait(0.3, beating: ["a", "b", "slow"])
            #expect(!bench.tasks.isEmpty, "a step that ended is followed by another")
        }
        #expect(bench.core.plan == plan)
        bench.load(only: ["b"])
        bench.work()
        #expect(try bench.status(id).done == 6)
    }

    @Test("a hello that makes no sense is a refusal as well")
    func malformed() throws {
        let bench = Bench()
        bench.join("a")
        bench.handle(.malformed("hello.threads is 0", from: "b", bootID: 4))
        let refused = try #require(try nodes(bench).refused?.first)
        #expect(refused.name == "b" && refused.code == .malformed && refused.text == "hello.threads is 0")
        #expect(bench.refusal?.code == .malformed)
        let before = bench.control.count
        bench.handle(.malformed("nonsense", from: "a", bootID: 1))
        #expect(bench.control.count == before, "one that works may say something better next time")
    }

    @Test("refused workers are counted and listed, and logged once for each reason, until they join")
    func listsRefused() throws {
        let bench = Bench()
        bench.join("a")
        for boot in 1...20 as ClosedRange<UInt64> {
            bench.say(.hello(FakeModel.hello("b", boot: boot, kernels: "avx512")), "b", boot: boot)
            bench.wait(2, beating: ["a"])
        }
        var status = try nodes(bench)
        #expect(status.refusals == ["kernelClass": 20])
        let refused = try #require(status.refused?.first)
        #expect(status.refused?.count == 1)
        #expect(refused.name == "b" && refused.code == .kernelClass && refused.times == 20)
        #expect(refused.text.contains("avx512") && 1.9...2.1 ~= refused.secondsAgo)
        #expect(bench.logged.count { $0.contains("refused b") } == 1)
        bench.say(.hello(FakeModel.hello("b", boot: 21, fingerprint: "beef")), "b", boot: 21)
        #expect(bench.logged.count { $0.contains("refused b") } == 2, "another reason is news")
        bench.wait(650, beating: ["a"])
        bench.say(.hello(FakeModel.hello("b", boot: 22, fingerprint: "beef")), "b", boot: 22)
        #expect(bench.logged.count { $0.contains("refused b") } == 3, "now and then")
        // Anybody may say any name.
        for number in 0..<100 {
            bench.wait(0.2, beating: ["a"])
            bench.say(.hello(FakeModel.hello("c\(number)", kernels: "avx512")), "c\(number)")
        }
        status = try nodes(bench)
        #expect(status.refused?.count == 32 && status.refused?.first?.name == "c99")
        bench.say(.hello(FakeModel.hello("c99")), "c99")
        #expect(try nodes(bench).refused?.first?.name == "c98")
        bench.wait(3700, beating: ["a"])
        #expect(try nodes(bench).refused?.isEmpty == true)
        #expect(try nodes(bench).refusals == ["kernelClass": 120, "model": 2])
    }

    @Test("where all workers are drained a job says so, and how they are let back in")
    func allDrained() throws {
        let bench = Bench()
        bench.join("a", "b")
        for name in ["a", "b"] { bench.ask(.drain(worker: name)) }
        bench.wait(1, beating: ["a", "b"])
        #expect(bench.logged.contains("a is drained") && bench.logged.contains("b is drained"))
        let id = try bench.submit([.euler("p")])
        let waiting = try bench.status(id).waiting
        #expect(waiting == "all workers here are drained (a, b); let one back in with abbozzo nodes undrain NAME")
        bench.ask(.drain(worker: "b"))
        #expect(bench.logged.count { $0 == "b is drained" } == 1, "it was before")
        bench.ask(.undrain(worker: "b"))
        bench.wait(1, beating: ["a", "b"])
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
    }
}
