internal import CZeroMQ
internal import Glibc

/// Listens, knows its peers by their routing ids and sends to one of them.
///
/// A peer of the same routing id that connects again takes the place of the old connection.
package final class RouterSocket: Socket {
    /// Longest routing id of a peer, bytes of UTF-8.
    package static let maxName = RoutingID.limit

    private var peerOfConnection: [Int32: String] = [:]
    private var connectionOfPeer: [String: Int32] = [:]
    /// Connections whose end is not reported yet, because messages of theirs may still be unread.
    private var ended: [Int32] = []

    /// Makes a socket that belongs to the loop; call on its thread.
    package init(_ loop: PollLoop, _ options: SocketOptions) throws(WireError) {
        try super.init(loop, options, type: ZMQ_ROUTER)
        do throws(WireError) {
            try set(ZMQ_ROUTER_MANDATORY, 1)
            try set(ZMQ_ROUTER_HANDOVER, 1)
        } catch {
            close()
            throw error
        }
    }

    /// Listens; returns the endpoint with the port that the system chose.
    ///
    /// - Throws: `WireError`: the address is in use, not this host's, or reachable from others without keys.
    package func listen(on endpoint: Endpoint) throws(WireError) -> Endpoint { try bind(endpoint) }

    /// Names of the peers that have sent something and are still connected.
    package var peers: [String] { connectionOfPeer.keys.sorted() }

    /// Sends to a peer, or queues up to `queueBytes` for it.
    ///
    /// - Throws: `WireError`: the peer is not connected, or its queue is full.
    package func send(_ message: Message, to peer: String) throws(WireError) { try send(message, peer: peer) }

    override func sender(
        _ frames: inout ArraySlice<UnsafeRawBufferPointer>, connection: Int32, session: Gate.Session?
    ) -> String? {
        guard let name = frames.popFirst() else { return nil }
        // Names that libzmq makes up begin with a zero byte.
        guard 1...Self.maxName ~= name.count, name[0] != 0, let peer = String(validating: name, as: UTF8.self) else {
            onEvent?(.refused(FrameError(.peerName, peer: "")))
            return nil
        }
        // A newer connection of a name takes the place of the older one, so the name must be the key's.
        if let session, !options.security.domain.admits(routingID: peer, of: session.name) {
            refuse(.wrongName, session.name, connection: connection)
            return nil
        }
        if connection >= 0 && (peerOfConnection[connection] != peer || connectionOfPeer[peer] != connection) {
            admit(peer, connection)
        }
        return peer
    }

    /// Notes which connection a peer speaks over.
    private func admit(_ peer: String, _ connection: Int32) {
        // The descriptor may have been another peer's before: that one's end is in the monitor's queue by now.
        readMonitor()
        end(connection)
        // The old connection's end may not be seen yet, or never: what was on its way over it is lost all the same.
        if let old = connectionOfPeer[peer] { end(old) }
        peerOfConnection[connection] = peer
        connectionOfPeer[peer] = connection
        onEvent?(.connected(peer))
    }

    /// Forgets whoever spoke over a connection.
    private func end(_ connection: Int32) {
        guard let peer = peerOfConnection.removeValue(forKey: connection) else { return }
        connectionOfPeer[peer] = nil
        forget(peer)
    }

    override func connectionChanged(_ event: Int32, connection: Int32) {
        switch event {
        case ZMQ_EVENT_DISCONNECTED: ended.append(connection)
        case ZMQ_EVENT_ACCEPTED where ended.contains(connection):
            // The descriptor is used again.
            ended.removeAll { $0 == connection }
            end(connection)
        default: break
        }
    }

    override func endConnections() {
        let ended = ended
        self.ended = []
        for connection in ended { end(connection) }
    }

    override func sendAddress(_ peer: String) throws(WireError) -> Bool {
        let name = Array(peer.utf8)
        while zmq_send(handle, name, name.count, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0 {
            switch zmq_errno() {
            case EINTR: continue
            case EAGAIN: return false
            case EHOSTUNREACH: throw WireError(.unroutable(peer))
            default: throw .last("zmq_send")
            }
        }
        return true
    }
}
