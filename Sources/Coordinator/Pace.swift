/// How long a worker's steps take, measured against what its benchmark says: the cluster's own measurement, of the real
/// work, while the machine is as busy as it is.
///
/// A benchmark of a second, taken when the worker joins, sees neither what the machine does later nor what the other
/// workers on it do. Sums of the last few dozen steps, older ones counting less and less.
struct Pace: Equatable, Sendable {
    /// Weight of everything before, when a step is added: half of the sum is the last 44 steps.
    private static let memory = 1 - 1.0 / 64
    /// Steps before which nothing is said.
    private static let fewest = 24
    /// Most that is believed, either way: times come from outside.
    private static let most = 32.0
    /// Nanoseconds after its last step in which a pace counts.
    ///
    /// One that was slow for a while may be left without blocks,
    /// and must not stay so.
    private static let lasts: UInt64 = 600_000_000_000

    private var measured = 0.0
    private var expected = 0.0
    private var steps = 0
    private var stepsOfPlan = 0
    private var last: UInt64 = 0

    /// Adds a step; times that cannot be are left out.
    mutating func note(seconds: Double, expected: Double, now: UInt64) {
        guard seconds > 0, expected > 0, seconds < 1e6, expected < 1e6 else { return }
        measured = measured * Self.memory + seconds
        self.expected = self.expected * Self.memory + expected
        steps += 1
        stepsOfPlan += 1
        last = now
    }

    /// Another plan begins.
    mutating func beginPlan() { stepsOfPlan = 0 }

    /// Times as long as the benchmark says; nil before enough steps, and long after the last.
    func factor(now: UInt64) -> Double? {
        guard steps >= Self.fewest, now - min(now, last) <= Self.lasts else { return nil }
        return min(Self.most, max(1 / Self.most, measured / expected))
    }

    /// Whether there were enough steps under the present plan.
    var isOfThisPlan: Bool { stepsOfPlan >= Self.fewest }
}
