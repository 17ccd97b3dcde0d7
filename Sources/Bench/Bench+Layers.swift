package import Checkpoint
internal import DiT
internal import Foundation
internal import Plan
internal import Tensors
internal import VAE

extension Bench {
    /// The sizes of a dense layer.
    package struct LayerSize: Equatable, Sendable {
        /// What is summed over.
        package let inputs: Int
        /// Columns of the result.
        package let outputs: Int

        /// Joins the fields.
        package init(inputs: Int, outputs: Int) { (self.inputs, self.outputs) = (inputs, outputs) }

        /// The dense layers of a FLUX block of some width.
        package static func ofBlock(width: Int) -> [LayerSize] {
            [(width, width), (width, 4 * width), (4 * width, width)].map { LayerSize(inputs: $0, outputs: $1) }
        }
    }

    /// Dense layers of some sizes, for some numbers of rows.
    package func gemm(rows: [Int], layers: [LayerSize], report: (BenchResult) -> Void) {
        for (inputs, outputs) in layers.map({ ($0.inputs, $0.outputs) }) {
            let layer = Linear(
                weight: Self.noise([outputs, inputs], seed: 1), bias: Self.noise([outputs], seed: 2), compute: compute,
                format: compute.format)
            for count in rows {
                let x = Self.noise([count, inputs], seed: 3)
                report(
                    measure(
                        "gemm", "\(count) rows, \(inputs) to \(outputs)",
                        operations: 2 * Double(count) * Double(inputs) * Double(outputs)
                    ) { _ = layer(x) })
            }
        }
    }

    /// Attention of all rows to all rows.
    package func attention(rows: [Int], heads: Int, headWidth: Int, report: (BenchResult) -> Void) {
        for count in rows {
            let (q, k, v) = (
                Self.noise([count, heads, headWidth], seed: 4), Self.noise([count, heads, headWidth], seed: 5),
                Self.noise([count, heads, headWidth], seed: 6)
            )
            report(
                measure(
                    "attention", "\(count) rows, \(heads) heads of \(headWidth)",
                    operations: 4 * Double(count) * Double(count) * Double(heads * headWidth),
                    in: compute.attentionFormats(headWidth: headWidth)
                ) {
                    _ = compute.attention(
                        q: q, k: k, v: v, scale: 1 / Float(headWidth).squareRoot(), format: compute.format)
                })
        }
    }

    /// The blocks of a FLUX of any width and depth with random weights, which are written to a temporary folder first.
    ///
    /// - Throws: `CheckpointError`, or what the file system says.
    package func blocks(
        double: Int, single: Int, heads: Int, headWidth: Int, text: Int, image: [Int], report: (BenchResult) -> Void
    ) throws {
        let random = RandomFlux(double: double, single: single, heads: heads, headWidth: headWidth)
        let folder = FileManager.default.temporaryDirectory.path + "/abbozzo-bench-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try random.writeTransformer(into: folder)
        try Data("{\"_class_name\": \"FluxPipeline\"}".utf8).write(to: URL(filePath: folder + "/model_index.json"))
        let stopwatch = Stopwatch()
        let compute = Compute(pool: compute.pool, kernels: compute.kernels, stopwatch: stopwatch)
        let flux = try Flux(folder: ModelFolder(path: folder), compute: compute)
        // What is mapped stays; nothing is left behind when a long measurement is broken off.
        try FileManager.default.removeItem(atPath: folder)
        let width = Double(heads * headWidth)
        for count in image {
            let latents = Latents(
                tokens: Self.noise([count, 64], seed: 7), positions: Latents.grid(rows: 1, columns: count))
            let conditioning = Conditioning(
                context: Self.noise([text, random.contextWidth], seed: 8),
                pooled: Self.noise([random.pooledWidth], seed: 9))
            let start = flux.embed(latents, conditioning, sigma: 0.5, guidance: 3.5)
            let rows = Double(count + text)
            let one = 24 * width * width * rows + 4 * width * rows * rows
            for (name, span) in [("double", 0..<double), ("single", double..<double + single)] where !span.isEmpty {
                var stream = start
                var others: [Double] = []
                var result = measure(
                    "block", "\(span.count) \(name), \(count) + \(text) rows, width \(heads * headWidth)",
                    operations: one * Double(span.count)
                ) {
                    stream = start
                    // Copies of its own, so that no block makes them.
                    stream.text.withUnsafeMutableBuffer { _ in }
                    stream.image.withUnsafeMutableBuffer { _ in }
                    let (begin, counted) = (now(), stopwatch.productSeconds + stopwatch.attentionSeconds)
                    flux.run(blocks: span, &stream)
                    let (end, layers) = (now(), stopwatch.productSeconds + stopwatch.attentionSeconds - counted)
                    others.append(1 - layers / (end - begin))
                }
                result.otherShare = Self.median(Array(others.dropFirst()))
                report(result)
            }
        }
    }

    /// How many blocks of each kind a FLUX.1 has.
    package static let fluxBlocks = (double: 19, single: 38)

    /// One of the sequences of network calls that draw a picture.
    package struct PictureSteps: Sendable {
        /// As people write it.
        package let name: String
        /// Calls, and image tokens of each, stage by stage.
        package let stages: [(steps: Int, tokens: Int)]

        /// Joins the fields.
        package init(name: String, stages: [(steps: Int, tokens: Int)]) { (self.name, self.stages) = (name, stages) }
    }

    /// What the blocks of a whole FLUX.1 would take for pictures, from one block of each kind measured at each number of tokens.
    ///
    /// Left out: embedders and head, a thousandth of a step; text encoders and decoder.
    ///
    /// - Throws: `CheckpointError`, or what the file system says.
    package func pictures(
        _ pictures: [PictureSteps], heads: Int, headWidth: Int, text: Int, report: (BenchResult) -> Void
    ) throws {
        let counts = Set(pictures.flatMap { $0.stages.map(\.tokens) }).sorted()
        var seconds: [Int: (minimum: Double, median: Double)] = [:]
        var (lines, template): (Int, BenchResult?) = (0, nil)
        try blocks(double: 1, single: 1, heads: heads, headWidth: headWidth, text: text, image: counts) { result in
            report(result)
            // For each count a double block, then a single one.
            let factor = Double(lines % 2 == 0 ? Self.fluxBlocks.double : Self.fluxBlocks.single)
            let before = seconds[counts[lines / 2]] ?? (0, 0)
            seconds[counts[lines / 2]] = (
                before.minimum + factor * result.minimumSeconds, before.median + factor * result.medianSeconds
            )
            (lines, template) = (lines + 1, result)
        }
        guard let template else { return }
        for picture in pictures {
            var (minimum, median) = (0.0, 0.0)
            for (steps, tokens) in picture.stages {
                minimum += Double(steps) * (seconds[tokens]?.minimum ?? 0)
                median += Double(steps) * (seconds[tokens]?.median ?? 0)
            }
            let stages = picture.stages.map { "\($0.steps) x \($0.tokens)" }.joined(separator: " + ")
            report(
                BenchResult(
                    bench: "picture", shape: "\(picture.name): \(stages) image tokens, \(text) of text",
                    compute: template.compute, kernels: template.kernels, threads: template.threads,
                    runs: template.runs, minimumSeconds: minimum, medianSeconds: median,
                    scaledFrom: "one double and one single block at each number of tokens, times "
                        + "\(Self.fluxBlocks.double) and \(Self.fluxBlocks.single), times the steps; encoders and decoder "
                        + "left out",
                    peakBytes: template.peakBytes))
        }
    }

    /// A model's decoder for square pictures.
    ///
    /// - Throws: `CheckpointError`.
    package func decoder(
        folder: ModelFolder, sides: [Int], operationsPerPixel: Double, report: (BenchResult) -> Void
    ) throws(CheckpointError) {
        let decoder = try Decoder(folder: folder, compute: compute)
        for side in sides {
            let latent = Self.noise([16, side / 8, side / 8], seed: 10)
            report(
                measure(
                    "vae", "\(side)x\(side)", operations: operationsPerPixel * Double(side * side), in: [.f32]
                ) { _ = decoder.decode(latent) {} })
        }
    }
}
