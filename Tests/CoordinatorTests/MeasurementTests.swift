@testable import Coordinator
import CoreMetrics
import Plan
import Telemetry
import Testing

/// What the coordinator counts, and under which names it shows.
struct MeasurementTests {
    @Test("a picture's wait and making are measured, with its preset, and how it ended")
    func pictures() throws {
        let bench = Bench()
        var request = ImageRequest.euler("p")
        request.preset = "quick"
        _ = try bench.submit([request])
        bench.wait(3)
        bench.join("a")
        bench.work()
        let waits = waits(bench)
        #expect(waits.count == 1 && waits.allSatisfy { 3...5 ~= $0 }, "\(waits)")
        let ends = bench.measurements.compactMap { measurement -> Double? in
            if case .finished(.done, "quick", let seconds, 0) = measurement { seconds } else { nil }
        }
        #expect(ends.count == 1 && ends.allSatisfy { 0.004...0.1 ~= $0 }, "\(ends)")
        #expect(bench.measurements.contains(.planned(.joined)))
        #expect(!bench.measurements.contains(.replayed))
    }

    @Test("a picture that is tried again has waited since then")
    func waitsAgain() throws {
        let bench = Bench()
        var request = ImageRequest.euler("p")
        request.preset = "quick"
        let id = try bench.submit([request])
        #expect(bench.ask(.cancel(id)) == .done)
        bench.wait(100)
        #expect(bench.ask(.retry(id)) == .done)
        bench.wait(3)
        bench.join("a")
        bench.work()
        let waits = waits(bench)
        #expect(waits.count == 1 && waits.allSatisfy { 3...5 ~= $0 }, "\(waits)")
    }

    /// How long the pictures of the preset waited.
    private func waits(_ bench: Bench) -> [Double] {
        bench.measurements.compactMap { if case .admitted("quick", let waited) = $0 { waited } else { nil } }
    }

    @Test("a step that a lost worker had in hand counts as replayed and its picture as recovered, once")
    func recovery() throws {
        let bench = Bench()
        bench.join("a", "b")
        _ = try bench.submit([.euler("p")])
        bench.work(until: { $0.key.need == .step && $0.key.step == 1 })
        bench.handle(.disconnected(worker: "b", bootID: 1))
        bench.wait(2.5, beating: ["a"])
        bench.tasks = []
        bench.load()
        bench.work()
        #expect(bench.measurements.filter { $0 == .planned(.lost) }.count == 1)
        #expect(bench.measurements.filter { $0 == .recovered(.lost) }.count == 1)
        #expect(bench.measurements.filter { $0 == .replayed }.count == 1)
        let replayed = bench.measurements.compactMap {
            if case .finished(_, _, _, let count) = $0 { count } else { nil }
        }
        #expect(replayed == [1])
    }

    @Test("time in which steps are ready and the first worker takes none is counted until it takes one")
    func creditWait() throws {
        let bench = Bench()
        bench.say(.hello(FakeModel.hello("a")), "a")
        bench.wait(0.6)
        let epoch = try #require(bench.core.plan?.epoch)
        bench.say(.loaded(Loaded(epoch: epoch, residentBytes: 1)), "a")
        bench.handle(.credit(limit: Credit(), epoch: epoch, from: "a"))
        _ = try bench.submit([.euler("p")])
        bench.work()
        bench.wait(2, beating: ["a"])
        bench.handle(.credit(limit: Credit(messages: 1), epoch: epoch, from: "a"))
        let total = creditWaits(bench)
        #expect(1.9...2.1 ~= total, "\(total)")
        bench.wait(1, beating: ["a"])
        #expect(creditWaits(bench) == total)
    }

    private func creditWaits(_ bench: Bench) -> Double {
        bench.measurements.reduce(0) { if case .creditWaited(let seconds) = $1 { $0 + seconds } else { $0 } }
    }

    @Test("every series is there from the start, and names of presets cannot multiply without end")
    func names() {
        let registry = MetricsRegistry()
        let metrics = CoordinatorMetrics(registry)
        for measurement in [Measurement.replayed, .staleAnswer, .planned(.lost), .recovered(.link)] {
            metrics.note(measurement, model: "demo")
        }
        metrics.note(.admitted(preset: "p0", waited: 2), model: "demo")
        metrics.note(.admitted(preset: "p1", waited: 0), model: "other")
        metrics.note(.creditWaited(seconds: 0.25), model: "demo")
        for index in 0..<100 {
            metrics.note(.finished(.done, preset: "p\(index)", seconds: 1, replayed: 0), model: "demo")
        }
        metrics.note(.finished(.failed, preset: "../etc {evil=\"1\"}", seconds: 1, replayed: 3), model: "demo")
        var exposition = Exposition()
        registry.write(to: &exposition)
        let lines = exposition.text.split(separator: "\n")
        for line in [
            "dit_replayed_steps_total 1", "dit_stale_answers_total 1", "dit_replans_total{cause=\"lost\"} 1",
            "dit_replans_total{cause=\"joined\"} 0", "dit_recoveries_total{cause=\"link\"} 1",
            "dit_queue_wait_seconds_sum 2", "dit_images_completed_total{model=\"demo\",preset=\"p0\"} 1",
            "dit_images_completed_total{model=\"demo\",preset=\"other\"} 68",
            "dit_images_finished_total{model=\"demo\",outcome=\"done\",preset=\"p0\"} 1",
            "dit_images_finished_total{model=\"demo\",outcome=\"failed\",preset=\"p0\"} 0",
            "dit_images_completed_total{model=\"other\",preset=\"p1\"} 0",
            "dit_images_finished_total{model=\"demo\",outcome=\"done\",preset=\"other\"} 68",
            "dit_images_finished_total{model=\"demo\",outcome=\"failed\",preset=\"other\"} 1",
            "dit_image_replayed_steps_sum 3", "dit_image_replayed_steps_count 101",
        ] {
            #expect(lines.contains { $0 == line }, "\(line)")
        }
        #expect(!exposition.text.contains("evil"))
        #expect(metrics.creditWaitSeconds == 0.25)
        let described = Set(CoordinatorService.metricMeanings.map(\.name))
        for line in lines where line.hasPrefix("# TYPE ") {
            let name = line.split(separator: " ")[2]
            #expect(described.contains(String(name)), "no meaning is given for \(name)")
        }
    }
}
