internal import Plan

/// Which picture goes next where one of several can.
enum Scheduler {
    /// A picture that waits.
    struct Candidate {
        let image: ImageID
        /// Somebody waits for it.
        let isInteractive: Bool
        let priority: Int
        /// Tokens of the network call that it waits for; 0 for other work.
        let tokens: Int
        /// Since when it waits.
        let since: UInt64
        /// Its place in the line of those that have waited equally long.
        let number: UInt64
    }

    /// Interactive ones first; then higher priority; then whoever has waited more than twice a predicted cycle, longest
    /// first; then fewest tokens; then first come.
    ///
    /// Few tokens first keeps the pipeline full when stages of RALU mix (cluster specification 6.6); the bound on
    /// waiting keeps large pictures from starving.
    static func next(_ candidates: [Candidate], now: UInt64, nanosecondsPerToken: Double) -> ImageID? {
        func isOverdue(_ candidate: Candidate) -> Bool {
            let cycle = nanosecondsPerToken * Double(candidate.tokens)
            return cycle > 0 && Double(now &- candidate.since) > 2 * cycle
        }
        func rank(_ candidate: Candidate) -> (Int, Int, Int, Int, UInt64) {
            let overdue = isOverdue(candidate)
            return (
                candidate.isInteractive ? 0 : 1, -candidate.priority, overdue ? 0 : 1,
                overdue ? 0 : candidate.tokens, candidate.number
            )
        }
        return candidates.min { rank($0) < rank($1) }?.image
    }
}
