internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Gateway
internal import Logging
internal import Plan
internal import Settings
internal import Telemetry
internal import Tensors
internal import Wire
internal import Worker

/// What holds where neither file nor flag says otherwise.
private let defaults = WorkerFile()

/// The daemon that computes.
struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker", abstract: "Run a daemon that computes what the coordinator gives it.",
        discussion: """
            It maps only its own share of the model, waits for a coordinator that is not there yet, and comes back when the \
            connection breaks. SIGTERM or SIGINT lets it finish what it has and leave; a second one stops at once.
            """)

    @Option(
        help: ArgumentHelp(
            "The coordinator's control socket. Default: \(defaults.coordinator).", valueName: "tcp://host:port"))
    var coordinator: String?

    @Option(help: ArgumentHelp("Name, unique in the cluster. Default: the host's name.", valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Socket for the neighbour in the pipeline; port 0 takes a free one. Default: \(defaults.bind).",
            valueName: "tcp://host:port"))
    var bind: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Port of the worker's own metrics page on 127.0.0.1. Default: 0, a free one.", valueName: "port"))
    var httpPort: Int?

    @Option(
        help: ArgumentHelp(
            "Number format of the transformer's matrix products, one for the whole cluster: f32, bf16 or int8. "
                + "Default: f32.", valueName: "format"))
    var compute: ComputeFormat?

    @Option(
        help: ArgumentHelp(
            "Cores to stay on; others for each worker of a machine. Default: all.", valueName: "0-7,16-23"))
    var cores: CoreList?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Most memory to plan with. Default: its part of the machine's.", valueName: "GiB"))
    var memoryGib: Double?

    @Option(
        help: ArgumentHelp(
            "Measure the speed of each kind of block, by which the model is cut: once and keep it (cached, default), at "
                + "each start (fresh), or not (off).", valueName: "mode"))
    var benchmark: BenchmarkMode?

    @Option(
        help: ArgumentHelp("What it offers: any of encoder,blocks,decoder. Default: all.", valueName: "role,…"),
        transform: rolesNamed)
    var roles: [Role]?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Give up when no coordinator answers for so long. Default: never.", valueName: "seconds"))
    var giveUpAfter: Double?

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var keys: PeerKeysOptions
    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var options: OutputOptions

    func run() async throws {
        let file = try await daemon.withEnd(of: "worker") {
            try daemon.config.map { try WorkerFile(path: $0) } ?? WorkerFile()
        }
        let logger = daemon.logger("worker", fileLevel: file.logLevel, fileFormat: file.logFormat)
        try await daemon.withEnd(in: logger, fileFormat: file.logFormat) { try await serve(file, logger) }
    }

    private func serve(_ file: WorkerFile, _ logger: Logger) async throws {
        let cores = cores ?? file.cores
        if let cores { try ProcessCores.keep(on: cores) }
        var settings = WorkerSettings(
            name: name ?? file.name ?? hostName, coordinator: try Endpoint(coordinator ?? file.coordinator),
            modelFolder: try modelFolder(model ?? file.model).path)
        settings.listen = try Endpoint(bind ?? file.bind)
        settings.advertisedHost = daemon.advertise ?? file.advertise
        settings.threads = threads.threads ?? file.threads ?? cores?.cores.count ?? availableCores
        settings.cores = cores?.cores ?? []
        settings.compute = compute ?? file.compute
        settings.memoryCap = UInt64((memoryGib ?? file.memoryGiB ?? 0) * 1_073_741_824)
        settings.build = programBuild()
        settings.benchmark = Benchmark(mode: benchmark ?? file.benchmark, build: settings.build)
        settings.roles = Set(roles ?? file.roles)
        let isInsecure = daemon.insecureNetwork || file.insecureNetwork
        settings.security =
            try keys.forWorker(
                file.keysFolder, at: [settings.listen, settings.coordinator], isInsecure: isInsecure)?
            .forWorker(settings.name, serverKey: keys.serverKey) ?? Security(allowInsecure: isInsecure)
        settings.limits.unreachableAfter = giveUpAfter.map { UInt64($0 * 1e9) }

        allowManyFiles()
        endAtOnceOnCrash()
        let signals = StopSignals()
        let manager = ServiceManager(environment: ProcessInfo.processInfo.environment)
        settings.onTurn = { manager?.alive(now: $0, standing: $1) }
        // The page first: it is there while the speed is measured, and a port that is taken is known at once.
        let started = Started(settings.name)
        let gateway = try Gateway(port: UInt16(httpPort ?? file.httpPort), log: logger) { await started.report }
        let page = "http://127.0.0.1:\(try await gateway.start())"
        let service: WorkerService
        do {
            service = try await WorkerService.start(settings, log: logger)
        } catch {
            await gateway.stop()
            throw error
        }
        signals.handOver()
        await started.set(service)
        let endpoint = await service.dataEndpoint
        say(
            options.json
                ? "{\"name\": \"\(settings.name)\", \"data\": \"\(endpoint)\", \"http\": \"\(page)\"}"
                : "started name=\(settings.name) data=\(endpoint) http=\(page)")
        await manager?.ready()
        let listener = Task {
            await signals.attend {
                logger.notice("leaving: the work in hand is finished first; once more stops at once")
                async let told: Void? = manager?.stopping()
                await service.drain()
                await told
            } stop: {
                await service.stop()
            }
        }
        let ending = await service.run()
        listener.cancel()
        await gateway.stop()
        switch ending {
        case .drained, .stopped: break
        case .refused: throw CommandFailure(.notAllowed, ending.text)
        case .unreachable: throw CommandFailure(.unreachable, ending.text)
        }
    }

    func validate() throws {
        try require(httpPort, in: 0...65535, "--http-port")
        if let memoryGib, !(memoryGib > 0 && memoryGib < 1e6) {
            throw ValidationError("--memory-gib is \(memoryGib), but must be above 0")
        }
        if let giveUpAfter, !(giveUpAfter > 0 && giveUpAfter < 1e9) {
            throw ValidationError("--give-up-after is \(giveUpAfter), but must be above 0")
        }
    }

    /// The host's name up to the first dot, with letters that names do not allow left out.
    private var hostName: String {
        let short = ProcessInfo.processInfo.hostName.split(separator: ".").first.map(String.init) ?? "worker"
        let clean = short.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        return clean.isEmpty || clean == "coordinator" ? "worker" : String(clean.prefix(64))
    }
}

/// The service, for a page that is there before it.
private actor Started {
    private let name: String
    private var service: WorkerService?

    init(_ name: String) { self.name = name }

    func set(_ service: WorkerService) { self.service = service }

    /// The worker as it sees itself.
    var report: WorkerReport {
        get async { await service?.report ?? WorkerReport(name: name, life: "starting") }
    }
}

extension BenchmarkMode: ExpressibleByArgument {}

extension CoreList: ExpressibleByArgument {
    /// Reads `0-7,16-23`.
    public init?(argument: String) { self.init(argument) }
}

/// Reads `encoder,blocks,decoder`.
private func rolesNamed(_ text: String) throws -> [Role] {
    try text.split(separator: ",").map { word in
        guard let role = Role(rawValue: String(word)) else {
            throw ValidationError("\(word) is no role; write any of encoder,blocks,decoder")
        }
        return role
    }
}
