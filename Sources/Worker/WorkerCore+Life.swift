package import Plan

extension WorkerCore {
    /// Where a worker stands towards its coordinator.
    package enum Life: Equatable, Sendable {
        /// Says hello until it is answered; `attempt` rises with each hello, the next one is due at `next`.
        case connecting(attempt: Int, next: Nanoseconds)
        /// Accepted, without a share of the plan.
        case greeted
        /// Reading the weights of its share.
        case loading(Assignment)
        /// Works for the plan.
        case ready(Assignment)
        /// Works until the coordinator wants no more of it.
        case draining(Draining)
        /// Left the plan at the coordinator's wish, still connected: a new assignment brings it back.
        case standby
        /// Has said that it leaves, and waits until that was heard.
        case leaving(since: Nanoseconds)
        /// Over; nothing is handled any more.
        case left(Ending)

        /// What the log shows.
        package var summary: String {
            switch self {
            case .connecting(let attempt, _): "connecting, attempt \(attempt)"
            case .greeted: "greeted, no share of the plan yet"
            case .loading(let assignment): "loading \(assignment.summary)"
            case .ready(let assignment): "ready, \(assignment.summary)"
            case .draining(let draining): "draining, " + (draining.assignment?.summary ?? "nothing assigned")
            case .standby: "standing by, drained"
            case .leaving: "leaving"
            case .left(let ending): "left: \(ending.text)"
            }
        }
    }

    /// A worker on its way out.
    package struct Draining: Equatable, Sendable {
        /// What it still works for; nil when the plan went on without it.
        package var assignment: Assignment?
        /// Whether the process ends afterwards, as after a signal, or stands by, as after the operator's `drain`.
        package var exits: Bool
        /// When the coordinator said that nothing new will come; nil before.
        package var released: Nanoseconds?

        /// Joins the fields.
        package init(assignment: Assignment?, exits: Bool, released: Nanoseconds? = nil) {
            self.assignment = assignment
            self.exits = exits
            self.released = released
        }
    }

    /// How a worker's life ended.
    package enum Ending: Equatable, Sendable {
        /// It was asked to leave and left nothing behind.
        case drained
        /// It was told to stop at once.
        case stopped
        /// The coordinator will not have it.
        case refused(Refusal)
        /// No coordinator answered for as long as the caller would wait.
        case unreachable(String)

        /// One line with what, where and the next step.
        package var text: String {
            switch self {
            case .drained: "drained"
            case .stopped: "stopped"
            case .refused(let refusal): "the coordinator refused this worker: \(refusal.text)"
            case .unreachable(let text): text
            }
        }
    }
}

extension WorkerCore.Life {
    var name: String {
        switch self {
        case .connecting: "connecting"
        case .greeted: "greeted"
        case .loading: "loading"
        case .ready: "ready"
        case .draining: "draining"
        case .standby: "standby"
        case .leaving: "leaving"
        case .left: "left"
        }
    }

    var epoch: Epoch? {
        switch self {
        case .loading(let assignment), .ready(let assignment): assignment.epoch
        case .draining(let draining): draining.assignment?.epoch
        case .connecting, .greeted, .standby, .leaving, .left: nil
        }
    }
}
