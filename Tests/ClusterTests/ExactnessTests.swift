internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("The same bytes everywhere", .timeLimit(.minutes(10)), .serialized)
struct ExactnessTests {
    /// A cluster: workers, blocks of each (none: an even cut), threads of each, pictures in flight for each.
    struct Shape: Sendable, CustomTestStringConvertible {
        let workers: Int
        var cut: [Int] = []
        var threads = 1
        var flights = 2

        var testDescription: String {
            "\(workers) workers, cut \(cut.isEmpty ? "even" : "\(cut)"), threads \(threads), flights \(flights)"
        }
    }

    static let shapes = [
        Shape(workers: 1, flights: 1), Shape(workers: 2, cut: [2, 7], threads: 2, flights: 4), Shape(workers: 3),
        Shape(workers: 4, cut: [4, 1, 3, 1], flights: 1), Shape(workers: 8, flights: 3),
        Shape(workers: 8, cut: [1, 1, 1, 1, 1, 1, 2, 1], threads: 2, flights: 1),
    ]

    @Test(
        "clusters of one to eight workers, cut anyhow, with any threads and pictures in flight, draw what one process draws",
        arguments: ["f32", "bf16"])
    func clusterEqualsRender(_ format: String) async throws {
        let folder = TemporaryFolder()
        let model = try DeepModel(in: folder).path
        let third = TestPicture(prompt: "a boat", seed: 9, flags: ["sampler": "euler", "steps": "2"])
        let pictures = TestPicture.all + [third]
        let computing = ["--compute", format]
        let alone = try await TestPicture.rendered(pictures, in: folder, model: model, threads: 2, computing)
        let batch = try TestPicture.batch(pictures, in: folder)
        for (number, shape) in Self.shapes.enumerated() {
            try await withProcesses { processes in
                let cut = shape.cut.isEmpty ? [] : ["--cut", shape.cut.map(String.init).joined(separator: ",")]
                let cluster = try await TestCluster.start(
                    processes, in: folder.path("\(number)"), workers: shape.workers,
                    cut + ["--flights-per-worker", "\(shape.flights)"])
                for index in 1...shape.workers {
                    _ = try await cluster.worker("node\(index)", model: model, threads: shape.threads, computing)
                }
                let outcome = try await cluster.client(["submit", batch, "--folder", "batch"])
                #expect(outcome.status == .exited(0), "\(shape.testDescription): \(outcome.errors)")
                #expect(try cluster.pictures(in: "batch") == alone, "\(shape.testDescription)")

                let client = try await cluster.connect()
                let lengths = try await client.nodes().plan?.pipeline.map(\.span.count) ?? []
                #expect(lengths.count == shape.workers && lengths.allSatisfy { $0 > 0 }, "\(lengths)")
                #expect(lengths.reduce(0, +) == DeepModel.blockCount)
                if !shape.cut.isEmpty { #expect(lengths == shape.cut) }
                await client.close()
            }
        }
    }

    @Test(
        "in a shorter format clusters draw what one process draws in it, and no worker of another format joins",
        arguments: [("bf16", 2), ("int8", 2)])
    func formats(_ format: String, _ workers: Int) async throws {
        let folder = TemporaryFolder()
        let long = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2)
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 2, ["--compute", format])
        #expect(zip(alone, long).allSatisfy { $0 != $1 })
        let verified = try await Abbozzo.run([
            "image", "verify", folder.path("alone-0.png"), "--model", TestPicture.model,
        ])
        #expect(verified.status == .exited(0), "\(verified.errors)")

        let batch = try TestPicture.batch(TestPicture.all, in: folder)
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
        let batch = try TestPicture.batch(TestPicture.all, in: folder)
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

    /// What happens to a cluster in the middle of a batch.
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

    static let mishaps: [Mishap] = [
        .killed("node1"), .killed("node2"), .killed("node3"), .stopped("node1"), .stopped("node2"), .stopped("node3"),
        .drained("node2"), .coordinatorKilled,
    ]

    @Test(
        "what happens in the middle of a batch changes no byte",
        arguments: mishaps.map { ($0, 3, "f32") } + [(.killed("node2"), 4, "bf16"), (.coordinatorKilled, 4, "bf16")])
    func mishap(_ mishap: Mishap, _ workerCount: Int, _ format: String) async throws {
        let folder = TemporaryFolder()
        let computing = ["--compute", format]
        let pictures = (0..<4).map { TestPicture(prompt: "a fox \($0)", seed: $0, flags: TestPicture.all[0].flags) }
        let alone = try await TestPicture.rendered(pictures, in: folder, threads: 2, computing)
        let batch = try TestPicture.batch(pictures, in: folder)
        try await withProcesses { processes in
            let lan = try folder.write(Array("liveness: lan\n".utf8), name: "lan.yaml")
            let isStopped = if case .stopped = mishap { true } else { false }
            let cluster = try await TestCluster.start(
                processes, in: folder.path, workers: workerCount, isStopped ? ["--config", lan] : [])
            var workers: [String: ChildProcess] = [:]
            for name in (1...workerCount).map({ "node\($0)" }) {
                workers[name] = try await cluster.worker(name, model: TestPicture.model, computing)
            }
            let submitted = try await cluster.client(["submit", batch, "--folder", "batch", "--no-wait"])
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            var client = try await cluster.connect()
            var status = try await client.watched(id)
            while !status.images.contains(where: { if case .running(let step, _) = $0 { step >= 3 } else { false } }) {
                try #require(!status.isFinal, "the batch was over too early")
                status = try await client.watched(id, version: status.version)
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
                _ = try await cluster.again(in: folder.path, workers: workerCount)
                client = try await cluster.connect()
                status = try await client.watched(id)
            }

            while !status.isFinal { status = try await client.watched(id, version: status.version) }
            #expect(status.done == pictures.count && status.failed == 0)
            if case .nodes(let nodes) = try await client.request(.nodes) {
                #expect(nodes.plan?.epoch ?? 0 > 1)
                switch mishap {
                case .killed(let name), .stopped(let name), .drained(let name):
                    #expect(nodes.plan?.placements.contains { $0.worker == name } == false)
                case .coordinatorKilled: #expect(nodes.plan?.placements.count == workerCount)
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
}
