import Coordinator
import Foundation
import Plan
import Testing
import Wire

/// Numbers, texts and shapes that nothing of ours sends, as a keyed but hostile or broken peer may.
struct HostileTests {
    private static let image = ImageID(job: JobID(high: 7, low: 1), index: 0)

    /// One of everything that a worker can say, with every optional part there.
    private static var sayings: [ControlMessage] {
        var counters = WorkerCounters()
        counters.steps = 5
        counters.links = [LinkCounters(source: "a", target: "b"), LinkCounters(source: "b", target: "a")]
        var measured = FakeModel.hello("c")
        measured.model.sizes = ModelSizes(
            doubleCount: 2, doubleWeights: 4000, singleWeights: 2000, embedWeights: 100, headWeights: 100,
            encoderWeights: 5000, encoderMatrixWeights: 4000, decoderWeights: 3000, decoderOperationsPerPixel: 100,
            decoderValuesPerPixel: 20)
        measured.profile = NodeProfile(
            cores: 2, instructions: "avx2", machine: "m", sharesMemory: true, costs: MeasuredCosts())
        for curve in [\MeasuredCosts.double, \.single, \.embed, \.head, \.encode, \.decode] {
            measured.profile?.costs?[keyPath: curve] = CostCurve([
                .init(size: 4, seconds: 1), .init(size: 9, seconds: 2),
            ])
        }
        let span = TaskSpan(
            kind: .step, image: image, step: 1, epoch: 1, stage: 1, tokens: 4, began: 1_000_000, nanoseconds: 500_000)
        let spans = SpanReport(clock: 2_000_000, first: 3, spans: [span, span])
        return [
            .hello(measured), .hello(FakeModel.hello("a")), .hello(FakeModel.hello("a", boot: 2)),
            .hello(FakeModel.hello("c")),
            .loaded(Loaded(epoch: 1, residentBytes: 5, failure: "no")), .loaded(Loaded(epoch: 1, residentBytes: 5)),
            .heartbeat(Heartbeat(epoch: 1, image: image, block: 3, counters: counters, done: spans)),
            .fault(Fault(TaskID(.step, image, step: 1, epoch: 1), text: "no", isRetriable: true)),
            .welcome(Welcome(protocolVersion: 1, heartbeatMilliseconds: 1000, dataEndpoint: "tcp://a:1")),
            .refuse(Refusal(code: .name, text: "no")), .drain, .leave, .alive, .introduce,
        ]
    }

    @Test("messages of which any value was replaced by an absurd one are refused or handled, and never trap")
    func survivesMutations() throws {
        var random = SplitMix(20)
        var refused = 0
        for _ in 0..<60 {
            let bench = Bench()
            bench.join("a", "b")
            _ = try bench.submit([.euler("p", steps: 4), .ralu("q")])
            for _ in 0..<100 {
                let name = ["a", "b", "c"][Int(random.next() % 3)]
                let saying = Self.sayings[Int(random.next() % UInt64(Self.sayings.count))]
                var message = try Message(saying)
                message.body = try Mutation.mutated(message.body, using: &random)
                do throws(FrameError) {
                    bench.say(try message.control(from: name), name, boot: random.next() % 8 == 0 ? 2 : 1)
                } catch {
                    refused += 1
                }
                bench.wait(0.3)
                _ = bench.ask(.nodes)
                if let task = bench.tasks.first, random.next() % 2 == 0 { bench.answer(task) }
            }
        }
        #expect(refused > 1500, "\(refused) of 6000 refused")
    }

    @Test(
        "a hello with a number that no model has is refused with the field",
        arguments: [
            ("blockCount", 0), ("blockCount", -1), ("blockCount", 1 << 62), ("width", 0), ("contextWidth", 1 << 62),
            ("pooledWidth", -7), ("maxTextLength", 1 << 40), ("maxSide", 1 << 60), ("maxSide", 0),
        ])
    func refusesFacts(_ field: String, _ value: Int) throws {
        var hello = FakeModel.hello("a")
        switch field {
        case "blockCount": hello.model.blockCount = value
        case "width": hello.model.width = value
        case "contextWidth": hello.model.contextWidth = value
        case "pooledWidth": hello.model.pooledWidth = value
        case "maxTextLength": hello.model.maxTextLength = value
        default: hello.model.maxSide = value
        }
        let message = try Message(.hello(hello))
        let error = #expect(throws: FrameError.self) { try message.control(from: "a") }
        #expect(error?.description.contains("\(field) is \(value)") == true)
    }

    @Test("requests of clients with absurd numbers are refused, and never trap")
    func survivesClients() throws {
        var random = SplitMix(21)
        let requests: [ClientRequest] = [
            .submit(Submission(key: "k", folder: "f", images: [.ralu("p"), .euler("q")], priority: 1)),
            .jobs(limit: 3), .job(JobID(high: 7, low: 1)), .watch(JobID(high: 7, low: 1), version: 3),
            .cancel(JobID(high: 7, low: 1)), .retry(JobID(high: 7, low: 1)), .nodes, .drain(worker: "a"),
            .undrain(worker: "a"), .forget(worker: "a"), .unfinished(limit: 3), .jobsBeginning(with: "07"), .model,
            .awaitModel, .trace(JobID(high: 7, low: 1)), .remove(JobID(high: 7, low: 1)),
            .removeFinished(secondsAgo: 5),
        ]
        for _ in 0..<20 {
            let bench = Bench()
            bench.join("a")
            for _ in 0..<100 {
                var message = try Message(requests[Int(random.next() % UInt64(requests.count))], number: 1)
                message.body = try Mutation.mutated(message.body, using: &random)
                if let request = try? message.clientRequest(from: "c") { bench.ask(request) }
                bench.work()
            }
        }
    }
}

/// Changes one value of a JSON text.
enum Mutation {
    private static let numbers: [any Sendable] = [
        0, -1, 1, 2, 255, 256, 65_536, Int32.max, UInt32.max, 1 << 40, 1 << 53, 1 << 60, 1 << 62, Int.max, Int.min,
        UInt64.max, 1e300, -1e300, 1e-300, 0.5, -0.5,
    ]
    private static let texts = [
        "", "a", "b", "..", "a/b", "\u{0}", "\n", "tcp://", "tcp://h:99999", "tcp://h:1", "coordinator",
        String(repeating: "x", count: 5000), "f00d", "0123456789abcdef0123456789abcdef",
    ]

    static func mutated(_ body: [UInt8], using random: inout SplitMix) throws -> [UInt8] {
        var value = try JSONSerialization.jsonObject(with: Data(body), options: .fragmentsAllowed)
        for _ in 0..<(1 + random.next() % 2) { value = changed(value, using: &random) }
        return Array(try JSONSerialization.data(withJSONObject: value, options: .fragmentsAllowed))
    }

    private static func changed(_ value: Any, using random: inout SplitMix) -> Any {
        if var fields = value as? [String: Any], let key = fields.keys.sorted().randomElement(using: &random),
            let old = fields[key], random.next() % 12 != 0
        {
            fields[key] = random.next() % 15 == 0 ? nil : changed(old, using: &random)
            return fields
        }
        if var items = value as? [Any], !items.isEmpty, random.next() % 6 != 0 {
            let index = Int(random.next() % UInt64(items.count))
            switch random.next() % 6 {
            case 0: items.remove(at: index)
            case 1: items += Array(repeating: items[index], count: Int(random.next() % 200))
            default: items[index] = changed(items[index], using: &random)
            }
            return items
        }
        switch random.next() % 10 {
        case 0: return texts[Int(random.next() % UInt64(texts.count))]
        case 1: return [Any]()
        case 2: return random.next() % 2 == 0
        case 3: return NSNull()
        case 4 where value is String, 5 where value is String, 6 where value is String:
            return texts[Int(random.next() % UInt64(texts.count))]
        default: return numbers[Int(random.next() % UInt64(numbers.count))]
        }
    }
}
