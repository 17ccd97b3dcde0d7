package import Plan

/// Measures the link to the next worker, before the first picture goes over it.
///
/// Sends probes, each when the one before was echoed: an empty one that says the link stands, three that give the round
/// trip, then each size twice, growing, until one of them took long enough to be timed. Of two of one size the second
/// counts: the first may still be opening TCP's window, which takes several round trips. The next worker echoes from a
/// thread that never computes. The first probe is repeated, since the next worker may not have its plan yet.
package struct LinkProbe: Equatable, Sendable {
    /// Most bytes of one probe.
    package static let mostBytes = 4 << 20
    /// Bytes of each probe.
    private static let sizes = [0, 1, 1, 1, 1 << 16, 1 << 16, 1 << 20, 1 << 20, mostBytes, mostBytes]
    /// The first one that is large.
    private static let firstLarge = 4
    /// Nanoseconds beyond the round trip that a probe has to take to be believed: much more than a thread needs to wake
    /// up.
    private static let enough: Nanoseconds = 20_000_000
    /// Nanoseconds after which the first of two counts as well: TCP's window is open long before.
    private static let plenty: Nanoseconds = 500_000_000
    /// Nanoseconds after which the first probe is sent again.
    private static let repeatAfter: Nanoseconds = 300_000_000
    /// Nanoseconds after which no echo is waited for any more.
    private static let limit: Nanoseconds = 5_000_000_000

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
    private var roundTrip: Nanoseconds = .max
    private var result: LinkSpeed??

    /// A measurement that begins now: the first probe is to be sent.
    package init(now: Nanoseconds) {
        began = now
        sent = now
    }

    /// The speed, once it is over and if it could be measured.
    package var measured: LinkSpeed? { result ?? nil }

    /// Whether nothing is to come.
    package var isOver: Bool { result != nil }

    /// What there is to do as time passes: the first probe once more, or nothing more at all.
    ///
    /// A large probe that did not come back says that the link is slower than that.
    package mutating func passed(now: Nanoseconds) -> Move {
        if let result { return .done(result) }
        if now - min(began, now) >= Self.limit {
            return end(number >= Self.firstLarge ? speed(after: now - min(sent, now)) : nil)
        }
        guard number == 0, now - min(sent, now) >= Self.repeatAfter else { return .wait }
        sent = now
        return .send(number: 0, bytes: 0)
    }

    /// The next worker echoed a probe; the next one, or the end.
    package mutating func echoed(_ echo: UInt32, now: Nanoseconds) -> Move {
        if let result { return .done(result) }
        guard Int(echo) == number else { return .wait }
        let took = now - min(sent, now)
        if number >= Self.firstLarge {
            let beyond = took - min(roundTrip, took)
            let isSecond = (number - Self.firstLarge) % 2 == 1
            let isTimed = isSecond && beyond >= max(Self.enough, 2 * roundTrip)
            if isTimed || beyond >= max(Self.plenty, 20 * roundTrip) || number == Self.sizes.count - 1 {
                return end(speed(after: took))
            }
        } else if number > 0 {
            roundTrip = min(roundTrip, took)
        }
        number += 1
        sent = now
        return .send(number: UInt32(number), bytes: Self.sizes[number])
    }

    private func speed(after took: Nanoseconds) -> LinkSpeed {
        let seconds = Double(max(1, took - min(roundTrip, took))) * 1e-9
        return LinkSpeed(bytesPerSecond: Double(Self.sizes[number]) / seconds, roundTrip: Double(roundTrip) * 1e-9)
    }

    private mutating func end(_ speed: LinkSpeed?) -> Move {
        let sane = speed.flatMap { $0.isSane ? $0 : nil }
        result = .some(sane)
        return .done(sane)
    }
}
