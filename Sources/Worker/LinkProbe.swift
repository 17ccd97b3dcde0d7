package import Plan

/// Measures the link to the next worker, before the first picture goes over it.
///
/// Sends probes of growing size, each when the one before was echoed: an empty one that says the link stands, one that
/// gives the round trip, then more and more bytes until one of them took long enough to be timed. The next worker echoes
/// from a thread that never computes. The first probe is repeated, since the next worker may not have its plan yet.
package struct LinkProbe: Equatable, Sendable {
    /// Most bytes of one probe.
    package static let mostBytes = 4 << 20
    /// Bytes of each probe.
    private static let sizes = [0, 1, 1 << 16, 1 << 20, mostBytes]
    /// Time that a probe has to take to be believed: much more than a thread needs to wake up.
    private static let enough: Nanoseconds = 20_000_000
    /// Time after which the first probe is sent again.
    private static let repeatAfter: Nanoseconds = 300_000_000
    /// Time after which the link counts as one that cannot be measured.
    private static let patience: Nanoseconds = 5_000_000_000

    /// What to do next.
    package enum Move: Equatable, Sendable {
        /// Send the probe of this number and size.
        case send(number: UInt32, bytes: Int)
        /// Wait for an echo.
        case wait
        /// It is over: the speed, or nil if nothing came back in time.
        case done(LinkSpeed?)
    }

    private let began: Nanoseconds
    private var number = 0
    private var sent: Nanoseconds
    private var roundTrip: Nanoseconds = 0
    private var result: LinkSpeed??

    /// A measurement that begins now: the first probe is to be sent.
    package init(now: Nanoseconds) {
        began = now
        sent = now
    }

    /// Whether nothing is to come.
    package var isOver: Bool { result != nil }

    /// What there is to do as time passes: the first probe once more, or nothing more at all.
    package mutating func passed(now: Nanoseconds) -> Move {
        if let result { return .done(result) }
        if now - min(began, now) >= Self.patience { return end(nil) }
        guard number == 0, now - min(sent, now) >= Self.repeatAfter else { return .wait }
        sent = now
        return .send(number: 0, bytes: 0)
    }

    /// The next worker echoed a probe; the next one, or the end.
    package mutating func echoed(_ echo: UInt32, now: Nanoseconds) -> Move {
        if let result { return .done(result) }
        guard Int(echo) == number else { return .wait }
        let took = now - min(sent, now)
        if number == 1 { roundTrip = took }
        if number > 1, took >= roundTrip + Self.enough || number == Self.sizes.count - 1 {
            let seconds = Double(max(1, took - min(roundTrip, took))) * 1e-9
            return end(
                LinkSpeed(bytesPerSecond: Double(Self.sizes[number]) / seconds, roundTrip: Double(roundTrip) * 1e-9))
        }
        number += 1
        sent = now
        return .send(number: UInt32(number), bytes: Self.sizes[number])
    }

    private mutating func end(_ speed: LinkSpeed?) -> Move {
        let sane = speed.flatMap { $0.isSane ? $0 : nil }
        result = .some(sane)
        return .done(sane)
    }
}
