internal import Plan
internal import Testing

@testable internal import Wire

/// A coordinator's client socket that answers what it is told to.
actor MockCoordinator {
    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var router: RouterSocket?
    private(set) var images = 0

    init() throws { loop = try PollLoop(name: "mock") }

    func listen() throws -> Endpoint {
        let options = SocketOptions.client(name: "coordinator", bootID: 5, accepting: .clientRequest)
        let router = try RouterSocket(loop, options)
        router.onMessage = { message, peer in self.answer(message, peer) }
        self.router = router
        return try router.listen(on: Endpoint("tcp://127.0.0.1:*"))
    }

    private func answer(_ message: Message, _ peer: String) {
        guard let request = try? message.clientRequest(from: peer) else { return }
        switch request {
        case .submit(let submission):
            images += submission.images.count
            reply(.accepted(JobID(high: 1, low: 2), duplicate: false), message.sequence, peer)
        case .drain(let worker) where worker == "late":
            loop.schedule(after: .milliseconds(150)) { self.reply(.done, message.sequence, peer) }
        case .drain: break
        case .nodes: router?.close()
        default: reply(.failure(ClientFailure(.unknown, "no such job")), message.sequence, peer)
        }
    }

    private func reply(_ reply: ClientReply, _ number: UInt64, _ peer: String) {
        if let message = try? Message(reply, number: number) { try? router?.send(message, to: peer) }
    }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct ClientTests {
    @Test("requests are answered by number, in any order, ten thousand prompts included")
    func requests() async throws {
        let mock = try MockCoordinator()
        let client = try await ClientConnection.connect(to: try await mock.listen())
        async let late = client.request(.drain(worker: "late"), timeout: .seconds(30))
        let accepted = try await client.request(.submit(Samples.job(10_000)), timeout: .seconds(30))
        #expect(accepted == .accepted(JobID(high: 1, low: 2), duplicate: false))
        #expect(await mock.images == 10_000)
        #expect(
            try await client.request(.job(JobID(high: 0, low: 0))) == .failure(ClientFailure(.unknown, "no such job")))
        #expect(try await late == .done)
        await #expect(throws: WireError(.timeout(endpoint: client.endpoint.description, seconds: 0.2))) {
            try await client.request(.drain(worker: "never"), timeout: .milliseconds(200))
        }
        await #expect(throws: WireError(.lost(endpoint: client.endpoint.description))) {
            try await client.request(.nodes, timeout: .seconds(20))
        }
        await client.close()
        await #expect(throws: WireError(.closed)) { try await client.request(.nodes) }
        await mock.loop.stop()
    }

    @Test("nobody at the endpoint is an error within the time given")
    func unreachable() async throws {
        let client = try await ClientConnection.connect(to: Endpoint("tcp://127.0.0.1:1"))
        let start = ContinuousClock.now
        do {
            _ = try await client.request(.nodes, timeout: .milliseconds(300))
            Issue.record("somebody answered")
        } catch let error as WireError {
            #expect(error.isUnreachable)
            #expect(error.description.contains("tcp://127.0.0.1:1"))
        }
        #expect(ContinuousClock.now - start < .seconds(60))
        await client.close()
    }
}

@Suite struct EndpointTests {
    @Test("endpoints are read, written and told apart")
    func reading() throws {
        #expect(try Endpoint("tcp://127.0.0.1:*") == Endpoint(host: "127.0.0.1", port: 0))
        #expect(try Endpoint("tcp://[::1]:5790").host == "::1")
        for text in ["tcp://node-1.lan:5790", "tcp://[fe80::1]:1", "tcp://*:0"] {
            #expect(try Endpoint(text).description == text)
        }
        let bad = [
            "", "tcp://", "tcp://a", "tcp://:1", "tcp://a:70000", "tcp://a:b", "udp://a:1", "tcp://a b:1",
            "tcp://::1:5",
            "tcp://a*:1", "tcp://[a]:1", "inproc://zeromq.zap.01", "tcp://a/b:1",
        ]
        for text in bad { #expect(throws: WireError.self, "\(text)") { try Endpoint(text) } }
        #expect(try Endpoint("tcp://127.9.9.9:1").isLoopback && Endpoint("tcp://localhost:1").isLoopback)
        #expect(try !Endpoint("tcp://127.evil.org:1").isLoopback && !Endpoint("tcp://128.0.0.1:1").isLoopback)
        #expect(try Endpoint("tcp://0.0.0.0:5791").at(host: "node1").description == "tcp://node1:5791")
    }
}
