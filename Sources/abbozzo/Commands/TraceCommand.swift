internal import ArgumentParser
internal import Imaging
internal import Plan
internal import Telemetry

/// Where a job's time went.
struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "See where a job's time went.", subcommands: [Export.self],
        defaultSubcommand: Export.self)

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "export", abstract: "Write a job's course as a Chrome trace.",
            discussion: """
                The file opens in ui.perfetto.dev and chrome://tracing: a row for each worker with every encoding, step and \
                decoding that it computed, one for the coordinator with epochs, losses and retries, and one for each \
                picture with its phases. The coordinator keeps traces in memory, of the last 32 jobs it worked on and the \
                last 16384 events of each; none outlives it.
                """)
        @Option(name: .shortAndLong, help: ArgumentHelp("Where to. Default: standard output.", valueName: "file.json"))
        var output: String?
        @OptionGroup var chosen: JobsCommand.ChosenJob

        /// What `--json` prints beside a file.
        private struct Report: Encodable {
            let job: JobID
            let file: String
            let events: Int
            let workers: [String]
            let gaps: [String]
        }

        func run() async throws {
            if let output { try checkWritable(output) }
            let trace = try await chosen.connected { client, id in try await client.trace(id) }
            let bytes = try ChromeTrace(trace).json()
            for gap in trace.gaps { note(gap) }
            guard let output else { return say(String(decoding: bytes, as: UTF8.self)) }
            try writeAtomically(bytes, to: output)
            let events = trace.entries.count + trace.notes.count
            if chosen.options.json {
                return try sayJSON(
                    Report(
                        job: trace.job, file: output, events: events, workers: trace.workers, gaps: trace.gaps))
            }
            say("\(countText(events, "event")) on \(countText(trace.workers.count, "worker")): \(output)")
            say("open it in https://ui.perfetto.dev or chrome://tracing")
        }
    }
}
