import Coordinator
import Plan
import Testing

/// Links between workers, of which the coordinator only hears.
struct LinkTests {
    /// Beats of all, twice a second, in which "a" says what is wrong with its link.
    private func wait(_ bench: Bench, _ seconds: Double, beating workers: [String], link: Heartbeat.LinkTrouble?) {
        for _ in 0..<Int(2 * seconds) {
            for worker in workers { bench.beat(worker, link: worker == "a" ? link : nil) }
            bench.wait(0.5)
        }
    }

    private func replayed(_ bench: Bench) -> Int { bench.measurements.count { $0 == .replayed } }

    /// A cluster of three with one picture on its way from "a" to "b" in its second step.
    private func flowing(_ bench: Bench) throws -> JobID {
        bench.join("a", "b", "c")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        bench.tasks = []
        return id
    }

    private func finish(_ bench: Bench, _ id: JobID) throws {
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.values.first == (try FakeModel.render(.euler("p"))))
    }

    @Test(
        "a silent link between two workers that are heard is planned around within two heartbeats, and tried again later"
    )
    func silent() throws {
        let bench = Bench()
        let id = try flowing(bench)
        wait(bench, 0.5, beating: ["a", "b", "c"], link: .silent)
        #expect(bench.core.plan?.epoch == 1, "one heartbeat may have been late")
        wait(bench, 1.5, beating: ["a", "b", "c"], link: .silent)
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.map(\.worker) == ["a", "c"])
        try finish(bench, id)
        #expect(replayed(bench) == 1)
        wait(bench, 55, beating: ["a", "b", "c"], link: nil)
        #expect(bench.core.plan?.epoch == 2)
        wait(bench, 5, beating: ["a", "b", "c"], link: nil)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b", "c"])

        // Still silent: twice as long without it.
        bench.load()
        _ = try flowing(bench)
        wait(bench, 2, beating: ["a", "b", "c"], link: .silent)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "c"])
        bench.load()
        bench.work()
        wait(bench, 110, beating: ["a", "b", "c"], link: nil)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "c"])
        wait(bench, 12, beating: ["a", "b", "c"], link: nil)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b", "c"])
    }

    @Test("a silent link to a worker that is silent here too is left to its loss: no step is sent a second time for it")
    func silentWorker() throws {
        let bench = Bench()
        let id = try flowing(bench)
        wait(bench, 4, beating: ["a", "b", "c"], link: nil)
        wait(bench, 4, beating: ["a", "c"], link: nil)
        wait(bench, 5, beating: ["a", "c"], link: .silent)
        #expect(bench.core.plan?.epoch == 1)
        let limit = bench.now + 2_000_000_000
        while bench.core.plan?.epoch == 1, bench.now < limit {
            wait(bench, 0.5, beating: ["a", "c"], link: .silent)
        }
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.map(\.worker) == ["a", "c"])
        bench.load()
        bench.wait(1.2)
        #expect(bench.core.plan?.epoch == 2, "it was said of another neighbour")
        try finish(bench, id)
        #expect(replayed(bench) == 1)
        bench.say(.hello(FakeModel.hello("b", boot: 2)), "b", boot: 2)
        bench.wait(0.6, beating: ["a", "c"])
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b", "c"], "nothing is held against its link")
    }

    @Test("a worker whose data link does not come up is left out, and tried again later; one that is alone is named")
    func unlinked() throws {
        let bench = Bench()
        for name in ["a", "b"] { bench.say(.hello(FakeModel.hello(name)), name) }
        bench.wait(0.6)
        bench.load(only: ["b"])
        bench.say(.loaded(Loaded(epoch: 1, residentBytes: 1)), "a")
        let id = try bench.submit([.euler("p")])
        #expect(bench.tasks.isEmpty)
        bench.wait(28, beating: ["a", "b"])
        #expect(bench.core.plan?.epoch == 1, "it may be late")
        bench.wait(3, beating: ["a", "b"])
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.map(\.worker) == ["b"])
        try finish(bench, id)
        bench.wait(60, beating: ["a", "b"])
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b"])
        bench.load()
        bench.wait(32, beating: ["a", "b"])
        #expect(bench.core.plan?.epoch == 3, "now it is up")

        let alone = Bench()
        alone.say(.hello(FakeModel.hello("a")), "a")
        alone.wait(0.6)
        alone.say(.loaded(Loaded(epoch: 1, residentBytes: 1)), "a")
        let job = try alone.submit([.euler("p")])
        alone.wait(31, beating: ["a"])
        #expect(
            try alone.status(job).waiting
                == "no worker is in reach, and a does not reach the coordinator's data socket, tcp://127.0.0.1:5791")
        alone.wait(60, beating: ["a"])
        alone.load()
        alone.work()
        #expect(try alone.status(job).done == 1)
    }

    @Test("who only passes hidden states on needs no data link to the coordinator")
    func middle() throws {
        let bench = Bench { $0.cut = .even }
        let hellos = [
            FakeModel.hello("a"), FakeModel.hello("b", roles: [.blocks]), FakeModel.hello("c", roles: [.blocks]),
        ]
        for hello in hellos { bench.say(.hello(hello), hello.name) }
        bench.wait(0.6)
        let pipeline = try #require(bench.core.plan?.pipeline.map(\.worker))
        try #require(pipeline.count == 3 && pipeline[1] != "a")
        bench.load(only: ["a", pipeline[0], pipeline[2]])
        bench.say(.loaded(Loaded(epoch: 1, residentBytes: 1)), pipeline[1])
        bench.wait(40, beating: ["a", "b", "c"])
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 1 && bench.core.plan?.epoch == 1)
    }

    @Test("that its data link breaks costs nothing where it only passes hidden states on")
    func breaksInTheMiddle() throws {
        let bench = Bench { $0.cut = .even }
        bench.join([
            FakeModel.hello("a"), FakeModel.hello("b", roles: [.blocks]), FakeModel.hello("c", roles: [.blocks]),
        ])
        let pipeline = try #require(bench.core.plan?.pipeline.map(\.worker))
        try #require(pipeline.count == 3 && pipeline[1] != "a")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        bench.handle(.linkLost(worker: pipeline[1]))
        bench.wait(1, beating: pipeline)
        bench.work()
        #expect(try bench.status(id).done == 1 && bench.core.plan?.epoch == 1)
        bench.handle(.linkLost(worker: pipeline[2]))
        bench.wait(1, beating: pipeline)
        #expect(bench.core.plan?.epoch == 2, "answers come from there")
    }

    @Test("a process that is gone is planned around at once, whatever its place", arguments: 0..<3, [false, true])
    func bothBreak(place: Int, isDataLinkFirst: Bool) throws {
        let bench = Bench { $0.cut = .even }
        bench.join([
            FakeModel.hello("a"), FakeModel.hello("b", roles: [.blocks]), FakeModel.hello("c", roles: [.blocks]),
            FakeModel.hello("d"),
        ])
        let pipeline = try #require(bench.core.plan?.pipeline.map(\.worker))
        try #require(pipeline.count == 4)
        let (gone, others) = (pipeline[place], pipeline.filter { $0 != pipeline[place] })
        let events = [Event.linkLost(worker: gone), .disconnected(worker: gone, bootID: 1)]
        for event in isDataLinkFirst ? events : events.reversed() { bench.handle(event) }
        bench.wait(0.8, beating: others)
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.contains { $0.worker == gone } == false)
    }

    @Test("a link that broke and stands again costs one step and no worker")
    func broken() throws {
        let bench = Bench()
        let id = try flowing(bench)
        wait(bench, 2, beating: ["a", "b", "c"], link: .broken)
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.map(\.worker) == ["a", "b", "c"])
        try finish(bench, id)
        #expect(replayed(bench) == 1)
    }

    @Test(
        "a link that breaks before a step gets through, three times, is done without for a while; not if steps do",
        arguments: [false, true], [false, true])
    func breaksAgain(isDataLink: Bool, carriesSteps: Bool) throws {
        let bench = Bench()
        bench.join("a", "b", "c")
        let id = try bench.submit([.euler("p", steps: 8)])
        for _ in 0..<3 {
            bench.work(until: { $0.key.need == .step })
            if carriesSteps {
                bench.answer(try #require(bench.tasks.first { $0.key.need == .step }))
                bench.work(until: { $0.key.need == .step })
            }
            bench.tasks = []
            if isDataLink {
                bench.handle(.linkLost(worker: "c"))
                bench.wait(2, beating: ["a", "b", "c"])
            } else {
                wait(bench, 2, beating: ["a", "b", "c"], link: .broken)
            }
            bench.load()
        }
        let workers = bench.core.plan?.placements.map(\.worker)
        #expect((workers?.count == 3) == carriesSteps, "\(workers ?? [])")
        #expect(bench.logged.contains { $0.contains("breaks again and again") } == !carriesSteps)
        bench.wait(40, beating: ["a", "b", "c"])
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        bench.wait(30, beating: ["a", "b", "c"])
        #expect(bench.core.plan?.placements.count == 3, "tried again after a minute")
    }

    @Test("what a worker says of a link in an older epoch counts for nothing")
    func old() throws {
        let bench = Bench()
        let id = try flowing(bench)
        bench.handle(.linkLost(worker: "c"))
        bench.wait(1, beating: ["a", "b", "c"])
        bench.load()
        for _ in 0..<6 {
            for worker in ["a", "b", "c"] {
                bench.say(
                    .heartbeat(Heartbeat(epoch: 1, image: nil, block: nil, counters: .init(), link: .silent)), worker)
            }
            bench.wait(0.5)
        }
        #expect(bench.core.plan?.epoch == 2 && bench.core.plan?.placements.count == 3)
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("one worker that reaches nobody is left out, and not all those that it does not reach")
    func reachesNobody() throws {
        let bench = Bench()
        let all = ["a", "b", "c", "d"]
        bench.join("a", "b", "c", "d")
        _ = try bench.submit([.euler("p", steps: 9)])
        var plans: [[String]] = []
        for _ in 0..<4 {
            bench.work(until: { $0.key.need == .step && $0.key.step % 2 == 1 })
            wait(bench, 2, beating: all, link: .silent)
            bench.load()
            plans.append(bench.core.plan?.placements.map(\.worker) ?? [])
            if plans.last?.contains("a") == false { break }
            bench.answer(try #require(bench.tasks.first))
        }
        #expect(plans == [["a", "c", "d"], ["b", "c", "d"]])
        bench.work()
        #expect(bench.files.count == 1)
    }

    @Test("where both ends of a silent link are needed a job waits and says why; of others the first end goes")
    func needed() throws {
        let bench = Bench()
        bench.join([
            FakeModel.hello("a", roles: [.encoder, .blocks]), FakeModel.hello("b", roles: [.blocks, .decoder]),
        ])
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        bench.tasks = []
        wait(bench, 2, beating: ["a", "b"], link: .silent)
        #expect(try bench.status(id).waiting?.hasSuffix("and a does not reach b") == true)
        wait(bench, 61, beating: ["a", "b"], link: nil)
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)

        let other = Bench()
        other.join([FakeModel.hello("a", roles: [.blocks]), FakeModel.hello("b")])
        _ = try other.submit([.euler("p")])
        other.work(until: { $0.key.need == .step })
        wait(other, 2, beating: ["a", "b"], link: .silent)
        #expect(other.core.plan?.placements.map(\.worker) == ["b"])
    }
}
