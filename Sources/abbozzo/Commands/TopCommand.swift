internal import ArgumentParser
internal import Foundation
internal import Plan
internal import Wire

/// A live table of what each node does.
struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Show live what each node does; q quits.",
        discussion: """
            While the coordinator does not answer, the last table stays, and a line says for how long. Where standard input \
            or output is no terminal it prints one table and ends.
            """)

    @Flag(help: "Print one table and end.")
    var once = false

    @Option(parsing: .unconditional, help: ArgumentHelp("Time between tables.", valueName: "seconds"))
    var interval = 1.0

    @OptionGroup var client: ClientOptions
    @OptionGroup var options: OutputOptions

    func validate() throws {
        guard interval >= 0.1 && interval <= 3600 else {
            throw ValidationError("--interval is \(interval), but must be from 0.1 to 3600 seconds")
        }
    }

    func run() async throws {
        try await client.connected { client in
            if options.json { return try sayJSON(await client.nodes()) }
            if once || !isInputTerminal || !isOutputTerminal {
                return say(try await client.nodes().frame(within: outputSize?.columns).joined(separator: "\n"))
            }
            // Before there is a screen: whoever looks where nobody answers is to hear so at once.
            var table = LiveTable(try await client.nodes())
            // Ended by a key, which is heard also while nobody answers; a terminal that stands still misses answers.
            let (answers, incoming) = AsyncStream.makeStream(
                of: Result<ClusterStatus, any Error>.self, bufferingPolicy: .bufferingNewest(1))
            let screen = LiveScreen { incoming.finish() }
            defer { screen.close() }
            let questions = Task {
                while (try? await Task.sleep(for: .seconds(interval))) != nil {
                    incoming.yield(await client.answeredNodes())
                }
            }
            defer { questions.cancel() }
            screen.draw { table.lines(within: $0) }
            for await answer in answers {
                try table.renew { try answer.get() }
                screen.draw { table.lines(within: $0) }
            }
        }
    }
}

/// What the screen shows: the coordinator's last answer, with a line above it while there is no newer one.
struct LiveTable {
    private var cluster: ClusterStatus
    private var answered: ContinuousClock.Instant
    /// Why there is no newer answer.
    private var trouble: String?

    /// Begins with an answer.
    init(_ cluster: ClusterStatus, at now: ContinuousClock.Instant = .now) {
        self.cluster = cluster
        answered = now
    }

    /// Takes the next answer; keeps the last answer where waiting may help: a coordinator that starts again is back after a while.
    mutating func renew(_ answer: () throws -> ClusterStatus) throws {
        do {
            cluster = try answer()
            answered = .now
            trouble = nil
        } catch let error as WireError where error.mayPass {
            trouble = error.description
        }
    }

    /// The lines, at most so wide, except for the trouble.
    func lines(within width: Int?, at now: ContinuousClock.Instant = .now) -> [String] {
        let frame = cluster.frame(within: width)
        guard let trouble else { return frame }
        let seconds = (now - answered).components.seconds
        let silence = seconds < 60 ? "\(seconds) s" : durationText(Double(seconds))
        return ["no answer for \(silence): \(trouble)"] + frame
    }
}

extension ClusterStatus {
    /// The columns that a narrow screen has no room for, the least needed one first.
    private static let spareColumns = [
        "IMAGES", "TOKENS/S", "IN/S", "MEMORY", "QUEUE", "OUT/S", "REPLICA", "STEPS/S", "BLOCKS",
    ]

    /// The lines of one table, at most so wide: whole columns are left out, and none is cut.
    func frame(within width: Int?) -> [String] {
        let replicas = plan?.pipelines.count ?? 0
        var table = Table(
            ["NODE", "STATE", "BLOCKS"] + (replicas > 1 ? ["REPLICA"] : []) + [
                "IMAGES/H", "STEPS/S", "BUSY", "OUT/S", "IN/S", "QUEUE", "MEMORY", "TOKENS/S", "IMAGES",
            ])
        for worker in workers {
            let (counters, rates) = (worker.counters, worker.rates)
            table.add(
                [worker.hello.name, worker.stateText, worker.blocksText]
                    + (replicas > 1 ? [worker.replicaText] : []) + [
                        picturesPerHour(worker).map { String(format: "%.1f", $0) } ?? "-",
                        rateText(rates.steps), percentText(rates.busy), bytesText(rates.sent),
                        bytesText(rates.received), "\(counters.queued)", bytesText(Double(counters.residentBytes)),
                        grouped(Int(min(rates.tokens.rounded(), 1e15))), grouped(counters.images),
                    ])
        }
        let width = width ?? .max
        return wrapped(headline, within: width) + wrapped(paceText, within: width) + [""]
            + (workers.isEmpty ? ["no workers"] : table.lines(within: width, spare: Self.spareColumns))
    }

    /// How fast the whole is, how much of it stands idle, and when it will be done.
    private var paceText: String {
        let speed = uptime > 0 ? Double(imagesDone) / uptime * 3600 : 0
        var parts = ["\(String(format: "%.1f", speed)) pictures an hour since the start"]
        if let picturesPerHour { parts.insert("\(String(format: "%.1f", picturesPerHour)) now", at: 0) }
        let bubbles = (0..<max(1, plan?.pipelines.count ?? 1)).compactMap { bubble(replica: $0) }
        if !bubbles.isEmpty { parts.append("bubble " + bubbles.map(percentText).joined(separator: ", ")) }
        if let secondsLeft { parts.append("all drawn in \(durationText(secondsLeft))") }
        return parts.joined(separator: "; ")
    }
}

extension Client {
    /// The cluster, or why there is no answer.
    fileprivate func answeredNodes() async -> Result<ClusterStatus, any Error> {
        do { return .success(try await nodes()) } catch { return .failure(error) }
    }
}

/// The terminal's other page, with keys read as they are pressed; Ctrl-C puts the terminal back before it ends the process.
private struct LiveScreen {
    private let before: termios
    private let keys: any DispatchSourceRead
    private var signals: [any DispatchSourceSignal] = []

    /// Calls `leave` at q, escape, Ctrl-D and the end of input.
    init(leave: @escaping @Sendable () -> Void) {
        var state = termios()
        tcgetattr(STDIN_FILENO, &state)
        before = state
        state.c_lflag &= ~tcflag_t(ICANON | ECHO)
        tcsetattr(STDIN_FILENO, TCSANOW, &state)
        keys = DispatchSource.makeReadSource(fileDescriptor: STDIN_FILENO, queue: .global())
        keys.setEventHandler {
            var key: UInt8 = 0
            let count = read(STDIN_FILENO, &key, 1)
            if count <= 0 || [4, 27, UInt8(ascii: "q"), UInt8(ascii: "Q")].contains(key) { leave() }
        }
        write("\u{1B}[?1049h\u{1B}[?25l")
        keys.resume()
        let restored = self
        signals = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler {
                restored.close()
                end(by: number)
            }
            source.resume()
            return source
        }
    }

    func close() {
        keys.cancel()
        var state = before
        tcsetattr(STDIN_FILENO, TCSANOW, &state)
        write("\u{1B}[?25h\u{1B}[?1049l")
    }

    /// Draws lines for so many columns from the top left corner, cut to the terminal's size.
    func draw(_ lines: (Int) -> [String]) {
        let (rows, columns) = outputSize ?? (24, 80)
        let visible = lines(columns).prefix(rows - 1).map { $0.prefix(columns) + "\u{1B}[K" }
        write("\u{1B}[H" + visible.joined(separator: "\r\n") + "\r\n\u{1B}[J")
    }

    private func write(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }
}
