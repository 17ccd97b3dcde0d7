internal import CoreMetrics
internal import Plan
internal import Wire

/// What a coordinator counts besides its workers' counters, under the names that dashboards know.
///
/// Labels come from fixed sets; of the names that users give presets the first few that look like names are told apart.
final class CoordinatorMetrics: @unchecked Sendable {
    private static let presetsToldApart = 32

    private let factory: any MetricsFactory
    private let waited: CoreMetrics.Timer
    private let recoveries: [Measurement.Cause: Counter]
    private let replans: [Measurement.Cause: Counter]
    private let replayed: Counter
    private let replayedByImage: Recorder
    /// Seconds that steps were ready and the first workers took none.
    private(set) var creditWaitSeconds = 0.0
    private let stale: Counter
    private let checkpoint: CoreMetrics.Timer
    private var presets: Set<String> = []

    /// Counts from zero; every series that can be named beforehand is there from the start.
    init(_ factory: any MetricsFactory) {
        self.factory = factory
        waited = CoreMetrics.Timer(label: "dit_queue_wait_seconds", factory: factory)
        func causes(_ label: String) -> [Measurement.Cause: Counter] {
            Dictionary(
                uniqueKeysWithValues: Measurement.Cause.allCases.map {
                    ($0, Counter(label: label, dimensions: [("cause", $0.rawValue)], factory: factory))
                })
        }
        recoveries = causes("dit_recoveries_total")
        replans = causes("dit_replans_total")
        replayed = Counter(label: "dit_replayed_steps_total", factory: factory)
        replayedByImage = Recorder(label: "dit_image_replayed_steps", aggregate: true, factory: factory)
        stale = Counter(label: "dit_stale_answers_total", factory: factory)
        checkpoint = CoreMetrics.Timer(label: "dit_checkpoint_seconds", factory: factory)
    }

    /// What each series means, for the page that shows them.
    static let meanings: [(name: String, meaning: String)] = [
        ("dit_queue_wait_seconds", "Seconds from a picture's submission or last retry to its beginning."),
        ("dit_image_seconds", "Seconds from a picture leaving the queue to its file being durable."),
        ("dit_images_finished_total", "Pictures that came to an end since the coordinator started."),
        ("dit_images_completed_total", "Pictures done since the coordinator started."),
        ("dit_recoveries_total", "Pictures that went on from their last step after their work was taken back."),
        ("dit_replans_total", "Plans made."),
        ("dit_replayed_steps_total", "Steps computed again after a loss."),
        ("dit_image_replayed_steps", "Steps of a finished picture that were computed again after a loss."),
        ("dit_stale_answers_total", "Answers that nobody waited for any more."),
        ("dit_checkpoint_seconds", "Seconds of one transaction of the queue, flushed to the disk."),
        ("dit_protocol_errors_total", "Messages refused."),
    ]

    /// Takes note of what the core counted, on the coordinator's thread.
    func note(_ measurement: Measurement, model: String) {
        switch measurement {
        case .admitted(let preset, let seconds):
            waited.recordSeconds(seconds)
            // From 0 on, or a rate would not see the first.
            let preset = label(preset)
            for outcome in Measurement.Outcome.allCases { finished(outcome, preset, model).increment(by: 0) }
            completed(preset, model).increment(by: 0)
        case .finished(let outcome, let preset, let seconds, let replayed):
            replayedByImage.record(replayed)
            let preset = label(preset)
            finished(outcome, preset, model).increment()
            if outcome == .done {
                completed(preset, model).increment()
                CoreMetrics.Timer(label: "dit_image_seconds", dimensions: [("preset", preset)], factory: factory)
                    .recordSeconds(seconds)
            }
        case .planned(let cause): replans[cause]?.increment()
        case .recovered(let cause): recoveries[cause]?.increment()
        case .replayed: replayed.increment()
        case .creditWaited(let seconds): creditWaitSeconds += seconds
        case .staleAnswer: stale.increment()
        }
    }

    /// One transaction of the queue was flushed; from the store's thread.
    func noteCheckpoint(nanoseconds: UInt64) { checkpoint.recordNanoseconds(Int64(clamping: nanoseconds)) }

    /// A message was refused on a socket.
    func note(_ error: FrameError, socket: String) {
        Counter(
            label: "dit_protocol_errors_total", dimensions: [("reason", error.label), ("socket", socket)],
            factory: factory
        ).increment()
    }

    private func finished(_ outcome: Measurement.Outcome, _ preset: String, _ model: String) -> Counter {
        Counter(
            label: "dit_images_finished_total",
            dimensions: [("model", model), ("outcome", outcome.rawValue), ("preset", preset)], factory: factory)
    }

    private func completed(_ preset: String, _ model: String) -> Counter {
        Counter(
            label: "dit_images_completed_total", dimensions: [("model", model), ("preset", preset)], factory: factory)
    }

    private func label(_ preset: String) -> String {
        let isName = preset.utf8.count <= 40 && preset.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9._-]*/) != nil
        guard isName, presets.contains(preset) || presets.count < Self.presetsToldApart else { return "other" }
        presets.insert(preset)
        return preset
    }
}
