/// What the coordinator announces on its events socket; lossy by design, the truth is in `ClientReply`.
package enum ClusterEvent: Codable, Equatable, Sendable {
    /// A job differs from what was announced last.
    case job(JobID, version: UInt64, done: Int, failed: Int, cancelled: Int, total: Int)
    /// A picture differs from what was announced last.
    case image(ImageID, ImageState)
    /// A plan is in force: every worker in it has loaded its share.
    case plan(ClusterPlan)
    /// A worker's life changed.
    case worker(name: String, life: WorkerStatus.Life)

    /// First frame of its message, for subscriptions by prefix: `job`, `image`, `plan` or `worker`.
    package var topic: String {
        switch self {
        case .job: "job"
        case .image: "image"
        case .plan: "plan"
        case .worker: "worker"
        }
    }
}
