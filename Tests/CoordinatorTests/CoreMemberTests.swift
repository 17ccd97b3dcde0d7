import Coordinator
import JobStore
import Plan
import Testing

struct CoreMemberTests {
    @Test("a worker that was lost and is heard again has the counters that it had, until it tells others")
    func keepsCounters() throws {
        let bench = Bench()
        bench.join("a", "b")
        var counters = WorkerCounters()
        counters.busyNanoseconds = 7
        counters.upNanoseconds = 9
        bench.say(.heartbeat(Heartbeat(epoch: 1, image: nil, block: nil, counters: counters)), "a")
        bench.wait(12, beating: ["b"])
        func told() throws -> WorkerStatus {
            guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
            return try #require(status.workers.first { $0.hello.name == "a" })
        }
        #expect(try told().life == .lost)
        bench.say(.hello(FakeModel.hello("a")), "a")
        #expect(try told().life != .lost && told().counters == counters)
        // Another run of it begins at nothing.
        bench.wait(12, beating: ["b"])
        bench.say(.hello(FakeModel.hello("a", boot: 2)), "a", boot: 2)
        #expect(try told().counters == WorkerCounters())
    }

    @Test(
        "a picture survives the loss of a worker in every phase, and comes out the same",
        arguments: [Need.encode, .step, .edge, .picture], ["a", "b", "c"])
    func survivesLoss(need: Need, victim: String) throws {
        let bench = Bench()
        bench.join("a", "b", "c")
        let request = ImageRequest.ralu("p", seed: 3)
        let id = try bench.submit([request])
        bench.work(until: { $0.key.need == need && ($0.key.step == 1 || need != .step) })
        let old = try #require(bench.tasks.first)
        bench.handle(.disconnected(worker: victim, bootID: 1))
        let others = ["a", "b", "c"].filter { $0 != victim }
        bench.wait(2.5, beating: others)
        let plan = try #require(bench.core.plan)
        #expect(plan.epoch == 2 && plan.placements.map(\.worker) == others)
        bench.tasks.removeAll { $0.key.epoch == 1 }
        bench.load()
        // The answer of the old epoch arrives after all.
        bench.handle(.result(bench.output(of: old), old.key, from: old.worker))
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.values.first == (try FakeModel.render(request)))
    }

    @Test("a silent worker is suspected, then lost; one that is heard again stays")
    func noticesSilence() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.wait(5, beating: ["a"])
        #expect(bench.life("b") == .suspect)
        bench.beat("b")
        #expect(bench.life("b") == .ready && bench.core.plan?.epoch == 1)
        bench.wait(11, beating: ["a"])
        #expect(bench.life("b") == .lost)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a"])
    }

    @Test("a coordinator that was stopped for a minute does not blame its workers")
    func forgivesOwnPause() throws {
        let bench = Bench()
        bench.join("a")
        bench.wait(1, beating: ["a"])
        bench.now += 60_000_000_000
        bench.handle(.tick)
        #expect(bench.life("a") == .ready)
    }

    @Test("nor for pictures that they had in hand: they go on, and none is set aside")
    func forgivesOwnPauseInHand() throws {
        let bench = Bench()
        bench.join("a", "b")
        let request = ImageRequest.euler("p")
        let id = try bench.submit([request])
        bench.work(until: { $0.key.need == .step })
        let image = ImageID(job: id, index: 0)
        for _ in 0..<10 {
            for worker in ["a", "b"] { bench.beat(worker, image: image, block: 1) }
            bench.wait(0.2)
        }
        bench.now += 400_000_000_000
        // A message that had come may be heard before the clock is looked at.
        bench.beat("a", image: image, block: 1)
        bench.handle(.tick)
        #expect(bench.life("a") == .ready && bench.life("b") == .ready && bench.core.plan?.epoch == 1)
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.values.first == (try FakeModel.render(request)))
    }

    @Test("a worker whose connection broke for a moment is planned in again when it is heard")
    func comesBackWithoutHello() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        bench.handle(.linkLost(worker: "a"))
        bench.handle(.disconnected(worker: "a", bootID: 1))
        bench.wait(0.6)
        #expect(bench.core.plan == nil, "planned without it")
        bench.tasks = []
        bench.beat("a")
        bench.wait(0.6, beating: ["a"])
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("a worker that loads nothing for minutes gets no share, until it moves")
    func noticesStuckLoading() throws {
        let bench = Bench()
        for name in ["a", "b"] { bench.say(.hello(FakeModel.hello(name)), name) }
        let id = try bench.submit([.euler("p")])
        bench.wait(0.6)
        bench.load(only: ["b"])
        for _ in 0..<599 {
            bench.beat("a", residentBytes: 70_000_000)
            bench.wait(0.5, beating: ["b"])
        }
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b"], "it may take its time")
        for _ in 0..<8 {
            bench.beat("a", residentBytes: 70_001_000)
            bench.wait(0.5, beating: ["b"])
        }
        #expect(bench.core.plan?.placements.map(\.worker) == ["b"])
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        bench.wait(5, beating: ["b"])
        #expect(bench.core.plan?.placements.map(\.worker) == ["b"])
        bench.beat("a", residentBytes: 80_000_000)
        bench.wait(0.6, beating: ["b"])
        #expect(Set(bench.core.plan?.placements.map(\.worker) ?? []) == ["a", "b"])
    }

    @Test("nobody is stuck loading a plan that waits for the disk of the queue")
    func forgivesPlansThatWait() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p")])
        bench.refusesWrites = true
        bench.say(.leave, "b")
        func rest(_ seconds: Double, beating others: [String] = []) {
            for _ in 0..<Int(2 * seconds) {
                bench.beat("a", residentBytes: 70_000_000)
                bench.wait(0.5, beating: others)
            }
        }
        rest(400)
        #expect(!bench.logged.contains { $0.contains("loaded nothing") })
        bench.refusesWrites = false
        rest(250)
        #expect(bench.core.plan?.placements.map(\.worker) == ["a"], "its time begins when it is told to load")
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        bench.say(.hello(FakeModel.hello("c")), "c")
        rest(2, beating: ["c"])
        #expect(bench.core.plan?.placements.count == 2)
        bench.load(only: ["c"])
        rest(400, beating: ["c"])
        #expect(bench.core.plan?.placements.map(\.worker) == ["c"], "its disk has stood for long enough")
    }

    @Test("who left as it should is forgotten; a lost worker stays on the list until it is taken off")
    func forgetsLeavers() throws {
        let bench = Bench()
        bench.join("a", "b", "c")
        func names() throws -> [String] {
            guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
            return status.workers.map(\.hello.name).sorted()
        }
        bench.say(.drain, "b")
        bench.wait(0.6, beating: ["a", "b", "c"])
        bench.say(.leave, "b")
        bench.wait(11, beating: ["a"])
        #expect(try names() == ["a", "c"] && bench.life("c") == .lost)
        let refusal = bench.failure(.forget(worker: "a"))
        #expect(refusal?.code == .invalid && refusal?.text.contains("a is here (") == true)
        #expect(bench.ask(.forget(worker: "c")) == .done)
        #expect(try names() == ["a"])
        for request in [ClientRequest.forget(worker: "c"), .drain(worker: "c"), .undrain(worker: "c")] {
            #expect(bench.failure(request)?.code == .unknown)
        }
    }

    @Test("a lost worker that is drained stays out when it comes back, until it is let back in or forgotten")
    func drainsLost() throws {
        let bench = Bench()
        bench.join("a", "b")
        func loseB(boot: UInt64) {
            bench.handle(.disconnected(worker: "b", bootID: boot))
            bench.wait(2.5, beating: ["a"])
            bench.load()
        }
        func greetB(boot: UInt64) {
            bench.say(.hello(FakeModel.hello("b", boot: boot)), "b", boot: boot)
            bench.wait(1, beating: ["a"])
            bench.load()
        }
        func workers() -> [String] { bench.core.plan?.placements.map(\.worker).sorted() ?? [] }
        loseB(boot: 1)
        #expect(bench.life("b") == .lost && bench.isDrained("b") == false && workers() == ["a"])
        for _ in 0..<2 {
            #expect(bench.ask(.drain(worker: "b")) == .done)
            #expect(bench.life("b") == .lost && bench.isDrained("b") == true)
            #expect(bench.store.facts[CoordinatorCore.drainedFact] == "b")
        }
        greetB(boot: 2)
        #expect(bench.life("b") == .draining && workers() == ["a"])

        // Let back in while it is off.
        loseB(boot: 2)
        #expect(bench.life("b") == .lost)
        #expect(bench.ask(.undrain(worker: "b")) == .done)
        #expect(bench.isDrained("b") == false && bench.store.facts[CoordinatorCore.drainedFact] == nil)
        greetB(boot: 3)
        #expect(workers() == ["a", "b"])

        // Drained, and forgotten while it is off.
        #expect(bench.ask(.drain(worker: "b")) == .done)
        loseB(boot: 3)
        #expect(bench.life("b") == .lost && bench.isDrained("b") == true)
        #expect(bench.ask(.forget(worker: "b")) == .done)
        #expect(bench.life("b") == nil && bench.store.facts[CoordinatorCore.drainedFact] == nil)
        greetB(boot: 4)
        #expect(bench.isDrained("b") == false && workers() == ["a", "b"])
    }

    @Test(
        "a worker that is stuck in one block is given up although it beats: after 30 s or five times the predicted time",
        arguments: [(1.0, 29.0, 31.0), (8.0, 39.0, 41.0), (0.0, 148.0, 152.0)])
    func noticesStuckWorker(secondsPerBlock: Double, keeps: Double, loses: Double) throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        let image = ImageID(job: id, index: 0)
        // Four tokens through three blocks of a span, as often as not.
        var counters = WorkerCounters()
        if secondsPerBlock > 0 {
            for _ in 0..<10 { counters.countStep(stage: 0, tokens: 4, nanoseconds: UInt64(3e9 * secondsPerBlock)) }
        }
        let began = bench.now
        func seconds() -> Double { Double(bench.now - began) * 1e-9 }
        while bench.life("a") != .lost, seconds() < 200 {
            bench.say(.heartbeat(Heartbeat(epoch: 1, image: image, block: 1, counters: counters)), "a")
            bench.beat("b")
            bench.wait(0.2)
        }
        #expect(keeps...loses ~= seconds())
        #expect(bench.core.plan?.placements.map(\.worker) == ["b"])
        #expect(bench.core.plan?.epoch == 2, "what it still sends counts for nothing")
    }

    @Test(
        "a decoding or an encoding has ten times the limit of a block, or five times what the worker's benchmark says",
        arguments: [Need.encode, .picture], [(1.0, 298.0, 302.0), (100, 498, 502)])
    func waitsForSlowSides(need: Need, times: (seconds: Double, keeps: Double, loses: Double)) throws {
        let bench = Bench()
        var hellos = [FakeModel.hello("a"), FakeModel.hello("b", roles: [.blocks])]
        var costs = MeasuredCosts()
        costs.encode = CostCurve([.init(size: 4, seconds: times.seconds)])
        costs.decode = CostCurve([.init(size: 32 * 32, seconds: times.seconds)])
        hellos[0].profile = NodeProfile(
            cores: 1, instructions: "avx2", machine: "a", sharesMemory: false, costs: costs)
        bench.join(hellos)
        let id = try bench.submit([.euler("p", side: 32)])
        bench.work(until: { $0.key.need == need })
        #expect(bench.tasks.map(\.worker) == ["a"])
        let began = bench.now
        func seconds() -> Double { Double(bench.now - began) * 1e-9 }
        while bench.life("a") != .lost, seconds() < 600 {
            bench.beat("a", image: ImageID(job: id, index: 0))
            bench.beat("b")
            bench.wait(0.2)
        }
        #expect(times.keeps...times.loses ~= seconds())
    }

    @Test("a worker that falls silent with work in hand is not stuck: it has the time that silence is given")
    func silentIsNotStuck() throws {
        let bench = Bench { $0.lostAfter = 100_000_000_000 }
        bench.join("a", "b")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        var counters = WorkerCounters()
        counters.countStep(stage: 0, tokens: 4, nanoseconds: 1_000_000)
        let image = ImageID(job: id, index: 0)
        bench.say(.heartbeat(Heartbeat(epoch: 1, image: image, block: 1, counters: counters)), "a")
        bench.wait(90, beating: ["b"])
        #expect(bench.life("a") == .suspect)
        bench.wait(11, beating: ["b"])
        #expect(bench.life("a") == .lost)
    }

    @Test("a worker that is stuck in a picture which nobody wants any more is given up too")
    func noticesStuckAfterCancel() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        #expect(bench.ask(.cancel(id)) == .done)
        var counters = WorkerCounters()
        counters.countStep(stage: 0, tokens: 4, nanoseconds: 1_000_000)
        for _ in 0..<80 {
            let image = ImageID(job: id, index: 0)
            bench.say(.heartbeat(Heartbeat(epoch: 1, image: image, block: 1, counters: counters)), "a")
            bench.beat("b")
            bench.wait(0.5)
        }
        #expect(bench.life("a") == .lost)
    }

    @Test(
        "on a local network three missed heartbeats make a worker suspect, within three seconds it is lost",
        arguments: [(UInt64(200_000_000), 2.5, 3.0), (0, 3.0, 3.2)])
    func hurriesOnLocalNetwork(tick: UInt64, keeps: Double, loses: Double) throws {
        let bench = Bench {
            $0.expectLocalNetwork()
            $0.tick = tick
        }
        bench.join("a", "b")
        let welcome = bench.control.compactMap { if case .welcome(let welcome) = $0.message { welcome } else { nil } }
        #expect(welcome.first?.heartbeatMilliseconds == 300)
        bench.beat("b")
        let heard = bench.now
        bench.wait(1.5, beating: ["a"])
        #expect(bench.life("b") == .suspect)
        while bench.life("b") != .lost, bench.now < heard + 5_000_000_000 { bench.wait(0.2, beating: ["a"]) }
        let seconds = Double(bench.now - heard) * 1e-9
        #expect(seconds > keeps && seconds <= loses, "the first look after the promised time would be too late")
    }

    @Test(
        "a picture that was in hand of two lost workers is set aside with the evidence, others go on",
        arguments: [false, true])
    func setsAside(dataLinkBreaksToo: Bool) throws {
        let bench = Bench()
        bench.join("a", "b", "c")
        let id = try bench.submit([.euler("poison"), .euler("fine")])
        // Both are at the pipeline when the first worker dies; then they run one by one.
        bench.work(until: { _ in bench.tasks.count == 2 && bench.tasks.allSatisfy { $0.key.need == .step } })
        bench.handle(.disconnected(worker: "a", bootID: 1))
        if dataLinkBreaksToo { bench.handle(.linkLost(worker: "a")) }
        bench.wait(2.5, beating: ["b", "c"])
        bench.tasks = []
        bench.load()
        #expect(bench.tasks.count == 1, "suspects run alone")
        #expect(bench.tasks.first?.key.image.index == 0)
        if dataLinkBreaksToo { bench.handle(.linkLost(worker: "b")) }
        bench.handle(.disconnected(worker: "b", bootID: 1))
        bench.wait(2.5, beating: ["c"])
        bench.tasks = []
        bench.load()
        bench.work()
        let status = try bench.status(id)
        #expect(status.done == 1 && status.failed == 1)
        let evidence = "\(status.images[0])"
        #expect(evidence.contains("a was lost at step 1 (its connection broke)"))
        #expect(evidence.contains("b was lost at step 1 (its connection broke)"))
    }

    @Test("a worker that dies three times with a picture rests, and another draws it; without another it is set aside")
    func tellsBadNodes() throws {
        for names in [["a", "b"], ["a"]] {
            let bench = Bench()
            bench.join([FakeModel.hello(names[0])])
            let id = try bench.submit([.euler("p")])
            var deaths = 0
            for run in 1...UInt64(5) {
                bench.work(until: { $0.key.need == .step })
                guard !bench.tasks.isEmpty, bench.core.plan?.placements.contains(where: { $0.worker == "a" }) == true
                else { break }
                deaths += 1
                bench.tasks = []
                bench.handle(.disconnected(worker: "a", bootID: run))
                if run == 1 { bench.join(names.dropFirst().map { FakeModel.hello($0) }) }
                bench.wait(4, beating: Array(names.dropFirst()))
                bench.join([FakeModel.hello("a", boot: run + 1)])
            }
            bench.work()
            let status = try bench.status(id)
            if names.count > 1 {
                #expect(status.done == 1 && deaths == 3, "\(status)")
            } else {
                #expect(status.failed == 1 && deaths == 2, "\(status)")
            }
        }
    }

    @Test("workers that join one after the other do not put a plan off for ever")
    func plansWhileOthersJoin() throws {
        let bench = Bench()
        bench.join("a")
        let before = bench.core.plan?.epoch
        for number in 0..<20 {
            bench.say(.hello(FakeModel.hello("w\(number)")), "w\(number)")
            bench.wait(0.3, beating: ["a"])
        }
        #expect(bench.core.plan?.epoch != before, "after six seconds of joining")
    }

    @Test(
        "workers that die together, or fall silent together, count once against what they had in hand: it goes on",
        arguments: [["a", "b"], ["a", "b", "c"]], [0.0, 0.2, 0.6])
    func diesTogether(victims: [String], apart: Double) throws {
        for areSilent in [false, true] {
            let bench = Bench()
            bench.join("a", "b", "c")
            let request = ImageRequest.euler("p")
            let id = try bench.submit([request])
            bench.work(until: { $0.key.need == .step })
            let others = ["a", "b", "c"].filter { !victims.contains($0) }
            if areSilent {
                bench.beat(victims[0])
                bench.wait(apart)
                for worker in victims.dropFirst() { bench.beat(worker) }
            } else {
                for worker in victims {
                    bench.handle(.disconnected(worker: worker, bootID: 1))
                    bench.handle(.linkLost(worker: worker))
                    bench.wait(apart, beating: others)
                }
            }
            bench.tasks = []
            bench.wait(12, beating: others)
            #expect(victims.allSatisfy { bench.life($0) == .lost })
            #expect(try bench.status(id).failed == 0)
            if others.isEmpty {
                bench.tasks = []
                bench.join(victims.map { FakeModel.hello($0, boot: 2) })
            }
            bench.load()
            bench.work()
            #expect(try bench.status(id).done == 1)
            #expect(bench.files.values.first == (try FakeModel.render(request)))
        }
    }

    @Test("without workers a job waits and says why; it goes on when one comes")
    func waitsForWorkers() throws {
        let bench = Bench { $0.minimumWorkers = 2 }
        let id = try bench.submit([.euler("p")])
        #expect(try bench.status(id).waiting == "no worker has joined")
        bench.join([FakeModel.hello("a")])
        #expect(try bench.status(id).waiting == "waiting for 2 workers, 1 is here")
        bench.join([FakeModel.hello("b", roles: [.blocks])])
        bench.work()
        #expect(try bench.status(id).done == 1)

        let other = Bench()
        other.join([FakeModel.hello("a", roles: [.encoder, .blocks])])
        let stuck = try other.submit([.euler("p")])
        #expect(try other.status(stuck).waiting == "no worker offers role decoder")
    }

    @Test("a worker with another model, other kernels, another protocol or another's name is refused with both named")
    func refuses() throws {
        let bench = Bench()
        bench.join("a")
        bench.say(.hello(FakeModel.hello("b", fingerprint: "beef")), "b")
        #expect(bench.refusal?.code == .model)
        #expect(bench.refusal?.text.contains("beef") == true && bench.refusal?.text.contains("f00d") == true)
        bench.say(.hello(FakeModel.hello("c", kernels: "avx512")), "c")
        #expect(bench.refusal?.code == .kernelClass)
        let others: [(ClosedRange<UInt8>, String)] = [
            (2...2, "d speaks protocol 2, the coordinator 3"), (4...5, "protocol 4 to 5"),
        ]
        for (protocols, told) in others {
            bench.say(.hello(FakeModel.hello("d", protocols: protocols)), "d")
            #expect(bench.refusal?.code == .protocolVersion)
            #expect(bench.refusal?.text.contains(told) == true, "\(String(describing: bench.refusal))")
            #expect(bench.refusal?.text.contains("run the same version of abbozzo on both") == true)
        }
        bench.say(.hello(FakeModel.hello("a")), "z")
        #expect(bench.refusal?.code == .malformed)
        bench.control = []
        bench.say(.hello(FakeModel.hello("a", boot: 2)), "a", boot: 2)
        #expect(bench.refusal == nil, "the first one may be dead: wait for a sign of life")
        bench.beat("a")
        #expect(bench.refusal?.code == .name)
        #expect(bench.core.bootID(of: "a") == 1)
    }

    @Test("of two live workers of one name the first stays; the second is refused, and let in when the first goes")
    func refusesSecondOfName() throws {
        let bench = Bench()
        bench.join("a", "b")
        for _ in 0..<5 {
            bench.control = []
            bench.say(.hello(FakeModel.hello("a", boot: 2)), "a", boot: 2)
            bench.wait(1, beating: ["a", "b"])
            #expect(bench.refusal?.code == .name)
            #expect(bench.control.first { if case .refuse = $0.message { true } else { false } }?.boot == 2)
            #expect(
                !bench.control.contains {
                    $0.message == .introduce || $0.worker == "a" && $0.boot == 2 && $0.message == .alive
                })
        }
        #expect(bench.core.plan?.epoch == 1, "nobody was disturbed")
        // Its going away is not the first one's.
        bench.handle(.disconnected(worker: "a", bootID: 2))
        bench.wait(3, beating: ["a", "b"])
        #expect(bench.core.bootID(of: "a") == 1 && bench.core.plan?.epoch == 1)
        bench.say(.hello(FakeModel.hello("a", boot: 3)), "a", boot: 3)
        bench.beat("a")
        bench.control = []
        bench.handle(.disconnected(worker: "a", bootID: 1))
        #expect(bench.core.bootID(of: "a") == 3, "at once")
        #expect(bench.control.contains { if case .welcome = $0.message { $0.boot == 3 } else { false } })
        // The end of the old run's connection, told late, is not the new one's.
        bench.handle(.disconnected(worker: "a", bootID: 1))
        bench.wait(0.6)
        bench.load()
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("a run that comes back after its name was given away is introduced, refused, and answers nothing")
    func fencesOldRun() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.handle(.disconnected(worker: "a", bootID: 1))
        bench.say(.hello(FakeModel.hello("a", boot: 2)), "a", boot: 2)
        bench.wait(0.6, beating: ["b"])
        bench.load()
        bench.control = []
        bench.beat("a", boot: 1)
        #expect(bench.control.map(\.boot) == [1] && bench.control.first?.message == .introduce)
        bench.say(.hello(FakeModel.hello("a", boot: 1)), "a", boot: 1)
        bench.beat("a", boot: 2)
        #expect(bench.refusal?.code == .name && bench.core.bootID(of: "a") == 2)
        bench.control = []
        bench.say(.leave, "a", boot: 1)
        #expect(bench.control.map(\.boot) == [1] && bench.control.first?.message == .leave, "let go with a word")
        #expect(bench.core.bootID(of: "a") == 2)
    }

    @Test("a plan names the run of each worker")
    func namesRuns() {
        let bench = Bench()
        bench.join([FakeModel.hello("a", boot: 17), FakeModel.hello("b", boot: 4)])
        #expect(bench.core.plan?.placements.map(\.bootID) == [17, 4])
    }

    @Test("an epoch that nobody planned is not followed to the end of numbers")
    func ignoresAbsurdEpoch() throws {
        let bench = Bench()
        bench.join("a")
        bench.control = []
        bench.say(.heartbeat(Heartbeat(epoch: .max, image: nil, block: nil, counters: .init())), "a")
        #expect(bench.control.contains { $0.message == .introduce })
        #expect(bench.core.plan?.epoch == 1)
        bench.say(.heartbeat(Heartbeat(epoch: 9, image: nil, block: nil, counters: .init())), "a")
        bench.wait(0.4, beating: ["a"])
        #expect(bench.core.plan?.epoch == 10)
        let restarted = Bench()
        restarted.handle(.recovered([], pin: nil, epoch: .max))
        restarted.join("a")
        #expect(restarted.core.plan != nil)
    }

    @Test("counters that fall or overflow give no rate and no trap")
    func survivesCounters() throws {
        let bench = Bench()
        bench.join("a")
        var counters = WorkerCounters()
        let figures: [UInt64] = [(1 << 60) + 1, 1 << 60, .max, 0]
        for (index, steps) in figures.enumerated() {
            counters.steps = steps
            counters.tokens = .max
            counters.upNanoseconds = UInt64(index)
            var link = LinkCounters(source: "a", target: "b")
            link.totalBytes = .max
            counters.links = [link, link, LinkCounters(source: "b", target: "a")]
            bench.now += 500_000_000
            bench.say(.heartbeat(Heartbeat(epoch: 1, image: nil, block: nil, counters: counters)), "a")
            guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
            let rates = try #require(status.workers.first?.rates)
            #expect(rates.steps >= 0 && rates.sent >= 0 && rates.busy <= 1)
        }
    }

    @Test("a worker that was killed and started again is let in when the old one is silent")
    func letsRestartedIn() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.say(.hello(FakeModel.hello("a", boot: 2)), "a", boot: 2)
        #expect(bench.core.bootID(of: "a") == 1)
        bench.wait(5, beating: ["b"])
        #expect(bench.core.bootID(of: "a") == 2)
        bench.load()
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test(
        "a worker that crashes again and again gets no share for a while, unless nobody can draw without it",
        arguments: [false, true])
    func restsAfterCrashes(dataLinkBreaksToo: Bool) throws {
        let bench = Bench()
        func sharers() -> [String] { bench.core.plan?.placements.map(\.worker) ?? [] }
        func join(_ boot: UInt64) {
            bench.say(.hello(FakeModel.hello("b", boot: boot)), "b", boot: boot)
            wait(1, boot)
            bench.load()
        }
        func wait(_ seconds: Int, _ boot: UInt64) {
            for _ in 0..<seconds {
                bench.beat("b", boot: boot)
                bench.wait(1, beating: ["a"])
            }
        }
        func crash(_ boot: UInt64) {
            bench.handle(.disconnected(worker: "b", bootID: boot))
            if dataLinkBreaksToo { bench.handle(.linkLost(worker: "b")) }
            bench.wait(5, beating: ["a"])
            bench.load()
            #expect(sharers() == ["a"])
        }
        bench.join("a")
        for boot: UInt64 in 1...3 {
            join(boot)
            wait(5, boot)
            #expect(sharers() == ["a", "b"])
            crash(boot)
        }
        var boot: UInt64 = 4
        for rest in [60, 120, 240, 480, 960, 960] {
            join(boot)
            #expect(sharers() == ["a"], "it rests")
            wait(rest - 5, boot)
            #expect(sharers() == ["a"], "it rests for \(rest) s")
            wait(6, boot)
            #expect(sharers() == ["a", "b"], "it is tried again")
            bench.load()
            crash(boot)
            boot += 1
        }
        join(boot)
        #expect(sharers() == ["a"])
        bench.handle(.disconnected(worker: "a", bootID: 1))
        for _ in 0..<5 {
            bench.wait(1)
            bench.beat("b", boot: boot)
        }
        #expect(sharers() == ["b"], "nobody else is left")
        bench.load()
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("the end of a long run does not count as a crash")
    func forgivesLongRuns() {
        let bench = Bench()
        bench.join("a", "b")
        for boot in UInt64(1)...5 {
            if boot > 1 {
                bench.say(.hello(FakeModel.hello("b", boot: boot)), "b", boot: boot)
                bench.wait(1, beating: ["a"])
                bench.load()
            }
            for _ in 0..<700 {
                bench.beat("b", boot: boot)
                bench.wait(1, beating: ["a"])
            }
            #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b"])
            bench.handle(.disconnected(worker: "b", bootID: boot))
            bench.wait(5, beating: ["a"])
            bench.load()
        }
    }

    @Test("a worker that joins is given a share at a step boundary")
    func plansOnJoin() throws {
        let bench = Bench()
        bench.join("a")
        let request = ImageRequest.euler("p", steps: 6)
        let id = try bench.submit([request])
        bench.work(until: { $0.key.step == 2 && $0.key.need == .step })
        bench.say(.hello(FakeModel.hello("b")), "b")
        bench.wait(1, beating: ["a", "b"])
        #expect(bench.core.plan?.epoch == 1, "a step is under way")
        bench.answer(try #require(bench.tasks.first))
        #expect(bench.core.plan?.epoch == 2)
        #expect(bench.tasks.isEmpty, "nothing goes out before all have loaded")
        bench.load()
        #expect(bench.tasks.first?.key.step == 3)
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.values.first == (try FakeModel.render(request)))
    }

    @Test("a drained worker leaves the plan and comes back when undrained")
    func drains() throws {
        let bench = Bench()
        bench.join("a", "b")
        #expect(bench.ask(.drain(worker: "b")) == .done)
        bench.wait(1, beating: ["a", "b"])
        bench.load()
        #expect(bench.core.plan?.placements.map(\.worker) == ["a"])
        #expect(bench.life("b") == .draining)
        #expect(bench.ask(.undrain(worker: "b")) == .done)
        bench.wait(1, beating: ["a", "b"])
        #expect(bench.core.plan?.placements.map(\.worker) == ["a", "b"])
        #expect(bench.failure(.drain(worker: "x"))?.code == .unknown)
    }

    @Test("a worker that is drained while it loads, and loads to the end, is drained")
    func drainsWhileLoading() throws {
        let bench = Bench()
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        #expect(bench.life("a") == .loading)
        #expect(bench.ask(.drain(worker: "a")) == .done)
        #expect(bench.life("a") == .draining)
        bench.load()
        #expect(bench.life("a") == .draining)
        bench.wait(1, beating: ["a"])
        #expect(bench.life("a") == .draining && bench.core.plan == nil)
        #expect(bench.ask(.undrain(worker: "a")) == .done)
        bench.wait(1, beating: ["a"])
        bench.load()
        #expect(bench.life("a") == .ready)
    }

    @Test("a worker that was drained is drained after the coordinator started again, until it is let back in")
    func staysDrained() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.holdsStore = true
        #expect(bench.ask(.drain(worker: "b")) == nil, "answered when it is durable")
        bench.release()
        #expect(bench.reply == .done)
        let fact = bench.store.facts[CoordinatorCore.drainedFact]
        #expect(fact == "b")

        let again = Bench()
        again.store = bench.store
        again.handle(.recovered([], pin: nil, epoch: 1, drained: ["b", "c"]))
        again.join("a", "b")
        #expect(again.core.plan?.placements.map(\.worker) == ["a"])
        #expect(again.life("b") == .draining)
        #expect(again.ask(.undrain(worker: "b")) == .done)
        again.wait(1, beating: ["a", "b"])
        #expect(again.core.plan?.placements.map(\.worker) == ["a", "b"])
        #expect(again.store.facts[CoordinatorCore.drainedFact] == "c")
        #expect(again.ask(.undrain(worker: "c")) == .done, "though it is not here")
        #expect(again.store.facts[CoordinatorCore.drainedFact] == nil)
        #expect(again.failure(.undrain(worker: "c"))?.code == .unknown)
    }

    @Test("a worker that wants to leave is planned around, then let go")
    func letsLeave() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.say(.drain, "b")
        bench.wait(1, beating: ["a", "b"])
        bench.load()
        #expect(bench.core.plan?.placements.map(\.worker) == ["a"])
        #expect(bench.control.contains { $0.worker == "b" && $0.message == .drain })
        bench.say(.leave, "b")
        #expect(bench.life("b") == .lost)
    }

    @Test("the last worker is let go too, and the queue waits")
    func letsLastLeave() {
        let bench = Bench()
        bench.join("a")
        bench.say(.drain, "a")
        bench.wait(1, beating: ["a"])
        #expect(bench.core.plan == nil)
        #expect(bench.control.contains { $0.worker == "a" && $0.message == .drain })
    }

    @Test("blocks are cut as the operator says while as many workers are there, and evenly otherwise")
    func cutsAsTold() {
        let blocks = FakeModel.facts.blockCount
        let bench = Bench { $0.cut = .counts([1, blocks - 1]) }
        bench.join("a", "b")
        #expect(bench.core.plan?.pipeline.map(\.span.count) == [1, blocks - 1])
        #expect(!bench.logged.contains { $0.contains("the cut") })
        bench.wait(20, beating: ["b"])
        #expect(bench.core.plan?.pipeline.map(\.span) == [0..<blocks])
        for cut in [[blocks, 0], [1, blocks], [blocks], [blocks - 1, 2, -1]] {
            let bench = Bench { $0.cut = .counts(cut) }
            bench.join("a", "b")
            #expect(
                bench.core.plan?.pipeline.map(\.span) == ClusterPlan.evenSpans(blockCount: blocks, workers: 2), "\(cut)"
            )
            let told = cut.map(String.init).joined(separator: ",")
            #expect(
                bench.logged.contains { $0.hasPrefix("the cut \(told) is for \(cut.count) workers and ") }, "\(cut)")
        }
    }

    @Test("a worker that cannot load is left out, and its text is shown when nobody else can")
    func leavesOutFailedLoad() throws {
        let bench = Bench()
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        bench.say(.loaded(Loaded(epoch: 1, residentBytes: 0, failure: "model.safetensors is truncated")), "a")
        let id = try bench.submit([.euler("p")])
        #expect(try bench.status(id).waiting == "a: model.safetensors is truncated")
        bench.join([FakeModel.hello("b")])
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("a worker that could not load is tried again, each time in a row later")
    func triesToLoadAgain() throws {
        let bench = Bench()
        func fail() throws {
            let plan = try #require(bench.core.plan)
            bench.say(.loaded(Loaded(epoch: plan.epoch, residentBytes: 0, failure: "stale file handle")), "a")
            #expect(bench.core.plan == nil)
        }
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        try fail()
        for rest in [60.0, 120, 240] {
            bench.wait(rest - 3, beating: ["a"])
            bench.say(.hello(FakeModel.hello("a")), "a")
            bench.wait(1, beating: ["a"])
            #expect(bench.core.plan == nil, "nor does a new connection change its disk")
            bench.wait(3, beating: ["a"])
            try fail()
        }
        bench.wait(481, beating: ["a"])
        bench.load()
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 1)
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(1, beating: ["a"])
        try fail()
        bench.wait(61, beating: ["a"])
        #expect(bench.core.plan != nil, "once it has loaded, its failures are forgotten")
    }

    @Test("after a restart the coordinator waits for its minimum of workers only so long: one may be lost for good")
    func minimumAfterRestart() throws {
        let bench = Bench { $0.minimumWorkers = 3 }
        bench.join("a", "b")
        bench.wait(600, beating: ["a", "b"])
        #expect(bench.core.plan == nil, "nothing was planned before: more may still be started")

        let again = Bench { $0.minimumWorkers = 3 }
        again.handle(.recovered([], pin: nil, epoch: 4))
        again.join("a", "b")
        let id = try again.submit([.euler("p")])
        #expect(try again.status(id).waiting == "waiting up to 300 s from the start for 3 workers, 2 are here")
        again.wait(290, beating: ["a", "b"])
        #expect(again.core.plan == nil)
        again.wait(12, beating: ["a", "b"])
        #expect(again.core.plan?.placements.map(\.worker) == ["a", "b"])
        again.load()
        again.work()
        #expect(try again.status(id).done == 1)
    }

    @Test("outages of workers that come back set no picture aside, unless they come without end; deaths of workers do")
    func acquits() throws {
        /// A picture in hand, outages of both workers, and what becomes of it.
        func state(outages: Int, boot: (Int, String) -> UInt64) throws -> JobStatus {
            let bench = Bench()
            bench.join("a", "b")
            let id = try bench.submit([.euler("p")])
            bench.work(until: { $0.key.need == .step })
            for number in 0..<outages {
                bench.wait(12)
                for name in ["a", "b"] {
                    let run = boot(number, name)
                    bench.say(.hello(FakeModel.hello(name, boot: run)), name, boot: run)
                }
                for _ in 0..<4 {
                    for name in ["a", "b"] { bench.beat(name, boot: boot(number, name)) }
                    bench.wait(0.2)
                }
                bench.tasks = []
                bench.load()
            }
            return try bench.status(id)
        }
        #expect(try state(outages: 4) { _, _ in 1 }.failed == 0)
        let other = try state(outages: 2) { $1 == "b" ? UInt64($0 + 2) : 1 }
        #expect(other.failed == 1, "one of them died each time")
        #expect(try state(outages: 2) { number, _ in UInt64(number + 2) }.failed == 1, "the first runs died")
        #expect(try state(outages: 14) { _, _ in 1 }.failed == 1, "nor is it tried for ever")
    }

    @Test("a heartbeat of a worker that the coordinator does not know is asked for its name")
    func asksStrangers() {
        let bench = Bench()
        bench.beat("a")
        #expect(bench.control.last?.message == .introduce)
    }

    @Test("an epoch is durable before workers hear of it, and rises over a restart")
    func epochsRise() throws {
        let bench = Bench()
        bench.holdsStore = true
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        #expect(!bench.control.contains { if case .assign = $0.message { true } else { false } })
        bench.release()
        #expect(bench.control.contains { if case .assign = $0.message { true } else { false } })
        #expect(bench.store.facts["epoch"] == "1")
    }

    @Test("a worker that works in an older epoch long after the plan was sent gets the plan again, once it is durable")
    func assignsAgain() throws {
        let bench = Bench()
        func beat() { bench.say(.heartbeat(Heartbeat(epoch: 0, image: nil, block: nil, counters: .init())), "a") }
        func assigned() -> [Epoch] {
            bench.control.compactMap { if case .assign(let plan) = $0.message { plan.epoch } else { nil } }
        }
        func beatOn() {
            for _ in 0..<10 {
                bench.wait(0.5)
                beat()
            }
        }
        bench.holdsStore = true
        bench.say(.hello(FakeModel.hello("a")), "a")
        beatOn()
        #expect(assigned() == [], "the epoch is not durable")
        bench.release()
        #expect(assigned() == [1])
        bench.wait(1.5)
        beat()
        #expect(assigned() == [1], "it may be on its way")
        beatOn()
        #expect((2...3).contains(assigned().count) && Set(assigned()) == [1])
        bench.control = []
        bench.wait(7, beating: ["a"])
        #expect(assigned() == [], "it has it and loads")
        bench.wait(5, beating: ["a"])
        #expect(assigned() == [1], "whether it has loaded is asked now and then: its word may have been lost")
        bench.load()
        bench.control = []
        bench.wait(12, beating: ["a"])
        beatOn()
        #expect(assigned() == [], "what it said when it had loaded is newer")
    }

    @Test("a broken data link raises the epoch and nothing is lost")
    func survivesBrokenLink() throws {
        let bench = Bench()
        bench.join("a", "b")
        let request = ImageRequest.euler("p")
        let id = try bench.submit([request])
        bench.work(until: { $0.key.need == .step })
        bench.handle(.linkLost(worker: "b"))
        bench.tasks = []
        bench.wait(1, beating: ["a", "b"])
        #expect(bench.core.plan?.epoch == 2)
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.values.first == (try FakeModel.render(request)))
    }

    @Test("work that every worker denies having is sent again")
    func resendsLostWork() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        bench.tasks = []
        bench.wait(130, beating: ["a"])
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 1)
    }

    @Test("work that travels over a slow link is not lost; it is once nothing travels any more")
    func waitsForSlowLinks() throws {
        let bench = Bench()
        bench.join("a")
        _ = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step })
        let epoch = bench.core.plan?.epoch
        for second in 1...300 {
            bench.beat("a", linkBytes: UInt64(second) * 100_000)
            bench.wait(1)
        }
        #expect(bench.core.plan?.epoch == epoch, "0.8 Mbit/s are slow, but it goes on")
        for second in 1...100 {
            bench.beat("a", linkBytes: 30_000_000 + UInt64(second) * 2000)
            bench.wait(1)
        }
        #expect(bench.logged.contains { $0.contains("work was lost on its way") }, "heartbeats are no work")
    }
}

extension Bench {
    func life(_ worker: String) -> WorkerStatus.Life? { status(of: worker)?.life }

    func isDrained(_ worker: String) -> Bool? { status(of: worker)?.isDrained }

    private func status(of worker: String) -> WorkerStatus? {
        guard case .nodes(let status) = ask(.nodes) else { return nil }
        return status.workers.first { $0.hello.name == worker }
    }

    /// The last refusal sent.
    var refusal: Refusal? {
        for case (.refuse(let refusal), _, _) in control.reversed() { return refusal }
        return nil
    }
}
