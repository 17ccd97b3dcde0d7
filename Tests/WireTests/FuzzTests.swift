internal import FoundationEssentials
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing

@testable internal import Wire

/// Mutated frames and bodies; `ABBOZZO_FUZZ` sets how many (200,000 when unset, 10,000,000 for the long run).
@Suite(.serialized) struct FuzzTests {
    private static let rounds = ProcessInfo.processInfo.environment["ABBOZZO_FUZZ"].flatMap(Int.init) ?? 200_000
    private static let limit = 3 << 20

    /// Offset and width of the fields of a header.
    private static let headerFields = [
        (4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 1), (41, 1), (42, 1), (43, 1),
        (44, 2), (46, 2), (48, 2), (50, 1), (51, 1), (52, 4), (56, 8), (64, 8), (72, 4), (76, 8), (84, 8),
    ]
    /// Offset and width of the fields of a row of the tensor table.
    private static let rowFields = [(0, 2), (2, 1), (3, 1), (4, 4), (8, 4), (12, 4), (16, 4), (20, 8), (28, 4)]

    /// Changes a valid chunk the way a broken or hostile peer might, often with correct checksums.
    private func mutated(_ frames: [[UInt8]], _ random: inout Random) -> [[UInt8]] {
        var frames = frames
        let edges: [UInt8] = [0, 1, 2, 3, 4, 15, 16, 17, 23, 0x7f, 0x80, 0xfe, 0xff]
        func put(
            _ field: (offset: Int, width: Int), _ base: Int, _ frame: inout [UInt8], _ random: inout Random
        ) {
            let start = base + field.offset
            guard start + field.width <= frame.count else { return }
            let values: [UInt64] = [
                0, 1, 2, 16, 17, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0xf_ffff, 0x10_0000, 0x10_0001,
                0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x3fff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff,
                0x8000_0000_0000_0000, .max - 1, .max,
            ]
            let value = values[Int.random(in: 0..<values.count, using: &random)]
            for place in 0..<field.width {
                frame[start + place] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(place)))
            }
        }
        func poke(_ frame: inout [UInt8], _ random: inout Random) {
            guard !frame.isEmpty else { return }
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = Int.random(in: 0..<min(frame.count, 256), using: &random)
                frame[offset] =
                    Bool.random(using: &random)
                    ? edges[Int.random(in: 0..<edges.count, using: &random)] : UInt8.random(in: 0...255, using: &random)
            }
        }
        switch Int.random(in: 0..<16, using: &random) {
        case 10...12:
            // A whole field says something extreme, and the checksum agrees.
            for _ in 0..<Int.random(in: 1...2, using: &random) {
                let field = Self.headerFields[Int.random(in: 0..<Self.headerFields.count, using: &random)]
                put(field, 0, &frames[0], &random)
            }
            frames[0] = sealed(frames[0])
        case 13...15 where frames.count > 1 && frames[1].count >= 32:
            let row = Int.random(in: 0..<frames[1].count / 32, using: &random) * 32
            let field = Self.rowFields[Int.random(in: 0..<Self.rowFields.count, using: &random)]
            put(field, row, &frames[1], &random)
            frames[0] = sealed(frames[0], over: frames[1])
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
            Samples.activation(), encode, Message.credit(limit: Credit(messages: 2), epoch: 1),
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
        let before = Self.peakMemory
        for round in 0..<Self.rounds {
            if round % 4 == 0 { assembler.reset() }
            if round % 500 == 499 {
                for frames in longFrames { feed(Bool.random(using: &random) ? frames : mutated(frames, &random)) }
            } else {
                feed(mutated(short[round % short.count], &random))
            }
        }
        // Other tests of the process count too, so only the long run, which is started alone, can tell.
        if Self.rounds >= 1_000_000 {
            let bound = (assembler.maxPartial + 2) * Self.limit + 16 << 20
            #expect(Self.peakMemory - before < bound, "the peak of memory rose by \(Self.peakMemory - before) bytes")
        }
        #expect(accepted > Self.rounds / 100, "some mutations are harmless")
        for label in ["checksum", "magic", "length", "field", "kind", "tensor", "chunk", "stale", "version"] {
            #expect(refused[label, default: 0] > 0, "no mutation led to \(label)")
        }
    }

    /// Most memory that this process ever had, bytes.
    private static var peakMemory: Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }

    @Test("mutated JSON traps nothing")
    func json() throws {
        var random = Random(state: 77)
        let plan = ClusterPlan(
            epoch: 1,
            placements: [
                Placement(worker: "a", span: 0..<1, encodes: true, decodes: true, endpoint: "tcp://a:1", publicKey: "k")
            ], blockCount: 1)
        let image = Samples.image
        var heartbeat = Heartbeat(epoch: 2, image: image, block: 4, counters: WorkerCounters())
        heartbeat.counters.links = [LinkCounters(source: "a", target: "b")]
        heartbeat.done = Samples.spans
        let controls: [ControlMessage] = [
            .welcome(Welcome(heartbeatMilliseconds: 1000, dataEndpoint: "tcp://a:1")),
            .refuse(Refusal(code: .name, text: "taken")), .assign(plan), .loaded(Loaded(epoch: 1, residentBytes: 5)),
            .heartbeat(heartbeat), .alive,
            .fault(Fault(TaskID(.step, image, step: 3, epoch: 1), text: "no", isRetriable: true)),
            .introduce, .drain, .leave,
        ]
        let requests: [ClientRequest] = [
            .submit(Samples.job(2)), .jobs(limit: 5), .unfinished(limit: 5), .jobsBeginning(with: "0a"),
            .job(image.job), .watch(image.job, version: 1), .cancel(image.job), .retry(image.job), .nodes,
            .drain(worker: "a"), .undrain(worker: "a"), .forget(worker: "a"), .model, .trace(image.job),
            .remove(image.job), .removeFinished(secondsAgo: 5),
        ]
        let status = ClusterStatus(
            plan: plan, workers: [], queued: 1, inFlight: 2, imagesDone: 3, uptime: 4.5,
            links: [LinkCounters(source: "a", target: "b")])
        let replies: [ClientReply] = [
            .accepted(image.job, duplicate: true), .jobs([]), .nodes(status), .model(nil), .done, .trace(Samples.trace),
            .removed(jobs: 2, isAll: false),
            .failure(ClientFailure(.full, "full")),
        ]
        let bodies =
            try controls.map { (MessageKind.control, try JSONMutator(Message($0).body)) }
            + requests.map { (.clientRequest, try JSONMutator(Message($0, number: 1).body)) }
            + replies.map { (.clientReply, try JSONMutator(Message($0, number: 1).body)) }
        var decoded = 0
        let rounds = max(1, Self.rounds / 10)
        for round in 0..<rounds {
            let (kind, mutator) = bodies[round % bodies.count]
            let message = Message(kind, body: mutator.mutated(using: &random))
            let isUnderstood =
                switch kind {
                case .control: (try? message.control(from: "f")) != nil
                case .clientRequest: (try? message.clientRequest(from: "f")) != nil
                default: (try? message.clientReply(from: "f")) != nil
                }
            decoded += isUnderstood ? 1 : 0
        }
        #expect(decoded > rounds / 20 && decoded < rounds, "\(decoded) of \(rounds) were understood")
    }
}
