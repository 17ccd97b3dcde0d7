internal import Foundation
internal import Plan
internal import Telemetry
internal import TestKit
internal import Testing

@Suite("Chrome traces") struct ChromeTraceTests {
    private func document(_ trace: JobTrace) throws -> TraceDocument {
        try TraceDocument(Data(ChromeTrace(trace).json()))
    }

    @Test("a trace has a row for the coordinator, each worker and each picture, and every event on its row in order")
    func rows() throws {
        var trace = JobTrace(job: JobID(high: 1, low: 2))
        trace.workers = ["node1", "a \"b\"\\\n"]
        trace.entries = [
            .init(kind: .queue, image: 3, began: 500, nanoseconds: 1000),
            .init(
                row: 2, kind: .step, image: 3, step: 6, stage: 2, tokens: 99, epoch: 4, began: 9500, nanoseconds: 250),
            .init(row: 1, kind: .encode, image: 3, epoch: 4, began: 3000, nanoseconds: 500),
            .init(row: 2, kind: .edge, image: 3, epoch: 4, began: 7000, nanoseconds: 100),
        ]
        trace.notes = [.init(time: 8000, text: "epoch 4"), .init(time: 8500, image: 3, text: "again \u{1}")]
        trace.dropped = 7
        trace.untold = 2
        trace.isRunning = false
        let document = try document(trace)
        #expect(document.otherData.job == trace.job.description && document.displayTimeUnit == "ms")
        #expect(document.otherData.dropped == 7 && document.otherData.untold == 2)
        #expect(document.otherData.gaps.count == 2)
        let events = document.traceEvents
        #expect(document.rows(1) == [0: "coordinator", 1: "node1", 2: "a \"b\"\\\n"])
        #expect(document.rows(2) == [3: "picture 4"])
        let spans = document.spans
        #expect(spans.map(\.name) == ["waiting in queue", "encode", "edge decode", "step 7"])
        #expect(spans.map(\.pid) == [2, 1, 1, 1] && spans.map(\.tid) == [3, 1, 2, 2])
        #expect(spans.map(\.ts) == [0.5, 3, 7, 9.5] && spans.map(\.dur) == [1, 0.5, 0.1, 0.25])
        let step = try #require(spans.last?.args)
        #expect(step.picture == 4 && step.step == 7 && step.tokens == 99 && step.stage == 2 && step.epoch == 4)
        #expect(spans[1].args?.step == nil && spans[1].args?.tokens == nil)
        let moments = events.filter { $0.ph == "i" }
        #expect(moments.map(\.name) == ["epoch 4", "again \u{1}"])
        #expect(moments.map(\.pid) == [1, 2] && moments.map(\.tid) == [0, 3] && moments.map(\.s) == ["p", "t"])
        #expect(Set(events.map(\.ph)) == ["M", "X", "i"])
    }

    @Test("an empty trace, and one of absurd numbers, are still JSON")
    func extremes() throws {
        var trace = JobTrace(job: JobID(high: 1, low: 2))
        #expect(try document(trace).otherData.gaps == ["the job is not over yet"])
        for kind in JobTrace.Entry.Kind.allCases {
            trace.entries.append(
                .init(
                    row: .max, kind: kind, image: .max, step: .max, stage: .max, tokens: .max, epoch: .max,
                    began: .max, nanoseconds: .max))
        }
        trace.notes = [.init(time: .max, image: .max, text: "")]
        trace.isWhole = false
        #expect(try document(trace).spans.count == JobTrace.Entry.Kind.allCases.count)
    }
}
