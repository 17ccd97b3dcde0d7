internal import Foundation
internal import Plan
internal import TestKit
internal import Testing

/// Traces of jobs through the real executable over TCP.
@Suite("Traces of jobs", .serialized, .timeLimit(.minutes(4)))
struct TraceTests {
    let folder = TemporaryFolder()
    let tiny = Fixtures.path + "/flux-dev/model"
    private let small = ["--width", "64", "--height", "64", "--text-length", "16"]

    private func job(_ outcome: ProcessOutcome) throws -> JobID {
        struct Report: Decodable { let job: JobStatus }
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        return try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8)).job.id
    }

    @Test("the trace of a job shows each picture's steps on every worker, and a restarted coordinator has none")
    func exports() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2)
            for name in ["a", "b"] { _ = try await cluster.worker(name, model: tiny) }
            let file = folder.path + "/batch.jsonl"
            let lines = """
                {"prompt": "a red heart", "sampler": "ralu", "preset": "flux-4x"}
                {"prompt": "a house", "steps": 3}
                {"prompt": "a tree", "steps": 2}
                """
            try Data(lines.utf8).write(to: URL(filePath: file))
            let id = try job(try await cluster.client(["submit", file, "--json"] + small))
            let path = folder.path + "/trace.json"
            let exported = try await cluster.client(["trace", "export", String(id.description.prefix(8)), "-o", path])
            #expect(exported.status == .exited(0), "\(exported.errors)")
            #expect(exported.output.contains("on 2 workers: \(path)"))
            let document = try TraceDocument(Data(contentsOf: URL(filePath: path)))
            #expect(document.otherData.job == id.description && document.otherData.gaps.isEmpty)
            let events = document.traceEvents
            let rows = document.rows(1)
            #expect(rows.count == 3 && rows[0] == "coordinator" && Set(rows.values).isSuperset(of: ["a", "b"]))

            let spans = document.spans
            for (picture, steps) in [(1, 18), (2, 3), (3, 2)] {
                for worker in 1...2 {
                    let found = spans.filter {
                        $0.pid == 1 && $0.tid == worker && $0.args?.picture == picture && $0.args?.step != nil
                    }
                    #expect(found.compactMap { $0.args?.step }.sorted() == Array(1...steps), "\(picture) \(worker)")
                    #expect(found.allSatisfy { ($0.args?.tokens ?? 0) > 0 })
                }
                let other = spans.filter { $0.pid == 1 && $0.args?.picture == picture && $0.args?.step == nil }
                let tasks = ["encode"] + (picture == 1 ? ["edge decode"] : []) + ["final decode"]
                #expect(other.map(\.name).sorted() == tasks.sorted())
                let phases = spans.filter { $0.pid == 2 && $0.args?.picture == picture }
                // Where the workers were ready first, nothing waited in the queue.
                let starts = ["waiting in queue", "sampler"]
                #expect(starts.contains(phases.first?.name ?? "") && phases.contains { $0.name == "write file" })
            }
            for (row, unsorted) in Dictionary(grouping: spans, by: { [$0.pid, $0.tid ?? -1] }) {
                // What would begin before the end of the span before it begins there (`TraceBook`): two at one moment, a side
                // task and the step that it gave way to, may each be the longer one.
                let tasks = unsorted.sorted { ($0.begin, -$0.end) < ($1.begin, -$1.end) }
                for (index, one) in tasks.enumerated() {
                    for next in tasks[(index + 1)...] where next.begin + 0.001 < one.end {
                        // A worker's side task holds the steps that it gave way to.
                        let isStepWithin =
                            (next.args?.step != nil || next.begin == one.begin && one.args?.step != nil)
                            && next.end <= one.end + 0.001
                        #expect(row[0] == 1 && isStepWithin, "row \(row): \(one) reaches into \(next)")
                    }
                }
            }
            #expect(events.contains { $0.ph == "i" && $0.name.contains("in epoch ") })

            // Without a file it goes to standard output, and nothing else does.
            let printed = try await cluster.client(["trace", "export", id.description])
            #expect(try TraceDocument(Data(printed.output.utf8)).traceEvents.count > 50)

            await cluster.coordinator.send(SIGTERM)
            #expect(try await cluster.coordinator.outcome(within: .seconds(60)).status == .exited(0))
            let again = try await cluster.again(in: folder.path, workers: 2)
            let none = try await again.client(["trace", "export", id.description, "-o", path])
            #expect(none.status == .exited(1) && none.errorLines.count == 1)
            #expect(none.errors.contains("there is no trace of job \(id)"), "\(none.errors)")
        }
    }
}

extension TraceDocument.Event {
    fileprivate var begin: Double { ts ?? 0 }
    fileprivate var end: Double { begin + (dur ?? 0) }
}
