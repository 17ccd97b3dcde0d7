/// What a worker process tells of itself, whether its coordinator is there or not.
package struct WorkerReport: Codable, Equatable, Sendable {
    /// Its name.
    package var name: String
    /// Where it stands towards its coordinator: one of `lives`.
    package var life: String
    /// Generation of the plan that it works for; 0 without one.
    package var epoch: Epoch = 0
    /// Blocks that it runs.
    package var blocks = 0
    /// Whether the connection to the coordinator stands.
    package var isConnected = false
    /// Seconds since the coordinator was heard.
    package var silenceSeconds = 0.0
    /// What it did, as heartbeats tell it.
    package var counters = WorkerCounters()
    /// Tasks and messages that it dropped, by reason.
    package var dropped: [String: UInt64] = [:]
    /// Bytes of hidden states in memory: waiting, in hand, and the last answer.
    package var hiddenStateBytes: UInt64 = 0

    /// A worker that has done nothing yet.
    package init(name: String, life: String) {
        self.name = name
        self.life = life
    }

    /// Every word that `life` can be.
    package static let lives = [
        "starting", "connecting", "greeted", "loading", "ready", "draining", "standby", "leaving", "left",
    ]
}
