internal import CKernels
internal import Plan
@testable internal import Wire

/// Messages and numbers that the tests of this room share.
enum Samples {
    static let image = ImageID(job: JobID(high: 0x0102_0304_0506_0708, low: 0x090a_0b0c_0d0e_0f10), index: 7)

    /// What a worker did.
    static let spans = SpanReport(
        clock: .max, first: .max,
        spans: [
            TaskSpan(
                kind: .edge, image: image, step: .max, epoch: .max, stage: .max, tokens: Int(UInt32.max),
                began: .max - 3, nanoseconds: 3)
        ])

    /// A job's trace with the longest numbers.
    static var trace: JobTrace {
        var trace = JobTrace(job: image.job)
        trace.workers = ["a"]
        trace.entries = [
            .init(
                row: .max, kind: .record, image: .max, step: .max, stage: .max, tokens: .max, epoch: .max, began: .max,
                nanoseconds: .max)
        ]
        trace.notes = [.init(time: 5, text: "epoch 1")]
        trace.isWhole = false
        return trace
    }

    /// An activation of `tokens` rows of `width` channels, every value different.
    static func activation(tokens: Int = 5, width: Int = 16, step: UInt16 = 3) -> Message {
        func values(_ count: Int, _ start: Float) -> [Float] { (0..<count).map { start + Float($0) * 0.25 } }
        var message = Message(
            .activation, epoch: 9, image: image, isUrgent: true, step: step, stage: 1, hop: 2,
            tensors: [
                WireTensor(.text, dims: [2, width], floats: values(2 * width, 1)),
                WireTensor(.image, dims: [tokens, width], floats: values(tokens * width, -3)),
                WireTensor(.vector, dims: [width], floats: values(width, 100)),
                WireTensor(.positions, dims: [tokens, 3], floats: values(tokens * 3, 0)),
            ])
        message.sequence = 1
        message.bootID = 0xabcd
        return message
    }

    /// An activation whose payload is a little over `chunks - 1` chunks.
    static func long(chunks: Int = 3, sequence: UInt64 = 1) -> Message {
        let count = (chunks - 1) * Chunker.chunkBytes + 100
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var message = Message(
            .velocity, epoch: 4, image: image,
            tensors: [
                WireTensor(.velocity, .u8, dims: [count - 60], bytes: Array(bytes[60...])),
                WireTensor(.planes, .u8, dims: [60], bytes: Array(bytes[..<60])),
            ])
        message.sequence = sequence
        message.bootID = 1
        return message
    }

    static func job(_ images: Int) -> Submission {
        let request = ImageRequest(
            prompt: "a lighthouse \"in\" fog, \u{1F3E0} \\ 1/3", seed: .max, width: 512, height: 512, guidance: 3.5,
            textLength: 64, sampler: .euler(steps: 8))
        return Submission(images: Array(repeating: request, count: images))
    }
}

/// Hands copies of frames to an assembler, each in memory of its exact size.
func accept(
    _ frames: [[UInt8]], by assembler: inout Assembler, limit: Assembler.Limit = { _ in 1 << 30 }
) throws(FrameError) -> Message? {
    let buffers = frames.map { frame in
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: frame.count, alignment: 1)
        copy.copyBytes(from: frame)
        return UnsafeRawBufferPointer(copy)
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    return try assembler.accept(buffers, limit: limit)
}

/// Sets the header's checksum right after bytes were changed.
func sealed(_ header: [UInt8]) -> [UInt8] {
    var header = header
    guard header.count >= FrameHeader.byteCount else { return header }
    header.withUnsafeMutableBytes { $0.put(abz_crc32c(0, $0.baseAddress, 92), at: 92) }
    return header
}

/// Sets the checksum of a body frame in the header, then the header's own.
func sealed(_ header: [UInt8], over body: [UInt8]) -> [UInt8] {
    var header = header
    guard header.count >= FrameHeader.byteCount else { return header }
    header.withUnsafeMutableBytes { $0.put(abz_crc32c(0, body, body.count), at: 72) }
    return sealed(header)
}

/// SplitMix64: the same numbers on every run.
struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
