internal import CKernels
internal import Plan

/// Cuts a message into chunks, each a multipart message of its own.
///
/// A chunk is a header frame; in the first chunk of a message with tensors the table; and, if there is any, at most
/// 1 MiB of payload. Small chunks overlap sending with checking, and bound what a socket buffers.
package struct Chunker {
    /// Payload bytes of every chunk but the last.
    ///
    /// Measured: the fastest size over loopback, spec 4.2.
    package static let chunkBytes = 1 << 20

    /// Number of chunks for so many payload bytes; an empty message is one chunk.
    package static func chunkCount(totalBytes: Int) -> Int { max(1, (totalBytes + chunkBytes - 1) / chunkBytes) }

    /// Number of chunks.
    package let count: Int
    /// Bytes of the whole message.
    package let wireBytes: Int
    let message: Message
    /// How the message's hidden states travel; nil when it has none.
    var format: WireFormat? { header.hiddenFormat }
    private let header: FrameHeader
    private let table: [UInt8]

    /// Prepares the table with its checksums.
    ///
    /// - Precondition: at most 16 tensors, and tensors exactly when the kind carries them.
    package init(_ message: Message) {
        promise(
            message.tensors.count <= FrameHeader.maxTensors && message.tensors.isEmpty != message.kind.carriesTensors,
            "\(message.kind) with \(message.tensors.count) tensors")
        self.message = message
        header = message.header
        count = Int(header.chunkCount)
        table = TensorRow.table(of: message.tensors)
        wireBytes = message.wireBytes
    }

    /// Bytes of the frames of one chunk: header, then table, then payload; the last two only if there are any.
    package func frameSizes(_ index: Int) -> [Int] {
        var sizes = [FrameHeader.byteCount]
        if index == 0 && !table.isEmpty { sizes.append(table.count) }
        let payload = payloadRange(index)
        if !payload.isEmpty { sizes.append(payload.count) }
        return sizes
    }

    /// Writes one frame of one chunk.
    package func write(chunk index: Int, frame: Int, into buffer: UnsafeMutableRawBufferPointer) {
        let hasTable = index == 0 && !table.isEmpty
        if frame == 0 {
            var header = header
            header.chunkIndex = UInt16(index)
            header.bodyChecksum = bodyChecksum(index)
            header.encode(into: buffer)
        } else if frame == 1 && hasTable {
            buffer.copyBytes(from: table)
        } else {
            copyPayload(payloadRange(index), into: buffer)
        }
    }

    /// The frames of one chunk as arrays.
    package func frames(_ index: Int) -> [[UInt8]] {
        frameSizes(index).enumerated().map { frame, size in
            [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                write(chunk: index, frame: frame, into: UnsafeMutableRawBufferPointer(buffer))
                count = size
            }
        }
    }

    private func payloadRange(_ index: Int) -> Range<Int> {
        let total = Int(header.totalBytes)
        let start = min(index * Self.chunkBytes, total)
        return start..<min(start + Self.chunkBytes, total)
    }

    private func bodyChecksum(_ index: Int) -> UInt32 {
        if !table.isEmpty {
            return index == 0 ? table.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) } : 0
        }
        return message.body.withUnsafeBytes { body in
            let part = UnsafeRawBufferPointer(rebasing: body[payloadRange(index)])
            return abz_crc32c(0, part.baseAddress, part.count)
        }
    }

    /// Gathers a range of the payload, which may run over several tensors.
    private func copyPayload(_ range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) {
        func copy(_ bytes: [UInt8], startingAt start: Int) {
            let part = range.clamped(to: start..<start + bytes.count)
            guard !part.isEmpty else { return }
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(rebasing: buffer[(part.lowerBound - range.lowerBound)...])
                    .copyMemory(from: .init(rebasing: source[(part.lowerBound - start)..<(part.upperBound - start)]))
            }
        }
        if message.tensors.isEmpty { return copy(message.body, startingAt: 0) }
        var start = 0
        for tensor in message.tensors {
            copy(tensor.bytes, startingAt: start)
            start += tensor.bytes.count
        }
    }
}
