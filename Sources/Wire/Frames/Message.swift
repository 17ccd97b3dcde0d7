package import Plan

/// A whole message, as sent and as received: what the header says, and tensors or a JSON body.
package struct Message: Equatable, Sendable {
    /// What it is about.
    package var kind: MessageKind
    /// Generation of the plan.
    package var epoch: Epoch
    /// Number of a client's request; the socket sets it for all other kinds.
    package var sequence: UInt64
    /// The picture it belongs to.
    package var image: ImageID?
    /// Whether somebody waits for the picture: its tasks give way to no other.
    package var isUrgent: Bool
    /// Half of classifier-free guidance.
    package var branch: UInt8
    /// Step of the sampler.
    package var step: UInt16
    /// Resolution stage of the sampler.
    package var stage: UInt8
    /// Spans passed.
    package var hop: UInt8
    /// A small number whose meaning the kind defines.
    package var argument: UInt32
    /// Random number of the sender's process; the socket sets it.
    package var bootID: UInt64
    /// Arrays.
    package var tensors: [WireTensor]
    /// JSON of the kinds that carry no tensors.
    package var body: [UInt8]

    /// Joins the fields.
    package init(
        _ kind: MessageKind, epoch: Epoch = 0, sequence: UInt64 = 0, image: ImageID? = nil, isUrgent: Bool = false,
        branch: UInt8 = 0, step: UInt16 = 0, stage: UInt8 = 0, hop: UInt8 = 0, argument: UInt32 = 0,
        tensors: [WireTensor] = [], body: [UInt8] = []
    ) {
        self.kind = kind
        self.epoch = epoch
        self.sequence = sequence
        self.image = image
        self.isUrgent = isUrgent
        self.branch = branch
        self.step = step
        self.stage = stage
        self.hop = hop
        self.argument = argument
        self.tensors = tensors
        self.body = body
        bootID = 0
    }

    /// Bytes of a `credit` message's body.
    package static let creditBytes = 8

    /// Tells a sender what this side is ready to have received of the epoch in all: the limit of its `CreditLine`.
    package static func credit(limit: Credit, epoch: Epoch) -> Message {
        let body = [UInt8](unsafeUninitializedCapacity: creditBytes) { buffer, count in
            UnsafeMutableRawBufferPointer(buffer).put(limit.bytes, at: 0)
            count = creditBytes
        }
        return Message(.credit, epoch: epoch, argument: limit.messages, body: body)
    }

    /// The limit that a `credit` message carries.
    ///
    /// - Throws: `FrameError` for another kind, and for a body of another size.
    package func credit(from peer: String) throws(FrameError) -> Credit {
        guard kind == .credit else { throw FrameError(.unexpected(kind), peer: peer) }
        guard body.count == Self.creditBytes else {
            throw FrameError(.length(frame: "credit", bytes: body.count, expected: Self.creditBytes), peer: peer)
        }
        return Credit(messages: argument, bytes: body.withUnsafeBytes { $0.get(at: 0) })
    }

    /// The tensor of a name; nil when the message has none.
    package subscript(_ name: TensorName) -> WireTensor? { tensors.first { $0.name == name } }

    /// The tensor of a name, of the type and shape that the task needs.
    ///
    /// A nil extent allows any.
    package func tensor(
        _ name: TensorName, _ type: TensorType = .f32, dims: [Int?], from peer: String = ""
    ) throws(FrameError) -> WireTensor {
        guard let tensor = self[name] else { throw FrameError(.tensor(name, "is missing"), peer: peer) }
        guard tensor.type == type else {
            throw FrameError(.tensor(name, "has type \(tensor.type), \(type) needed"), peer: peer)
        }
        guard tensor.dims.count == dims.count, zip(tensor.dims, dims).allSatisfy({ $1 == nil || $0 == $1 }) else {
            let wanted = dims.map { $0.map(String.init) ?? "any" }.joined(separator: " x ")
            throw FrameError(.tensor(name, "has shape \(tensor.dims), \(wanted) needed"), peer: peer)
        }
        return tensor
    }

    /// The task that it asks for or answers; nil for other kinds.
    package var task: TaskID? {
        guard let image, let kind = kind.task else { return nil }
        return TaskID(kind, image, branch: branch, step: step, epoch: epoch)
    }

    /// Bytes of tensors or body, without headers and table.
    package var payloadBytes: Int { tensors.isEmpty ? body.count : tensors.reduce(0) { $0 + $1.bytes.count } }

    /// Bytes of hidden states, the figure of the cost model; 0 for anything but activations.
    package var activationBytes: Int {
        kind == .activation ? tensors.reduce(0) { $0 + ($1.name.isHiddenState ? $1.bytes.count : 0) } : 0
    }

    /// All bytes handed to the socket: headers of all chunks, table, payload.
    package var wireBytes: Int {
        Chunker.chunkCount(totalBytes: payloadBytes) * FrameHeader.byteCount + tensors.count * WireTensor.rowBytes
            + payloadBytes
    }

    /// A message as its header describes it, without payload.
    init(header: FrameHeader) {
        self.init(
            header.kind, epoch: header.epoch, sequence: header.sequence, image: header.image,
            isUrgent: header.isUrgent, branch: header.branch, step: header.step, stage: header.stage, hop: header.hop,
            argument: header.argument)
        bootID = header.bootID
    }

    /// The header of its first chunk; checksums not set.
    var header: FrameHeader {
        var header = FrameHeader(kind: kind)
        header.epoch = epoch
        header.sequence = sequence
        header.image = image
        header.isUrgent = isUrgent
        header.branch = branch
        header.step = step
        header.stage = stage
        header.hop = hop
        header.argument = argument
        header.bootID = bootID
        header.tensorCount = UInt8(tensors.count)
        header.totalBytes = UInt64(payloadBytes)
        header.chunkCount = UInt16(Chunker.chunkCount(totalBytes: payloadBytes))
        if let hidden = tensors.first(where: { $0.name == .image }) { header.wireType = hidden.type }
        return header
    }
}
