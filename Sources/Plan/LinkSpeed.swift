/// How fast a link between two workers was when the sender measured it.
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

    /// Whether a link could be like that; what a worker tells may be anything.
    package var isSane: Bool {
        1e3...1e13 ~= bytesPerSecond && 0...60 ~= roundTrip
    }
}
