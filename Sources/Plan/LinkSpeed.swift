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
}
