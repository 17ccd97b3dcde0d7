internal import Plan
internal import Sampling

/// What became of the pictures of the last jobs, for `trace export`; bounded, whatever clients and workers do.
struct TraceBook: Sendable {
    /// Jobs that are remembered; of more, those whose first picture was admitted longest ago go.
    static let jobs = 32
    /// Entries that are kept of a job: a hundred pictures of 28 steps on four workers.
    ///
    /// One takes 40 bytes, so that all of them take 21 MB at most.
    static let entries = 16_384
    /// Moments that are kept of a job.
    static let notes = 512
    /// Characters that are kept of a moment's line.
    static let noteLength = 200

    /// A trace with its bounded parts.
    private struct Record {
        var trace: JobTrace
        var entries = Ring<JobTrace.Entry>(limit: TraceBook.entries)
        var notes = Ring<JobTrace.Note>(limit: TraceBook.notes)
        var rows: [String: UInt16] = [:]
    }

    private var records: [JobID: Record] = [:]
    /// Jobs by when their trace began.
    private var order: [JobID] = []

    /// Whether there is a trace of a job.
    func contains(_ job: JobID) -> Bool { records[job] != nil }

    /// Begins a job's trace.
    mutating func open(_ job: JobID, isWhole: Bool, plan: ClusterPlan?, now: UInt64) {
        if order.count >= Self.jobs { records[order.removeFirst()] = nil }
        order.append(job)
        var record = Record(trace: JobTrace(job: job))
        record.trace.isWhole = isWhole
        records[job] = record
        if let plan { note("in epoch \(plan.epoch): \(plan.summary)", job: job, now: now) }
    }

    /// A job is worked on again.
    mutating func goOn(_ job: JobID) { records[job]?.trace.isRunning = true }

    /// A job is over; its trace stays.
    mutating func close(_ job: JobID) { records[job]?.trace.isRunning = false }

    /// A picture leaves a phase; what took no time is not worth an entry.
    mutating func note(_ entry: JobTrace.Entry, _ job: JobID) {
        guard entry.nanoseconds > 0 else { return }
        records[job]?.entries.append(entry)
    }

    /// Something happened to one picture.
    mutating func note(_ text: String, _ image: ImageID, now: UInt64) {
        note(text, job: image.job, image: image.index, now: now)
    }

    /// Something happened to the cluster: it belongs to all jobs that run.
    mutating func note(_ text: String, now: UInt64) {
        for job in order where records[job]?.trace.isRunning == true { note(text, job: job, now: now) }
    }

    private mutating func note(_ text: String, job: JobID, image: UInt32? = nil, now: UInt64) {
        records[job]?.notes.append(
            JobTrace.Note(time: now, image: image, text: String(text.prefix(Self.noteLength))))
    }

    /// A worker told what it did.
    mutating func note(_ report: SpanReport, by worker: String, _ clock: inout WorkerClock, now: UInt64) {
        let missing = clock.missing(before: report)
        if missing > 0 {
            for job in order where records[job]?.trace.isRunning == true { records[job]?.trace.untold += missing }
        }
        for span in report.spans {
            guard let (began, nanoseconds) = clock.place(span, now: now), let row = row(worker, span.image.job) else {
                continue
            }
            note(
                JobTrace.Entry(
                    row: row, kind: JobTrace.Entry.Kind(span.kind), image: span.image.index, step: span.step,
                    stage: span.stage, tokens: UInt32(clamping: span.tokens), epoch: span.epoch, began: began,
                    nanoseconds: nanoseconds), span.image.job)
        }
    }

    /// The row of a worker in a job's trace; nil without a trace, or with too many workers in it.
    private mutating func row(_ worker: String, _ job: JobID) -> UInt16? {
        guard let record = records[job] else { return nil }
        if let row = record.rows[worker] { return row }
        guard record.trace.workers.count < Bounds.workers.upperBound else { return nil }
        records[job]?.trace.workers.append(worker)
        let row = UInt16(record.trace.workers.count + 1)
        records[job]?.rows[worker] = row
        return row
    }

    /// A job's trace as it stands; nil when there is none.
    subscript(job: JobID) -> JobTrace? {
        guard let record = records[job] else { return nil }
        var trace = record.trace
        trace.entries = record.entries.elements
        trace.notes = record.notes.elements
        trace.dropped = record.entries.dropped + record.notes.dropped
        return trace
    }
}

/// The newest elements, up to a limit.
struct Ring<Element: Sendable>: Sendable {
    private var storage: [Element] = []
    private var oldest = 0
    private let limit: Int
    /// Elements that had to go.
    private(set) var dropped: UInt64 = 0

    init(limit: Int) { self.limit = limit }

    mutating func append(_ element: Element) {
        guard storage.count == limit else { return storage.append(element) }
        storage[oldest] = element
        oldest = (oldest + 1) % limit
        dropped += 1
    }

    /// Oldest first.
    var elements: [Element] { Array(storage[oldest...] + storage[..<oldest]) }
}

/// The clock of one run of a worker, as heartbeats show it.
///
/// A heartbeat that shows `t` arrives `d` later, so the coordinator's clock was `t + offset + d` then. `d` is not known,
/// but never below zero, and the round trips that the worker measured say what it is at its smallest, about half of it.
/// So the offset is the least difference of the last heartbeats less half their shortest round trip: wrong by no more
/// than that half. Only the last few count, because clocks drift (50 millionths are 0.8 ms in sixteen seconds).
struct WorkerClock: Sendable {
    private static let window = 16
    /// Spans that one may hold in it: many more steps than a decode gives way to.
    private static let depth = 1024

    /// Coordinator's less worker's clock, one for each of the last heartbeats.
    private var differences: [Int64] = []
    private var roundTrips: [UInt64] = []
    /// Number that the next report's first span should have; nil before the first report.
    private var next: UInt64?
    /// Its last spans on the coordinator's clock, without those that lie in another.
    private var placed: [Range<UInt64>] = []

    /// Takes note of a heartbeat.
    mutating func note(clock: UInt64, roundTrip: UInt64, now: UInt64) {
        // Any clock is possible, and only the difference counts: it may wrap.
        differences.append(Int64(bitPattern: now &- clock))
        if roundTrip > 0 { roundTrips.append(roundTrip) }
        if differences.count > Self.window { differences.removeFirst() }
        if roundTrips.count > Self.window { roundTrips.removeFirst() }
    }

    /// What to add to the worker's clock.
    var offset: Int64 {
        let half = Int64(min(roundTrips.min() ?? 0, 10_000_000_000) / 2)
        return (differences.min() ?? 0) &- half
    }

    /// How many spans never came before a report; no more are believed than a heartbeat a second would have brought in a
    /// day.
    mutating func missing(before report: SpanReport) -> UInt64 {
        defer { next = report.first &+ UInt64(report.spans.count) }
        guard let next, report.first > next else { return 0 }
        return min(report.first - next, 1 << 26)
    }

    /// When a span was, on the coordinator's clock; nil for one from before its start, or that cannot be.
    ///
    /// Spans come in the order of their ends: one that began before others lies around them. The estimate may change a
    /// little from one report to the next: what then would begin before the end of the span before begins there.
    mutating func place(_ span: TaskSpan, now: UInt64) -> (began: UInt64, nanoseconds: UInt64)? {
        let began = Int64(bitPattern: span.began) &+ offset
        guard began >= 0, UInt64(began) <= now, span.nanoseconds <= now - UInt64(began) else { return nil }
        let start = UInt64(began)
        var (first, end) = (start, start + span.nanoseconds)
        while let last = placed.last, last.lowerBound / 2 + last.upperBound / 2 >= start, last.upperBound > start {
            (first, end) = (min(first, last.lowerBound), max(end, last.upperBound))
            placed.removeLast()
        }
        first = max(first, placed.last?.upperBound ?? 0)
        let length = max(end, first) - first
        placed.append(first..<first + length)
        if placed.count > Self.depth { placed.removeFirst(Self.depth / 2) }
        return (first, length)
    }
}

extension JobTrace.Entry.Kind {
    fileprivate init(_ kind: TaskSpan.Kind) {
        self =
            switch kind {
            case .encode: .encode
            case .step: .step
            case .edge: .edge
            case .picture: .picture
            }
    }

    /// What a worker is asked for.
    init(_ need: Need) {
        self =
            switch need {
            case .encode: .encode
            case .step: .step
            case .edge: .edge
            case .picture: .picture
            }
    }
}

extension ClusterPlan {
    /// Who has which blocks, in one line.
    var summary: String {
        pipelines.map { $0.map { "\($0.worker) \($0.span)" }.joined(separator: ", ") }.joined(separator: " | ")
    }
}

/// Traces: what the core notes, and how it answers for it.
extension CoordinatorCore {
    /// Takes a picture on to its next phase.
    mutating func enter(_ phase: Flight.Phase, _ image: ImageID) {
        notePhase(of: image)
        flights[image]?.phase = phase
        flights[image]?.phaseSince = now
    }

    /// A picture is in flight no more.
    mutating func land(_ image: ImageID) {
        notePhase(of: image)
        flights[image] = nil
    }

    private mutating func notePhase(of image: ImageID) {
        guard let flight = flights[image] else { return }
        let kind: JobTrace.Entry.Kind =
            switch flight.phase {
            case .sampling: .sampler
            case .ready: .wait
            case .sent(let need, _): .init(need)
            case .writing: .write
            case .recording: .record
            }
        let stage = if case .velocity(_, _, let stage, _) = flight.progress?.demand { stage } else { 0 }
        let isStep = kind == .step
        traces.note(
            JobTrace.Entry(
                kind: kind, image: image.index, step: UInt16(clamping: flight.progress?.step ?? 0),
                stage: isStep ? UInt8(clamping: stage) : 0, tokens: isStep ? UInt32(clamping: flight.tokens) : 0,
                epoch: epoch, began: flight.phaseSince, nanoseconds: now - flight.phaseSince), image.job)
    }

    /// A picture leaves the queue.
    mutating func noteAdmission(_ image: ImageID) {
        guard let job = jobs[image.job] else { return }
        if traces.contains(image.job) {
            traces.goOn(image.job)
        } else {
            let isUntouched = job.checkpoints.isEmpty && job.status.images.allSatisfy { $0 == .queued }
            traces.open(image.job, isWhole: isUntouched, plan: plan, now: now)
        }
        let since = job.requeued[image.index] ?? job.queued
        jobs[image.job]?.requeued[image.index] = nil
        traces.note(
            JobTrace.Entry(
                kind: .queue, image: image.index, epoch: epoch, began: since, nanoseconds: now - min(since, now)),
            image.job)
    }

    /// Asks the workers for what they have not told, and answers when they have.
    mutating func trace(_ job: JobID, _ client: ClientTicket) { count(client, for: job) }

    /// The answer to a request for a trace.
    func traceReply(_ job: JobID) -> ClientReply {
        if let trace = traces[job] { return .trace(trace) }
        let why =
            jobs[job] == nil
            ? "traces are kept in memory, of the last \(TraceBook.jobs) jobs that this coordinator worked on since it "
                + "started \(Int(Double(now) * 1e-9)) s ago"
            : "none of its pictures has been begun since the coordinator started \(Int(Double(now) * 1e-9)) s ago"
        return .failure(ClientFailure(.unknown, "there is no trace of job \(job): \(why)"))
    }
}
