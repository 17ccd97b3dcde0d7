internal import FoundationEssentials
package import Plan

/// A job's trace as chrome://tracing and ui.perfetto.dev open it.
///
/// Process 1 is the cluster: a row for the coordinator with what happened at one moment (epochs, losses, retries), and
/// one for each worker with the tasks that it computed. Process 2 has a row for each picture with its phases as the
/// coordinator saw them, waiting in the queue first: what is long there and short on the workers was spent on the way.
/// Times are microseconds of the coordinator's clock.
///
/// - Source: "Trace Event Format", Google, the JSON object form with events of phases X, i and M.
package struct ChromeTrace {
    private static let cluster = 1
    private static let pictures = 2

    /// One event; fields that a phase has no use for are left out.
    private struct TraceEvent: Encodable {
        var name: String
        /// X: took a time; i: happened; M: names a row.
        var ph: String
        var pid: Int
        var tid: Int?
        var ts: Double?
        var dur: Double?
        var cat: String?
        /// How far an instant's line reaches: p for its process, t for its row.
        var s: String?
        var args: Arguments?
    }

    private struct Arguments: Encodable {
        var name: String?
        var place: Int?
        var picture: Int?
        var step: Int?
        var stage: Int?
        var tokens: Int?
        var epoch: Int?

        private enum CodingKeys: String, CodingKey {
            case name, picture, step, stage, tokens, epoch
            case place = "sort_index"
        }
    }

    private struct Document: Encodable {
        struct Facts: Encodable {
            var job: String
            /// Events that a bound had dropped.
            var dropped: UInt64
            /// Tasks of this or other jobs that workers never told of.
            var untold: UInt64
            /// What is missing, in words.
            var gaps: [String]
        }

        var displayTimeUnit = "ms"
        var otherData: Facts
        var traceEvents: [TraceEvent]
    }

    private let trace: JobTrace

    /// Takes a trace as the coordinator gives it.
    package init(_ trace: JobTrace) { self.trace = trace }

    /// The file's bytes.
    package func json() throws -> [UInt8] {
        let facts = Document.Facts(
            job: trace.job.description, dropped: trace.dropped, untold: trace.untold, gaps: trace.gaps)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](
            try encoder.encode(Document(otherData: facts, traceEvents: names + notes + spans)))
    }

    /// Rows: the coordinator first, then the workers in the order of their first task, then the pictures.
    private var names: [TraceEvent] {
        func named(_ kind: String, _ pid: Int, _ tid: Int?, _ name: String) -> TraceEvent {
            TraceEvent(name: kind, ph: "M", pid: pid, tid: tid, args: Arguments(name: name))
        }
        func sorted(_ pid: Int, _ tid: Int, _ place: Int) -> TraceEvent {
            TraceEvent(name: "thread_sort_index", ph: "M", pid: pid, tid: tid, args: Arguments(place: place))
        }
        var events = [
            named("process_name", Self.cluster, nil, "cluster"), named("process_name", Self.pictures, nil, "pictures"),
        ]
        for (place, name) in (["coordinator"] + trace.workers).enumerated() {
            events += [named("thread_name", Self.cluster, place, name), sorted(Self.cluster, place, place)]
        }
        let pictures = Set(trace.entries.filter { $0.row == 0 }.map(\.image)).union(trace.notes.compactMap(\.image))
        for picture in pictures.sorted().map(Int.init) {
            events += [
                named("thread_name", Self.pictures, picture, "picture \(picture + 1)"),
                sorted(Self.pictures, picture, picture),
            ]
        }
        return events
    }

    private var notes: [TraceEvent] {
        trace.notes.map { note in
            TraceEvent(
                name: note.text, ph: "i", pid: note.image == nil ? Self.cluster : Self.pictures,
                tid: note.image.map(Int.init) ?? 0, ts: Self.microseconds(note.time), cat: "event",
                s: note.image == nil ? "p" : "t", args: Arguments(picture: note.image.map { Int($0) + 1 }))
        }
    }

    /// By row, then by time: pictures count from 1 as in `jobs show`, steps as in the log.
    private var spans: [TraceEvent] {
        trace.entries.sorted { ($0.row, $0.began) < ($1.row, $1.began) }.map { entry in
            let isStep = entry.kind == .step
            let step = Int(entry.step) + 1
            return TraceEvent(
                name: isStep ? "step \(step)" : entry.kind.text, ph: "X",
                pid: entry.row == 0 ? Self.pictures : Self.cluster,
                tid: Int(entry.row == 0 ? entry.image : UInt32(entry.row)), ts: Self.microseconds(entry.began),
                dur: Self.microseconds(entry.nanoseconds), cat: entry.kind.text,
                args: Arguments(
                    picture: Int(entry.image) + 1, step: isStep ? step : nil, stage: isStep ? Int(entry.stage) : nil,
                    tokens: isStep ? Int(entry.tokens) : nil, epoch: Int(entry.epoch)))
        }
    }

    private static func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1000 }
}
