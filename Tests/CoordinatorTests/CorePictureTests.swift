import Coordinator
import JobStore
import Plan
import Tensors
import Testing

struct CorePictureTests {
    @Test("one picture goes through one worker and its file holds the pixels of a plain render")
    func onePicture() throws {
        let bench = Bench()
        bench.join("a")
        let request = ImageRequest.ralu("a red square", seed: 42)
        let id = try bench.submit([request])
        bench.work()
        let path = "/out/\(id)/0000-a-red-square-42.png"
        #expect(bench.files == [path: try FakeModel.render(request)])
        let status = try bench.status(id)
        #expect(status.images == [.done(path: path, checksum: UInt32(3 * 64 * 64))])
        #expect(status.done == 1 && status.isFinal && status.waiting == nil)
        #expect(bench.store.jobs[id]?.status.images == status.images)
        // Two steps of 4 tokens, one of the mixed stage, two of 16.
        let mixed = Int(status.tokenSteps) - 2 * 4 - 2 * 16
        #expect(mixed >= 4 && mixed <= 16)
    }

    @Test("many pictures over three workers come out the same however the answers are ordered", arguments: 0..<6)
    func permutedAnswers(seed: UInt64) throws {
        let bench = Bench()
        bench.join("a", "b", "c")
        let plan = try #require(bench.core.plan)
        #expect(plan.placements.map(\.span) == [0..<2, 2..<4, 4..<6])
        #expect(plan.placements.map(\.encodes) == [true, false, false])
        #expect(plan.placements.map(\.decodes) == [false, false, true])
        let requests = (0..<10).map { $0 % 2 == 0 ? ImageRequest.ralu("p\($0)", seed: seed) : .euler("p\($0)") }
        let id = try bench.submit(requests)
        var random = SplitMix(seed)
        bench.work { tasks in Int(random.next() % UInt64(tasks.count)) }
        #expect(try bench.status(id).done == 10)
        for (index, request) in requests.enumerated() {
            let path = "/out/\(id)/000\(index)-p\(index)-\(request.seed).png"
            #expect(bench.files[path] == (try FakeModel.render(request)), "picture \(index)")
        }
    }

    @Test("twice as many pictures as workers are in flight, no worker holds more than its credit")
    func boundsFlights() throws {
        let bench = Bench()
        bench.join([FakeModel.hello("a"), FakeModel.hello("b")])
        _ = try bench.submit((0..<20).map { .euler("p\($0)") })
        #expect(bench.tasks.count == 2, "two encodings at a time")
        var most = 0
        bench.work { tasks in
            most = max(most, tasks.count)
            return tasks.count - 1
        }
        #expect(most <= 4)
    }

    @Test("what is being decoded takes no place from steps, up to one picture for each worker")
    func decodesBeside() throws {
        let bench = Bench()
        bench.join([FakeModel.hello("a"), FakeModel.hello("b")])
        let id = try bench.submit((0..<20).map { .euler("p\($0)") })
        var begun: Set<ImageID> = []
        var most = 0
        bench.work(
            { tasks in
                begun.formUnion(tasks.map(\.key.image))
                most = max(most, Set(tasks.filter { $0.key.need != .picture }.map(\.key.image)).count)
                return tasks.firstIndex { $0.key.need != .picture } ?? 0
            }, until: { $0.key.need == .picture })
        #expect(most <= 4)
        #expect(begun.count == 6, "four of the pipeline, of which all wait to be decoded, and two more")
        bench.work()
        #expect(try bench.status(id).done == 20)
    }

    @Test("steps wait for credit, and conditioning is sent once")
    func waitsForCredit() throws {
        let bench = Bench()
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        let plan = try #require(bench.core.plan)
        bench.say(.loaded(Loaded(epoch: plan.epoch, residentBytes: 1)), "a")
        _ = try bench.submit([.euler("p", steps: 2)])
        #expect(bench.tasks.isEmpty, "the data link is not up before the first credit message")
        bench.handle(.credit(limit: Credit(), epoch: plan.epoch, from: "a"))
        #expect(bench.tasks.map(\.key.need) == [.encode], "encoding needs no credit")
        bench.work()
        #expect(bench.tasks.isEmpty)
        bench.handle(.credit(limit: Credit(messages: 1), epoch: plan.epoch, from: "a"))
        let first = try #require(bench.tasks.first)
        guard case .step(_, _, _, _, let conditioning) = first.input else { throw BenchError() }
        #expect(conditioning != nil)
        bench.answer(first)
        #expect(bench.tasks.isEmpty)
        bench.handle(.credit(limit: Credit(messages: 2), epoch: plan.epoch, from: "a"))
        let second = try #require(bench.tasks.first)
        guard case .step(_, _, _, _, let again) = second.input else { throw BenchError() }
        #expect(again == nil, "the worker has it")
        bench.work()
        #expect(bench.files.count == 1)
    }

    @Test("a worker that forgot the conditioning gets it again")
    func resendsConditioning() throws {
        let bench = Bench()
        bench.join("a")
        let request = ImageRequest.euler("p", steps: 2)
        _ = try bench.submit([request])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        let task = try #require(bench.tasks.first)
        bench.tasks = []
        bench.say(
            .fault(Fault(task.key.id, text: "no conditioning", isRetriable: true)), "a"
        )
        guard case .step(_, _, _, _, let conditioning) = try #require(bench.tasks.first).input else {
            throw BenchError()
        }
        #expect(conditioning != nil)
        bench.work()
        #expect(bench.files.values.first == (try FakeModel.render(request)))
    }

    @Test("a step that the socket did not take gives its credit back")
    func returnsCredit() throws {
        let bench = Bench()
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        bench.say(.loaded(Loaded(epoch: 1, residentBytes: 1)), "a")
        bench.handle(.credit(limit: Credit(messages: 1), epoch: 1, from: "a"))
        _ = try bench.submit([.euler("p", steps: 1)])
        bench.work(until: { $0.key.need == .step })
        for _ in 0..<3 {
            let task = try #require(bench.tasks.first)
            bench.tasks = []
            bench.handle(.undeliverable(task.key, to: "a"))
            #expect(bench.tasks.isEmpty, "the link is down")
            bench.handle(.credit(limit: Credit(messages: 1), epoch: 1, from: "a"))
            #expect(bench.tasks.map(\.key) == [task.key])
        }
        var other = try #require(bench.tasks.first).key
        bench.handle(.undeliverable(other, to: "a"))
        bench.tasks = []
        other.step = 7
        bench.handle(.undeliverable(other, to: "a"))
        bench.handle(.credit(limit: Credit(messages: 1), epoch: 1, from: "a"))
        #expect(bench.tasks.count == 1)
    }

    @Test("a fault that comes late, or from a worker that cannot have the task, hits no other task")
    func ignoresStrayFaults() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p", steps: 3)])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        let task = try #require(bench.tasks.first)
        var late = task.key.id
        late.step = 0
        var stale = task.key.id
        stale.epoch = 0
        var other = task.key.id
        other.kind = .encode
        var half = task.key.id
        half.branch = 1
        for fault in [late, stale, other, half] {
            bench.say(.fault(Fault(fault, text: "no", isRetriable: false)), "a")
        }
        bench.handle(.control(.fault(Fault(task.key.id, text: "no", isRetriable: false)), from: "a", bootID: 9))
        #expect(bench.tasks.map(\.key) == [task.key], "nothing was sent again")
        bench.work()
        #expect(try bench.status(id).done == 1)

        let roles = Bench()
        roles.join([FakeModel.hello("a"), FakeModel.hello("b", roles: [.decoder])])
        let second = try roles.submit([.euler("p")])
        roles.work(until: { $0.key.need == .step })
        roles.say(.fault(Fault(try #require(roles.tasks.first).key.id, text: "no", isRetriable: false)), "b")
        roles.work()
        #expect(try roles.status(second).done == 1)
    }

    @Test("faults are counted for each worker")
    func countsFaults() throws {
        let bench = Bench()
        bench.join("a")
        _ = try bench.submit([.euler("p")])
        for _ in 0..<2 {
            let task = try #require(bench.tasks.first)
            bench.tasks = []
            bench.say(
                .fault(Fault(task.key.id, text: "a: sent a table whose checksum is wrong", isRetriable: true)), "a")
        }
        guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
        #expect(status.workers.first?.faults == 2)
        bench.work()
        #expect(bench.files.count == 1)
    }

    @Test("an answer is received from the worker that owes it, and from nobody else")
    func limitsAnswers() throws {
        let bench = Bench()
        bench.join("a", "b")
        _ = try bench.submit([.euler("p")])
        let encode = try #require(bench.tasks.first).key.id
        #expect(bench.core.answerBytes(encode, from: "a") == (4 * 5 + 3) * 4)
        #expect(bench.core.answerBytes(encode, from: "b") == nil)
        bench.work(until: { $0.key.need == .step })
        let step = try #require(bench.tasks.first).key.id
        #expect(bench.core.answerBytes(step, from: "b") == 4 * 64 * 4, "the last of the pipeline answers")
        #expect(bench.core.answerBytes(step, from: "a") == nil)
        #expect(bench.core.answerBytes(encode, from: "a") == nil, "answered already")
        var late = step
        late.epoch += 1
        #expect(bench.core.answerBytes(late, from: "b") == nil)
    }

    @Test("stale, doubled and foreign answers count for nothing")
    func ignoresStrayAnswers() throws {
        let bench = Bench()
        bench.join("a", "b")
        let request = ImageRequest.euler("p", steps: 3)
        let id = try bench.submit([request])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        let task = try #require(bench.tasks.first)
        var stale = task.key
        stale.epoch -= 1
        var late = task.key
        late.step = 0
        let output = bench.output(of: task)
        bench.handle(.result(output, stale, from: "b"))
        bench.handle(.result(output, late, from: "b"))
        bench.handle(.result(output, task.key, from: "a"))
        bench.handle(.result(output, task.key, from: "stranger"))
        #expect(bench.tasks.map(\.key) == [task.key], "still waiting for the one answer")
        bench.answer(task)
        bench.handle(.result(output, task.key, from: "b"))
        bench.work()
        #expect(bench.files.count == 1)
        #expect(bench.files.values.first == (try FakeModel.render(request)))
        #expect(try bench.status(id).done == 1)
    }

    @Test("an answer of the wrong shape is asked for again, and at last fails the picture alone")
    func refusesWrongShapes() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("bad"), .euler("good")])
        for _ in 0..<4 {
            guard let task = bench.tasks.first(where: { $0.key.image.index == 0 }) else { break }
            bench.tasks.removeAll { $0.key == task.key }
            bench.handle(.result(.velocity(.init(repeating: 0, shape: [1, 64])), task.key, from: "a"))
        }
        bench.work()
        let status = try bench.status(id)
        #expect(status.done == 1 && status.failed == 1)
        #expect("\(status.images[0])".contains("wrong shape"))
    }

    @Test("a fault that cannot be mended fails its picture with its text, the rest goes on")
    func failsAlone() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("bad"), .euler("good")])
        let task = try #require(bench.tasks.first { $0.key.image.index == 0 })
        bench.tasks.removeAll { $0.key == task.key }
        bench.say(
            .fault(Fault(task.key.id, text: "no memory", isRetriable: false)), "a")
        bench.work()
        let status = try bench.status(id)
        #expect(status.images[0] == .failed("a: no memory"))
        #expect(status.done == 1 && status.failed == 1)
    }

    @Test("a picture whose file cannot be what it should be is tried again, then failed; others go on")
    func retriesFiles() throws {
        let bench = Bench()
        bench.join("a")
        bench.filesTrouble = WriteFailure("it is a folder", .picture)
        bench.failsFiles = 1
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(try bench.status(id).done == 0 && bench.status(id).waiting == nil)
        bench.wait(2, beating: ["a"])
        #expect(try bench.status(id).done == 1)
        bench.failsFiles = 3
        let other = try bench.submit([.euler("q"), .euler("r"), .euler("s")])
        bench.work(until: { $0.key.image.index == 1 && $0.key.need == .picture })
        bench.wait(4, beating: ["a"])
        #expect("\(try bench.status(other).images[0])".contains("it is a folder"))
        bench.work()
        #expect(try bench.status(other).done == 2)
    }

    @Test("a full disk of the pictures is waited for: no picture fails or begins, all are told why, and they go on")
    func waitsForPicturesDisk() throws {
        let bench = Bench()
        bench.join("a")
        bench.failsFiles = .max
        let requests = (0..<20).map { ImageRequest.euler("p\($0)") }
        let id = try bench.submit(requests)
        let other = try bench.submit([.euler("q")])
        bench.work()
        bench.wait(1000, beating: ["a"])
        var status = try bench.status(id)
        #expect(status.failed == 0 && status.done == 0)
        #expect(status.waiting == "the pictures' disk: cannot write the picture: No space left")
        #expect(try bench.status(other).waiting == status.waiting)
        let begun = status.images.count { $0 != .queued }
        #expect((1...3).contains(begun), "no more than were in flight")
        #expect(bench.store.jobs[id]?.checkpoints.count == begun, "nothing that was drawn is lost")
        let tries = Int.max - bench.failsFiles
        #expect(tries < begun * 30, "tried again and again, at last once a minute: \(tries)")
        bench.failsFiles = 0
        bench.wait(61, beating: ["a"])
        bench.work()
        status = try bench.status(id)
        #expect(status.done == 20 && status.waiting == nil)
        #expect(try bench.status(other).done == 1)
        for (state, request) in zip(status.images, requests) {
            guard case .done(let path, _) = state else { throw BenchError() }
            #expect(bench.files[path] == (try FakeModel.render(request)))
        }
    }

    @Test("a coordinator that is told to stop does not wait for a full disk; nor do others for a cancelled picture")
    func stopsOnFullDisk() throws {
        let bench = Bench()
        bench.join("a")
        bench.failsFiles = 1
        let id = try bench.submit([.euler("p")])
        bench.work()
        let other = try bench.submit([.euler("q")])
        #expect(bench.tasks.isEmpty)
        #expect(bench.ask(.cancel(id)) == .done)
        bench.work()
        #expect(try bench.status(other).done == 1)
        bench.failsFiles = 1
        _ = try bench.submit([.euler("r")])
        bench.work()
        bench.handle(.stop)
        #expect(bench.hasStopped)
    }

    @Test("nor for a full disk of the queue")
    func stopsOnFullQueue() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        bench.refusesWrites = true
        bench.work()
        #expect(try bench.status(id).done == 0)
        bench.handle(.stop)
        #expect(bench.hasStopped)
        #expect(bench.store.jobs[id]?.status.done == 0, "the next start records it")
    }

    @Test(
        "done is not shown before it is durable, and a disk is waited for that is full, or that cannot be written",
        arguments: [.database(code: 13, text: "disk is full"), .unwritable(path: "disk is full", code: 30)]
            as [StoreError.Reason])
    func waitsForDisk(reason: StoreError.Reason) throws {
        let bench = Bench()
        bench.trouble = StoreError(reason)
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        bench.refusesWrites = true
        bench.work()
        var status = try bench.status(id)
        #expect(status.done == 0)
        #expect(status.waiting?.contains("disk is full") == true)
        #expect(bench.failure(.submit(Submission(images: [.euler("q")])))?.code == .unavailable)
        bench.refusesWrites = false
        bench.wait(2, beating: ["a"])
        status = try bench.status(id)
        #expect(status.done == 1 && status.waiting == nil)
    }

    @Test("what is written while an earlier write waits for the disk is not overwritten by it, nor it by that")
    func keepsOrderOfWrites() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p")])
        bench.refusesWrites = true
        bench.work()
        #expect(bench.ask(.drain(worker: "a")) == nil)
        // It takes writes again; nobody has tried.
        bench.refusesWrites = false
        #expect(bench.ask(.cancel(id)) == nil)
        #expect(bench.ask(.drain(worker: "b")) == nil)
        bench.wait(2, beating: ["a", "b"])
        #expect(bench.reply == .done)
        let stored = try #require(bench.store.jobs[id]?.status)
        #expect(try bench.status(id).done == 1 && stored.done == 1 && stored.cancelled == 0)
        #expect(bench.store.facts[CoordinatorCore.drainedFact] == "a b")
    }

    @Test("a word that comes between two answers of one failing transaction does not come between its writes")
    func keepsOrderOfAnswers() throws {
        let bench = Bench()
        bench.join("a")
        let ids = try ["p", "q"].map { try bench.submit([.euler($0)]) }
        bench.work(until: { _ in bench.tasks.allSatisfy { $0.key.need == .picture } })
        (bench.refusesWrites, bench.holdsStore) = (true, true)
        bench.work()
        try #require(bench.held.count == 2)
        (bench.refusesWrites, bench.holdsStore) = (false, false)
        bench.handle(bench.held.removeFirst())
        #expect(bench.ask(.cancel(ids[1])) == nil)
        #expect(bench.ask(.retry(ids[1])) == nil)
        bench.release()
        bench.wait(2, beating: ["a"])
        for id in ids {
            let stored = try #require(bench.store.jobs[id]?.status)
            #expect(try bench.status(id).done == 1 && stored.done == 1 && stored.cancelled == 0)
        }
    }

    @Test("what waits for the disk is given to it when the coordinator stops")
    func writesAtStop() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.refusesWrites = true
        #expect(bench.ask(.drain(worker: "a")) == nil)
        bench.refusesWrites = false
        #expect(bench.ask(.drain(worker: "b")) == nil)
        bench.handle(.stop)
        #expect(bench.hasStopped && bench.store.facts[CoordinatorCore.drainedFact] == "a b")
    }

    @Test("higher priority goes first, then older jobs")
    func ordersAdmission() throws {
        let bench = Bench { $0.flightsPerWorker = 1 }
        let low = try bench.submit([.euler("a"), .euler("b")])
        let other = try bench.submit([.euler("d")])
        let high = try bench.submit([.euler("c")], priority: 1)
        bench.join("a")
        bench.work()
        var order: [JobID] = []
        for case .image(let image, .done) in bench.events { order.append(image.job) }
        #expect(order == [high, low, low, other])
    }
}

/// A small generator with a seed.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
