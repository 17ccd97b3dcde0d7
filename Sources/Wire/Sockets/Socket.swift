internal import CShims
internal import CZeroMQ
internal import Glibc
internal import Plan

/// What all sockets share: receiving, reassembly, the outgoing queue, the connection monitor.
///
/// Belongs to one loop's thread: made, used and closed there. Callbacks run there too.
package class Socket {
    /// The loop that owns it.
    package let loop: PollLoop
    /// Bounds and names.
    package let options: SocketOptions
    /// Called with each whole message and the sender's name.
    package var onMessage: ((Message, String) -> Void)?
    /// Called with everything else that happens.
    package var onEvent: ((SocketEvent) -> Void)?

    var assemblers: [String: Assembler] = [:]
    var outboxes: [String: Outbox] = [:]
    /// When each peer was heard last of which only a part of a message has come.
    private var partialsHeard: [String: ContinuousClock.Instant] = [:]
    /// Rises over all peers, so that it also rises for each.
    var lastSequence: UInt64 = 0
    /// Descriptors that become readable when the socket needs attention.
    private(set) var descriptors: [Int32] = []
    private(set) var handle: UnsafeMutableRawPointer?
    private var monitor: UnsafeMutableRawPointer?
    private var turnsSinceDrained = 0
    /// Not one of `frames`: those are in use while a callback sends.
    private let outgoingFrame = UnsafeMutablePointer<zmq_msg_t>.allocate(capacity: 1)
    private let frames = UnsafeMutablePointer<zmq_msg_t>.allocate(capacity: Socket.maxFrames)

    /// Set by listening with keys: asked for each message.
    private(set) var guardian: Gate?
    /// Accepted connections, while there are keys: who speaks over them, nil while nobody did.
    private var sessions: [Int32: Gate.Session?] = [:]
    /// Accepted connections that said nothing yet and may be in their handshake, oldest first.
    private var strangers: [(connection: Int32, since: ContinuousClock.Instant)] = []

    /// Accepted connections: bytes that libzmq had read when one of their messages was last seen to be complete.
    private var accepted: [Int32: Int64] = [:]
    /// Those of which a complete message has come since they were looked at.
    private var heard: Set<Int32> = []
    private var looks: LoopTimer?

    /// Sender's name, header, table, payload.
    private static let maxFrames = 4
    /// Bytes without a complete message after which a connection is ended: 64 MiB, and as many as libzmq may hold for it while
    /// nobody takes any.
    ///
    /// libzmq bounds a frame and counts complete messages, but takes frames that announce another one without end.
    private var mostUnfinished: Int64 { 64 << 20 + Int64(options.highWater * Self.largestFrame) }
    /// Time between two looks at that.
    private static let lookInterval = Duration.milliseconds(250)
    /// Bytes of a frame that libzmq takes in: twice those of the largest frame that anybody of ours sends.
    ///
    /// What is larger than ours, but not than this, is refused and counted like everything malformed. A frame beyond it
    /// ends its connection before anything is allocated for it, and is not counted: libzmq reports the same bare
    /// ZMQ_EVENT_DISCONNECTED for it as for a peer that left (4.3.4, `stream_engine_base_t::error`). It must not be less
    /// than a frame and what CURVE adds to it.
    private static let largestFrame = 2 * Chunker.chunkBytes
    /// Messages taken in one turn, so that one busy socket cannot starve timers.
    private static let messagesPerTurn = 32
    /// Connections that may be in their handshake at a time; each costs a descriptor until its time is over.
    static let maxStrangers = 200
    /// Time that a handshake may take.
    private static let handshakeMilliseconds: Int32 = 5_000
    /// Time without another chunk after which an incomplete message makes room for others.
    private static let partialSeconds = 10
    /// Turns after which a connection's end is reported though messages keep coming.
    private static let turnsWithoutEnd = 100

    init(_ loop: PollLoop, _ options: SocketOptions, type: Int32) throws(WireError) {
        loop.checkIsolated()
        self.loop = loop
        self.options = options
        guard let handle = zmq_socket(loop.context, type) else { throw .last("zmq_socket") }
        self.handle = handle
        do throws(WireError) {
            try set(ZMQ_LINGER, 0)
            try set(ZMQ_AFFINITY, wide: 1 << Int64(min(options.ioThread, loop.ioThreads - 1)))
            try set(ZMQ_SNDHWM, Int32(options.sendHighWater ?? options.highWater))
            try set(ZMQ_RCVHWM, Int32(options.highWater))
            try set(ZMQ_MAXMSGSIZE, wide: Int64(Self.largestFrame))
            try endDeadConnections()
            try set(ZMQ_HANDSHAKE_IVL, Self.handshakeMilliseconds)
            try watch()
            descriptors.append(try descriptor(of: handle))
        } catch {
            close()
            throw error
        }
        loop.add(self)
    }

    deinit {
        promise(handle == nil, "a socket was dropped without close()")
        frames.deallocate()
        outgoingFrame.deallocate()
    }

    /// Whether it has not been closed.
    package var isOpen: Bool { handle != nil }

    /// Closes it and drops what waits to be sent; closing twice is fine.
    package func close() {
        guard let handle else { return }
        if let monitor {
            zmq_socket_monitor(handle, nil, 0)
            zmq_close(monitor)
        }
        zmq_close(handle)
        self.handle = nil
        monitor = nil
        descriptors = []
        sessions = [:]
        strangers = []
        (accepted, heard) = ([:], [])
        looks?.cancel()
        assemblers = [:]
        partialsHeard = [:]
        outboxes = [:]
        onMessage = nil
        onEvent = nil
        loop.remove(self)
    }

    /// Payload bytes that wait for one peer, or for the only one.
    package func queuedBytes(for peer: String? = nil) -> Int { outboxes[peer ?? options.peerName]?.bytes ?? 0 }

    // MARK: For subclasses

    /// Whether its peers are links that the meter counts and whose messages are numbered.
    var hasLinks: Bool { true }

    /// Splits what came before the header off: the sender's name, or a topic.
    func sender(
        _ frames: inout ArraySlice<UnsafeRawBufferPointer>, connection: Int32, session: Gate.Session?
    ) -> String? { options.peerName }

    /// Whether a message of one frame comes from libzmq itself, which has no key.
    func isOwnWord(_ frame: UnsafeRawBufferPointer) -> Bool { false }

    /// A connection was made, finished its handshake or ended.
    func connectionChanged(_ event: Int32, connection: Int32) {}

    /// Reports connections that ended, now that what they had sent before is received.
    func endConnections() {}

    /// Sends the first frames that address a peer; false when the socket would block.
    func sendAddress(_ peer: String) throws(WireError) -> Bool { true }

    // MARK: Options

    func set(_ option: Int32, _ value: Int32) throws(WireError) {
        var value = value
        guard zmq_setsockopt(handle, option, &value, MemoryLayout<Int32>.size) == 0 else {
            throw .last("zmq_setsockopt \(option)")
        }
    }

    func set(_ option: Int32, wide value: Int64) throws(WireError) {
        var value = value
        guard zmq_setsockopt(handle, option, &value, MemoryLayout<Int64>.size) == 0 else {
            throw .last("zmq_setsockopt \(option)")
        }
    }

    func set(_ option: Int32, text: String) throws(WireError) {
        let bytes = Array(text.utf8)
        guard zmq_setsockopt(handle, option, bytes, bytes.count) == 0 else { throw .last("zmq_setsockopt \(option)") }
    }

    private func descriptor(of socket: UnsafeMutableRawPointer) throws(WireError) -> Int32 {
        var descriptor: Int32 = -1
        var size = MemoryLayout<Int32>.size
        guard zmq_getsockopt(socket, ZMQ_FD, &descriptor, &size) == 0 else { throw .last("zmq_getsockopt ZMQ_FD") }
        return descriptor
    }

    /// Listens and returns where.
    func bind(_ endpoint: Endpoint) throws(WireError) -> Endpoint {
        guard isOpen else { throw WireError(.closed) }
        try options.security.checkListening(on: endpoint)
        if endpoint.host.contains(":") { try set(ZMQ_IPV6, 1) }
        try demandKeys()
        guard zmq_bind(handle, endpoint.bindText) == 0 else {
            let advice =
                switch zmq_errno() {
                case EADDRINUSE: " (it is taken: choose another port)"
                case EADDRNOTAVAIL, ENODEV: " (give an address of this machine)"
                default: ""
                }
            throw .last("cannot listen on \(endpoint)\(advice)")
        }
        if looks == nil {
            looks = loop.schedule(after: Self.lookInterval, every: Self.lookInterval) { [weak self] in
                self?.endUnfinished()
            }
        }
        var text = [CChar](repeating: 0, count: 256)
        var size = text.count
        guard zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &text, &size) == 0 else {
            throw .last("zmq_getsockopt ZMQ_LAST_ENDPOINT")
        }
        return try Endpoint(String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
    }

    func connect(to endpoint: Endpoint) throws(WireError) {
        guard isOpen else { throw WireError(.closed) }
        if endpoint.host.contains(":") { try set(ZMQ_IPV6, 1) }
        try showKeys()
        guard zmq_connect(handle, endpoint.description) == 0 else { throw .last("cannot connect to \(endpoint)") }
    }

    // MARK: Keys

    /// Lets nobody connect but whom the gate admits; without keys nothing changes.
    ///
    /// libzmq would admit everybody if nobody answered its question (ZMQ_ZAP_ENFORCE_DOMAIN is not stable): the answerer
    /// comes before the first bind and goes last, and a message of a session without a name is refused.
    private func demandKeys() throws(WireError) {
        guard let identity = options.security.identity else { return }
        guard let gate = options.security.gate else { throw WireError(.noGate) }
        try loop.answerHandshakes(by: gate)
        try set(ZMQ_CURVE_SERVER, 1)
        try set(ZMQ_CURVE_SECRETKEY, text: identity.secretKey)
        try set(ZMQ_ZAP_DOMAIN, text: options.security.domain.rawValue)
        guardian = gate
    }

    /// Lets the kernel end connections whose far side is gone without a word: silent ones after 12 s, and those that do
    /// not take what was sent after 10 s.
    ///
    /// libzmq's own heartbeats would do it, but end the process when one is due on a connection that broke while its
    /// messages waited to be read (libzmq 4.3.4, issues 3937, 4364 and 4767).
    private func endDeadConnections() throws(WireError) {
        try set(ZMQ_TCP_KEEPALIVE, 1)
        try set(ZMQ_TCP_KEEPALIVE_IDLE, 6)
        try set(ZMQ_TCP_KEEPALIVE_INTVL, 2)
        try set(ZMQ_TCP_KEEPALIVE_CNT, 3)
        try set(ZMQ_TCP_MAXRT, 10_000)
    }

    /// Shows the own key, and demands that the other side has the key it should have.
    private func showKeys() throws(WireError) {
        guard let identity = options.security.identity else { return }
        guard let peerKey = options.security.peerKey else { throw WireError(.noPeerKey(options.peerName)) }
        try set(ZMQ_CURVE_SERVERKEY, text: peerKey)
        try set(ZMQ_CURVE_PUBLICKEY, text: identity.publicKey)
        try set(ZMQ_CURVE_SECRETKEY, text: identity.secretKey)
    }

    /// Refuses a message by its session: counts it and ends the connection.
    ///
    /// A worker's former neighbour is neither: what it still sends is of an epoch that is over, and the next plan may
    /// admit it again.
    func refuse(_ refusal: Gate.Refusal, _ who: String, connection: Int32) {
        guard refusal != .notInPlan else { return }
        guardian?.note(refusal, who)
        cut(connection)
    }

    /// Ends connections whose key is not authorised any more; call when keys were revoked.
    ///
    /// Connections that never said whose they are, as those of subscribers, end too: who may, connects again.
    package func cutRevoked() {
        guard let guardian, options.security.domain != .link else { return }
        readMonitor()
        for (connection, session) in sessions {
            guard let session else {
                cut(connection)
                continue
            }
            if let refusal = guardian.refusal(of: session, in: options.security.domain) {
                refuse(refusal, session.name, connection: connection)
            }
        }
    }

    /// Ends connections that send and send and never finish a message.
    private func endUnfinished() {
        readMonitor()
        for (connection, mark) in accepted {
            let read = abz_read_bytes(connection)
            if heard.contains(connection) {
                accepted[connection] = read
            } else if read - mark > mostUnfinished {
                onEvent?(.refused(FrameError(.unfinished(bytes: read - mark), peer: "a connection")))
                cut(connection)
            }
        }
        heard = []
    }

    /// Ends a connection by its descriptor, since libzmq has no call for it; only once, since what more was read from it comes
    /// when the descriptor may be another connection's.
    func cut(_ connection: Int32) {
        if accepted[connection] == nil { readMonitor() }
        guard accepted.removeValue(forKey: connection) != nil else { return }
        sessions[connection] = nil
        shutdown(connection, Int32(SHUT_RDWR))
    }

    /// Follows handshakes: counts those that failed before the gate was asked, and bounds those under way.
    private func noteHandshake(_ event: Int32, _ value: Int32) {
        switch event {
        case ZMQ_EVENT_ACCEPTED:
            if guardian != nil { sessions[value] = .some(nil) }
            accepted[value] = 0
            let now = ContinuousClock.now
            // Who is still there after a handshake's time is through with it; libzmq ends the others.
            let oldest = now - .milliseconds(Self.handshakeMilliseconds + 1_000)
            strangers.removeAll { $0.connection == value || $0.since < oldest }
            strangers.append((value, now))
            if strangers.count > Self.maxStrangers {
                shutdown(strangers.removeFirst().connection, Int32(SHUT_RDWR))
            }
        case ZMQ_EVENT_DISCONNECTED:
            strangers.removeAll { $0.connection == value }
            sessions[value] = nil
            accepted[value] = nil
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: guardian?.note(.halfHandshake)
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            guardian?.note(value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH ? .noKey : .badHandshake)
        default: break
        }
    }

    /// What the handshake found out about the sender of a received frame.
    private func session(of frame: UnsafeMutablePointer<zmq_msg_t>) -> Gate.Session? {
        guard let name = zmq_msg_gets(frame, "User-Id"), let key = zmq_msg_gets(frame, ZapSocket.keyProperty) else {
            return nil
        }
        return Gate.Session(name: String(cString: name), key: String(cString: key))
    }

    // MARK: Connections

    private func watch() throws(WireError) {
        let address = loop.monitorAddress()
        let events =
            ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED
            | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
            | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
        guard zmq_socket_monitor(handle, address, events) == 0 else { throw .last("zmq_socket_monitor") }
        guard let monitor = zmq_socket(loop.context, ZMQ_PAIR) else { throw .last("zmq_socket") }
        self.monitor = monitor
        guard zmq_connect(monitor, address) == 0 else { throw .last("zmq_connect monitor") }
        descriptors.append(try descriptor(of: monitor))
    }

    /// Reads what the monitor has to say.
    ///
    /// Source: zmq_socket_monitor(3), version 1 events.
    func readMonitor() {
        guard let monitor else { return }
        var bytes = [UInt8](repeating: 0, count: 256)
        while isOpen {
            let count = zmq_recv(monitor, &bytes, bytes.count, ZMQ_DONTWAIT)
            if count < 0 { return }
            guard count >= 6 else { continue }
            let event = Int32(bytes[0]) | Int32(bytes[1]) << 8
            let value = bytes.withUnsafeBytes {
                Int32(littleEndian: $0.loadUnaligned(fromByteOffset: 2, as: Int32.self))
            }
            while zmq_recv(monitor, &bytes, bytes.count, ZMQ_DONTWAIT) < 0 && zmq_errno() == EINTR { continue }
            noteHandshake(event, value)
            connectionChanged(event, connection: value)
        }
    }

    /// Forgets a peer whose connection ended.
    func forget(_ peer: String) {
        forgetAssembler(of: peer)
        if let outbox = outboxes.removeValue(forKey: peer), !outbox.isEmpty {
            onEvent?(.undeliverable(peer: peer, messages: outbox.count))
        }
        onEvent?(.disconnected(peer))
    }

    // MARK: Turns

    /// Whether a message waits to be received.
    ///
    /// Also makes libzmq handle its internal commands.
    var hasInput: Bool {
        func events(_ socket: UnsafeMutableRawPointer) -> Bool {
            var events: Int32 = 0
            var size = MemoryLayout<Int32>.size
            return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && events & ZMQ_POLLIN != 0
        }
        guard let handle else { return false }
        return events(handle) || monitor.map(events) == true
    }

    /// Whether messages wait because a peer does not take them.
    var isBlocked: Bool { !outboxes.isEmpty && isOpen }

    /// One turn: connections, then messages, then what waits to be sent.
    func pump() {
        readMonitor()
        var left = Self.messagesPerTurn
        while left > 0 && isOpen && receive() { left -= 1 }
        turnsSinceDrained = left > 0 ? 0 : turnsSinceDrained + 1
        if turnsSinceDrained == 0 || turnsSinceDrained > Self.turnsWithoutEnd { endConnections() }
        for peer in Array(outboxes.keys) where isOpen { flush(peer) }
    }

    // MARK: Receiving

    /// Takes one multipart message; false when there is none.
    private func receive() -> Bool {
        var count = 0
        var kept = 0
        var connection: Int32 = -1
        defer { for index in 0..<kept { zmq_msg_close(frames + index) } }
        while true {
            var spare = zmq_msg_t()
            let more: Bool
            if count < Self.maxFrames {
                zmq_msg_init(frames + count)
                kept += 1
                guard zmq_msg_recv(frames + count, handle, ZMQ_DONTWAIT) >= 0 else { return false }
                // Seen under load with libzmq 4.3.4: the sender's frame does not know its connection, the next one does.
                if connection < 0 { connection = zmq_msg_get(frames + count, ZMQ_SRCFD) }
                more = zmq_msg_more(frames + count) != 0
            } else {
                zmq_msg_init(&spare)
                defer { zmq_msg_close(&spare) }
                guard zmq_msg_recv(&spare, handle, ZMQ_DONTWAIT) >= 0 else { return false }
                more = zmq_msg_more(&spare) != 0
            }
            count += 1
            if !more { break }
        }

        let buffers = (0..<kept).map {
            UnsafeRawBufferPointer(start: zmq_msg_data(frames + $0), count: zmq_msg_size(frames + $0))
        }
        var rest = buffers[...]
        if !strangers.isEmpty { strangers.removeAll { $0.connection == connection } }
        if connection >= 0 { heard.insert(connection) }
        var session: Gate.Session?
        if let guardian, !(kept == 1 && isOwnWord(buffers[0])) {
            session = self.session(of: frames + (kept - 1))
            if let refusal = guardian.refusal(of: session, in: options.security.domain) {
                refuse(refusal, session?.name ?? "", connection: connection)
                return true
            }
            if connection >= 0, let session { sessions[connection] = session }
        }
        guard let peer = sender(&rest, connection: connection, session: session) else { return true }
        do throws(FrameError) {
            guard count <= Self.maxFrames else { throw FrameError(.frames(count), peer: peer) }
            let message = try assemble(Array(rest), peer: peer)
            meter?.add(
                source: RoutingID.counted(peer), target: options.name, messages: message == nil ? 0 : 1,
                activationBytes: message?.activationBytes ?? 0, totalBytes: rest.reduce(0) { $0 + $1.count },
                format: rest.first.flatMap { FrameHeader.hiddenFormat(accepted: $0) })
            if !hasLinks { forgetAssembler(of: peer) }
            if let message { onMessage?(message, peer) }
        } catch {
            onEvent?(.refused(error))
        }
        return true
    }

    /// Takes the frames of one chunk, within what one peer and all of them may have in memory.
    private func assemble(_ frames: [UnsafeRawBufferPointer], peer: String) throws(FrameError) -> Message? {
        let limit = options.limit
        if partialBytes > options.partialBytes / 2 { forgetOldPartials(but: peer) }
        let room = options.partialBytes - partialBytes
        defer { partialsHeard[peer] = assemblers[peer]?.partialCount ?? 0 > 0 ? .now : nil }
        return try assemblers[peer, default: Assembler(peer: peer)].accept(frames) { header in
            limit(header, peer).map { header.chunkCount > 1 ? min($0, room) : $0 }
        }
    }

    /// Bytes allocated for incomplete messages of all peers.
    private var partialBytes: Int { partialsHeard.keys.reduce(0) { $0 + (assemblers[$1]?.partialBytes ?? 0) } }

    /// Forgets what came of a peer's messages, and their numbers.
    func forgetAssembler(of peer: String) {
        assemblers[peer] = nil
        partialsHeard[peer] = nil
    }

    /// Gives up incomplete messages that did not go on for a while.
    private func forgetOldPartials(but peer: String) {
        let oldest = ContinuousClock.now - .seconds(Self.partialSeconds)
        for (other, heard) in partialsHeard where other != peer && heard < oldest {
            partialsHeard[other] = nil
            assemblers[other]?.forgetPartials()
        }
    }

    // MARK: Sending

    private var meter: LinkMeter? { hasLinks ? options.meter : nil }

    /// Sends a message, or queues what the socket does not take yet.
    func send(_ message: Message, peer: String) throws(WireError) {
        guard isOpen else { throw WireError(.closed) }
        var message = message
        lastSequence += 1
        if !message.kind.isNumberedByCaller { message.sequence = lastSequence }
        message.bootID = options.bootID
        let waiting = outboxes[peer]?.bytes ?? 0
        guard waiting + message.payloadBytes <= options.queueBytes else {
            throw WireError(.queueFull(peer: peer, bytes: waiting + message.payloadBytes, limit: options.queueBytes))
        }
        if options.totalQueueBytes < .max {
            let all = outboxes.values.reduce(message.payloadBytes) { $0 + $1.bytes }
            guard all <= options.totalQueueBytes else {
                throw WireError(.queueFull(peer: peer, bytes: all, limit: options.totalQueueBytes))
            }
        }
        var outgoing = Outgoing(message)
        if outboxes[peer] == nil, try sendChunks(&outgoing, peer: peer) { return }
        outboxes[peer, default: Outbox()].append(outgoing)
    }

    /// Sends what waits for a peer until it would block.
    private func flush(_ peer: String) {
        while var outgoing = outboxes[peer]?.first {
            let isDone: Bool
            do throws(WireError) { isDone = try sendChunks(&outgoing, peer: peer) } catch {
                if let lost = outboxes.removeValue(forKey: peer) {
                    onEvent?(.undeliverable(peer: peer, messages: lost.count))
                }
                return
            }
            guard isDone else {
                outboxes[peer]?.first = outgoing
                return
            }
            outboxes[peer]?.removeFirst()
        }
        if outboxes[peer]?.isEmpty == true { outboxes[peer] = nil }
    }

    /// Hands chunks to libzmq; false when it takes no more now.
    private func sendChunks(_ outgoing: inout Outgoing, peer: String) throws(WireError) -> Bool {
        while outgoing.next < outgoing.chunker.count {
            guard try sendAddress(peer) else { return false }
            let sizes = outgoing.chunker.frameSizes(outgoing.next)
            for (index, size) in sizes.enumerated() {
                zmq_msg_init_size(outgoingFrame, size)
                outgoing.chunker.write(
                    chunk: outgoing.next, frame: index,
                    into: UnsafeMutableRawBufferPointer(start: zmq_msg_data(outgoingFrame), count: size))
                let more = index + 1 < sizes.count ? ZMQ_SNDMORE : 0
                while zmq_msg_send(outgoingFrame, handle, ZMQ_DONTWAIT | more) < 0 {
                    let error = zmq_errno()
                    if error == EINTR { continue }
                    zmq_msg_close(outgoingFrame)
                    if error == EAGAIN && index == 0 { return false }
                    throw .last("zmq_msg_send")
                }
            }
            outgoing.next += 1
            let isLast = outgoing.next == outgoing.chunker.count
            meter?.add(
                source: options.name, target: RoutingID.counted(peer), messages: isLast ? 1 : 0,
                activationBytes: isLast ? outgoing.chunker.message.activationBytes : 0,
                totalBytes: sizes.reduce(0, +), format: outgoing.chunker.format,
                sendNanoseconds: isLast ? outgoing.age : 0)
        }
        return true
    }
}

/// A message on its way out.
struct Outgoing {
    let chunker: Chunker
    var next = 0
    private let began = ContinuousClock.now

    init(_ message: Message) { chunker = Chunker(message) }

    /// Nanoseconds since it was to be sent.
    var age: UInt64 { UInt64(max(0, (ContinuousClock.now - began) / .nanoseconds(1))) }
}

/// Messages that wait for one peer, oldest first.
struct Outbox {
    private var messages: [Outgoing] = []
    /// Payload bytes of all of them.
    private(set) var bytes = 0

    var count: Int { messages.count }
    var isEmpty: Bool { messages.isEmpty }
    var first: Outgoing? {
        get { messages.first }
        set { if let newValue { messages[0] = newValue } }
    }

    /// A credit replaces one that waits: it is absolute, and where nobody listens they would gather for ever.
    ///
    /// It goes to the end all the same, since messages arrive in the order of their numbers or not at all.
    mutating func append(_ outgoing: Outgoing) {
        if outgoing.chunker.message.kind == .credit,
            let old = messages.lastIndex(where: { $0.chunker.message.kind == .credit && $0.next == 0 })
        {
            bytes -= messages.remove(at: old).chunker.message.payloadBytes
        }
        messages.append(outgoing)
        bytes += outgoing.chunker.message.payloadBytes
    }

    mutating func removeFirst() { bytes -= messages.removeFirst().chunker.message.payloadBytes }
}
