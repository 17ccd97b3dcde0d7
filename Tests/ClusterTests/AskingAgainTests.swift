internal import Checkpoint
internal import Plan
internal import Stages
internal import TestKit
internal import Testing
internal import Wire

/// A coordinator that takes batches and goes away before it says so.
private actor ForgetfulCoordinator {
    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let facts: ModelFacts
    private let losses: Int
    private var endpoint = ""
    private var router: RouterSocket?
    /// Keys of the batches that it was handed, in order.
    private(set) var keys: [String] = []

    /// Loses the answers to so many batches before it gives one.
    init(_ facts: ModelFacts, losses: Int) throws {
        self.facts = facts
        self.losses = losses
        loop = try PollLoop(name: "forgetful")
    }

    /// Listens, from the second time on where it did before.
    @discardableResult
    func listen() throws -> String {
        let options = SocketOptions.client(name: "coordinator", bootID: 5, accepting: .clientRequest)
        let router = try RouterSocket(loop, options)
        router.onMessage = { message, peer in self.answer(message, peer) }
        self.router = router
        endpoint = try router.listen(on: Endpoint(endpoint.isEmpty ? "tcp://127.0.0.1:*" : endpoint)).description
        return endpoint
    }

    func close() { router?.close() }

    /// Listens as soon as the port is free, never from within the socket's own turn.
    private func listenAgain() {
        loop.schedule(after: .milliseconds(5)) {
            do { try self.listen() } catch { self.listenAgain() }
        }
    }

    private func answer(_ message: Message, _ peer: String) {
        do {
            switch try message.clientRequest(from: peer) {
            case .model: try reply(.model(facts), message.sequence, peer)
            case .submit(let submission):
                keys.append(submission.key ?? "")
                guard keys.count <= losses else {
                    return try reply(.accepted(JobID(high: 1, low: 2), duplicate: losses > 0), message.sequence, peer)
                }
                close()
                listenAgain()
            case let request: Issue.record("\(request)")
            }
        } catch { Issue.record(error) }
    }

    private func reply(_ reply: ClientReply, _ number: UInt64, _ peer: String) throws {
        try router?.send(Message(reply, number: number), to: peer)
    }
}

@Suite("A batch whose answer was lost", .timeLimit(.minutes(5)))
struct AskingAgainTests {
    private func submitted(losses: Int, _ more: [String]) async throws -> (outcome: ProcessOutcome, keys: [String]) {
        let facts = try ModelFacts(folder: ModelFolder(path: Fixtures.path + "/flux-dev/model"))
        let coordinator = try ForgetfulCoordinator(facts, losses: losses)
        let endpoint = try await coordinator.listen()
        let outcome = try await Abbozzo.run(
            ["submit", "-p", "a fox", "--no-wait", "--width", "64", "--height", "64"] + more,
            environment: ["ABBOZZO_COORDINATOR": endpoint])
        let keys = await coordinator.keys
        await coordinator.close()
        await coordinator.loop.stop()
        return (outcome, keys)
    }

    @Test(
        "is handed over again with the same key, and its own job is no duplicate",
        arguments: [[], ["--key", "monday"]])
    func again(more: [String]) async throws {
        let (outcome, keys) = try await submitted(losses: 2, more)
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        #expect(outcome.output == "\(JobID(high: 1, low: 2))\n")
        #expect(outcome.errorLines.count == 2 && outcome.errorLines.allSatisfy { $0.hasSuffix("; asking again") })
        #expect(keys.count == 3 && Set(keys).count == 1 && keys != ["", "", ""])
        if let key = more.last { #expect(keys.first == key) }
    }

    @Test("two batches without a key have different ones")
    func once() async throws {
        let first = try await submitted(losses: 0, [])
        let second = try await submitted(losses: 0, [])
        #expect(first.outcome.status == .exited(0) && second.outcome.status == .exited(0))
        #expect(first.keys.count == 1 && second.keys.count == 1 && first.keys != second.keys)
    }
}
