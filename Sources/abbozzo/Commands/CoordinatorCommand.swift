internal import ArgumentParser
internal import Coordinator
internal import Foundation
internal import Gateway
internal import Logging
internal import Plan
internal import Settings
internal import Telemetry
internal import Wire

/// What holds where neither file nor flag says otherwise.
private let defaults = CoordinatorFile()

/// The daemon that queues, plans and samples.
struct CoordinatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "coordinator", abstract: "Run the daemon that keeps the queue and plans the workers.",
        discussion: """
            It prints one line when it is ready: "ready control=… data=… client=… events=… http=…" with the ports in use. \
            SIGTERM or SIGINT lets each picture end its step and goes; a second one stops at once, \
            a third one ends a process that waits for a disk which does not answer. Unfinished pictures go \
            on at the next start with the same --state. SIGHUP reads again who is authorised.
            """)

    @Option(
        help: ArgumentHelp(
            "Socket for workers' control messages. Default: \(defaults.control).", valueName: "tcp://host:port"))
    var control: String?

    @Option(
        help: ArgumentHelp(
            "Socket for latents and velocities. Default: \(defaults.data).", valueName: "tcp://host:port"))
    var data: String?

    @Option(
        help: ArgumentHelp(
            "Socket for clients. Default: \(defaults.client).", valueName: "tcp://host:port"))
    var client: String?

    @Option(
        help: ArgumentHelp(
            "Socket for published events. Default: \(defaults.events).", valueName: "tcp://host:port"))
    var events: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Port of the metrics page on 127.0.0.1; 0 takes a free one. Default: \(defaults.httpPort).",
            valueName: "port"))
    var httpPort: Int?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Folder of finished pictures, a folder for each job below it. Default: \(defaults.output).",
            valueName: "dir"))
    var output: String?

    @Option(
        help: ArgumentHelp("Folder of the queue and of checkpoints. Default: \(defaults.state).", valueName: "dir"))
    var state: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Workers to wait for before the first plan; five minutes at most where there was one before this start. "
                + "Default: \(defaults.workers).", valueName: "n"))
    var workers: Int?

    @Option(
        help: ArgumentHelp(
            "How layers are cut: by measured times and memory (default), evenly, or so many blocks for each worker in "
                + "order of name, while as many are there.", valueName: "measured|even|n,n,…"),
        transform: cutRule)
    var cut: CutRule?

    @Option(
        help: ArgumentHelp(
            "Pipelines beside each other, each with the whole model: so many while there are workers and memory for them, "
                + "or as many as give most pictures an hour. Default: 1.", valueName: "n|auto"),
        transform: replicaRule)
    var replicas: ReplicaRule?

    @Option(
        help: ArgumentHelp(
            "How hidden states travel between workers. Default: f32, exactly; the others save bytes on slow networks, "
                + "and pictures then depend on the cut. auto: the most exact one that hides behind the computing, by measured links.",
            valueName: "f32|bf16|int8|auto"),
        transform: wireRule)
    var wire: WireRule?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Pictures in flight for each worker, besides those that are being decoded; 64 in a pipeline at most. Default: "
                + "\(defaults.flightsPerWorker).", valueName: "n"))
    var flightsPerWorker: Int?

    @OptionGroup var keys: KeysOptions
    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var options: OutputOptions

    func run() async throws {
        let file = try await daemon.withEnd(of: "coordinator") { try settings() }
        let logger = daemon.logger("coordinator", fileLevel: file.logLevel, fileFormat: file.logFormat)
        try await daemon.withEnd(in: logger, fileFormat: file.logFormat) { try await serve(file, logger) }
    }

    private func serve(_ file: CoordinatorFile, _ logger: Logger) async throws {
        var settings = ServiceSettings(
            outputFolder: absolute(file.output), stateFolder: absolute(file.state), version: programVersion)
        settings.control = try Endpoint(file.control)
        settings.data = try Endpoint(file.data)
        settings.client = try Endpoint(file.client)
        settings.events = try Endpoint(file.events)
        settings.advertisedHost = file.advertise
        let endpoints = [settings.control, settings.data, settings.client, settings.events]
        settings.security =
            try keys.forDaemon(file.keysFolder, at: endpoints, isInsecure: file.insecureNetwork)?.forCoordinator()
            ?? Security(allowInsecure: file.insecureNetwork)
        settings.core.build = programBuild()
        settings.core.minimumWorkers = file.workers
        settings.core.cut = file.cut
        settings.core.replicas = file.replicas
        settings.core.network.bytesPerSecond = file.networkMbit * 1e6 / 8
        settings.core.wire = file.wire
        settings.core.flightsPerWorker = file.flightsPerWorker
        settings.core.maxQueued = file.queueLimit
        settings.core.maxJobs = file.jobLimit
        settings.core.maxQueuedBytes = file.queueMiB << 20
        if file.liveness == .lan { settings.core.expectLocalNetwork() }
        if let seconds = file.lostAfterSeconds { settings.core.giveUp(afterSeconds: seconds) }
        settings.core.tries = file.attempts

        allowManyFiles()
        endAtOnceOnCrash()
        let signals = StopSignals(alsoHangUp: true)
        let manager = ServiceManager(environment: ProcessInfo.processInfo.environment)
        settings.onTurn = { manager?.alive(now: $0) }
        let registry = MetricsRegistry()
        for (name, meaning) in CoordinatorService.metricMeanings { registry.describe(name, meaning) }
        // The metrics' port first, and files last: a coordinator that cannot listen leaves no folder behind.
        let started = Started()
        let gateway = try Gateway(port: UInt16(file.httpPort), registry: registry, log: logger) {
            await started.status()
        }
        let http = try await gateway.start()
        let service: CoordinatorService
        do {
            service = try await CoordinatorService.start(settings, log: logger, metrics: registry)
        } catch {
            await gateway.stop()
            throw error
        }
        signals.handOver()
        await started.set(service)
        try announce(service.endpoints, http: http)
        await manager?.ready()
        let listener = Task {
            await signals.attend {
                logger.notice("stopping: each picture ends its step; once more stops at once")
                async let told: Void? = manager?.stopping()
                await service.drain()
                await told
            } stop: {
                await service.stop()
            } hangUp: {
                await service.readKeys()
            }
        }
        await service.run()
        listener.cancel()
        await gateway.stop()
    }

    private func announce(_ endpoints: ServiceEndpoints, http: UInt16) throws {
        let parts = [
            ("control", endpoints.control.description), ("data", endpoints.data.description),
            ("client", endpoints.client.description), ("events", endpoints.events.description),
            ("http", "http://127.0.0.1:\(http)"),
        ]
        if options.json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            say(String(decoding: try encoder.encode(Dictionary(uniqueKeysWithValues: parts)), as: UTF8.self))
        } else {
            say("ready " + parts.map { "\($0.0)=\($0.1)" }.joined(separator: " "))
        }
    }

    /// The file with the flags over it.
    private func settings() throws -> CoordinatorFile {
        var file = try daemon.config.map { try CoordinatorFile(path: $0) } ?? CoordinatorFile()
        file.control = control ?? file.control
        file.data = data ?? file.data
        file.client = client ?? file.client
        file.events = events ?? file.events
        file.httpPort = httpPort ?? file.httpPort
        file.output = output ?? file.output
        file.state = state ?? file.state
        file.workers = workers ?? file.workers
        file.cut = cut ?? file.cut
        file.replicas = replicas ?? file.replicas
        file.wire = wire ?? file.wire
        file.flightsPerWorker = flightsPerWorker ?? file.flightsPerWorker
        file.advertise = daemon.advertise ?? file.advertise
        file.insecureNetwork = daemon.insecureNetwork || file.insecureNetwork
        return file
    }

    func validate() throws {
        try require(workers, in: 1...1000, "--workers")
        try require(flightsPerWorker, in: 1...64, "--flights-per-worker")
        try require(httpPort, in: 0...65535, "--http-port")
    }
}

/// The service, for a page that is there before it.
private actor Started {
    private var service: CoordinatorService?

    func set(_ service: CoordinatorService) { self.service = service }

    /// The cluster as clients see it; empty before the service has started and once it has stopped.
    func status() async -> ClusterStatus {
        if case .nodes(let cluster)? = await service?.request(.nodes) { return cluster }
        return ClusterStatus(plan: nil, workers: [], queued: 0, inFlight: 0, imagesDone: 0, uptime: 0, links: [])
    }
}

/// A path from the root on, so that it means the same in every log and status.
func absolute(_ path: String) -> String { URL(filePath: path).standardizedFileURL.path }

/// Reads `auto` or a number of replicas.
func replicaRule(_ text: String) throws -> ReplicaRule {
    guard let rule = ReplicaRule(text) else {
        throw ValidationError(
            "--replicas is \(text.prefix(60)), but must be auto or a number from 1 to \(ReplicaRule.counts.upperBound)")
    }
    return rule
}

/// Reads a wire format or `auto`.
func wireRule(_ text: String) throws -> WireRule {
    guard let rule = WireRule(text) else {
        throw ValidationError(
            "--wire is \(text.prefix(60)), but must be one of \(WireRule.words.joined(separator: ", "))")
    }
    return rule
}

/// Reads `measured`, `even` or `19,38`.
func cutRule(_ text: String) throws -> CutRule {
    switch text {
    case "measured": return .measured
    case "even": return .even
    default:
        return .counts(
            try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
                guard let count = Int(word), CutRule.counts ~= count else {
                    throw ValidationError(
                        "--cut is \(text.prefix(60)), but must be measured, even, or blocks of each worker: 19,38")
                }
                return count
            })
    }
}
