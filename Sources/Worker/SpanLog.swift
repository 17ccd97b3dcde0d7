internal import Plan

/// The tasks done since the last heartbeat, for traces.
///
/// Bounded: of more than a heartbeat takes, the oldest go, and their number shows in the gap before the next report.
struct SpanLog: Sendable {
    private var spans: [TaskSpan] = []
    /// Spans that were told or dropped.
    private var told: UInt64 = 0

    /// Takes note of a task.
    mutating func note(_ span: TaskSpan) {
        spans.append(span)
        if spans.count > SpanReport.limit {
            spans.removeFirst()
            told += 1
        }
    }

    /// Takes out what was noted.
    mutating func report(clock: Nanoseconds) -> SpanReport {
        defer {
            told += UInt64(spans.count)
            spans = []
        }
        return SpanReport(clock: clock, first: told, spans: spans)
    }
}
