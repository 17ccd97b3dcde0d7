/// Who may connect to a socket and who reads along.
///
/// Without keys a socket listens on loopback only. Keys and the authorised set become further fields here.
package struct Security: Equatable, Sendable {
    /// Listen on any address without keys.
    package var allowInsecure: Bool

    /// No keys: loopback only unless `allowInsecure`.
    package init(allowInsecure: Bool = false) { self.allowInsecure = allowInsecure }

    /// No keys, loopback only.
    package static let none = Security()

    /// Refuses to listen where other hosts could connect without a key.
    package func checkListening(on endpoint: Endpoint) throws(WireError) {
        guard endpoint.isLoopback || allowInsecure else { throw WireError(.insecure(endpoint.description)) }
    }
}

/// Bounds and names of one socket.
package struct SocketOptions: Sendable {
    /// Name of this side in link counters.
    package var name: String
    /// What routers know this side by; the name, unless it is set to a `RoutingID`.
    package var routingID: String
    /// Random number of this process, in every header.
    package var bootID: UInt64
    /// Keys.
    package var security: Security
    /// Largest frame that libzmq accepts, bytes.
    package var maxFrameBytes: Int
    /// Chunks that libzmq buffers in each direction for each peer.
    package var highWater: Int
    /// Payload bytes that wait in this process for one peer, at most; more are refused.
    package var queueBytes: Int
    /// Most payload bytes a received message may have; asked with its header and the peer's name, nil refuses it.
    package var limit: @Sendable (FrameHeader, String) -> Int?
    /// Counts what passes; nil counts nothing.
    package var meter: LinkMeter?
    /// Name of the far side in link counters, for sockets with one peer.
    package var peerName: String

    /// Joins the fields.
    package init(
        name: String, bootID: UInt64, security: Security = .none, maxFrameBytes: Int = 4 << 20, highWater: Int = 8,
        queueBytes: Int = 256 << 20, limit: @escaping @Sendable (FrameHeader, String) -> Int?,
        meter: LinkMeter? = nil, peerName: String = "coordinator"
    ) {
        self.name = name
        routingID = name
        self.bootID = bootID
        self.security = security
        self.maxFrameBytes = maxFrameBytes
        self.highWater = highWater
        self.queueBytes = queueBytes
        self.limit = limit
        self.meter = meter
        self.peerName = peerName
    }

    /// For control sockets: JSON of at most 1 MiB.
    package static func control(name: String, bootID: UInt64, security: Security = .none) -> SocketOptions {
        SocketOptions(name: name, bootID: bootID, security: security, highWater: 1000, queueBytes: 16 << 20) {
            header, _ in header.kind == .control ? 1 << 20 : nil
        }
    }

    /// For client sockets: requests on the coordinator's side, replies on the client's.
    package static func client(
        name: String, bootID: UInt64, accepting kind: MessageKind, security: Security = .none
    ) -> SocketOptions {
        SocketOptions(name: name, bootID: bootID, security: security, highWater: 100, queueBytes: 128 << 20) {
            header, _ in header.kind == kind ? Message.clientLimit : nil
        }
    }
}

/// What happened on a socket besides messages.
package enum SocketEvent: Equatable, Sendable {
    /// A peer is there: a router names it with its first message, a dealer as soon as the handshake is done.
    case connected(String)
    /// A peer's connection ended; messages that waited for it were dropped.
    case disconnected(String)
    /// A message was refused; the connection goes on.
    case refused(FrameError)
    /// Messages to a peer were dropped because it is gone.
    case undeliverable(peer: String, messages: Int)
}
