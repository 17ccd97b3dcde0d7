/// A message from a peer that was refused.
package struct FrameError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong with it.
    package enum Reason: Equatable, Sendable {
        /// A frame has the wrong number of bytes.
        case length(frame: String, bytes: Int, expected: Int)
        /// The message has the wrong number of frames.
        case frames(Int)
        /// A message that has taken so many bytes and does not end.
        case unfinished(bytes: Int64)
        /// The first four bytes are not ours.
        case magic(UInt32)
        /// Another major version of the protocol.
        case version(major: UInt8, minor: UInt8)
        /// No such message.
        case kind(UInt8)
        /// The checksum of the header, the table or the JSON body does not match.
        case checksum(frame: String)
        /// A header field has a value that nothing of ours sends.
        case field(String, value: UInt64)
        /// The header asks for more bytes than the plan allows for it.
        case tooLarge(kind: MessageKind, bytes: Int, limit: Int)
        /// The receiver expects no such message now.
        case unexpected(MessageKind)
        /// A row of the tensor table makes no sense.
        case table(row: Int, String)
        /// The checksum of a tensor does not match its bytes.
        case corrupt(TensorName)
        /// A chunk that does not follow the one before.
        case chunkOrder(got: Int, expected: Int)
        /// A chunk whose header differs from that of the message's first chunk.
        case chunkMismatch(String)
        /// A number that was used already.
        case stale(sequence: UInt64, last: UInt64)
        /// A tensor is missing or has another shape or type than the task needs.
        case tensor(TensorName, String)
        /// The JSON body is too deep or too long, or does not decode.
        case json(String)
        /// The peer's name is empty, too long or not text, or not that of the run which its messages are from.
        case peerName
    }

    /// What is wrong.
    package let reason: Reason
    /// Name of the peer, for the log and the refusal.
    package let peer: String

    /// Joins both.
    package init(_ reason: Reason, peer: String) {
        self.reason = reason
        self.peer = peer
    }

    /// One line with what and where.
    package var description: String { "\(peer.isEmpty ? "peer" : peer): \(text)" }

    /// A short fixed word for counters.
    package var label: String {
        switch reason {
        case .length, .frames: "length"
        case .magic: "magic"
        case .version: "version"
        case .kind, .unexpected: "kind"
        case .checksum, .corrupt: "checksum"
        case .field: "field"
        case .tooLarge, .unfinished: "size"
        case .table, .tensor: "tensor"
        case .chunkOrder, .chunkMismatch: "chunk"
        case .stale: "stale"
        case .json: "json"
        case .peerName: "name"
        }
    }

    private var text: String {
        switch reason {
        case .length(let frame, let bytes, let expected):
            "sent a \(frame) frame of \(bytes) bytes, \(expected) expected"
        case .frames(let count): "sent a message of \(count) frames"
        case .unfinished(let bytes):
            "has sent \(bytes) bytes of a message that does not end and was cut; nothing of ours does that, see who connects"
        case .magic(let magic): "does not speak this protocol (first bytes \(String(magic, radix: 16)))"
        case .version(let major, let minor):
            "speaks protocol \(major).\(minor), this side speaks \(FrameHeader.major).\(FrameHeader.minor): "
                + "install the same version on both"
        case .kind(let raw): "sent a message of unknown kind \(raw)"
        case .checksum(let frame): "sent a \(frame) whose checksum does not match"
        case .field(let name, let value): "sent a header with \(name) = \(value)"
        case .tooLarge(let kind, let bytes, let limit):
            "announced \(bytes) bytes for \(kind), the plan allows \(limit)"
        case .unexpected(let kind): "sent \(kind), which is not expected now"
        case .table(let row, let why): "sent a tensor table with a bad row \(row): \(why)"
        case .corrupt(let name): "sent tensor \(name) whose checksum does not match"
        case .chunkOrder(let got, let expected): "sent chunk \(got), \(expected) expected"
        case .chunkMismatch(let field): "changed \(field) between chunks of one message"
        case .stale(let sequence, let last): "sent message \(sequence) after \(last)"
        case .tensor(let name, let why): "tensor \(name) \(why)"
        case .json(let why): "sent JSON that was refused: \(why)"
        case .peerName: "connected under a name that no run of a worker has"
        }
    }
}
