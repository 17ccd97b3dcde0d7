internal import Foundation
internal import TestKit
internal import Testing

@Suite("abbozzo plan", .timeLimit(.minutes(1)))
struct PlanTests {
    private func json(_ outcome: ProcessOutcome) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    }

    @Test("plans for nodes that need not exist, and says when copies beside each other are faster")
    func hypothetical() async throws {
        let folder = TemporaryFolder()
        let nodes = try folder.write(
            Array("nodes: [{name: n, count: 3, gflops: 10, memory_gib: 4}, {name: f, gflops: 30, memory_gib: 4}]".utf8))
        let arguments = ["plan", "--nodes", nodes, "--model", TestPicture.model, "--preset", "flux-4x"]
        let outcome = try await Abbozzo.run(arguments + ["--json", "--scale", "4,8"])
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        let report = try json(outcome)
        let forecast = try #require(report["forecast"] as? [String: Any])
        #expect((forecast["picturesPerHour"] as? Double ?? 0) > 0)
        #expect((report["scaled"] as? [Any])?.count == 2)
        #expect(((report["replicas"] as? [String: Any])?["groups"] as? [Any])?.count == 4)
        let text = try await Abbozzo.run(arguments)
        #expect(text.output.contains("pictures an hour") && text.output.contains("pipelines beside each other"))
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
            var isPlanned = false
            while !isPlanned {
                if case .nodes(let status) = try await client.request(.nodes) {
                    isPlanned =
                        status.workers.count == 2
                        && status.workers.allSatisfy { $0.life == .ready || $0.placement == nil }
                        && status.plan != nil
                    if isPlanned {
                        #expect(status.workers.allSatisfy { $0.hello.profile?.costs?.isSane == true })
                    }
                }
                try await Task.sleep(for: .milliseconds(50))
            }
            await client.close()
            let outcome = try await cluster.client(["plan", "--preset", "flux-4x", "--json"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let report = try json(outcome)
            #expect(report["isMeasured"] as? Bool == true)
            #expect(((report["forecast"] as? [String: Any])?["picturesPerHour"] as? Double ?? 0) > 0)
        }
    }
}
