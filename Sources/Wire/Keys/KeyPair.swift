internal import CZeroMQ

/// What the holder of a key may do.
package enum KeyRole: String, Codable, Hashable, Sendable, CaseIterable {
    /// Listens for the others.
    case coordinator
    /// Computes.
    case worker
    /// Submits and watches.
    case client
}

/// Which socket a peer asks to talk to; the role of its key must fit.
package enum KeyDomain: String, Sendable, CaseIterable {
    /// The coordinator's control socket.
    case control
    /// The coordinator's data socket.
    case data
    /// The coordinator's client socket.
    case client
    /// The coordinator's published events.
    case events
    /// A worker's socket for its upstream neighbour.
    case link

    /// Whose keys it admits.
    package var role: KeyRole {
        switch self {
        case .client, .events: .client
        case .control, .data, .link: .worker
        }
    }

    /// The name of the key under whose routing id a peer is known.
    package static func owner(of routingID: String) -> String {
        String(routingID.prefix { $0 != "/" })
    }

    /// Whether the holder of a key may be known under a routing id.
    ///
    /// A routing id is the name of the key, or that and `/` and what tells the processes of one holder apart. A user may
    /// have several terminals, so a client's id always has the second part.
    func admits(routingID: String, of name: String) -> Bool {
        routingID.hasPrefix(name + "/") || role == .worker && routingID == name
    }
}

/// A CURVE key pair, both halves as 40 characters of Z85.
package struct KeyPair: Equatable, Sendable {
    /// What others may know.
    package let publicKey: String
    /// What nobody else may know.
    package let secretKey: String

    /// Draws a new pair.
    ///
    /// - Throws: `WireError` when libzmq was built without CURVE.
    package static func fresh() throws(WireError) -> KeyPair {
        var (publicKey, secretKey) = ([CChar](repeating: 0, count: 41), [CChar](repeating: 0, count: 41))
        guard zmq_curve_keypair(&publicKey, &secretKey) == 0 else { throw .last("zmq_curve_keypair") }
        return KeyPair(publicKey: text(publicKey), secretKey: text(secretKey))
    }

    private init(publicKey: String, secretKey: String) {
        self.publicKey = publicKey
        self.secretKey = secretKey
    }

    /// Finds the public half of a secret key.
    package init(secretKey: String) throws(WireError) {
        var publicKey = [CChar](repeating: 0, count: 41)
        guard zmq_curve_public(&publicKey, secretKey) == 0 else { throw .last("zmq_curve_public") }
        self.init(publicKey: Self.text(publicKey), secretKey: secretKey)
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether a text has the form of a key.
    package static func isKey(_ text: String) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 32)
        return text.utf8.count == 40 && zmq_z85_decode(&bytes, text) != nil
    }

    /// The text of a key's 32 bytes.
    static func text(of bytes: UnsafeRawBufferPointer) -> String? {
        guard bytes.count == 32, let base = bytes.baseAddress else { return nil }
        var characters = [CChar](repeating: 0, count: 41)
        guard zmq_z85_encode(&characters, base.assumingMemoryBound(to: UInt8.self), 32) != nil else { return nil }
        return text(characters)
    }
}
