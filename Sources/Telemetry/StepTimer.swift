/// Adds up how long something works, so that its busy share can be told.
///
/// A value: whoever works keeps it.
package struct StepTimer: Sendable {
    /// Nanoseconds of work so far.
    package private(set) var busyNanoseconds: UInt64 = 0
    /// Pieces of work so far.
    package private(set) var count: UInt64 = 0
    /// Nanoseconds of the last piece.
    package private(set) var lastNanoseconds: UInt64 = 0

    /// Starts at zero.
    package init() {}

    /// Times a piece of work, whether it throws or not.
    package mutating func measure<Result, Failure: Error>(
        _ work: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let start = ContinuousClock.now
        defer { add(ContinuousClock.now - start) }
        return try work()
    }

    /// Adds a piece that was timed elsewhere; a negative duration counts as none.
    package mutating func add(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        lastNanoseconds = UInt64(max(0, seconds)) &* 1_000_000_000 &+ UInt64(max(0, attoseconds) / 1_000_000_000)
        busyNanoseconds &+= lastNanoseconds
        count += 1
    }
}
