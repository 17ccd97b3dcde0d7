internal import CZeroMQ
internal import Glibc
internal import Synchronization

/// Tells libzmq at each handshake of the loop's sockets whether the key may connect.
///
/// Source: ZeroMQ RFC 27 (ZAP 1.0), CURVE mechanism.
final class ZapSocket: Socket {
    private let gate: Gate
    /// Workers that dialled ahead of the plan that will admit them, and keys that the folder is read again for.
    private var waiting: [(question: Question, deadline: ContinuousClock.Instant)] = []
    private var looks: LoopTimer?

    /// The property of messages that holds the key of the session they came over.
    static let keyProperty = "X-Key"
    /// A new plan reaches its workers within this time of each other, or the answer is no.
    ///
    /// Less than the time that a handshake may take.
    private static let patience = Duration.seconds(3)
    /// Time between two looks at whether the folder was read.
    private static let lookInterval = Duration.milliseconds(20)
    /// Questions that wait, at most.
    private static let mostWaiting = 64

    /// A key at the door.
    private struct Question {
        /// What brings the answer back: the frames up to the empty one, and the number.
        let envelope: [[UInt8]]
        let number: [UInt8]
        let domain: KeyDomain?
        let address: String
        /// Nil when the question makes no sense.
        let key: String?
        /// Whether the folder was read after the question came; nil where nobody reads it.
        var reading: Reading?
    }

    /// A look at the folder of keys, on a thread of its own.
    private final class Reading: Sendable {
        private let state = Atomic(false)
        var isDone: Bool { state.load(ordering: .acquiring) }
        func end() { state.store(true, ordering: .releasing) }
    }

    init(_ loop: PollLoop, _ gate: Gate) throws(WireError) {
        self.gate = gate
        try super.init(loop, SocketOptions(name: "zap", bootID: 0) { _, _ in nil }, type: ZMQ_ROUTER)
        guard zmq_bind(handle, "inproc://zeromq.zap.01") == 0 else {
            let error = WireError.last("cannot answer handshakes")
            close()
            throw error
        }
    }

    override var hasLinks: Bool { false }

    override func pump() {
        readMonitor()
        while isOpen, let frames = receiveFrames() {
            if let question = read(frames) { consider(question) }
        }
        guard !waiting.isEmpty else { return }
        let now = ContinuousClock.now
        let waiting = waiting
        self.waiting = []
        for (question, deadline) in waiting { consider(question, until: deadline, isOver: deadline <= now) }
    }

    private func receiveFrames() -> [[UInt8]]? {
        var frames: [[UInt8]] = []
        var more = true
        while more {
            var message = zmq_msg_t()
            zmq_msg_init(&message)
            defer { zmq_msg_close(&message) }
            guard zmq_msg_recv(&message, handle, ZMQ_DONTWAIT) >= 0 else { return nil }
            frames.append(
                Array(UnsafeRawBufferPointer(start: zmq_msg_data(&message), count: zmq_msg_size(&message))))
            more = zmq_msg_more(&message) != 0
        }
        return frames
    }

    /// Envelope, empty frame; version, number, domain, address, routing id, mechanism, credentials.
    private func read(_ frames: [[UInt8]]) -> Question? {
        guard let end = frames.firstIndex(of: []), frames.count >= end + 6 else { return nil }
        let body = Array(frames[(end + 1)...])
        let isCurve = body.count == 7 && body[0] == Array("1.0".utf8) && body[5] == Array("CURVE".utf8)
        return Question(
            envelope: Array(frames[...end]), number: body[1],
            domain: KeyDomain(rawValue: String(decoding: body[2], as: UTF8.self)),
            address: String(decoding: body[3], as: UTF8.self),
            key: isCurve ? body[6].withUnsafeBytes { KeyPair.text(of: $0) } : nil)
    }

    /// Answers, or lets a worker wait for the plan that may admit it.
    private func consider(_ question: Question, until deadline: ContinuousClock.Instant? = nil, isOver: Bool = false) {
        guard let key = question.key, let domain = question.domain else {
            gate.note(.badHandshake, question.address)
            return answer(question, "400")
        }
        switch gate.verdict(key, domain) {
        case .success(let name): answer(question, "200", name: name, key: key)
        case .failure(let refused):
            var question = question
            let isOpen: Bool
            if refused.why == .notInPlan {
                isOpen = true
            } else if let reading = question.reading {
                isOpen = !reading.isDone
            } else if waiting.count < Self.mostWaiting {
                // It may have been authorised a moment ago.
                let reading = Reading()
                gate.lookSoon { reading.end() }
                question.reading = reading
                isOpen = true
            } else {
                isOpen = false
            }
            if isOpen && !isOver && waiting.count < Self.mostWaiting {
                waiting.append((question, deadline ?? .now + Self.patience))
                lookAgain()
                return
            }
            gate.note(refused.why, "\(domain) from \(question.address)")
            // 300 lets a worker try again, which may be authorised later; 400 tells a user at once.
            // Source: RFC 27, status codes.
            answer(question, domain.role == .worker ? "300" : "400")
        }
    }

    /// Nothing wakes the loop when the folder was read.
    private func lookAgain() {
        guard looks?.isCancelled ?? true else { return }
        looks = loop.schedule(after: Self.lookInterval) { [weak self] in
            self?.looks = nil
            self?.pump()
        }
    }

    private func answer(_ question: Question, _ code: String, name: String = "", key: String = "") {
        let frames =
            question.envelope + [
                Array("1.0".utf8), question.number, Array(code.utf8),
                Array((name.isEmpty ? "not authorised" : "OK").utf8), Array(name.utf8),
                name.isEmpty ? [] : Self.property(Self.keyProperty, key),
            ]
        for (index, frame) in frames.enumerated() {
            let more = index + 1 < frames.count ? ZMQ_SNDMORE : 0
            while zmq_send(handle, frame, frame.count, ZMQ_DONTWAIT | more) < 0 {
                guard zmq_errno() == EINTR else { return }
            }
        }
    }

    /// A property as ZMTP writes it: length and name, length and value.
    private static func property(_ name: String, _ value: String) -> [UInt8] {
        [UInt8(name.utf8.count)] + Array(name.utf8) + [0, 0, 0, UInt8(value.utf8.count)] + Array(value.utf8)
    }
}
