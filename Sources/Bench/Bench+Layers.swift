package import Checkpoint
internal import DiT
internal import Foundation
internal import Plan
internal import Tensors
internal import VAE

extension Bench {
    /// Dense layers of a FLUX block of some width, for some numbers of rows.
    package func gemm(rows: [Int], width: Int, report: (BenchResult) -> Void) {
        for (inputs, outputs) in [(width, width), (width, 4 * width), (4 * width, width)] {
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
                    operations: 4 * Double(count) * Double(count) * Double(heads * headWidth)
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
        let folder = try RandomFlux.write(double: double, single: single, heads: heads, headWidth: headWidth)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let flux = try Flux(folder: ModelFolder(path: folder), compute: compute)
        let width = Double(heads * headWidth)
        for count in image {
            let latents = Latents(
                tokens: Self.noise([count, 64], seed: 7), positions: Latents.grid(rows: 1, columns: count))
            let conditioning = Conditioning(
                context: Self.noise([text, RandomFlux.contextWidth], seed: 8),
                pooled: Self.noise([RandomFlux.pooledWidth], seed: 9))
            let start = flux.embed(latents, conditioning, sigma: 0.5, guidance: 3.5)
            let rows = Double(count + text)
            let one = 24 * width * width * rows + 4 * width * rows * rows
            for (name, span) in [("double", 0..<double), ("single", double..<double + single)] where !span.isEmpty {
                report(
                    measure(
                        "block", "\(span.count) \(name), \(count) + \(text) rows, width \(heads * headWidth)",
                        operations: one * Double(span.count)
                    ) {
                        var stream = start
                        flux.run(blocks: span, &stream)
                    })
            }
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
                    "vae", "\(side)x\(side)", operations: operationsPerPixel * Double(side * side)
                ) { _ = decoder.decode(latent) })
        }
    }
}

/// A transformer in the layout of FLUX.1 with random weights in bf16, for measurements of time only.
enum RandomFlux {
    static let contextWidth = 256
    static let pooledWidth = 64

    /// Writes `model_index.json` and `transformer` into a new temporary folder and returns its path.
    static func write(double: Int, single: Int, heads: Int, headWidth: Int) throws -> String {
        let folder = FileManager.default.temporaryDirectory.path + "/abbozzo-bench-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder + "/transformer", withIntermediateDirectories: true)
        try text("{\"_class_name\": \"FluxPipeline\"}", folder + "/model_index.json")
        let axis = headWidth / 8 * 2
        try text(
            """
            {"attention_head_dim": \(headWidth), "num_attention_heads": \(heads), "num_layers": \(double),
             "num_single_layers": \(single), "in_channels": 64, "joint_attention_dim": \(contextWidth),
             "pooled_projection_dim": \(pooledWidth), "guidance_embeds": true,
             "axes_dims_rope": [\(headWidth - 2 * axis), \(axis), \(axis)]}
            """, folder + "/transformer/config.json")
        try weights(
            tensors(double: double, single: single, width: heads * headWidth, headWidth: headWidth),
            folder + "/transformer/diffusion_pytorch_model.safetensors")
        return folder
    }

    private static func tensors(double: Int, single: Int, width: Int, headWidth: Int) -> [(String, [Int])] {
        var all: [(String, [Int])] = []
        func linear(_ name: String, _ inputs: Int, _ outputs: Int) {
            all += [(name + ".weight", [outputs, inputs]), (name + ".bias", [outputs])]
        }
        linear("x_embedder", 64, width)
        linear("context_embedder", contextWidth, width)
        for (name, inputs) in [("timestep", 256), ("guidance", 256), ("text", pooledWidth)] {
            linear("time_text_embed.\(name)_embedder.linear_1", inputs, width)
            linear("time_text_embed.\(name)_embedder.linear_2", width, width)
        }
        for block in 0..<double {
            let root = "transformer_blocks.\(block)."
            for norm in ["norm1.linear", "norm1_context.linear"] { linear(root + norm, width, 6 * width) }
            for name in ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out"] {
                linear(root + "attn." + name, width, width)
            }
            for name in ["norm_q", "norm_k", "norm_added_q", "norm_added_k"] {
                all.append((root + "attn.\(name).weight", [headWidth]))
            }
            for name in ["ff", "ff_context"] {
                linear(root + name + ".net.0.proj", width, 4 * width)
                linear(root + name + ".net.2", 4 * width, width)
            }
        }
        for block in 0..<single {
            let root = "single_transformer_blocks.\(block)."
            linear(root + "norm.linear", width, 3 * width)
            for name in ["to_q", "to_k", "to_v"] { linear(root + "attn." + name, width, width) }
            for name in ["norm_q", "norm_k"] { all.append((root + "attn.\(name).weight", [headWidth])) }
            linear(root + "proj_mlp", width, 4 * width)
            linear(root + "proj_out", 5 * width, width)
        }
        linear("norm_out.linear", width, 2 * width)
        linear("proj_out", width, 64)
        return all
    }

    /// Streams the values to the file: a block of FLUX's width has 340 million.
    private static func weights(_ tensors: [(name: String, shape: [Int])], _ path: String) throws {
        var (parts, offset): ([String], Int) = ([], 0)
        for (name, shape) in tensors {
            let end = offset + 2 * shape.reduce(1, *)
            let sizes = shape.map(String.init).joined(separator: ",")
            parts.append("\"\(name)\":{\"dtype\":\"BF16\",\"shape\":[\(sizes)],\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        var header = Array("{\(parts.joined(separator: ","))}".utf8)
        header += Array(repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        var file = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }
        file.append(contentsOf: header)
        try file.write(to: URL(filePath: path))
        let handle = try FileHandle(forWritingTo: URL(filePath: path))
        defer { try? handle.close() }
        try handle.seekToEnd()
        // One mebibyte of values between -1/32 and 1/32, over and over: times do not depend on them.
        let block = Bench.noise([1 << 19], seed: 11).withUnsafeBuffer { values in
            values.map { UInt16(($0 / 32).bitPattern >> 16) }
        }.withUnsafeBytes { Data($0) }
        var left = offset
        while left > 0 {
            try handle.write(contentsOf: block.prefix(left))
            left -= min(left, block.count)
        }
    }

    private static func text(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
    }
}
