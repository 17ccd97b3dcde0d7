internal import Foundation
internal import Glibc
internal import Plan
internal import Tensors
internal import TestKit
internal import Testing
internal import Wire

/// Who is alive, who only seems so, and who may have a name: with real processes.
@Suite("Liveness", .serialized, .timeLimit(.minutes(10)))
struct LivenessTests {
    private let folder = TemporaryFolder()
    private let small = ["--width", "64", "--height", "64", "--text-length", "16", "--steps", "2"]

    @Test("of two workers of one name the first stays; the second is refused, and let in at once when the first dies")
    func twins() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let first = try await cluster.worker("a", model: TestPicture.model)
            var outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let second = try await cluster.worker("a", model: TestPicture.model)
            _ = try await second.line(containing: "is here already and alive")
            outcome = try await cluster.client(["submit", "-p", "two"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")

            let client = try await cluster.connect()
            let before = try await nodes(client)
            #expect(before.plan?.epoch == 1, "the second one disturbed the first")
            #expect(before.workers.count == 1 && before.workers.first?.life == .ready)
            let run = before.workers.first?.hello.bootID
            let clock = ContinuousClock()
            let killed = clock.now
            await first.send(SIGKILL)
            while try await nodes(client).workers.first?.hello.bootID == run {
                // As long as a worker that only fell silent would lock it out.
                try #require(clock.now - killed < .seconds(10), "still locked out")
                try await Task.sleep(for: .milliseconds(20))
            }
            outcome = try await cluster.client(["submit", "-p", "three"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            await client.close()
        }
    }

    @Test("a worker that is told to end when its coordinator is gone ends by itself")
    func endsAlone() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: TestPicture.model)
            let outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            await cluster.coordinator.send(SIGKILL)
            _ = try await cluster.coordinator.outcome()
            await worker.send(SIGTERM)
            #expect(try await worker.outcome().status == .exited(0))
        }
    }

    @Test("a daemon that crashes is gone at once")
    func crashes() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: TestPicture.model)
            _ = try await cluster.coordinator.line(containing: "a joined")
            for process in [worker, cluster.coordinator] {
                await process.send(SIGABRT)
                #expect(try await process.outcome(within: .seconds(60)).status == .signaled(SIGABRT))
            }
        }
    }

    @Test("a worker that is told to end while it starts ends at once")
    func endsInStart() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            // Measures its speed for most of a second; a large model takes minutes.
            let worker = try await cluster.worker(
                "a", model: TestPicture.model, ["--benchmark", "fresh"],
                environment: ["XDG_CACHE_HOME": folder.path("cache")])
            let pid = try #require(await worker.pid)
            let clock = ContinuousClock()
            let began = clock.now
            // Before that any process would end by the signal.
            while try !catches(SIGTERM, pid) {
                try #require(clock.now - began < .seconds(60), "it does not listen to signals")
                try await Task.sleep(for: .milliseconds(5))
            }
            await worker.send(SIGTERM)
            let outcome = try await worker.outcome(within: .seconds(60))
            #expect(outcome.status == .signaled(SIGTERM))
            #expect(!outcome.output.contains("started"))
        }
    }

    /// Whether a process has a handler for a signal.
    ///
    /// Source: proc_pid_status(5), `SigCgt`, a mask in hexadecimal.
    private func catches(_ signal: Int32, _ pid: Int32) throws -> Bool {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("SigCgt:") })
        let mask = try #require(UInt64(line.dropFirst("SigCgt:".count).drop { $0 == "\t" }, radix: 16))
        return mask & 1 << UInt64(signal - 1) != 0
    }

    @Test("the service manager hears of both daemons that they are ready, that they live, and that they stop")
    func serviceManager() async throws {
        let managers = (NotifySocket(folder.path("coordinator")), NotifySocket(folder.path("worker")))
        // A sign of life every tenth of a second.
        func environment(_ manager: NotifySocket) -> [String: String] {
            ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "400000"]
        }
        func hear(_ manager: NotifySocket, until test: ([String]) -> Bool) async throws {
            let clock = ContinuousClock()
            let began = clock.now
            var heard: [String] = []
            while !test(heard) {
                try #require(clock.now - began < .seconds(20), "heard only \(heard)")
                try await Task.sleep(for: .milliseconds(10))
                heard += manager.heard
            }
        }
        func isAlive(_ heard: [String]) -> Bool { heard.count { $0 == "WATCHDOG=1" } >= 3 }
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(
                processes, in: folder.path, environment: environment(managers.0))
            try await hear(managers.0) { $0.contains("READY=1") && isAlive($0) }
            let worker = try await cluster.worker("a", model: TestPicture.model, environment: environment(managers.1))
            try await hear(managers.1) { $0.contains("READY=1") && isAlive($0) }
            for (process, manager) in [(worker, managers.1), (cluster.coordinator, managers.0)] {
                await process.send(SIGTERM)
                try await hear(manager) { $0.contains("STOPPING=1") }
                #expect(try await process.outcome().status == .exited(0))
            }
        }
    }

    @Test("a worker gives no sign of life while its task stands for as long as the watchdog waits")
    func standing() async throws {
        let manager = NotifySocket(folder.path("worker"))
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            // No block is done within a microsecond, so there are signs of life between tasks only, ten a second.
            let worker = try await cluster.worker(
                "a", model: TestPicture.model,
                environment: ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "1"])
            _ = try await worker.line(containing: "started ")
            _ = try await cluster.client(["submit", "-p", "one"] + small)
            let before = try await busy(cluster)
            // The kernel keeps only ten of them for who does not read.
            let listener = Task {
                _ = manager.heard
                var signs = 0
                while !Task.isCancelled {
                    try? await Task.sleep(for: .milliseconds(100))
                    signs += manager.heard.count
                }
                return signs
            }
            let outcome = try await cluster.client(
                ["submit", "-p", "two", "--width", "1024", "--height", "1024", "--text-length", "16", "--steps", "8"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let seconds = try await busy(cluster) - before
            listener.cancel()
            let signs = await listener.value
            #expect(Double(signs) < 5 + 5 * seconds, "\(signs) signs of life, \(seconds) s of work")
        }
    }

    @Test("a worker told to stay on a core has all its threads there; on one that it may not use it does not start")
    func cores() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let core = try #require(ProcessCores.allowed?.cores.last)
            let worker = try await cluster.worker("a", model: TestPicture.model, ["--cores", "\(core)"])
            let outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let tasks = "/proc/\(try #require(await worker.pid))/task"
            let threads = try FileManager.default.contentsOfDirectory(atPath: tasks)
            #expect(threads.count > 1)
            for thread in threads {
                // A thread may have ended meanwhile.
                let path = "\(tasks)/\(thread)/status"
                guard let status = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
                #expect(status.contains("Cpus_allowed_list:\t\(core)\n"))
            }
            let refused = try await cluster.worker("b", model: TestPicture.model, ["--cores", "1023"])
            let ending = try await refused.outcome()
            #expect(ending.status != .exited(0))
            #expect(ending.errors.contains("cores 1023: this process may run on "), "\(ending.errors)")
        }
    }

    @Test("a worker's own page tells of it, and goes on when its coordinator is gone")
    func page() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: TestPicture.model)
            let started = try await worker.line(containing: "started ")
            let port = try #require(started.split(separator: ":").last.flatMap { UInt16($0) }, "\(started)")
            let outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let lines = try metrics(port)
            #expect(lines.contains("dit_worker_state{worker=\"a\",state=\"ready\"} 1"))
            #expect(lines.contains("dit_worker_connected{worker=\"a\"} 1"))
            #expect(lines.contains("dit_tokens_total{worker=\"a\"} 32"))
            await cluster.coordinator.send(SIGKILL)
            _ = try await cluster.coordinator.outcome()
            let clock = ContinuousClock()
            let killed = clock.now
            while try !metrics(port).contains("dit_worker_connected{worker=\"a\"} 0") {
                try #require(clock.now - killed < .seconds(30), "its page says nothing of a lost coordinator")
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func metrics(_ port: UInt16) throws -> [Substring] {
        let connection = try #require(RawTCP(port: port), "nobody listens at \(port)")
        connection.send(Array("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
        return String(decoding: connection.receiveAll(), as: UTF8.self).split(whereSeparator: \.isNewline)
    }

    private func busy(_ cluster: TestCluster) async throws -> Double {
        let client = try await cluster.connect()
        let counters = try await nodes(client).workers.first?.counters
        await client.close()
        return Double(counters?.busyNanoseconds ?? 0) * 1e-9
    }

    private func nodes(_ client: ClientConnection) async throws -> ClusterStatus {
        guard case .nodes(let status) = try await client.request(.nodes) else {
            throw RenderFailure(description: "no nodes")
        }
        return status
    }
}
