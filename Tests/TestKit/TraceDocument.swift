package import Foundation

/// A Chrome trace as a viewer reads it.
package struct TraceDocument: Decodable, Sendable {
    /// One row's title, one span of time on a row, or one moment.
    package struct Event: Decodable, Sendable {
        /// What a viewer shows when the event is chosen; numbers are those that people count by, from 1.
        package struct Arguments: Decodable, Sendable {
            /// Title of a row.
            package let name: String?
            /// Number of the picture.
            package let picture: Int?
            /// Number of the step.
            package let step: Int?
            /// Tokens of the step.
            package let tokens: Int?
            /// Stage of the sampler.
            package let stage: Int?
            /// Epoch of the plan.
            package let epoch: Int?
        }
        /// What the row shows.
        package let name: String
        /// Kind: `M` for titles, `X` for spans, `i` for moments.
        package let ph: String
        /// Group of rows.
        package let pid: Int
        /// Row in its group.
        package let tid: Int?
        /// Begin, microseconds.
        package let ts: Double?
        /// Length, microseconds.
        package let dur: Double?
        /// How far a moment's line reaches: `p` over the group, `t` over its row.
        package let s: String?
        /// More of it.
        package let args: Arguments?
    }

    /// What is told beside the events.
    package struct Facts: Decodable, Sendable {
        /// The job's id.
        package let job: String
        /// Events that did not fit.
        package let dropped: Int
        /// Tasks of which the workers have not told.
        package let untold: Int
        /// What is missing, in words.
        package let gaps: [String]
    }

    /// Unit of time that a viewer shows.
    package let displayTimeUnit: String
    /// About the whole.
    package let otherData: Facts
    /// Titles, spans and moments.
    package let traceEvents: [Event]

    /// Reads a trace.
    package init(_ json: Data) throws { self = try JSONDecoder().decode(Self.self, from: json) }

    /// The titles of a group's rows, by their number.
    package func rows(_ group: Int) -> [Int: String] {
        let titles = traceEvents.filter { $0.name == "thread_name" && $0.pid == group }
        return Dictionary(titles.map { ($0.tid ?? -1, $0.args?.name ?? "") }, uniquingKeysWith: { first, _ in first })
    }

    /// The spans, in the order of the file.
    package var spans: [Event] { traceEvents.filter { $0.ph == "X" } }
}
