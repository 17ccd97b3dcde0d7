internal import ArgumentParser
internal import Bench
internal import Checkpoint
internal import Foundation
internal import Plan
internal import Rendering
internal import Sampling
internal import Settings
internal import Stages
internal import Tensors

/// Measurements of one machine.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure this machine: one JSON line for each shape.",
        discussion: """
            Each line has the shortest and the median time, the rate in 10^9 operations a second (a multiply-add is two; \
            bytes for memory), its share of the ceiling, which is multiply-adds in registers in the number format of the \
            shape's products (ceilingFormat, both where they differ), measured in turn with the runs, and the most memory \
            that the process has had in use so far (peakBytes). Two clusters are compared by Scripts/bench-cluster.sh.
            """,
        subcommands: [
            Ceilings.self, Gemm.self, Attention.self, Block.self, Picture.self, VAE.self, Image.self,
        ])

    /// What all measurements take.
    struct Options: ParsableArguments {
        @OptionGroup var threads: ThreadOptions

        @Option(
            help: ArgumentHelp(
                "Number format: \(ComputeFormat.allCases.map(\.rawValue).joined(separator: ", ")).",
                valueName: "format"))
        var compute: ComputeFormat = .f32

        @Option(help: ArgumentHelp("Time for each line.", valueName: "seconds"))
        var seconds = 2.0

        /// Every output of this verb is JSON; the flag is taken for the sake of scripts.
        @OptionGroup var output: OutputOptions

        func validate() throws {
            guard seconds >= 0 && seconds <= 3600 else {
                throw ValidationError("--seconds is \(seconds), but must be from 0 to 3600")
            }
        }

        func bench() throws -> Bench {
            try Bench(compute: Compute(threads: threads.count, kernels: kernelClass(compute)), seconds: seconds)
        }
    }

    /// The width of a FLUX network.
    struct Width: ParsableArguments {
        @Option(help: ArgumentHelp("Heads of attention.", valueName: "n"))
        var heads = 24

        @Option(help: ArgumentHelp("Channels of a head; width is heads times this.", valueName: "n"))
        var headWidth = 128

        func validate() throws {
            guard 1...1024 ~= heads, 16...1024 ~= headWidth, headWidth % 8 == 0 else {
                throw ValidationError("--heads takes 1 to 1024, --head-width a multiple of 8 from 16 to 1024")
            }
            guard heads * headWidth <= 1 << 14 else {
                throw ValidationError(
                    "--heads times --head-width is \(heads * headWidth), but at most \(1 << 14) wide works")
            }
        }
    }

    /// Sizes of a FLUX network and of what goes through it.
    struct Shape: ParsableArguments {
        @OptionGroup var width: Width

        @Option(
            help: ArgumentHelp(
                "Rows: image and text tokens together. Default: 1536,2457,4608.", valueName: "n,n,…"), transform: sizes)
        var rows: [Int] = [1536, 2457, 4608]

        var heads: Int { width.heads }
        var headWidth: Int { width.headWidth }
    }

    struct Ceilings: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ceilings", abstract: "Multiply-adds in registers, and memory.")
        @OptionGroup var common: Options

        func run() throws { try common.bench().ceilings().forEach(line) }
    }

    struct Gemm: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "gemm", abstract: "Dense layers of a FLUX block: width to width, to four times it, and back.")
        @OptionGroup var common: Options
        @OptionGroup var shape: Shape

        @Option(
            name: .customLong("shape"), parsing: .singleValue,
            help: ArgumentHelp(
                """
                A layer to measure instead of those of the width: inputs and outputs, up to 65536 each and 2^28 \
                weights. Repeatable.
                """,
                valueName: "depth,columns"),
            transform: layerSize)
        var layers: [Bench.LayerSize] = []

        func run() throws {
            let layers = layers.isEmpty ? Bench.LayerSize.ofBlock(width: shape.heads * shape.headWidth) : layers
            try common.bench().gemm(rows: shape.rows, layers: layers, report: line)
        }
    }

    struct Attention: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attention", abstract: "Attention of all rows to all rows.")
        @OptionGroup var common: Options
        @OptionGroup var shape: Shape

        func run() throws {
            try common.bench().attention(
                rows: shape.rows, heads: shape.heads, headWidth: shape.headWidth, report: line)
        }
    }

    struct Block: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "block", abstract: "Blocks of a FLUX of any width and depth, with random weights.",
            discussion: """
                Writes the weights to a temporary folder first (0.96 GB for one block of each kind at FLUX's width) and reads \
                them as a worker does; the folder goes at the end.
                """)
        @OptionGroup var common: Options
        @OptionGroup var shape: Shape

        @Option(help: ArgumentHelp("Blocks with separate weights for text and image.", valueName: "n"))
        var doubleBlocks = 1

        @Option(help: ArgumentHelp("Blocks with common weights.", valueName: "n"))
        var singleBlocks = 1

        @Option(help: ArgumentHelp("How many of the rows are text.", valueName: "n"))
        var text = 512

        func validate() throws {
            guard 0...100 ~= doubleBlocks, 0...100 ~= singleBlocks, doubleBlocks + singleBlocks > 0 else {
                throw ValidationError("--double-blocks and --single-blocks take up to 100, together at least 1")
            }
            guard text >= 1, shape.rows.allSatisfy({ $0 > text }) else {
                throw ValidationError("--text is \(text), but must be at least 1 and below every number of --rows")
            }
        }

        func run() throws {
            try common.bench().blocks(
                double: doubleBlocks, single: singleBlocks, heads: shape.heads, headWidth: shape.headWidth, text: text,
                image: shape.rows.map { $0 - text }, report: line)
        }
    }

    struct Picture: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "picture",
            abstract: "What a whole FLUX.1 would take for a picture, from one block of each kind.",
            discussion: """
                Measures a block of each kind with random weights at each number of tokens that the presets come to, and \
                multiplies: 19 double and 38 single blocks, times the steps. The last lines are these products, marked by \
                scaledFrom; encoders and decoder are left out.
                """)
        @OptionGroup var common: Options

        @OptionGroup var width: Width

        @Option(help: ArgumentHelp("Tokens of the prompt.", valueName: "n"))
        var text = 512

        @Option(help: ArgumentHelp("Sides of the square picture, a multiple of 32.", valueName: "pixels"))
        var side = 1024

        @Option(
            help: ArgumentHelp(
                "Presets, and numbers of steps of the euler sampler.", valueName: "name|n,…"))
        var presets = "28,flux-4x,flux-5x,flux-7x,schnell-4"

        func validate() throws {
            guard Bounds.textTokens.contains(text) else {
                throw ValidationError("--text is \(text), but must be from 1 to \(Bounds.textTokens.upperBound)")
            }
            guard side > 0 && side % 32 == 0 && side <= 4096 else {
                throw ValidationError("--side is \(side), but must be a multiple of 32 up to 4096")
            }
        }

        func run() throws {
            let pictures = try presets.split(separator: ",").map { name in
                let settings: SamplerSettings =
                    if let steps = Int(name), 1...1000 ~= steps {
                        .euler(steps: steps)
                    } else {
                        try Preset.named(String(name), in: .ofThisProcess()).sampler
                    }
                let title = Int(name) == nil ? String(name) : "euler"
                return Bench.PictureSteps(
                    name: "\(side)x\(side), \(title)",
                    stages: CostModel.stages(settings, fullTokens: side * side / 256))
            }
            try common.bench().pictures(
                pictures, heads: width.heads, headWidth: width.headWidth, text: text, report: line)
        }
    }

    struct VAE: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "vae", abstract: "A model's decoder.")
        @OptionGroup var common: Options

        @Option(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
        var model: String?

        @Option(
            help: ArgumentHelp("Sides of square pictures, multiples of 8. Default: 256,512.", valueName: "n,n,…"),
            transform: sizes)
        var sides: [Int] = [256, 512]

        func validate() throws {
            guard sides.allSatisfy({ $0 % 8 == 0 && $0 <= 4096 }) else {
                throw ValidationError("--sides must be multiples of 8 up to 4096")
            }
        }

        func run() throws {
            let folder = try modelFolder(model)
            let operations = try ModelFacts(folder: folder).sizes?.decoderOperationsPerPixel ?? 0
            try common.bench().decoder(folder: folder, sides: sides, operationsPerPixel: operations, report: line)
        }
    }

    struct Image: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "image", abstract: "Whole pictures in one process, encoder and decoder included.")
        @OptionGroup var common: Options

        @Option(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
        var model: String?

        @OptionGroup var picture: PictureOptions

        func run() throws {
            let folder = try modelFolder(model)
            let facts = try ModelFacts(folder: folder)
            var presets = Presets(in: .ofThisProcess())
            let request = try picture.defaults.request(
                PromptLine(prompt: "a red fox in the snow", place: .init(file: "the command line")), index: 0,
                facts: facts, presets: &presets)
            let bench = try common.bench()
            let model = try LoadedModel(
                folder: folder, share: .everything(of: facts), compute: bench.compute)
            let renderer = Renderer(model: model, facts: facts, kernelClass: bench.compute.kernels.name)
            let name = request.preset ?? request.sampler.name
            try line(
                bench.measure(
                    "image", "\(request.width)x\(request.height), \(name), \(request.sampler.totalSteps) steps"
                ) {
                    _ = try renderer.render(request)
                })
        }
    }
}

/// Prints one result as one line.
private func line(_ result: BenchResult) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(result) else { return }
    say(String(decoding: data, as: UTF8.self))
}

/// Reads `3072,9216`.
private func layerSize(_ text: String) throws -> Bench.LayerSize {
    let words = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
    guard words.count == 2, let inputs = words[0], let outputs = words[1], 1...65536 ~= inputs, 1...65536 ~= outputs,
        inputs * outputs <= 1 << 28
    else {
        throw ValidationError(
            "\(text.prefix(60)) is no layer: inputs and outputs, as in 3072,9216, up to 65536 each and 2^28 weights")
    }
    return Bench.LayerSize(inputs: inputs, outputs: outputs)
}

/// Reads `1536,4608`.
private func sizes(_ text: String) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
        guard let size = Int(word), 1...1_000_000 ~= size else {
            throw ValidationError("\(text.prefix(60)) is no list of sizes, as in 1536,4608")
        }
        return size
    }
}
