package import Checkpoint
internal import DiT
internal import Foundation
internal import Plan
internal import Tensors

/// A transformer in the layout of FLUX.1 with random weights, for measurements at any size: its pictures are noise.
///
/// Weights and biases of a layer are even between -1 and 1 divided by the root of its inputs, as PyTorch begins a
/// `Linear`, and norms scale by 1: so activations stay about as large as they are, however deep the network. Equal
/// sizes give equal bytes.
package struct RandomFlux: Sendable {
    /// How weights are stored.
    package enum Format: String, CaseIterable, Sendable {
        /// The upper half of a float32.
        case bf16
        /// As they are.
        case f32
        /// Rounded to half precision.
        case f16
    }

    private let double: Int
    private let single: Int
    private let heads: Int
    private let headWidth: Int
    private let format: Format
    /// Channels of the sequence encoder's output.
    let contextWidth: Int
    /// Channels of the pooled encoder's output.
    let pooledWidth: Int
    private let takesGuidance: Bool

    private var width: Int { heads * headWidth }

    /// Sizes for measurements of the blocks alone.
    init(double: Int, single: Int, heads: Int, headWidth: Int) {
        (self.double, self.single, self.heads, self.headWidth) = (double, single, heads, headWidth)
        (contextWidth, pooledWidth, takesGuidance, format) = (256, 64, true, .bf16)
    }

    /// Sizes of blocks, and what fits the text encoders of a model.
    ///
    /// - Precondition: a head's width is even.
    /// - Throws: `CheckpointError`, when that model is no FLUX.
    package init(
        double: Int, single: Int, heads: Int, headWidth: Int, format: Format, fitting model: ModelFolder
    ) throws(CheckpointError) {
        promise(headWidth % 2 == 0, "heads of \(headWidth)")
        let parameters = try Flux.Parameters(folder: model)
        (self.double, self.single, self.heads, self.headWidth) = (double, single, heads, headWidth)
        (contextWidth, pooledWidth) = (parameters.contextWidth, parameters.pooledWidth)
        (takesGuidance, self.format) = (parameters.takesGuidance, format)
    }

    /// Bytes of the weights' file, but for its header.
    package var bytes: Int { tensors.reduce(0) { $0 + $1.count } * size }

    /// Writes a whole model: this transformer, and all else of another one.
    ///
    /// It is written under another name in the same folder and renamed at the end, so what is at `path` is whole.
    ///
    /// - Throws: what the file system says, also when there is something at `path`.
    package func write(to path: String, allElseFrom model: ModelFolder) throws {
        let files = FileManager.default
        let temporary = "\(path).\(UUID().uuidString).tmp"
        defer { try? files.removeItem(atPath: temporary) }
        try files.createDirectory(atPath: temporary, withIntermediateDirectories: true)
        for name in ["model_index.json"] + model.components where name != "transformer" {
            try Self.copy(model.path(name), to: "\(temporary)/\(name)")
        }
        try writeTransformer(into: temporary)
        try files.moveItem(atPath: temporary, toPath: path)
    }

    /// Copies a file, or a folder's files, each from where links lead to.
    ///
    /// A variant links parts of another model, and a downloader's folder each file: a copied link would lead nowhere.
    private static func copy(_ path: String, to target: String) throws {
        let files = FileManager.default
        func isFolder(_ path: String) -> Bool {
            var isFolder: ObjCBool = false
            return files.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
        }
        func copyFile(_ path: String, to target: String) throws {
            try files.copyItem(atPath: URL(filePath: path).resolvingSymlinksInPath().path, toPath: target)
        }
        guard isFolder(path) else { return try copyFile(path, to: target) }
        try files.createDirectory(atPath: target, withIntermediateDirectories: true)
        for name in try files.contentsOfDirectory(atPath: path) where !isFolder("\(path)/\(name)") {
            try copyFile("\(path)/\(name)", to: "\(target)/\(name)")
        }
    }

    /// Writes the folder `transformer` into a folder, which is made if it is not there.
    func writeTransformer(into folder: String) throws {
        let path = folder + "/transformer"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        // In the proportions of FLUX.1: (16, 56, 56) of 128.
        let axis = headWidth * 7 / 32 * 2
        let config = """
            {"_class_name": "FluxTransformer2DModel",
             "attention_head_dim": \(headWidth), "num_attention_heads": \(heads), "num_layers": \(double),
             "num_single_layers": \(single), "in_channels": \(Flux.Parameters.tokenWidth),
             "joint_attention_dim": \(contextWidth), "pooled_projection_dim": \(pooledWidth),
             "guidance_embeds": \(takesGuidance), "axes_dims_rope": [\(headWidth - 2 * axis), \(axis), \(axis)]}

            """
        try Data(config.utf8).write(to: URL(filePath: path + "/config.json"))
        try writeWeights(path + "/diffusion_pytorch_model.safetensors")
    }

    // MARK: Weights

    private struct Entry {
        let name: String
        let shape: [Int]
        /// Values are between this and its negative; of norms all are 1.
        let bound: Float?

        var count: Int { shape.reduce(1, *) }
    }

    private var size: Int { format == .f32 ? 4 : 2 }

    private var tensors: [Entry] {
        var all: [Entry] = []
        func linear(_ name: String, _ inputs: Int, _ outputs: Int) {
            let bound = 1 / Float(inputs).squareRoot()
            all.append(Entry(name: name + ".weight", shape: [outputs, inputs], bound: bound))
            all.append(Entry(name: name + ".bias", shape: [outputs], bound: bound))
        }
        func norm(_ name: String) { all.append(Entry(name: name + ".weight", shape: [headWidth], bound: nil)) }
        linear("x_embedder", Flux.Parameters.tokenWidth, width)
        linear("context_embedder", contextWidth, width)
        let embedders = [("timestep", 256), ("text", pooledWidth)] + (takesGuidance ? [("guidance", 256)] : [])
        for (name, inputs) in embedders {
            linear("time_text_embed.\(name)_embedder.linear_1", inputs, width)
            linear("time_text_embed.\(name)_embedder.linear_2", width, width)
        }
        for block in 0..<double {
            let root = "transformer_blocks.\(block)."
            for norm in ["norm1.linear", "norm1_context.linear"] { linear(root + norm, width, 6 * width) }
            for name in ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out"] {
                linear(root + "attn." + name, width, width)
            }
            for name in ["norm_q", "norm_k", "norm_added_q", "norm_added_k"] { norm(root + "attn." + name) }
            for name in ["ff", "ff_context"] {
                linear(root + name + ".net.0.proj", width, 4 * width)
                linear(root + name + ".net.2", 4 * width, width)
            }
        }
        for block in 0..<single {
            let root = "single_transformer_blocks.\(block)."
            linear(root + "norm.linear", width, 3 * width)
            for name in ["to_q", "to_k", "to_v"] { linear(root + "attn." + name, width, width) }
            for name in ["norm_q", "norm_k"] { norm(root + "attn." + name) }
            linear(root + "proj_mlp", width, 4 * width)
            linear(root + "proj_out", 5 * width, width)
        }
        linear("norm_out.linear", width, 2 * width)
        linear("proj_out", width, Flux.Parameters.tokenWidth)
        return all
    }

    /// Streams the values to the file, since a block of FLUX's width has 340 million.
    private func writeWeights(_ path: String) throws {
        var (parts, offset): ([String], Int) = ([], 0)
        for tensor in tensors {
            let end = offset + size * tensor.count
            let sizes = tensor.shape.map(String.init).joined(separator: ",")
            parts.append(
                "\"\(tensor.name)\":{\"dtype\":\"\(format.rawValue.uppercased())\",\"shape\":[\(sizes)],"
                    + "\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        var header = Array("{\(parts.joined(separator: ","))}".utf8)
        header += Array(repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        var start = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }
        start.append(contentsOf: header)
        try start.write(to: URL(filePath: path))
        let handle = try FileHandle(forWritingTo: URL(filePath: path))
        defer { try? handle.close() }
        try handle.seekToEnd()
        for (index, tensor) in tensors.enumerated() {
            let random = Philox(seed: 0, purpose: 0, index: UInt32(index))
            for first in stride(from: 0, to: tensor.count, by: Self.chunk) {
                let values = Self.values(
                    first..<min(tensor.count, first + Self.chunk), of: random, bound: tensor.bound)
                try handle.write(contentsOf: bytes(values))
            }
        }
    }

    /// Values made and written at a time; a multiple of the four of a block of `Philox`.
    private static let chunk = 1 << 18

    private static func values(_ range: Range<Int>, of random: Philox, bound: Float?) -> [Float] {
        guard let bound else { return Array(repeating: 1, count: range.count) }
        return Array(unsafeUninitializedCapacity: range.count) { values, filled in
            for block in stride(from: 0, to: range.count, by: 4) {
                let words = random.block(UInt64(range.lowerBound + block) / 4)
                for lane in 0..<min(4, range.count - block) {
                    values[block + lane] = Float(Int32(bitPattern: words[lane])) * 0x1p-31 * bound
                }
            }
            filled = range.count
        }
    }

    private func bytes(_ values: [Float]) -> Data {
        switch format {
        case .f32: values.withUnsafeBytes { Data($0) }
        case .f16: values.map { Float16($0).bitPattern }.withUnsafeBytes { Data($0) }
        case .bf16: values.map { UInt16($0.bitPattern >> 16) }.withUnsafeBytes { Data($0) }
        }
    }
}
