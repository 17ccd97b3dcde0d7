@testable import Coordinator
import JobStore
import Plan
import Testing

@Suite("Replicas")
struct ReplicaTests {
    private static func bench(_ rule: ReplicaRule) -> Bench { Bench { $0.replicas = rule } }

    private static func requests(_ count: Int) -> [ImageRequest] {
        (0..<count).map { $0 % 2 == 0 ? .ralu("p\($0)", seed: UInt64($0)) : .euler("p\($0)", seed: UInt64($0)) }
    }

    private static func expectAll(_ requests: [ImageRequest], _ id: JobID, _ bench: Bench) throws {
        #expect(try bench.status(id).done == requests.count)
        for request in requests { #expect(bench.files.values.contains(try FakeModel.render(request))) }
    }

    @Test("two workers as two replicas hold all blocks each, and every picture stays with one of them")
    func twoOfOne() throws {
        let bench = Self.bench(.count(2))
        bench.join("a", "b")
        let plan = try #require(bench.core.plan)
        #expect(plan.placements.map(\.span) == [0..<6, 0..<6] && plan.placements.map(\.replica) == [0, 1])
        #expect(plan.pipelines.map { $0.map(\.worker) } == [["a"], ["b"]])
        let requests = Self.requests(7)
        let id = try bench.submit(requests)
        guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
        #expect(status.inFlight == 4 && status.inFlightByReplica == [2, 2], "two for each worker with blocks")
        var places: [ImageID: Set<String>] = [:]
        var random = SplitMix(5)
        bench.work { tasks in
            for task in tasks { places[task.key.image, default: []].insert(task.worker) }
            return random.int(0...tasks.count - 1)
        }
        try Self.expectAll(requests, id, bench)
        #expect(places.count == 7 && places.values.allSatisfy { $0.count == 1 }, "\(places)")
        #expect(Set(places.values) == [["a"], ["b"]])
    }

    @Test("four workers as two replicas of two; the answer of another replica's worker counts for nothing")
    func twoOfTwo() throws {
        let bench = Self.bench(.count(2))
        bench.join("a", "b", "c", "d")
        let plan = try #require(bench.core.plan)
        #expect(plan.pipelines.map { $0.map(\.worker) } == [["a", "b"], ["c", "d"]])
        #expect(plan.placements.map(\.span) == [0..<3, 3..<6, 0..<3, 3..<6])
        #expect(plan.trouble(blockCount: 6) == nil)
        let requests = Self.requests(10)
        let id = try bench.submit(requests)
        bench.work(until: { $0.key.need == .step })
        let step = try #require(bench.tasks.first { $0.key.need == .step })
        let others = step.worker == "a" ? ["a", "c", "d"] : ["a", "b", "c"]
        for other in others {
            bench.handle(.result(bench.output(of: step), step.key, from: other))
            #expect(bench.core.answerBytes(step.key.id, from: other) == nil)
        }
        #expect(bench.core.answerBytes(step.key.id, from: step.worker == "a" ? "b" : "d") != nil)
        guard case .job(let status) = bench.ask(.job(id)) else { throw BenchError() }
        let index = Int(step.key.image.index)
        #expect(status.images[index] == .running(step: 0, of: index % 2 == 0 ? 5 : 3))
        bench.work()
        try Self.expectAll(requests, id, bench)
    }

    @Test("after a new plan a picture that only has to be decoded waits for no step's place")
    func decodesAtOnce() throws {
        let bench = Bench { $0.flightsPerWorker = 1 }
        bench.join([
            FakeModel.hello("a", roles: [.blocks, .decoder]), FakeModel.hello("d", roles: [.encoder]),
            FakeModel.hello("e", roles: [.encoder]),
        ])
        let requests = Self.requests(2)
        let first = try bench.submit([requests[0]])
        bench.work(until: { $0.key.need == .picture })
        let second = try bench.submit([requests[1]], priority: 5)
        bench.work({ $0.firstIndex { $0.key.need == .encode } ?? 0 }, until: { $0.key.need == .picture })
        #expect(Set(bench.tasks.map(\.key.need)) == [.picture, .step])
        // The encoder's loss changes the plan and nobody is to blame; the later job has its place first.
        let encoder = try #require(bench.core.plan?.placements.first(where: \.encodes)?.worker)
        bench.handle(.disconnected(worker: encoder, bootID: 1))
        bench.wait(2.5, beating: Set(["a", "d", "e"]).subtracting([encoder]).sorted())
        bench.tasks = []
        bench.load()
        #expect(Set(bench.tasks.map(\.key.need)) == [.picture, .step])
        bench.work()
        try Self.expectAll([requests[0]], first, bench)
        try Self.expectAll([requests[1]], second, bench)
    }

    @Test("with too few workers there are fewer replicas, and more as workers come")
    func fewer() throws {
        let bench = Self.bench(.count(3))
        bench.join("a")
        #expect(bench.core.plan?.pipelines.count == 1)
        bench.join("b")
        #expect(bench.core.plan?.pipelines.map { $0.map(\.worker) } == [["a"], ["b"]])
        bench.join("c", "d")
        #expect(bench.core.plan?.pipelines.map { $0.map(\.worker) } == [["a", "b"], ["c"], ["d"]])
    }

    @Test("the loss of a worker does not stop the other replica, not even while the survivors load")
    func losesOne() throws {
        let bench = Self.bench(.count(2))
        bench.join("a", "b", "c", "d")
        let requests = Self.requests(8)
        let id = try bench.submit(requests)
        bench.work(until: { $0.key.step >= 1 })
        bench.handle(.disconnected(worker: "c", bootID: 1))
        bench.wait(2.5, beating: ["a", "b", "d"])
        let plan = try #require(bench.core.plan)
        #expect(plan.epoch == 2 && plan.pipelines.map { $0.map(\.worker) } == [["a", "b"], ["d"]])
        bench.tasks = []
        // The worker alone has to read the other half of the model first.
        bench.load(only: ["a", "b"])
        let early = try bench.status(id)
        #expect(early.waiting == nil)
        bench.work()
        let middle = try bench.status(id)
        #expect(middle.done > 0, "\(middle)")
        bench.load(only: ["d"])
        bench.work()
        try Self.expectAll(requests, id, bench)
        #expect(bench.measurements.contains(.recovered(.lost)))
    }

    @Test("a picture that was in hand of a lost worker runs alone in its replica, and the others go on")
    func suspects() throws {
        let bench = Self.bench(.count(3))
        bench.join("a", "b", "c")
        let id = try bench.submit((0..<9).map { .euler($0 == 0 ? "poison" : "p\($0)", seed: UInt64($0)) })
        let poison = ImageID(job: id, index: 0)
        var losses = 0
        while losses < 2 {
            bench.work(until: { $0.key.image == poison && $0.key.need == .step })
            let task = try #require(bench.tasks.first { $0.key.image == poison })
            if losses == 1 {
                let alone = bench.tasks.filter { $0.worker == task.worker }
                #expect(alone.count == 1, "\(alone)")
                #expect(bench.tasks.count > 1, "others are drawn meanwhile")
            }
            losses += 1
            bench.handle(.disconnected(worker: task.worker, bootID: bench.core.bootID(of: task.worker) ?? 0))
            bench.wait(2.5, beating: ["a", "b", "c"].filter { bench.core.bootID(of: $0) != nil && $0 != task.worker })
            bench.tasks = []
            bench.load()
        }
        bench.work()
        let status = try bench.status(id)
        #expect(status.done == 8 && status.failed == 1, "\(status)")
        guard case .failed(let text) = status.images[0] else { throw BenchError() }
        #expect(text.contains("set aside"), "\(text)")
    }

    @Test("a worker that is dead before a plan and known to be only after it counts against what it had in hand")
    func diesSilently() throws {
        let bench = Self.bench(.count(3))
        bench.join("a", "b", "c")
        let id = try bench.submit([.euler("poison"), .euler("p1", seed: 1), .euler("p2", seed: 2)])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        let poison = ImageID(job: id, index: 0)
        let first = try #require(bench.tasks.first { $0.key.image == poison })
        let other = try #require(["a", "b", "c"].first { $0 != first.worker })
        // Silent from now on; another one is lost first, and the picture goes to the third.
        bench.handle(.disconnected(worker: other, bootID: 1))
        let third = try #require(["a", "b", "c"].first { $0 != first.worker && $0 != other })
        bench.wait(2.5, beating: [third])
        bench.tasks = []
        bench.load(only: [third])
        bench.wait(10, beating: [third])
        #expect(bench.life(first.worker) == .lost)
        bench.tasks = []
        bench.load()
        bench.handle(.disconnected(worker: third, bootID: 1))
        bench.wait(2.5)
        bench.join([FakeModel.hello("d")])
        bench.work()
        let status = try bench.status(id)
        guard case .failed(let text) = status.images[0] else {
            Issue.record("\(status)")
            return
        }
        #expect(text.contains("set aside") && text.contains("\(first.worker) was lost at step 2"), "\(text)")
    }

    @Test("links in trouble are those within a replica")
    func links() throws {
        let bench = Self.bench(.count(2))
        bench.join("a", "b", "c", "d")
        _ = try bench.submit([.euler("p", steps: 50)])
        for (worker, epoch) in [("b", 1), ("c", 2)] as [(String, Epoch)] {
            for _ in 0..<4 {
                bench.beat(worker, link: bench.core.plan?.epoch == 1 ? .broken : nil)
                bench.wait(1, beating: ["a", "b", "c", "d"].filter { $0 != worker })
            }
            #expect(bench.core.plan?.epoch == epoch, "\(worker)")
        }
    }

    @Test("workers without blocks encode and decode for every replica")
    func shared() throws {
        let bench = Self.bench(.count(2))
        bench.join([
            FakeModel.hello("a", roles: [.blocks]), FakeModel.hello("b", roles: [.blocks]),
            FakeModel.hello("e", roles: [.encoder]), FakeModel.hello("v", roles: [.decoder]),
        ])
        let plan = try #require(bench.core.plan)
        #expect(plan.pipelines.map { $0.map(\.worker) } == [["a"], ["b"]])
        #expect(plan.placements.map(\.worker) == ["a", "b", "e", "v"])
        #expect(plan.placements.map(\.replica) == [0, 1, nil, nil])
        #expect(ReplicatedPlan(plan)?.replicas.map(\.encoder) == ["e", "e"])
        let requests = Self.requests(6)
        let id = try bench.submit(requests)
        bench.work()
        try Self.expectAll(requests, id, bench)

        // Two suspects of two replicas are not with the shared worker together.
        let more = try bench.submit(Self.requests(6))
        let given = bench.tasks.filter { $0.worker == "e" }
        #expect(given.count == 2)
        bench.handle(.disconnected(worker: "e", bootID: 1))
        bench.wait(2.5, beating: ["a", "b", "v"])
        bench.tasks = []
        bench.join([FakeModel.hello("e", boot: 2, roles: [.encoder])])
        #expect(bench.tasks.filter { $0.worker == "e" }.count == 1)
        bench.work()
        #expect(try bench.status(more).done == 6)
    }

    @Test("replicas are chosen by memory and measured times; what is not measured, or does not fit, stays one pipeline")
    func choice() throws {
        func input(_ memory: [Double], _ rates: [Double?]) -> PlanningInput {
            let nodes = zip(memory, rates).enumerated().map { index, node in
                PlanningNode(name: "n\(index)", memory: node.0, speed: node.1.map { .rate($0) })
            }
            return PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux))
        }
        func groups(_ input: PlanningInput, _ rule: ReplicaRule) throws -> [[String]] {
            let plan = try Planner.plan(input, replicas: rule)
            for cut in plan.replicas { #expect(Planner.shortage(cut, input) == nil) }
            let placements = plan.placements(endpoints: [:])
            let cluster = ClusterPlan(epoch: 1, placements: placements, blockCount: input.model.blockCount)
            #expect(ReplicatedPlan(cluster) == plan && cluster.pipelines.count == plan.replicas.count)
            return plan.replicas.map { $0.spans.map(\.node).sorted() }
        }
        let four = [Double?](repeating: 1e12, count: 4)
        let roomy = input([120e9, 120e9, 120e9, 120e9], four)
        #expect(try groups(roomy, .auto) == [["n0"], ["n1"], ["n2"], ["n3"]])
        #expect(try groups(roomy, .count(2)) == [["n0", "n1"], ["n2", "n3"]])
        #expect(try groups(roomy, .count(1)).count == 1)
        #expect(try Planner.plan(roomy, replicas: .count(1)).replicas == [Planner.plan(roomy)])
        // Three would need more memory than two of the groups have.
        #expect(try groups(input([60e9, 60e9, 60e9, 60e9], four), .count(3)) == [["n0", "n1"], ["n2", "n3"]])
        #expect(try groups(input([25e9, 25e9, 25e9, 25e9], four), .auto).count == 1)
        // Large and small ones are put together, against the order of names.
        #expect(try Set(groups(input([80e9, 80e9, 30e9, 30e9], four), .auto)) == [["n0", "n2"], ["n1", "n3"]])
        #expect(try groups(input([120e9, 120e9], [1e12, nil]), .auto).count == 1)
        let forecast = try #require(Forecast(Planner.plan(roomy, replicas: .auto), roomy))
        let alone = try #require(Forecast(Planner.plan(roomy), roomy))
        #expect(forecast.replicas == 4 && forecast.nodes.map(\.replica) == [0, 1, 2, 3])
        #expect(forecast.picturesPerHour > alone.picturesPerHour && forecast.flights == 8 && forecast.links == 0)
    }

    @Test("a running plan stays where the gain is small, but not with fewer replicas than were asked for")
    func keeps() throws {
        let nodes = ["a", "b"].map { PlanningNode(name: $0, memory: 120e9, speed: .rate(1e12), link: .loopback) }
        let input = PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux))
        let one = try Planner.plan(input, replicas: .count(1))
        let two = try Planner.plan(input, replicas: .count(2))
        #expect(Planner.keeps(one, over: two, input, replicas: .auto))
        #expect(!Planner.keeps(one, over: two, input, replicas: .count(2)))
        #expect(Planner.keeps(two, over: two, input, replicas: .count(2)))
        let rate = try #require(Planner.rate(two, input))
        #expect(try abs(rate / #require(Planner.rate(one, input)) - 1) < 0.05)
    }

    @Test("who encodes for one replica and decodes for another needs memory for both; time is shared")
    func sharedCosts() throws {
        func input(_ memory: Double) -> PlanningInput {
            let nodes =
                ["a", "b"].map { PlanningNode(name: $0, roles: [.blocks], memory: 120e9, speed: .rate(1e12)) }
                + [PlanningNode(name: "s", roles: [.encoder, .decoder], memory: memory, speed: .rate(3e11))]
            return PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux))
        }
        let roomy = input(60e9)
        let two = try Planner.plan(roomy, replicas: .auto)
        #expect(two.replicas.map(\.encoder) == ["s", "s"] && two.replicas.map(\.decoders) == [["s"], ["s"]])
        #expect(two.placements(endpoints: [:]).map(\.replica) == [0, 1, nil])
        let forecast = try #require(Forecast(two, roomy))
        #expect(forecast.nodes.map(\.name) == ["a", "s", "b"] && forecast.nodes.map(\.replica) == [0, nil, 1])
        #expect(forecast.nodes[1].busy < 1)
        #expect(throws: PlanningFailure.self) { try Planner.plan(input(10e9), replicas: .auto) }
    }
}
