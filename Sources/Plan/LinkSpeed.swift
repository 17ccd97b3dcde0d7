/// How fast a link between two workers is: as its sender measured it, or as the planner takes it for.
package struct LinkSpeed: Codable, Equatable, Sendable {
    /// Bytes a second.
    package var bytesPerSecond: Double
    /// Seconds from one end to the other and back.
    package var roundTrip: Double

    /// Joins both.
    package init(bytesPerSecond: Double, roundTrip: Double) {
        self.bytesPerSecond = bytesPerSecond
        self.roundTrip = roundTrip
    }

    /// Gigabit Ethernet.
    package static let gigabit = LinkSpeed(bytesPerSecond: 117e6, roundTrip: 0.0003)
    /// Within one machine; measured: 1 MiB messages over loopback TCP, sent and received.
    package static let loopback = LinkSpeed(bytesPerSecond: 2e9, roundTrip: 0.0001)

    /// Whether a link could be like that; what a worker tells may be anything.
    package var isSane: Bool {
        1e3...1e13 ~= bytesPerSecond && 0...60 ~= roundTrip
    }

    /// For people: `93 Mbit/s, 0.41 ms there and back`.
    package var text: String {
        let megabits = bytesPerSecond * 8e-6
        let shown = megabits < 10 ? "\((megabits * 100).rounded() / 100)" : "\(Int(megabits.rounded()))"
        return "\(shown) Mbit/s, \((roundTrip * 1e5).rounded() / 100) ms there and back"
    }
}

/// The link from one worker to the next as it was measured.
package struct MeasuredLink: Codable, Equatable, Sendable {
    /// Name of the next worker.
    package var target: String
    /// How fast it was.
    package var speed: LinkSpeed

    /// Joins both.
    package init(target: String, speed: LinkSpeed) {
        self.target = target
        self.speed = speed
    }
}
