internal import Foundation
internal import GRDB
internal import Plan

extension JobStore {
    /// Performs one write inside the group's transaction: all of it, or nothing where it throws.
    static func performWhole(_ write: StoreWrite, in database: Database) throws -> StoreAnswer {
        var answer = StoreAnswer.written
        try database.inSavepoint {
            answer = try perform(write, in: database)
            return .commit
        }
        return answer
    }

    private static func perform(_ write: StoreWrite, in database: Database) throws -> StoreAnswer {
        switch write {
        case .submit(let id, let submission, let folder, let time, let onlyKnown, let occupied):
            return try submit(
                submission, id: id, folder: folder, time: time, onlyKnown: onlyKnown, occupied: occupied, in: database)
        case .finish(let image, let state, let time, let model):
            try finish(image, state, time: time, model: model, in: database)
            return .written
        case .checkpoint(let image, let step, let sampler):
            let job = try number(image.job, in: database)
            try database.cachedStatement(
                sql: """
                    INSERT OR REPLACE INTO checkpoint (job, "index", step, sampler)
                    SELECT job, "index", ?, ? FROM image WHERE job = ? AND "index" = ? AND state = 0
                    """
            ).execute(arguments: [step, Data(sampler), job, image.index])
            return .written
        case .progress(let id, let tokens, let version):
            try database.cachedStatement(
                sql: "UPDATE job SET tokens = tokens + ?, version = max(version, ?) WHERE id = ?"
            ).execute(arguments: [Int64(tokens), Int64(version), id.description])
            return .written
        case .cancel(let id, let time):
            let job = try number(id, in: database)
            try cancel(job, "state = 0", time: time, in: database)
            return .written
        case .retry(let id, let mostPictures, let mostBytes, let model):
            let job = try number(id, in: database)
            try checkModel(job, id, model, in: database)
            try checkRoom(job, mostPictures, mostBytes, in: database)
            try database.execute(
                sql: "UPDATE image SET state = 0, failure = NULL WHERE job = ? AND state IN (2, 3)", arguments: [job])
            try database.execute(
                sql: """
                    UPDATE job SET version = version + 1, failed = 0, cancelled = 0,
                        finished = CASE WHEN done = total THEN finished END WHERE number = ?
                    """, arguments: [job])
            guard let row = try row(id, in: database) else { throw StoreError(.unknownJob(id.description)) }
            return .retried(try stored(row, in: database))
        case .remove(let id):
            guard let row = try row(id, in: database) else { throw StoreError(.unknownJob(id.description)) }
            guard row["finished"] as Double? != nil else { throw StoreError(.unfinished(id.description)) }
            try remove(row, in: database)
            return .written
        case .removeFinished(let time, let mostPictures):
            return try removeFinished(by: time, mostPictures: mostPictures, in: database)
        case .moveTimes(let from, let to, let step):
            for column in ["submitted", "finished"] {
                try database.execute(
                    sql: "UPDATE job SET \(column) = \(column) + ?3 WHERE \(column) BETWEEN ?1 AND ?2",
                    arguments: [from, to, step])
            }
            return .written
        case .fact(let name, let value):
            if let value {
                try database.execute(
                    sql: "INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", arguments: [name, value])
            } else {
                try database.execute(sql: "DELETE FROM fact WHERE name = ?", arguments: [name])
            }
            return .written
        }
    }

    /// Refuses to let another model, or other kernels, finish a job than those that began it.
    ///
    /// A queue of a version before kernels were kept has the fingerprint alone.
    private static func checkModel(_ job: Int64, _ id: JobID, _ model: String?, in database: Database) throws {
        let was = try String.fetchOne(database, sql: "SELECT model FROM job WHERE number = ?", arguments: [job])
        guard let was, was != model, was != model?.prefix(while: { $0 != " " }).description else {
            return
        }
        throw StoreError(.otherModel(job: id.description, was: was, now: model))
    }

    /// Refuses to let pictures wait again that there is no room for, before anything of them is read.
    private static func checkRoom(
        _ job: Int64, _ mostPictures: Int, _ mostBytes: Int, in database: Database
    ) throws {
        guard mostPictures < .max || mostBytes < .max else { return }
        let row = try Row.fetchOne(
            database,
            sql: """
                SELECT total(state IN (2, 3)) AS pictures, total(length(request)) AS bytes FROM image WHERE job = ?
                """, arguments: [job])
        let pictures = Int((row?["pictures"] as Double?) ?? 0)
        let bytes = Int((row?["bytes"] as Double?) ?? 0)
        guard pictures <= mostPictures, pictures == 0 || bytes <= mostBytes else {
            throw StoreError(.full(pictures: pictures, bytes: bytes))
        }
    }

    private static func removeFinished(
        by time: Double, mostPictures: Int, in database: Database
    ) throws -> StoreAnswer {
        let oldest = try database.cachedStatement(
            sql: """
                SELECT number, folder, total FROM job WHERE finished IS NOT NULL AND finished <= ?
                ORDER BY finished, number LIMIT 1
                """)
        var (jobs, pictures) = (0, 0)
        while let row = try Row.fetchOne(oldest, arguments: [time]) {
            pictures += row["total"] as Int
            if jobs > 0 && pictures > mostPictures { return .removed(jobs: jobs, isAll: false) }
            try remove(row, in: database)
            jobs += 1
        }
        return .removed(jobs: jobs, isAll: true)
    }

    /// Forgets a finished job, but not its folder: the pictures stay.
    private static func remove(_ row: Row, in database: Database) throws {
        let (number, folder): (Int64, String) = (row["number"], row["folder"])
        for table in ["checkpoint", "image"] {
            try database.cachedStatement(sql: "DELETE FROM \(table) WHERE job = ?").execute(arguments: [number])
        }
        try database.cachedStatement(sql: "DELETE FROM job WHERE number = ?").execute(arguments: [number])
        try database.cachedStatement(sql: "INSERT OR IGNORE INTO former_folder VALUES (?)").execute(arguments: [folder])
    }

    private static func submit(
        _ submission: Submission, id: JobID, folder: String, time: Double, onlyKnown: Bool,
        occupied: Set<String>, in database: Database
    ) throws -> StoreAnswer {
        if let key = submission.key,
            let row = try Row.fetchOne(
                database, sql: "SELECT number, id, folder FROM job WHERE key = ?", arguments: [key])
        {
            guard let known = JobID(row["id"] as String) else { throw StoreError(.damaged("a job without identity")) }
            if let difference = try difference(submission.images, from: row["number"], in: database) {
                throw StoreError(.keyUsed(key: key, job: known.description, difference: difference))
            }
            return .submitted(known, folder: row["folder"], duplicate: true)
        }
        guard !onlyKnown else { throw StoreError(.unknownKey(submission.key ?? "")) }
        let folder = try freeFolder(folder, occupied, in: database)
        try database.execute(
            sql: """
                INSERT INTO job (id, key, folder, priority, interactive, submitted, version, total)
                VALUES (?, ?, ?, ?, ?, ?, 1, ?)
                """,
            arguments: [
                id.description, submission.key, folder, submission.priority, submission.isInteractive, time,
                submission.images.count,
            ])
        let job = database.lastInsertedRowID
        let insert = try database.cachedStatement(
            sql: "INSERT INTO image (job, \"index\", request, state) VALUES (?, ?, ?, 0)")
        let encoder = JSONEncoder()
        for (index, image) in submission.images.enumerated() {
            try insert.execute(arguments: [job, index, String(decoding: encoder.encode(image), as: UTF8.self)])
        }
        return .submitted(id, folder: folder, duplicate: false)
    }

    /// What tells pictures from those of a stored job, in a few words; nil when they are the same.
    private static func difference(
        _ images: [ImageRequest], from job: Int64, in database: Database
    ) throws -> String? {
        let rows = try Row.fetchCursor(
            database, sql: "SELECT request FROM image WHERE job = ? ORDER BY \"index\"", arguments: [job])
        let decoder = JSONDecoder()
        var count = 0
        while let row = try rows.next() {
            // As values: the order of keys in the text is not fixed.
            let stored = try? decoder.decode(ImageRequest.self, from: Data((row["request"] as String).utf8))
            if count < images.count, stored != images[count] {
                return "picture \(count + 1) is another one"
            }
            count += 1
        }
        return count == images.count ? nil : "it has \(count) pictures, not \(images.count)"
    }

    /// Two jobs in one folder would overwrite each other's pictures: the later one gets a number, also if the earlier one is
    /// removed, or was of another queue (`DurableFolder.occupied`).
    private static func freeFolder(_ folder: String, _ occupied: Set<String>, in database: Database) throws -> String {
        let taken = try database.cachedStatement(
            sql: "SELECT 1 FROM job WHERE folder = ?1 UNION ALL SELECT 1 FROM former_folder WHERE folder = ?1")
        var candidate = folder
        var number = 1
        while try occupied.contains(candidate) || Int.fetchOne(taken, arguments: [candidate]) != nil {
            number += 1
            candidate = "\(folder)-\(number)"
        }
        return candidate
    }

    private static func finish(
        _ image: ImageID, _ state: ImageState, time: Double, model: String?, in database: Database
    ) throws {
        let job = try number(image.job, in: database)
        switch state {
        case .queued, .running: fatalError("\(image) cannot finish as \(state)")
        case .done(let path, let checksum):
            try database.cachedStatement(
                sql: """
                    UPDATE image SET state = 1, path = ?, checksum = ? WHERE job = ? AND "index" = ? AND state = 0
                    """
            ).execute(arguments: [path, Int64(checksum), job, image.index])
            let changed = database.changesCount
            try settle(job, done: changed, time: time, in: database)
            if changed > 0 {
                try database.cachedStatement(sql: "UPDATE job SET model = ? WHERE number = ? AND model IS NULL")
                    .execute(arguments: [model, job])
            }
        case .failed(let text):
            try database.cachedStatement(
                sql: "UPDATE image SET state = 2, failure = ? WHERE job = ? AND \"index\" = ? AND state = 0"
            ).execute(arguments: [text, job, image.index])
            try settle(job, failed: database.changesCount, time: time, in: database)
        case .cancelled: try cancel(job, "state = 0 AND \"index\" = \(image.index)", time: time, in: database)
        }
        try database.cachedStatement(sql: "DELETE FROM checkpoint WHERE job = ? AND \"index\" = ?")
            .execute(arguments: [job, image.index])
    }

    /// Cancels pictures of a job that meet a condition and lets go of their checkpoints.
    private static func cancel(_ job: Int64, _ condition: String, time: Double, in database: Database) throws {
        try database.execute(
            sql: """
                DELETE FROM checkpoint WHERE job = ?1 AND "index" IN
                    (SELECT "index" FROM image WHERE job = ?1 AND \(condition))
                """, arguments: [job])
        try database.execute(sql: "UPDATE image SET state = 3 WHERE job = ? AND \(condition)", arguments: [job])
        try settle(job, cancelled: database.changesCount, time: time, in: database)
    }

    /// Adds to a job's counts of final pictures, and notes the time when none is left.
    private static func settle(
        _ job: Int64, done: Int = 0, failed: Int = 0, cancelled: Int = 0, time: Double, in database: Database
    ) throws {
        guard done + failed + cancelled > 0 else { return }
        try database.cachedStatement(
            sql: """
                UPDATE job SET version = version + 1, done = done + ?1, failed = failed + ?2,
                    cancelled = cancelled + ?3,
                    finished = CASE WHEN done + failed + cancelled + ?1 + ?2 + ?3 = total THEN ?4 END
                WHERE number = ?5
                """
        ).execute(arguments: [done, failed, cancelled, time, job])
    }
}
