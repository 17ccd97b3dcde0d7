internal import Plan

/// Something that the core counts, for metrics.
package enum Measurement: Equatable, Sendable {
    /// A picture left the queue after so many seconds.
    ///
    /// The preset is the name that its user gave it; whoever makes a label of it has to bound how many there are.
    case admitted(preset: String, waited: Double)
    /// A picture came to its end, so many seconds after its admission.
    ///
    /// `replayed` counts its steps that were computed again after a loss.
    case finished(Outcome, preset: String, seconds: Double, replayed: Int)
    /// A plan was made.
    case planned(Cause)
    /// A picture that was in a worker's hands goes on from its last step.
    case recovered(Cause)
    /// A step was lost with a worker or a link and is computed again.
    case replayed
    /// Steps were ready, so many seconds long, and the first worker took none.
    case creditWaited(seconds: Double)
    /// An answer came that nobody waits for any more.
    case staleAnswer

    /// How a picture ended.
    package enum Outcome: String, Equatable, Sendable, CaseIterable {
        case done, failed
    }

    /// Why there is a new plan.
    package enum Cause: String, Equatable, Sendable, CaseIterable {
        /// A worker joined, or is heard again.
        case joined
        /// A worker came back over a new connection.
        case reconnected
        /// A worker leaves, or was drained by an operator.
        case drained
        /// An operator let a worker back in.
        case undrained
        /// A worker was given up.
        case lost
        /// A data link broke or is silent, or what it carried never arrived.
        case link
        /// Measured links ask for another format of hidden states.
        case wire
        /// Workers' steps ask for another cut.
        case pace
        /// A worker could not load its share.
        case load
        /// A worker knows a later epoch than the queue does.
        case epoch
    }
}

extension ImageRequest {
    /// What measurements call the way in which the picture is drawn.
    var presetName: String { preset ?? sampler.name }
}
