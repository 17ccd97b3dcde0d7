internal import FoundationEssentials
package import Plan

extension Message {
    /// Most bytes of a client's request or its reply: a batch of 10,000 long prompts fits.
    package static let clientLimit = 64 << 20

    /// A control message.
    ///
    /// - Throws: `FrameError` when it takes more than `ControlMessage.limit` bytes.
    package init(_ control: ControlMessage, epoch: Epoch = 0) throws(FrameError) {
        self.init(.control, epoch: epoch, body: try JSONBody.encoded(control, limit: ControlMessage.limit))
    }

    /// A client's request under its number.
    package init(_ request: ClientRequest, number: UInt64) throws(FrameError) {
        self.init(.clientRequest, sequence: number, body: try JSONBody.encoded(request, limit: Self.clientLimit))
    }

    /// The answer to the request of that number.
    package init(_ reply: ClientReply, number: UInt64) throws(FrameError) {
        self.init(.clientReply, sequence: number, body: try JSONBody.encoded(reply, limit: Self.clientLimit))
    }

    /// The control message in the body, its values within their bounds.
    package func control(from peer: String) throws(FrameError) -> ControlMessage {
        try bounded(try decoded(.control, limit: ControlMessage.limit, peer: peer), peer: peer)
    }

    /// The client's request in the body, its values within their bounds.
    package func clientRequest(from peer: String) throws(FrameError) -> ClientRequest {
        try bounded(try decoded(.clientRequest, limit: Self.clientLimit, peer: peer), peer: peer)
    }

    private func bounded<Body: Bounded>(_ body: Body, peer: String) throws(FrameError) -> Body {
        do throws(ImpossibleValue) { try body.checkBounds() } catch {
            throw FrameError(.json(error.description), peer: peer)
        }
        return body
    }

    /// The coordinator's reply in the body.
    package func clientReply(from peer: String) throws(FrameError) -> ClientReply {
        try decoded(.clientReply, limit: Self.clientLimit, peer: peer)
    }

    private func decoded<Body: Decodable>(
        _ expected: MessageKind, limit: Int, peer: String
    ) throws(FrameError) -> Body {
        guard kind == expected else { throw FrameError(.unexpected(kind), peer: peer) }
        return try JSONBody.decoded(body, limit: limit, peer: peer)
    }
}

/// JSON with bounds on size and depth, checked before anything is decoded.
package enum JSONBody {
    /// Deepest nesting; our deepest message has nine levels.
    package static let maxDepth = 16

    /// Encodes a value.
    package static func encoded(_ value: some Encodable, limit: Int) throws(FrameError) -> [UInt8] {
        let data: Data
        do { data = try JSONEncoder().encode(value) } catch {
            throw FrameError(.json("cannot be written: \(error)"), peer: "this side")
        }
        guard data.count <= limit else {
            throw FrameError(.json("\(data.count) bytes, at most \(limit) fit: send less at once"), peer: "this side")
        }
        return Array(data)
    }

    /// Decodes the bytes of a peer.
    package static func decoded<Body: Decodable>(
        _ bytes: [UInt8], limit: Int, peer: String
    ) throws(FrameError) -> Body {
        guard bytes.count <= limit else {
            throw FrameError(.json("\(bytes.count) bytes, at most \(limit) are allowed"), peer: peer)
        }
        guard depth(of: bytes) <= maxDepth else {
            throw FrameError(.json("nested deeper than \(maxDepth)"), peer: peer)
        }
        do { return try JSONDecoder().decode(Body.self, from: Data(bytes)) } catch {
            throw FrameError(.json(reason(error)), peer: peer)
        }
    }

    /// Deepest nesting of brackets outside of strings.
    static func depth(of bytes: [UInt8]) -> Int {
        var depth = 0
        var deepest = 0
        var inString = false
        var escaped = false
        for byte in bytes {
            if inString {
                if escaped {
                    escaped = false
                } else if byte == UInt8(ascii: "\\") {
                    escaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): inString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                deepest = max(deepest, depth)
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
        }
        return deepest
    }

    /// One short line without the peer's own text, which may be long or hostile.
    private static func reason(_ error: any Error) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let names = context.codingPath.map { $0.stringValue.prefix(40) }.joined(separator: ".")
            return names.isEmpty ? "the top" : names
        }
        return switch error {
        case DecodingError.keyNotFound(let key, let context): "\(key.stringValue) is missing at \(path(context))"
        case DecodingError.typeMismatch(_, let context): "wrong type at \(path(context))"
        case DecodingError.valueNotFound(_, let context): "null at \(path(context))"
        case DecodingError.dataCorrupted(let context): "bad value at \(path(context))"
        default: "not JSON"
        }
    }
}
