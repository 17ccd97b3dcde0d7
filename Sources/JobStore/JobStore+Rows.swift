internal import Foundation
internal import GRDB
internal import Plan

extension JobStore {
    static func row(_ id: JobID, in database: Database) throws -> Row? {
        try Row.fetchOne(database, sql: "SELECT * FROM job WHERE id = ?", arguments: [id.description])
    }

    static func number(_ id: JobID, in database: Database) throws -> Int64 {
        let statement = try database.cachedStatement(sql: "SELECT number FROM job WHERE id = ?")
        guard let number = try Int64.fetchOne(statement, arguments: [id.description]) else {
            throw StoreError(.unknownJob(id.description))
        }
        return number
    }

    /// A job with its pictures and requests.
    static func stored(_ row: Row, in database: Database) throws -> StoredJob {
        let number: Int64 = row["number"]
        let decoder = JSONDecoder()
        var requests: [ImageRequest] = []
        var images: [ImageState] = []
        let rows = try Row.fetchCursor(
            database, sql: "SELECT * FROM image WHERE job = ? ORDER BY \"index\"", arguments: [number])
        while let image = try rows.next() {
            do {
                requests.append(try decoder.decode(ImageRequest.self, from: Data((image["request"] as String).utf8)))
            } catch {
                throw StoreError(.damaged("picture \(images.count) of job \(row["id"] as String): \(error)"))
            }
            images.append(try state(image))
        }
        var checkpoints: [UInt32: Int] = [:]
        for row in try Row.fetchAll(
            database, sql: "SELECT \"index\", step FROM checkpoint WHERE job = ?", arguments: [number])
        {
            checkpoints[row["index"]] = row["step"]
        }
        return StoredJob(
            status: try status(row, images: images), number: number, priority: row["priority"],
            isInteractive: row["interactive"], requests: requests, checkpoints: checkpoints)
    }

    /// A job with its pictures' states, without their requests, which take many times as long to decode.
    static func status(_ row: Row, in database: Database) throws -> JobStatus {
        let number: Int64 = row["number"]
        var images: [ImageState] = []
        let rows = try Row.fetchCursor(
            database, sql: "SELECT state, path, checksum, failure FROM image WHERE job = ? ORDER BY \"index\"",
            arguments: [number])
        while let image = try rows.next() { images.append(try state(image)) }
        return try status(row, images: images)
    }

    static func status(_ row: Row, images: [ImageState]) throws -> JobStatus {
        guard let id = JobID(row["id"] as String) else { throw StoreError(.damaged("a job without identity")) }
        return JobStatus(
            id: id, version: UInt64(row["version"] as Int64), submitted: row["submitted"], finished: row["finished"],
            folder: row["folder"], images: images, total: row["total"], done: row["done"], failed: row["failed"],
            cancelled: row["cancelled"], waiting: nil, tokenSteps: UInt64(row["tokens"] as Int64))
    }

    private static func state(_ row: Row) throws -> ImageState {
        switch StateCode(rawValue: row["state"]) {
        case .queued: .queued
        case .done: .done(path: row["path"], checksum: UInt32(row["checksum"] as Int64))
        case .failed: .failed(row["failure"])
        case .cancelled: .cancelled
        case nil: throw StoreError(.damaged("a picture in state \(row["state"] as Int)"))
        }
    }
}
