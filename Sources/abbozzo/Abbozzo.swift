internal import ArgumentParser
internal import Foundation
internal import Plan

/// The process: parses the command line, runs one verb, turns any error into a line and an exit code.
@main
enum Main {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            try requireVerb(arguments.first)
            var verb = try AbbozzoCommand.parseAsRoot(arguments)
            if var verb = verb as? any AsyncParsableCommand { try await verb.run() } else { try verb.run() }
        } catch {
            exit(report(error, arguments: arguments))
        }
    }
}

/// Refuses a word that is no verb, with better words than the parser has.
private func requireVerb(_ word: String?) throws {
    let verbs = AbbozzoCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
    guard let word, !word.hasPrefix("-"), word != "help", !verbs.contains(word) else { return }
    let known = verbs.joined(separator: ", ")
    throw CommandFailure(.usage, "there is no verb \(shortened(word, to: 40)); known: \(known); see abbozzo --help")
}

/// The tree of verbs.
struct AbbozzoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abbozzo",
        abstract: "Renders pictures from text with diffusion transformers, on one machine or a cluster of CPU nodes.",
        discussion: """
            One process:   abbozzo render -p "a red car in the desert" -o car.png
            A cluster:     abbozzo coordinator      on one machine,
                           abbozzo worker           on each machine that computes,
                           abbozzo submit FILE      from anywhere that reaches the coordinator.

            Every verb takes --json. Exit codes: 0 done, 1 usage or input, 2 a job failed, 3 the coordinator cannot be \
            reached or cannot serve now, 4 not allowed, or the queue is full, 5 part of a batch failed.
            """,
        version: programVersion,
        subcommands: [
            RenderCommand.self, CoordinatorCommand.self, WorkerCommand.self, SubmitCommand.self, JobsCommand.self,
            NodesCommand.self, TopCommand.self, TraceCommand.self, PlanCommand.self, BenchCommand.self,
            ImageCommand.self, ModelCommand.self, KeysCommand.self,
        ])
}
