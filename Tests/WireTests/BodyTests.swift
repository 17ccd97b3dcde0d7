internal import Plan
internal import Testing

@testable internal import Wire

@Suite struct BodyTests {
    @Test("control messages survive the journey")
    func control() throws {
        let plan = ClusterPlan(
            epoch: 3,
            placements: [
                Placement(worker: "a", span: 0..<2, encodes: true, decodes: false, endpoint: "tcp://127.0.0.1:1"),
                Placement(worker: "b", span: 2..<2, encodes: false, decodes: true, endpoint: ""),
            ], blockCount: 2)
        var heartbeat = Heartbeat(epoch: 2, image: Samples.image, block: 4, counters: WorkerCounters())
        heartbeat.counters.busyNanoseconds = .max
        heartbeat.answering = 3
        heartbeat.done = Samples.spans
        let messages: [ControlMessage] = [
            .assign(plan), .alive, .report(.max), .drain, .leave, .heartbeat(heartbeat),
            .fault(
                Fault(TaskID(.step, Samples.image, step: 3, epoch: 1), text: "no \u{0} \u{1F3E0}", isRetriable: true)),
        ]
        for message in messages {
            #expect(try Message(message).control(from: "a") == message)
        }
    }

    @Test("a plan of a coordinator that knows no replicas is one pipeline, whose helpers serve it")
    func olderPlan() throws {
        let text = """
            {"assign":{"_0":{"epoch":3,"blockCount":2,"wire":"f32","placements":[
            {"worker":"a","span":[0,1],"encodes":true,"decodes":false,"endpoint":"tcp://h:1","bootID":1},
            {"worker":"b","span":[1,2],"encodes":false,"decodes":false,"endpoint":"tcp://h:2","bootID":1},
            {"worker":"c","span":[2,2],"encodes":false,"decodes":true,"endpoint":"tcp://h:3","bootID":1}]}}}
            """
        let message: ControlMessage = try JSONBody.decoded(Array(text.utf8), limit: 1 << 20, peer: "a")
        guard case .assign(let plan) = message else {
            Issue.record("\(message)")
            return
        }
        #expect(plan.trouble(blockCount: 2) == nil)
        #expect(plan.pipelines.map { $0.map(\.worker) } == [["a", "b"]])
        #expect(plan.pipeline(of: 0)?.count == 2 && plan.pipeline(of: 1) == nil)
        #expect(plan.placements[2].serves(0))
    }

    @Test("a submission of 10,000 prompts fits and survives, seeds and all")
    func submission() throws {
        let request = ClientRequest.submit(Samples.job(10_000))
        let message = try Message(request, number: 17)
        #expect(message.sequence == 17)
        #expect(message.payloadBytes < Message.clientLimit)
        #expect(try message.clientRequest(from: "c") == request)
    }

    @Test("requests are written as they were, and jobs looked for by 1 to 32 hexadecimal digits only")
    func requests() throws {
        let requests: [(ClientRequest, String)] = [
            (.jobs(limit: 5), #"{"jobs":{"limit":5}}"#), (.unfinished(limit: 5), #"{"unfinished":{"limit":5}}"#),
            (.jobsBeginning(with: "0123456789ab"), #"{"jobsBeginning":{"with":"0123456789ab"}}"#),
            (.drain(worker: "a"), #"{"drain":{"worker":"a"}}"#),
            (.undrain(worker: "a"), #"{"undrain":{"worker":"a"}}"#),
            (.forget(worker: "a"), #"{"forget":{"worker":"a"}}"#),
            (.removeFinished(secondsAgo: 5), #"{"removeFinished":{"secondsAgo":5}}"#),
            (
                .remove(JobID(high: 0, low: 26)),
                #"{"remove":{"_0":"0000000000000000000000000000001a"}}"#
            ),
        ]
        for (request, text) in requests {
            let message = try Message(request, number: 1)
            #expect(String(decoding: message.body, as: UTF8.self) == text)
            #expect(try message.clientRequest(from: "c") == request)
        }
        for digits in ["", "AB", "xyz", "%", "0a ", String(repeating: "0", count: 33)] {
            let message = try Message(.jobsBeginning(with: digits), number: 1)
            #expect(throws: FrameError.self, "\(digits)") { try message.clientRequest(from: "c") }
        }
        let nameless = try Message(.forget(worker: "a\u{1b}"), number: 1)
        #expect(throws: FrameError.self) { try nameless.clientRequest(from: "c") }
    }

    @Test("a job from before there were interactive ones is not one; a full trace fits into a reply")
    func tracesAndOldJobs() throws {
        var message = try Message(.submit(Samples.job(1)), number: 1)
        // Fields come in any order.
        let text = String(decoding: message.body, as: UTF8.self)
            .replacing("\"isInteractive\":false,", with: "").replacing(",\"isInteractive\":false", with: "")
        message.body = Array(text.utf8)
        #expect(!String(decoding: message.body, as: UTF8.self).contains("nteractive"))
        #expect(try message.clientRequest(from: "c") == .submit(Samples.job(1)))

        var trace = Samples.trace
        trace.entries = Array(repeating: trace.entries[0], count: 16_384)
        trace.notes = Array(repeating: .init(time: .max, image: .max, text: "\u{0}\"x"), count: 512)
        let reply = try Message(ClientReply.trace(trace), number: 1)
        #expect(reply.body.count < Message.clientLimit / 16)
        #expect(try reply.clientReply(from: "c") == .trace(trace))
    }

    @Test("a full report of spans fits into a heartbeat; more of them, or one that ends after its clock, are refused")
    func spans() throws {
        func tried(_ change: (inout SpanReport) -> Void) throws -> FrameError? {
            var heartbeat = Heartbeat(epoch: 1, image: nil, block: nil, counters: WorkerCounters())
            var report = SpanReport(
                clock: .max, first: .max, spans: Array(repeating: Samples.spans.spans[0], count: SpanReport.limit))
            change(&report)
            heartbeat.done = report
            let message = try Message(.heartbeat(heartbeat))
            do throws(FrameError) {
                #expect(try message.control(from: "a") == .heartbeat(heartbeat))
            } catch {
                return error
            }
            return nil
        }
        #expect(try tried { _ in } == nil)
        #expect(try tried { $0.spans.append($0.spans[0]) } != nil)
        #expect(try tried { $0.spans[3].nanoseconds = 4 } != nil)
        #expect(try tried { $0.clock = 5 } != nil)
        #expect(try tried { $0.spans[0].tokens = -1 } != nil)
        #expect(try tried { $0.spans[0].tokens = .max } != nil)
    }

    @Test("JSON that is too long, too deep, cut off or of another shape is refused in one short line")
    func refusals() {
        func tried(_ text: String, limit: Int = 1 << 20) -> FrameError.Reason? {
            do throws(FrameError) {
                let _: ControlMessage = try JSONBody.decoded(Array(text.utf8), limit: limit, peer: "a")
            } catch { return error.reason }
            return nil
        }
        #expect(tried("{\"alive\":{}}") == nil)
        #expect(tried("{\"alive\":{}}", limit: 5) == .json("12 bytes, at most 5 are allowed"))
        #expect(tried(String(repeating: "[", count: 500_000)) == .json("nested deeper than 16"))
        #expect(tried("") != nil)
        #expect(tried("{\"alive\":") != nil)
        #expect(tried("{\"nothing\":{}}") != nil)
        #expect(tried("{\"loaded\":{\"_0\":{}}}") == .json("epoch is missing at loaded._0"))
        #expect(tried("{\"hello\":{\"_0\":{\"protocols\":[9,1]}}}") != nil)
        #expect(JSONBody.depth(of: Array("[\"[[[\\\"[\",{\"a\":[]}]".utf8)) == 3)
    }

    @Test("a number that JSON cannot hold is refused on this side")
    func notANumber() {
        var job = Samples.job(1)
        job.images[0].guidance = .nan
        #expect(throws: FrameError.self) { try Message(.submit(job), number: 1) }
    }

    @Test("a body of another kind is not decoded")
    func wrongKind() throws {
        let message = try Message(ControlMessage.alive)
        #expect(throws: FrameError(.unexpected(.control), peer: "x")) { try message.clientRequest(from: "x") }
    }
}
