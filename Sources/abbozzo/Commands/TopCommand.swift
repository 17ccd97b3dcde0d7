internal import ArgumentParser
internal import Foundation
internal import Plan

/// A live table of what each node does.
struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Show live what each node does; q quits.",
        discussion: "Where standard output is no terminal it prints one table and ends.")

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
            if once || !isOutputTerminal {
                return say(try await client.nodes().frame(within: outputSize?.columns).joined(separator: "\n"))
            }
            let screen = LiveScreen()
            defer { screen.close() }
            repeat {
                try await screen.draw { try await client.nodes().frame(within: $0) }
            } while !screen.isLeft(within: interval)
        }
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
                [worker.hello.name, worker.life.rawValue, worker.blocksText]
                    + (replicas > 1 ? [worker.replicaText] : []) + [
                        picturesPerHour(worker).map { String(format: "%.1f", $0) } ?? "-",
                        String(format: "%.2f", rates.steps), percentText(rates.busy), bytesText(rates.sent),
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

/// The terminal's other page, with keys read as they are pressed; Ctrl-C puts the terminal back before it ends the process.
private struct LiveScreen {
    private let before: termios
    private var signals: [any DispatchSourceSignal] = []

    init() {
        var state = termios()
        tcgetattr(STDIN_FILENO, &state)
        before = state
        state.c_lflag &= ~tcflag_t(ICANON | ECHO)
        tcsetattr(STDIN_FILENO, TCSANOW, &state)
        write("\u{1B}[?1049h\u{1B}[?25l")
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
        var state = before
        tcsetattr(STDIN_FILENO, TCSANOW, &state)
        write("\u{1B}[?25h\u{1B}[?1049l")
    }

    /// Draws lines for so many columns from the top left corner, cut to the terminal's size.
    func draw(_ lines: (Int) async throws -> [String]) async throws {
        let (rows, columns) = outputSize ?? (24, 80)
        let visible = try await lines(columns).prefix(rows - 1).map { $0.prefix(columns) + "\u{1B}[K" }
        write("\u{1B}[H" + visible.joined(separator: "\r\n") + "\r\n\u{1B}[J")
    }

    /// Waits for a key; true for q, escape or Ctrl-D.
    func isLeft(within seconds: Double) -> Bool {
        var request = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard poll(&request, 1, Int32(seconds * 1000)) > 0 else { return false }
        var key: UInt8 = 0
        let count = read(STDIN_FILENO, &key, 1)
        return count <= 0 || [4, 27, UInt8(ascii: "q"), UInt8(ascii: "Q")].contains(key)
    }

    private func write(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }
}
