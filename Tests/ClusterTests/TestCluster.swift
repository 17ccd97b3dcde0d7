internal import Foundation
internal import Plan
internal import TestKit
internal import Wire

/// Tiny processes of a cluster for one test: a coordinator on ports that the system chose, and workers.
struct TestCluster {
    /// The coordinator.
    let coordinator: ChildProcess
    /// Its sockets by name: control, data, client, events.
    let endpoints: [String: String]
    /// Folder of pictures.
    let output: String
    private let processes: ProcessSet

    /// Starts a coordinator whose files are below `folder`; it cuts evenly unless told otherwise.
    ///
    /// Times measured on the tests' small models, beside other tests, would leave some workers without blocks.
    static func start(
        _ processes: ProcessSet, in folder: String, workers: Int = 1, _ more: [String] = [],
        environment: [String: String] = [:]
    ) async throws -> TestCluster {
        let any = "tcp://127.0.0.1:0"
        let cut = more.contains("--cut") ? [] : ["--cut", "even"]
        let coordinator = try await processes.start(
            [
                "coordinator", "--control", any, "--data", any, "--client", any, "--events", any, "--http-port", "0",
                "--output", folder + "/pictures", "--state", folder + "/state", "--workers", "\(workers)",
            ] + cut + more, environment: environment)
        let line = try await coordinator.line(containing: "ready ")
        let pairs = line.split(separator: " ").compactMap { word -> (String, String)? in
            let parts = word.split(separator: "=", maxSplits: 1)
            return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
        }
        return TestCluster(
            coordinator: coordinator, endpoints: Dictionary(pairs, uniquingKeysWith: { $1 }),
            output: folder + "/pictures", processes: processes)
    }

    /// Starts the coordinator again after its end, on the same ports with the same queue.
    func again(in folder: String, workers: Int = 1, _ more: [String] = []) async throws -> TestCluster {
        try await Self.start(
            processes, in: folder, workers: workers,
            ["control", "data", "client", "events"].flatMap { ["--\($0)", endpoints[$0] ?? ""] } + more)
    }

    /// Starts a worker.
    func worker(
        _ name: String, model: String, threads: Int = 1, _ more: [String] = [], environment: [String: String] = [:]
    ) async throws -> ChildProcess {
        try await processes.start(
            [
                "worker", "--coordinator", endpoints["control"] ?? "", "--name", name, "--model", model, "--threads",
                "\(threads)",
            ] + (more.contains("--benchmark") ? [] : ["--benchmark", "off"]) + more, environment: environment)
    }

    /// Runs a client's verb to its end.
    func client(_ arguments: [String], limit: Duration = .seconds(50)) async throws -> ProcessOutcome {
        try await Abbozzo.run(
            arguments, environment: ["ABBOZZO_COORDINATOR": endpoints["client"] ?? ""], limit: limit)
    }

    /// The bytes of all pictures in a folder of the coordinator, in order of name, which is that of the batch.
    func pictures(in name: String) throws -> [Data] {
        let path = "\(output)/\(name)"
        return try FileManager.default.contentsOfDirectory(atPath: path).sorted().map {
            try Data(contentsOf: URL(filePath: "\(path)/\($0)"))
        }
    }

    /// A connection of this process to the coordinator.
    func connect() async throws -> ClientConnection {
        try await ClientConnection.connect(to: Endpoint(endpoints["client"] ?? ""))
    }
}

extension ClientConnection {
    /// A job as soon as it differs from `version`, or after a second.
    func watched(_ id: JobID, version: UInt64 = 0) async throws -> JobStatus {
        guard case .job(let status) = try await request(.watch(id, version: version)) else {
            throw RenderFailure(description: "no status of \(id)")
        }
        return status
    }

    /// The cluster now.
    func nodes() async throws -> ClusterStatus {
        guard case .nodes(let status) = try await request(.nodes) else {
            throw RenderFailure(description: "no status of the cluster")
        }
        return status
    }
}
