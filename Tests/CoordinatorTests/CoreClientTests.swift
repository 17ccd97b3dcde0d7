import Coordinator
import JobStore
import Plan
import Testing

struct CoreClientTests {
    @Test("a job is acknowledged when it is durable, and not if the disk refuses")
    func acknowledgesDurable() throws {
        let bench = Bench()
        bench.holdsStore = true
        #expect(bench.ask(.submit(Submission(images: [.euler("p")]))) == nil)
        bench.release()
        guard case .accepted(_, let isDuplicate) = bench.reply else { throw BenchError() }
        #expect(!isDuplicate)
    }

    @Test("counters on demand wait for each worker's report that was asked for, and for no lost one")
    func counts() throws {
        let bench = Bench()
        #expect(bench.ask(.countedNodes) != nil, "nobody to wait for")
        bench.join("a", "b", "c")
        func report(_ worker: String, _ number: UInt64?, images: UInt64 = 0) {
            var heartbeat = Heartbeat(epoch: 1, image: nil, block: nil, counters: .init(), answering: number)
            heartbeat.counters.images = images
            bench.say(.heartbeat(heartbeat), worker)
        }
        func asked() throws -> UInt64 {
            let numbers = bench.control.compactMap { if case .report(let number) = $0.message { number } else { nil } }
            return try #require(numbers.last)
        }
        #expect(bench.ask(.countedNodes) == nil)
        let number = try asked()
        for name in ["a", "b", "c"] { report(name, nil) }
        report("a", number - 1)
        report("a", number, images: 7)
        bench.say(.leave, "c")
        #expect(bench.reply == nil)
        report("b", number)
        guard case .nodes(let status) = bench.reply else { throw BenchError() }
        #expect(status.workers.first { $0.hello.name == "a" }?.counters.images == 7)

        #expect(bench.ask(.countedNodes) == nil)
        bench.wait(2.1, beating: ["a", "b"])
        #expect(bench.reply != nil, "a worker that does not report is not waited for longer")
    }

    @Test("the same key answers with the first job")
    func keyIsIdempotent() throws {
        let bench = Bench()
        let id = try bench.submit([.euler("p")], key: "k")
        #expect(bench.ask(.submit(Submission(key: "k", images: [.euler("p")]))) == .accepted(id, duplicate: true))
        guard case .jobs(let jobs) = bench.ask(.jobs(limit: 10)) else { throw BenchError() }
        #expect(jobs.map(\.id) == [id])
        let other = bench.failure(.submit(Submission(key: "k", images: [.euler("q")])))
        #expect(other?.code == .invalid)
        #expect(other?.text.contains("key \"k\"") == true && other?.text.contains(id.description) == true)
    }

    @Test("a queue that is full of pictures, jobs or bytes says how full, and takes more when a job is over")
    func boundsQueue() throws {
        let bench = Bench { $0.maxJobs = 2 }
        let id = try bench.submit([.euler("p")])
        _ = try bench.submit([.euler("q")])
        let third = Submission(images: [.euler("r")])
        let refusal = bench.failure(.submit(third))
        #expect(refusal?.code == .full)
        #expect(refusal?.text.contains("2 jobs are unfinished and at most 2 may be") == true)
        #expect(bench.ask(.cancel(id)) == .done)
        #expect(bench.failure(.submit(third)) == nil)

        let small = Bench { $0.maxQueuedBytes = 2000 }
        let first = try small.submit([.euler(String(repeating: "x", count: 1000))])
        let bytes = small.failure(.submit(Submission(images: [.euler(String(repeating: "y", count: 1000))])))
        #expect(bytes?.code == .full)
        #expect(bytes?.text.contains("1256 bytes and at most 2000") == true)
        small.join("a")
        small.work()
        #expect(try small.status(first).done == 1)
        _ = try small.submit([.euler(String(repeating: "y", count: 1000))])

        let held = Bench { $0.maxQueued = 3 }
        held.holdsStore = true
        _ = held.ask(.submit(Submission(images: [.euler("p"), .euler("q")])))
        let pending = held.failure(.submit(Submission(images: [.euler("p"), .euler("q")])))
        #expect(pending?.text.contains("2 pictures are waiting and at most 3 may") == true, "on its way counts")
    }

    @Test("a batch with a known key is answered for however full the queue is")
    func knowsKeysWhenFull() throws {
        let bench = Bench { $0.maxQueued = 3 }
        let batch = Submission(key: "k", images: [.euler("p"), .euler("q")])
        guard case .accepted(let id, duplicate: false) = bench.ask(.submit(batch)) else { throw BenchError() }
        #expect(bench.ask(.submit(batch)) == .accepted(id, duplicate: true))
        let other = bench.failure(.submit(Submission(key: "l", images: [.euler("p"), .euler("q")])))
        #expect(other?.code == .full && other?.text.contains("at most 3 may") == true)
        #expect(bench.store.jobs.count == 1)
    }

    @Test("pictures that are tried again take room in the queue as new ones do")
    func boundsRetries() throws {
        let bench = Bench { ($0.maxQueued, $0.maxJobs) = (3, 2) }
        let first = try bench.submit([.euler("p"), .euler("q")])
        #expect(bench.ask(.cancel(first)) == .done)
        let second = try bench.submit([.euler("r"), .euler("s")])
        let refusal = bench.failure(.retry(first))
        #expect(refusal?.code == .full && refusal?.text.contains("2 pictures") == true)
        #expect(try bench.status(first).cancelled == 2)
        #expect(bench.ask(.cancel(second)) == .done)
        // Two at once: the second counts what the first brought.
        bench.holdsStore = true
        #expect(bench.ask(.retry(first)) == nil)
        let waiting = bench.ask(.retry(second))
        #expect(waiting == nil)
        bench.holdsStore = false
        bench.release()
        #expect(bench.failureOfLast?.code == .full)
        #expect(try bench.status(first).cancelled == 0 && bench.status(second).cancelled == 2)
    }

    @Test("cancelling tells the workers to forget what they have of the job, at once")
    func forgets() throws {
        let bench = Bench()
        bench.join("a", "b")
        let id = try bench.submit([.euler("p"), .euler("q")])
        let other = try bench.submit([.euler("r")])
        bench.work(until: { _ in bench.tasks.count == 3 && bench.tasks.allSatisfy { $0.key.need == .step } })
        bench.control = []
        #expect(bench.ask(.cancel(id)) == .done)
        let images = (0..<2).map { ImageID(job: id, index: $0) }
        #expect(bench.control.filter { $0.message == .forget(images) }.map(\.worker) == ["a", "b"])
        bench.work()
        #expect(try bench.status(other).done == 1)
    }

    @Test("a job that is cancelled while its file is written, and tried again, has its file in the end")
    func retriesWhileWriting() throws {
        let bench = Bench()
        bench.join("a")
        bench.holdsFiles = true
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(bench.ask(.cancel(id)) == .done)
        #expect(bench.ask(.retry(id)) == .done)
        bench.release()
        #expect(bench.files.count == 1, "the file of before may stay: the new one takes its place")
        bench.work()
        bench.release()
        #expect(try bench.status(id).done == 1)
        #expect(bench.files.count == 1)

        // A picture that is done keeps its file when the rest of its job is cancelled.
        let half = try bench.submit([.euler("r"), .euler("s")])
        bench.work()
        #expect(bench.ask(.cancel(half)) == .done)
        #expect(bench.ask(.retry(half)) == .done)
        bench.release()
        bench.work(
            { tasks in tasks.firstIndex { $0.key.image.index == 0 } ?? 0 }, until: { $0.key.image.index == 1 })
        bench.release()
        #expect(try bench.status(half).done == 1)
        let path = try #require(bench.files.keys.first { $0.contains("-r-") })
        #expect(bench.ask(.cancel(half)) == .done)
        bench.work()
        bench.release()
        #expect(bench.files[path] != nil)
        bench.files = [:]

        // Cancelled for good after that, nothing stays.
        let second = try bench.submit([.euler("q")])
        bench.work()
        #expect(bench.ask(.cancel(second)) == .done)
        #expect(bench.ask(.retry(second)) == .done)
        bench.release()
        #expect(bench.files.count == 1)
        #expect(bench.ask(.cancel(second)) == .done)
        #expect(bench.files.isEmpty)
        #expect(try bench.status(second).cancelled == 1)
    }

    @Test("what cannot be drawn is refused with one line before anything is stored")
    func refusesBadInput() throws {
        let bench = Bench {
            $0.maxImagesPerJob = 3
            $0.maxQueued = 4
        }
        bench.join("a")
        func failure(_ images: [ImageRequest], key: String? = nil, folder: String? = nil) -> ClientFailure? {
            bench.failure(.submit(Submission(key: key, folder: folder, images: images)))
        }
        #expect(failure([])?.text.contains("empty") == true)
        #expect(failure(Array(repeating: .euler("p"), count: 4))?.code == .invalid)
        let size = failure([.euler("p"), .euler("p", side: 40)])
        #expect(size?.code == .invalid)
        #expect(size?.text.hasPrefix("picture 2 of 2: 40x40") == true && size?.text.contains("nearest") == true)
        #expect(failure([.euler("p", side: 256)])?.text.contains("256x256") == true, "the model draws up to 128")
        #expect(failure([.euler(String(repeating: "x", count: 100_000))])?.text.contains("100000") == true)
        for folder in ["/etc", "..", "a/../b", "a//b", ".ssh", "", "a\\b", "a\nb", String(repeating: "x", count: 200)] {
            #expect(failure([.euler("p")], folder: folder)?.code == .invalid, "folder \(folder)")
        }
        #expect(failure([.euler("p")], key: "")?.code == .invalid)
        #expect(bench.store.jobs.isEmpty)
        let other = Bench { $0.maxQueued = 4 }
        _ = try other.submit([.euler("p"), .euler("q"), .euler("r")])
        #expect(other.failure(.submit(Submission(images: [.euler("p"), .euler("q")])))?.code == .full)
    }

    @Test("folders below the output folder are taken as they are")
    func takesFolders() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("Ein Bär, 2 Katzen!")], folder: "my cats/day 1")
        bench.work()
        #expect(bench.files.keys.first == "/out/my cats/day 1/0000-ein-b-r-2-katzen-1.png")
        #expect(try bench.status(id).folder == "/out/my cats/day 1")
    }

    @Test(
        "a cancelled job stops in every phase, leaves no file, and is never done",
        arguments: [
            Need.encode, .step, .edge, .picture,
        ])
    func cancels(need: Need) throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.ralu("p"), .ralu("q"), .ralu("r")])
        bench.work(until: { $0.key.need == need })
        #expect(bench.ask(.cancel(id)) == .done)
        bench.work()
        let status = try bench.status(id)
        #expect(status.isFinal && status.cancelled + status.done == 3 && status.cancelled >= 1)
        #expect(bench.files.count == status.done)
        #expect(bench.store.jobs[id]?.checkpoints.isEmpty == true)
        let next = try bench.submit([.euler("after")])
        bench.work()
        #expect(try bench.status(next).done == 1)
    }

    @Test("a job that is cancelled while its file is written leaves no file; one that is already recorded stays done")
    func cancelsWhileWriting() throws {
        let bench = Bench()
        bench.join("a")
        bench.holdsFiles = true
        let id = try bench.submit([.euler("p")])
        bench.work()
        #expect(bench.files.count == 1)
        #expect(bench.ask(.cancel(id)) == .done)
        bench.release()
        #expect(bench.files.isEmpty)
        #expect(try bench.status(id).cancelled == 1)

        let other = Bench()
        other.join("a")
        other.holdsStore = true
        _ = other.ask(.submit(Submission(images: [.euler("p")])))
        guard case .submitted(let late, _, _) = other.heldStored else { throw BenchError() }
        other.release()
        other.work()
        _ = other.ask(.cancel(late))
        other.release()
        #expect(other.store.jobs[late]?.status.done == 1)
        #expect(other.files.count == 1)
    }

    @Test("unknown jobs are named as such in every request")
    func refusesUnknown() {
        let bench = Bench()
        let id = JobID(high: 1, low: 1)
        for request in [ClientRequest.job(id), .watch(id, version: 0), .cancel(id), .retry(id), .remove(id)] {
            #expect(bench.failure(request)?.code == .unknown)
        }
    }

    @Test("retry draws failed and cancelled pictures again, also after the job was over")
    func retries() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p"), .euler("q")])
        let task = try #require(bench.tasks.first { $0.key.image.index == 0 })
        bench.tasks.removeAll { $0.key == task.key }
        bench.say(.fault(Fault(task.key.id, text: "no", isRetriable: false)), "a")
        bench.work()
        #expect(try bench.status(id).failed == 1)
        #expect(bench.ask(.retry(id)) == .done)
        bench.work()
        let status = try bench.status(id)
        #expect(status.done == 2 && status.failed == 0)
        #expect(bench.files.count == 2)
    }

    @Test("a job is removed when nothing of it is left to do, not before, and is unknown then")
    func removes() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        #expect(bench.failure(.remove(id))?.code == .invalid)
        #expect(bench.ask(.removeFinished(secondsAgo: 0)) == .removed(jobs: 0, isAll: true))
        bench.work()
        #expect(try bench.status(id).done == 1)
        #expect(bench.ask(.remove(id)) == .done)
        #expect(bench.failure(.job(id))?.code == .unknown)
        #expect(bench.store.jobs.isEmpty && bench.files.count == 1)
        // Nor is one that is queued again, even before the core knows of it.
        let other = try bench.submit([.euler("q"), .euler("r")])
        #expect(bench.ask(.cancel(other)) == .done)
        bench.holdsStore = true
        #expect(bench.ask(.retry(other)) == nil)
        #expect(bench.ask(.remove(other)) == nil)
        bench.holdsStore = false
        bench.release()
        #expect(bench.failureOfLast?.code == .invalid)
        bench.work()
        #expect(try bench.status(other).done == 2)
    }

    @Test(
        "a cancel, with a removal behind it or not, stops what a retry queues that the store has not answered",
        arguments: [false, true])
    func cancelsRetry(isRemoved: Bool) throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p")])
        #expect(bench.ask(.cancel(id)) == .done)
        bench.holdsStore = true
        bench.ask(.retry(id))
        bench.ask(.cancel(id))
        if isRemoved { bench.ask(.remove(id)) }
        bench.holdsStore = false
        bench.release()
        #expect(bench.reply == .done)
        bench.work()
        #expect(bench.files.isEmpty)
        if isRemoved {
            #expect(bench.store.jobs.isEmpty)
        } else {
            #expect(try bench.status(id).cancelled == 1)
            #expect(bench.store.jobs[id]?.status.cancelled == 1)
        }
        bench.handle(.stop)
        #expect(bench.hasStopped)
    }

    @Test("a retry that waits for another one is overtaken by no cancel, and by no removal, of its job")
    func ordersStayInOrder() throws {
        let bench = Bench()
        bench.join("a")
        let ids = try (0..<3).map { _ in try bench.submit([.euler("p")]) }
        for id in ids { #expect(bench.ask(.cancel(id)) == .done) }
        bench.holdsStore = true
        for id in ids { bench.ask(.retry(id)) }
        bench.ask(.cancel(ids[1]))
        bench.ask(.remove(ids[2]))
        bench.holdsStore = false
        bench.release()
        #expect(bench.failureOfLast?.code == .invalid, "it is to be drawn again")
        bench.work()
        #expect(try bench.status(ids[0]).done == 1)
        #expect(try bench.status(ids[1]).cancelled == 1)
        #expect(try bench.status(ids[2]).done == 1)
        #expect(bench.files.count == 2)
    }

    @Test("while the disk refuses writes removals are refused at once, and none is done later")
    func removesNothingOnFullDisk() throws {
        let bench = Bench()
        bench.join("a")
        let (old, live) = (try bench.submit([.euler("p")]), try bench.submit([.euler("q")]))
        #expect(bench.ask(.cancel(old)) == .done)
        bench.refusesWrites = true
        #expect(bench.failure(.remove(old))?.code == .unavailable)
        #expect(bench.ask(.cancel(live)) == nil)
        #expect(bench.failure(.remove(old))?.text.contains("disk is full") == true)
        #expect(bench.failure(.removeFinished(secondsAgo: 0))?.code == .unavailable)
        bench.refusesWrites = false
        bench.wait(3, beating: ["a"])
        #expect(bench.store.jobs.count == 2 && bench.store.jobs[live]?.status.cancelled == 1)
        #expect(bench.ask(.remove(old)) == .done)
    }

    @Test("removals go to the store one at a time")
    func removesOneAtATime() throws {
        let bench = Bench()
        bench.join("a")
        let ids = try (0..<2).map { _ in try bench.submit([.euler("p")]) }
        bench.work()
        bench.holdsStore = true
        for id in ids { bench.ask(.remove(id)) }
        #expect(bench.store.jobs.count == 1)
        bench.holdsStore = false
        bench.release()
        #expect(bench.store.jobs.isEmpty && bench.reply == .done)
    }

    @Test("jobs that were finished long enough ago are removed, and an age that is none is refused")
    func removesOld() throws {
        let bench = Bench()
        bench.join("a")
        let old = try bench.submit([.euler("p")])
        bench.work()
        bench.wait(100, beating: ["a"])
        let young = try bench.submit([.euler("q")])
        bench.work()
        #expect(bench.ask(.removeFinished(secondsAgo: 101)) == .removed(jobs: 0, isAll: true))
        #expect(bench.ask(.removeFinished(secondsAgo: 50)) == .removed(jobs: 1, isAll: true))
        #expect(bench.store.jobs[old] == nil && bench.store.jobs[young] != nil)
        for age in [-1, .infinity, .nan] {
            #expect(bench.failure(.removeFinished(secondsAgo: age))?.code == .invalid)
        }
    }

    @Test("the list counts pictures by state and leaves them out; a job by itself has each one's state")
    func listCounts() throws {
        let bench = Bench { $0.flightsPerWorker = 1 }
        let id = try bench.submit((0..<4).map { .euler("\($0)") })
        func listed() throws -> JobStatus {
            guard case .jobs(let jobs) = bench.ask(.jobs(limit: 10)), let job = jobs.first else { throw BenchError() }
            return job
        }
        #expect(try listed().queued == 4)
        bench.join("a")
        bench.work(until: { $0.key.image.index == 1 && $0.key.need == .step })
        let job = try listed()
        #expect(job.images.isEmpty && job.done == 1 && job.running == 1 && job.queued == 2)
        let alone = try bench.status(id)
        #expect(alone.images.count == 4 && alone.running == 1)
        func count(_ isCounted: (ImageState) -> Bool) -> Int { alone.images.count(where: isCounted) }
        #expect(count { if case .running = $0 { true } else { false } } == 1)
        #expect(count { if case .done = $0 { true } else { false } } == 1)
        #expect(bench.ask(.cancel(id)) == .done)
        let last = try listed()
        #expect(last.done == 1 && last.cancelled == 3 && last.running == 0 && last.queued == 0)
    }

    @Test("jobs are found by the beginning of their ids, ten at most, newest first and without their pictures")
    func findsByBeginning() throws {
        let bench = Bench()
        let ids = try (0..<12).map { try bench.submit([.euler("\($0)")]) }
        bench.join("a")
        func found(_ digits: String) throws -> [JobStatus] {
            guard case .jobs(let jobs) = bench.ask(.jobsBeginning(with: digits)) else { throw BenchError() }
            return jobs
        }
        let common = String(ids[0].description.prefix(12))
        #expect(try found(common).map(\.id) == Array(ids.reversed().prefix(10)))
        let one = try found(ids[0].description)
        #expect(one.map(\.id) == [ids[0]] && one.first?.images.isEmpty == true)
        #expect(one.first?.running == 1, "as it stands now, not as the store has it")
        #expect(try found("8").isEmpty)
    }

    @Test("unfinished jobs are listed as they are drawn: those under way, then the others in their order")
    func listsUnfinished() throws {
        let bench = Bench { $0.flightsPerWorker = 1 }
        bench.join("a")
        func listed(_ limit: Int = 10) throws -> [JobID] {
            guard case .jobs(let jobs) = bench.ask(.unfinished(limit: limit)) else { throw BenchError() }
            #expect(jobs.allSatisfy { $0.images.isEmpty && !$0.isFinal })
            return jobs.map(\.id)
        }
        _ = try bench.submit([.euler("done")])
        bench.work()
        #expect(try listed().isEmpty)
        let low = try bench.submit((0..<6).map { .euler("\($0)") })
        let late = try bench.submit([.euler("late")])
        let high = try bench.submit([.euler("high")], priority: 5)
        #expect(try listed() == [low, high, late])
        #expect(try listed(2) == [low, high] && listed(-1).isEmpty)
        #expect(bench.ask(.cancel(high)) == .done)
        #expect(try listed() == [low, late])
        bench.work()
        #expect(try listed().isEmpty)
    }

    @Test("watch answers with the next tick when something differs, after a second in any case, and at the end at once")
    func watches() throws {
        let bench = Bench()
        let id = try bench.submit([.euler("p")])
        let version = try bench.status(id).version
        #expect(bench.ask(.watch(id, version: version &- 1)) == nil)
        bench.wait(0.2)
        guard case .job = bench.reply else { throw BenchError() }
        #expect(bench.ask(.watch(id, version: version)) == nil)
        bench.wait(0.6)
        #expect(bench.reply == nil)
        bench.wait(0.6)
        guard case .job(let same) = bench.reply else { throw BenchError() }
        #expect(same.version == version)
        #expect(bench.ask(.watch(id, version: version)) == nil)
        bench.join("a")
        guard case .job(let changed) = bench.reply else { throw BenchError() }
        #expect(changed.version != version)
        #expect(bench.ask(.watch(id, version: changed.version)) == nil)
        bench.work()
        guard case .job(let last) = bench.reply else { throw BenchError() }
        #expect(last.isFinal, "no tick has passed")
    }

    @Test("who waits for a model has it as soon as a worker has joined, and is told after a second that there is none")
    func awaitsModel() throws {
        let bench = Bench()
        #expect(bench.ask(.model) == .model(nil))
        #expect(bench.ask(.awaitModel) == nil)
        bench.wait(0.6)
        #expect(bench.reply == nil)
        bench.wait(0.6)
        #expect(bench.reply == .model(nil))

        #expect(bench.ask(.awaitModel) == nil)
        bench.say(.hello(FakeModel.hello("a")), "a")
        #expect(bench.reply == .model(FakeModel.facts), "before there is a plan")
        #expect(bench.ask(.awaitModel) == .model(FakeModel.facts))
    }

    @Test("stopping lets steps end, keeps their state and starts nothing")
    func stops() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p", steps: 5)])
        bench.work(until: { $0.key.need == .step && $0.key.step == 2 })
        bench.handle(.stop)
        #expect(!bench.hasStopped)
        bench.work()
        #expect(bench.hasStopped)
        #expect(bench.store.jobs[id]?.checkpoints[0]?.step == 3)
        #expect(bench.failure(.submit(Submission(images: [.euler("q")])))?.code == .unavailable)
    }

    @Test("a new coordinator goes on from the last durable step, with the same picture and a higher epoch")
    func recovers() throws {
        let first = Bench()
        first.join("a")
        let request = ImageRequest.ralu("p", seed: 9)
        let id = try first.submit([request, .euler("q")])
        first.work(until: { $0.key.image.index == 0 && $0.key.need == .step && $0.key.step == 3 })

        let second = Bench()
        second.store = first.store
        second.handle(.recovered(second.store.unfinished, pin: nil, epoch: 1))
        second.join("a")
        #expect(second.core.plan?.epoch == 2)
        var steps: [Int] = []
        second.work { tasks in
            if let task = tasks.first, task.key.image.index == 0, task.key.need == .step { steps.append(task.key.step) }
            return 0
        }
        #expect(steps == [3, 4])
        #expect(try second.status(id).done == 2)
        #expect(second.files.values.contains(try FakeModel.render(request)))
    }

    @Test("a checkpoint that is damaged costs its steps only")
    func survivesDamagedCheckpoint() throws {
        let bench = Bench()
        let request = ImageRequest.euler("p")
        let id = try bench.submit([request])
        bench.store.jobs[id]?.checkpoints[0] = (2, [1, 2, 3])
        bench.handle(.recovered([], pin: nil, epoch: 0))
        let second = Bench()
        second.store = bench.store
        second.handle(.recovered(second.store.unfinished, pin: nil, epoch: 0))
        second.join("a")
        second.work()
        #expect(second.files.values.first == (try FakeModel.render(request)))
        #expect(second.logged.contains { $0.contains("begins at its first step again: the sampler's checkpoint") })
    }

    @Test("a checkpoint that cannot be read now is waited for, no step is done again; a stop does not wait for it")
    func waitsForCheckpoint() throws {
        let first = Bench()
        first.join("a")
        let request = ImageRequest.euler("p", steps: 4)
        let id = try first.submit([request])
        first.work(until: { $0.key.need == .step && $0.key.step == 3 })
        func restarted() -> Bench {
            let bench = Bench()
            bench.store = first.store
            bench.refusesCheckpoints = true
            bench.handle(.recovered(bench.store.unfinished, pin: nil, epoch: 0))
            bench.join("a")
            bench.wait(5, beating: ["a"])
            return bench
        }
        let second = restarted()
        #expect(second.tasks.isEmpty)
        #expect(second.logged.count { $0.contains("trying again each second") } == 1)
        #expect(try second.status(id).failed == 0)
        second.refusesCheckpoints = false
        second.wait(1, beating: ["a"])
        var steps: [Int] = []
        second.work(until: {
            if $0.key.need == .step { steps.append($0.key.step) }
            return false
        })
        #expect(steps == [3])
        #expect(second.files.values.first == (try FakeModel.render(request)))

        let third = restarted()
        third.handle(.stop)
        #expect(third.hasStopped)
        #expect(third.store.jobs[id]?.checkpoints[0]?.step == 3)
    }
}

extension Bench {
    /// The answer of the store that is held back first.
    var heldStored: StoreAnswer? {
        for case .stored(let answer, _) in held { return answer }
        return nil
    }
}
