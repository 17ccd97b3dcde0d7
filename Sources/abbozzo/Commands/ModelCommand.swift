internal import ArgumentParser
internal import Bench
internal import Checkpoint
internal import Foundation
internal import Plan
internal import Settings
internal import Stages

/// What is in a model folder, and models for measurements.
struct ModelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "Look into a model folder, or make one for measurements.",
        subcommands: [Inspect.self, Random.self])

    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "inspect", abstract: "Print a model's components, sizes and what pictures default to.",
            discussion: """
                Reads every configuration, both tokenizers and the headers of all weights on the way, and refuses what \
                cannot be read; whether each tensor has the shape that its layer needs shows when weights are loaded.
                """)
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
            try ModelFacts.checkText(of: model)
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

    struct Random: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "random", abstract: "Write a FLUX of any size with random weights.",
            discussion: """
                For measurements of a cluster at real sizes without a download: its pictures are noise. All but the \
                transformer is another model's, the demo model's by default. Equal sizes give equal bytes. FLUX.1 has 24 \
                heads of 128, 19 double and 38 single blocks: 24 GB in bf16.
                """)
        @Argument(help: ArgumentHelp("Folder to write; it must not be there yet.", valueName: "dir"))
        var folder: String

        @Option(parsing: .unconditional, help: ArgumentHelp("Attention heads.", valueName: "n"))
        var heads: Int

        @Option(parsing: .unconditional, help: ArgumentHelp("Channels of one head, an even number.", valueName: "n"))
        var headWidth = 64

        @Option(
            parsing: .unconditional,
            help: ArgumentHelp("Blocks with separate weights for text and image.", valueName: "n"))
        var doubleBlocks: Int

        @Option(parsing: .unconditional, help: ArgumentHelp("Blocks with common weights.", valueName: "n"))
        var singleBlocks: Int

        @Option(help: "How weights are stored.")
        var format = RandomFlux.Format.bf16

        @Option(
            help: ArgumentHelp(
                "Model whose other components are copied. Default: the demo model.", valueName: "dir"))
        var from: String?

        @OptionGroup var output: OutputOptions

        func validate() throws {
            try require(heads, in: 1...1024, "--heads")
            try require(headWidth, in: 2...1024, "--head-width")
            guard headWidth % 2 == 0 else { throw ValidationError("--head-width is \(headWidth), but must be even") }
            try require(doubleBlocks, in: 0...1000, "--double-blocks")
            try require(singleBlocks, in: 0...1000, "--single-blocks")
            guard doubleBlocks + singleBlocks > 0 else { throw ValidationError("a model needs at least one block") }
        }

        func run() throws {
            let path = URL(filePath: folder).standardizedFileURL.path
            guard (try? FileManager.default.attributesOfItem(atPath: path)) == nil else {
                throw CommandFailure(.usage, "\(folder) is there already")
            }
            let source = try modelFolder(from)
            let flux = try RandomFlux(
                double: doubleBlocks, single: singleBlocks, heads: heads, headWidth: headWidth, format: format,
                fitting: source)
            try flux.write(to: path, allElseFrom: source)
            if output.json { return try sayJSON(Written(folder: path, bytes: flux.bytes, from: source.path)) }
            say("\(path): \(bytesText(Double(flux.bytes))) of transformer, the rest from \(source.path)")
        }

        /// What was written: bytes of the transformer, and where all else is from.
        private struct Written: Encodable {
            let folder: String
            let bytes: Int
            let from: String
        }
    }
}

extension RandomFlux.Format: ExpressibleByArgument {}
