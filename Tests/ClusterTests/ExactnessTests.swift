internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("The same bytes everywhere", .timeLimit(.minutes(1)), .serialized)
struct ExactnessTests {
    /// Workers, blocks of each (none: an even cut), threads of each.
    static let clusters: [(workers: Int, cut: [Int], threads: Int)] = [
        (1, [], 1), (1, [], 2), (2, [], 1), (2, [1, 4], 2), (3, [], 2), (3, [1, 1, 3], 1),
    ]

    @Test("clusters of one, two and three workers, cut anyhow, draw what one process draws", arguments: clusters)
    func clusterEqualsRender(_ shape: (workers: Int, cut: [Int], threads: Int)) async throws {
        let folder = TemporaryFolder()
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 3 - shape.threads)
        let batch = try folder.write(
            Array(TestPicture.all.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cut = shape.cut.isEmpty ? [] : ["--cut", shape.cut.map(String.init).joined(separator: ",")]
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: shape.workers, cut)
            for index in 1...shape.workers {
                _ = try await cluster.worker("node\(index)", model: TestPicture.model, threads: shape.threads)
            }
            let outcome = try await cluster.client(["submit", batch, "--folder", "batch"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(try cluster.pictures(in: "batch") == alone)

            let client = try await cluster.connect()
            if case .nodes(let status) = try await client.request(.nodes) {
                let lengths = status.plan?.pipeline.map(\.span.count) ?? []
                #expect(lengths.count == shape.workers && lengths.reduce(0, +) == 5)
                if !shape.cut.isEmpty { #expect(lengths == shape.cut) }
            }
            await client.close()
        }
    }

    @Test("a worker killed in the middle of a batch changes no byte", arguments: ["node1", "node2", "node3"])
    func killedWorker(_ victim: String) async throws {
        let folder = TemporaryFolder()
        let pictures = (0..<4).map { TestPicture(prompt: "a fox \($0)", seed: $0, flags: TestPicture.all[0].flags) }
        let alone = try await TestPicture.rendered(pictures, in: folder, threads: 2)
        let batch = try folder.write(Array(pictures.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 3)
            var workers: [String: ChildProcess] = [:]
            for name in ["node1", "node2", "node3"] {
                workers[name] = try await cluster.worker(name, model: TestPicture.model)
            }
            let submitted = try await cluster.client(["submit", batch, "--folder", "batch", "--no-wait"])
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            let client = try await cluster.connect()
            func next(_ version: UInt64) async throws -> JobStatus {
                guard case .job(let status) = try await client.request(.watch(id, version: version)) else {
                    throw RenderFailure(description: "no status of \(id)")
                }
                return status
            }
            var status = try await next(0)
            while !status.images.contains(where: { if case .running(let step, _) = $0 { step >= 3 } else { false } }) {
                try #require(!status.isFinal, "the batch was over before the worker could be killed")
                status = try await next(status.version)
            }
            await workers[victim]?.send(SIGKILL)
            while !status.isFinal { status = try await next(status.version) }
            #expect(status.done == pictures.count && status.failed == 0)
            if case .nodes(let nodes) = try await client.request(.nodes) {
                #expect(nodes.plan?.epoch ?? 0 > 1)
                #expect(nodes.plan?.placements.contains { $0.worker == victim } == false)
            }
            await client.close()
            #expect(try cluster.pictures(in: "batch") == alone)
        }
    }
}
