internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Logging
internal import Plan
internal import Settings
internal import Telemetry
internal import Wire

/// Makes the output one JSON value instead of text.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON instead of text.")
    var json = false
}

/// What a picture should be, with the field's usual names.
struct PictureOptions: ParsableArguments {
    @Option(help: ArgumentHelp("What to steer away from; only models with true guidance use it.", valueName: "text"))
    var negativePrompt = ""

    @Option(help: "Seed of the first picture; each further one of a batch adds 1.")
    var seed: UInt64 = 0

    @Option(help: "Pixels across: a multiple of 16, for ralu of 32. Default: the size the model was made for.")
    var width: Int?

    @Option(help: "Pixels down, likewise.")
    var height: Int?

    @Option(help: "Steps of the euler sampler. Default: 28 for guided models such as FLUX.1-dev, 4 for distilled ones.")
    var steps: Int?

    @Option(help: "Strength of the prompt. Default: 3.5 for guided models; distilled ones ignore it.")
    var guidance: Float?

    @Option(help: ArgumentHelp("Tokens of the prompt, padding included. Default: the model's.", valueName: "tokens"))
    var textLength: Int?

    @Option(help: "euler (default) or ralu, which spends most steps on few tokens.")
    var sampler: String?

    @Option(
        help: ArgumentHelp(
            "Sampler constants: a name such as flux-4x, flux-5x, flux-7x, schnell-4, or a file.",
            valueName: "name|file.yaml"))
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

/// Where the coordinator is.
struct ClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The coordinator's client socket. Default: the variable ABBOZZO_COORDINATOR, or tcp://127.0.0.1:5792.",
            valueName: "tcp://host:port"))
    var coordinator: String?

    @Option(help: ArgumentHelp("Longest wait for an answer.", valueName: "seconds"))
    var timeout: Double = 5

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
        let connection = try await ClientConnection.connect(to: endpoint())
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

/// Severity of a daemon's log.
struct LogOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Severity to log from: debug, info, warning or error.", valueName: "level"))
    var logLevel: LogLevel?

    @Option(help: ArgumentHelp("How log lines look: text or json.", valueName: "format"))
    var logFormat: LineLog.Format = .text

    /// A logger to standard error.
    func logger(_ label: String, fileLevel: LogLevel) -> Logger {
        let level = Logger.Level(rawValue: (logLevel ?? fileLevel).rawValue) ?? .info
        return Logger(label: label) { LineLog(label: $0, level: level, format: logFormat) }
    }
}

extension LogLevel: ExpressibleByArgument {}
extension WireFormat: ExpressibleByArgument {}
extension LineLog.Format: ExpressibleByArgument {}

/// The number format that matrix products compute in.
enum ComputeFormat: String, CaseIterable, ExpressibleByArgument {
    case f32
}

/// Opens the model to use: the one named, or the one that comes with the program.
func modelFolder(_ path: String?) throws -> ModelFolder {
    try ModelFolder(path: path ?? Neighbourhood.ofThisProcess().demoModel())
}

/// Cores that this process may use.
var availableCores: Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }
