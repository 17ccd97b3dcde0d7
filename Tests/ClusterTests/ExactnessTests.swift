internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("The same bytes everywhere", .timeLimit(.minutes(10)), .serialized)
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

    @Test(
        "in a shorter format clusters draw what one process draws in it, and no worker of another format joins",
        arguments: [("bf16", 1), ("bf16", 2), ("bf16", 3), ("int8", 2)])
    func formats(_ format: String, _ workers: Int) async throws {
        let folder = TemporaryFolder()
        let long = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2)
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2, ["--compute", format])
        #expect(zip(alone, long).allSatisfy { $0 != $1 })
        let verified = try await Abbozzo.run([
            "image", "verify", folder.path("alone-0.png"), "--model", TestPicture.model,
        ])
        #expect(verified.status == .exited(0), "\(verified.errors)")

        let batch = try folder.write(
            Array(TestPicture.all.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: workers)
            for index in 1...workers {
                _ = try await cluster.worker("node\(index)", model: TestPicture.model, ["--compute", format])
            }
            let outcome = try await cluster.client(["submit", batch, "--folder", "batch"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(try cluster.pictures(in: "batch") == alone)

            let other = try await cluster.worker("other", model: TestPicture.model)
            let refusal = try await other.outcome()
            #expect(refusal.status == .exited(4) && refusal.errors.contains("--compute"), "\(refusal.errors)")
        }
    }

    @Test("copies of the model in folders of other names draw the same bytes")
    func otherNames() async throws {
        let folder = TemporaryFolder()
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2)
        let batch = try folder.write(
            Array(TestPicture.all.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        let copy = folder.path("copy")
        try FileManager.default.createSymbolicLink(atPath: copy, withDestinationPath: TestPicture.model)
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2)
            for (name, model) in [("node1", copy), ("node2", TestPicture.model)] {
                _ = try await cluster.worker(name, model: model)
                _ = try await cluster.coordinator.line(containing: "\(name) joined")
            }
            let outcome = try await cluster.client(["submit", batch, "--folder", "batch"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(try cluster.pictures(in: "batch") == alone)
        }
    }

    /// What happens to a cluster of three in the middle of a batch.
    enum Mishap: Sendable, CustomTestStringConvertible {
        case killed(String)
        case stopped(String)
        case drained(String)
        case coordinatorKilled

        var testDescription: String {
            switch self {
            case .killed(let name): "\(name) is killed"
            case .stopped(let name): "\(name) stops like a process that hangs, and goes on later"
            case .drained(let name): "\(name) is told to leave"
            case .coordinatorKilled: "the coordinator is killed and started again"
            }
        }
    }

    @Test(
        "what happens in the middle of a batch changes no byte",
        arguments: [
            Mishap.killed("node1"), .killed("node2"), .killed("node3"), .stopped("node1"), .stopped("node2"),
            .stopped("node3"), .drained("node2"), .coordinatorKilled,
        ])
    func mishap(_ mishap: Mishap) async throws {
        let folder = TemporaryFolder()
        let pictures = (0..<4).map { TestPicture(prompt: "a fox \($0)", seed: $0, flags: TestPicture.all[0].flags) }
        let alone = try await TestPicture.rendered(pictures, in: folder, threads: 2)
        let batch = try folder.write(Array(pictures.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let lan = try folder.write(Array("liveness: lan\n".utf8), name: "lan.yaml")
            let isStopped = if case .stopped = mishap { true } else { false }
            let cluster = try await TestCluster.start(
                processes, in: folder.path, workers: 3, isStopped ? ["--config", lan] : [])
            var workers: [String: ChildProcess] = [:]
            for name in ["node1", "node2", "node3"] {
                workers[name] = try await cluster.worker(name, model: TestPicture.model)
            }
            let submitted = try await cluster.client(["submit", batch, "--folder", "batch", "--no-wait"])
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            var client = try await cluster.connect()
            var status = try await watched(id, client, version: 0)
            while !status.images.contains(where: { if case .running(let step, _) = $0 { step >= 3 } else { false } }) {
                try #require(!status.isFinal, "the batch was over too early")
                status = try await watched(id, client, version: status.version)
            }

            switch mishap {
            case .killed(let name): await workers[name]?.send(SIGKILL)
            case .stopped(let name): await workers[name]?.send(SIGSTOP)
            case .drained(let name):
                await workers[name]?.send(SIGTERM)
                let outcome = try await #require(workers[name]).outcome()
                #expect(outcome.status == .exited(0))
            case .coordinatorKilled:
                await cluster.coordinator.send(SIGKILL)
                _ = try await cluster.coordinator.outcome()
                await client.close()
                _ = try await cluster.again(in: folder.path, workers: 3)
                client = try await cluster.connect()
                status = try await watched(id, client, version: 0)
            }

            while !status.isFinal { status = try await watched(id, client, version: status.version) }
            #expect(status.done == pictures.count && status.failed == 0)
            if case .nodes(let nodes) = try await client.request(.nodes) {
                #expect(nodes.plan?.epoch ?? 0 > 1)
                switch mishap {
                case .killed(let name), .stopped(let name), .drained(let name):
                    #expect(nodes.plan?.placements.contains { $0.worker == name } == false)
                case .coordinatorKilled: #expect(nodes.plan?.placements.count == 3)
                }
            }
            if case .stopped(let name) = mishap {
                // It still believes in the old plan: it is told, and comes back as a new member.
                await workers[name]?.send(SIGCONT)
                var isBack = false
                while !isBack, case .nodes(let nodes) = try await client.request(.nodes) {
                    isBack = nodes.workers.contains { $0.hello.name == name && $0.life == .ready }
                    try await Task.sleep(for: .milliseconds(50))
                }
            }
            await client.close()
            #expect(try cluster.pictures(in: "batch") == alone)
        }
    }

    private func watched(_ id: JobID, _ client: ClientConnection, version: UInt64) async throws -> JobStatus {
        guard case .job(let status) = try await client.request(.watch(id, version: version)) else {
            throw RenderFailure(description: "no status of \(id)")
        }
        return status
    }
}
