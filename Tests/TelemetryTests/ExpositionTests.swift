internal import CoreMetrics
internal import Logging
internal import Plan
internal import Testing

@testable internal import Telemetry

@Suite struct ExpositionTests {
    @Test("instruments of swift-metrics appear as Prometheus text")
    func registry() {
        let registry = MetricsRegistry()
        registry.describe("dit_auth_failures_total", "Refused\nconnections, \\ and \"quotes\".")
        let failures = Counter(
            label: "dit_auth_failures_total", dimensions: [("reason", "a \"b\"\\\nc")], factory: registry)
        failures.increment(by: 3)
        Counter(label: "dit_auth_failures_total", dimensions: [("reason", "a \"b\"\\\nc")], factory: registry)
            .increment()
        Gauge(label: "queue.depth", factory: registry).record(2.5)
        Meter(label: "dit_plan_epoch", factory: registry).set(7)
        let timer = CoreMetrics.Timer(
            label: "dit_image_seconds", dimensions: [("preset", "flux-4x")], factory: registry)
        for nanoseconds in [1, 2, 3, 4] { timer.recordNanoseconds(Int64(nanoseconds) * 500_000_000) }

        var exposition = Exposition()
        registry.write(to: &exposition)
        #expect(
            exposition.text == #"""
                # HELP dit_auth_failures_total Refused\nconnections, \\ and "quotes".
                # TYPE dit_auth_failures_total counter
                dit_auth_failures_total{reason="a \"b\"\\\nc"} 4
                # HELP dit_image_seconds dit_image_seconds
                # TYPE dit_image_seconds summary
                dit_image_seconds{preset="flux-4x",quantile="0.5"} 1
                dit_image_seconds{preset="flux-4x",quantile="0.9"} 2
                dit_image_seconds{preset="flux-4x",quantile="0.99"} 2
                dit_image_seconds_sum{preset="flux-4x"} 5
                dit_image_seconds_count{preset="flux-4x"} 4
                # HELP dit_plan_epoch dit_plan_epoch
                # TYPE dit_plan_epoch gauge
                dit_plan_epoch 7
                # HELP queue_depth queue.depth
                # TYPE queue_depth gauge
                queue_depth 2.5

                """#)
        failures.destroy()
        var after = Exposition()
        registry.write(to: &after)
        #expect(!after.text.contains("auth"))
    }

    @Test("a name with two kinds stays one family")
    func twoKinds() {
        let registry = MetricsRegistry()
        Counter(label: "a", factory: registry).increment()
        Meter(label: "a", factory: registry).set(9)
        var exposition = Exposition()
        registry.write(to: &exposition)
        #expect(exposition.text == "# HELP a a\n# TYPE a counter\na 1\n")
    }

    @Test("numbers are written as Prometheus reads them")
    func numbers() {
        #expect(Exposition.number(.nan) == "NaN" && Exposition.number(-.infinity) == "-Inf")
        #expect(Exposition.number(1e14) == "100000000000000" && Exposition.number(0.1) == "0.1")
        #expect(Exposition.sanitized("4x.preset-é") == "_4x_preset__")
    }

    @Test("counting from many threads loses nothing")
    func threads() async {
        let registry = MetricsRegistry()
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask { for _ in 0..<1000 { Counter(label: "n", factory: registry).increment() } }
            }
        }
        var exposition = Exposition()
        registry.write(to: &exposition)
        #expect(exposition.text.hasSuffix("n 8000\n"))
    }
}

@Suite struct LogTests {
    @Test("an event is one line, as text or as JSON, whatever is in it")
    func lines() {
        let values = [("a", "1"), ("b", "x\ny\u{1b}[2J")]
        #expect(
            LineLog.line(
                time: "T", level: .info, label: "worker", message: "up\n\"now\"", values: values, format: .text)
                == "T info worker: up\\n\"now\" [a=1 b=x\\ny\\u{1b}[2J]\n")
        #expect(
            LineLog.line(time: "T", level: .error, label: "w", message: "\"\u{1}", values: values, format: .json)
                == #"{"time":"T","level":"error","label":"w","message":"\"\u0001","a":"1","b":"x\ny\u001b[2J"}"# + "\n")
    }

    @Test("a logger writes at its level and above, with its metadata")
    func levels() {
        let lines = Lines()
        var logger = Logger(label: "coordinator") { LineLog(label: $0, level: .notice) { lines.add($0) } }
        logger[metadataKey: "epoch"] = "3"
        logger.info("hidden")
        logger.warning("shown", metadata: ["worker": "a"])
        #expect(lines.all.count == 1)
        #expect(lines.all.first?.hasSuffix("Z warning coordinator: shown [epoch=3 worker=a]\n") == true, "\(lines.all)")
    }

    private final class Lines: @unchecked Sendable {
        private let lock = Lock()
        private var lines: [String] = []
        var all: [String] { lock.with { lines } }
        func add(_ line: String) { lock.with { lines.append(line) } }
    }
}
