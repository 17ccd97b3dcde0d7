internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("abbozzo plan", .timeLimit(.minutes(10)))
struct PlanTests {
    /// The parts of the report that are looked at.
    private struct Report: Decodable {
        struct Forecast: Decodable {
            struct Node: Decodable {
                let name: String
                let memoryBytes: Double
            }

            let picturesPerHour: Double
            let nodes: [Node]
        }

        struct Replicas: Decodable { let groups: [[String]] }
        struct Scaled: Decodable { let efficiency: Double }

        let isMeasured: Bool
        let forecast: Forecast?
        let replicas: Replicas?
        let scaled: [Scaled]

        init(_ outcome: ProcessOutcome) throws {
            self = try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8))
        }
    }

    @Test("plans for nodes that need not exist, and says when copies beside each other are faster")
    func hypothetical() async throws {
        let folder = TemporaryFolder()
        let nodes = try folder.write(
            Array("nodes: [{name: n, count: 3, gflops: 10, memory_gib: 4}, {name: f, gflops: 30, memory_gib: 4}]".utf8))
        let arguments = ["plan", "--nodes", nodes, "--model", TestPicture.model, "--preset", "flux-4x"]
        let outcome = try await Abbozzo.run(arguments + ["--json", "--scale", "4,8"])
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        let report = try Report(outcome)
        let rate = try #require(report.forecast).picturesPerHour
        #expect(rate > 0)
        #expect(report.scaled.count == 2 && report.scaled.allSatisfy { 0.5...1.0 ~= $0.efficiency })
        #expect(report.replicas?.groups.count == 4)
        let slow = try Report(try await Abbozzo.run(arguments + ["--json", "--network-mbit", "0.1"]))
        #expect(try #require(slow.forecast).picturesPerHour < rate, "the nodes say nothing of their link")
        let text = try await Abbozzo.run(arguments)
        #expect(text.output.contains("pictures an hour") && text.output.contains("pipelines beside each other"))
    }

    @Test("memory is planned by the format and by how the model is stored, whether or not speed is measured here")
    func memory() async throws {
        let folder = TemporaryFolder()
        func bytes(_ decoder: String, _ arguments: [String]) async throws -> Double {
            let list = "nodes: [{name: n, gflops: 10, memory_gib: 4, roles: [encoder, blocks]}, \(decoder)]"
            let nodes = try folder.write(Array(list.utf8))
            let small = ["--width", "64", "--height", "64", "--text-length", "16"]
            let outcome = try await Abbozzo.run(["plan", "--nodes", nodes, "--json"] + small + arguments)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let forecast = try #require(try Report(outcome).forecast)
            return try #require(forecast.nodes.first { $0.name == "n" }).memoryBytes
        }
        let rated = "{name: m, gflops: 10, memory_gib: 4, roles: [decoder]}"
        let measured = "{name: m, speed: 1, memory_gib: 4, roles: [decoder]}"
        let model = ["--model", TestPicture.model]
        let long = try await bytes(rated, model)
        let short = try await bytes(rated, model + ["--compute", "bf16"])
        #expect(short < long)
        #expect(try await bytes(rated, model + ["--compute", "int8"]) < short)
        // The same sizes, stored in 16 bits.
        let stored = ["--model", Fixtures.path + "/flux-schnell/model"]
        let half = try await bytes(rated, stored)
        #expect(half < 0.9 * long)
        #expect(try await bytes(measured, stored) == half)
    }

    @Test("says in one line what is missing, and refuses files that make no sense")
    func refuses() async throws {
        let folder = TemporaryFolder()
        let small = try folder.write(Array("nodes: [{name: n, gflops: 10, memory_gib: 0.0001}]".utf8), name: "small")
        let outcome = try await Abbozzo.run(["plan", "--nodes", small, "--model", TestPicture.model])
        #expect(outcome.status == .exited(1) && outcome.errors.contains("more RAM on n"), "\(outcome.errors)")
        let broken = try folder.write(Array("nodes: 3".utf8), name: "broken")
        let other = try await Abbozzo.run(["plan", "--nodes", broken, "--model", TestPicture.model])
        #expect(other.status == .exited(1) && other.errors.hasPrefix("error: "))
        let node = try folder.write(Array("nodes: [{name: n, gflops: 10, memory_gib: 64}]".utf8), name: "node")
        for arguments in [
            ["--width", "1000", "--height", "1000"], ["--width", "-64", "--height", "64"], ["--steps", "100000"],
            ["--width", "4294967296", "--height", "4294967296"], ["--scale", "1000"],
        ] {
            let outcome = try await Abbozzo.run(["plan", "--nodes", node, "--model", TestPicture.model] + arguments)
            #expect(outcome.status == .exited(1) && !outcome.errors.isEmpty, "\(arguments): \(outcome)")
        }
        for arguments in [["--model", TestPicture.model], ["--compute", "int8"]] {
            let outcome = try await Abbozzo.run(["plan"] + arguments)
            #expect(outcome.status == .exited(1) && outcome.errors.contains("--nodes"), "\(arguments): \(outcome)")
        }
    }

    @Test("workers measure before they join; the coordinator plans by that, and plan says what it did")
    func ofCluster() async throws {
        let folder = TemporaryFolder()
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2, ["--cut", "measured"])
            for name in ["left", "right"] {
                _ = try await cluster.worker(name, model: TestPicture.model, ["--benchmark", "fresh"])
            }
            let client = try await cluster.connect()
            var workers: [WorkerStatus] = []
            while workers.count < 2 || workers.contains(where: { $0.placement != nil && $0.life != .ready }) {
                try await Task.sleep(for: .milliseconds(50))
                guard case .nodes(let status) = try await client.request(.nodes), status.plan != nil else { continue }
                workers = status.workers
            }
            await client.close()
            for worker in workers { #expect(worker.hello.profile?.costs?.isSane == true) }
            let outcome = try await cluster.client(["plan", "--preset", "flux-4x", "--json"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let report = try Report(outcome)
            #expect(report.isMeasured)
            #expect(report.forecast.map { $0.picturesPerHour > 0 } == true)
        }
    }
}
