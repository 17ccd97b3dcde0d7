internal import CZeroMQ
internal import Glibc

/// Connects to one listening peer under a name, and connects again when the connection ends.
///
/// What is sent before the first connection waits for it. When a connection ends, what waited is dropped and reported,
/// because the far side has lost the first half too.
package final class DealerSocket: Socket {
    /// Whether the handshake with the peer is done and the connection stands.
    package private(set) var isConnected = false
    /// Handshakes that the peer broke off without a word, since the last one that succeeded.
    package private(set) var brokenHandshakes = 0
    /// The connection ended, and messages of its may still be unread.
    private var hasEnded = false
    /// Where it connects to.
    package let endpoint: Endpoint

    /// Makes a socket that belongs to the loop and starts to connect; call on the loop's thread.
    package init(_ loop: PollLoop, _ options: SocketOptions, to endpoint: Endpoint) throws(WireError) {
        self.endpoint = endpoint
        try super.init(loop, options, type: ZMQ_DEALER)
        do throws(WireError) {
            try set(ZMQ_ROUTING_ID, text: options.routingID)
            try set(ZMQ_IMMEDIATE, 1)
            try set(ZMQ_RECONNECT_IVL, 100)
            try set(ZMQ_RECONNECT_IVL_MAX, 5_000)
            try set(ZMQ_CONNECT_TIMEOUT, 5_000)
            try connect(to: endpoint)
        } catch {
            close()
            throw error
        }
    }

    /// Sends to the peer, or queues up to `queueBytes` while it does not take more.
    package func send(_ message: Message) throws(WireError) { try send(message, peer: options.peerName) }

    override func connectionChanged(_ event: Int32, connection: Int32) {
        switch event {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            endConnections()
            isConnected = true
            brokenHandshakes = 0
            onEvent?(.connected(options.peerName))
        case ZMQ_EVENT_DISCONNECTED: hasEnded = isConnected
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            // One that only takes long, because the other side is busy or stands still, says nothing of keys. libzmq's timer sets
            // no error of its own: the value is that of the last read, which had nothing to read (seen with 4.3.4).
            guard connection != EAGAIN else { break }
            brokenHandshakes += 1
            // One that demands keys often goes before its greeting, which says so, is read.
            if !hasKeys && brokenHandshakes == 4 { onEvent?(.notAdmitted(.demandsKeys)) }
            // More and more seldom: it is tried again for ever, and may be authorised in between.
            if hasKeys && brokenHandshakes & (brokenHandshakes - 1) == 0 && brokenHandshakes > 1 {
                onEvent?(.notAdmitted(.silent))
            }
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: onEvent?(.notAdmitted(.notAuthorised))
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            let isMismatch = connection == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            onEvent?(
                .notAdmitted(!isMismatch ? .protocolError(connection) : hasKeys ? .hasNoKeys : .demandsKeys))
        default: break
        }
    }

    private var hasKeys: Bool { options.security.identity != nil }

    override func endConnections() {
        guard hasEnded else { return }
        hasEnded = false
        isConnected = false
        forget(options.peerName)
    }
}
