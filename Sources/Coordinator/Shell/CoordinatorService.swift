package import CoreMetrics
internal import Foundation
internal import JobStore
package import Logging
package import Plan
internal import Wire

/// A coordinator with its sockets, its store and its files: carries out what the core decides.
///
/// An actor on a poll loop. The store, the samplers, the PNG files and the look at a new job's folder have queues of their
/// own, so that a disk that flushes, or an edge map, delays no message.
package actor CoordinatorService {
    /// Where it listens.
    package nonisolated let endpoints: ServiceEndpoints

    private nonisolated let loop: PollLoop
    private let settings: ServiceSettings
    private let log: Logger
    private let store: JobStore
    private let storeThread: StoreThread
    private let inbox: Inbox<Event>
    private let samplers = DispatchQueue(label: "samplers")
    private let files = DispatchQueue(label: "files")
    /// Looks for pictures of other queues in a new job's folder: checkpoints do not wait for that disk.
    private let folders = DispatchQueue(label: "folders")
    /// Reads the folder of keys, which may be on another machine's disk: messages do not wait for it.
    private let keyReader = DispatchQueue(label: "keys")
    private var isReadingKeys = false
    private let writer: PictureWriter
    private let metrics: CoordinatorMetrics
    private let start = DispatchTime.now().uptimeNanoseconds

    private var sleptBefore = CoordinatorService.secondsSlept

    private var core: CoordinatorCore
    private let sockets: CoordinatorSockets
    private var generator = SystemRandomNumberGenerator()
    private var lastLocalNumber: UInt64 = 0
    private var localClients: [UInt64: CheckedContinuation<ClientReply, Never>] = [:]
    private var isAtRest = false
    private var waitingForRest: [CheckedContinuation<Void, Never>] = []

    /// Finds the service for callbacks that were made before it.
    private final class Owner: @unchecked Sendable {
        weak var service: CoordinatorService?
    }

    /// Lives on its own loop.
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// Routing id of requests from this process; no peer can have it.
    private static let localClient = ""

    /// Opens the sockets and the queue and goes on with unfinished jobs.
    ///
    /// In this order, so that a coordinator that cannot listen leaves no folder behind.
    ///
    /// - Throws: `StoreError`, `WireError` or `ServiceError`, each with a text of one line.
    package static func start(
        _ settings: ServiceSettings, log: Logger, metrics: any MetricsFactory = NOOPMetricsHandler.instance
    ) async throws -> CoordinatorService {
        let loop = try PollLoop(name: "coordinator", ioThreads: 2)
        do {
            // All on the loop's thread, which receives nothing meanwhile: what comes early waits in the sockets.
            let (service, recovered) = try await loop.run {
                let owner = Owner()
                let sockets = try CoordinatorSockets(loop, settings) { header, peer in
                    owner.service?.assumeIsolated { $0.limit(header, peer) }
                }
                var settings = settings
                settings.core.outputFolder = try checkedOutputFolder(settings.core.outputFolder)
                let store = try JobStore(folder: settings.stateFolder)
                try checkDisk(of: settings.core.outputFolder, store)
                try makeOutputFolder(settings.core.outputFolder)
                try noteDisk(of: settings.core.outputFolder, store)
                let jobs = try store.unfinished()
                for line in oddFolders(of: jobs, output: settings.core.outputFolder) { log.warning("\(line)") }
                for job in jobs { PictureWriter.removeLeftovers(in: job.status.folder) }
                if store.isNew {
                    log.warning("\(store.path) was made just now: a new queue without jobs")
                } else {
                    log.notice("\(store.path): \(jobs.count) jobs with pictures left")
                }
                let pin = try self.pin(of: jobs, store)
                if jobs.contains(where: { !$0.checkpoints.isEmpty }) {
                    settings.core.begunWire = try begunFormat(store)
                }
                try keepFormat(settings.core, store)
                let epoch = try store.fact("epoch").flatMap { Epoch($0) } ?? 0
                let drained = Facts.names(try store.fact(CoordinatorCore.drainedFact))
                let service = CoordinatorService(
                    loop: loop, settings: settings, store: store, sockets: sockets, owner: owner, log: log,
                    metrics: CoordinatorMetrics(metrics))
                return (service, Event.recovered(jobs, pin: pin, epoch: epoch, drained: drained))
            }
            await service.begin(recovered)
            return service
        } catch {
            await loop.stop()
            throw error
        }
    }

    /// On the loop's thread.
    private init(
        loop: PollLoop, settings: ServiceSettings, store: JobStore, sockets: CoordinatorSockets, owner: Owner,
        log: Logger, metrics: CoordinatorMetrics
    ) {
        endpoints = sockets.endpoints
        self.sockets = sockets
        var settings = settings
        let data = sockets.endpoints.data
        let advertised = settings.advertisedHost.map { data.at(host: $0) } ?? data
        settings.core.dataEndpoint = advertised.description
        settings.core.wallAtZero = Date().timeIntervalSince1970
        self.loop = loop
        self.settings = settings
        self.log = log
        self.store = store
        let inbox = Inbox<Event> { Task { await owner.service?.takeInbox() } }
        self.inbox = inbox
        self.metrics = metrics
        storeThread = StoreThread(store: store, inbox: inbox, metrics: metrics) { log.error("\($0)") }
        writer = PictureWriter(version: settings.version, home: settings.core.outputFolder)
        core = CoordinatorCore(settings: settings.core)
        owner.service = self
    }

    /// The format in which the pictures of the queue were begun; queues of older programs do not say, and it was f32.
    private static func begunFormat(_ store: JobStore) throws -> WireFormat {
        try store.fact(CoordinatorCore.wireFact).flatMap { WireFormat(rawValue: $0) } ?? .f32
    }

    /// What the queue's pictures are drawn with; refuses one that does not say so readably, where some were begun.
    private static func pin(of jobs: [StoredJob], _ store: JobStore) throws -> ClusterPin? {
        let fact = try store.fact("pin")
        let pin = Facts.decode(fact)
        if fact != nil && pin == nil && jobs.contains(where: { $0.status.done > 0 || !$0.checkpoints.isEmpty }) {
            throw ServiceError(
                "\(store.path) has jobs that were begun, and this version cannot read with which model: let the version that "
                    + "began them finish or cancel them, or choose another state folder")
        }
        return pin
    }

    /// Refuses to finish pictures in another format than they were begun in: their files tell one format.
    private static func keepFormat(_ core: CoordinatorSettings, _ store: JobStore) throws {
        guard case .format(let format) = core.wire else { return }
        if let begun = core.begunWire, begun != format {
            throw ServiceError(
                "the queue has pictures that were begun with wire format \(begun.rawValue), not \(format.rawValue): start "
                    + "with --wire \(begun.rawValue) until they are done, or cancel their jobs there")
        }
        // The disk may be full.
        guard try store.fact(CoordinatorCore.wireFact) != format.rawValue else { return }
        let fact = StoreWrite.fact(name: CoordinatorCore.wireFact, value: format.rawValue)
        for case .failed(let error) in store.perform([fact]) { throw error }
    }

    /// Refuses to let pictures go to the folder under a disk that was mounted there at the last start: nobody would find them
    /// once it is mounted again.
    private static func checkDisk(of output: String, _ store: JobStore) throws {
        guard let disk = Facts.disk(try store.fact(Facts.disk), of: output), !PictureWriter.isMountPoint(disk) else {
            return
        }
        throw ServiceError(
            "no disk is mounted on \(disk), where the one of the output folder \(output) was: mount it, or, if pictures are to go "
                + "there without it, start once with another output folder, which forgets it")
    }

    /// Remembers where the disk of the output folder, which is there, is mounted.
    private static func noteDisk(of output: String, _ store: JobStore) throws {
        let now = PictureWriter.mountPoint(of: output).map { Facts.encode(disk: $0, of: output) }
        guard try store.fact(Facts.disk) != now else { return }
        for case .failed(let error) in store.perform([.fact(name: Facts.disk, value: now)]) { throw error }
    }

    /// What an operator should know of the folders of jobs that go on: those of another output folder, and those that are gone
    /// with the pictures in them.
    static func oddFolders(of jobs: [StoredJob], output: String) -> [String] {
        var (elsewhere, lines): ([String: Int], [String]) = ([:], [])
        for job in jobs {
            let folder = job.status.folder
            if !folder.hasPrefix(output + "/") {
                elsewhere[(folder as NSString).deletingLastPathComponent, default: 0] += 1
            }
            if job.status.done > 0 && access(folder, F_OK) != 0 {
                lines.append(
                    "the folder \(folder) of job \(job.status.id) is not there, and \(job.status.done) of its pictures were "
                        + "in it: is its disk mounted?")
            }
        }
        for (folder, count) in elsewhere.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "jobs of before that go on in \(folder), not in \(output): \(count); it must stay where it is, and writable, until "
                    + "they are done")
        }
        return lines
    }

    /// The folder's absolute path, which exists and can be written, or can be made.
    private static func checkedOutputFolder(_ path: String) throws -> String {
        let absolute = URL(fileURLWithPath: path).standardizedFileURL.path
        var nearest = absolute
        while nearest != "/", access(nearest, F_OK) != 0 { nearest = (nearest as NSString).deletingLastPathComponent }
        var isFolder: ObjCBool = false
        let isThere = FileManager.default.fileExists(atPath: nearest, isDirectory: &isFolder)
        let code = isThere && !isFolder.boolValue ? ENOTDIR : access(nearest, W_OK | X_OK) == 0 ? 0 : errno
        guard code == 0 else {
            let why = String(cString: strerror(code))
            guard nearest == absolute else { throw cannotMake(absolute, why) }
            throw ServiceError(
                "the output folder \(absolute) cannot be written (\(why)); check its owner and its disk, or choose another one"
            )
        }
        return absolute
    }

    private static func makeOutputFolder(_ path: String) throws(ServiceError) {
        do { try DurableFolder.make(path, mode: 0o777) } catch {
            guard case .unwritable(_, let code) = error.reason else { throw cannotMake(path, "\(error)") }
            throw cannotMake(path, String(cString: strerror(code)))
        }
    }

    private static func cannotMake(_ path: String, _ why: String) -> ServiceError {
        ServiceError(
            "cannot make the output folder \(path) (\(why)); check the owner of the folder above it and its disk, or choose "
                + "another one")
    }

    private func begin(_ recovered: Event) {
        sockets.control.onMessage = { [weak self] message, peer in
            self?.assumeIsolated { $0.control(message, from: peer) }
        }
        sockets.control.onEvent = { [weak self] event in self?.assumeIsolated { $0.control(event) } }
        sockets.data.onMessage = { [weak self] message, peer in
            self?.assumeIsolated { $0.data(message, from: peer) }
        }
        sockets.data.onEvent = { [weak self] event in self?.assumeIsolated { $0.data(event) } }
        sockets.client.onMessage = { [weak self] message, peer in
            self?.assumeIsolated { $0.client(message, from: peer) }
        }
        sockets.client.onEvent = { [weak self] event in
            self?.assumeIsolated { if case .refused(let error) = event { $0.refused(error, on: "client") } }
        }
        sockets.events.onEvent = { [weak self] event in
            self?.assumeIsolated { if case .refused(let error) = event { $0.refused(error, on: "events") } }
        }
        handle(recovered)
        loop.schedule(after: .zero, every: .nanoseconds(settings.core.tick)) { [weak self] in
            self?.assumeIsolated {
                $0.watchKeys()
                $0.watchClock()
                $0.handle(.tick)
                $0.settings.onTurn?(DispatchTime.now().uptimeNanoseconds)
            }
        }
        loop.schedule(after: .seconds(1), every: .seconds(1)) { [weak self] in
            self?.assumeIsolated { $0.reportRefusals() }
        }
        log.info(
            "control \(endpoints.control), data \(endpoints.data), client \(endpoints.client), events \(endpoints.events)"
        )
        let listening = [endpoints.control, endpoints.data, endpoints.client, endpoints.events]
        log.notice("\(settings.security.summary(listeningOn: listening))")
        if !endpoints.control.isLoopback && endpoints.data.isLoopback && settings.advertisedHost == nil {
            let text =
                "workers of other machines reach \(endpoints.control), but not \(endpoints.data), over which latents travel; "
                + "give --data an address of this machine"
            log.warning("\(text)")
        }
    }
}

// MARK: - For the process and its gateway

extension CoordinatorService {
    /// What each of the metrics means that it counts besides its status.
    package static var metricMeanings: [(name: String, meaning: String)] { CoordinatorMetrics.meanings }

    /// Asks like a client does.
    package func request(_ request: ClientRequest) async -> ClientReply {
        guard !isAtRest else { return .failure(ClientFailure(.unavailable, "the coordinator has stopped")) }
        lastLocalNumber += 1
        let ticket = ClientTicket(client: Self.localClient, number: lastLocalNumber)
        return await withCheckedContinuation { continuation in
            localClients[ticket.number] = continuation
            handle(.client(request, ticket, fresh: JobID(using: &generator)))
        }
    }

    /// Lets every picture come to the end of its step and its state to the disk; `run` returns then.
    package func drain() { handle(.stop) }

    /// Stops without waiting for workers; pictures go on from their last durable step at the next start.
    package func stop() { rest() }

    /// Waits until the coordinator has been drained or stopped, and closes everything.
    package nonisolated func run() async {
        await untilRest()
        await flush()
        await close()
        await loop.stop()
    }

    private func untilRest() async {
        if isAtRest { return }
        await withCheckedContinuation { waitingForRest.append($0) }
    }

    private func flush() async {
        // Not `folders`: its disk may hang, and the core has waited for who submits as long as that makes sense.
        let (files, samplers) = (files, samplers)
        await withCheckedContinuation { continuation in samplers.async { continuation.resume() } }
        await withCheckedContinuation { continuation in files.async { continuation.resume() } }
        await storeThread.flush()
    }

    private func close() {
        sockets.close()
        store.close()
        for continuation in localClients.values {
            continuation.resume(returning: .failure(ClientFailure(.unavailable, "the coordinator has stopped")))
        }
        localClients = [:]
    }

    private func rest() {
        isAtRest = true
        for continuation in waitingForRest { continuation.resume() }
        waitingForRest = []
    }
}

// MARK: - Events

extension CoordinatorService {
    private var now: UInt64 { DispatchTime.now().uptimeNanoseconds - start }

    private func handle(_ event: Event) {
        guard !isAtRest else { return }
        for effect in core.handle(event, now: now) { perform(effect) }
    }

    /// Tells of a clock that was set, as a machine's is that starts before it reaches a time server.
    private func watchClock() {
        let slept = Self.secondsSlept
        if slept - sleptBefore > Self.clockTolerance {
            handle(.clockSet(wallAtZero: core.wallAtZero + slept - sleptBefore, isSleep: true))
        }
        sleptBefore = slept
        let wallAtZero = Date().timeIntervalSince1970 - Double(now) * 1e-9
        guard abs(wallAtZero - core.wallAtZero) > Self.clockTolerance else { return }
        handle(.clockSet(wallAtZero: wallAtZero))
    }

    /// Seconds in which the machine slept since it was started.
    ///
    /// The clock of this process does not count them. Those in which a virtual machine was stopped nobody can tell.
    private static var secondsSlept: Double {
        func seconds(_ clock: clockid_t) -> Double {
            var time = timespec()
            clock_gettime(clock, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
        }
        return seconds(CLOCK_BOOTTIME) - seconds(CLOCK_MONOTONIC)
    }

    /// Seconds that a clock that is only slewed takes hours to drift by.
    private static let clockTolerance = 5.0

    private func takeInbox() { for event in inbox.takeAll() { handle(event) } }

    /// Reads again who is authorised; files that were overwritten in place need this, others are noticed by themselves.
    package func readKeys() async {
        guard let gate = settings.security.gate else { return log.notice("there are no keys to read again") }
        await readKeys(gate, anyway: true)
        log.notice("read the keys again: \(gate.count) authorised")
    }

    /// Looks for changes of who is authorised, unless the last look is not over.
    private func watchKeys() {
        guard let gate = settings.security.gate, !isReadingKeys else { return }
        isReadingKeys = true
        Task {
            await readKeys(gate, anyway: false)
            isReadingKeys = false
        }
    }

    /// Reads who is authorised, and ends what was and is not any more.
    private func readKeys(_ gate: Gate, anyway: Bool) async {
        let skipped = await withCheckedContinuation { continuation in
            keyReader.async { continuation.resume(returning: gate.refresh(anyway: anyway)) }
        }
        for line in skipped { log.warning("keys: \(line)") }
        let revoked = gate.takeRevoked()
        for key in revoked.sorted(by: { $0.name < $1.name }) {
            log.notice("the key of \(key.role.rawValue) \(key.name) is not authorised any more")
            if key.role == .worker { handle(.revoked(worker: key.name)) }
        }
        if !revoked.isEmpty { sockets.cutRevoked() }
    }

    /// At most a line a second for each reason, however many knock.
    private func reportRefusals() {
        for news in settings.security.gate?.takeNews() ?? [] { log.warning("refused \(news)") }
    }

    private func control(_ message: Message, from peer: String) {
        guard let run = RoutingID(peer), run.bootID == message.bootID else {
            return refused(FrameError(.peerName, peer: peer), on: "control")
        }
        do throws(FrameError) {
            var said = try message.control(from: run.name)
            if case .hello(var hello) = said {
                // What the handshake proved, whatever the worker says.
                hello.publicKey = settings.security.gate?.key(of: run.name)
                said = .hello(hello)
            }
            handle(.control(said, from: run.name, bootID: run.bootID))
        } catch {
            refused(error, on: "control")
            handle(.malformed("\(error)", from: run.name, bootID: run.bootID))
        }
    }

    private func control(_ event: SocketEvent) {
        switch event {
        case .disconnected(let peer):
            if let run = RoutingID(peer) { handle(.disconnected(worker: run.name, bootID: run.bootID)) }
        case .refused(let error): refused(error, on: "control")
        case .connected, .undeliverable, .notAdmitted: break
        }
    }

    /// The worker that speaks over the data socket; nil for a run that is not, or no more, part of the cluster.
    private func worker(_ peer: String) -> String? {
        guard let run = RoutingID(peer), core.bootID(of: run.name) == run.bootID else { return nil }
        return run.name
    }

    private func data(_ message: Message, from peer: String) {
        guard let worker = worker(peer) else { return }
        do throws(FrameError) {
            if message.kind == .credit {
                let limit = try message.credit(from: worker)
                return handle(.credit(limit: limit, epoch: message.epoch, from: worker))
            }
            let (output, key) = try TaskOutput.read(message, from: worker)
            handle(.result(output, key, from: worker))
        } catch {
            refused(error, on: "data")
            guard let task = message.task else { return }
            handle(
                .control(
                    .fault(Fault(task, text: "\(error)", isRetriable: true)), from: worker, bootID: message.bootID))
        }
    }

    private func data(_ event: SocketEvent) {
        switch event {
        case .disconnected(let peer): if let worker = worker(peer) { handle(.linkLost(worker: worker)) }
        case .refused(let error): refused(error, on: "data")
        case .undeliverable(let peer, let messages): log.warning("\(messages) messages to \(peer) were lost with it")
        case .connected, .notAdmitted: break
        }
    }

    /// Nobody may send more than the answer that it owes: an answer that comes too late is not even received.
    private func limit(_ header: FrameHeader, _ peer: String) -> Int? {
        if header.kind == .credit { return Message.creditBytes }
        guard let task = header.task, let worker = worker(peer) else { return nil }
        return core.answerBytes(task, from: worker)
    }

    private func refused(_ error: FrameError, on socket: String) {
        if case .unexpected = error.reason, socket == "data" {
            // Nobody waited for it any more; such answers come with every new plan.
            metrics.note(.staleAnswer, model: "")
            return log.debug("\(socket): \(error)")
        }
        metrics.note(error, socket: socket)
        log.warning("\(socket): \(error)")
    }

    private func client(_ message: Message, from peer: String) {
        let ticket = ClientTicket(client: peer, number: message.sequence)
        do throws(FrameError) {
            handle(.client(try message.clientRequest(from: peer), ticket, fresh: JobID(using: &generator)))
        } catch {
            refused(error, on: "client")
            reply(.failure(ClientFailure(.invalid, "\(error)")), ticket)
        }
    }
}

// MARK: - Effects

extension CoordinatorService {
    private func perform(_ effect: Effect) {
        switch effect {
        case .control(let message, let worker, let bootID):
            let run = RoutingID(name: worker, bootID: bootID)
            send("message to \(run)") { try sockets.control.send(Message(message), to: run.description) }
        case .task(let input, let key, let worker, let isUrgent): task(input, key, to: worker, isUrgent: isUrgent)
        case .store(.submit(let id, let submission, let folder, let time, false, _), let ticket)
        where submission.folder != nil:
            folders.async { [storeThread] in
                let occupied = DurableFolder.occupied(like: folder)
                storeThread.write(
                    .submit(id, submission, folder: folder, time: time, occupied: occupied), ticket: ticket)
            }
        case .store(let write, let ticket): storeThread.write(write, ticket: ticket)
        case .read(let query, let ticket): storeThread.read(query, ticket: ticket)
        case .sample(let task, let ticket): sample(task, ticket)
        case .write(let picture, let ticket):
            files.async { [writer, inbox] in inbox.put([.wrote(writer.write(picture), ticket: ticket)]) }
        case .remove(let path): files.async { try? FileManager.default.removeItem(atPath: path) }
        case .reply(let reply, let client): self.reply(reply, client)
        case .publish(let event): publish(event)
        case .measure(let measurement): metrics.note(measurement, model: core.pin?.model.name ?? "")
        case .log(let level, let text): log.log(level: level, "\(text)")
        case .stopped: rest()
        }
    }

    private func task(_ input: TaskInput, _ key: TaskKey, to worker: String, isUrgent: Bool) {
        do throws(WireError) {
            guard let bootID = core.bootID(of: worker) else { throw WireError(.unroutable(worker)) }
            try sockets.data.send(
                input.message(key, isUrgent: isUrgent), to: RoutingID(name: worker, bootID: bootID).description)
        } catch {
            log.warning("\(key.need) for \(worker): \(error)")
            // Not from within the core's own effects.
            inbox.put([.undeliverable(key, to: worker)])
        }
    }

    private func sample(_ task: SamplingTask, _ ticket: UInt64) {
        samplers.async { [store, inbox] in
            let result = task.perform { image in try store.checkpoint(image)?.sampler }
            inbox.put([.sampled(result, ticket: ticket)])
        }
    }

    private func reply(_ reply: ClientReply, _ client: ClientTicket) {
        var reply = reply
        if case .nodes(var status) = reply {
            let members = Set(status.workers.map(\.hello.name)).union([CoordinatorSockets.name])
            sockets.meter.keep { members.contains($0) }
            status.links = sockets.meter.snapshot
            status.creditWaitSeconds = metrics.creditWaitSeconds
            status.authFailures = settings.security.gate?.failures
            reply = .nodes(status)
        }
        if client.client == Self.localClient {
            localClients.removeValue(forKey: client.number)?.resume(returning: reply)
            return
        }
        send("reply to \(client.client)") {
            let message: Message
            do {
                message = try Message(reply, number: client.number)
            } catch {
                message = try Message(.failure(ClientFailure(.unavailable, "\(error)")), number: client.number)
            }
            try sockets.client.send(message, to: client.client)
        }
    }

    private func publish(_ event: ClusterEvent) {
        guard sockets.events.subscriptions > 0 else { return }
        send("event") {
            try sockets.events.publish(event.topic, try JSONBody.encoded(event, limit: ControlMessage.limit))
        }
    }

    /// What cannot be sent is not fatal: a worker that is gone is noticed, a client asks again.
    private func send(_ what: String, _ body: () throws -> Void) {
        do {
            try body()
        } catch {
            log.debug("\(what): \(error)")
        }
    }
}
