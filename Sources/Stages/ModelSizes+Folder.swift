internal import Checkpoint
internal import DiT
internal import Plan
internal import VAE

extension ModelSizes {
    /// Counts the weights of a model by the headers of its files.
    ///
    /// The decoder's operations leave out its attention and norms; a convolution of level I runs at 1 / scale * 2^I of the
    /// picture's side, the upsampler at its end at twice that.
    init(folder: ModelFolder, transformer: Flux.Parameters, decoder: Decoder.Parameters) throws(CheckpointError) {
        var (embed, head, double, single) = (0, 0, 0, 0)
        let weights = try folder.weights("transformer")
        for name in weights.names {
            let count = try Self.numbers(weights[name])
            if name.hasPrefix("transformer_blocks.0.") {
                double += count
            } else if name.hasPrefix("single_transformer_blocks.0.") {
                single += count
            } else if name.hasPrefix("norm_out.") || name.hasPrefix("proj_out.") {
                head += count
            } else if !name.hasPrefix("transformer_blocks.") && !name.hasPrefix("single_transformer_blocks.") {
                embed += count
            }
        }
        var (encoder, matrices) = (0, 0)
        for component in ["text_encoder", "text_encoder_2"] {
            let weights = try folder.weights(component)
            for name in weights.names {
                // T5 files may hold the embedding table under two names.
                guard name != "encoder.embed_tokens.weight" || !weights.contains("shared.weight") else { continue }
                let count = try Self.numbers(weights[name])
                encoder += count
                if !name.hasSuffix("shared.weight") && !name.contains("embed") { matrices += count }
            }
        }
        var (decoding, operations) = (0, 0.0)
        let vae = try folder.weights("vae")
        for name in vae.names where name.hasPrefix("decoder.") || name.hasPrefix("post_quant_conv.") {
            let tensor = try vae[name]
            decoding += try Self.numbers(tensor)
            guard tensor.shape.count == 4 else { continue }
            let side = Double(Self.side(of: name, scale: decoder.scale)) / Double(decoder.scale)
            operations += 2 * Double(tensor.count) * side * side
        }
        self.init(
            doubleCount: transformer.doubleCount, doubleWeights: double, singleWeights: single, embedWeights: embed,
            headWeights: head, encoderWeights: encoder, encoderMatrixWeights: matrices, decoderWeights: decoding,
            decoderOperationsPerPixel: operations,
            // The last level's input, normed input, first result, and one more of its size for what is about to go.
            decoderValuesPerPixel: 4 * decoder.channels[min(1, decoder.channels.count - 1)])
    }

    /// How many numbers a tensor holds; refuses weights that are numbers only together with others, such as scales.
    private static func numbers(_ tensor: StoredTensor) throws(CheckpointError) -> Int {
        switch tensor.dtype {
        case .f32, .bf16, .f16, .f64: break
        default:
            // Indices, as of positions, may be there too, and are not read.
            guard tensor.name.hasSuffix(".weight") || tensor.name.hasSuffix(".bias") else { break }
            throw CheckpointError(
                .type(tensor.dtype, wanted: "weights without their scales"), file: tensor.path,
                tensor: tensor.name)
        }
        return tensor.count
    }

    /// Pixels along one side, for each of the latent, where a convolution of the decoder runs.
    private static func side(of name: String, scale: Int) -> Int {
        if name.hasPrefix("decoder.conv_out") { return scale }
        let parts = name.split(separator: ".")
        guard parts.count > 3, parts[1] == "up_blocks", let level = Int(parts[2]), (0..<30).contains(level) else {
            return 1
        }
        return min(scale, 1 << (parts[3] == "upsamplers" ? level + 1 : level))
    }
}
