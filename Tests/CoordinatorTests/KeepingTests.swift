import Foundation
import JobStore
import Logging
import CoreMetrics
import Plan
import Tensors
import Testing
import Wire

@testable import Coordinator

/// What the world around a coordinator does to it: folders, disks, clocks, other models.
struct KeepingTests {
    /// The longest time between two tries of a file, in which "a" beats and does what it is given.
    private func goOn(_ bench: Bench) {
        for _ in 0..<61 {
            bench.wait(1, beating: ["a"])
            bench.work()
        }
    }

    @Test("a folder that takes no file stops its own job only, and that goes on when it takes files again")
    func folderTrouble() throws {
        let bench = Bench()
        bench.join("a")
        bench.closedFolders = ["/out/closed"]
        let first = try bench.submit((0..<12).map { .euler("p\($0)") }, folder: "closed", priority: 5)
        let second = try bench.submit((0..<12).map { .euler("q\($0)") }, folder: "open")
        bench.work()
        #expect(try bench.status(second).done == 12, "others are drawn, however many")
        var status = try bench.status(first)
        #expect(status.done == 0 && status.failed == 0)
        #expect(status.waiting == "its folder: cannot write there: Permission denied")
        let begun = status.images.count { $0 != .queued }
        #expect((1...3).contains(begun), "no more than were in flight: \(begun)")
        bench.wait(300, beating: ["a"])
        bench.work()
        #expect(try bench.status(first).images.count { $0 != .queued } == begun)
        bench.closedFolders = []
        goOn(bench)
        status = try bench.status(first)
        #expect(status.done == 12 && status.waiting == nil)
    }

    @Test("jobs of another output folder wait together for that, and hold up nothing else")
    func formerOutput() throws {
        let before = Bench { $0.outputFolder = "/old" }
        let old = try (0..<5).map { try before.submit((0..<4).map { .euler("p\($0)") }, folder: "job\($0)") }
        let bench = Bench()
        bench.store = before.store
        bench.handle(.recovered(before.store.unfinished, pin: nil, epoch: 0))
        bench.closedFolders = ["/old"]
        for _ in old { bench.ask(.nodes) }  // each takes an identity, so that the new job has one of its own
        bench.join("a")
        let new = try bench.submit((0..<8).map { .euler("q\($0)") })
        bench.work()
        #expect(try bench.status(new).done == 8)
        let begun = try old.reduce(0) { sum, id in sum + (try bench.status(id).images.count { $0 != .queued }) }
        #expect((1...3).contains(begun), "one refusal holds for all of them: \(begun)")
        for id in old { #expect(try bench.status(id).waiting?.hasPrefix("its folder: ") == true) }
        bench.closedFolders = []
        goOn(bench)
        for id in old { #expect(try bench.status(id).done == 4) }
    }

    @Test("where folder after folder takes no files nothing begins any more: it is no folder's fault")
    func everyFolder() throws {
        let bench = Bench()
        bench.join("a")
        let ids = try (0..<12).map { try bench.submit([.euler("p"), .euler("q")], folder: "closed\($0)") }
        bench.closedFolders = Set((0..<12).map { "/out/closed\($0)" })
        bench.work()
        let begun = try ids.reduce(0) { sum, id in sum + (try bench.status(id).images.count { $0 != .queued }) }
        #expect((4...12).contains(begun), "\(begun)")
        let last = try bench.status(ids[11])
        #expect(last.waiting == "the pictures' disk: cannot write there: Permission denied")
        bench.closedFolders = []
        goOn(bench)
        for id in ids { #expect(try bench.status(id).done == 2) }
    }

    @Test("an operator is told of jobs that go on elsewhere, and of pictures whose folder is gone")
    func oddFolders() throws {
        let bench = Bench { $0.outputFolder = "/nowhere/out" }
        bench.join("a")
        _ = try bench.submit([.euler("p"), .euler("q")], folder: "gone")
        bench.work(until: { _ in !bench.files.isEmpty })
        let jobs = bench.store.unfinished
        try #require(jobs.count == 1 && jobs[0].status.done == 1)
        let here = CoordinatorService.oddFolders(of: jobs, output: "/nowhere/out")
        #expect(here.count == 1 && here[0].contains("/nowhere/out/gone") && here[0].contains("is its disk mounted?"))
        let elsewhere = CoordinatorService.oddFolders(of: jobs, output: "/new")
        #expect(
            elsewhere.count == 2 && elsewhere[1].hasPrefix("jobs of before that go on in /nowhere/out, not in /new: 1;")
        )
        #expect(CoordinatorService.oddFolders(of: [], output: "/new").isEmpty)
    }

    @Test("a disk that takes no checkpoint is waited for: nothing begins that might be lost, and jobs say why")
    func checkpointsRefused() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit((0..<10).map { .euler("p\($0)", steps: 5) })
        bench.work(until: { $0.key.step == 2 })
        bench.refusesWrites = true
        let task = try #require(bench.tasks.first { $0.key.step == 2 })
        bench.answer(task)
        var status = try bench.status(id)
        #expect(status.waiting?.contains("disk is full") == true)
        bench.answer(try #require(bench.tasks.first { $0.key.image == task.key.image }))
        let begun = status.images.count { $0 != .queued }
        bench.wait(30, beating: ["a"])
        #expect(try bench.status(id).images.count { $0 != .queued } == begun)
        bench.refusesWrites = false
        bench.wait(2, beating: ["a"])
        #expect(try bench.status(id).waiting == nil)
        #expect(bench.store.jobs[id]?.checkpoints[task.key.image.index]?.step == 4, "the latest one")
        // One that the disk takes meanwhile is not written over by the one that it refused.
        let other = try #require(bench.tasks.first { $0.key.need == .step && $0.key.image != task.key.image })
        bench.refusesWrites = true
        bench.answer(other)
        bench.refusesWrites = false
        bench.answer(try #require(bench.tasks.first { $0.key.image == other.key.image }))
        bench.wait(2, beating: ["a"])
        #expect(bench.store.jobs[id]?.checkpoints[other.key.image.index]?.step == other.key.step + 2)
        bench.work()
        status = try bench.status(id)
        #expect(status.done == 10)
    }

    @Test("a picture that ends while the disk is tried with its checkpoint ends all the same")
    func checkpointOfAnEndedPicture() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p"), .euler("q")])
        bench.work(until: { $0.key.step == 1 })
        bench.refusesWrites = true
        bench.answer(try #require(bench.tasks.first { $0.key.step == 1 }))
        #expect(bench.ask(.cancel(id)) == nil)
        bench.wait(5, beating: ["a"])
        #expect(try bench.status(id).cancelled == 2)
        bench.refusesWrites = false
        bench.wait(2, beating: ["a"])
        #expect(bench.store.jobs[id]?.status.cancelled == 2)
        let other = try bench.submit([.euler("r")])
        bench.work()
        #expect(try bench.status(other).done == 1)
    }

    @Test("times are of the clock as it is, also when it is set after the start")
    func clock() throws {
        let bench = Bench { $0.wallAtZero = 946_684_800 }  // 2000-01-01: the machine has not asked a time server yet
        bench.join("a")
        let early = try bench.submit([.euler("e")], priority: -1)
        bench.handle(.clockSet(wallAtZero: 1_800_000_000))
        for status in [try bench.status(early), try #require(bench.store.jobs[early]?.status)] {
            #expect(abs(status.submitted - 1_800_000_000) < 10, "\(status.submitted)")
        }
        let id = try bench.submit([.euler("p")])
        bench.work()
        let stored = try #require(bench.store.jobs[id]?.status)
        #expect(stored.submitted > 1_800_000_000 && (stored.finished ?? 0) > 1_800_000_000)
        #expect(bench.logged.contains { $0.contains("clock was set forward by 853315200 s") })
        #expect(bench.ask(.removeFinished(secondsAgo: 3600)) == .removed(jobs: 0, isAll: true))
        // What was before a sleep was right.
        bench.handle(.clockSet(wallAtZero: 1_800_009_000, isSleep: true))
        #expect(bench.store.jobs[id]?.status == stored)
        let late = try bench.submit([.euler("l")])
        #expect(try bench.status(late).submitted > 1_800_009_000)
    }

    @Test("values that are not numbers are asked for again, and at last fail the picture with the names of its workers")
    func notNumbers() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p"), .euler("q")])
        var bad = 0
        while bad < 20, let task = bench.tasks.first(where: { $0.key.image.index == 0 }) {
            guard task.key.need == .step, case .step(let latents, _, _, _, _) = task.input else {
                bench.answer(task)
                continue
            }
            bad += 1
            bench.tasks.removeAll { $0.key == task.key }
            let velocity = TaskOutput.velocity(.init(repeating: .nan, shape: latents.tokens.shape))
            bench.handle(.result(velocity, task.key, from: "b"))
        }
        bench.work()
        #expect(bad == 4, "once, and three times again")
        let status = try bench.status(id)
        #expect(status.done == 1 && status.failed == 1)
        #expect("\(status.images[0])".contains("a, b has values that are not numbers"), "\(status.images[0])")
        #expect(bench.core.clusterStatus().workers.first { $0.hello.name == "b" }?.faults == 4)
    }

    @Test("who submits while the coordinator is told to stop hears whether the job is accepted")
    func answersBeforeRest() throws {
        let bench = Bench()
        bench.holdsStore = true
        #expect(bench.ask(.submit(Submission(images: [.euler("p")]))) == nil)
        bench.handle(.stop)
        #expect(!bench.hasStopped, "the store has it")
        bench.release()
        #expect(bench.hasStopped)
        guard case .accepted = bench.reply else { throw BenchError() }
        // A disk that hangs is not waited for: who submits asks again.
        let other = Bench()
        other.holdsStore = true
        #expect(other.ask(.submit(Submission(images: [.euler("p")]))) == nil)
        other.handle(.stop)
        other.wait(4)
        #expect(!other.hasStopped)
        other.wait(2)
        #expect(other.hasStopped)
    }

    @Test("each write that is waited for is answered, whatever comes after it")
    func answersWaitedFor() async throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(Submission(images: [.euler("p")])).id
        let inbox = Inbox<Event> {}
        let thread = StoreThread(
            store: store, inbox: inbox, metrics: CoordinatorMetrics(NOOPMetricsHandler.instance)
        ) { Issue.record("\($0)") }
        let image = ImageID(job: id, index: 0)
        let tickets = (1...200).map { UInt64($0) }
        for ticket in tickets {
            thread.write(.checkpoint(image, step: Int(ticket), sampler: [1]), ticket: ticket)
            thread.write(.checkpoint(image, step: Int(ticket), sampler: [2]), ticket: 0)
        }
        await thread.flush()
        let answered = inbox.takeAll().compactMap { event -> UInt64? in
            if case .stored(.written, let ticket) = event { ticket } else { nil }
        }
        #expect(answered == tickets)
        #expect(try store.checkpoint(image)?.sampler == [2])
    }

    @Test("a queue whose model cannot be read, and pictures whose disk is not mounted any more, keep it from starting")
    func refusesToStart() async throws {
        let folder = try Scratch()
        let (state, output) = (folder.path + "/state", folder.path + "/out")
        var settings = ServiceSettings(outputFolder: output, stateFolder: state, version: "test")
        for path in [\ServiceSettings.control, \.data, \.client, \.events] {
            settings[keyPath: path] = try Endpoint("tcp://127.0.0.1:0")
        }
        func prepare(_ writes: (JobID) -> [StoreWrite]) throws {
            let store = try JobStore(folder: state)
            defer { store.close() }
            _ = store.perform(writes(try store.submit(Submission(images: [.euler("p"), .euler("q")])).id))
        }
        func start() async throws {
            let service = try await CoordinatorService.start(
                settings, log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
            await service.stop()
            await service.run()
        }
        try prepare { _ in [.fact(name: "pin", value: "{}"), .fact(name: Facts.disk, value: "/elsewhere\n/")] }
        try await start()
        try prepare { id in
            [
                .fact(name: "pin", value: "{}"), .fact(name: Facts.disk, value: Facts.encode(disk: output, of: output)),
                .finish(ImageID(job: id, index: 0), .done(path: "/a", checksum: 1), time: 1),
            ]
        }
        var error = await #expect(throws: ServiceError.self) { try await start() }
        #expect(error?.description.hasPrefix("no disk is mounted on \(output), where") == true)
        try prepare { _ in [.fact(name: Facts.disk, value: nil)] }
        error = await #expect(throws: ServiceError.self) { try await start() }
        #expect(error?.description.contains("cannot read with which model") == true)
    }

    @Test("a job that one model began is not finished by another")
    func otherModel() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p"), .euler("q")])
        bench.work(until: { _ in !bench.files.isEmpty })
        #expect(bench.ask(.cancel(id)) == .done)
        bench.work()
        try #require(try bench.status(id).done == 1)
        #expect(bench.ask(.retry(id)) == .done, "the same model may")
        #expect(bench.ask(.cancel(id)) == .done)
        bench.say(.leave, "a")
        bench.join([FakeModel.hello("b", fingerprint: "beef")])
        let failure = bench.failure(.retry(id))
        #expect(failure?.code == .invalid)
        #expect(failure?.text.contains("fingerprint f00d, and the cluster draws with beef") == true)
        #expect(try bench.status(id).cancelled == 1)

        let restarted = Bench()
        restarted.store = bench.store
        let unknown = restarted.failure(.retry(id))
        #expect(unknown?.code == .unavailable && unknown?.text.contains("no worker is here") == true)
    }

    @Test(
        "a disk that hangs without an error is named, by the jobs that wait and for monitors", arguments: [true, false])
    func hangingDisk(ofQueue: Bool) throws {
        let bench = Bench()
        bench.join("a")
        func blocked() throws -> [String: Int] {
            guard case .nodes(let status) = bench.ask(.nodes) else { throw BenchError() }
            return (status.jobsBlocked ?? [:]).filter { $0.value > 0 }
        }
        let id = try bench.submit([.euler("p"), .euler("q")])
        if ofQueue { bench.holdsStore = true } else { bench.holdsFiles = true }
        bench.work()
        bench.wait(20, beating: ["a"])
        #expect(try bench.status(id).waiting == nil && blocked().isEmpty, "it may only be slow")
        bench.wait(20, beating: ["a"])
        let disk = ofQueue ? "queue's" : "pictures'"
        #expect(try bench.status(id).waiting == "the \(disk) disk does not answer")
        #expect(try blocked() == [ofQueue ? "queue_disk" : "output_disk": 1])
        (bench.holdsStore, bench.holdsFiles) = (false, false)
        bench.release()
        bench.work()
        #expect(try bench.status(id).done == 2 && blocked().isEmpty)
    }

    @Test("the log says whose key ordered what")
    func byWhom() {
        #expect(ClientTicket(client: "anna/1f", number: 1).byWhom == " by anna")
        #expect(ClientTicket(client: "client-1f", number: 1).byWhom == "")
    }

    @Test("nor by other kernels, of which the rest would have other bits")
    func otherKernels() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p"), .euler("q")])
        bench.work(until: { _ in !bench.files.isEmpty })
        bench.ask(.cancel(id))
        bench.work()
        bench.say(.leave, "a")
        bench.join([FakeModel.hello("b", kernels: "avx2-int8")])
        let failure = bench.failure(.retry(id))
        #expect(failure?.code == .invalid)
        #expect(failure?.text.contains("kernels of class avx2, and the cluster computes with avx2-int8") == true)
        bench.say(.leave, "b")
        bench.join([FakeModel.hello("c")])
        #expect(bench.ask(.retry(id)) == .done)
        bench.work()
        #expect(try bench.status(id).done == 2)
    }
}
