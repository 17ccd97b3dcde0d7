package import Checkpoint
package import Plan

/// Bytes that the weights of a model's components, by default of all, take in memory, told from the headers of its files.
///
/// Follows what the rooms load and how: matrices of the transformer's blocks in the format, those of the encoders in theirs,
/// anything else as 32-bit floats, or in 16 bits where the file has a matrix so. Padding, at most 15 rows a matrix, is left out.
package func weightMemory(
    of folder: ModelFolder, in format: ComputeFormat,
    components: [String] = ["transformer", "text_encoder", "text_encoder_2", "vae"]
) throws(CheckpointError) -> Int {
    try weights(of: folder, in: format, components: components).bytes
}

/// Bytes in memory of one weight of the transformer, on average; nil for a model without one.
package func transformerBytesPerWeight(
    of folder: ModelFolder, in format: ComputeFormat
) throws(CheckpointError) -> Double? {
    let weights = try weights(of: folder, in: format, components: ["transformer"])
    return weights.count > 0 ? Double(weights.bytes) / Double(weights.count) : nil
}

/// Bytes that the text encoders of a model take in memory.
package func encoderBytes(of folder: ModelFolder, in format: ComputeFormat) throws(CheckpointError) -> Double {
    Double(try weights(of: folder, in: format, components: ["text_encoder", "text_encoder_2"]).bytes)
}

/// Weights of some components, and their bytes in memory.
private func weights(
    of folder: ModelFolder, in format: ComputeFormat, components: [String]
) throws(CheckpointError) -> (count: Int, bytes: Int) {
    let encoders: ComputeFormat = format == .int8 ? .bf16 : format
    var (count, total) = (0, 0)
    for component in components where folder.has(component) {
        let weights = try folder.weights(component)
        for name in weights.names {
            let tensor = try weights[name]
            let isMatrix = tensor.shape.count == 2
            count += tensor.count
            switch component {
            case "transformer":
                let isInBlock = name.contains("transformer_blocks.") && !name.contains("norm")
                total += tensor.bytes(isMatrix ? isInBlock ? format : .f32 : nil)
            case "vae":
                guard name.hasPrefix("decoder.") || name.hasPrefix("post_quant_conv.") else { continue }
                total += tensor.bytes(isMatrix ? .f32 : nil)
            default:
                // T5 files may hold the embedding table under two names.
                guard name != "encoder.embed_tokens.weight" || !weights.contains("shared.weight") else { continue }
                let isTable = name.contains("embed") || name == "shared.weight" || name.contains("relative_attention")
                total += tensor.bytes(isMatrix && !isTable ? encoders : nil)
            }
        }
    }
    return (count, total)
}

extension StoredTensor {
    /// Bytes in memory as the matrix of a dense layer in a format, or as plain floats.
    fileprivate func bytes(_ format: ComputeFormat?) -> Int {
        switch format {
        case nil: 4 * count
        case .f32: (dtype == .bf16 || dtype == .f16 ? 2 : 4) * count
        case .bf16: 2 * count
        // A scale and a sum for 512 values; see `PackedMatrix`.
        case .int8: count + 8 * shape[0] * ((shape[1] + 511) / 512)
        }
    }
}
