internal import Plan

/// A job with work left, as the core keeps it.
struct LiveJob {
    /// What clients see.
    var status: JobStatus
    let requests: [ImageRequest]
    let priority: Int
    /// Somebody waits for it.
    let isInteractive: Bool
    /// Order of submission among the jobs of this run.
    let serial: UInt64
    /// Since when its pictures wait, or have waited.
    let queued: UInt64
    /// Since when those wait that were queued again.
    var requeued: [UInt32: UInt64] = [:]
    /// Pictures that have a durable checkpoint.
    var checkpoints: Set<UInt32>
    /// Pictures waiting for admission, last one first.
    var waiting: [UInt32]
    /// Where its pictures go, as far as one trouble of a folder reaches.
    let place: String

    /// Pictures that are not done and have a file all the same: it was being written when they were cancelled and tried
    /// again.
    var leftovers: Set<UInt32> = []

    /// Bytes of memory that its requests take, about.
    var bytes: Int { Self.bytes(of: requests) }

    /// Bytes of memory that requests take, about.
    static func bytes(of requests: [ImageRequest]) -> Int {
        requests.reduce(0) { $0 + 256 + $1.prompt.utf8.count + $1.negativePrompt.utf8.count }
    }

    /// Goes before another in admission.
    func precedes(_ other: LiveJob) -> Bool {
        func rank(_ job: LiveJob) -> (Int, Int, UInt64) { (job.isInteractive ? 0 : 1, -job.priority, job.serial) }
        return rank(self) < rank(other)
    }

    /// Sets the state of a picture, and the counts.
    mutating func set(_ index: UInt32, _ state: ImageState, wall: Double) {
        count(status.images[Int(index)], -1)
        count(state, 1)
        status.images[Int(index)] = state
        status.version += 1
        status.finished = status.isFinal ? wall : nil
    }

    private mutating func count(_ state: ImageState, _ step: Int) {
        switch state {
        case .done: status.done += step
        case .failed: status.failed += step
        case .cancelled: status.cancelled += step
        case .running: status.running += step
        case .queued: break
        }
    }
}
