internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Logging
internal import Plan
internal import Settings
internal import Telemetry
internal import Tensors
internal import Wire

/// Makes the output one JSON value instead of text.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON instead of text.")
    var json = false
}

/// What a picture should be, with the field's usual names.
struct PictureOptions: ParsableArguments {
    // Values may begin with a dash: a prompt does, and a number that is too small deserves a better word than "missing".
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "What to steer away from. Kept with the picture, but FLUX models have no use for it.", valueName: "text"))
    var negativePrompt = ""

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            Seed; of several pictures the first one's, and each further one adds 1. The first noise is PyTorch's, from the \
            lower 32 bits: seeds that differ only above them give the same euler picture. Default: 0.
            """, valueName: "n"),
        transform: parsedSeed)
    var seed: UInt64 = 0

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Pixels across: a multiple of 16, for ralu of 32. Default: the size the model was made for.",
            valueName: "pixels"))
    var width: Int?

    @Option(parsing: .unconditional, help: ArgumentHelp("Pixels down, likewise.", valueName: "pixels"))
    var height: Int?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Steps of the euler sampler. Default: 28 for guided models such as FLUX.1-dev, 4 for distilled ones.",
            valueName: "n"))
    var steps: Int?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Strength of the prompt, 0 to 1000. Default: 3.5 for guided models; distilled ones ignore it.",
            valueName: "number"))
    var guidance: Float?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Tokens of the prompt, padding included. Default: 512 for guided models and 256 for distilled ones, or the "
                + "model's limit.", valueName: "tokens"))
    var textLength: Int?

    @Option(
        help: ArgumentHelp(
            "euler (default), or ralu, which spends most steps on few tokens and takes its constants from a preset.",
            valueName: "name"))
    var sampler: String?

    @Option(
        help: ArgumentHelp(
            "Sampler and its constants: a name such as flux-4x, flux-5x, flux-7x, schnell-4, or a YAML file. Default for "
                + "ralu: flux-4x for guided models, schnell-4 for distilled ones.", valueName: "name|file.yaml"))
    var preset: String?

    /// The flags as defaults for the pictures of a batch.
    var defaults: RequestDefaults {
        var defaults = RequestDefaults()
        defaults.negativePrompt = negativePrompt
        defaults.seed = seed
        defaults.width = width
        defaults.height = height
        defaults.steps = steps
        defaults.guidance = guidance
        defaults.textLength = textLength
        defaults.sampler = sampler
        defaults.preset = preset
        return defaults
    }
}

/// Reads a seed.
private func parsedSeed(_ text: String) throws -> UInt64 {
    guard let seed = UInt64(text) else {
        throw ValidationError("a seed is a whole number from 0 to \(UInt64.max)")
    }
    return seed
}

/// Where the coordinator is.
struct ClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The coordinator's client socket. Default: the variable ABBOZZO_COORDINATOR, or tcp://127.0.0.1:5792.",
            valueName: "tcp://host:port"))
    var coordinator: String?

    @Option(parsing: .unconditional, help: ArgumentHelp("Longest wait for an answer.", valueName: "seconds"))
    var timeout: Double = 5

    @OptionGroup var keys: PeerKeysOptions

    func validate() throws {
        guard timeout > 0 && timeout <= 3600 else {
            throw ValidationError("--timeout is \(timeout), but must be above 0 and at most 3600 seconds")
        }
    }

    /// The socket's address.
    func endpoint() throws -> Endpoint {
        try Endpoint(
            coordinator ?? ProcessInfo.processInfo.environment["ABBOZZO_COORDINATOR"] ?? "tcp://127.0.0.1:5792")
    }

    /// Opens a connection for `body`.
    func connected<Result>(_ body: (Client) async throws -> Result) async throws -> Result {
        let endpoint = try endpoint()
        let (security, areOptional) = try keys.forClient(of: endpoint)
        let connection = try await ClientConnection.connect(
            to: endpoint, security: security, keysAreOptional: areOptional)
        do {
            let result = try await body(Client(connection: connection, patience: .seconds(timeout)))
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }
}

/// Where keys are.
struct KeysOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Folder of keys, see abbozzo keys. Default: the variable ABBOZZO_KEYS; else $XDG_CONFIG_HOME/abbozzo/keys; \
            without that variable ~/.config/abbozzo/keys (root: /etc/abbozzo/keys). Clients use the default when it is \
            there, and daemons when an address is beyond 127.0.0.1 or --server-key is given. none: no keys. Of several \
            clients' keys the variable ABBOZZO_CLIENT names one; else it is the user's.
            """, valueName: "dir"))
    var keys: String?

    /// What somebody said, on the command line, in a file of settings, or in the environment: a folder, or `none`.
    ///
    /// The outer nil: nobody said anything.
    func named(_ fromFile: String? = nil) -> KeyFolder?? {
        guard let path = keys ?? fromFile ?? ProcessInfo.processInfo.environment["ABBOZZO_KEYS"], !path.isEmpty else {
            return nil
        }
        return .some(path == "none" ? nil : KeyFolder(absolute(path)))
    }

    /// The folder of this user.
    static var standard: KeyFolder {
        KeyFolder.standard(environment: ProcessInfo.processInfo.environment, isRoot: geteuid() == 0)
    }

    /// The folder for a daemon: a cluster of one machine needs none, unless somebody `asked` for keys.
    func forDaemon(_ fromFile: String?, at endpoints: [Endpoint], isInsecure: Bool, asked: Bool = false) -> KeyFolder? {
        if let folder = named(fromFile) { return folder }
        if asked { return Self.standard }
        if isInsecure || endpoints.allSatisfy(\.isLoopback) { return nil }
        return Self.standard.exists ? Self.standard : nil
    }
}

/// Where a client's or a worker's key is, and whom it trusts.
struct PeerKeysOptions: ParsableArguments {
    @OptionGroup var own: KeysOptions

    @Option(
        help: ArgumentHelp(
            "The coordinator's public key, or its file. Default: coordinator.pub in the folder of keys.",
            valueName: "key|file"))
    var serverKey: String?

    /// The folder for a worker.
    ///
    /// - Throws: `CommandFailure` where a server's key is named and keys are not wanted.
    func forWorker(_ fromFile: String?, at endpoints: [Endpoint], isInsecure: Bool) throws -> KeyFolder? {
        try refuseContradiction(own.named(fromFile))
        return own.forDaemon(fromFile, at: endpoints, isInsecure: isInsecure, asked: serverKey != nil)
    }

    private func refuseContradiction(_ named: KeyFolder??) throws {
        guard serverKey != nil, case .some(.none) = named else { return }
        throw CommandFailure(
            .usage,
            "--server-key says whose key to expect, but keys are none: leave out one of them, or name a folder with --keys"
        )
    }

    /// The keys for a client, and whether it may do without them where the coordinator has none.
    func forClient(of endpoint: Endpoint) throws -> (security: Security, areOptional: Bool) {
        func security(_ folder: KeyFolder) throws -> Security {
            let named = ProcessInfo.processInfo.environment["ABBOZZO_CLIENT"].flatMap { $0.isEmpty ? nil : $0 }
            return try folder.forClient(user: userName, named: named, serverKey: serverKey)
        }
        try refuseContradiction(own.named())
        if let said = own.named() { return (try said.map(security) ?? .none, false) }
        let folder = KeysOptions.standard
        guard serverKey == nil else { return (try security(folder), false) }
        // Nobody asked for these keys: on a worker's machine, for one, there may be none for a client.
        guard folder.hasClient else { return (.none, false) }
        return (try security(folder), endpoint.isLoopback)
    }
}

/// Threads that compute.
struct ThreadOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Threads that compute; the picture does not depend on them. Default: one for each core.", valueName: "n"))
    var threads: Int?

    func validate() throws { try require(threads, in: 1...1024, "--threads") }

    /// The number asked for, or that of the cores.
    var count: Int { threads ?? availableCores }
}

/// What both daemons take.
struct DaemonOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "YAML file of settings, as configs/coordinator.yaml and worker.yaml explain them; flags override it.",
            valueName: "file"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Host that others are told to reach the data socket under, when it listens on all interfaces.",
            valueName: "host"),
        transform: host)
    var advertise: String?

    @Flag(help: "Listen beyond loopback without keys; only where every host of the network is trusted.")
    var insecureNetwork = false

    @Option(help: ArgumentHelp("Severity to log from. Default: info.", valueName: "level"))
    var logLevel: LogLevel?

    @Option(help: ArgumentHelp("How log lines look. Default: text.", valueName: "format"))
    var logFormat: LogFormat?

    /// A logger to standard error, as the flags say, else as the file does.
    func logger(_ label: String, fileLevel: LogLevel, fileFormat: LogFormat) -> Logger {
        let level = Logger.Level(rawValue: (logLevel ?? fileLevel).rawValue) ?? .info
        let format: LineLog.Format =
            switch logFormat ?? fileFormat {
            case .text: .text
            case .json: .json
            }
        return Logger(label: label) { LineLog(label: $0, level: level, format: format) }
    }
}

/// Refuses a number outside its range.
func require<Number: Comparable>(_ value: Number?, in range: ClosedRange<Number>, _ name: String) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError("\(name) is \(value), but must be from \(range.lowerBound) to \(range.upperBound)")
}

extension LogLevel: ExpressibleByArgument {}
extension LogFormat: ExpressibleByArgument {}

extension ComputeFormat: ExpressibleByArgument {}

/// The kernels for a number format.
func kernelClass(_ format: ComputeFormat) throws -> KernelClass {
    if let refusal = KernelClass.refusedWish { throw CommandFailure(.usage, refusal) }
    guard let kernels = KernelClass.current.computing(in: format) else {
        throw CommandFailure(
            .usage, "OpenBLAS multiplies f32 only; leave out --compute \(format.rawValue) or unset ABBOZZO_KERNELS")
    }
    return kernels
}

/// Says, once for all pictures, that negative prompts do nothing.
func noteNegativePrompts(of requests: [ImageRequest]) {
    guard requests.contains(where: { !$0.negativePrompt.isEmpty }) else { return }
    note("negative prompts are only kept with the pictures: FLUX models have no use for them")
}

/// Opens the model to use: the one named, or the one that comes with the program.
func modelFolder(_ path: String?) throws -> ModelFolder {
    try ModelFolder(path: path ?? Neighbourhood.ofThisProcess().demoModel())
}

/// Name of the user who runs this.
var userName: String { NSUserName() }

/// Cores that this process may use.
var availableCores: Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }

/// Reads a host without a port.
private func host(_ text: String) throws -> String {
    guard isHost(text) else {
        throw ValidationError(
            "--advertise is \(text.prefix(60)), but must be a host name or an address, without tcp:// and port")
    }
    return text
}
