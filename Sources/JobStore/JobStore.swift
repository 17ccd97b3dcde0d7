internal import Foundation
internal import GRDB
internal import Glibc
package import Plan

/// The durable queue: jobs, their pictures and the samplers' checkpoints, in one SQLite file.
///
/// A call that writes returns when the bytes are on the disk (WAL with `synchronous = FULL`). Calls may come from any
/// thread; readers do not wait for the writer. Only one process may have the folder.
package final class JobStore: Sendable {
    /// Path of the database.
    package let path: String
    /// Whether the queue was made just now.
    package let isNew: Bool
    private let pool: DatabasePool
    private let lock: FolderLock

    /// Opens the queue in a folder, making both where they do not exist.
    package init(folder: String) throws(StoreError) {
        try DurableFolder.make(folder, mode: 0o700)
        guard access(folder, W_OK | X_OK) == 0 else { throw StoreError(.unwritable(path: folder, code: errno)) }
        lock = try FolderLock(folder: folder)
        let path = folder + "/queue.sqlite"
        self.path = path
        isNew = access(path, F_OK) != 0
        do {
            var configuration = Configuration()
            configuration.label = "queue"
            configuration.maximumReaderCount = 4
            pool = try DatabasePool(path: path, configuration: configuration)
            // GRDB sets NORMAL when it turns WAL on, which may lose the last commits when the power goes.
            try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
            let migrator = Schema.migrator
            if try pool.read(migrator.hasBeenSuperseded) { throw StoreError(.newerVersion(path: path)) }
            try migrator.migrate(pool)
        } catch {
            throw StoreError.from(error, path: path)
        }
    }

    /// Closes the database and lets other processes have the folder; calls after it fail.
    package func close() {
        try? pool.close()
        lock.release()
    }

    /// Writes everything in one transaction, so that a hundred changes cost one fsync.
    ///
    /// A write that makes no sense (an unknown job) fails alone and leaves nothing behind; when the disk refuses, all fail
    /// and nothing is kept.
    package func perform(_ writes: [StoreWrite]) -> [StoreAnswer] {
        do {
            return try pool.write { database in
                try writes.map { write in
                    do {
                        return try Self.performWhole(write, in: database)
                    } catch let error as StoreError {
                        return .failed(error)
                    }
                }
            }
        } catch {
            let failure = StoreError.from(error, path: path)
            return writes.map { _ in .failed(failure) }
        }
    }

    /// Queues a job; it is durable when the call returns.
    ///
    /// The folder of a submission that names none is the job's identity, below the working folder.
    package func submit(
        _ submission: Submission, id: JobID? = nil, folder: String? = nil, time: Double = 0
    ) throws(StoreError) -> (id: JobID, duplicate: Bool) {
        var generator = SystemRandomNumberGenerator()
        let fresh = id ?? JobID(using: &generator)
        let answer = perform([
            .submit(fresh, submission, folder: folder ?? submission.folder ?? fresh.description, time: time)
        ])
        switch answer[0] {
        case .submitted(let id, _, let duplicate): return (id, duplicate)
        case .failed(let error): throw error
        case .written, .retried, .removed: fatalError("a submission was answered with \(answer[0])")
        }
    }

    /// Every job with work left, in the order it is to be done: interactive ones first, then higher priority, then older.
    package func unfinished() throws(StoreError) -> [StoredJob] {
        try read { database in
            try Row.fetchAll(
                database,
                sql: "SELECT * FROM job WHERE finished IS NULL ORDER BY interactive DESC, priority DESC, number"
            ).map { try Self.stored($0, in: database) }
        }
    }

    /// The newest jobs without their pictures, newest first.
    package func jobs(limit: Int) throws(StoreError) -> [JobStatus] {
        try read { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM job ORDER BY number DESC LIMIT ?", arguments: [max(0, limit)]
            ).map { try Self.status($0, images: []) }
        }
    }

    /// The newest jobs whose id begins with these digits, without their pictures, newest first.
    ///
    /// - Precondition: `digits` are 1 to 32 hexadecimal digits in lower case.
    package func jobs(beginningWith digits: String, limit: Int) throws(StoreError) -> [JobStatus] {
        promise(JobID.isBeginning(digits), "\(digits) is not the beginning of a job's id")
        return try read { database in
            try Row.fetchAll(
                database,
                // A range, for which there is an index; no digit comes after f.
                sql: "SELECT * FROM job WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY number DESC LIMIT ?2",
                arguments: [digits, max(0, limit)]
            ).map { try Self.status($0, images: []) }
        }
    }

    /// One job with its pictures; nil for an unknown one.
    package func job(_ id: JobID) throws(StoreError) -> JobStatus? {
        try read { database in try Self.row(id, in: database).map { try Self.status($0, in: database) } }
    }

    /// The latest checkpoint of a picture; nil when there is none.
    package func checkpoint(_ image: ImageID) throws(StoreError) -> (step: Int, sampler: [UInt8])? {
        try read { database in
            let row = try Row.fetchOne(
                database,
                sql: """
                    SELECT step, sampler FROM checkpoint
                    WHERE job = (SELECT number FROM job WHERE id = ?) AND "index" = ?
                    """,
                arguments: [image.job.description, image.index])
            return row.map { (step: $0["step"] as Int, sampler: [UInt8]($0["sampler"] as Data)) }
        }
    }

    /// A fact about the cluster; nil when it was never written.
    package func fact(_ name: String) throws(StoreError) -> String? {
        try read { try String.fetchOne($0, sql: "SELECT value FROM fact WHERE name = ?", arguments: [name]) }
    }

    /// How strictly SQLite waits for the disk: 2 is FULL.
    package func synchronousLevel() throws(StoreError) -> Int {
        do {
            return try pool.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") } ?? -1
        } catch {
            throw StoreError.from(error, path: path)
        }
    }

    private func read<Value>(_ body: (Database) throws -> Value) throws(StoreError) -> Value {
        do {
            return try pool.read(body)
        } catch {
            throw StoreError.from(error, path: path)
        }
    }
}
