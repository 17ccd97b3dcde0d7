/// What a receiver is ready to have received on one link since an epoch began, or what was sent.
package struct Credit: Equatable, Sendable {
    /// Messages.
    package var messages: UInt32
    /// Bytes of hidden states in them; 0 on links that carry none.
    package var bytes: UInt64

    /// Joins both; nothing by default.
    package init(messages: UInt32 = 0, bytes: UInt64 = 0) {
        self.messages = messages
        self.bytes = bytes
    }

    fileprivate mutating func add(bytes: Int) {
        messages &+= 1
        self.bytes &+= UInt64(bytes)
    }
}

/// The sender's side of flow control on one link in one epoch.
///
/// The receiver of `step` and `activation` messages says how much it is ready to have received since the epoch began,
/// and the sender sends a message if that leaves room for one more message, or for its bytes. So two of any size may be
/// there, one computed while the next one arrives, and more of a small size where two of the largest seen in the epoch
/// would have room: neighbours that are out of step for a moment do not wait for each other in the coarse stages.
///
/// The figures are absolute, so a credit message that is lost, late or repeated does no harm; the receiver repeats it
/// with each heartbeat. Messages travel as the header's `argument` of a `credit` message, bytes as its body, with the
/// epoch that they are for. Both sides start from zero in each epoch.
///
/// A ROUTER cannot reach a peer whose connection is not up yet, so the connecting side always speaks first:
/// - A worker that is ready in an epoch sends `credit` on its data link to the coordinator: the limit if it holds the
///   first span, else none. The coordinator sends it no data of an epoch before that. Steps count no bytes: latents are
///   small, and the coordinator's order of pictures holds only for what it has not sent yet.
/// - A worker with a downstream neighbour sends it `credit` with none, and is answered with the neighbour's limit as soon
///   as the neighbour is ready in that epoch.
///
/// `encode` and `decode` messages are small and not counted; the pictures in flight bound them.
package struct CreditLine: Equatable, Sendable {
    /// What the receiver is ready to have received in this epoch.
    package private(set) var limit = Credit()
    /// What was sent in this epoch.
    package private(set) var sent = Credit()

    /// A closed line: nothing may be sent before the receiver says so.
    package init() {}

    /// Whether one more message of any size may be sent.
    package var isOpen: Bool { sent.messages < limit.messages }

    /// Whether one more message with so many bytes of hidden states may be sent.
    package func takes(bytes: Int) -> Bool {
        isOpen || bytes > 0 && sent.bytes <= limit.bytes && UInt64(bytes) <= limit.bytes - sent.bytes
    }

    /// Takes note of the receiver's limit; an older, lower one changes nothing.
    package mutating func raise(to limit: Credit) {
        self.limit.messages = max(self.limit.messages, limit.messages)
        self.limit.bytes = max(self.limit.bytes, limit.bytes)
    }

    /// Counts one message.
    ///
    /// - Precondition: the line takes it.
    package mutating func send(bytes: Int = 0) {
        promise(takes(bytes: bytes), "\(sent) sent and \(bytes) bytes to go, the receiver allows \(limit)")
        sent.add(bytes: bytes)
    }

    /// Takes one message without hidden states back that could not be handed to the socket after all.
    package mutating func takeBack() { if sent.messages > 0 { sent.messages -= 1 } }
}

/// The receiver's side of flow control on one link in one epoch.
package struct CreditGrant: Equatable, Sendable {
    /// Messages of the largest size that a link has room for: one is being computed while the next one arrives.
    package static let slots = 2

    /// What was received in this epoch.
    package private(set) var received = Credit()
    /// What the sender may have sent in this epoch; what a `credit` message carries.
    package private(set) var limit = Credit()
    /// Bytes of the largest message so far.
    private var largest: UInt64 = 0

    /// Grants nothing yet.
    package init() {}

    /// Counts one message; false if the sender had no credit for it.
    package mutating func receive(bytes: Int = 0) -> Bool {
        received.add(bytes: bytes)
        largest = max(largest, UInt64(bytes))
        return received.messages <= limit.messages || bytes > 0 && received.bytes <= limit.bytes
    }

    /// Raises the limit as far as there is room.
    ///
    /// `occupied` is waiting or being computed. Returns whether there is something to tell the sender.
    package mutating func extend(occupied: Credit) -> Bool {
        let slots = UInt64(Self.slots)
        let room = slots * largest
        let ready = Credit(
            messages: received.messages &+ UInt32(slots - min(slots, UInt64(occupied.messages))),
            bytes: received.bytes &+ room - min(room, occupied.bytes))
        guard ready.messages > limit.messages || ready.bytes > limit.bytes else { return false }
        limit = Credit(messages: max(limit.messages, ready.messages), bytes: max(limit.bytes, ready.bytes))
        return true
    }
}
