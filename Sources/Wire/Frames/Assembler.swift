internal import CKernels
internal import Plan

/// Puts the chunks of one peer's messages together again, within what the receiver allows.
///
/// Nothing is allocated for a message before `limit` has allowed its size. What fails a check is dropped with a
/// `FrameError`; a later message of the peer starts afresh.
package struct Assembler {
    /// Most payload bytes that a message may have; nil refuses it.
    package typealias Limit = (FrameHeader) -> Int?

    /// Name of the peer, for errors.
    package let peer: String
    /// Messages of which only some chunks have arrived, at most.
    package let maxPartial: Int
    /// Incomplete messages that were given up for newer ones.
    package private(set) var abandoned: UInt64 = 0
    /// Incomplete messages in memory.
    package var partialCount: Int { partials.count }
    /// Bytes allocated for incomplete messages.
    package var partialBytes: Int { partials.reduce(0) { $0 + Int($1.header.totalBytes) } }

    private var partials: [Partial] = []
    private var bootID: UInt64?
    private var lastSequence: UInt64 = 0
    /// The last message whose first chunk came unexpected: its others are passed over.
    private var unwanted: (kind: MessageKind, sequence: UInt64)?

    /// Starts with nothing.
    package init(peer: String, maxPartial: Int = 2) {
        promise(maxPartial >= 1, "room for \(maxPartial) messages")
        self.peer = peer
        self.maxPartial = maxPartial
    }

    /// Takes the frames of one chunk; returns the message when it was the last one.
    ///
    /// - Throws: `FrameError` when the chunk is refused; its message is forgotten then.
    package mutating func accept(
        _ frames: [UnsafeRawBufferPointer], limit: Limit
    ) throws(FrameError) -> Message? {
        guard let first = frames.first else { throw refuse(.frames(0)) }
        let header = try FrameHeader(first, peer: peer)
        do throws(FrameError) {
            return try accept(header, Array(frames.dropFirst()), limit: limit)
        } catch {
            partials.removeAll { $0.header.sequence == header.sequence && $0.header.kind == header.kind }
            throw error
        }
    }

    /// Forgets incomplete messages and numbers, for a peer that connected again.
    package mutating func reset() {
        partials = []
        bootID = nil
        lastSequence = 0
        unwanted = nil
    }

    /// Gives up incomplete messages.
    package mutating func forgetPartials() {
        abandoned += UInt64(partials.count)
        partials = []
    }

    private func refuse(_ reason: FrameError.Reason) -> FrameError { FrameError(reason, peer: peer) }

    private mutating func accept(
        _ header: FrameHeader, _ frames: [UnsafeRawBufferPointer], limit: Limit
    ) throws(FrameError) -> Message? {
        if bootID != header.bootID {
            reset()
            bootID = header.bootID
        }
        if header.chunkIndex == 0 {
            let body = try begin(header, frames, limit: limit)
            if header.chunkCount == 1 {
                let partial = try Partial(header, table: body.table, peer: peer)
                try partial.append(body.payload, header, peer: peer)
                return try partial.finished(peer: peer)
            }
            if partials.count == maxPartial {
                partials.removeFirst()
                abandoned += 1
            }
            let partial = try Partial(header, table: body.table, peer: peer)
            try partial.append(body.payload, header, peer: peer)
            partials.append(partial)
            return nil
        }

        guard
            let index = partials.firstIndex(where: {
                $0.header.sequence == header.sequence && $0.header.kind == header.kind
            })
        else {
            if let unwanted, unwanted == (header.kind, header.sequence) { return nil }
            throw refuse(.chunkOrder(got: Int(header.chunkIndex), expected: 0))
        }
        let partial = partials[index]
        guard partial.next == Int(header.chunkIndex) else {
            throw refuse(.chunkOrder(got: Int(header.chunkIndex), expected: partial.next))
        }
        try partial.checkSame(header, peer: peer)
        guard frames.count == 1 else { throw refuse(.frames(frames.count + 1)) }
        try partial.append(frames[0], header, peer: peer)
        guard partial.next == Int(header.chunkCount) else { return nil }
        partials.remove(at: index)
        return try partial.finished(peer: peer)
    }

    /// Checks the first chunk of a message: its number, its frames' sizes, the receiver's limit.
    private mutating func begin(
        _ header: FrameHeader, _ frames: [UnsafeRawBufferPointer], limit: Limit
    ) throws(FrameError) -> (table: UnsafeRawBufferPointer?, payload: UnsafeRawBufferPointer) {
        if !header.kind.isNumberedByCaller {
            guard header.sequence > lastSequence else {
                throw refuse(.stale(sequence: header.sequence, last: lastSequence))
            }
        } else if let open = partials.first(where: {
            $0.header.sequence == header.sequence && $0.header.kind == header.kind
        }) {
            throw refuse(.chunkOrder(got: 0, expected: open.next))
        }
        let hasTable = header.tensorCount > 0
        let hasPayload = header.totalBytes > 0
        guard frames.count == (hasTable ? 1 : 0) + (hasPayload ? 1 : 0) else { throw refuse(.frames(frames.count + 1)) }
        guard let allowed = limit(header) else {
            unwanted = (header.kind, header.sequence)
            throw refuse(.unexpected(header.kind))
        }
        guard header.totalBytes <= UInt64(max(0, allowed)) else {
            unwanted = (header.kind, header.sequence)
            throw refuse(.tooLarge(kind: header.kind, bytes: Int(header.totalBytes), limit: allowed))
        }
        if !header.kind.isNumberedByCaller { lastSequence = header.sequence }
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        return (hasTable ? frames[0] : nil, hasPayload ? frames[frames.count - 1] : empty)
    }
}

/// A message of which only some chunks have arrived.
private final class Partial {
    let header: FrameHeader
    private(set) var next = 0
    private var rows: [TensorRow] = []
    private var parts: [[UInt8]] = []
    private var checksums: [UInt32] = []
    private var part = 0
    private var offset = 0

    init(_ header: FrameHeader, table: UnsafeRawBufferPointer?, peer: String) throws(FrameError) {
        self.header = header
        if let table {
            guard header.bodyChecksum == abz_crc32c(0, table.baseAddress, table.count) else {
                throw FrameError(.checksum(frame: "table"), peer: peer)
            }
            rows = try TensorRow.rows(
                table, count: Int(header.tensorCount), totalBytes: header.totalBytes, peer: peer)
        }
        let sizes = table == nil ? [Int(header.totalBytes)] : rows.map(\.byteCount)
        // Not cleared: every byte is written before the message leaves here, or it never leaves.
        parts = sizes.map { size in size == 0 ? [] : [UInt8](unsafeUninitializedCapacity: size) { $1 = size } }
        checksums = sizes.map { _ in 0 }
    }

    /// Chunks of one message differ only in index, and for JSON in the checksum of the body.
    func checkSame(_ other: FrameHeader, peer: String) throws(FrameError) {
        var expected = header
        expected.chunkIndex = other.chunkIndex
        expected.bodyChecksum = rows.isEmpty ? other.bodyChecksum : 0
        guard expected == other else {
            let field =
                expected.epoch != other.epoch
                ? "the epoch" : expected.totalBytes != other.totalBytes ? "the size" : "the header"
            throw FrameError(.chunkMismatch(field), peer: peer)
        }
    }

    func append(_ payload: UnsafeRawBufferPointer, _ header: FrameHeader, peer: String) throws(FrameError) {
        guard payload.count == header.chunkBytes else {
            throw FrameError(.length(frame: "payload", bytes: payload.count, expected: header.chunkBytes), peer: peer)
        }
        if rows.isEmpty {
            guard header.bodyChecksum == abz_crc32c(0, payload.baseAddress, payload.count) else {
                throw FrameError(.checksum(frame: "body"), peer: peer)
            }
        }
        var rest = payload
        while !rest.isEmpty {
            while offset == parts[part].count {
                part += 1
                offset = 0
            }
            let piece = UnsafeRawBufferPointer(rebasing: rest[..<min(rest.count, parts[part].count - offset)])
            parts[part].withUnsafeMutableBytes { buffer in
                UnsafeMutableRawBufferPointer(rebasing: buffer[offset...]).copyMemory(from: piece)
            }
            if !rows.isEmpty { checksums[part] = abz_crc32c(checksums[part], piece.baseAddress, piece.count) }
            offset += piece.count
            rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
        }
        next += 1
    }

    func finished(peer: String) throws(FrameError) -> Message {
        var message = Message(header: header)
        if rows.isEmpty {
            message.body = parts[0]
            return message
        }
        for (index, row) in rows.enumerated() {
            guard row.checksum == checksums[index] else { throw FrameError(.corrupt(row.name), peer: peer) }
            message.tensors.append(WireTensor(row.name, row.type, dims: row.dims, bytes: parts[index]))
        }
        return message
    }
}
