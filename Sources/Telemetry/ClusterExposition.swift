package import Plan

extension Exposition {
    /// Writes the cluster as the coordinator sees it: its own series and one for each worker and link.
    package mutating func write(_ status: ClusterStatus) {
        single("dit_uptime_seconds", .gauge, "Seconds since the coordinator started.", status.uptime)
        single(
            "dit_plan_epoch", .gauge, "Generation of the plan in force; 0 before the first.",
            Double(status.plan?.epoch ?? 0))
        single("dit_images_queued", .gauge, "Pictures that wait.", Double(status.queued))
        family("dit_images_in_flight", .gauge, "Pictures being made, by the pipeline that they go through.")
        let bound = status.inFlightByReplica ?? []
        for (replica, count) in bound.enumerated() {
            sample("dit_images_in_flight", [("replica", String(replica))], Double(count))
        }
        // Those that no pipeline has yet, or of a coordinator that has no plan.
        let loose = status.inFlight - bound.reduce(0, +)
        if bound.isEmpty || loose > 0 { sample("dit_images_in_flight", [("replica", "none")], Double(max(0, loose))) }
        family("dit_jobs", .gauge, "Unfinished jobs: with a picture in flight, or waiting.")
        sample("dit_jobs", [("state", "running")], Double(status.jobsRunning))
        sample("dit_jobs", [("state", "waiting")], Double(status.jobsWaiting))
        if let blocked = status.jobsBlocked {
            family("dit_jobs_blocked", .gauge, "Unfinished jobs that wait for a disk or a folder, by which.")
            for (reason, count) in blocked.sorted(by: { $0.key < $1.key }) {
                sample("dit_jobs_blocked", [("reason", reason)], Double(count))
            }
        }
        let replicas = status.plan?.pipelines.count ?? 0
        let bubbles = (0..<replicas).compactMap { replica in status.bubble(replica: replica).map { (replica, $0) } }
        if !bubbles.isEmpty {
            family(
                "dit_pipeline_bubble_ratio", .gauge,
                "Share of the last seconds in which the pipeline's workers did not compute; absent while it has no work."
            )
            for (replica, bubble) in bubbles {
                sample("dit_pipeline_bubble_ratio", [("replica", String(replica))], bubble)
            }
        }
        if let predicted = status.predictedPerHour {
            single(
                "dit_predicted_images_per_hour", .gauge,
                "Pictures an hour that the plan in force should give, by the workers' measured speed.", predicted)
        }
        let workers = status.workers.sorted { $0.hello.name < $1.hello.name }
        func write(_ name: String, _ kind: Kind, _ help: String, _ value: (WorkerStatus) -> Double) {
            family(name, kind, help)
            for worker in workers { sample(name, [("worker", worker.hello.name)], value(worker)) }
        }
        if !workers.isEmpty {
            write("dit_worker_up", .gauge, "1 while heartbeats arrive.") { $0.life == .lost ? 0 : 1 }
            write(
                "dit_worker_drained", .gauge, "1 while the worker is kept out of the plan, whether it is up or not."
            ) { $0.isDrained == true ? 1 : 0 }
            write("dit_heartbeat_age_seconds", .gauge, "Seconds since the last heartbeat.") { $0.heartbeatAge }
            write("dit_task_faults_total", .counter, "Tasks that the worker could not do.") { Double($0.faults) }
            write("dit_worker_blocks", .gauge, "Transformer blocks in the worker's span.") {
                Double($0.placement?.span.count ?? 0)
            }
        }
        let idle = workers.compactMap { worker in worker.idle.map { (worker.hello.name, $0.code.rawValue) } }
        if !idle.isEmpty {
            family("dit_worker_idle", .gauge, "1 while the worker is here and has no share of the plan, by the reason.")
            for (name, reason) in idle { sample("dit_worker_idle", [("worker", name), ("reason", reason)], 1) }
        }
        if let refusals = status.refusals {
            family("dit_workers_refused_total", .counter, "Times that a worker was refused, by the reason.")
            for reason in Refusal.Code.allCases.filter({ $0 != .key }).map(\.rawValue) {
                sample("dit_workers_refused_total", [("reason", reason)], Double(refusals[reason] ?? 0))
            }
        }
        // Those that have not told their counters yet have none: a 0 between two larger numbers would count as work.
        let counted = workers.filter { $0.counters.upNanoseconds > 0 }
        writeCounters(
            counted.map { ($0.hello.name, $0.counters) },
            gone: Set(workers.filter { $0.life == .lost }.map(\.hello.name)),
            coordinatorWaits: status.creditWaitSeconds ?? 0,
            measured: workers.compactMap { worker in worker.link.map { (worker.hello.name, $0) } })
        let placed = workers.compactMap { worker in worker.placement.map { (worker.hello.name, $0) } }
        if !placed.isEmpty {
            family("dit_worker_replica", .gauge, "1 for the pipeline of the worker; all if it serves each.")
            for (name, share) in placed {
                let replica = share.replica.map(String.init) ?? (share.span.isEmpty ? "all" : "0")
                sample("dit_worker_replica", [("worker", name), ("replica", replica)], 1)
            }
        }
        writeAuthFailures(
            [("coordinator", status.authFailures)] + workers.map { ($0.hello.name, $0.counters.authFailures) })
        writeLinks(status.links + workers.flatMap(\.counters.links))
    }

    /// What workers count, whoever tells it; and what is beside it in the same families.
    ///
    /// Of those that are `gone` only what adds up: how much memory they take nobody knows.
    mutating func writeCounters(
        _ workers: [(name: String, counters: WorkerCounters)], gone: Set<String> = [], coordinatorWaits: Double?,
        measured: [(name: String, link: MeasuredLink)] = []
    ) {
        func write(_ name: String, _ kind: Kind, _ help: String, _ value: (WorkerCounters) -> Double) {
            family(name, kind, help)
            for worker in workers where kind != .gauge || !gone.contains(worker.name) {
                sample(name, [("worker", worker.name)], value(worker.counters))
            }
        }
        if !workers.isEmpty {
            write("dit_worker_images_total", .counter, "Pictures decoded.") { Double($0.images) }
            writeStages(workers)
            write("dit_tokens_total", .counter, "Image tokens through the worker's span, summed over steps.") {
                Double($0.tokens)
            }
            write("dit_worker_busy_seconds_total", .counter, "Seconds spent computing.") {
                Double($0.busyNanoseconds) * 1e-9
            }
            write("dit_worker_uptime_seconds", .gauge, "Seconds since the worker started.") {
                Double($0.upNanoseconds) * 1e-9
            }
            write("dit_worker_rss_bytes", .gauge, "Resident memory.") { Double($0.residentBytes) }
            write("dit_worker_queue", .gauge, "Tasks that wait at the worker.") { Double($0.queued) }
        }
        family(
            "dit_credit_wait_seconds_total", .counter,
            "Seconds that work was ready and the next worker took none, by who waited.")
        if let coordinatorWaits { sample("dit_credit_wait_seconds_total", [("edge", "coordinator")], coordinatorWaits) }
        for worker in workers {
            sample(
                "dit_credit_wait_seconds_total", [("edge", worker.name)],
                Double(worker.counters.creditWaitNanoseconds) * 1e-9)
        }
        guard !workers.isEmpty else { return }
        family(
            "dit_link_rtt_seconds", .gauge,
            "Seconds there and back: of the last heartbeat to the coordinator, of the last measurement to a worker.")
        for worker in workers where !gone.contains(worker.name) {
            sample(
                "dit_link_rtt_seconds", [("src", worker.name), ("dst", "coordinator")],
                Double(worker.counters.roundTripNanoseconds) * 1e-9)
        }
        for (name, link) in measured {
            sample("dit_link_rtt_seconds", [("src", name), ("dst", link.target)], link.speed.roundTrip)
        }
        guard !measured.isEmpty else { return }
        family("dit_link_goodput_bytes", .gauge, "Bytes a second that the link carries, as measured last.")
        for (name, link) in measured {
            sample("dit_link_goodput_bytes", [("src", name), ("dst", link.target)], link.speed.bytesPerSecond)
        }
    }

    private mutating func writeStages(_ workers: [(name: String, counters: WorkerCounters)]) {
        func each(_ name: String, _ value: (StageCounters) -> Double) {
            for worker in workers {
                for (stage, counters) in worker.counters.stages.enumerated() {
                    sample(name, [("worker", worker.name), ("ralu_stage", String(stage + 1))], value(counters))
                }
            }
        }
        guard workers.contains(where: { !$0.counters.stages.isEmpty }) else { return }
        family("dit_steps_total", .counter, "Denoising steps through the worker's span, by resolution stage.")
        each("dit_steps_total") { Double($0.steps) }
        family("dit_stage_seconds", .summary, "Seconds of one step through the worker's span, by resolution stage.")
        each("dit_stage_seconds_sum") { Double($0.busyNanoseconds) * 1e-9 }
        each("dit_stage_seconds_count") { Double($0.steps) }
    }

    /// Nothing at all in a cluster without keys.
    mutating func writeAuthFailures(_ failures: [(node: String, counts: [String: UInt64]?)]) {
        guard failures.contains(where: { $0.counts != nil }) else { return }
        let name = "dit_auth_failures_total"
        family(name, .counter, "Connections and messages refused for want of the right key, by who refused.")
        for (node, counts) in failures {
            for (reason, count) in (counts ?? [:]).sorted(by: { $0.key < $1.key }) {
                sample(name, [("node", node), ("reason", reason)], Double(count))
            }
        }
    }

    /// Both ends count a link; the figures of the one that has counted more are told, since the other's are a heartbeat
    /// older.
    mutating func writeLinks(_ links: [LinkCounters]) {
        var merged: [[String]: LinkCounters] = [:]
        for link in links {
            var known = merged[[link.source, link.target]] ?? link
            // Only the sender knows the time.
            let sendNanoseconds = max(known.sendNanoseconds, link.sendNanoseconds)
            if known.totalBytes < link.totalBytes { known = link }
            known.sendNanoseconds = sendNanoseconds
            merged[[link.source, link.target]] = known
        }
        let sorted = merged.values.sorted { ($0.source, $0.target) < ($1.source, $1.target) }
        guard !sorted.isEmpty else { return }
        func write(_ name: String, _ help: String, _ value: (LinkCounters) -> UInt64) {
            family(name, .counter, help)
            for link in sorted { sample(name, [("src", link.source), ("dst", link.target)], Double(value(link))) }
        }
        write("dit_link_messages_total", "Messages over a link.") { $0.messages }
        let name = "dit_link_bytes_total"
        family(
            name, .counter,
            "Bytes over a link, headers included, by the format of the message's hidden states; none without such.")
        for link in sorted {
            let labels = [("src", link.source), ("dst", link.target)]
            let hidden = WireFormat.allCases.compactMap { format in link.hiddenBytes[format].map { (format, $0) } }
            for (format, bytes) in hidden { sample(name, labels + [("dtype", format.rawValue)], Double(bytes)) }
            let rest = Double(link.totalBytes) - hidden.reduce(0) { $0 + Double($1.1) }
            sample(name, labels + [("dtype", "none")], max(0, rest))
        }
        write("dit_link_activation_bytes_total", "Bytes of hidden states over a link.") { $0.activationBytes }
        let timed = sorted.filter { $0.sendNanoseconds > 0 }
        guard !timed.isEmpty else { return }
        family(
            "dit_link_send_seconds", .summary,
            "Seconds from a message being ready to the socket having taken all of it.")
        for link in timed {
            let labels = [("src", link.source), ("dst", link.target)]
            sample("dit_link_send_seconds_sum", labels, Double(link.sendNanoseconds) * 1e-9)
            sample("dit_link_send_seconds_count", labels, Double(link.messages))
        }
    }
}
