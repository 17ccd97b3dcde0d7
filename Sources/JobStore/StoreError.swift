internal import GRDB
internal import Glibc

/// Why the durable queue could not do what it was asked.
package struct StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// Another process has the folder open.
        case locked(folder: String)
        /// The folder or a file in it cannot be written.
        case unwritable(path: String, code: Int32)
        /// The queue was written by a newer version of the program.
        case newerVersion(path: String)
        /// No such job.
        case unknownJob(JobIdentity)
        /// A job has pictures left.
        case unfinished(JobIdentity)
        /// The key of a submission belongs to a job of other pictures; how they differ.
        case keyUsed(key: String, job: JobIdentity, difference: String)
        /// No job has the key of a submission that was taken only if one does.
        case unknownKey(String)
        /// A job's pictures were drawn with another model or other kernels than would draw the rest; nil where no worker says
        /// with which.
        case otherModel(job: JobIdentity, was: String, now: String?)
        /// There is no room for so many pictures, or bytes of them, to wait again.
        case full(pictures: Int, bytes: Int)
        /// SQLite refused; its code and text.
        case database(code: Int32, text: String)
        /// A stored row cannot be read back.
        case damaged(String)
    }

    /// The identity of a job in a message, as people see it.
    package typealias JobIdentity = String

    /// What is wrong.
    package let reason: Reason

    /// Wraps a reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// Whether the same call may succeed later, when somebody has mended the disk, the memory or the folder.
    package var isRetriable: Bool {
        switch reason {
        case .database, .unwritable, .damaged: true
        case .locked, .newerVersion, .unknownJob, .unfinished, .unknownKey, .full, .keyUsed, .otherModel: false
        }
    }

    /// Whether what could not be read now may be there to read later: the disk, memory or a lock was in the way.
    package var mayPass: Bool {
        switch reason {
        // Of SQLite's extended codes the lowest byte says which kind it is: SQLITE_BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN.
        case .database(let code, _): [5, 6, 7, 10, 13, 14].contains(code & 0xFF)
        case .unwritable: true
        case .damaged, .locked, .newerVersion, .unknownJob, .unfinished, .unknownKey, .full, .keyUsed, .otherModel:
            false
        }
    }

    /// One line for people.
    package var description: String {
        switch reason {
        case .locked(let folder):
            "the state folder \(folder) is in use by another coordinator; stop it or choose another folder"
        case .unwritable(let path, let code):
            "cannot write \(path) (\(Self.text(of: code))); check its owner and mode, or choose another state folder"
        case .newerVersion(let path):
            "\(path) was written by a newer abbozzo; run that version or choose another state folder"
        case .unknownJob(let job): "there is no job \(job); `abbozzo jobs ls` lists them"
        case .unfinished(let job):
            "job \(job) has pictures left; wait for them (abbozzo jobs watch), or cancel it first (abbozzo jobs cancel)"
        case .keyUsed(let key, let job, let difference):
            "key \"\(key.prefix(80))\" belongs to job \(job) with other pictures: \(difference); submit those, or choose "
                + "another key"
        case .unknownKey(let key): "no job has the key \"\(key.prefix(80))\""
        case .otherModel(let job, let was, let now?) where Self.fingerprint(was) == Self.fingerprint(now):
            "pictures of job \(job) were drawn with kernels of class \(was.dropFirst(Self.fingerprint(was).count + 1)), and the "
                + "cluster computes with \(now.dropFirst(Self.fingerprint(now).count + 1)), so the rest would not fit to them: "
                + "start the workers as they were, or submit the prompts that are missing as a new job"
        case .otherModel(let job, let was, let now?):
            "pictures of job \(job) were drawn with a model of fingerprint \(Self.fingerprint(was).prefix(12)), and the "
                + "cluster draws with "
                + "\(Self.fingerprint(now).prefix(12)): submit the prompts that are missing as a new job"
        case .otherModel(let job, let was, nil):
            "pictures of job \(job) were drawn with a model of fingerprint \(Self.fingerprint(was).prefix(12)), and no worker is "
                + "here to say which "
                + "one the cluster draws with; start one, then try again"
        case .full(let pictures, let bytes):
            "its \(pictures) pictures (\(bytes) bytes) would wait again, and the queue has no room for them; try again when "
                + "some are done, or cancel some (abbozzo jobs ls)"
        case .database(let code, let text):
            "the queue's database failed: \(text) (SQLite code \(code))"
                + (ResultCode(rawValue: code).primaryResultCode == .SQLITE_FULL
                    ? "; make room on the disk of the state folder" : "")
        case .damaged(let text):
            "the queue holds a damaged row: \(text); copy the state folder, then mend or delete the row with sqlite3, or choose "
                + "another state folder"
        }
    }

    /// A model's fingerprint, of what `StoreWrite.model(_:kernels:)` made.
    private static func fingerprint(_ model: String) -> Substring { model.prefix { $0 != " " } }

    /// Translates whatever a database call threw.
    static func from(_ error: any Error, path: String = "") -> StoreError {
        switch error {
        case let error as StoreError: error
        case let error as DatabaseError:
            switch error.resultCode {
            // SQLite does not say why; the system may.
            case let code
            where [.SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM].contains(code) && !path.isEmpty
                && access(path, W_OK) != 0:
                StoreError(.unwritable(path: path, code: errno))
            default:
                StoreError(
                    .database(code: error.extendedResultCode.rawValue, text: error.message ?? "no text from SQLite"))
            }
        default: StoreError(.damaged("\(error)"))
        }
    }
}
