internal import Plan

/// A worker's counters at its last heartbeats, and the speed that they show.
///
/// A step may take milliseconds or minutes: its rate is told between ends of steps, as many of them as make it steady.
struct SpeedSamples {
    private typealias Sample = (time: UInt64, counters: WorkerCounters)

    /// Least time that a rate is taken over, if the worker is there for so long.
    private static let least: UInt64 = 5_000_000_000
    /// Most time that samples are kept for.
    private static let most: UInt64 = 600_000_000_000
    /// Distance of samples that are older than that.
    private static let spacing: UInt64 = 10_000_000_000
    /// Time without work after the first step that is a rest, and no wait for the next one.
    private static let rest: UInt64 = 60_000_000_000
    /// Steps that make a steady rate.
    private static let enough: UInt64 = 8

    /// All of the last while.
    private var recent: [Sample] = []
    /// Those at which a step had just ended, from longer ago too.
    private var ends: [Sample] = []
    /// Whether the last heartbeat told of work in hand.
    private var isWorking = false

    /// Takes note of a heartbeat.
    mutating func note(_ counters: WorkerCounters, isWorking: Bool, now: UInt64) {
        if let last = recent.last?.counters,
            counters.upNanoseconds < last.upNanoseconds || counters.steps < last.steps
        {
            (recent, ends) = ([], [])
        }
        if let last = recent.last, counters.steps > last.counters.steps {
            // Of those that are not the newest any more, one in each while is enough.
            if ends.count > 2, now - ends[ends.count - 3].time < Self.spacing { ends.remove(at: ends.count - 2) }
            ends.append((now, counters))
        }
        // However often somebody says something.
        if recent.count > 1, now - recent[recent.count - 2].time < Self.least / 50 { recent.removeLast() }
        recent.append((now, counters))
        self.isWorking = isWorking
        if let old = recent.firstIndex(where: { now - $0.time <= Self.spacing }), old > 0 { recent.removeFirst(old) }
        while ends.count > 2, now - ends[0].time > Self.most { ends.removeFirst() }
        // What it does after a rest says nothing of before.
        let patience = ends.count > 1 ? 0 : Self.rest
        if !isWorking, let end = ends.last, now - end.time > patience, stepWindow(upTo: (now, counters)) == nil {
            ends = []
        }
    }

    /// The speed of the worker of this name; its figures are only believed as far as they rise.
    func rates(of name: String) -> WorkerRates {
        guard let last = recent.last else { return WorkerRates() }
        let first = recent.last { last.time - $0.time >= Self.least } ?? recent[0]
        let steps = stepWindow(upTo: last) ?? (last, last)
        var rates = WorkerRates()
        rates.busy = min(1, Self.rate(first, last, \.busyNanoseconds) * 1e-9)
        rates.steps = Self.rate(steps.0, steps.1, \.steps)
        rates.tokens = Self.rate(steps.0, steps.1, \.tokens)
        let traffic = steps.0.time < steps.1.time ? steps : (first, last)
        func bytes(_ isCounted: @escaping (LinkCounters) -> Bool) -> Double {
            Self.rate(traffic.0, traffic.1) { $0.links.reduce(0) { isCounted($1) ? $0 &+ $1.totalBytes : $0 } }
        }
        rates.sent = bytes { $0.source == name }
        rates.received = bytes { $0.target == name }
        return rates
    }

    /// From the end of one step to that of the last one, or to now if the step in hand takes longer than they did; nil
    /// where there are no two, or the worker has stopped.
    private func stepWindow(upTo last: Sample) -> (Sample, Sample)? {
        guard let end = ends.last else { return nil }
        let start = ends.last {
            end.counters.steps - $0.counters.steps >= Self.enough && end.time - $0.time >= Self.least
        }
        guard let start = start ?? ends.first, start.time < end.time else { return nil }
        let each = (end.time - start.time) / (end.counters.steps - start.counters.steps)
        guard last.time - end.time > 2 * each + Self.least else { return (start, end) }
        return isWorking ? (start, last) : nil
    }

    private static func rate(_ first: Sample, _ last: Sample, _ value: (WorkerCounters) -> UInt64) -> Double {
        let (now, before) = (value(last.counters), value(first.counters))
        return now > before && last.time > first.time
            ? Double(now - before) / (Double(last.time - first.time) * 1e-9) : 0
    }
}
