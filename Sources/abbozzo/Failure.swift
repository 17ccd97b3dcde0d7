internal import ArgumentParser
internal import Foundation
internal import Logging
internal import Plan
internal import Settings
internal import Wire
internal import Worker

/// What the process returns.
enum Code: Int32 {
    /// All is well.
    case done = 0
    /// The command line or a file that it names is at fault.
    case usage = 1
    /// A job failed.
    case failed = 2
    /// The coordinator cannot be reached or cannot serve now.
    case unreachable = 3
    /// The coordinator does not allow it.
    case notAllowed = 4
    /// Part of a batch failed.
    case partial = 5
}

/// A verb's own failure; an empty text means that the output already says it.
struct CommandFailure: Error {
    let code: Code
    let text: String

    init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }
}

/// Turns any error into one line on standard error and the exit code: the only place that does.
///
/// Requests for help and the version print their text and return 0. What the parser refuses names the help of the verb.
func report(_ error: any Error, arguments: [String]) -> Int32 {
    let code = code(of: error)
    let text: String
    if let own = ownText(of: error) {
        text = own
    } else if isOfParser(error) {
        guard AbbozzoCommand.exitCode(for: error) != .success else {
            print(AbbozzoCommand.fullMessage(for: error))
            return 0
        }
        text = AbbozzoCommand.message(for: error) + "; see \(verb(arguments)) --help"
    } else {
        text = "\(error)"
    }
    if !text.isEmpty {
        let line = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
            .joined(separator: " ")
        let bytes = Data("error: \(withoutCommands(line))\n".utf8)
        try? FileHandle.standardError.write(contentsOf: bytes)
    }
    return code.rawValue
}

/// What a failure of ours says; nil for others.
private func ownText(of error: any Error) -> String? {
    (error as? CommandFailure)?.text ?? (error as? ClientFailure)?.text
}

extension DaemonOptions {
    /// Reads a daemon's settings, whose file may be what is wrong.
    func withEnd<Result>(of verb: String, _ body: () throws -> Result) async throws -> Result {
        try await withEnd(in: logger(verb, fileLevel: .info, fileFormat: .text), fileFormat: .text, body)
    }

    /// Runs a daemon; where its log is read by programs, so is the line on why it ended.
    func withEnd<Result>(
        in logger: Logger, fileFormat: LogFormat, _ body: () async throws -> Result
    ) async throws -> Result {
        do {
            return try await body()
        } catch {
            guard logFormat ?? fileFormat == .json, !isOfParser(error) else { throw error }
            logger.error("\(withoutCommands(ownText(of: error) ?? "\(error)"))")
            throw CommandFailure(code(of: error), "")
        }
    }
}

private func code(of error: any Error) -> Code {
    switch error {
    case let failure as CommandFailure: failure.code
    case let failure as ClientFailure:
        switch failure.code {
        case .invalid, .unknown: .usage
        case .full: .notAllowed
        case .unavailable: .unreachable
        }
    case let failure as WireError: failure.isUnreachable ? .unreachable : failure.isRefusal ? .notAllowed : .usage
    default: .usage
    }
}

/// The command as far as its arguments name verbs: `abbozzo jobs ls`.
private func verb(_ arguments: [String]) -> String {
    var words = ["abbozzo"]
    var verbs = AbbozzoCommand.configuration.subcommands
    for word in arguments {
        guard let verb = verbs.first(where: { $0.configuration.commandName == word }) else { break }
        words.append(word)
        verbs = verb.configuration.subcommands
    }
    return words.joined(separator: " ")
}

/// Whether argument-parser made the error: it knows how to word its own, and words others badly.
private func isOfParser(_ error: any Error) -> Bool {
    error is ValidationError || error is CleanExit || error is ExitCode
        || String(reflecting: type(of: error)).hasPrefix("ArgumentParser.")
}
