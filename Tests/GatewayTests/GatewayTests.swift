internal import FlyingSocks
internal import FoundationEssentials
internal import Glibc
internal import Plan
internal import Telemetry
internal import Testing

@testable internal import Gateway

@Suite(.timeLimit(.minutes(10))) struct GatewayTests {
    private var status: ClusterStatus {
        let facts = ModelFacts(
            name: "demo", family: "FluxPipeline", fingerprint: "f", blockCount: 3, width: 8, contextWidth: 8,
            pooledWidth: 8, maxTextLength: 64, takesGuidance: true, scalingFactor: 1, shiftFactor: 0,
            schedule: ScheduleFacts())
        func worker(_ name: String, _ span: Range<Int>, _ life: WorkerStatus.Life) -> WorkerStatus {
            var counters = WorkerCounters()
            for step in 0..<36 {
                counters.countStep(stage: step < 20 ? 1 : 2, tokens: step == 0 ? 5000 : 0, nanoseconds: 25_000_000)
            }
            counters.creditWaitNanoseconds = 250_000_000
            counters.roundTripNanoseconds = 2_000_000
            counters.busyNanoseconds = 1_500_000_000
            counters.upNanoseconds = 3_000_000_000
            counters.residentBytes = 1 << 30
            var link = LinkCounters(source: "a", target: "b")
            link.messages = name == "a" ? 36 : 35
            link.activationBytes = name == "a" ? 3600 : 3500
            link.totalBytes = name == "a" ? 4000 : 3900
            link.hiddenBytes = name == "a" ? [.f32: 3000, .int8: 700] : [.f32: 3000, .int8: 600]
            link.sendNanoseconds = name == "a" ? 1_800_000_000 : 0
            counters.links = [link]
            var rates = WorkerRates()
            rates.busy = name == "a" ? 0.75 : 0.5
            return WorkerStatus(
                hello: Hello(
                    name: name, bootID: 1, build: "0", model: facts, dataEndpoint: "", threads: 1,
                    memoryCap: 0, kernelClass: "k", roles: [.blocks]),
                life: life,
                placement: Placement(
                    worker: name, span: span, encodes: false, decodes: false, endpoint: "", replica: 0),
                counters: counters, heartbeatAge: 0.5, rates: rates)
        }
        var status = ClusterStatus(
            plan: nil, workers: [worker("b", 2..<3, .lost), worker("a", 0..<2, .ready)], queued: 4, inFlight: 3,
            imagesDone: 8, uptime: 12.5, links: [])
        status.plan = ClusterPlan(
            epoch: 2, placements: status.workers.reversed().compactMap(\.placement), blockCount: 3)
        status.workers[1].link = MeasuredLink(
            target: "b", speed: LinkSpeed(bytesPerSecond: 11_700_000, roundTrip: 0.0005))
        status.workers[0].isDrained = true
        status.inFlightByReplica = [2]
        status.jobsRunning = 1
        status.predictedPerHour = 120.5
        status.jobsWaiting = 3
        status.jobsBlocked = ["folder": 2, "queue_disk": 0]
        status.refusals = ["kernelClass": 7]
        status.workers[1].idle = WorkerStatus.Idle(.loadFailure, "no file")
        status.creditWaitSeconds = 1.5
        return status
    }

    private var report: WorkerReport {
        var report = WorkerReport(name: "a", life: "ready")
        report.epoch = 2
        report.blocks = 3
        report.isConnected = true
        report.silenceSeconds = 0.25
        report.hiddenStateBytes = 6144
        report.dropped = ["stale": 4, "overrun": 0]
        report.counters = status.workers[1].counters
        report.counters.authFailures = ["unknown key": 2]
        return report
    }

    private func ask(_ request: String, port: UInt16) async throws -> (head: String, body: String) {
        let pool: some AsyncSocketPool = try await .client
        let socket = try await AsyncSocket.connected(to: sockaddr_in.inet(ip4: "127.0.0.1", port: port), pool: pool)
        defer { try? socket.close() }
        try await socket.write(Data(request.utf8))
        var bytes: [UInt8] = []
        while let byte = try? await socket.read() { bytes.append(byte) }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let split = text.firstRange(of: "\r\n\r\n") else { return (text, "") }
        return (String(text[..<split.lowerBound]), String(text[split.upperBound...]))
    }

    private func get(_ path: String, method: String = "GET", fields: String = "", body: String = "") -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)\r\n\(body)"
    }

    @Test("the cluster appears as Prometheus text, node by node and link by link")
    func metrics() async throws {
        let status = status
        let gateway = try Gateway(port: 0) { status }
        let port = try await gateway.start()
        let (head, body) = try await ask(get("/metrics"), port: port)
        #expect(head.hasPrefix("HTTP/1.1 200 "))
        #expect(head.contains("text/plain; version=0.0.4; charset=utf-8"))
        #expect(body == Self.golden)
        await gateway.stop()
    }

    @Test("health and nodes are served, everything else is refused")
    func routes() async throws {
        let status = status
        let gateway = try Gateway(port: 0) { status }
        let port = try await gateway.start()
        #expect(try await ask(get("/healthz"), port: port).body == "ok\n")
        let bare = try await ask(get("/healthz", method: "HEAD"), port: port)
        #expect(bare.head.hasPrefix("HTTP/1.1 200 ") && bare.head.contains("Content-Length: 3") && bare.body.isEmpty)
        let nodes = try await ask(get("/api/nodes"), port: port)
        #expect(nodes.head.contains("application/json"))
        #expect(try JSONDecoder().decode(ClusterStatus.self, from: Data(nodes.body.utf8)) == status)
        for (request, code) in [
            (get("/"), 404), (get("/metrics/../etc/passwd"), 404), (get("/metricsx"), 404),
            (get("/metrics", method: "POST"), 405), (get("/healthz", method: "DELETE"), 405),
            (get("/metrics", fields: "Content-Length: 5\r\n", body: "hello"), 400),
        ] {
            let head = try await ask(request, port: port).head
            #expect(head.hasPrefix("HTTP/1.1 \(code) "), "\(request.prefix(40)): \(head.prefix(40))")
        }
        await gateway.stop()
    }

    @Test("a worker tells of itself what its coordinator tells of it, and what only it knows")
    func worker() async throws {
        let report = report
        let gateway = try Gateway(port: 0) { report }
        let port = try await gateway.start()
        let (head, body) = try await ask(get("/metrics"), port: port)
        #expect(head.hasPrefix("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4; charset=utf-8"))
        let lines = body.split(separator: "\n")
        for line in [
            "dit_worker_state{worker=\"a\",state=\"ready\"} 1", "dit_worker_state{worker=\"a\",state=\"connecting\"} 0",
            "dit_worker_connected{worker=\"a\"} 1", "dit_coordinator_age_seconds{worker=\"a\"} 0.25",
            "dit_plan_epoch{worker=\"a\"} 2", "dit_worker_hidden_state_bytes{worker=\"a\"} 6144",
            "dit_tasks_dropped_total{worker=\"a\",reason=\"stale\"} 4",
            "dit_tasks_dropped_total{worker=\"a\",reason=\"overrun\"} 0",
            "dit_auth_failures_total{node=\"a\",reason=\"unknown key\"} 2",
            "dit_link_bytes_total{src=\"a\",dst=\"b\",dtype=\"int8\"} 700",
        ] { #expect(lines.contains { $0 == line }, "\(line)") }
        // What both pages have is told in the same words.
        let coordinator = Self.golden.split(separator: "\n")
        for family in ["dit_tokens_total", "dit_worker_busy_seconds_total", "dit_steps_total", "dit_worker_blocks"] {
            let there = coordinator.filter { $0.hasPrefix("# HELP \(family) ") || $0.hasPrefix("# TYPE \(family) ") }
            #expect(there.count == 2 && there.allSatisfy(lines.contains), "\(family)")
        }
        #expect(lines.contains("dit_tokens_total{worker=\"a\"} 5000"))
        #expect(Set(lines.filter { $0.hasPrefix("# TYPE") }).count == lines.count { $0.hasPrefix("# TYPE") })
        let json = try await ask(get("/api/worker"), port: port)
        #expect(try JSONDecoder().decode(WorkerReport.self, from: Data(json.body.utf8)) == report)
        #expect(try await ask(get("/healthz"), port: port).body == "ok\n")
        let missing = try await ask(get("/api/nodes"), port: port)
        #expect(missing.head.hasPrefix("HTTP/1.1 404 ") && missing.body.contains("/api/worker, /healthz, /metrics"))
        await gateway.stop()
    }

    @Test("a worker that has not told its counters yet has none: a 0 between two numbers would count as work")
    func countersToCome() {
        var status = status
        status.workers[1].counters = WorkerCounters()
        var exposition = Exposition()
        exposition.write(status)
        let own = exposition.text.split(separator: "\n").filter {
            $0.contains("worker=\"a\"") || $0.contains("edge=\"a\"")
        }
        #expect(own.contains("dit_worker_up{worker=\"a\"} 1"))
        #expect(!own.contains { $0.contains("_total{") && !$0.hasPrefix("dit_task_faults_total") }, "\(own)")
    }

    @Test("of two ends that count a link the one that has counted more is told, so no series ever falls")
    func twoEnds() {
        func page(_ links: [LinkCounters]) -> [Substring] {
            var status = status
            for index in status.workers.indices { status.workers[index].counters.links = [] }
            status.links = links
            var exposition = Exposition()
            exposition.write(status)
            return exposition.text.split(separator: "\n")
        }
        var (sender, receiver) = (LinkCounters(source: "a", target: "b"), LinkCounters(source: "a", target: "b"))
        (sender.totalBytes, sender.hiddenBytes, sender.sendNanoseconds) = (100, [.bf16: 90], 5)
        (receiver.totalBytes, receiver.hiddenBytes) = (110, [.bf16: 90])
        for links in [[sender, receiver], [receiver, sender]] {
            let lines = page(links)
            #expect(lines.contains("dit_link_bytes_total{src=\"a\",dst=\"b\",dtype=\"bf16\"} 90"))
            #expect(lines.contains("dit_link_bytes_total{src=\"a\",dst=\"b\",dtype=\"none\"} 20"))
            #expect(lines.contains("dit_link_send_seconds_sum{src=\"a\",dst=\"b\"} 5e-09"))
        }
    }

    @Test(
        "addresses that others can reach are refused, with what to do instead",
        arguments: ["0.0.0.0", "10.0.0.1", "*", "::"])
    func addresses(_ host: String) throws {
        let status = status
        #expect {
            try Gateway(host: host, port: 0) { status }
        } throws: { error in
            let text = "\(error)"
            return text.contains("reverse proxy") && text.contains("SSH tunnel") && text.contains(host)
        }
    }

    @Test("a port in use is an error that names it")
    func inUse() async throws {
        let status = status
        let first = try Gateway(port: 0) { status }
        let port = try await first.start()
        let second = try Gateway(port: port) { status }
        do {
            _ = try await second.start()
            Issue.record("listened twice")
        } catch let error as GatewayError {
            #expect(error.description.contains("127.0.0.1:\(port)"), "\(error)")
        }
        await first.stop()
    }

    private static let golden = """
        # HELP dit_uptime_seconds Seconds since the coordinator started.
        # TYPE dit_uptime_seconds gauge
        dit_uptime_seconds 12.5
        # HELP dit_plan_epoch Generation of the plan in force; 0 before the first.
        # TYPE dit_plan_epoch gauge
        dit_plan_epoch 2
        # HELP dit_images_queued Pictures that wait.
        # TYPE dit_images_queued gauge
        dit_images_queued 4
        # HELP dit_images_in_flight Pictures being made, by the pipeline that they go through.
        # TYPE dit_images_in_flight gauge
        dit_images_in_flight{replica="0"} 2
        dit_images_in_flight{replica="none"} 1
        # HELP dit_jobs Unfinished jobs: with a picture in flight, or waiting.
        # TYPE dit_jobs gauge
        dit_jobs{state="running"} 1
        dit_jobs{state="waiting"} 3
        # HELP dit_jobs_blocked Unfinished jobs that wait for a disk or a folder, by which.
        # TYPE dit_jobs_blocked gauge
        dit_jobs_blocked{reason="folder"} 2
        dit_jobs_blocked{reason="queue_disk"} 0
        # HELP dit_pipeline_bubble_ratio Share of the last seconds in which the pipeline's workers did not compute; absent while it has no work.
        # TYPE dit_pipeline_bubble_ratio gauge
        dit_pipeline_bubble_ratio{replica="0"} 0.25
        # HELP dit_predicted_images_per_hour Pictures an hour that the plan in force should give, by the workers' measured speed.
        # TYPE dit_predicted_images_per_hour gauge
        dit_predicted_images_per_hour 120.5
        # HELP dit_worker_up 1 while heartbeats arrive.
        # TYPE dit_worker_up gauge
        dit_worker_up{worker="a"} 1
        dit_worker_up{worker="b"} 0
        # HELP dit_worker_drained 1 while the worker is kept out of the plan, whether it is up or not.
        # TYPE dit_worker_drained gauge
        dit_worker_drained{worker="a"} 0
        dit_worker_drained{worker="b"} 1
        # HELP dit_heartbeat_age_seconds Seconds since the last heartbeat.
        # TYPE dit_heartbeat_age_seconds gauge
        dit_heartbeat_age_seconds{worker="a"} 0.5
        dit_heartbeat_age_seconds{worker="b"} 0.5
        # HELP dit_task_faults_total Tasks that the worker could not do.
        # TYPE dit_task_faults_total counter
        dit_task_faults_total{worker="a"} 0
        dit_task_faults_total{worker="b"} 0
        # HELP dit_worker_blocks Transformer blocks in the worker's span.
        # TYPE dit_worker_blocks gauge
        dit_worker_blocks{worker="a"} 2
        dit_worker_blocks{worker="b"} 1
        # HELP dit_worker_idle 1 while the worker is here and has no share of the plan, by the reason.
        # TYPE dit_worker_idle gauge
        dit_worker_idle{worker="a",reason="load_failure"} 1
        # HELP dit_workers_refused_total Times that a worker was refused, by the reason.
        # TYPE dit_workers_refused_total counter
        dit_workers_refused_total{reason="protocolVersion"} 0
        dit_workers_refused_total{reason="model"} 0
        dit_workers_refused_total{reason="name"} 0
        dit_workers_refused_total{reason="malformed"} 0
        dit_workers_refused_total{reason="kernelClass"} 7
        # HELP dit_worker_images_total Pictures decoded.
        # TYPE dit_worker_images_total counter
        dit_worker_images_total{worker="a"} 0
        dit_worker_images_total{worker="b"} 0
        # HELP dit_steps_total Denoising steps through the worker's span, by resolution stage.
        # TYPE dit_steps_total counter
        dit_steps_total{worker="a",ralu_stage="1"} 20
        dit_steps_total{worker="a",ralu_stage="2"} 16
        dit_steps_total{worker="b",ralu_stage="1"} 20
        dit_steps_total{worker="b",ralu_stage="2"} 16
        # HELP dit_stage_seconds Seconds of one step through the worker's span, by resolution stage.
        # TYPE dit_stage_seconds summary
        dit_stage_seconds_sum{worker="a",ralu_stage="1"} 0.5
        dit_stage_seconds_sum{worker="a",ralu_stage="2"} 0.4
        dit_stage_seconds_sum{worker="b",ralu_stage="1"} 0.5
        dit_stage_seconds_sum{worker="b",ralu_stage="2"} 0.4
        dit_stage_seconds_count{worker="a",ralu_stage="1"} 20
        dit_stage_seconds_count{worker="a",ralu_stage="2"} 16
        dit_stage_seconds_count{worker="b",ralu_stage="1"} 20
        dit_stage_seconds_count{worker="b",ralu_stage="2"} 16
        # HELP dit_tokens_total Image tokens through the worker's span, summed over steps.
        # TYPE dit_tokens_total counter
        dit_tokens_total{worker="a"} 5000
        dit_tokens_total{worker="b"} 5000
        # HELP dit_worker_busy_seconds_total Seconds spent computing.
        # TYPE dit_worker_busy_seconds_total counter
        dit_worker_busy_seconds_total{worker="a"} 1.5
        dit_worker_busy_seconds_total{worker="b"} 1.5
        # HELP dit_worker_uptime_seconds Seconds since the worker started.
        # TYPE dit_worker_uptime_seconds gauge
        dit_worker_uptime_seconds{worker="a"} 3
        # HELP dit_worker_rss_bytes Resident memory.
        # TYPE dit_worker_rss_bytes gauge
        dit_worker_rss_bytes{worker="a"} 1073741824
        # HELP dit_worker_queue Tasks that wait at the worker.
        # TYPE dit_worker_queue gauge
        dit_worker_queue{worker="a"} 0
        # HELP dit_credit_wait_seconds_total Seconds that work was ready and the next worker took none, by who waited.
        # TYPE dit_credit_wait_seconds_total counter
        dit_credit_wait_seconds_total{edge="coordinator"} 1.5
        dit_credit_wait_seconds_total{edge="a"} 0.25
        dit_credit_wait_seconds_total{edge="b"} 0.25
        # HELP dit_link_rtt_seconds Seconds there and back: of the last heartbeat to the coordinator, of the last measurement to a worker.
        # TYPE dit_link_rtt_seconds gauge
        dit_link_rtt_seconds{src="a",dst="coordinator"} 0.002
        dit_link_rtt_seconds{src="a",dst="b"} 0.0005
        # HELP dit_link_goodput_bytes Bytes a second that the link carries, as measured last.
        # TYPE dit_link_goodput_bytes gauge
        dit_link_goodput_bytes{src="a",dst="b"} 11700000
        # HELP dit_worker_replica 1 for the pipeline of the worker; all if it serves each.
        # TYPE dit_worker_replica gauge
        dit_worker_replica{worker="a",replica="0"} 1
        dit_worker_replica{worker="b",replica="0"} 1
        # HELP dit_link_messages_total Messages over a link.
        # TYPE dit_link_messages_total counter
        dit_link_messages_total{src="a",dst="b"} 36
        # HELP dit_link_bytes_total Bytes over a link, headers included, by the format of the message's hidden states; none without such.
        # TYPE dit_link_bytes_total counter
        dit_link_bytes_total{src="a",dst="b",dtype="f32"} 3000
        dit_link_bytes_total{src="a",dst="b",dtype="int8"} 700
        dit_link_bytes_total{src="a",dst="b",dtype="none"} 300
        # HELP dit_link_activation_bytes_total Bytes of hidden states over a link.
        # TYPE dit_link_activation_bytes_total counter
        dit_link_activation_bytes_total{src="a",dst="b"} 3600
        # HELP dit_link_send_seconds Seconds from a message being ready to the socket having taken all of it.
        # TYPE dit_link_send_seconds summary
        dit_link_send_seconds_sum{src="a",dst="b"} 1.8
        dit_link_send_seconds_count{src="a",dst="b"} 36

        """
}
