internal import Foundation
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

@Suite("A cluster with keys", .timeLimit(.minutes(10)), .serialized)
struct KeyedClusterTests {
    let folder = TemporaryFolder()
    private var keys: String { folder.path("keys") }

    /// Runs `abbozzo keys` in the test's folder of keys.
    @discardableResult
    private func keys(_ arguments: String..., in folder: String? = nil) async throws -> ProcessOutcome {
        try await Abbozzo.run(["keys"] + arguments + ["--keys", folder ?? keys])
    }

    /// Keys of the coordinator, of this user, of two workers and of another client; all authorised.
    private func makeKeys() async throws {
        try #require(try await keys("init").status == .exited(0))
        for (name, role) in [("node1", "worker"), ("node2", "worker"), ("mallory", "client")] {
            try #require(try await keys("new", role, name).status == .exited(0))
            let outcome = try await keys("authorize", "\(keys)/\(name).pub", "--role", role)
            try #require(outcome.status == .exited(0), "\(outcome.errors)")
        }
    }

    private func status(of cluster: TestCluster) async throws -> ClusterStatus {
        let nodes = try await cluster.client(["nodes", "ls", "--json", "--keys", keys])
        return try JSONDecoder().decode(ClusterStatus.self, from: Data(nodes.output.utf8))
    }

    @Test("draws what one process draws, admits nobody else, and goes on without a worker that is revoked")
    func cluster() async throws {
        try await makeKeys()
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 1)
        let batch = try folder.write(
            Array(TestPicture.all.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2, ["--keys", keys])
            for name in ["node1", "node2"] {
                _ = try await cluster.worker(name, model: TestPicture.model, ["--keys", keys])
            }
            let outcome = try await cluster.client(["submit", batch, "--folder", "batch", "--keys", keys])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(try cluster.pictures(in: "batch") == alone)

            let stranger = folder.path("stranger")
            try await keys("init", in: stranger)
            let wrong = try await cluster.client(["nodes", "ls", "--keys", stranger])
            #expect(wrong.status == .exited(4) && wrong.errorLines.count == 1, "\(wrong.errors)")
            let copied = try Data(contentsOf: URL(filePath: keys + "/coordinator.pub"))
            try copied.write(to: URL(filePath: stranger + "/coordinator.pub"))
            let unknown = try await cluster.client(["nodes", "ls", "--keys", stranger])
            #expect(unknown.status == .exited(4) && unknown.errors.contains("authorise"), "\(unknown.errors)")
            let none = try await cluster.client(["nodes", "ls", "--keys", "none"])
            #expect(none.status == .exited(4) && none.errors.contains("--keys"), "\(none.errors)")
            let worker = try await cluster.worker("node3", model: TestPicture.model)
            let refused = try await worker.outcome()
            #expect(refused.status == .exited(4) && refused.errors.contains("demands keys"), "\(refused.errors)")

            // A live worker, by removing its file, and a live client, by a file that is overwritten in place.
            try await keys("revoke", "node2")
            _ = try await cluster.coordinator.line(containing: "node2 is gone: its key")
            try Data().write(to: URL(filePath: keys + "/authorised/mallory.pub"))
            await cluster.coordinator.send(SIGHUP)
            _ = try await cluster.coordinator.line(containing: "the key of client mallory is not authorised")
            let again = try await cluster.client(["submit", batch, "--folder", "again", "--keys", keys])
            #expect(again.status == .exited(0), "\(again.errors)")
            #expect(try cluster.pictures(in: "again") == alone)
            let status = try await status(of: cluster)
            #expect(status.plan?.placements.map(\.worker) == ["node1"])
            let failures = try #require(status.authFailures)
            for reason in ["unknown_key", "bad_handshake", "revoked"] {
                #expect(failures[reason] ?? 0 > 0, "\(reason) in \(failures)")
            }
            // Who has no key may hang up before it has said so.
            #expect(failures["no_key", default: 0] + failures["half_handshake", default: 0] > 0, "\(failures)")
        }
    }

    /// Somebody who dials all sockets of a coordinator.
    private actor Visitor {
        let loop: PollLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
        private var sockets: [DealerSocket] = []
        private(set) var answers = 0

        init() throws { loop = try PollLoop(name: "visitor") }

        /// Says something that every socket would have to take seriously.
        func dial(_ endpoint: String, as name: String, _ security: Security, _ bodies: [Message]) throws {
            let options = SocketOptions(
                name: name, bootID: 1, security: security, limit: { _, _ in 1 << 20 })
            let socket = try DealerSocket(loop, options, to: Endpoint(endpoint))
            socket.onMessage = { _, _ in self.answers += 1 }
            for body in bodies { try socket.send(body) }
            sockets.append(socket)
        }
    }

    @Test("a batch runs through, with the bytes of one process, among everything that may come to its doors")
    func attacked() async throws {
        try await makeKeys()
        let alone = try await TestPicture.rendered(TestPicture.all, in: folder, threads: 1)
        let lines = (0..<6).flatMap { _ in TestPicture.all.map(\.line) }
        let batch = try folder.write(Array(lines.joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2, ["--keys", keys])
            let control = try Endpoint(cluster.endpoints["control"] ?? "")
            let relay = try #require(RecordingRelay(to: control.port))
            _ = try await cluster.worker("node1", model: TestPicture.model, ["--keys", keys])
            // Its control messages are recorded.
            _ = try await processes.start([
                "worker", "--coordinator", "tcp://127.0.0.1:\(relay.port)", "--name", "node2", "--model",
                TestPicture.model, "--threads", "1", "--keys", keys,
            ])
            let first = try await cluster.client(["submit", batch, "--folder", "quiet", "--keys", keys])
            #expect(first.status == .exited(0), "\(first.errors)")

            let submitted = try await cluster.client(
                ["submit", batch, "--folder", "loud", "--no-wait", "--json", "--keys", keys])
            #expect(submitted.status == .exited(0), "\(submitted.errors)")
            try await visit(cluster, recorded: relay.recorded)

            // The same batch under another name comes to its end behind the first.
            let last = try await cluster.client(["submit", batch, "--folder", "last", "--keys", keys])
            #expect(last.status == .exited(0), "\(last.errors)")
            let expected = (0..<6).flatMap { _ in alone }
            for name in ["quiet", "loud", "last"] { #expect(try cluster.pictures(in: name) == expected, "\(name)") }

            let failures = try #require(try await status(of: cluster).authFailures)
            for reason in ["no_key", "unknown_key", "bad_handshake", "wrong_role", "wrong_name", "half_handshake"] {
                #expect(failures[reason] ?? 0 > 0, "\(reason) in \(failures)")
            }
            let said = await cluster.coordinator.errorsSoFar + cluster.coordinator.outputSoFar
            #expect(said.contains("x wrong_role, the last was "), "\(said)")
            #expect(!said.contains("node2 is gone") && !said.contains("node1 is gone"), "\(said)")
            for name in ["coordinator", "node1", "node2", "mallory"] {
                let secret = try KeyFile(secretPath: "\(keys)/\(name).key").key
                #expect(!said.contains(secret))
            }
        }
    }

    /// How ZMTP 3.0 greets without keys.
    private var openGreeting: [UInt8] {
        let words = [0xff] + [UInt8](repeating: 0, count: 8) + [0x7f, 3, 0] + Array("NULL".utf8)
        return words + [UInt8](repeating: 0, count: 64 - words.count)
    }

    private func visit(_ cluster: TestCluster, recorded: [UInt8]) async throws {
        let folder = KeyFolder(keys)
        let (node, user) = (try folder.forWorker("node2"), try folder.forClient(user: "mallory"))
        let stranger = Security(identity: try .fresh(), peerKey: node.peerKey)
        let mistaken = Security(
            identity: try #require(node.identity), peerKey: try KeyPair.fresh().publicKey)
        let asks = [
            try Message(ClientRequest.nodes, number: 1), try Message(ControlMessage.drain),
            .credit(limit: Credit(messages: 9), epoch: 1), Message(.clientRequest, sequence: 2, body: Array("{]".utf8)),
        ]
        let visitor = try Visitor()
        var connections: [RawTCP] = []
        for socket in ["control", "data", "client", "events"] {
            let endpoint = cluster.endpoints[socket] ?? ""
            let isWorkers = socket == "control" || socket == "data"
            try await visitor.dial(endpoint, as: "node2/1", .none, asks)
            try await visitor.dial(endpoint, as: "node2/2", stranger, asks)
            try await visitor.dial(endpoint, as: "node2/3", mistaken, asks)
            try await visitor.dial(endpoint, as: isWorkers ? "mallory/1" : "node2/4", isWorkers ? user : node, asks)
            if socket != "events" {
                try await visitor.dial(endpoint, as: isWorkers ? "node1/2" : "anna/1", isWorkers ? node : user, asks)
            }
            let port = try Endpoint(endpoint).port
            for round in 0..<100 {
                guard let connection = RawTCP(port: port) else { continue }
                switch round % 10 {
                case 0: connection.send(recorded)
                case 1: connection.send((0..<2000).map { _ in UInt8.random(in: 0...255) })
                case 2: connection.send(Array("GET / HTTP/1.1\r\n\r\n".utf8))
                case 3: connection.send(openGreeting)
                default: break
                }
                connections.append(connection)
            }
        }
        // Frames that no decoder likes, from somebody who may speak.
        let client = cluster.endpoints["client"] ?? ""
        var tensors = Message(.velocity, tensors: [WireTensor(.prompt, text: "no request")])
        tensors.step = 7
        try await visitor.dial(client, as: "mallory/2", user, [asks[3], asks[1], tensors, asks[2]])
        while await visitor.answers == 0 { try await Task.sleep(for: .milliseconds(20)) }
        // Time in which the other questions would be answered, if they ever were.
        try await Task.sleep(for: .seconds(3))
        let answers = await visitor.answers
        #expect(answers == 1, "only the broken request of the client who may speak is answered")
        connections = []
        await visitor.loop.stop()
    }

    @Test("daemons and clients refuse a secret that others can read, and say what to run")
    func exposed() async throws {
        try await makeKeys()
        for path in ["coordinator", "node1", NSUserName()] {
            chmod("\(keys)/\(path).key", 0o644)
        }
        let commands = [
            ["coordinator", "--control", "tcp://127.0.0.1:0", "--output", folder.path, "--state", folder.path],
            ["worker", "--name", "node1", "--model", TestPicture.model], ["nodes", "ls"],
        ]
        for command in commands {
            let outcome = try await Abbozzo.run(command + ["--keys", keys], in: folder.path)
            #expect(outcome.status == .exited(1) && outcome.errors.contains("chmod 600"), "\(outcome.errors)")
        }
    }

    @Test("verbs refuse names that are paths, other roles and unknown names with one line, and tell no secret")
    func verbs() async throws {
        try await makeKeys()
        for arguments in [
            ["new", "worker", "../evil"], ["new", "coordinator", "two"], ["new", "worker", "node1"], ["init"],
            ["authorize", "\(keys)/node1.pub", "--role", "client"], ["authorize", "/etc/passwd", "--role", "worker"],
            ["revoke", "nobody"], ["revoke", "../node1"],
        ] {
            let outcome = try await Abbozzo.run(["keys"] + arguments + ["--keys", keys])
            #expect(outcome.status == .exited(1) && outcome.errorLines.count == 1, "\(arguments): \(outcome.errors)")
        }
        let secret = try KeyFile(secretPath: keys + "/node1.key").key
        for arguments in [
            ["ls", "--json"], ["ls"], ["revoke", "node1"], ["authorize", "\(keys)/node1.key", "--role", "worker"],
        ] {
            let outcome = try await Abbozzo.run(["keys"] + arguments + ["--keys", keys])
            #expect(!outcome.output.contains(secret) && !outcome.errors.contains(secret), "\(arguments)")
        }
    }

    @Test("a client finds the keys of its user by itself, and does without where a coordinator here has none")
    func standard() async throws {
        let home = folder.path("home")
        let environment = ["XDG_CONFIG_HOME": home, "ABBOZZO_KEYS": ""]
        let made = try await Abbozzo.run(["keys", "init"], environment: environment)
        #expect(made.status == .exited(0) && made.output.contains(home + "/abbozzo/keys"), "\(made.errors)")
        try await withProcesses { processes in
            for more in [["--keys", home + "/abbozzo/keys"], []] {
                let cluster = try await TestCluster.start(processes, in: folder.path("\(more.count)"), more)
                let nodes = try await Abbozzo.run(
                    ["nodes", "ls"],
                    environment: environment.merging(["ABBOZZO_COORDINATOR": cluster.endpoints["client"] ?? ""]) { $1 })
                #expect(nodes.status == .exited(0), "\(nodes.errors)")
            }
        }
    }

    @Test("whose key to expect is asked for on loopback, too, and not where there are to be none")
    func serverKey() async throws {
        let home = folder.path("asked"), keys = home + "/abbozzo/keys"
        let environment = ["XDG_CONFIG_HOME": home, "ABBOZZO_KEYS": ""]
        for arguments in [
            ["init"], ["new", "worker", "node1"], ["authorize", keys + "/node1.pub", "--role", "worker"],
        ] {
            let outcome = try await Abbozzo.run(["keys"] + arguments, environment: environment)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
        }
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, ["--keys", keys])
            _ = try await cluster.worker(
                "node1", model: TestPicture.model, ["--server-key", keys + "/coordinator.pub"], environment: environment
            )
            // Ends when the worker has drawn it: one without keys is not let in.
            let outcome = try await Abbozzo.run(
                ["submit", "-p", "p", "--width", "64", "--height", "64", "--steps", "1"],
                environment: environment.merging(["ABBOZZO_COORDINATOR": cluster.endpoints["client"] ?? ""]) { $1 })
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
        }
        for command in [
            ["worker", "--name", "node1", "--model", TestPicture.model], ["nodes", "ls"],
        ] {
            let outcome = try await Abbozzo.run(
                command + ["--keys", "none", "--server-key", keys + "/coordinator.pub"])
            #expect(outcome.status == .exited(1) && outcome.errors.contains("--server-key"), "\(outcome.errors)")
        }
    }
}
