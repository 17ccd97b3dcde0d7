internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Plan
internal import Settings
internal import Stages

/// What is in a model folder.
struct ModelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "Look into a model folder.", subcommands: [Inspect.self])

    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "inspect", abstract: "Print a model's components, sizes and what pictures default to.",
            discussion: "Checks every header and configuration on the way, as a worker does before it loads weights.")
        @Argument(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
        var folder: String?
        @OptionGroup var options: OutputOptions

        private struct Component: Encodable {
            let name: String
            let tensors: Int
            let parameters: Int
            let bytes: Int
            let types: [String]
        }

        private struct Report: Encodable {
            let path: String
            let facts: ModelFacts
            let components: [Component]
            /// Of all weights, by the format of `--compute`.
            let residentBytes: [String: Int]
        }

        func run() async throws {
            let model = try modelFolder(folder)
            let facts = try ModelFacts(folder: model)
            let names = ["transformer", "text_encoder", "text_encoder_2", "vae"].filter(model.has)
            let components = try names.map { name in
                let weights = try model.weights(name)
                let tensors = try weights.names.map { try weights[$0] }
                return Component(
                    name: name, tensors: tensors.count, parameters: tensors.reduce(0) { $0 + $1.count },
                    bytes: tensors.reduce(0) { $0 + $1.byteCount },
                    types: Set(tensors.map(\.dtype.rawValue)).sorted())
            }
            var resident: [String: Int] = [:]
            for format in ComputeFormat.allCases { resident[format.rawValue] = try weightMemory(of: model, in: format) }
            if options.json {
                return try sayJSON(
                    Report(path: model.path, facts: facts, components: components, residentBytes: resident))
            }
            say("\(model.path): \(facts.family)")
            say("fingerprint  \(facts.fingerprint)")
            say("transformer  \(facts.blockCount) blocks, \(facts.width) wide")
            let guidance = facts.takesGuidance ? "takes a guidance strength" : "distilled, takes no guidance strength"
            say("guidance     \(guidance)")
            say("schedule     " + (facts.schedule.dynamic ? "shift by size" : "shift \(facts.schedule.shift)"))
            say(
                "defaults     \(facts.defaultSide)x\(facts.defaultSide), \(facts.usualSteps) steps, text of "
                    + "\(facts.defaultTextLength) tokens, sides up to \(facts.maxSide)")
            var table = Table(["COMPONENT", "TENSORS", "PARAMETERS", "BYTES", "TYPES"])
            for part in components {
                table.add([
                    part.name, "\(part.tensors)", grouped(part.parameters), bytesText(Double(part.bytes)),
                    part.types.joined(separator: ","),
                ])
            }
            say(table.lines.joined(separator: "\n"))
            let sizes = ComputeFormat.allCases.map { format in
                "\(bytesText(Double(resident[format.rawValue] ?? 0))) with --compute \(format.rawValue)"
            }
            say("in memory    " + sizes.joined(separator: ", "))
        }
    }
}
