package import Plan

/// A client's connection to a coordinator: requests out, replies back, in any order.
package actor ClientConnection {
    /// Where the coordinator listens for clients.
    package nonisolated let endpoint: Endpoint

    private nonisolated let loop: PollLoop
    private var socket: DealerSocket?
    private var lastNumber: UInt64 = 0
    /// Why the coordinator will not have this client.
    private var denial: Denial?
    /// Keys to try when the coordinator has none of its own: none, for one on this machine.
    private var fallback: Security?
    /// What it said to the keys, when they were left out after that.
    private var firstDenial: Denial?
    private var waiting: [UInt64: Waiting] = [:]

    private struct Waiting {
        let message: Message
        let continuation: CheckedContinuation<ClientReply, any Error>
        let timer: LoopTimer
    }

    /// Lives on the connection's own loop.
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private init(loop: PollLoop, endpoint: Endpoint, fallback: Security?) {
        self.loop = loop
        self.fallback = fallback
        self.endpoint = endpoint
    }

    /// Starts to connect; whether anybody answers shows with the first request.
    ///
    /// With `keysAreOptional`, keys are left out for a coordinator that has none. That is for keys nobody asked for, to a
    /// coordinator on this machine: anywhere else an impostor could have requests sent in the clear.
    package static func connect(
        to endpoint: Endpoint, security: Security = .none, keysAreOptional: Bool = false
    ) async throws -> ClientConnection {
        let fallback: Security? = keysAreOptional && endpoint.isLoopback ? Security.none : nil
        let connection = ClientConnection(
            loop: try PollLoop(name: "client"), endpoint: endpoint, fallback: fallback)
        do { try await connection.open(security) } catch {
            await connection.loop.stop()
            throw error
        }
        return connection
    }

    /// Sends a request and waits for its reply.
    ///
    /// - Throws: `WireError`: `unreachable` when no coordinator answers within the time, `timeout` when it is
    ///   connected but silent, `lost` when the connection ends, `refused` when the reply makes no sense.
    package func request(_ request: ClientRequest, timeout: Duration = .seconds(5)) async throws -> ClientReply {
        guard let socket else { throw WireError(.closed) }
        if let denial { throw WireError(.notAdmitted(endpoint: endpoint.description, denial)) }
        lastNumber += 1
        let number = lastNumber
        let message = try Message(request, number: number)
        return try await withCheckedThrowingContinuation { continuation in
            let timer = loop.schedule(after: timeout) { self.expire(number, timeout) }
            waiting[number] = Waiting(message: message, continuation: continuation, timer: timer)
            do { try socket.send(message) } catch { finish(number, .failure(error)) }
        }
    }

    /// Ends the connection; requests under way fail.
    package nonisolated func close() async {
        await shut()
        await loop.stop()
    }

    private func open(_ security: Security) throws {
        let random = UInt64.random(in: 1...UInt64.max)
        let owner = security.name.isEmpty ? "client-" : security.name + "/"
        let options = SocketOptions.client(
            name: owner + String(random, radix: 16), bootID: random, accepting: .clientReply, security: security)
        let socket = try DealerSocket(loop, options, to: endpoint)
        socket.onMessage = { message, peer in self.received(message, from: peer) }
        socket.onEvent = { event in self.happened(event) }
        self.socket = socket
    }

    private func shut() {
        socket?.close()
        socket = nil
        failAll(WireError(.closed))
    }

    private func received(_ message: Message, from peer: String) {
        do throws(FrameError) {
            finish(message.sequence, .success(try message.clientReply(from: peer)))
        } catch {
            finish(message.sequence, .failure(WireError(.refused(error))))
        }
    }

    private func happened(_ event: SocketEvent) {
        switch event {
        // Whoever took the keys once wants them: what ends a handshake from now on is a coordinator that starts or ends.
        case .connected: fallback = nil
        case .disconnected: failAll(WireError(.lost(endpoint: endpoint.description)))
        case .notAdmitted(let denial) where fallback != nil && (denial == .hasNoKeys || denial == .silent):
            // One without keys may also end the handshake before its greeting is read.
            firstDenial = denial
            // Not from within the socket's own turn.
            loop.schedule(after: .zero) { self.leaveOutKeys() }
        case .notAdmitted(let last):
            let denial = last == .demandsKeys ? firstDenial ?? last : last
            if !denial.isTriedAgain { self.denial = denial }
            failAll(WireError(.notAdmitted(endpoint: endpoint.description, denial)))
        default: break
        }
    }

    private func leaveOutKeys() {
        guard let fallback, socket != nil else { return }
        self.fallback = nil
        socket?.close()
        socket = nil
        do {
            try open(fallback)
            for number in waiting.keys.sorted() {
                if let message = waiting[number]?.message { try socket?.send(message) }
            }
        } catch {
            for number in waiting.keys.sorted() { finish(number, .failure(error)) }
        }
    }

    private func expire(_ number: UInt64, _ timeout: Duration) {
        let seconds = Double(timeout.components.seconds) + Double(timeout.components.attoseconds) * 1e-18
        let isConnected = socket?.isConnected == true
        finish(
            number,
            .failure(
                WireError(
                    isConnected
                        ? .timeout(endpoint: endpoint.description, seconds: seconds)
                        : .unreachable(endpoint: endpoint.description, seconds: seconds))))
    }

    private func finish(_ number: UInt64, _ result: Result<ClientReply, any Error>) {
        guard let waiting = waiting.removeValue(forKey: number) else { return }
        waiting.timer.cancel()
        waiting.continuation.resume(with: result)
    }

    private func failAll(_ error: WireError) {
        for number in waiting.keys.sorted() { finish(number, .failure(error)) }
    }
}
