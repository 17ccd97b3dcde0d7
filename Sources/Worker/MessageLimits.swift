package import Plan
package import Wire

/// What a worker accepts on its data sockets, known before a byte of it is read.
package struct MessageLimits: Equatable, Sendable {
    /// Longest prompt in bytes of UTF-8: far more than any encoder reads, small enough not to matter.
    package static let promptBytes = 1 << 20

    /// Sizes of the served model.
    package let facts: ModelFacts

    /// Limits for one model.
    package init(facts: ModelFacts) { self.facts = facts }

    /// Payload bytes that may wait for the next worker: all that its credit allows, in any format.
    ///
    /// Less would lose hidden states of the largest pictures while the link is slow, and with them the step.
    package var waitingBytes: Int { CreditGrant.slots * activationBytes(.f32) }

    /// Most payload bytes of a message of this kind under an assignment; nil when the share has no use for it.
    package func bytes(_ kind: MessageKind, under assignment: Assignment?) -> Int? {
        let float = 4
        let (tokens, text) = (facts.maxTokens, facts.maxTextLength)
        switch kind {
        case .credit: return Message.creditBytes
        case .echo: return 0
        case .probe:
            // The empty one may come before the plan that says who sends it.
            return assignment?.expectsProbes == true ? LinkProbe.mostBytes : 0
        case .encode: return assignment?.placement.encodes == true ? Self.promptBytes : nil
        case .decode:
            let side = facts.maxSide / 8
            return assignment?.placement.decodes == true ? 16 * side * side * float : nil
        case .step:
            guard let assignment, assignment.isFirst else { return nil }
            let latents = tokens * (64 + 3) + 2
            return (latents + text * facts.contextWidth + facts.pooledWidth) * float
        case .activation:
            guard let assignment, assignment.upstream != nil else { return nil }
            return activationBytes(assignment.wire)
        default: return nil
        }
    }

    private func activationBytes(_ wire: WireFormat) -> Int {
        facts.mostRows * wire.rowBytes(facts.width) + (facts.width + facts.maxTokens * 3) * 4
    }
}
