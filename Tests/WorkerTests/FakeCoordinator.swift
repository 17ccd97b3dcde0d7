import Plan
import Wire

/// The coordinator's two sockets without its mind: the test decides what it says.
actor FakeCoordinator {
    enum Inbound: Sendable {
        case control(ControlMessage)
        case data(Message)
        case gone
    }

    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var controlEndpoint = Endpoint(host: "127.0.0.1", port: 0)
    private(set) var dataEndpoint = Endpoint(host: "127.0.0.1", port: 0)
    private var control: RouterSocket?
    private var data: RouterSocket?
    /// The routing id of each worker by its name: the latest run.
    private var runs: [String: String] = [:]
    private var inbox: [(peer: String, what: Inbound)] = []
    private var waiter: (test: (String, Inbound) -> Bool, continuation: CheckedContinuation<Inbound, Never>)?
    private var answersHeartbeats = true

    private init(loop: PollLoop) { self.loop = loop }

    static func start() async throws -> FakeCoordinator {
        let fake = FakeCoordinator(loop: try PollLoop(name: "fake"))
        try await fake.open()
        return fake
    }

    private func open() throws {
        let control = try RouterSocket(loop, .control(name: "coordinator", bootID: 1))
        let data = try RouterSocket(
            loop, SocketOptions(name: "coordinator", bootID: 1, limit: { _, _ in 64 << 20 }))
        controlEndpoint = try control.listen(on: controlEndpoint)
        dataEndpoint = try data.listen(on: dataEndpoint)
        func name(_ peer: String) -> String {
            guard let run = RoutingID(peer) else { return peer }
            runs[run.name] = peer
            return run.name
        }
        control.onMessage = { message, peer in
            let peer = name(peer)
            guard let message = try? message.control(from: peer) else { return }
            if case .heartbeat = message, self.answersHeartbeats { self.tell(.alive, to: peer) }
            self.arrived(.control(message), from: peer)
        }
        control.onEvent = { event in
            if case .disconnected(let peer) = event { self.arrived(.gone, from: name(peer)) }
        }
        data.onMessage = { message, peer in self.arrived(.data(message), from: name(peer)) }
        self.control = control
        self.data = data
    }

    func stop() async {
        control?.close()
        data?.close()
        control = nil
        data = nil
    }

    func tell(_ message: ControlMessage, to peer: String) {
        if let message = try? Message(message) { try? control?.send(message, to: runs[peer] ?? peer) }
    }

    func give(_ message: Message, to peer: String) throws { try data?.send(message, to: runs[peer] ?? peer) }

    func welcome(_ peer: String) {
        tell(
            .welcome(Welcome(heartbeatMilliseconds: 50, dataEndpoint: dataEndpoint.description)),
            to: peer)
    }

    /// Waits for the first message of `peer` that passes the test, and forgets it; others stay for later.
    func next(from peer: String, where test: @escaping @Sendable (Inbound) -> Bool) async -> Inbound {
        if let index = inbox.firstIndex(where: { $0.peer == peer && test($0.what) }) {
            return inbox.remove(at: index).what
        }
        return await withCheckedContinuation { waiter = ({ $0 == peer && test($1) }, $0) }
    }

    func hello(from peer: String) async -> Hello? {
        if case .control(.hello(let hello)) = await next(
            from: peer, where: { if case .control(.hello) = $0 { true } else { false } })
        {
            hello
        } else {
            nil
        }
    }

    func loaded(from peer: String, _ epoch: Epoch) async -> Loaded? {
        if case .control(.loaded(let loaded)) = await next(
            from: peer, where: { if case .control(.loaded(let loaded)) = $0 { loaded.epoch == epoch } else { false } })
        {
            loaded
        } else {
            nil
        }
    }

    func answer(from peer: String, _ kind: MessageKind) async -> Message? {
        if case .data(let message) = await next(
            from: peer, where: { if case .data(let message) = $0 { message.kind == kind } else { false } })
        {
            message
        } else {
            nil
        }
    }

    func fault(from peer: String) async -> Fault? {
        if case .control(.fault(let fault)) = await next(
            from: peer, where: { if case .control(.fault) = $0 { true } else { false } })
        {
            fault
        } else {
            nil
        }
    }

    /// Waits until a worker's data link is up in an epoch.
    func credit(from peer: String, _ epoch: Epoch, limit: UInt32 = 0) async {
        _ = await next(from: peer) {
            if case .data(let message) = $0 {
                message.kind == .credit && message.epoch == epoch && message.argument >= limit
            } else {
                false
            }
        }
    }

    private func arrived(_ what: Inbound, from peer: String) {
        if let waiter, waiter.test(peer, what) {
            self.waiter = nil
            waiter.continuation.resume(returning: what)
        } else {
            inbox.append((peer, what))
        }
    }
}
