internal import CKernels
package import Plan

/// The first frame of every message: 96 bytes, little-endian, every one of them checked.
///
/// | offset | field | | offset | field |
/// | --- | --- | --- | --- | --- |
/// | 0 | magic u32 `ABZO` | | 43 | wire dtype u8 |
/// | 4 | major, minor u8 | | 44 | step u16 |
/// | 6 | kind u8 | | 46 | chunk index u16 |
/// | 7 | flags u8 | | 48 | chunk count u16 |
/// | 8 | epoch u32 | | 50 | tensor count u8 |
/// | 12 | image u32 | | 51 | zero |
/// | 16 | sequence u64 | | 52 | argument u32 |
/// | 24 | job 2 x u64 | | 56 | total bytes u64 |
/// | 40 | branch u8 | | 64 | boot id u64 |
/// | 41 | resolution stage u8 | | 72 | body checksum u32 |
/// | 42 | hop u8 | | 76 | 16 zeros, then at 92 CRC32C of bytes 0..<92 |
package struct FrameHeader: Equatable, Sendable {
    /// Bytes of the frame.
    package static let byteCount = 96
    /// `ABZO` read as a little-endian number.
    package static let magic: UInt32 = 0x4f5a_4241
    /// Version of the layout; another one is refused, without an answer that the peer could read.
    package static let major: UInt8 = 1
    /// Rises with additions; whether the peer knows them is agreed on at the handshake (`Hello.protocolVersion`).
    package static let minor: UInt8 = 1
    /// Most tensors in one message.
    package static let maxTensors = 16

    /// What the message is about.
    package var kind: MessageKind
    /// Generation of the plan.
    package var epoch: Epoch
    /// Number of the message: rises for each peer, or is the number of a client's request.
    package var sequence: UInt64
    /// The picture that it belongs to.
    package var image: ImageID?
    /// Whether somebody waits for that picture: its tasks give way to no other; never without a picture.
    package var isUrgent: Bool
    /// Conditional (0) or unconditional (1) half of classifier-free guidance.
    package var branch: UInt8
    /// Step of the sampler, from 0.
    package var step: UInt16
    /// Resolution stage of the sampler, from 1; 0 where it means nothing.
    package var stage: UInt8
    /// Spans that the activation has passed.
    package var hop: UInt8
    /// Which chunk of the message this is.
    package var chunkIndex: UInt16
    /// Chunks of the message, at least 1.
    package var chunkCount: UInt16
    /// Type in which hidden states travel.
    package var wireType: TensorType
    /// Tensors in the message.
    package var tensorCount: UInt8
    /// A small number whose meaning the kind defines.
    package var argument: UInt32
    /// Bytes of the payload over all chunks; headers and the table are not counted.
    package var totalBytes: UInt64
    /// Random number of the sender's process.
    package var bootID: UInt64
    /// CRC32C of the tensor table, or of this chunk of a JSON body; 0 where the payload has its own checksums.
    package var bodyChecksum: UInt32

    /// A header with every number zero, one chunk and no payload.
    package init(kind: MessageKind) {
        self.kind = kind
        epoch = 0
        sequence = 0
        image = nil
        isUrgent = false
        branch = 0
        step = 0
        stage = 0
        hop = 0
        chunkIndex = 0
        chunkCount = 1
        wireType = .f32
        tensorCount = 0
        argument = 0
        totalBytes = 0
        bootID = 0
        bodyChecksum = 0
    }

    /// Payload bytes of this chunk, from the total and the chunk's index.
    package var chunkBytes: Int {
        let start = UInt64(chunkIndex) * UInt64(Chunker.chunkBytes)
        return Int(min(UInt64(Chunker.chunkBytes), totalBytes > start ? totalBytes - start : 0))
    }

    /// How the message's hidden states travel; nil when it has none.
    package var hiddenFormat: WireFormat? { kind == .activation ? WireFormat(wireType) : nil }

    /// The same, of a frame that was accepted as a header.
    static func hiddenFormat(accepted frame: UnsafeRawBufferPointer) -> WireFormat? {
        guard frame.count == byteCount, MessageKind(rawValue: frame[6]) == .activation else { return nil }
        return TensorType(rawValue: frame[43]).flatMap { WireFormat($0) }
    }

    /// The task that the message asks for or answers; nil for other kinds.
    package var task: TaskID? {
        guard let image, let kind = kind.task else { return nil }
        return TaskID(kind, image, branch: branch, step: step, epoch: epoch)
    }

    /// The 96 bytes.
    package func encoded() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            encode(into: UnsafeMutableRawBufferPointer(buffer))
            count = Self.byteCount
        }
    }

    /// Writes the 96 bytes.
    ///
    /// - Precondition: `buffer` holds at least 96 bytes.
    package func encode(into buffer: UnsafeMutableRawBufferPointer) {
        promise(buffer.count >= Self.byteCount, "a header needs 96 bytes, \(buffer.count) given")
        buffer.baseAddress?.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
        buffer.put(Self.magic, at: 0)
        buffer[4] = Self.major
        buffer[5] = Self.minor
        buffer[6] = kind.rawValue
        buffer[7] = (image == nil ? 0 : Self.hasImage) | (isUrgent ? Self.urgent : 0)
        buffer.put(epoch, at: 8)
        buffer.put(image?.index ?? 0, at: 12)
        buffer.put(sequence, at: 16)
        buffer.put(image?.job.high ?? 0, at: 24)
        buffer.put(image?.job.low ?? 0, at: 32)
        buffer[40] = branch
        buffer[41] = stage
        buffer[42] = hop
        buffer[43] = wireType.rawValue
        buffer.put(step, at: 44)
        buffer.put(chunkIndex, at: 46)
        buffer.put(chunkCount, at: 48)
        buffer[50] = tensorCount
        buffer.put(argument, at: 52)
        buffer.put(totalBytes, at: 56)
        buffer.put(bootID, at: 64)
        buffer.put(bodyChecksum, at: 72)
        buffer.put(abz_crc32c(0, buffer.baseAddress, 92), at: 92)
    }

    /// Reads and checks the 96 bytes of a peer.
    ///
    /// The sizes that it announces are consistent with each other afterwards, but not yet allowed: that is the
    /// receiver's limit.
    package init(_ bytes: UnsafeRawBufferPointer, peer: String) throws(FrameError) {
        func refuse(_ reason: FrameError.Reason) -> FrameError { FrameError(reason, peer: peer) }
        guard bytes.count == Self.byteCount else {
            throw refuse(.length(frame: "header", bytes: bytes.count, expected: Self.byteCount))
        }
        let magic: UInt32 = bytes.get(at: 0)
        guard magic == Self.magic else { throw refuse(.magic(magic)) }
        guard bytes[4] == Self.major else { throw refuse(.version(major: bytes[4], minor: bytes[5])) }
        guard bytes.get(at: 92) == abz_crc32c(0, bytes.baseAddress, 92) else {
            throw refuse(.checksum(frame: "header"))
        }
        guard let kind = MessageKind(rawValue: bytes[6]) else { throw refuse(.kind(bytes[6])) }
        guard let wireType = TensorType(rawValue: bytes[43]) else {
            throw refuse(.field("wire dtype", value: .init(bytes[43])))
        }
        let flags = bytes[7]
        guard flags & ~(Self.hasImage | Self.urgent) == 0 else { throw refuse(.field("flags", value: UInt64(flags))) }
        for offset in [51] + Array(76..<92) where bytes[offset] != 0 {
            throw refuse(.field("byte \(offset)", value: UInt64(bytes[offset])))
        }

        self.init(kind: kind)
        self.wireType = wireType
        epoch = bytes.get(at: 8)
        sequence = bytes.get(at: 16)
        let image = ImageID(job: JobID(high: bytes.get(at: 24), low: bytes.get(at: 32)), index: bytes.get(at: 12))
        if flags & Self.hasImage != 0 {
            self.image = image
        } else if image != ImageID(job: JobID(high: 0, low: 0), index: 0) {
            throw refuse(.field("image without its flag", value: UInt64(image.index)))
        }
        isUrgent = flags & Self.urgent != 0
        guard self.image != nil || !isUrgent else {
            throw refuse(.field("urgency without an image", value: UInt64(flags)))
        }
        branch = bytes[40]
        guard branch <= 1 else { throw refuse(.field("branch", value: UInt64(branch))) }
        stage = bytes[41]
        hop = bytes[42]
        step = bytes.get(at: 44)
        chunkIndex = bytes.get(at: 46)
        chunkCount = bytes.get(at: 48)
        tensorCount = bytes[50]
        argument = bytes.get(at: 52)
        totalBytes = bytes.get(at: 56)
        bootID = bytes.get(at: 64)
        bodyChecksum = bytes.get(at: 72)

        guard totalBytes <= Self.largestTotal else { throw refuse(.field("total bytes", value: totalBytes)) }
        guard Int(chunkCount) == Chunker.chunkCount(totalBytes: Int(totalBytes)) else {
            throw refuse(.field("chunk count", value: UInt64(chunkCount)))
        }
        guard chunkIndex < chunkCount else { throw refuse(.field("chunk index", value: UInt64(chunkIndex))) }
        guard tensorCount <= Self.maxTensors, (tensorCount > 0) == kind.carriesTensors else {
            throw refuse(.field("tensor count", value: UInt64(tensorCount)))
        }
    }

    private static let hasImage: UInt8 = 1
    private static let urgent: UInt8 = 2
    /// What 65535 chunks can carry.
    private static let largestTotal = UInt64(UInt16.max) * UInt64(Chunker.chunkBytes)
}

extension WireFormat {
    /// The format with values of this type; nil for a type in which hidden states do not travel.
    init?(_ type: TensorType) {
        switch type {
        case .f32: self = .f32
        case .bf16: self = .bf16
        case .i8: self = .int8
        default: return nil
        }
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Stores a number, least significant byte first.
    func put(_ value: some FixedWidthInteger, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: type(of: value).self)
    }
}

extension UnsafeRawBufferPointer {
    /// Loads a number, least significant byte first.
    func get<Number: FixedWidthInteger & BitwiseCopyable>(at offset: Int) -> Number {
        Number(littleEndian: loadUnaligned(fromByteOffset: offset, as: Number.self))
    }
}
