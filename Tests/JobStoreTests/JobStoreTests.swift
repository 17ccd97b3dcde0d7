import Foundation
import GRDB
import JobStore
import Plan
import Testing

struct JobStoreTests {
    @Test("a job comes back after the store is opened again, with its checkpoints and without half-done states")
    func reopens() throws {
        let folder = try Scratch()
        let id: JobID
        do {
            let store = try JobStore(folder: folder.path)
            id = try store.submit(.three(key: "k"), time: 5).id
            let answers = store.perform([
                .finish(ImageID(job: id, index: 0), .done(path: "/out/0.png", checksum: 0xffff_fffe), time: 6),
                .checkpoint(ImageID(job: id, index: 1), step: 4, sampler: [1, 2]),
                .checkpoint(ImageID(job: id, index: 1), step: 5, sampler: [3]),
                .progress(id, tokens: 4096, version: 77),
            ])
            #expect(answers == [.written, .written, .written, .written])
        }
        let store = try JobStore(folder: folder.path)
        let job = try #require(try store.unfinished().first)
        #expect(job.status.id == id)
        #expect(job.status.images == [.done(path: "/out/0.png", checksum: 0xffff_fffe), .queued, .queued])
        #expect(job.status.done == 1 && job.status.total == 3 && job.status.finished == nil)
        #expect(job.status.tokenSteps == 4096 && job.status.version >= 77)
        #expect(job.checkpoints == [1: 5])
        #expect(job.requests == Submission.three().images)
        let checkpoint = try #require(try store.checkpoint(ImageID(job: id, index: 1)))
        #expect(checkpoint.step == 5 && checkpoint.sampler == [3])
        #expect(try store.synchronousLevel() == 2, "NORMAL may lose acknowledged jobs with the power")
    }

    @Test("the same key queues once, also after reopening, and other keys queue again")
    func keyIsIdempotent() throws {
        let folder = try Scratch()
        var store: JobStore? = try JobStore(folder: folder.path)
        let first = try #require(try store?.submit(.three(key: "a")))
        let again = try #require(try store?.submit(.three(key: "a")))
        #expect(!first.duplicate && again.duplicate && again.id == first.id)
        store = nil
        let reopened = try JobStore(folder: folder.path)
        #expect(try reopened.submit(.three(key: "a")) == (first.id, true))
        #expect(try reopened.submit(.three(key: "b")).duplicate == false)
        #expect(try reopened.submit(.three()).duplicate == false)
        #expect(try reopened.jobs(limit: 10).count == 3)
    }

    @Test("a key that was used for other pictures is refused with the job and the difference")
    func keyOfOtherPictures() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three(key: "a")).id
        var other = Submission.three(key: "a")
        other.images[1].seed += 1
        var error = #expect(throws: StoreError.self) { try store.submit(other) }
        #expect(
            error?.reason
                == .keyUsed(key: "a", job: id.description, difference: "picture 2 is another one"))
        other = .three(key: "a")
        other.images.removeLast()
        error = #expect(throws: StoreError.self) { try store.submit(other) }
        #expect(error?.description.contains("it has 3 pictures, not 2") == true)
        #expect(error?.isRetriable == false)
        other = .three(key: "a")
        other.images += other.images
        #expect(throws: StoreError.self) { try store.submit(other) }
        #expect(try store.submit(.three(key: "a", priority: 5)) == (id, true))
        #expect(try store.jobs(limit: 10).count == 1)
    }

    @Test("a picture that is final stays what it is, whatever comes late")
    func finalIsFinal() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three()).id
        _ = store.perform([.finish(ImageID(job: id, index: 0), .done(path: "/a", checksum: 1), time: 1)])
        _ = store.perform([.cancel(id, time: 2)])
        _ = store.perform([
            .finish(ImageID(job: id, index: 1), .done(path: "/b", checksum: 2), time: 3),
            .finish(ImageID(job: id, index: 0), .failed("late"), time: 3),
            .checkpoint(ImageID(job: id, index: 2), step: 1, sampler: [9]),
        ])
        let job = try #require(try store.job(id))
        #expect(job.images == [.done(path: "/a", checksum: 1), .cancelled, .cancelled])
        #expect(job.done == 1 && job.cancelled == 2 && job.failed == 0 && job.finished == 2)
        #expect(try store.checkpoint(ImageID(job: id, index: 2)) == nil)
        #expect(try store.unfinished().isEmpty)
    }

    @Test("the model of a job is that of its first picture that is done, and no other one may finish it")
    func keepsModel() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three()).id
        let images = (0..<3).map { ImageID(job: id, index: $0) }
        _ = store.perform([
            .finish(images[0], .failed("no"), time: 1, model: "bad"),
            .finish(images[1], .done(path: "/a", checksum: 1), time: 2, model: "good"),
            .finish(images[2], .done(path: "/b", checksum: 1), time: 3, model: "late"),
        ])
        for other in ["bad", "late", nil] {
            let wanted = StoreError(.otherModel(job: id.description, was: "good", now: other))
            #expect(store.perform([.retry(id, model: other)]) == [.failed(wanted)])
        }
        #expect(try store.unfinished().isEmpty)
        guard case .retried(let job) = store.perform([.retry(id, model: "good")])[0] else {
            throw StoreError(.damaged("no answer to a retry"))
        }
        #expect(job.status.images[0] == .queued && job.status.done == 2)
        // The kernels count as well, but for jobs of a version that kept none.
        let kept = try store.submit(.three()).id
        let first = ImageID(job: kept, index: 0)
        _ = store.perform([
            .finish(first, .done(path: "/c", checksum: 1), time: 2, model: StoreWrite.model("good", kernels: "avx2")),
            .cancel(kept, time: 3), .cancel(id, time: 3),
        ])
        for (now, isTaken) in [("good avx2", true), ("good avx512", false), ("bad avx2", false)] {
            let answer = store.perform([.retry(kept, model: now), .cancel(kept, time: 4)])[0]
            #expect({ if case .retried = answer { true } else { false } }() == isTaken, "\(now)")
            let old = store.perform([.retry(id, model: now), .cancel(id, time: 4)])[0]
            #expect({ if case .retried = old { true } else { false } }() == now.hasPrefix("good"), "\(now)")
        }
        // One without a picture that is done may be drawn by any.
        let other = try store.submit(.three()).id
        _ = store.perform([.cancel(other, time: 4)])
        guard case .retried = store.perform([.retry(other, model: "new")])[0] else {
            throw StoreError(.damaged("no answer to a retry"))
        }
    }

    @Test("retry queues failed and cancelled pictures again and leaves done ones")
    func retries() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three()).id
        _ = store.perform([
            .finish(ImageID(job: id, index: 0), .done(path: "/a", checksum: 1), time: 1),
            .finish(ImageID(job: id, index: 1), .failed("no"), time: 2), .cancel(id, time: 3),
        ])
        #expect(try store.job(id)?.finished == 3)
        guard case .retried(let job) = store.perform([.retry(id)])[0] else {
            Issue.record("retry was not answered with the job")
            return
        }
        #expect(job.status.images == [.done(path: "/a", checksum: 1), .queued, .queued])
        #expect(job.status.failed == 0 && job.status.cancelled == 0 && job.status.finished == nil)
        #expect(try store.unfinished().map(\.status.id) == [id])
    }

    @Test("retry queues nothing where more pictures, or bytes, would wait than may")
    func boundsRetries() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three()).id
        _ = store.perform([.cancel(id, time: 3)])
        for write in [StoreWrite.retry(id, mostPictures: 2), .retry(id, mostBytes: 300)] {
            guard case .failed(let error) = store.perform([write])[0], case .full(3, let bytes) = error.reason else {
                Issue.record("\(write) was not refused")
                return
            }
            #expect(bytes > 300 && error.isRetriable == false)
        }
        #expect(try store.unfinished().isEmpty)
        guard case .retried(let job) = store.perform([.retry(id, mostPictures: 3, mostBytes: 10_000)])[0] else {
            Issue.record("there was room")
            return
        }
        #expect(job.status.images == [.queued, .queued, .queued])
    }

    @Test("a finished job is removed with all of it, its key is free, and its folder is not")
    func removes() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three(key: "k"), folder: "/out/cats").id
        let other = try store.submit(.three(), folder: "/out/dogs").id
        _ = store.perform([.checkpoint(ImageID(job: id, index: 1), step: 4, sampler: [1])])
        #expect(store.perform([.remove(id)]) == [.failed(StoreError(.unfinished(id.description)))])
        #expect(try store.job(id)?.total == 3 && store.checkpoint(ImageID(job: id, index: 1)) != nil)
        #expect(store.perform([.cancel(id, time: 3), .remove(id)]) == [.written, .written])
        #expect(try store.job(id) == nil && store.jobs(limit: 9).map(\.id) == [other])
        #expect(try rows(of: "image", in: store) == 3, "those of the other job")
        #expect(store.perform([.remove(id)]) == [.failed(StoreError(.unknownJob(id.description)))])
        let again = try store.submit(.three(key: "k"), folder: "/out/cats")
        #expect(!again.duplicate)
        #expect(try store.job(again.id)?.folder == "/out/cats-2", "the pictures in /out/cats are still there")
        let own = try store.submit(.three(), folder: "/out/\(id)").id
        _ = store.perform([.cancel(own, time: 4), .remove(own)])
        let stolen = try store.submit(.three(), folder: "/out/\(id)").id
        #expect(try store.job(stolen)?.folder == "/out/\(id)-2")
    }

    @Test("a folder that holds another queue's pictures is given to no job; one with folders only is")
    func keepsFoldersOfOthers() throws {
        let state = try Scratch()
        let output = try Scratch()
        let store = try JobStore(folder: state.path)
        #expect(store.isNew)
        func submit(_ folder: String, key: String? = nil) throws -> (folder: String, duplicate: Bool) {
            let path = output.path + folder
            let write = StoreWrite.submit(
                JobID(using: &generator), .three(key: key), folder: path, time: 0,
                occupied: DurableFolder.occupied(like: path))
            guard case .submitted(_, let given, let duplicate) = store.perform([write])[0] else {
                throw StoreError(.damaged(""))
            }
            return (String(given.dropFirst(output.path.count)), duplicate)
        }
        var generator = SystemRandomNumberGenerator()
        for folder in ["/empty", "/cats", "/cats-2", "/above/below"] {
            try DurableFolder.make(output.path + folder, mode: 0o700)
        }
        for file in ["/cats/0001.png", "/cats-2/0001.png", "/above/below/0001.png", "/empty/.hidden"] {
            try Data([1]).write(to: URL(fileURLWithPath: output.path + file))
        }
        for (asked, given) in [
            ("/cats", "/cats-3"), ("/cats", "/cats-4"), ("/empty", "/empty"), ("/above", "/above"), ("/new", "/new"),
            ("/cat", "/cat"),
        ] { #expect(try submit(asked).folder == given) }
        #expect(try submit("/keyed", key: "k") == ("/keyed", false))
        try DurableFolder.make(output.path + "/keyed", mode: 0o700)
        try Data([1]).write(to: URL(fileURLWithPath: output.path + "/keyed/0001.png"))
        #expect(try submit("/keyed", key: "k") == ("/keyed", true), "its own pictures do not stand in a job's way")
        store.close()
        #expect(try !JobStore(folder: state.path).isNew)
    }

    @Test("jobs that were finished by a time are removed oldest first, no more of them than one write should")
    func removesFinished() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let ids = try (0..<6).map { _ in try store.submit(.three()).id }
        for (id, time) in zip(ids, [50.0, 10, 30, 20, 40]) { _ = store.perform([.cancel(id, time: time)]) }
        func remove(_ time: Double, _ most: Int) -> StoreAnswer {
            store.perform([.removeFinished(by: time, mostPictures: most)])[0]
        }
        #expect(remove(9, 100) == .removed(jobs: 0, isAll: true))
        #expect(remove(40, 6) == .removed(jobs: 2, isAll: false))
        #expect(try Set(store.jobs(limit: 9).map(\.id)) == Set([0, 2, 4, 5].map { ids[$0] }))
        #expect(remove(40, 2) == .removed(jobs: 1, isAll: false), "one is removed however large it is")
        #expect(remove(40, 2) == .removed(jobs: 1, isAll: true))
        #expect(try store.jobs(limit: 9).map(\.id) == [ids[5], ids[0]])
        #expect(try rows(of: "image", in: store) == 6)
        #expect(remove(.infinity, .max) == .removed(jobs: 1, isAll: true))
    }

    private func rows(of table: String, in store: JobStore) throws -> Int? {
        try DatabaseQueue(path: store.path).read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") }
    }

    @Test("a submission that is taken only if its key is known queues nothing new")
    func onlyKnown() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three(key: "k")).id
        let fresh = JobID(high: 1, low: 1)
        let answers = store.perform([
            .submit(fresh, .three(key: "k"), folder: "/f", time: 0, onlyKnown: true),
            .submit(fresh, .three(key: "l"), folder: "/f", time: 0, onlyKnown: true),
        ])
        guard case .submitted(id, _, duplicate: true) = answers[0], case .failed(let error) = answers[1] else {
            Issue.record("\(answers)")
            return
        }
        #expect(error.reason == .unknownKey("l"))
        #expect(try store.unfinished().count == 1)
    }

    @Test("folders are made with those above them, and a file in the way is said")
    func makesFolders() throws {
        let folder = try Scratch()
        try DurableFolder.make(folder.path + "/a/b/c/", mode: 0o700)
        try DurableFolder.make(folder.path + "/a/b/c", mode: 0o700)
        var isFolder: ObjCBool = false
        #expect(FileManager.default.fileExists(atPath: folder.path + "/a/b/c", isDirectory: &isFolder))
        #expect(isFolder.boolValue)
        try Data().write(to: URL(fileURLWithPath: folder.path + "/a/file"))
        let error = #expect(throws: StoreError.self) { try DurableFolder.make(folder.path + "/a/file", mode: 0o700) }
        #expect(error?.description.contains("a/file (Not a directory)") == true)
    }

    @Test("jobs come back interactive ones first, then by priority, then by age; listings newest first")
    func ordersJobs() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let low = try store.submit(.three(), time: 1).id
        let high = try store.submit(.three(priority: 5), time: 2).id
        let late = try store.submit(.three(), time: 3).id
        let waited = try store.submit(.three(priority: -1, isInteractive: true), time: 4).id
        #expect(try store.unfinished().map(\.status.id) == [waited, high, low, late])
        #expect(try store.unfinished().map(\.isInteractive) == [true, false, false, false])
        #expect(try store.jobs(limit: 2).map(\.id) == [waited, late])
        #expect(try store.jobs(limit: -1).isEmpty)
    }

    @Test("a queue from before there were interactive jobs, and removed ones, is taken over as it is")
    func migrates() throws {
        let folder = try Scratch()
        let id: JobID
        do {
            let store = try JobStore(folder: folder.path)
            id = try store.submit(.three(priority: 5), time: 2).id
            let over = try store.submit(.three(), folder: "/out/over").id
            _ = store.perform([.cancel(over, time: 3)])
        }
        try DatabaseQueue(path: folder.path + "/queue.sqlite").write {
            try $0.execute(
                sql: """
                    DROP INDEX job_unfinished;
                    ALTER TABLE job DROP COLUMN interactive;
                    CREATE INDEX job_unfinished ON job (priority DESC, number) WHERE finished IS NULL;
                    DROP INDEX job_finished;
                    DROP TABLE former_folder;
                    ALTER TABLE job DROP COLUMN model;
                    DELETE FROM grdb_migrations
                    WHERE identifier IN ('2 interactive jobs', '3 removed jobs', '4 models of jobs');
                    """)
        }
        let store = try JobStore(folder: folder.path)
        let later = try store.submit(.three(isInteractive: true), time: 3).id
        #expect(try store.unfinished().map(\.status.id) == [later, id])
        #expect(try store.unfinished().map(\.isInteractive) == [true, false])
        _ = store.perform([.cancel(id, time: 4)])
        guard case .retried = store.perform([.retry(id, model: "any")])[0] else {
            throw StoreError(.damaged("no answer to a retry"))
        }
        #expect(store.perform([.removeFinished(by: 3, mostPictures: 9)]) == [.removed(jobs: 1, isAll: true)])
    }

    @Test("times that were taken from a clock that was wrong move with it, and no others")
    func movesTimes() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let ids = try [90.0, 100, 105].map { try store.submit(.three(), time: $0).id }
        _ = store.perform([.cancel(ids[0], time: 104), .cancel(ids[1], time: 111)])
        #expect(store.perform([.moveTimes(from: 100, to: 110, by: 1000)]) == [.written])
        let jobs = try ids.map { try #require(try store.job($0)) }
        #expect(jobs.map(\.submitted) == [90, 1100, 1105])
        #expect(jobs.map(\.finished) == [1104, 111, nil])
    }

    @Test("two jobs never share a folder")
    func foldersDiffer() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        for _ in 0..<3 { _ = try store.submit(.three(), folder: "/out/cats") }
        #expect(try store.jobs(limit: 9).map(\.folder) == ["/out/cats-3", "/out/cats-2", "/out/cats"])
    }

    @Test("an unknown job fails alone, the rest of the group is written")
    func unknownFailsAlone() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let id = try store.submit(.three()).id
        let nobody = JobID(high: 1, low: 2)
        let answers = store.perform([.cancel(nobody, time: 0), .cancel(id, time: 1), .retry(nobody)])
        #expect(answers[0] == .failed(StoreError(.unknownJob(nobody.description))))
        #expect(answers[1] == .written)
        #expect(try store.job(nobody) == nil)
        #expect(try store.job(id)?.cancelled == 3)
    }

    @Test("a write that fails halfway leaves nothing behind, and the rest of the group is written")
    func failsWhole() throws {
        let folder = try Scratch()
        let id = try Self.withDamage(in: folder)
        let store = try JobStore(folder: folder.path)
        let other = try store.submit(.three()).id
        let answers = store.perform([.retry(id), .cancel(other, time: 4)])
        guard case .failed(let error) = answers[0], case .damaged = error.reason else {
            Issue.record("\(answers[0])")
            return
        }
        #expect(answers[1] == .written)
        let job = try #require(try store.job(id))
        #expect(job.images == [.cancelled, .cancelled, .cancelled] && job.cancelled == 3 && job.finished == 3)
        #expect(try store.unfinished().isEmpty)
        #expect(try store.job(other)?.cancelled == 3)
    }

    @Test("a job's states are told without its requests being read")
    func statesOnly() throws {
        let folder = try Scratch()
        let id = try Self.withDamage(in: folder)
        let job = try #require(try JobStore(folder: folder.path).job(id))
        #expect(job.images == [.cancelled, .cancelled, .cancelled] && job.isFinal)
    }

    /// Leaves a cancelled job of which one request cannot be read.
    private static func withDamage(in folder: Scratch) throws -> JobID {
        let id: JobID
        do {
            let store = try JobStore(folder: folder.path)
            id = try store.submit(.three()).id
            _ = store.perform([.cancel(id, time: 3)])
        }
        try DatabaseQueue(path: folder.path + "/queue.sqlite").write {
            try $0.execute(sql: "UPDATE image SET request = 'no' WHERE \"index\" = 1")
        }
        return id
    }

    @Test("jobs are found by the beginning of their id, newest first, whatever number of newer ones there is")
    func findsByBeginning() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let ids = [
            JobID(high: 0xabcd_0000_0000_0000, low: 1), JobID(high: 0xabce_0000_0000_0000, low: 2),
            JobID(high: 0xabcf_ffff_ffff_ffff, low: .max),
        ]
        for id in ids { _ = try store.submit(.three(), id: id) }
        let newer = (1...UInt64(1200)).map {
            StoreWrite.submit(JobID(high: 5, low: $0), .three(), folder: "/\($0)", time: 0)
        }
        _ = store.perform(newer)
        func found(_ digits: String, _ limit: Int = 10) throws -> [JobID] {
            let jobs = try store.jobs(beginningWith: digits, limit: limit)
            #expect(jobs.allSatisfy { $0.images.isEmpty })
            return jobs.map(\.id)
        }
        #expect(try found("abc") == Array(ids.reversed()))
        #expect(try found("abc", 2) == [ids[2], ids[1]])
        #expect(try found("abcd00000000") == [ids[0]])
        #expect(try found("abcf") == [ids[2]] && found(ids[2].description) == [ids[2]])
        #expect(try found("abd").isEmpty && found("b").isEmpty && found("abcf0").isEmpty)
        #expect(try found("0").count == 10)
    }

    @Test("a second coordinator on the folder is refused, and let in when the first is gone")
    func locksFolder() throws {
        let folder = try Scratch()
        var first: JobStore? = try JobStore(folder: folder.path)
        let refusal = #expect(throws: StoreError.self) { try JobStore(folder: folder.path) }
        #expect(refusal?.reason == .locked(folder: folder.path))
        #expect("\(refusal.map(String.init(describing:)) ?? "")".contains("another coordinator"))
        withExtendedLifetime(first) {}
        first = nil
        _ = try JobStore(folder: folder.path)
    }

    @Test("a folder that cannot be written is a clear error")
    func refusesUnwritable() throws {
        let folder = try Scratch()
        try Data().write(to: URL(fileURLWithPath: folder.path + "/file"))
        let refusal = #expect(throws: StoreError.self) { try JobStore(folder: folder.path + "/file/state") }
        #expect(refusal.map(String.init(describing:))?.contains("cannot write \(folder.path)/file/state") == true)
        // Root may write anywhere, so the mode alone shows nothing in a container.
        if getuid() != 0 {
            try FileManager.default.setAttributes([.posixPermissions: 0o500], ofItemAtPath: folder.path)
            #expect(throws: StoreError.self) { try JobStore(folder: folder.path) }
        }
    }

    @Test("a queue of a newer version is refused")
    func refusesNewer() throws {
        let folder = try Scratch()
        do { _ = try JobStore(folder: folder.path) }
        let database = folder.path + "/queue.sqlite"
        try DatabaseQueue(path: database).write {
            try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99 from the future')")
        }
        let refusal = #expect(throws: StoreError.self) { try JobStore(folder: folder.path) }
        #expect(refusal?.reason == .newerVersion(path: database))
    }

    @Test("takes ten thousand pictures at once, and readers do not wait for the writer")
    func takesManyPictures() async throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        let images = (0..<10_000).map { ImageRequest.small("a red square number \($0)", seed: UInt64($0)) }
        let clock = ContinuousClock()
        let id = try store.submit(Submission(images: images)).id
        await withTaskGroup { group in
            for reader in 0..<3 {
                group.addTask {
                    for _ in 0..<20 {
                        let listed = clock.now
                        #expect((try? store.jobs(limit: 5).first?.id) == id)
                        #expect(clock.now - listed < .seconds(30), "reader \(reader) waited")
                    }
                }
            }
            group.addTask {
                for index in 0..<200 {
                    let image = ImageID(job: id, index: UInt32(index))
                    _ = store.perform([.finish(image, .done(path: "/\(index)", checksum: 0), time: 1)])
                }
            }
        }
        #expect(try store.jobs(limit: 1).first?.done == 200)
    }

    @Test("facts are kept, replaced and forgotten")
    func keepsFacts() throws {
        let folder = try Scratch()
        let store = try JobStore(folder: folder.path)
        _ = store.perform([.fact(name: "model", value: "a"), .fact(name: "model", value: "b")])
        #expect(try store.fact("model") == "b")
        _ = store.perform([.fact(name: "model", value: nil)])
        #expect(try store.fact("model") == nil)
    }
}

/// A folder that goes when the test ends.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/abbozzo-store-\(UInt64.random(in: 0...(.max)))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

extension ImageRequest {
    static func small(_ prompt: String, seed: UInt64) -> ImageRequest {
        ImageRequest(
            prompt: prompt, seed: seed, width: 64, height: 64, guidance: 3.5, textLength: 8,
            sampler: .euler(steps: 4))
    }
}

extension Submission {
    static func three(key: String? = nil, priority: Int = 0, isInteractive: Bool = false) -> Submission {
        Submission(
            key: key, images: (0..<3).map { .small("picture \($0)", seed: $0) }, priority: priority,
            isInteractive: isInteractive)
    }
}
