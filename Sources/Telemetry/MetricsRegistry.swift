package import CoreMetrics
internal import Glibc

/// Keeps the values of swift-metrics' instruments and writes them as Prometheus text.
///
/// Counters become counters, meters and recorders that do not aggregate become gauges, aggregating recorders and
/// timers become summaries (timers in seconds). Label sets are fixed by the code: never put prompts or paths in them.
package final class MetricsRegistry: MetricsFactory, @unchecked Sendable {
    private struct Key: Hashable {
        let name: String
        let labels: [String]
    }

    private struct Family {
        let kind: Exposition.Kind
        let help: String
        var series: [Key: Instrument] = [:]
    }

    private let lock = Lock()
    private var families: [String: Family] = [:]
    private var helps: [String: String] = [:]

    /// Starts without instruments.
    package init() {}

    /// Says what a metric means, for its HELP line; call before its first use.
    package func describe(_ name: String, _ help: String) { lock.with { helps[Exposition.sanitized(name)] = help } }

    /// All families by name, all series by their labels.
    package func write(to exposition: inout Exposition) {
        let families = lock.with { self.families }
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            exposition.family(name, family.kind, family.help)
            for (_, instrument) in family.series.sorted(by: { $0.key.labels.lexicographicallyPrecedes($1.key.labels) })
            {
                instrument.write(name, to: &exposition)
            }
        }
    }

    private func instrument(_ label: String, _ labels: [(String, String)], _ kind: Exposition.Kind, scale: Double = 1)
        -> Instrument
    {
        let name = Exposition.sanitized(label)
        let labels = labels.map { (Exposition.sanitized($0.0), $0.1) }.sorted { $0.0 < $1.0 }
        let key = Key(name: name, labels: labels.flatMap { [$0.0, $0.1] })
        return lock.with {
            var family = families[name] ?? Family(kind: kind, help: helps[name] ?? label)
            // Two kinds under one name would be an invalid text: the second one counts, unseen.
            guard family.kind == kind else { return Instrument(kind: kind, labels: labels, scale: scale) }
            if let known = family.series[key] { return known }
            let instrument = Instrument(kind: kind, labels: labels, scale: scale)
            family.series[key] = instrument
            families[name] = family
            return instrument
        }
    }

    private func remove(_ instrument: AnyObject) {
        lock.with {
            for (name, family) in families {
                for (key, known) in family.series where known === instrument { families[name]?.series[key] = nil }
                if families[name]?.series.isEmpty == true { families[name] = nil }
            }
        }
    }

    // MARK: MetricsFactory

    /// A counter.
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        instrument(label, dimensions, .counter)
    }
    /// A counter of fractions.
    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler { instrument(label, dimensions, .counter) }
    /// A gauge.
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        instrument(label, dimensions, .gauge)
    }
    /// A summary, or a gauge of the last value when it does not aggregate.
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        instrument(label, dimensions, aggregate ? .summary : .gauge)
    }
    /// A summary in seconds.
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        instrument(label, dimensions, .summary, scale: 1e-9)
    }
    /// Forgets a counter.
    package func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    /// Forgets a counter of fractions.
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    /// Forgets a gauge.
    package func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    /// Forgets a recorder.
    package func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    /// Forgets a timer.
    package func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}

/// One series: a number, and for summaries the number of values and a window of the latest ones.
private final class Instrument: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler,
    TimerHandler,
    @unchecked Sendable
{
    private static let window = 256
    private static let quantiles = [0.5, 0.9, 0.99]

    private let kind: Exposition.Kind
    private let labels: [(String, String)]
    private let scale: Double
    private let lock = Lock()
    private var value = 0.0
    private var count: UInt64 = 0
    private var recent: [Double] = []

    init(kind: Exposition.Kind, labels: [(String, String)], scale: Double) {
        self.kind = kind
        self.labels = labels
        self.scale = scale
    }

    func increment(by amount: Int64) { increment(by: Double(amount)) }
    func increment(by amount: Double) {
        if kind == .gauge || amount >= 0 { lock.with { value += amount } }
    }
    func decrement(by amount: Double) { lock.with { value -= amount } }
    func reset() { lock.with { value = 0 } }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { lock.with { self.value = value } }
    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }
    func record(_ value: Double) {
        guard kind == .summary else { return set(value) }
        lock.with {
            let value = value * scale
            self.value += value
            if recent.count < Self.window {
                recent.append(value)
            } else {
                recent[Int(count % UInt64(Self.window))] = value
            }
            count += 1
        }
    }

    func write(_ name: String, to exposition: inout Exposition) {
        let (value, count, recent) = lock.with { (self.value, self.count, self.recent.sorted()) }
        guard kind == .summary else { return exposition.sample(name, labels, value) }
        for quantile in Self.quantiles {
            let rank = max(0, Int((quantile * Double(recent.count)).rounded(.up)) - 1)
            exposition.sample(
                name, labels + [("quantile", String(quantile))], recent.isEmpty ? .nan : recent[rank])
        }
        exposition.sample(name + "_sum", labels, value)
        exposition.sample(name + "_count", labels, Double(count))
    }
}

/// A pthread mutex: the thread sanitizer reports false races on `Synchronization.Mutex`.
final class Lock: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() {
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func with<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }
}
