internal import Foundation
internal import Subprocess

/// How a process ended.
package enum ExitStatus: Equatable, Sendable {
    /// It returned this code.
    case exited(Int32)
    /// This signal ended it.
    case signaled(Int32)
}

/// Everything a finished process said.
package struct ProcessOutcome: Sendable {
    /// How it ended.
    package let status: ExitStatus
    /// Its standard output.
    package let output: String
    /// Its standard error.
    package let errors: String

    /// The lines of standard error that are not empty.
    package var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
}

/// A wait that did not end as hoped; the text carries what the process said so far.
package struct ProcessFailure: Error, CustomStringConvertible {
    /// What was waited for and what the process said instead.
    package let description: String
}

/// The built `abbozzo`, found beside the test bundle.
package enum Abbozzo {
    /// Absolute path of the executable: SwiftPM puts the test bundle and the products into one folder.
    package static let executable: String = {
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(filePath: bundle).deletingLastPathComponent().appending(path: "abbozzo").path
    }()

    /// Runs it to its end and returns all it said; a run longer than `limit` is killed and reported as an error.
    package static func run(
        _ arguments: [String], environment: [String: String] = [:], in folder: String? = nil,
        limit: Duration = .seconds(60)
    ) async throws -> ProcessOutcome {
        try await withProcesses { processes in
            let process = try await processes.start(arguments, environment: environment, in: folder)
            return try await process.outcome(within: limit)
        }
    }
}

/// Gives `body` a set of processes; whatever still runs when it returns or throws is killed and waited for.
package func withProcesses<Result>(_ body: (ProcessSet) async throws -> Result) async throws -> Result {
    let processes = ProcessSet()
    do {
        let result = try await body(processes)
        await processes.killAll()
        return result
    } catch {
        await processes.killAll()
        throw error
    }
}

/// The processes of one test.
package actor ProcessSet {
    private var members: [ChildProcess] = []

    /// Starts `abbozzo` (or another executable) and returns once it runs.
    ///
    /// - Throws: when it cannot be started.
    package func start(
        _ arguments: [String], executable: String = Abbozzo.executable, environment: [String: String] = [:],
        in folder: String? = nil
    ) async throws -> ChildProcess {
        let process = ChildProcess(executable: executable, arguments: arguments)
        members.append(process)
        try await process.start(environment: environment, in: folder)
        return process
    }

    /// Kills what still runs and waits until all are gone.
    package func killAll() async {
        for member in members { await member.send(SIGKILL) }
        for member in members { _ = try? await member.outcome(within: .seconds(60)) }
    }
}

/// One child process with its captured output; a line that it prints is an event to wait for.
package actor ChildProcess {
    private enum Phase {
        case starting
        case running(pid_t)
        case ended(ExitStatus)
        case failed(String)
    }

    /// What a waiter waits for: nil means not yet.
    private struct Waiter {
        let test: (ChildProcess.Snapshot) -> Bool
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct Snapshot {
        let isStarting: Bool
        let isOver: Bool
        let lines: [String]
    }

    private let executable: String
    private let arguments: [String]
    private var phase = Phase.starting
    private var output: [UInt8] = []
    private var errors: [UInt8] = []
    private var waiters: [Int: Waiter] = [:]
    private var nextWaiter = 0

    init(executable: String, arguments: [String]) {
        self.executable = executable
        self.arguments = arguments
    }

    /// The process number while it runs.
    package var pid: Int32? { if case .running(let pid) = phase { pid } else { nil } }

    /// What it printed so far on standard output.
    package var outputSoFar: String { String(decoding: output, as: UTF8.self) }

    /// What it printed so far on standard error.
    package var errorsSoFar: String { String(decoding: errors, as: UTF8.self) }

    /// Waits until it has printed a whole line with `text` on either stream and returns the first such line.
    ///
    /// - Throws: `ProcessFailure` when it ends first or `limit` passes.
    package func line(containing text: String, within limit: Duration = .seconds(300)) async throws -> String {
        @Sendable func found(_ lines: [String]) -> String? { lines.first { $0.contains(text) } }
        let met = await wait(within: limit) { found($0.lines) != nil || $0.isOver }
        if let line = found(lines) { return line }
        throw failure(met ? "ended before it printed a line with “\(text)”" : "printed no “\(text)” within \(limit)")
    }

    /// Waits for its end.
    ///
    /// - Throws: `ProcessFailure` when `limit` passes (it is killed then) or it could not be started.
    package func outcome(within limit: Duration = .seconds(300)) async throws -> ProcessOutcome {
        if await !wait(within: limit, until: { $0.isOver }) {
            let overdue = failure("still ran after \(limit)")
            send(SIGKILL)
            _ = await wait(within: .seconds(60), until: { $0.isOver })
            throw overdue
        }
        guard case .ended(let status) = phase else { throw failure("could not be started") }
        return ProcessOutcome(status: status, output: outputSoFar, errors: errorsSoFar)
    }

    /// Sends a signal; nothing happens when it is over.
    package func send(_ signal: Int32) {
        if case .running(let pid) = phase { kill(pid, signal) }
    }

    fileprivate func start(environment: [String: String], in folder: String?) async throws {
        let changes = Dictionary(
            uniqueKeysWithValues: environment.map { (Environment.Key(stringLiteral: $0.key), Optional($0.value)) }
        )
        var configuration = Configuration(
            executable: .path(literal(executable)), arguments: Arguments(arguments),
            environment: .inherit.updating(changes))
        if let folder { configuration.workingDirectory = literal(folder) }
        let ready = configuration
        Task {
            do {
                let result = try await Subprocess.run(ready, input: .none, output: .sequence, error: .sequence) {
                    execution in
                    self.began(execution.processIdentifier.value)
                    async let said: Void = self.collect(execution.standardOutput, isError: false)
                    try await self.collect(execution.standardError, isError: true)
                    try await said
                }
                switch result.terminationStatus {
                case .exited(let code): self.enter(.ended(.exited(code)))
                case .signaled(let signal): self.enter(.ended(.signaled(signal)))
                }
            } catch {
                self.enter(.failed("\(error)"))
            }
        }
        _ = await wait(within: .seconds(300)) { !$0.isStarting }
        if case .failed = phase { throw failure("could not be started") }
    }

    private func began(_ pid: pid_t) { enter(.running(pid)) }

    private func enter(_ phase: Phase) {
        self.phase = phase
        wake()
    }

    private func collect(_ bytes: SubprocessOutputSequence, isError: Bool) async throws {
        for try await buffer in bytes {
            let part = buffer.withUnsafeBytes { [UInt8]($0) }
            if isError { errors += part } else { output += part }
            wake()
        }
    }

    /// Whole lines of both streams, standard output first.
    private var lines: [String] {
        [output, errors].flatMap { bytes in
            let whole = bytes.lastIndex(of: UInt8(ascii: "\n")).map { bytes[...$0] } ?? []
            return String(decoding: whole, as: UTF8.self).split(separator: "\n").map(String.init)
        }
    }

    private var snapshot: Snapshot {
        switch phase {
        case .starting: Snapshot(isStarting: true, isOver: false, lines: lines)
        case .running: Snapshot(isStarting: false, isOver: false, lines: lines)
        case .ended, .failed: Snapshot(isStarting: false, isOver: true, lines: lines)
        }
    }

    /// False when the limit passed first.
    private func wait(within limit: Duration, until test: @escaping @Sendable (Snapshot) -> Bool) async -> Bool {
        if test(snapshot) { return true }
        let id = nextWaiter
        nextWaiter += 1
        let clock = Task {
            try? await Task.sleep(for: limit)
            if let waiter = waiters.removeValue(forKey: id) { waiter.continuation.resume(returning: false) }
        }
        defer { clock.cancel() }
        return await withCheckedContinuation { waiters[id] = Waiter(test: test, continuation: $0) }
    }

    private func wake() {
        let now = snapshot
        for (id, waiter) in waiters where waiter.test(now) {
            waiters[id] = nil
            waiter.continuation.resume(returning: true)
        }
    }

    private func failure(_ what: String) -> ProcessFailure {
        var reason = ""
        if case .failed(let text) = phase { reason = ": \(text)" }
        let command = ([executable] + arguments).joined(separator: " ").prefix(400)
        return ProcessFailure(
            description: """
                `\(command)` \(what)\(reason)
                --- standard output
                \(outputSoFar.suffix(4000))
                --- standard error
                \(errorsSoFar.suffix(4000))
                """)
    }
}

/// A value spelled as a string literal, from a string: names swift-system's FilePath without depending on its package.
private func literal<Path: ExpressibleByStringLiteral>(_ text: String) -> Path
where Path.StringLiteralType == String { Path(stringLiteral: text) }
