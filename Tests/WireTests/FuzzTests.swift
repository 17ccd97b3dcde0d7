internal import FoundationEssentials
internal import Plan
internal import Testing

@testable internal import Wire

/// Mutated frames; `ABBOZZO_FUZZ` sets how many (200,000 when unset).
@Suite struct FuzzTests {
    private static let rounds = ProcessInfo.processInfo.environment["ABBOZZO_FUZZ"].flatMap(Int.init) ?? 200_000
    private static let limit = 3 << 20

    /// Changes a valid chunk the way a broken or hostile peer might, often with correct checksums.
    private func mutated(_ frames: [[UInt8]], _ random: inout Random) -> [[UInt8]] {
        var frames = frames
        let edges: [UInt8] = [0, 1, 2, 3, 4, 15, 16, 17, 23, 0x7f, 0x80, 0xfe, 0xff]
        func poke(_ frame: inout [UInt8], _ random: inout Random) {
            guard !frame.isEmpty else { return }
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = Int.random(in: 0..<min(frame.count, 256), using: &random)
                frame[offset] =
                    Bool.random(using: &random)
                    ? edges[Int.random(in: 0..<edges.count, using: &random)] : UInt8.random(in: 0...255, using: &random)
            }
        }
        switch Int.random(in: 0..<10, using: &random) {
        case 0: poke(&frames[0], &random)
        case 1...3:
            poke(&frames[0], &random)
            frames[0] = sealed(frames[0])
        case 4...6 where frames.count > 1:
            poke(&frames[1], &random)
            frames[0] = sealed(frames[0], over: frames[1])
        case 7:
            let index = Int.random(in: 0..<frames.count, using: &random)
            let count = Int.random(in: 0...min(200, frames[index].count), using: &random)
            frames[index] = Array(frames[index].prefix(count))
            if index == 1 { frames[0] = sealed(frames[0], over: frames[1]) }
        case 8:
            let index = Int.random(in: 0..<frames.count, using: &random)
            if Bool.random(using: &random) { frames.remove(at: index) } else { frames.insert(frames[index], at: index) }
        case 9:
            frames[0] = (0..<96).map { _ in UInt8.random(in: 0...255, using: &random) }
        default: break
        }
        return frames
    }

    @Test("mutated frames trap nothing and allocate nothing past the limit")
    func frames() {
        var random = Random(state: 20_240_607)
        var encode = Message(.encode, sequence: 1, argument: 64, tensors: [WireTensor(.prompt, text: "a house")])
        encode.bootID = 7
        let short = [
            Samples.activation(), encode, Message.credit(limit: 2, epoch: 1),
            Message(.control, sequence: 1, body: [123, 125]),
            Samples.long(chunks: 1),
        ].map { Chunker($0).frames(0) }
        let long = Chunker(Samples.long())
        let longFrames = (0..<long.count).map { long.frames($0) }

        var assembler = Assembler(peer: "fuzz")
        var accepted = 0
        var refused: [String: Int] = [:]
        func feed(_ frames: [[UInt8]]) {
            do throws(FrameError) {
                if let message = try accept(frames, by: &assembler, limit: { _ in Self.limit }) {
                    accepted += 1
                    precondition(message.payloadBytes <= Self.limit)
                }
            } catch { refused[error.label, default: 0] += 1 }
            precondition(assembler.partialBytes <= assembler.maxPartial * Self.limit)
            precondition(assembler.partialCount <= assembler.maxPartial)
        }
        for round in 0..<Self.rounds {
            if round % 4 == 0 { assembler.reset() }
            if round % 500 == 499 {
                for frames in longFrames { feed(Bool.random(using: &random) ? frames : mutated(frames, &random)) }
            } else {
                feed(mutated(short[round % short.count], &random))
            }
        }
        #expect(accepted > Self.rounds / 100, "some mutations are harmless")
        for label in ["checksum", "magic", "length", "field", "kind", "tensor", "chunk", "stale", "version"] {
            #expect(refused[label, default: 0] > 0, "no mutation led to \(label)")
        }
    }

    @Test("mutated JSON traps nothing")
    func json() throws {
        var random = Random(state: 77)
        let bodies = [
            try Message(ClientRequest.submit(Samples.job(1)), number: 1).body,
            try Message(ControlMessage.loaded(Loaded(epoch: 1, residentBytes: 5))).body,
            try Message(
                ControlMessage.assign(
                    ClusterPlan(
                        epoch: 1,
                        placements: [Placement(worker: "a", span: 0..<1, encodes: true, decodes: true, endpoint: "")],
                        blockCount: 1))
            ).body,
        ]
        let interesting = Array("{}[]\",:-0123456789eE.\\untrflas \u{7f}".utf8) + [0xff, 0xc0, 0]
        var decoded = 0
        for round in 0..<max(1, Self.rounds / 10) {
            var body = bodies[round % bodies.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let offset = Int.random(in: 0..<body.count, using: &random)
                let byte = interesting[Int.random(in: 0..<interesting.count, using: &random)]
                switch Int.random(in: 0..<3, using: &random) {
                case 0: body[offset] = byte
                case 1: body.insert(byte, at: offset)
                default: body.removeSubrange(offset..<min(body.count, offset + Int.random(in: 1...8, using: &random)))
                }
                if body.isEmpty { body = [123] }
            }
            let kind: MessageKind = round % bodies.count == 0 ? .clientRequest : .control
            let message = Message(kind, body: body)
            let ok =
                kind == .control
                ? (try? message.control(from: "f")) != nil : (try? message.clientRequest(from: "f")) != nil
            decoded += ok ? 1 : 0
        }
        #expect(decoded > 0)
    }
}
