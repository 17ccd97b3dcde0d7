internal import CZeroMQ
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing

@testable internal import Wire

/// Who reaches a socket without keys can do this much harm.
@Suite("Sockets without keys", .timeLimit(.minutes(5))) struct OpenSocketTests {
    @Test("a message that never ends is ended with its connection before it fills the memory")
    func endless() async throws {
        let node = try Node("coordinator")
        let endpoint = try await node.listen()
        let good = try Node("node1")
        try await good.connect(to: endpoint)
        try await good.send(Samples.activation())
        let bad = try #require(RawTCP(port: endpoint.port))
        // ZMTP 3.0 without keys, a name, and frames of a mebibyte that each announce another one.
        let greeting = [0xff] + [UInt8](repeating: 0, count: 8) + [0x7f, 3, 0] + Array("NULL".utf8)
        let type = [11] + Array("Socket-Type".utf8) + [0, 0, 0, 6] + Array("DEALER".utf8)
        let name = [8] + Array("Identity".utf8) + [0, 0, 0, 3] + Array("bad".utf8)
        let ready = [5] + Array("READY".utf8) + type + name
        let filler = [UInt8](repeating: 0, count: 64 - greeting.count)
        #expect(bad.send(greeting + filler + [4, UInt8(ready.count)] + ready))
        let frame = [3, 0, 0, 0, 0, 0, 0x10, 0, 0] + [UInt8](repeating: 7, count: 1 << 20)
        var sent = 0
        while sent < 10_000 && bad.send(frame) {
            sent += 1
            if sent > 150 { try await Task.sleep(for: .milliseconds(50)) }
        }
        #expect(60..<10_000 ~= sent)
        await node.until { node in
            node.events.contains { if case .refused(let error) = $0 { error.label == "size" } else { false } }
        }
        try await good.send(Samples.activation())
        await node.until { $0.received == 2 }
        for node in [good, node] { await node.loop.stop() }
    }
    /// What a listener asks for that no event has.
    enum Greed: CaseIterable {
        case hugeTopic, longTopic, manyTopics

        /// Topics that nobody needs.
        var topics: [[UInt8]] {
            switch self {
            // libzmq keeps a topic in 35 times its size, whoever reads what it is.
            case .hugeTopic: [[UInt8](repeating: 7, count: 1_000_000)]
            case .longTopic: [[UInt8](repeating: 7, count: 200)]
            case .manyTopics: (0..<5000).map { Array("topic \($0)".utf8) }
            }
        }
    }

    @Test(
        "a listener to topics that no event has is shown the door before they fill the memory",
        arguments: Greed.allCases)
    func greedyListener(_ greed: Greed) async throws {
        let coordinator = EventNode(loop: try PollLoop(name: "pub"))
        let anna = EventNode(loop: try PollLoop(name: "sub"))
        let endpoint = try await coordinator.publish()
        try await anna.subscribe(to: endpoint, topics: ["job"])
        try await coordinator.until(1)
        let greedy = try Self.subscriber(to: endpoint)
        for topic in greed.topics {
            let size = withUnsafeBytes(of: UInt64(topic.count + 1).bigEndian) { Array($0) }
            if !greedy.send([2] + size + [1] + topic) { break }
        }
        _ = greedy.receiveAll()  // up to the end that the other side makes
        try await coordinator.until(1)
        try await coordinator.send("job", [5])
        while await anna.heard.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        for node in [coordinator, anna] { await node.loop.stop() }
    }

    @Test("a listener that follows one job after the other, and leaves each, stays")
    func patientListener() async throws {
        let coordinator = EventNode(loop: try PollLoop(name: "pub"))
        let endpoint = try await coordinator.publish()
        let listener = try Self.subscriber(to: endpoint)
        var words = 0
        for number in 0..<1000 {
            let topic = Array("job \(number)".utf8)
            for word in [1, 0] as [UInt8] where listener.send([0, UInt8(topic.count + 1), word] + topic) { words += 1 }
        }
        #expect(words == 2000)
        #expect(listener.send([0, 5, 1] + Array("last".utf8)))
        for body in 0..<100 as Range<UInt8> {
            try await coordinator.send("last", [body])
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(!listener.receive().isEmpty, "it hears what it asked for last")
        await coordinator.loop.stop()
    }

    /// A connection that subscribes, ZMTP 3.0 without keys, once the other side's words of the handshake have come.
    private static func subscriber(to endpoint: Endpoint) throws -> RawTCP {
        let greeting = [0xff] + [UInt8](repeating: 0, count: 8) + [0x7f, 3, 0] + Array("NULL".utf8)
        let type = [11] + Array("Socket-Type".utf8) + [0, 0, 0, 3] + Array("SUB".utf8)
        let ready = [5] + Array("READY".utf8) + type
        let connection = try #require(RawTCP(port: endpoint.port))
        let filler = [UInt8](repeating: 0, count: 64 - greeting.count)
        #expect(connection.send(greeting + filler + [4, UInt8(ready.count)] + ready))
        var heard: [UInt8] = []
        while heard.count < 64 + 2 + ready.count {
            let more = connection.receive(); try #require(!more.isEmpty); heard += more
        }
        return connection
    }
}

/// A listening socket with keys, a good peer that is tried all along, and peers that should not get in.
@Suite("Sockets with keys", .serialized, .timeLimit(.minutes(10))) struct GateTests {
    let temporary = TemporaryFolder()
    private var folder: KeyFolder { KeyFolder(temporary.path("keys")) }

    /// Keys of one coordinator, two workers and a user; all authorised.
    private func listen(_ domain: KeyDomain) async throws -> (node: Node, endpoint: Endpoint, security: Security) {
        _ = try folder.create(client: "anna")
        for name in ["node1", "node2"] {
            _ = try folder.make(name, .worker)
            try folder.authorise("\(folder.path)/\(name).pub", role: .worker)
        }
        let security = try folder.forCoordinator().for(domain)
        let node = try Node("coordinator")
        await node.set(echoes: true)
        return (node, try await node.listen { $0.security = security }, security)
    }

    private func connect(_ name: String, _ security: Security, to endpoint: Endpoint) async throws -> Node {
        let node = try Node(name)
        try await node.connect(to: endpoint) { $0.security = security }
        try await node.send(Samples.activation())
        return node
    }

    /// The good peer's message comes back.
    private func works(_ node: Node) async throws {
        let before = await node.received
        try await node.send(Samples.activation())
        await node.until { $0.received > before }
    }

    /// Waits until a reason was counted.
    private func counted(_ reason: Gate.Refusal, _ gate: Gate?, atLeast count: UInt64 = 1) async throws {
        _ = try await counted([reason], gate, atLeast: count)
    }

    /// Waits until one of some reasons was counted, and says which.
    private func counted(_ reasons: [Gate.Refusal], _ gate: Gate?, atLeast count: UInt64) async throws -> Gate.Refusal {
        while true {
            let failures = gate?.failures ?? [:]
            if let reason = reasons.first(where: { failures[$0.rawValue] ?? 0 >= count }) { return reason }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// How an intruder on the control socket differs from a worker.
    enum Intruder: CaseIterable {
        case noKey, strangersKey, strangersCoordinator, clientsKey, othersName

        /// As what it may be counted.
        ///
        /// Who has no key hangs up as soon as it reads that keys are wanted, which may be before it has said that it has
        /// none.
        var reasons: [Gate.Refusal] {
            switch self {
            case .noKey: [.noKey, .halfHandshake]
            case .strangersKey: [.unknownKey]
            case .strangersCoordinator: [.badHandshake]
            case .clientsKey: [.wrongRole]
            case .othersName: [.wrongName]
            }
        }
    }

    @Test("refuses and counts whoever lacks the right key, while a good peer goes on", arguments: Intruder.allCases)
    func refuses(_ intruder: Intruder) async throws {
        let (coordinator, endpoint, security) = try await listen(.control)
        let good = try await connect("node1/1", try folder.forWorker("node1"), to: endpoint)
        await good.until { $0.received == 1 }

        let own = try folder.forWorker("node2")
        let (name, keys): (String, Security) =
            switch intruder {
            case .noKey: ("node2/2", .none)
            case .strangersKey: ("node2/2", Security(identity: try .fresh(), peerKey: own.peerKey))
            case .strangersCoordinator:
                ("node2/2", Security(identity: try #require(own.identity), peerKey: try KeyPair.fresh().publicKey))
            case .clientsKey: ("anna/1", try folder.forClient(user: nil))
            case .othersName: ("node1/2", own)
            }
        let bad = try await connect(name, keys, to: endpoint)
        let reason = try await counted(intruder.reasons, security.gate, atLeast: 1)
        try await works(good)
        #expect(await bad.received == 0)
        #expect(await coordinator.messages.allSatisfy { $0.peer == "node1/1" })
        #expect(await good.events == [.connected("coordinator")], "its connection was left alone")
        let news = try #require(security.gate?.takeNews().first { $0.refusal == reason })
        #expect(news.count >= 1 && !news.description.contains("\n"))
        for pair in [own.identity, keys.identity] {
            #expect(pair.map { !news.description.contains($0.secretKey) } ?? true)
        }
        for node in [bad, good, coordinator] { await node.loop.stop() }
    }

    @Test("a client socket admits users under their own names, and no worker")
    func clients() async throws {
        let (coordinator, endpoint, security) = try await listen(.client)
        let anna = try folder.forClient(user: nil)
        #expect(anna.name == "anna")
        let good = [try await connect("anna/1", anna, to: endpoint), try await connect("anna/2", anna, to: endpoint)]
        for node in good { await node.until { $0.received == 1 } }
        let worker = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        try await counted(.wrongRole, security.gate)
        await worker.until { $0.events.contains(.notAdmitted(.notAuthorised)) }
        let other = try await connect("bert/1", anna, to: endpoint)
        try await counted(.wrongName, security.gate)
        for node in good { try await works(node) }
        #expect(await worker.received + other.received == 0)
        for node in good + [worker, other, coordinator] { await node.loop.stop() }
    }

    @Test("listeners to events come and go, and nobody is taken for an intruder")
    func listeners() async throws {
        _ = try folder.create(client: "anna")
        let security = try folder.forCoordinator().for(.events)
        let coordinator = EventNode(loop: try PollLoop(name: "pub"))
        let anna = EventNode(loop: try PollLoop(name: "sub"))
        let endpoint = try await coordinator.publish(security)
        for _ in 0..<3 {
            try await anna.subscribe(to: endpoint, topics: ["job", "node"], try folder.forClient(user: nil))
            try await coordinator.until(2)
            await anna.leave()
            try await coordinator.until(0)
        }
        #expect(security.gate?.failures.values.allSatisfy { $0 == 0 } == true)
        for node in [coordinator, anna] { await node.loop.stop() }
    }

    @Test("a folder of keys that hangs holds up nobody who is connected, and who was authorised there gets in after it")
    func hangingFolder() async throws {
        _ = try folder.create(client: "anna")
        for name in ["node1", "node2"] { _ = try folder.make(name, .worker) }
        try folder.authorise("\(folder.path)/node1.pub", role: .worker)
        let (own, door, mayHang) = (folder, DispatchGate(), Guarded(false))
        let gate = Gate(folder: own) { () throws(KeyError) in
            if mayHang.with({ $0 }) { door.wait() }
            return try own.grants()
        }
        var security = try folder.forCoordinator().for(.control)
        security.gate = gate
        let coordinator = try Node("coordinator")
        await coordinator.set(echoes: true)
        let keys = security
        let endpoint = try await coordinator.listen { $0.security = keys }
        let good = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        await good.until { $0.received == 1 }
        mayHang.with { $0 = true }
        try folder.authorise("\(folder.path)/node2.pub", role: .worker)
        let late = try await connect("node2", try folder.forWorker("node2"), to: endpoint)
        for _ in 0..<20 {
            try await works(good)
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(await late.received == 0)
        mayHang.with { $0 = false }
        for _ in 0..<100 { door.open() }
        await late.until { $0.received == 1 }
        for node in [good, late, coordinator] { await node.loop.stop() }
    }

    @Test("a live session ends when its key is revoked; the other worker's goes on")
    func revoked() async throws {
        let (coordinator, endpoint, security) = try await listen(.data)
        let good = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        let bad = try await connect("node2", try folder.forWorker("node2"), to: endpoint)
        for node in [good, bad] { await node.until { $0.received == 1 } }

        try folder.revoke("node2")
        security.gate?.refresh()
        try await bad.send(Samples.activation())
        try await counted(.revoked, security.gate)
        await bad.until { $0.events.contains(.disconnected("coordinator")) }
        #expect(await bad.received == 1)
        // It dials again and is refused at the handshake.
        try await counted(.revoked, security.gate, atLeast: 2)
        try await works(good)

        // A session that says nothing is ended too.
        try folder.revoke("node1")
        security.gate?.refresh()
        await coordinator.cutRevoked()
        await good.until { $0.events.contains(.disconnected("coordinator")) }
        for node in [good, bad, coordinator] { await node.loop.stop() }
    }

    @Test("connections that say nothing are bounded and dropped after the handshake's time, and disturb nobody")
    func halfOpen() async throws {
        let (coordinator, endpoint, security) = try await listen(.control)
        let good = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        await good.until { $0.received == 1 }
        let before = try openConnections(at: endpoint.port)
        let count = Socket.maxStrangers + 50
        var silent = (0..<count).compactMap { _ in RawTCP(port: endpoint.port) }
        #expect(silent.count == count)
        // The oldest are ended long before their time is over.
        try await counted(.halfHandshake, security.gate, atLeast: 50)
        try await works(good)
        #expect(try openConnections(at: endpoint.port) <= before + Socket.maxStrangers + 5)
        while security.gate?.failures["half_handshake"] ?? 0 < count {
            try await works(good)
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(silent.allSatisfy { !$0.receiveAll().isEmpty }, "its greeting, then the end")
        silent = []
        let late = try await connect("node2", try folder.forWorker("node2"), to: endpoint)
        await late.until { $0.received == 1 }
        #expect(await good.events == [.connected("coordinator")])
        for node in [good, late, coordinator] { await node.loop.stop() }
    }

    @Test("recorded bytes of a good session, played again, open nothing")
    func replay() async throws {
        let (coordinator, endpoint, security) = try await listen(.control)
        let relay = try #require(RecordingRelay(to: endpoint.port))
        let good = try await connect(
            "node1", try folder.forWorker("node1"), to: Endpoint(host: "127.0.0.1", port: relay.port))
        await good.until { $0.received == 1 }
        try await works(good)
        let recorded = relay.recorded
        #expect(recorded.count > 1000)
        let before = await coordinator.received
        let failures = security.gate?.failures.values.reduce(0, +) ?? 0
        for _ in 0..<3 {
            let connection = try #require(RawTCP(port: endpoint.port))
            connection.send(recorded)
            _ = connection.receiveAll()
        }
        while security.gate?.failures.values.reduce(0, +) ?? 0 < failures + 3 {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(await coordinator.received == before)
        try await works(good)
        #expect(await good.events == [.connected("coordinator")])
        for node in [good, coordinator] { await node.loop.stop() }
    }

    @Test("bytes that are no protocol, oversized and malformed frames end or are refused, and disturb nobody")
    func malformed() async throws {
        let (coordinator, endpoint, _) = try await listen(.control)
        let good = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        await good.until { $0.received == 1 }
        var random = Random(state: 4)
        for round in 0..<40 {
            let connection = try #require(RawTCP(port: endpoint.port))
            // Noise, or a greeting of ZMTP 3.0 with CURVE and then noise.
            let greeting = [0xff] + [UInt8](repeating: 0, count: 8) + [0x7f, 3, 0] + Array("CURVE".utf8)
            let noise = (0..<Int.random(in: 1...3000, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            connection.send(
                round % 2 == 0 ? noise : greeting + [UInt8](repeating: 0, count: 64 - greeting.count) + noise)
            if round % 4 < 2 { connection.end() }
        }
        try await works(good)

        // The holder of a good key who does not keep to the frames.
        let bad = try Node("node2")
        let keys = try folder.forWorker("node2")
        try await bad.connect(to: endpoint) { $0.security = keys }
        let header = Chunker(Samples.activation()).frames(0)[0]
        let large = [UInt8](repeating: 7, count: Chunker.chunkBytes * 3 / 2)
        let malformed = [
            [[]], [[1, 2, 3]], [header], [[UInt8](repeating: 7, count: 96)], [header, [], [], [], [], []], [large],
            [header, large],
        ]
        for frames in malformed { try await bad.sendRaw(frames) }
        await coordinator.until { $0.events.count { if case .refused = $0 { true } else { false } } >= malformed.count }
        try await works(good)
        // Beyond what libzmq takes in at all, nobody is told why the connection ends.
        try await bad.sendRaw([[UInt8](repeating: 0, count: 5 << 20)])
        await bad.until { $0.events.contains(.disconnected("coordinator")) }
        try await works(good)
        #expect(await good.events == [.connected("coordinator")])
        for node in [bad, good, coordinator] { await node.loop.stop() }
    }

    @Test("the largest control message passes with keys, which add to each frame")
    func largestControl() async throws {
        let (coordinator, endpoint, _) = try await listen(.control)
        let good = try await connect("node1", try folder.forWorker("node1"), to: endpoint)
        await good.until { $0.received == 1 }
        try await good.send(Message(.control, body: [UInt8](repeating: 1, count: Chunker.chunkBytes)))
        await good.until { $0.received == 2 }
        #expect(await good.messages.last?.message.body.count == Chunker.chunkBytes)
        #expect(await good.events == [.connected("coordinator")])
        for node in [good, coordinator] { await node.loop.stop() }
    }

    @Test("a worker admits the neighbour of its plan; one that dials too early gets in as soon as the plan comes")
    func neighbours() async throws {
        _ = try folder.create(client: "anna")
        for name in ["node1", "node2", "node3"] { _ = try folder.make(name, .worker) }
        let (first, second, third) = (
            try folder.forWorker("node1"), try folder.forWorker("node2"), try folder.forWorker("node3")
        )
        let listener = try Node("node2")
        await listener.set(echoes: true)
        let endpoint = try await listener.listen { $0.security = second.for(.link) }
        // As a worker's loop does, which is told the time.
        try await listener.tick()
        var early = first
        early.peerKey = second.identity?.publicKey
        let upstream = try await connect("node1", early, to: endpoint)
        var outsider = third
        outsider.peerKey = second.identity?.publicKey
        let stranger = try await connect("node3", outsider, to: endpoint)
        try await Task.sleep(for: .milliseconds(300))
        #expect(await upstream.received == 0)
        second.gate?.open(to: [("node1", try #require(first.identity).publicKey)])
        await upstream.until { $0.received == 1 }
        #expect(await !upstream.events.contains(.notAdmitted(.notAuthorised)), "it was let in, and not refused first")
        try await counted(.notInPlan, second.gate)
        #expect(await stranger.received == 0)

        // The next plan has another neighbour: what the old one still sends is dropped.
        second.gate?.open(to: [("node3", try #require(third.identity).publicKey)])
        try await upstream.send(Samples.activation())
        await stranger.until { $0.received == 1 }
        #expect(await upstream.received == 1)
        #expect(await listener.messages.map(\.peer) == ["node1", "node3"])
        for node in [upstream, stranger, listener] { await node.loop.stop() }
    }

    @Test("listens beyond loopback with keys, not without; never with keys but no gate")
    func beyondLoopback() async throws {
        let (coordinator, _, security) = try await listen(.control)
        let node = try Node("other")
        await #expect(throws: WireError(.insecure("tcp://*:0"))) { try await node.listen("tcp://*:*") }
        let open = try await node.listen("tcp://*:*") { $0.security = security }
        #expect(open.isWildcard)
        let keys = Security(identity: try KeyPair.fresh())
        let third = try Node("third")
        await #expect(throws: WireError(.noGate)) { try await third.listen { $0.security = keys } }
        for node in [coordinator, node, third] { await node.loop.stop() }
    }
}

extension Node {
    /// Sends frames as they are, through the dealer's socket.
    func sendRaw(_ frames: [[UInt8]]) throws {
        guard let handle = dealer?.handle else { throw WireError(.closed) }
        for (index, frame) in frames.enumerated() {
            let more = index + 1 < frames.count ? ZMQ_SNDMORE : 0
            guard zmq_send(handle, frame, frame.count, more) >= 0 else { throw WireError.last("zmq_send") }
        }
    }

    /// Wakes the loop again and again.
    func tick() throws { loop.schedule(after: .zero, every: .milliseconds(50)) {} }
}
