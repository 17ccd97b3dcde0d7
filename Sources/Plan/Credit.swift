/// The sender's side of flow control on one link in one epoch.
///
/// The receiver of `step` and `activation` messages says how many it is ready to have received since the epoch began,
/// and the sender never passes that number. The figure is absolute, so a credit message that is lost, late or repeated
/// does no harm; the receiver repeats it with each heartbeat. It travels as the header's `argument` of a `credit`
/// message, with the epoch it is for. Both sides start from zero in each epoch.
///
/// A ROUTER cannot reach a peer whose connection is not up yet, so the connecting side always speaks first:
/// - A worker that is ready in an epoch sends `credit` on its data link to the coordinator: the limit if it holds the
///   first span, else 0. The coordinator sends it no data of an epoch before that.
/// - A worker with a downstream neighbour sends it `credit` with 0, and is answered with the neighbour's limit as soon
///   as the neighbour is ready in that epoch.
///
/// `encode` and `decode` messages are small and not counted; the pictures in flight bound them.
package struct CreditLine: Equatable, Sendable {
    /// Messages that the receiver is ready to have received in this epoch.
    package private(set) var limit: UInt32 = 0
    /// Messages sent in this epoch.
    package private(set) var sent: UInt32 = 0

    /// A closed line: nothing may be sent before the receiver says so.
    package init() {}

    /// Whether one more message may be sent.
    package var isOpen: Bool { sent < limit }

    /// Takes note of the receiver's limit; an older, lower one changes nothing.
    package mutating func raise(to limit: UInt32) { self.limit = max(self.limit, limit) }

    /// Counts one message.
    ///
    /// - Precondition: the line is open.
    package mutating func send() {
        precondition(isOpen, "\(sent) messages sent, the receiver allows \(limit)")
        sent += 1
    }

    /// Takes one message back that could not be handed to the socket after all.
    package mutating func takeBack() { if sent > 0 { sent -= 1 } }
}

/// The receiver's side of flow control on one link in one epoch.
package struct CreditGrant: Equatable, Sendable {
    /// Slots of a link: one message is being computed while the next one arrives.
    package static let slots = 2

    /// Messages received in this epoch.
    package private(set) var received: UInt32 = 0
    /// Messages that the sender may have sent in this epoch; what a `credit` message carries.
    package private(set) var limit: UInt32 = 0

    /// Grants nothing yet.
    package init() {}

    /// Counts one message; false if the sender had no credit for it.
    package mutating func receive() -> Bool {
        received &+= 1
        return received <= limit
    }

    /// Raises the limit as far as the free slots allow.
    ///
    /// `occupied` messages are waiting or being computed. Returns whether there is something to tell the sender.
    package mutating func extend(occupied: Int) -> Bool {
        let ready = received + UInt32(max(0, Self.slots - occupied))
        guard ready > limit else { return false }
        limit = ready
        return true
    }
}
