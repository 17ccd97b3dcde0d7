package import Plan

extension Exposition {
    /// Writes one worker as it sees itself.
    ///
    /// What the coordinator's page shows of a worker has the same name here, so pages of both are told apart by the `job`
    /// that they are scraped under; the rest is what only the worker knows.
    package mutating func write(_ report: WorkerReport) {
        let worker = [("worker", report.name)]
        func write(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
            family(name, kind, help)
            sample(name, worker, value)
        }
        family("dit_worker_state", .gauge, "1 for where the worker stands towards its coordinator.")
        for life in WorkerReport.lives {
            sample("dit_worker_state", worker + [("state", life)], life == report.life ? 1 : 0)
        }
        write(
            "dit_worker_connected", .gauge, "1 while the connection to the coordinator stands.",
            report.isConnected ? 1 : 0)
        write(
            "dit_coordinator_age_seconds", .gauge, "Seconds since the coordinator was heard.", report.silenceSeconds)
        write(
            "dit_plan_epoch", .gauge, "Generation of the plan that the worker works for; 0 without.",
            Double(report.epoch))
        write("dit_worker_blocks", .gauge, "Transformer blocks in the worker's span.", Double(report.blocks))
        write(
            "dit_worker_hidden_state_bytes", .gauge,
            "Bytes of hidden states in memory: waiting, in hand, and the last answer.", Double(report.hiddenStateBytes))
        family("dit_tasks_dropped_total", .counter, "Tasks and messages that the worker dropped.")
        for (reason, count) in report.dropped.sorted(by: { $0.key < $1.key }) {
            sample("dit_tasks_dropped_total", worker + [("reason", reason)], Double(count))
        }
        writeCounters([(report.name, report.counters)], coordinatorWaits: nil)
        writeAuthFailures([(report.name, report.counters.authFailures)])
        writeLinks(report.counters.links)
    }
}
