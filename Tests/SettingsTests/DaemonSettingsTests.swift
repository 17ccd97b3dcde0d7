internal import Foundation
internal import Plan
internal import Settings
internal import TestKit
internal import Testing

@Suite("Settings of the daemons")
struct DaemonSettingsTests {
    @Test("the sample files hold every key with its default, and can be read")
    func samples() throws {
        let folder = Fixtures.root + "/configs"
        #expect(try CoordinatorFile(path: folder + "/coordinator.yaml") == CoordinatorFile())
        #expect(try WorkerFile(path: folder + "/worker.yaml") == WorkerFile())
        #expect(try CoordinatorFile(path: folder + "/one-host.yaml").workers == 2)
        for (file, keys) in [
            ("coordinator.yaml", CoordinatorFile.keys), ("worker.yaml", WorkerFile.keys),
        ] {
            let text = try String(contentsOfFile: "\(folder)/\(file)", encoding: .utf8)
            for key in keys {
                #expect(text.contains("\n\(key): ") || text.contains("\n# \(key): "), "\(file) lacks \(key)")
            }
        }
    }

    @Test(
        "the sample clusters can be read; their workers find the coordinator, agree on a format, and can be planned over",
        arguments: ["two-racks", "mixed-nodes"])
    func sampleClusters(name: String) throws {
        let folder = Fixtures.root + "/configs/" + name
        let coordinator = try CoordinatorFile(path: folder + "/coordinator.yaml")
        let nodes = try NodesFile(path: folder + "/nodes.yaml")
        let others = try FileManager.default.contentsOfDirectory(atPath: folder).filter {
            !["coordinator.yaml", "nodes.yaml"].contains($0)
        }
        let workers = try others.map { try WorkerFile(path: "\(folder)/\($0)") }
        #expect(!workers.isEmpty)
        #expect(workers.allSatisfy { $0.coordinator == coordinator.control && $0.compute == workers[0].compute })
        #expect(workers.allSatisfy { $0.keysFolder != nil } && coordinator.keysFolder != nil)
        for role in Role.allCases {
            #expect(workers.contains { $0.roles.contains(role) } && nodes.nodes.contains { $0.roles.contains(role) })
        }
        // What the files' comments promise.
        let count = nodes.nodes.flatMap(\.names).count
        switch name {
        case "two-racks":
            #expect(coordinator.workers == count && coordinator.cut == .even && coordinator.wire == .format(.f32))
        default:
            #expect(coordinator.cut == .measured && coordinator.wire == .format(.bf16))
            #expect(coordinator.lostAfterSeconds == 6)
            #expect(workers.contains { $0.roles == [.blocks] && $0.memoryGiB == 10 && $0.benchmark == .fresh })
            #expect(nodes.nodes.map(\.networkMbit).min() == coordinator.networkMbit)
        }
        // The files that comments name are there.
        for file in try FileManager.default.contentsOfDirectory(atPath: folder) {
            let text = try String(contentsOfFile: "\(folder)/\(file)", encoding: .utf8)
            for match in text.matches(of: /(configs|deploy)\/[a-z@.\/-]*[a-z]/) {
                #expect(FileManager.default.fileExists(atPath: "\(Fixtures.root)/\(match.0)"), "\(file): \(match.0)")
            }
        }
    }

    @Test("every field can be set")
    func sets() throws {
        let worker = try WorkerFile(
            text: """
                name: node-1.a
                model: /m
                coordinator: tcp://h:1
                bind: tcp://0.0.0.0:5800
                advertise: h2
                threads: 3
                cores: 0-1,5
                compute: bf16
                memory_gib: 1.5
                benchmark: fresh
                roles: [blocks, decoder]
                log_level: debug
                log_format: json
                """, file: "w.yaml")
        #expect(worker.name == "node-1.a" && worker.model == "/m" && worker.coordinator == "tcp://h:1")
        #expect(worker.bind == "tcp://0.0.0.0:5800" && worker.advertise == "h2" && worker.threads == 3)
        #expect(worker.memoryGiB == 1.5 && worker.roles == [.blocks, .decoder] && worker.logLevel == .debug)
        #expect(worker.logFormat == .json)
        #expect(try CoordinatorFile(text: "log_format: json", file: "c.yaml").logFormat == .json)
        #expect(worker.benchmark == .fresh && worker.compute == .bf16 && worker.cores?.cores == [0, 1, 5])
        let coordinator = try CoordinatorFile(
            text: "workers: 3\ncut: [1, 5]\nflights_per_worker: 4\noutput: o\n", file: "c.yaml")
        #expect(coordinator.workers == 3 && coordinator.cut == .counts([1, 5]))
        #expect(try CoordinatorFile(text: "cut: even", file: "c.yaml").cut == .even)
        #expect(try CoordinatorFile(text: "replicas: 3", file: "c.yaml").replicas == .count(3))
        #expect(try CoordinatorFile(text: "replicas: auto", file: "c.yaml").replicas == .auto)
        #expect(coordinator.flightsPerWorker == 4 && coordinator.output == "o")
        let limits = try CoordinatorFile(
            text: "job_limit: 7\nqueue_mib: 3\nliveness: lan\nlost_after_seconds: 5\n", file: "c.yaml")
        #expect(limits.jobLimit == 7 && limits.queueMiB == 3 && limits.liveness == .lan && limits.lostAfterSeconds == 5)
    }

    @Test(
        "refuses impossible values of a worker with the line",
        arguments: [
            "name: a b", "name: coordinator", "name: é", "coordinator: localhost",
            "coordinator: tcp://10.0.0.1", "coordinator: tcp://", "advertise: 10.0.0.2:5800",
            "advertise: tcp://node1", "advertise: node 1", "advertise: '[fe80::1]'", "bind: tcp://x:99999",
            "threads: 0", "memory_gib: 0", "roles: [painter]", "roles: []", "benchmark: sometimes",
            "log_level: loud", "log_format: xml", "compute: f16", "thread: 1", "threads: [1]", "cores: 3-1",
            "cores: all",
        ])
    func refusesWorker(line: String) throws {
        let error = #expect(throws: SettingsError.self) { try WorkerFile(text: "# w\n" + line, file: "w.yaml") }
        #expect(error?.line == 2)
        #expect(error?.description.contains("\n") == false)
    }

    @Test(
        "refuses impossible values of a coordinator with the line",
        arguments: [
            "http_port: 70000", "workers: 0", "queue_limit: 0", "lost_after_seconds: 0.1", "job_limit: 0",
            "queue_mib: -1", "liveness: wan", "attempts: none",
            "data: udp://a:1", "flights_per_worker: 0", "cut: []", "cut: [0, 6]", "cut: [9223372036854775807, 1]",
            "cut: fair",
            "network_mbit: 0",
            "insecure_network: perhaps", "output: []", "port: 1", "output: null", "state: ~", "advertise: null",
        ])
    func refusesCoordinator(line: String) throws {
        let error = #expect(throws: SettingsError.self) {
            try CoordinatorFile(text: "# c\n" + line, file: "c.yaml")
        }
        #expect(error?.line == 2)
    }

    @Test("a null in quotes is a name like any other")
    func quotedNull() throws {
        #expect(try CoordinatorFile(text: "output: \"null\"", file: "c.yaml").output == "null")
    }
}
