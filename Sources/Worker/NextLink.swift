internal import Plan

/// What a worker knows of the link to the next one, in one epoch.
///
/// The next worker repeats its credit with each heartbeat, from a thread that never computes: silence means that nothing
/// passes, or that it is gone, which the coordinator knows better.
struct NextLink: Sendable {
    /// Heartbeats of silence after which the link counts as silent.
    ///
    /// Fewer than the ten after which the coordinator gives a worker up, and than what libzmq needs to notice: a picture
    /// must not be sent over it a second time.
    private static let patience: Nanoseconds = 6

    /// Since when hidden states have gone, or wanted to go, over it; nil before the first.
    private var usedSince: Nanoseconds?
    private var heard: Nanoseconds?
    /// It ended with hidden states on their way, or wanting to go.
    private var hasEnded = false
    private var isBroken = false

    /// The next worker said something for this epoch.
    mutating func hear(_ now: Nanoseconds) { heard = now }

    /// A hidden state is ready for it.
    mutating func use(_ now: Nanoseconds) { usedSince = usedSince ?? now }

    /// The connection stands, or has ended.
    mutating func change(isUp: Bool) {
        if isUp { isBroken = hasEnded } else { hasEnded = usedSince != nil }
    }

    /// What to tell the coordinator.
    func trouble(_ now: Nanoseconds, heartbeat: Nanoseconds) -> Heartbeat.LinkTrouble? {
        guard let usedSince else { return nil }
        if isBroken { return .broken }
        return now >= max(usedSince, heard ?? 0) + Self.patience * heartbeat ? .silent : nil
    }
}
