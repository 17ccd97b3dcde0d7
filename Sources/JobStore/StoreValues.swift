package import Plan

extension StoreWrite {
    /// What the bits of pictures depend on: a model's fingerprint, and the class of the kernels that compute it.
    package static func model(_ fingerprint: String, kernels: String) -> String { "\(fingerprint) \(kernels)" }
}

/// One thing to write; a group of them is written in one transaction, in order.
package enum StoreWrite: Equatable, Sendable {
    /// Queues a job under a new identity, unless its key is known already.
    ///
    /// The folder is absolute. If another job has or had it, or it is among the `occupied`, a number is appended. `onlyKnown`
    /// queues nothing new: it answers for a key that is known, and fails with `StoreError.Reason.unknownKey` otherwise.
    case submit(JobID, Submission, folder: String, time: Double, onlyKnown: Bool = false, occupied: Set<String> = [])
    /// A picture came to its end; a change to a picture that is final already is ignored.
    ///
    /// `model` is what drew it, as `model(_:kernels:)` says it; that of a job's first picture that is done is the job's.
    case finish(ImageID, ImageState, time: Double, model: String? = nil)
    /// Latest state of a picture's sampler; ignored when the picture is final.
    case checkpoint(ImageID, step: Int, sampler: [UInt8])
    /// Adds to a job's count of tokens through the network, and raises its version.
    case progress(JobID, tokens: UInt64, version: UInt64)
    /// Cancels every picture of a job that is not final.
    case cancel(JobID, time: Double)
    /// Queues the failed and cancelled pictures of a job again, if no more pictures, and bytes of requests of the whole
    /// job, than these wait then, and if the job is of no other `model`, the one that would draw them.
    case retry(JobID, mostPictures: Int = .max, mostBytes: Int = .max, model: String? = nil)
    /// Forgets a finished job; one with pictures left is refused. Its folder is given to no later job.
    case remove(JobID)
    /// Forgets jobs that were finished at a time or before, the oldest first: one, and more as long as they have no more
    /// pictures than these in all.
    case removeFinished(by: Double, mostPictures: Int)
    /// Moves times of submission and of an end that lie between two, as the clock they were taken from was set.
    case moveTimes(from: Double, to: Double, by: Double)
    /// Remembers a fact about the cluster; nil forgets it.
    case fact(name: String, value: String?)
}

/// What became of a `StoreWrite`.
package enum StoreAnswer: Equatable, Sendable {
    /// Written; or already so.
    case written
    /// Answer to `submit`.
    case submitted(JobID, folder: String, duplicate: Bool)
    /// Answer to `retry`: the job as it is now, with its requests.
    case retried(StoredJob)
    /// Answer to `removeFinished`: how many jobs are forgotten, and whether that was all.
    case removed(jobs: Int, isAll: Bool)
    /// Not written.
    case failed(StoreError)
}

/// A job with everything needed to go on with it.
package struct StoredJob: Equatable, Sendable {
    /// Its status; the state of a picture that was in flight is `queued`.
    package var status: JobStatus
    /// Order of submission.
    package var number: Int64
    /// Its priority.
    package var priority: Int
    /// Whether somebody waits for it.
    package var isInteractive: Bool
    /// The pictures.
    package var requests: [ImageRequest]
    /// Steps in the checkpoints of pictures that have one, by index.
    package var checkpoints: [UInt32: Int]

    /// Joins the fields.
    package init(
        status: JobStatus, number: Int64, priority: Int, isInteractive: Bool = false, requests: [ImageRequest],
        checkpoints: [UInt32: Int]
    ) {
        self.status = status
        self.number = number
        self.priority = priority
        self.isInteractive = isInteractive
        self.requests = requests
        self.checkpoints = checkpoints
    }
}
