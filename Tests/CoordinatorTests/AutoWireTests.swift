@testable import Coordinator
import JobStore
import Plan
import Testing

/// Two workers of 0.03 s a step, whose link carries 640 bytes for it in f32, 320 in bf16 and 240 in int8.
@Suite("The format of hidden states, chosen by measured links")
struct AutoWireTests {
    private static func bench(_ change: (inout CoordinatorSettings) -> Void = { _ in }) -> Bench {
        let bench = Bench {
            $0.wire = .auto
            change(&$0)
        }
        for name in ["a", "b"] {
            let hello = PlannerTests.hello(name, 0.01)
            bench.say(.hello(hello), name)
        }
        return bench
    }

    private static func link(_ bytesPerSecond: Double) -> LinkSpeed {
        LinkSpeed(bytesPerSecond: bytesPerSecond, roundTrip: 0)
    }

    private static let request = ImageRequest.euler("p", steps: 4, side: 64)

    @Test(
        "the most exact format that does not hold the pipeline up is chosen before the first picture begins",
        arguments: [(1e5, .f32), (1.7e4, .bf16), (8e3, .int8)] as [(Double, WireFormat)])
    func chooses(bytesPerSecond: Double, format: WireFormat) throws {
        let bench = Self.bench()
        let id = try bench.submit([Self.request])
        bench.wait(0.6)
        let first = try #require(bench.core.plan)
        #expect(first.measuresLinks == true && first.wire == .f32)
        bench.load(only: ["a"], link: Self.link(bytesPerSecond))
        #expect(bench.tasks.isEmpty)
        bench.load(only: ["b"], link: nil)
        if format != .f32 {
            #expect(bench.tasks.isEmpty, "not before the plan that has the format")
            bench.wait(0.2)
            bench.load()
        }
        let plan = try #require(bench.core.plan)
        #expect(plan.wire == format && (plan.measuresLinks == true) == (format == .f32))
        #expect(plan.epoch == (format == .f32 ? 1 : 2))
        #expect(bench.store.facts["wire"] == format.rawValue)
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("clients see each measured link at the worker that sends over it, as long as the plan has it")
    func isShown() throws {
        let bench = Self.bench { $0.cut = .even }
        func links() throws -> [String: MeasuredLink] {
            guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
            return Dictionary(
                uniqueKeysWithValues: status.workers.compactMap { worker in
                    worker.link.map { (worker.hello.name, $0) }
                })
        }
        bench.wait(0.6)
        #expect(try links().isEmpty)
        bench.load(link: Self.link(1e5))
        #expect(try links() == ["a": MeasuredLink(target: "b", speed: Self.link(1e5))])
        bench.ask(.drain(worker: "b"))
        bench.wait(0.6, beating: ["a", "b"])
        #expect(try links().isEmpty, "there is no next worker")
    }

    @Test("the format stays while a picture is in flight, and is open again when none is")
    func stays() throws {
        let bench = Self.bench { $0.cut = .even }
        bench.wait(0.6)
        bench.load(link: Self.link(8e3))
        bench.wait(0.2)
        bench.load()
        #expect(bench.core.wire == .f32, "by the model's usual pictures, which are large")
        let id = try bench.submit([Self.request])
        #expect(bench.core.wire == .int8 && bench.tasks.isEmpty)
        bench.wait(0.2)
        bench.load()
        #expect(!bench.tasks.isEmpty && bench.core.plan?.wire == .int8)
        bench.say(.hello(PlannerTests.hello("c", 0.01)), "c")
        bench.wait(0.6, beating: ["a", "b", "c"])
        while bench.core.plan?.placements.count == 2, let task = bench.tasks.first { bench.answer(task) }
        bench.wait(0.6, beating: ["a", "b", "c"])
        let plan = try #require(bench.core.plan)
        #expect(plan.wire == .int8)
        #expect(plan.measuresLinks == nil)
        #expect(plan.placements.count == 3)
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        bench.handle(.disconnected(worker: "c", bootID: 1))
        bench.wait(3, beating: ["a", "b"])
        bench.load(link: Self.link(1e5))
        let last = try #require(bench.core.plan)
        #expect(last.placements.count == 2)
        #expect(bench.core.wire == .f32, "nothing is in flight, and the next pictures may be the usual ones")
    }

    @Test("a queue with pictures that were begun in a format goes on in it")
    func remembers() throws {
        let first = Self.bench()
        let id = try first.submit([Self.request])
        first.wait(0.6)
        first.load(link: Self.link(1.7e4))
        first.wait(0.2)
        first.load()
        first.work(until: { $0.key.step == 2 })
        #expect(first.core.wire == .bf16)

        let bench = Bench {
            $0.wire = .auto
            $0.begunWire = first.store.facts["wire"].flatMap { WireFormat(rawValue: $0) }
        }
        bench.handle(.recovered(first.store.unfinished, pin: nil, epoch: 2))
        for name in ["a", "b"] { bench.say(.hello(PlannerTests.hello(name, 0.01)), name) }
        bench.wait(0.6)
        let plan = try #require(bench.core.plan)
        #expect(plan.wire == .bf16 && plan.measuresLinks == nil)
        bench.load()
        #expect(bench.core.flights[ImageID(job: id, index: 0)] != nil)
    }

    @Test("workers that cannot measure, or measure nonsense, leave it at f32, and work flows")
    func unmeasured() throws {
        for speed in [nil, Self.link(.nan), Self.link(0), Self.link(-1), Self.link(.infinity)] {
            let bench = Self.bench { $0.network = .loopback }
            bench.wait(0.6)
            bench.load(link: speed)
            #expect(bench.core.plan?.wire == .f32 && bench.core.wireChoosing == .settled)
            #expect(bench.core.measuredLinks.values.allSatisfy { $0.speed == nil })
            let id = try bench.submit([Self.request])
            bench.work()
            #expect(try bench.status(id).done == 1)
        }
    }

    @Test("one worker that never gets ready does not keep the other replica from drawing, and the reason is told")
    func unready() throws {
        let bench = Self.bench { $0.replicas = .count(2) }
        let id = try bench.submit([Self.request])
        bench.wait(0.6)
        let plan = try #require(bench.core.plan)
        #expect(plan.pipelines.count == 2)
        bench.load(only: ["a"])
        bench.wait(9, beating: ["a", "b"])
        #expect(bench.tasks.isEmpty)
        #expect(try bench.status(id).waiting?.contains("b loading weights") == true)
        bench.wait(2, beating: ["a", "b"])
        #expect(!bench.tasks.isEmpty)
    }

    @Test("no picture begins before the choice is durable, and a disk that is full for a while loses nothing")
    func isDurable() throws {
        let bench = Self.bench()
        bench.wait(0.6)
        bench.refusesWrites = true
        bench.load(link: Self.link(8e3))
        bench.refusesWrites = false
        let id = try bench.submit([Self.request])
        #expect(bench.tasks.isEmpty && bench.store.facts["wire"] == nil)
        bench.wait(1.5, beating: ["a", "b"])
        bench.load()
        #expect(bench.store.facts["wire"] == bench.core.wire.rawValue && !bench.tasks.isEmpty)
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("what was measured is forgotten with the worker, and measured again after ten minutes at the next idle plan")
    func forgets() throws {
        let bench = Self.bench { $0.cut = .even }
        bench.wait(0.6)
        bench.load(link: Self.link(1e5))
        #expect(bench.core.measuredLinks.count == 1)
        bench.handle(.revoked(worker: "b"))
        #expect(bench.core.measuredLinks.isEmpty)
        bench.wait(0.6, beating: ["a"])
        bench.load()
        bench.join([PlannerTests.hello("b", 0.01)])
        #expect(bench.core.plan?.measuresLinks == true)
        bench.load(link: Self.link(1e5))
        for (wait, isMeasured) in [(10.0, false), (700, true)] {
            bench.wait(wait, beating: ["a", "b"])
            bench.ask(.drain(worker: "a"))
            bench.wait(0.6, beating: ["a", "b"])
            bench.load()
            bench.ask(.undrain(worker: "a"))
            bench.wait(0.6, beating: ["a", "b"])
            #expect(bench.core.plan?.placements.count == 2)
            #expect((bench.core.plan?.measuresLinks == true) == isMeasured, "after \(wait) s")
            bench.load(link: Self.link(1e5))
        }
    }

    @Test("the link of a worker that came back in the middle of a picture is measured before the next job begins")
    func measuresAfterLoss() throws {
        let bench = Self.bench { $0.cut = .even }
        bench.wait(0.6)
        bench.load(link: Self.link(8e3))
        let first = try bench.submit([Self.request])
        bench.wait(0.2)
        bench.load()
        bench.work(until: { $0.key.step == 2 })
        #expect(bench.core.wire == .int8)
        bench.handle(.disconnected(worker: "b", bootID: 1))
        bench.wait(3, beating: ["a"])
        bench.say(.hello(PlannerTests.hello("b", 0.01)), "b")
        bench.wait(0.6, beating: ["a", "b"])
        #expect(bench.core.plan?.placements.count == 2 && bench.core.plan?.measuresLinks == nil)
        bench.load()
        bench.work()
        #expect(try bench.status(first).done == 1 && bench.core.measuredLinks.isEmpty)

        let second = try bench.submit([Self.request])
        #expect(bench.core.plan?.measuresLinks == true && bench.tasks.isEmpty)
        bench.load(link: Self.link(8e3))
        #expect(bench.core.wire == .int8)
        bench.work()
        #expect(try bench.status(second).done == 1)
        let epoch = bench.core.epoch
        _ = try bench.submit([Self.request])
        #expect(bench.core.epoch == epoch && !bench.tasks.isEmpty, "what is known is not measured again")
    }

    @Test("a worker that joins while the format is being changed has its link measured too")
    func joinsMeanwhile() throws {
        let bench = Self.bench { $0.cut = .even }
        _ = try bench.submit([Self.request])
        bench.wait(0.6)
        bench.load(only: ["a"], link: Self.link(8e3))
        bench.say(.hello(PlannerTests.hello("c", 0.01)), "c")
        bench.load(only: ["b"])
        bench.wait(0.6, beating: ["a", "b", "c"])
        let plan = try #require(bench.core.plan)
        #expect(plan.placements.count == 3 && plan.measuresLinks == true)
    }

    @Test("an operator's format is never measured nor changed")
    func fixed() throws {
        let bench = Self.bench { $0.wire = .format(.bf16) }
        bench.wait(0.6)
        bench.load(link: Self.link(1e3))
        let plan = try #require(bench.core.plan)
        #expect(plan.wire == .bf16 && plan.measuresLinks == nil && plan.epoch == 1)
    }
}
