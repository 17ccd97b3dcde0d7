internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("Replicas of processes", .timeLimit(.minutes(10)), .serialized)
struct ReplicaTests {
    @Test(
        "workers as replicas draw what one process draws, and every client sees who belongs where", arguments: [2, 4])
    func replicas(_ workers: Int) async throws {
        let folder = TemporaryFolder()
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2)
        // More than one replica may have in flight, so that both draw even if one was ready first.
        let lines = (0..<6).flatMap { _ in TestPicture.all.map(\.line) }
        let batch = try folder.write(Array(lines.joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(
                processes, in: folder.path, workers: workers, ["--replicas", "2"])
            for index in 1...workers { _ = try await cluster.worker("node\(index)", model: TestPicture.model) }
            let outcome = try await cluster.client(["submit", batch, "--folder", "batch"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(try cluster.pictures(in: "batch") == (0..<6).flatMap { _ in alone })

            // Counters come with the next heartbeats.
            var status: ClusterStatus
            repeat {
                let listed = try await cluster.client(["nodes", "ls", "--json"])
                status = try JSONDecoder().decode(ClusterStatus.self, from: Data(listed.output.utf8))
            } while !Task.isCancelled && status.workers.contains { $0.counters.steps == 0 }
            let pipelines = try #require(status.plan).pipelines
            #expect(pipelines.map(\.count) == [workers / 2, workers / 2])
            #expect(pipelines.allSatisfy { $0.reduce(0) { $0 + $1.span.count } == 5 })
            // Each replica has had pictures.
            for pipeline in pipelines {
                for share in pipeline {
                    let worker = try #require(status.workers.first { $0.hello.name == share.worker })
                    #expect(worker.placement?.replica == share.replica)
                }
            }
            for verb in [["nodes", "ls"], ["top", "--once"]] {
                let text = try await cluster.client(verb).output
                #expect(text.contains("REPLICA") && text.contains("over \(workers) workers in 2 replicas"), "\(text)")
            }
        }
    }

    @Test(
        "the loss of a worker of one replica changes no byte",
        arguments: [(2, "node2"), (4, "node1"), (4, "node4")])
    func killed(_ workers: Int, _ victim: String) async throws {
        let folder = TemporaryFolder()
        let pictures = (0..<8).map { TestPicture(prompt: "a fox \($0)", seed: $0, flags: TestPicture.all[0].flags) }
        let alone = try await TestPicture.rendered(pictures, in: folder, threads: 2)
        let batch = try folder.write(Array(pictures.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(
                processes, in: folder.path, workers: workers, ["--replicas", "2"])
            var running: [String: ChildProcess] = [:]
            for index in 1...workers {
                running["node\(index)"] = try await cluster.worker("node\(index)", model: TestPicture.model)
            }
            let submitted = try await cluster.client(["submit", batch, "--folder", "batch", "--no-wait"])
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            let client = try await cluster.connect()
            var status = try await client.watched(id)
            while !status.images.contains(where: { if case .running(let step, _) = $0 { step >= 3 } else { false } }) {
                try #require(!status.isFinal, "the batch was over too early")
                status = try await client.watched(id, version: status.version)
            }
            await running[victim]?.send(SIGKILL)
            while !status.isFinal { status = try await client.watched(id, version: status.version) }
            #expect(status.done == pictures.count && status.failed == 0)
            if case .nodes(let nodes) = try await client.request(.nodes) {
                let plan = try #require(nodes.plan)
                #expect(plan.epoch > 1 && !plan.placements.contains { $0.worker == victim })
                // Three workers are two replicas still, one worker is one.
                #expect(plan.pipelines.map(\.count) == (workers == 4 ? [2, 1] : [1]))
            }
            await client.close()
            #expect(try cluster.pictures(in: "batch") == alone)
        }
    }

    @Test("a number of replicas that makes no sense is refused in one line", arguments: ["0", "all", "1.5"])
    func refuses(_ text: String) async throws {
        let outcome = try await Abbozzo.run(["coordinator", "--replicas", text])
        #expect(outcome.status == .exited(1) && outcome.errors.contains("auto or a number"), "\(outcome.errors)")
    }
}
