/// Who may connect to a socket and who reads along.
///
/// Without keys a socket listens on loopback only. With them every connection is encrypted, and both sides prove that
/// they hold their keys.
package struct Security: Sendable {
    /// Listen on any address without keys.
    package var allowInsecure: Bool
    /// Name of the own key; empty without one.
    package var name = ""
    /// The own keys; nil for connections without.
    package var identity: KeyPair?
    /// Public key of the side that listens, for sockets that connect.
    package var peerKey: String?
    /// Who may connect, for sockets that listen; one for all sockets of a loop.
    package var gate: Gate?
    /// What a socket that listens is for.
    package var domain = KeyDomain.control

    /// No keys: loopback only unless `allowInsecure`.
    package init(allowInsecure: Bool = false) { self.allowInsecure = allowInsecure }

    /// Joins keys.
    package init(name: String = "", identity: KeyPair, peerKey: String? = nil, gate: Gate? = nil) {
        allowInsecure = false
        self.name = name
        self.identity = identity
        self.peerKey = peerKey
        self.gate = gate
    }

    /// The same for a socket of another purpose.
    package func `for`(_ domain: KeyDomain) -> Security {
        var copy = self
        copy.domain = domain
        return copy
    }

    /// No keys, loopback only.
    package static let none = Security()

    /// What the log says at the start.
    package func summary(listeningOn endpoints: [Endpoint]) -> String {
        if identity != nil { return "encrypted with keys" + (gate.map { $0.summary } ?? "") }
        return endpoints.allSatisfy(\.isLoopback)
            ? "not encrypted: there are no keys, and only this machine can connect"
            : "NOT ENCRYPTED: whoever reaches these sockets can submit, cancel, read and join"
    }

    /// Refuses to listen where other hosts could connect without a key.
    package func checkListening(on endpoint: Endpoint) throws(WireError) {
        let hasKeys = identity != nil && gate != nil
        guard endpoint.isLoopback || allowInsecure || hasKeys else {
            throw WireError(.insecure(endpoint.description))
        }
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
    /// Chunks that libzmq buffers in each direction for each peer.
    package var highWater: Int
    /// Chunks to be sent, where that is another number.
    package var sendHighWater: Int?
    /// Payload bytes that wait in this process for one peer, at most; more are refused.
    package var queueBytes: Int
    /// Payload bytes that wait for all peers, at most.
    package var totalQueueBytes = Int.max
    /// Bytes of messages of which only some chunks have arrived, of all peers, at most.
    package var partialBytes = Int.max
    /// Most payload bytes a received message may have; asked with its header and the peer's name, nil refuses it.
    package var limit: @Sendable (FrameHeader, String) -> Int?
    /// Counts what passes; nil counts nothing.
    package var meter: LinkMeter?
    /// Name of the far side in link counters, for sockets with one peer.
    package var peerName: String
    /// Which of its loop's `ioThreads` moves its bytes, from 0; the last one if there are fewer.
    package var ioThread = 0

    /// Joins the fields.
    package init(
        name: String, bootID: UInt64, security: Security = .none, highWater: Int = 8, queueBytes: Int = 256 << 20,
        limit: @escaping @Sendable (FrameHeader, String) -> Int?,
        meter: LinkMeter? = nil, peerName: String = "coordinator"
    ) {
        self.name = name
        routingID = name
        self.bootID = bootID
        self.security = security
        self.highWater = highWater
        self.queueBytes = queueBytes
        self.limit = limit
        self.meter = meter
        self.peerName = peerName
    }

    /// For control sockets: JSON of at most 1 MiB.
    package static func control(name: String, bootID: UInt64, security: Security = .none) -> SocketOptions {
        SocketOptions(name: name, bootID: bootID, security: security, highWater: 32, queueBytes: 16 << 20) {
            header, _ in header.kind == .control ? 1 << 20 : nil
        }
    }

    /// For sockets of events: what goes beyond the buffer is lost to that listener, so there is room for a line on each of a
    /// thousand jobs.
    package static func events(name: String, bootID: UInt64, security: Security = .none) -> SocketOptions {
        var options = control(name: name, bootID: bootID, security: security)
        options.sendHighWater = 1000
        return options
    }

    /// For client sockets: requests on the coordinator's side, replies on the client's.
    package static func client(
        name: String, bootID: UInt64, accepting kind: MessageKind, security: Security = .none
    ) -> SocketOptions {
        var options = SocketOptions(
            name: name, bootID: bootID, security: security, highWater: 16, queueBytes: 128 << 20
        ) { header, _ in header.kind == kind ? Message.clientLimit : nil }
        // One key may open any number of connections.
        (options.totalQueueBytes, options.partialBytes) = (512 << 20, 256 << 20)
        return options
    }
}

/// What happened on a socket besides messages.
package enum SocketEvent: Equatable, Sendable {
    /// A peer is there: a router names it with its first message, a dealer as soon as the handshake is done.
    case connected(String)
    /// A peer's connection ended; messages that waited for it were dropped.
    case disconnected(String)
    /// A message was refused; the connection goes on, unless the message had no end.
    case refused(FrameError)
    /// Messages to a peer were dropped because it is gone.
    case undeliverable(peer: String, messages: Int)
    /// The other side will not have this one.
    case notAdmitted(Denial)
}

/// Why the other side will not have this one, as far as the handshake tells.
package enum Denial: Equatable, Sendable, CustomStringConvertible {
    /// This side has no keys, the other one demands them.
    case demandsKeys
    /// This side has keys, the other one has none.
    case hasNoKeys
    /// The key is not authorised for this socket.
    case notAuthorised
    /// The handshake ended without a word, more than once.
    case silent
    /// The handshake broke the protocol; libzmq's code.
    case protocolError(Int32)

    /// Whether the socket tries again by itself.
    package var isTriedAgain: Bool { self == .silent }

    /// One line with what may be wrong and the next step.
    package var description: String {
        switch self {
        case .demandsKeys: "it demands keys: pass --keys DIR, see abbozzo keys --help"
        case .hasNoKeys: "it has no keys: start it with keys, or pass --keys none"
        case .notAuthorised: "it does not authorise this key: run abbozzo keys authorize FILE.pub --role client there"
        case .silent:
            "it ends the handshake: this key is not authorised there (abbozzo keys ls there says who is, abbozzo keys authorize "
                + "lets one in), or it is not the coordinator whose public key this side has"
        case .protocolError(let code): "the handshake failed (code \(String(code, radix: 16)))"
        }
    }
}
