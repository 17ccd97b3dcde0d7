internal import FoundationEssentials
internal import Glibc
internal import Plan
internal import Testing

@testable internal import Wire

/// An actor on a loop of its own that keeps what its sockets hear.
actor Node {
    nonisolated let name: String
    nonisolated let loop: PollLoop
    nonisolated let meter = LinkMeter()
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private var router: RouterSocket?
    private(set) var dealer: DealerSocket?
    private(set) var messages: [(message: Message, peer: String)] = []
    private(set) var received = 0
    private(set) var events: [SocketEvent] = []
    /// Sends each message back.
    var echoes = false
    var keeps = true
    private var waiting:
        [(condition: @Sendable (isolated Node) -> Bool, continuation: CheckedContinuation<Void, Never>)] = []

    init(_ name: String) throws {
        self.name = name
        loop = try PollLoop(name: name)
    }

    private func options(_ change: (inout SocketOptions) -> Void) -> SocketOptions {
        var options = SocketOptions(name: name, bootID: 77, limit: { _, _ in 100 << 20 }, meter: meter)
        change(&options)
        return options
    }

    func listen(
        _ endpoint: String = "tcp://127.0.0.1:*", _ change: (inout SocketOptions) -> Void = { _ in }
    ) throws -> Endpoint {
        let router = try RouterSocket(loop, options(change))
        router.onMessage = { message, peer in self.take(message, peer) }
        router.onEvent = { event in self.note(event) }
        self.router = router
        do { return try router.listen(on: Endpoint(endpoint)) } catch {
            router.close()
            throw error
        }
    }

    func connect(to endpoint: Endpoint, _ change: (inout SocketOptions) -> Void = { _ in }) throws {
        let dealer = try DealerSocket(loop, options(change), to: endpoint)
        dealer.onMessage = { message, peer in self.take(message, peer) }
        dealer.onEvent = { event in self.note(event) }
        self.dealer = dealer
    }

    func disconnect() {
        dealer?.close()
        dealer = nil
    }

    func set(echoes: Bool = false, keeps: Bool = true) {
        self.echoes = echoes
        self.keeps = keeps
    }

    func send(_ message: Message, to peer: String) throws { try router?.send(message, to: peer) }
    func send(_ message: Message) throws(WireError) { try dealer?.send(message) }
    /// Sends it until the loop stops.
    func sendAgainAndAgain(_ message: Message) {
        loop.schedule(after: .zero, every: .milliseconds(50)) {
            self.assumeIsolated { try? $0.dealer?.send(message) }
        }
    }
    func cutRevoked() { router?.cutRevoked() }
    func queued(for peer: String? = nil) -> Int { (peer == nil ? dealer : router)?.queuedBytes(for: peer) ?? 0 }
    /// Peers that are connected, and those of which something is kept.
    var peers: [String] { (router?.peers ?? []) + (router?.assemblers.keys.sorted() ?? []) }

    var refusals: Int { events.count { if case .refused = $0 { true } else { false } } }

    /// Waits for something; returns too when the test is cancelled because its time is over.
    func until(_ condition: @escaping @Sendable (isolated Node) -> Bool) async {
        if condition(self) || Task.isCancelled { return }
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiting.append((condition, $0)) }
        } onCancel: {
            Task { await self.release() }
        }
    }

    private func release() {
        for waiter in waiting { waiter.continuation.resume() }
        waiting = []
    }

    private func take(_ message: Message, _ peer: String) {
        received += 1
        if keeps { messages.append((message, peer)) }
        if echoes { try? router?.send(message, to: peer) }
        wake()
    }

    private func note(_ event: SocketEvent) {
        events.append(event)
        wake()
    }

    private func wake() {
        for (index, waiter) in waiting.enumerated().reversed() where waiter.condition(self) {
            waiting.remove(at: index)
            waiter.continuation.resume()
        }
    }
}

private func activation(megabytes: Int) -> Message {
    var bytes = [UInt8](repeating: 0, count: megabytes << 20)
    for index in stride(from: 0, to: bytes.count, by: 251) { bytes[index] = UInt8(truncatingIfNeeded: index / 251) }
    return Message(
        .activation, epoch: 1, image: Samples.image,
        tensors: [WireTensor(.image, .f32, dims: [bytes.count / 4096, 1024], bytes: bytes)])
}

/// Opens two sockets, connects them, sends something in every second round, and closes both.
private func cycle(_ round: Int) async throws {
    let (left, right) = (try Node("left"), try Node("right"))
    try await left.connect(to: try await right.listen())
    if round % 4 == 0 {
        try await left.send(.credit(limit: Credit(messages: 1), epoch: 1))
        await right.until { $0.received == 1 }
    } else if round % 4 == 1 {
        try await left.send(activation(megabytes: 1))
    }
    await left.loop.stop()
    await right.loop.stop()
}

func openDescriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }

/// Descriptors of this process that belong to a port it listens on: the listening one and those it accepted.
func openConnections(at port: UInt16) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int32($0) }.count { descriptor in
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isSocket = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) == 0 }
        }
        return isSocket && address.sin_family == sa_family_t(AF_INET) && UInt16(bigEndian: address.sin_port) == port
    }
}

func threads() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count }

@Suite(.serialized, .timeLimit(.minutes(10))) struct SocketTests {
    @Test("incomplete messages of all peers together stay within their bound, and whole ones pass beside them")
    func boundsPartials() async throws {
        let listener = try Node("listener")
        let endpoint = try await listener.listen { $0.partialBytes = 5 * Chunker.chunkBytes }
        let large = Message(.control, body: [UInt8](repeating: 7, count: 2 * Chunker.chunkBytes))
        var nodes: [Node] = []
        for name in ["a", "b", "c", "d"] {
            let node = try Node(name)
            try await node.connect(to: endpoint)
            nodes.append(node)
        }
        var numbered = large
        (numbered.sequence, numbered.bootID) = (1, 77)
        let first = Chunker(numbered).frames(0)
        try await nodes[0].sendRaw(first)
        try await nodes[1].sendRaw(first)
        await listener.until { Set($0.peers).isSuperset(of: ["a", "b"]) }
        try await nodes[2].send(large)
        await listener.until { $0.refusals > 0 }
        try await nodes[3].send(Message(.control, body: [1]))
        await listener.until { $0.received == 1 }
        await nodes[1].disconnect()
        await listener.until { !$0.peers.contains("b") }
        try await nodes[2].send(large)
        await listener.until { $0.received == 2 }
        #expect(await listener.messages.map(\.peer) == ["d", "c"])
        for node in nodes + [listener] { await node.loop.stop() }
    }

    @Test("large activations cross between two loops unharmed, and both sides count the same bytes")
    func large() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        let endpoint = try await right.listen()
        #expect(endpoint.port != 0 && endpoint.isLoopback)
        try await left.connect(to: endpoint) { $0.peerName = "right" }
        let message = activation(megabytes: 60)
        let clock = ContinuousClock()
        try await left.send(message)
        await right.until { $0.received == 1 }
        let time = try await clock.measure {
            for _ in 0..<4 {
                try await left.send(message)
            }
            await right.until { $0.received == 5 }
        }
        print("wire: \(Int(4 * 60 * 1.048576 / (time / .seconds(1)))) MB/s with messages of 60 MiB")
        let messages = await right.messages
        #expect(messages.map(\.peer) == Array(repeating: "left", count: 5))
        #expect(messages.allSatisfy { $0.message.tensors == message.tensors && $0.message.image == message.image })
        let expected = {
            var link = LinkCounters(source: "left", target: "right")
            link.messages = 5
            link.activationBytes = 5 * 60 << 20
            link.totalBytes = UInt64(5 * message.wireBytes)
            link.hiddenBytes = [.f32: link.totalBytes]
            return link
        }()
        #expect(await right.events == [.connected("left")], "one connection, noticed once")
        #expect(right.meter.snapshot == [expected])
        var sent = try #require(left.meter.snapshot.first)
        #expect(sent.sendNanoseconds > 0, "300 MiB take some time")
        sent.sendNanoseconds = 0
        #expect(sent == expected && left.meter.snapshot.count == 1)
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("small messages make the round trip, in order")
    func roundTrip() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        await right.set(echoes: true, keeps: false)
        try await left.connect(to: try await right.listen()) { $0.peerName = "right" }
        let rounds = 1000
        let time = try await ContinuousClock().measure {
            for round in 1...rounds {
                try await left.send(.credit(limit: Credit(messages: UInt32(round)), epoch: 1))
                await left.until { $0.received == round }
            }
        }
        print("wire: \(Int(time / .microseconds(1)) / rounds) us for a round trip")
        #expect(await left.messages.map { Int($0.message.argument) } == Array(1...rounds))
        #expect(await left.messages.last?.peer == "right")
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("sending to a peer that is not there is an error, not a silence")
    func unroutable() async throws {
        let node = try Node("router")
        _ = try await node.listen()
        await #expect(throws: WireError(.unroutable("nobody"))) {
            try await node.send(.credit(limit: Credit(messages: 1), epoch: 1), to: "nobody")
        }
        await node.loop.stop()
        await #expect(throws: WireError(.closed)) {
            try await node.send(.credit(limit: Credit(messages: 1), epoch: 1), to: "nobody")
        }
    }

    @Test("a peer that dies in the middle of a message is reported, and nothing of it remains")
    func death() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        let endpoint = try await right.listen()
        try await left.connect(to: endpoint)
        try await left.send(.credit(limit: Credit(messages: 1), epoch: 1))
        await right.until { $0.events.contains(.connected("left")) }
        // Frames of half a message, then the end.
        try await left.send(activation(megabytes: 90))
        await left.loop.stop()
        await right.until { $0.events.contains(.disconnected("left")) }
        #expect(await right.peers.isEmpty)
        await #expect(throws: WireError(.unroutable("left"))) {
            try await right.send(.credit(limit: Credit(messages: 1), epoch: 1), to: "left")
        }

        let again = try Node("left")
        try await again.connect(to: endpoint)
        try await again.send(.credit(limit: Credit(messages: 2), epoch: 1))
        await right.until { $0.messages.last?.message.argument == 2 }
        await again.loop.stop()
        await right.loop.stop()
    }

    @Test("credits for a peer that never comes do not gather: the last one is kept, and all arrive in order")
    func keepsOneCredit() throws {
        var (outbox, sequence) = (Outbox(), UInt64(0))
        func append(_ message: Message) {
            sequence += 1
            var message = message
            message.sequence = sequence
            outbox.append(Outgoing(message))
        }
        func credit(_ messages: UInt32) { append(.credit(limit: Credit(messages: messages), epoch: 1)) }
        for messages in 1...1000 { credit(UInt32(messages)) }
        append(Message(.control, body: [1, 2, 3]))
        credit(1001)
        #expect(outbox.count == 2 && outbox.bytes == Message.creditBytes + 3)
        append(Message(.control, body: [4]))
        outbox.first?.next = 1
        credit(1002)
        var sent: [Message] = []
        while let first = outbox.first?.chunker.message {
            sent.append(first)
            outbox.removeFirst()
        }
        #expect(sent.map(\.sequence) == [1001, 1003, 1004] && outbox.bytes == 0)
        #expect(try sent[2].credit(from: "a") == Credit(messages: 1002))
        // One that is on its way stays whole.
        credit(1)
        outbox.first?.next = 1
        credit(2)
        #expect(outbox.count == 2)
    }

    @Test("a dealer waits for its peer, notices that it went, and finds the next one on the same port")
    func reconnect() async throws {
        let first = try Node("right")
        let endpoint = try await first.listen()
        await first.loop.stop()
        let left = try Node("left")
        try await left.connect(to: endpoint) { $0.peerName = "right" }
        try await left.send(.credit(limit: Credit(messages: 1), epoch: 1))

        let second = try Node("right")
        _ = try await second.listen(endpoint.description)
        await second.until { $0.messages.last?.message.argument == 1 }
        await left.until { $0.events == [.connected("right")] }
        await second.loop.stop()
        await left.until { $0.events.last == .disconnected("right") }

        let third = try Node("right")
        _ = try await third.listen(endpoint.description)
        // What is sent in the moment in which libzmq takes leave of the old connection is lost with it.
        await left.sendAgainAndAgain(.credit(limit: Credit(messages: 3), epoch: 1))
        await third.until { $0.messages.last?.message.argument == 3 }
        await left.loop.stop()
        await third.loop.stop()
    }

    @Test("a second peer of the same name takes the first one's place")
    func handover() async throws {
        let (right, old, new) = (try Node("right"), try Node("left"), try Node("left"))
        let endpoint = try await right.listen()
        try await old.connect(to: endpoint)
        try await old.send(.credit(limit: Credit(messages: 1), epoch: 1))
        await right.until { $0.received == 1 }
        try await new.connect(to: endpoint) { $0.bootID = 78 }
        try await new.send(.credit(limit: Credit(messages: 2), epoch: 1))
        await right.until { $0.received == 2 }
        try await right.send(.credit(limit: Credit(messages: 3), epoch: 1), to: "left")
        await new.until { $0.messages.last?.message.argument == 3 }
        #expect(await old.received == 0)
        for node in [right, old, new] { await node.loop.stop() }
    }

    @Test("who connects again before the old connection's end is seen: that end is told first")
    func handoverReportsEnd() async throws {
        let (right, old, new) = (try Node("right"), try Node("left"), try Node("left"))
        let endpoint = try await right.listen { $0.highWater = 1 }
        try await old.connect(to: endpoint) { $0.highWater = 1 }
        try await old.send(.credit(limit: Credit(messages: 1), epoch: 1))
        await right.until { $0.received == 1 }
        // The old one reads nothing, like a host that is gone without a word.
        let gate = DispatchGate()
        let held = Task { try await old.loop.run { gate.wait() } }
        while await right.queued(for: "left") == 0 { try await right.send(activation(megabytes: 8), to: "left") }
        try await new.connect(to: endpoint) { $0.bootID = 78 }
        try await new.send(.credit(limit: Credit(messages: 2), epoch: 1))
        await right.until { $0.received == 2 }
        let changes = await right.events.filter { $0 == .connected("left") || $0 == .disconnected("left") }
        #expect(changes == [.connected("left"), .disconnected("left"), .connected("left")])
        #expect(await right.queued(for: "left") == 0)
        try await right.send(.credit(limit: Credit(messages: 3), epoch: 1), to: "left")
        await new.until { $0.messages.last?.message.argument == 3 }
        gate.open()
        try await held.value
        for node in [right, old, new] { await node.loop.stop() }
    }

    @Test("a consumer that reads nothing outlives a peer that goes while messages wait, and serves the next one")
    func stalledConsumer() async throws {
        let (left, right, next) = (try Node("left"), try Node("right"), try Node("next"))
        let endpoint = try await right.listen { $0.highWater = 1 }
        try await left.connect(to: endpoint)
        try await left.send(activation(megabytes: 1))
        await right.until { $0.received == 1 }
        let gate = DispatchGate()
        let held = Task { try await right.loop.run { gate.wait() } }
        for _ in 0..<20 { try await left.send(activation(megabytes: 1)) }
        // Both systems' buffers and the high-water mark are full when nothing moves any more.
        var queued = -1
        while await left.queued() != queued {
            queued = await left.queued()
            try await Task.sleep(for: .milliseconds(300))
        }
        await left.loop.stop()
        // libzmq 4.3.4 ends the process here when its own heartbeats, of two seconds then, are on (its issue 4364).
        try await Task.sleep(for: .seconds(5))
        gate.open()
        try await held.value
        try await next.connect(to: endpoint)
        try await next.send(.credit(limit: Credit(messages: 1), epoch: 1))
        await right.until { $0.messages.last?.peer == "next" }
        for node in [next, right] { await node.loop.stop() }
    }

    @Test("a consumer that does not read keeps the sender's queue within its bound, and gets all of it later")
    func slowConsumer() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        let endpoint = try await right.listen()
        try await left.connect(to: endpoint) {
            $0.peerName = "right"
            $0.queueBytes = 40 << 20
        }
        let message = activation(megabytes: 8)
        try await left.send(message)
        await right.until { $0.received == 1 }

        // The receiving loop is held up: nothing reads.
        let gate = DispatchGate()
        let held = Task { try await right.loop.run { gate.wait() } }
        var sent = 1
        var refusal: WireError?
        while refusal == nil && sent < 100 {
            do throws(WireError) {
                try await left.send(message)
                sent += 1
            } catch { refusal = error }
            #expect(await left.queued() <= 40 << 20)
        }
        guard case .queueFull(peer: "right", _, limit: 40 << 20) = refusal?.reason else {
            Issue.record("not refused after \(sent) messages: \(String(describing: refusal))")
            return
        }
        gate.open()
        try await held.value
        await right.until { [sent] in $0.received == sent }
        #expect(await right.messages.allSatisfy { $0.message.tensors == message.tensors })
        // A moment may pass until the sender's queue notices that it is empty.
        for _ in 0..<6000 where await left.queued() != 0 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(await left.queued() == 0)
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("a burst that takes several turns to read comes from one connection, in order")
    func burst() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        try await left.connect(to: try await right.listen { $0.highWater = 1000 }) { $0.highWater = 1000 }
        try await left.send(.credit(limit: Credit(), epoch: 1))
        await right.until { $0.received == 1 }
        let gate = DispatchGate()
        let held = Task { try await right.loop.run { gate.wait() } }
        for number in 1...200 { try await left.send(.credit(limit: Credit(messages: UInt32(number)), epoch: 1)) }
        try await Task.sleep(for: .milliseconds(100))
        gate.open()
        try await held.value
        await right.until { $0.received == 201 }
        #expect(await right.messages.map(\.message.argument) == Array(0...200))
        #expect(await right.events == [.connected("left")])
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("credits keep what waits at a receiver within its slots, however fast the sender is")
    func credits() async throws {
        let (left, right) = (try CreditNode("left"), try CreditNode("right"))
        try await left.connect(to: try await right.listen())
        try await left.produce(60)
        for _ in 0..<1000 where await right.done < 60 { try await Task.sleep(for: .milliseconds(5)) }
        #expect(await right.done == 60)
        #expect(await right.mostWaiting == CreditGrant.slots, "both slots are used, never more")
        #expect(await right.overruns == 0)
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("a blocked peer of a router does not hold up another one")
    func fairness() async throws {
        let (center, slow, quick) = (try Node("center"), try Node("slow"), try Node("quick"))
        let endpoint = try await center.listen()
        for node in [slow, quick] {
            try await node.connect(to: endpoint)
            try await node.send(.credit(limit: Credit(messages: 1), epoch: 1))
        }
        await center.until { $0.received == 2 }
        let gate = DispatchGate()
        let held = Task { try await slow.loop.run { gate.wait() } }
        for _ in 0..<3 { try await center.send(activation(megabytes: 30), to: "slow") }
        for _ in 0..<3 { try await center.send(activation(megabytes: 30), to: "quick") }
        await quick.until { $0.received == 3 }
        #expect(await center.queued(for: "slow") > 0)
        gate.open()
        try await held.value
        await slow.until { $0.received == 3 }
        for node in [center, slow, quick] { await node.loop.stop() }
    }

    @Test("malformed and oversized messages are reported and do not disturb the next ones")
    func malformed() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        try await left.connect(
            to: try await right.listen { $0.limit = { header, _ in header.kind == .activation ? 1 << 20 : nil } })
        try await left.send(activation(megabytes: 2))
        try await left.send(.credit(limit: Credit(messages: 1), epoch: 1))
        try await left.send(Samples.activation())
        await right.until { $0.received == 1 }
        let refusals = await right.events.compactMap { event -> FrameError.Reason? in
            if case .refused(let error) = event { return error.reason }
            return nil
        }
        #expect(
            refusals == [
                .tooLarge(kind: .activation, bytes: 2 << 20, limit: 1 << 20), .unexpected(.credit),
            ], "each message once, however many chunks it has")
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("addresses that others can reach are refused without keys, with the commands that make some")
    func security() async throws {
        let node = try Node("node")
        for text in ["tcp://0.0.0.0:*", "tcp://*:0", "tcp://10.0.0.1:5790", "tcp://example.org:1"] {
            do {
                _ = try await node.listen(text)
                Issue.record("listened on \(text)")
            } catch let error as WireError {
                #expect(error.description.contains("abbozzo keys init"), "\(error)")
            }
        }
        let open = try await node.listen("tcp://*:*") { $0.security = Security(allowInsecure: true) }
        #expect(open.isWildcard && open.port != 0)
        await node.loop.stop()
    }

    @Test("sockets of one loop can be closed and made again at once")
    func again() async throws {
        let (left, right) = (try Node("left"), try Node("right"))
        let endpoint = try await right.listen()
        for round in 1...100 {
            try await left.connect(to: endpoint) { $0.bootID = UInt64(round) }
            if round % 10 == 0 {
                try await left.send(.credit(limit: Credit(messages: UInt32(round)), epoch: 1))
                await right.until { $0.messages.last?.message.argument == UInt32(round) }
            }
            await left.disconnect()
        }
        await left.loop.stop()
        await right.loop.stop()
    }

    @Test("an address in use is an error that names it")
    func inUse() async throws {
        let (first, second) = (try Node("first"), try Node("second"))
        let endpoint = try await first.listen()
        do {
            _ = try await second.listen(endpoint.description)
            Issue.record("listened twice")
        } catch let error as WireError {
            #expect(
                error.description.contains(endpoint.description) && error.description.contains("in use"), "\(error)")
        }
        await first.loop.stop()
        await second.loop.stop()
    }

    /// In a process of its own: what other tests open meanwhile would hide a leak.
    @Test("opening and closing 200 times leaves no descriptor and no thread behind")
    func leaks() async {
        await #expect(processExitsWith: .success) {
            for round in 0..<8 { try await cycle(round) }
            let before = (try openDescriptors(), try threads())
            for round in 0..<200 { try await cycle(round) }
            let after = (try openDescriptors(), try threads())
            // The runtime may add a thread of its own.
            #expect(after.0 <= before.0 + 4, "\(before.0) descriptors before, \(after.0) after")
            #expect(after.1 <= before.1 + 4, "\(before.1) threads before, \(after.1) after")
        }
    }

    @Test("timers fire on the loop in order, repeat, and can be cancelled")
    func timers() async throws {
        let log = TimerLog(loop: try PollLoop(name: "timers"))
        await log.start()
        try await Task.sleep(for: .milliseconds(400))
        let names = await log.names
        #expect(names.filter { $0 != "every" } == ["first", "second"])
        #expect((2...1000).contains(names.count { $0 == "every" }), "\(names)")
        await log.loop.stop()
        // Jobs after the end still run.
        #expect(await log.names.count >= names.count)
    }

    @Test("events reach the subscribers of their topic")
    func events() async throws {
        let (sender, hearer) = (EventNode(loop: try PollLoop(name: "pub")), EventNode(loop: try PollLoop(name: "sub")))
        let endpoint = try await sender.publish()
        try await hearer.subscribe(to: endpoint, topics: ["job"])
        for _ in 0..<500 where await sender.subscriptions != 1 { try await Task.sleep(for: .milliseconds(10)) }
        try await sender.send("node", [1])
        try await sender.send("job.7", [2, 3])
        for _ in 0..<500 where await hearer.heard.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        #expect(await hearer.heard == ["job.7: [2, 3]"])
        await sender.loop.stop()
        await hearer.loop.stop()
    }
}

/// Sends as far as credits go on one side; takes its time over each message on the other.
actor CreditNode {
    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var router: RouterSocket?
    private var dealer: DealerSocket?
    private var line = CreditLine()
    private var grant = CreditGrant()
    private var left = 0
    private var waiting = 0
    private var waitingBytes = 0
    private(set) var mostWaiting = 0
    private(set) var overruns = 0
    private(set) var done = 0

    init(_ name: String) throws { loop = try PollLoop(name: name) }

    private var options: SocketOptions { SocketOptions(name: "node", bootID: 3) { _, _ in 1 << 20 } }

    func listen() throws -> Endpoint {
        let router = try RouterSocket(loop, options)
        router.onMessage = { message, peer in self.take(message, peer) }
        self.router = router
        return try router.listen(on: Endpoint("tcp://127.0.0.1:*"))
    }

    func connect(to endpoint: Endpoint) throws {
        let dealer = try DealerSocket(loop, options, to: endpoint)
        dealer.onMessage = { message, _ in
            (try? message.credit(from: "node")).map { self.line.raise(to: $0) }
            self.fill()
        }
        self.dealer = dealer
    }

    func produce(_ count: Int) throws {
        left = count
        try dealer?.send(.credit(limit: Credit(), epoch: 1))
    }

    private func fill() {
        let message = Samples.activation()
        while left > 0 && line.takes(bytes: message.activationBytes) {
            line.send(bytes: message.activationBytes)
            left -= 1
            try? dealer?.send(message)
        }
    }

    private func take(_ message: Message, _ peer: String) {
        if message.kind == .credit { return tell(peer) }
        if !grant.receive(bytes: message.activationBytes) { overruns += 1 }
        waiting += 1
        waitingBytes += message.activationBytes
        mostWaiting = max(mostWaiting, waiting)
        loop.schedule(after: .milliseconds(2 * waiting)) {
            self.waiting -= 1
            self.waitingBytes -= message.activationBytes
            self.done += 1
            self.tell(peer)
        }
    }

    private func tell(_ peer: String) {
        if grant.extend(occupied: Credit(messages: UInt32(waiting), bytes: UInt64(waitingBytes))) {
            try? router?.send(.credit(limit: grant.limit, epoch: 1), to: peer)
        }
    }
}

actor TimerLog {
    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var names: [String] = []

    init(loop: PollLoop) { self.loop = loop }

    func start() {
        loop.schedule(after: .milliseconds(60)) { self.names.append("second") }
        loop.schedule(after: .milliseconds(20)) { self.names.append("first") }
        loop.schedule(after: .milliseconds(30)) { self.names.append("never") }.cancel()
        loop.schedule(after: .milliseconds(20), every: .milliseconds(20)) { self.names.append("every") }
    }
}

actor EventNode {
    nonisolated let loop: PollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var publisher: PublisherSocket?
    var subscriptions: Int { publisher?.subscriptions ?? 0 }
    private var subscriber: SubscriberSocket?
    private(set) var heard: [String] = []

    init(loop: PollLoop) { self.loop = loop }

    private func options(_ security: Security) -> SocketOptions {
        SocketOptions(name: "events", bootID: 1, security: security) { header, _ in
            header.kind == .event ? 1 << 20 : nil
        }
    }

    func publish(_ security: Security = .none) throws -> Endpoint {
        let publisher = try PublisherSocket(loop, options(security))
        self.publisher = publisher
        return try publisher.listen(on: Endpoint("tcp://127.0.0.1:*"))
    }

    func send(_ topic: String, _ body: [UInt8]) throws { try publisher?.publish(topic, body) }

    func subscribe(to endpoint: Endpoint, topics: [String], _ security: Security = .none) throws {
        let subscriber = try SubscriberSocket(loop, options(security), to: endpoint, topics: topics)
        subscriber.onMessage = { message, topic in self.heard.append("\(topic): \(message.body)") }
        self.subscriber = subscriber
    }

    func leave() {
        subscriber?.close()
        subscriber = nil
    }

    func until(_ subscriptions: Int) async throws {
        while self.subscriptions != subscriptions { try await Task.sleep(for: .milliseconds(10)) }
    }
}

/// Holds a thread up until it is opened.
final class DispatchGate: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }
    deinit { semaphore.deallocate() }
    func wait() { sem_wait(semaphore) }
    func open() { sem_post(semaphore) }
}
