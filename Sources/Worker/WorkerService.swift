internal import Checkpoint
internal import Foundation
package import Logging
package import Plan
internal import Stages
internal import Tensors
internal import Wire

/// A worker with its sockets and its compute thread: carries out what the core decides.
///
/// An actor on a poll loop: sockets, timers and heartbeats live on that loop's thread, which never computes.
package actor WorkerService {
    private nonisolated let loop: PollLoop
    private let settings: WorkerSettings
    private let log: Logger
    private let reader: MessageReader
    private let messageLimits: MessageLimits
    private let meter = LinkMeter()

    private var core: WorkerCore
    private var computer: ComputeThread?
    private var reports: Inbox<Event>?
    private var upstream: RouterSocket?
    private var control: DealerSocket?
    private var data: DealerSocket?
    private var downstream: DealerSocket?
    private var ending: WorkerCore.Ending?
    private var isOver = false
    private var waiting: [CheckedContinuation<WorkerCore.Ending, Never>] = []

    /// Lives on its own loop.
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// How often the core is told the time.
    private static let tickInterval = Duration.milliseconds(100)

    private init(loop: PollLoop, settings: WorkerSettings, hello: Hello, log: Logger) {
        self.loop = loop
        self.settings = settings
        self.log = log
        reader = MessageReader(facts: hello.model)
        messageLimits = MessageLimits(facts: hello.model)
        core = WorkerCore(hello: hello, coordinator: settings.coordinator.description, limits: settings.limits)
    }

    /// Opens the model's folder and the sockets, and begins to say hello; the coordinator need not be there yet.
    ///
    /// - Throws: `WorkerError`, `CheckpointError`, `StageError` or `WireError`, each with a text of one line.
    package static func start(_ settings: WorkerSettings, log: Logger) async throws -> WorkerService {
        try settings.check()
        let folder = try ModelFolder(path: settings.modelFolder)
        let facts = try ModelFacts(folder: folder)
        guard let kernels = KernelClass.current.computing(in: settings.compute) else {
            throw WorkerError(.compute(settings.compute))
        }
        let compute = Compute(
            threads: settings.threads, cores: settings.threads == settings.cores.count ? settings.cores : [],
            kernels: kernels)
        let machine = settings.benchmark.machine
        let costs = await measured(folder: folder, facts: facts, compute: compute, settings: settings, log: log)
        let hello = Hello(
            name: settings.name, bootID: UInt64.random(in: 1...UInt64.max), build: settings.build, model: facts,
            dataEndpoint: "", threads: settings.threads,
            memoryCap: settings.memoryCap > 0 ? settings.memoryCap : machine.memory,
            kernelClass: compute.kernels.name, roles: settings.roles,
            profile: NodeProfile(
                cores: machine.cores, instructions: compute.kernels.instructions, machine: machine.identity,
                sharesMemory: settings.memoryCap == 0, costs: costs,
                bytesPerWeight: try transformerBytesPerWeight(of: folder, in: settings.compute),
                encoderBytes: try encoderBytes(of: folder, in: settings.compute)),
            publicKey: settings.security.identity?.publicKey)
        let loop = try PollLoop(name: "worker", ioThreads: 3)
        do {
            let service = WorkerService(loop: loop, settings: settings, hello: hello, log: log)
            try await service.begin(hello, folder: folder, compute: compute)
            return service
        } catch {
            await loop.stop()
            throw error
        }
    }

    /// Measures on a thread of its own, since the cooperative pool must not be held up for so long.
    private static func measured(
        folder: ModelFolder, facts: ModelFacts, compute: Compute, settings: WorkerSettings, log: Logger
    ) async -> MeasuredCosts? {
        await withCheckedContinuation { continuation in
            let thread = Thread {
                continuation.resume(
                    returning: settings.benchmark.costs(
                        folder: folder, facts: facts, roles: settings.roles, compute: compute, log: log))
            }
            thread.name = "benchmark"
            thread.stackSize = 8 << 20
            thread.start()
        }
    }

    /// Waits until the worker has left, and closes everything.
    package nonisolated func run() async -> WorkerCore.Ending {
        let ending = await end()
        await loop.stop()
        return ending
    }

    /// Finishes the work in hand and leaves; the second time, stops at once.
    package func drain() { handle(.drain) }

    /// Stops at once.
    package func stop() { handle(.stop) }

    /// Where it stands.
    package var life: WorkerCore.Life { core.life }

    /// Whether its connection to the coordinator stands.
    package var isConnected: Bool { core.isConnected }

    /// What was dropped.
    package var drops: WorkerCore.Drops { core.drops }

    /// What its own page shows.
    package var report: WorkerReport { core.report(vitals, now: monotonicNow()) }

    /// Where other workers reach it.
    package var dataEndpoint: String { core.hello.dataEndpoint }

    private func end() async -> WorkerCore.Ending {
        if isOver, let ending { return ending }
        return await withCheckedContinuation { waiting.append($0) }
    }

    private func begin(_ hello: Hello, folder: ModelFolder, compute: Compute) throws {
        let socket = try RouterSocket(loop, dataOptions(.upstream))
        socket.onMessage = { message, peer in self.receive(message, fromWorker: peer) }
        socket.onEvent = { event in self.happened(event, on: "data socket") }
        upstream = socket
        let bound = try socket.listen(on: settings.listen)
        var hello = hello
        hello.dataEndpoint = advertised(bound).description
        core = WorkerCore(hello: hello, coordinator: settings.coordinator.description, limits: settings.limits)
        try openControl()
        let reports = Inbox<Event> { Task { await self.takeReports() } }
        self.reports = reports
        computer = ComputeThread(folder: folder, facts: hello.model, compute: compute) { event in
            reports.put([event])
        }
        log.info(
            "\(hello.name): \(hello.model.name), threads \(hello.threads), \(hello.kernelClass), data on \(bound)")
        log.notice("\(hello.name): \(settings.security.summary(listeningOn: [bound]))")
        if bound.isLoopback && !settings.coordinator.isLoopback && settings.advertisedHost == nil {
            let text =
                "listens on \(bound), which workers of other machines cannot reach; give it an address of this machine with "
                + "--bind (`bind` in the file)"
            log.warning("\(hello.name): \(text)")
        }
        loop.schedule(after: .zero, every: Self.tickInterval) { self.tick() }
        loop.schedule(after: .seconds(1), every: .seconds(1)) {
            for news in self.settings.security.gate?.takeNews() ?? [] { self.log.warning("refused \(news)") }
        }
    }

    /// The endpoint to tell others: a wildcard is replaced by an address.
    private func advertised(_ bound: Endpoint) -> Endpoint {
        if let host = settings.advertisedHost { return bound.at(host: host) }
        return bound.isWildcard ? bound.at(host: ProcessInfo.processInfo.hostName) : bound
    }
}

// MARK: - Events

extension WorkerService {
    private func tick() {
        handle(.tick(vitals))
        settings.onTurn?(monotonicNow(), computer?.standing ?? 0)
    }

    private var vitals: Vitals {
        Vitals(
            residentBytes: Self.residentBytes(), block: computer?.block, computing: computer?.computing ?? 0,
            links: meter.snapshot, authFailures: settings.security.gate?.failures)
    }

    private func takeReports() { for event in reports?.takeAll() ?? [] { handle(event) } }

    private func handle(_ event: Event) {
        guard !isOver else { return }
        for effect in core.handle(event, now: monotonicNow()) { perform(effect) }
    }

    /// A message on the data socket: only the neighbour of the plan, and only the run that the plan means, has a say.
    private func receive(_ message: Message, fromWorker peer: String) {
        guard let neighbour = core.latest?.upstream, neighbour.routingID.description == peer,
            neighbour.bootID == message.bootID
        else { return log.debug("\(message.kind) from \(peer), which is not before this worker in the plan") }
        receive(message, from: .upstream(neighbour.worker))
    }

    private func receive(_ message: Message, from peer: Peer) {
        switch message.kind {
        case .control:
            do throws(FrameError) {
                let control = try message.control(from: peer.description)
                handle(.control(control))
                if case .report = control { tick() }
            } catch {
                refused(error)
            }
        case .credit:
            do throws(FrameError) {
                let limit = try message.credit(from: peer.description)
                handle(.credit(from: peer, epoch: message.epoch, limit: limit))
            } catch {
                refused(error)
            }
        case .probe: handle(.probed(message.argument, epoch: message.epoch, from: peer))
        case .echo: handle(.echoed(message.argument, epoch: message.epoch, from: peer))
        default:
            do throws(FrameError) {
                handle(
                    .task(
                        try reader.task(
                            message, from: peer.description, wire: core.latest?.wire ?? .f32), from: peer))
            } catch {
                handle(
                    .malformed(
                        MalformedTask(
                            task: message.task, epoch: message.epoch,
                            isStep: message.kind == .step || message.kind == .activation,
                            bytes: message.activationBytes,
                            text: "\(settings.name): \(error)")))
            }
        }
    }

    private func controlHappened(_ event: SocketEvent) {
        happened(event, on: "control")
        switch event {
        case .connected: handle(.connection(isUp: true))
        case .disconnected: handle(.connection(isUp: false))
        default: break
        }
    }

    private func nextHappened(_ event: SocketEvent, _ name: String) {
        happened(event, on: "link to \(name)")
        switch event {
        case .connected: handle(.link(isUp: true))
        case .disconnected: handle(.link(isUp: false))
        default: break
        }
    }

    private func happened(_ event: SocketEvent, on socket: String) {
        switch event {
        case .connected(let peer): log.debug("\(socket): \(peer) connected")
        case .disconnected(let peer): log.info("\(socket): connection to \(peer) ended")
        case .refused(let error): refused(error)
        case .undeliverable(let peer, let messages): log.warning("\(messages) messages to \(peer) were lost with it")
        case .notAdmitted(let denial): log.warning("\(socket): the other side does not admit this worker: \(denial)")
        }
    }

    /// Lets the worker with the span before connect here, and nobody else.
    private func admit(_ upstream: Placement?) {
        // Counters tell all that it sent since it started, unless its neighbours have ever other names.
        if meter.snapshot.count > Self.mostLinks {
            let known = [settings.name, "coordinator", upstream?.worker, core.latest?.downstream?.worker]
            meter.keep { known.contains($0) }
        }
        guard let gate = settings.security.gate else { return }
        gate.open(to: upstream.flatMap { share in share.publicKey.map { [(share.worker, $0)] } } ?? [])
    }

    /// Links whose counters are kept, whoever the neighbours are: of many more a heartbeat would be refused.
    private static let mostLinks = 512

    private func refused(_ error: FrameError) { log.warning("message refused: \(error)") }

    /// Resident memory of this process.
    ///
    /// Source: proc(5), `/proc/[pid]/statm`, second field, in pages.
    private static func residentBytes() -> UInt64 {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
        return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }
}

// MARK: - Effects

extension WorkerService {
    private func perform(_ effect: Effect) {
        switch effect {
        case .control(.hello) where control?.queuedBytes() ?? 0 > 0: break
        case .control(let message):
            // It could not be opened when it was to be, and is to be said hello on.
            if case .hello = message, control == nil { send("hello") { try openControl() } }
            send("control message") { try control?.send(Message(message)) }
        case .reconnect:
            closeToCoordinator()
            send("hello") { try openControl() }
        case .openData(let endpoint): send("data link") { try openData(endpoint) }
        case .admit(let upstream): admit(upstream)
        case .openDownstream(let name, let endpoint, let key):
            send("link to \(name)") { try openDownstream(name, endpoint, key) }
        case .closeDownstream: closeDownstream()
        case .credit(let peer, let epoch, let limit):
            send(.credit(limit: limit, epoch: epoch), to: peer)
        case .probe(let number, let bytes, let epoch):
            guard let name = core.latest?.downstream?.worker else { return }
            let filler = [UInt8](repeating: 0, count: bytes)
            send(Message(.probe, epoch: epoch, argument: number, body: filler), to: .downstream(name))
        case .echo(let number, let epoch):
            guard let name = core.latest?.upstream?.worker else { return }
            send(Message(.echo, epoch: epoch, argument: number), to: .upstream(name))
        case .answer(let answer, let peer): send(answer.message(wire: core.assignment?.wire ?? .f32), to: peer)
        case .load(let share): computer?.load(share)
        case .drop: computer?.drop()
        case .compute(let item): computer?.compute(item)
        case .abandon(let key): computer?.abandon(key)
        case .log(let level, let text): log.log(level: level, "\(settings.name): \(text)")
        case .exit(let ending): finish(ending)
        }
    }

    private func send(_ message: Message, to peer: Peer) {
        send("\(message.kind) to \(peer)") {
            switch peer {
            case .coordinator: try data?.send(message)
            case .upstream(let name):
                guard let neighbour = core.latest?.upstream, neighbour.worker == name else { return }
                try upstream?.send(message, to: neighbour.routingID.description)
            case .downstream: try downstream?.send(message)
            }
        }
    }

    /// What cannot be sent is not fatal: credits are repeated, and work that is lost is asked for again.
    private func send(_ what: String, _ body: () throws -> Void) {
        do { try body() } catch let error as WireError {
            if case .unroutable = error.reason {
                log.debug("\(what): \(error)")
            } else {
                log.warning("\(what): \(error)")
            }
        } catch { log.warning("\(what): \(error)") }
    }

    private func finish(_ ending: WorkerCore.Ending) {
        self.ending = ending
        computer?.end()
        close()
    }

    private func close() {
        isOver = true
        closeToCoordinator()
        closeDownstream()
        upstream?.close()
        reports = nil
        guard let ending else { return }
        for continuation in waiting { continuation.resume(returning: ending) }
        waiting = []
    }
}

// MARK: - Sockets

extension WorkerService {
    private func openControl() throws {
        var options = SocketOptions.control(
            name: settings.name, bootID: core.hello.bootID, security: settings.security)
        options.routingID = routingID
        let socket = try DealerSocket(loop, options, to: settings.coordinator)
        socket.onMessage = { message, _ in self.receive(message, from: .coordinator) }
        socket.onEvent = { event in
            if case .notAdmitted(let denial) = event {
                self.handle(.denied(denial.description, isTriedAgain: denial.isTriedAgain))
            } else {
                self.controlHappened(event)
            }
        }
        control = socket
    }

    private func openData(_ text: String) throws {
        data?.close()
        data = nil
        var endpoint = try Endpoint(text)
        if endpoint.isWildcard { endpoint = endpoint.at(host: settings.coordinator.host) }
        let socket = try DealerSocket(loop, dataOptions(.coordinator), to: endpoint)
        socket.onMessage = { message, _ in self.receive(message, from: .coordinator) }
        socket.onEvent = { event in self.happened(event, on: "data link") }
        data = socket
    }

    private func openDownstream(_ name: String, _ text: String, _ key: String?) throws {
        let endpoint = try Endpoint(text)
        if let downstream, downstream.options.peerName == name, downstream.endpoint == endpoint,
            settings.security.identity == nil || downstream.options.security.peerKey == key
        {
            return
        }
        closeDownstream()
        var options = dataOptions(.downstream)
        options.peerName = name
        options.security.peerKey = key
        options.queueBytes = max(options.queueBytes, messageLimits.waitingBytes)
        let socket = try DealerSocket(loop, options, to: endpoint)
        socket.onMessage = { message, _ in self.receive(message, from: .downstream(name)) }
        socket.onEvent = { event in self.nextHappened(event, name) }
        downstream = socket
    }

    private func closeToCoordinator() {
        control?.close()
        control = nil
        data?.close()
        data = nil
    }

    private func closeDownstream() {
        downstream?.close()
        downstream = nil
    }

    /// Which of the data links a message came over.
    private enum Link {
        case coordinator
        case upstream
        case downstream
    }

    /// What routers know this run of the worker by.
    private var routingID: String { RoutingID(name: settings.name, bootID: core.hello.bootID).description }

    private func dataOptions(_ link: Link) -> SocketOptions {
        var options = SocketOptions(
            name: settings.name, bootID: core.hello.bootID, security: settings.security.for(.link),
            limit: { [weak self] header, peer in self?.assumeIsolated { $0.limit(header.kind, over: link, peer) } },
            meter: meter)
        options.routingID = routingID
        // Neighbours have names that may take long to be looked up: neither heartbeats nor what the coordinator sends wait.
        options.ioThread = link == .coordinator ? 1 : 2
        return options
    }

    private func limit(_ kind: MessageKind, over link: Link, _ peer: String) -> Int? {
        switch (link, kind) {
        case (.upstream, .activation) where core.latest?.upstream?.routingID.description != peer: nil
        case (.upstream, .probe) where core.latest?.upstream?.routingID.description != peer: 0
        case (.coordinator, .encode), (.coordinator, .step), (.coordinator, .decode), (.upstream, .activation),
            (.upstream, .credit), (.downstream, .credit), (.upstream, .probe), (.downstream, .echo):
            messageLimits.bytes(kind, under: core.latest)
        default: nil
        }
    }
}

extension Placement {
    fileprivate var routingID: RoutingID { RoutingID(name: worker, bootID: bootID) }
}
