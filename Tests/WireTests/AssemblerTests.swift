internal import Plan
internal import Testing

@testable internal import Wire

@Suite struct AssemblerTests {
    private func chunks(_ message: Message) -> [[[UInt8]]] {
        let chunker = Chunker(message)
        return (0..<chunker.count).map { chunker.frames($0) }
    }

    private func reason(
        _ frames: [[UInt8]], _ assembler: inout Assembler, limit: Assembler.Limit = { _ in 1 << 30 }
    ) -> FrameError.Reason? {
        do throws(FrameError) { _ = try accept(frames, by: &assembler, limit: limit) } catch { return error.reason }
        return nil
    }

    private func assembled(_ message: Message) throws -> Message? {
        var assembler = Assembler(peer: "node1")
        var result: Message?
        for frames in chunks(message) {
            #expect(result == nil)
            result = try accept(frames, by: &assembler)
        }
        #expect(assembler.partialCount == 0)
        return result
    }

    @Test("messages of one chunk, many chunks and none survive the journey")
    func roundTrips() throws {
        for message in [Samples.activation(), Samples.long(), Samples.long(chunks: 1)] {
            #expect(try assembled(message) == message)
        }
        var credit = Message.credit(limit: Credit(messages: 2), epoch: 5)
        credit.sequence = 8
        #expect(try assembled(credit) == credit)
        var prompt = Message(.encode, sequence: 1, argument: 64, tensors: [WireTensor(.prompt, text: "")])
        prompt.bootID = 3
        #expect(try assembled(prompt) == prompt)
        #expect(prompt[.prompt]?.text?.isEmpty == true)
        var big = Message(.clientRequest, sequence: 5, body: Array(repeating: 65, count: 3 * Chunker.chunkBytes))
        big.bootID = 2
        #expect(try assembled(big) == big)
    }

    @Test("the chunks of a message carry exactly the bytes that it says it takes")
    func sizes() {
        for message in [Samples.activation(), Samples.long(), Message.credit(limit: Credit(messages: 1), epoch: 1)] {
            let bytes = chunks(message).joined().reduce(0) { $0 + $1.count }
            #expect(bytes == message.wireBytes)
            #expect(Chunker(message).wireBytes == bytes)
        }
        #expect(Samples.activation(tokens: 5, width: 16).activationBytes == (5 + 2) * 16 * 4)
        #expect(Samples.long().activationBytes == 0)
    }

    @Test("a message that nobody expects any more is refused once, whatever its chunks")
    func unwanted() {
        let parts = chunks(Samples.long())
        var assembler = Assembler(peer: "node1")
        #expect(reason(parts[0], &assembler, limit: { _ in nil }) == .unexpected(Samples.long().kind))
        for part in parts.dropFirst() { #expect(reason(part, &assembler) == nil) }
        #expect(assembler.partialCount == 0)
        var other = Samples.long()
        other.sequence += 1
        #expect(reason(chunks(other)[1], &assembler) == .chunkOrder(got: 1, expected: 0))
    }

    @Test("chunks out of order, twice, or without a beginning are refused")
    func order() throws {
        let parts = chunks(Samples.long())
        var assembler = Assembler(peer: "node1")
        #expect(reason(parts[1], &assembler) == .chunkOrder(got: 1, expected: 0))
        _ = try accept(parts[0], by: &assembler)
        #expect(reason(parts[2], &assembler) == .chunkOrder(got: 2, expected: 1))
        #expect(assembler.partialCount == 0, "a refused message is forgotten")
        #expect(reason(parts[1], &assembler) == .chunkOrder(got: 1, expected: 0))

        assembler.reset()
        _ = try accept(parts[0], by: &assembler)
        _ = try accept(parts[1], by: &assembler)
        #expect(reason(parts[1], &assembler) == .chunkOrder(got: 1, expected: 2))
    }

    @Test("a number that was used already is refused, until the peer starts again")
    func stale() throws {
        var assembler = Assembler(peer: "node1")
        var message = Samples.activation()
        message.sequence = 5
        #expect(try accept(chunks(message)[0], by: &assembler) != nil)
        #expect(reason(chunks(message)[0], &assembler) == .stale(sequence: 5, last: 5))
        message.sequence = 4
        #expect(reason(chunks(message)[0], &assembler) == .stale(sequence: 4, last: 5))
        message.bootID += 1
        #expect(try accept(chunks(message)[0], by: &assembler) != nil)
        var reply = Message(.clientReply, sequence: 9)
        reply.bootID = message.bootID
        #expect(try accept(chunks(reply)[0], by: &assembler) != nil)
        reply.sequence = 2
        #expect(try accept(chunks(reply)[0], by: &assembler) != nil, "replies may come in any order")
    }

    @Test("chunks that change epoch, size or picture on the way are refused")
    func mismatch() throws {
        for offset in [8, 12, 24, 40, 44, 52, 72] {
            let parts = chunks(Samples.long())
            var assembler = Assembler(peer: "node1")
            _ = try accept(parts[0], by: &assembler)
            var second = parts[1]
            second[0][offset] ^= 1
            second[0] = sealed(second[0])
            guard case .chunkMismatch = reason(second, &assembler) else {
                Issue.record("offset \(offset)")
                continue
            }
        }
    }

    @Test("nothing is allocated for a message that is larger than allowed, or that nobody expects")
    func limits() {
        var header = FrameHeader(kind: .activation)
        header.sequence = 1
        header.tensorCount = 1
        header.totalBytes = 60 << 30
        header.chunkCount = 60 << 10
        var table = [UInt8](repeating: 0, count: 32)
        table.withUnsafeMutableBytes { row in
            row.put(UInt16(8), at: 0)
            row[2] = 4
            row[3] = 2
            row.put(UInt32(60), at: 4)
            row.put(UInt32(1 << 30), at: 8)
            row.put(UInt64(60 << 30), at: 20)
        }
        let frames = [
            sealed(header.encoded(), over: table), table, [UInt8](repeating: 0, count: Chunker.chunkBytes),
        ]
        var assembler = Assembler(peer: "node1")
        #expect(
            reason(frames, &assembler, limit: { _ in 1 << 20 })
                == .tooLarge(kind: .activation, bytes: 60 << 30, limit: 1 << 20))
        #expect(reason(frames, &assembler, limit: { _ in nil }) == .unexpected(.activation))
        #expect(reason(frames, &assembler, limit: { _ in -1 }) != nil)
        #expect(assembler.partialBytes == 0 && assembler.partialCount == 0)
        // Where it is allowed, the sizes fit each other; only the limit stood in the way.
        header.totalBytes = 1 << 20
        header.chunkCount = 1
        #expect(reason([sealed(header.encoded(), over: table), table, frames[2]], &assembler) != nil)
    }

    @Test("a peer has room for a bounded number of incomplete messages; the oldest gives way")
    func partials() throws {
        var assembler = Assembler(peer: "node1", maxPartial: 2)
        let messages = (1...3).map { Samples.long(sequence: UInt64($0)) }
        for message in messages { _ = try accept(chunks(message)[0], by: &assembler) }
        #expect(assembler.partialCount == 2 && assembler.abandoned == 1)
        #expect(assembler.partialBytes == 2 * messages[0].payloadBytes)
        for message in messages[1...] {
            _ = try accept(chunks(message)[1], by: &assembler)
            #expect(try accept(chunks(message)[2], by: &assembler) == message)
        }
        #expect(reason(chunks(messages[0])[1], &assembler) == .chunkOrder(got: 1, expected: 0))
    }

    @Test("truncated, missing and surplus frames are refused")
    func frames() {
        let good = chunks(Samples.activation())[0]
        func tried(_ frames: [[UInt8]]) -> FrameError.Reason? {
            var assembler = Assembler(peer: "node1")
            return reason(frames, &assembler)
        }
        #expect(tried(good) == nil)
        #expect(tried([]) == .frames(0))
        #expect(tried(Array(good[..<1])) == .frames(1))
        #expect(tried(Array(good[..<2])) == .frames(2))
        #expect(tried(good + [[1]]) == .frames(4))
        #expect(tried([good[0], good[1], Array(good[2].dropLast())]) != nil)
        #expect(tried([good[0], Array(good[1].dropLast()), good[2]]) != nil)
        #expect(tried([good[0], good[2], good[1]]) != nil)
    }

    @Test("a changed byte of a tensor, of the table or of a JSON body is noticed")
    func checksums() {
        func tried(_ message: Message, frame: Int, at offset: Int) -> FrameError.Reason? {
            var frames = chunks(message)[0]
            frames[frame][offset] ^= 0x10
            var assembler = Assembler(peer: "node1")
            return reason(frames, &assembler)
        }
        #expect(tried(Samples.activation(), frame: 2, at: 0) == .corrupt(.text))
        #expect(tried(Samples.activation(), frame: 2, at: 520) == .corrupt(.positions))
        #expect(tried(Samples.activation(), frame: 1, at: 5) == .checksum(frame: "table"))
        #expect(
            tried(Message(.control, sequence: 1, body: Array("{}".utf8)), frame: 1, at: 0) == .checksum(frame: "body"))
    }

    @Test("a table whose checksum is right and whose rows make no sense is refused")
    func tables() {
        let good = chunks(Samples.activation())[0]
        func tried(_ change: (inout [UInt8]) -> Void) -> FrameError.Reason? {
            var frames = good
            change(&frames[1])
            frames[0] = sealed(frames[0], over: frames[1])
            var assembler = Assembler(peer: "node1")
            return reason(frames, &assembler)
        }
        #expect(tried { _ in } == nil)
        #expect(tried { $0[0] = 99 } == .table(row: 0, "unknown name"))
        #expect(tried { $0[2] = 9 } == .table(row: 0, "unknown type 9"))
        #expect(tried { $0[3] = 0 } == .table(row: 0, "rank 0"))
        #expect(tried { $0[3] = 5 } == .table(row: 0, "rank 5"))
        #expect(tried { $0[12] = 1 } == .table(row: 0, "an extent behind its rank"))
        #expect(tried { $0[4] = 3 } == .table(row: 0, "128 bytes for shape [3, 16] of f32"))
        #expect(tried { $0[32] = 7 } == .table(row: 1, "text twice"))
        #expect(
            tried { table in
                table[3] = 4
                for byte in 4..<20 { table[byte] = 0xff }
            } == .table(row: 0, "its extents overflow"))
        #expect(
            tried { table in
                table[4] = 200
                table.withUnsafeMutableBytes { $0.put(UInt64(200 * 16 * 4), at: 20) }
            } == .table(row: 0, "more bytes than the header's 572"))
        #expect(
            tried { table in
                table[4] = 1
                table.withUnsafeMutableBytes { $0.put(UInt64(64), at: 20) }
            } == .table(row: 4, "508 bytes, the header says 572"))
    }

    @Test("a task asks for tensors by name, type and shape")
    func asking() throws {
        let message = Samples.activation()
        #expect(try message.tensor(.image, dims: [5, 16]).dims == [5, 16])
        #expect(try message.tensor(.image, dims: [nil, 16]).floats[1] == -2.75)
        #expect(throws: FrameError(.tensor(.velocity, "is missing"), peer: "n")) {
            try message.tensor(.velocity, dims: [1], from: "n")
        }
        #expect(throws: FrameError(.tensor(.image, "has shape [5, 16], any x 17 needed"), peer: "n")) {
            try message.tensor(.image, dims: [nil, 17], from: "n")
        }
        #expect(throws: FrameError(.tensor(.image, "has type f32, u8 needed"), peer: "n")) {
            try message.tensor(.image, .u8, dims: [5, 16], from: "n")
        }
    }
}
