package import Checkpoint
internal import Plan
package import Tensors

/// CLIP's text transformer: causal, pre-norm; its pooled output is the state at the end token.
///
/// T tokens, D width, H heads. Source: Radford et al. 2021, section 2.4, and `CLIPTextModel` of transformers.
package struct ClipEncoder: Sendable {
    /// Width of the hidden states, D.
    package let width: Int
    /// Longest sequence that has position embeddings.
    package let maxLength: Int
    /// Rows of the embedding table.
    package let vocabulary: Int
    /// Bytes of the weights in memory.
    package let residentBytes: Int
    /// The id at which states are pooled, first where it occurs several times; nil for the largest of a sequence.
    ///
    /// Old configurations say 2 whatever their tokenizer does; for those the reference takes the largest id.
    package let endToken: Int?

    private let config: Config
    private let tokenTable: Tensor
    private let positionTable: Tensor
    private let layers: [Layer]
    private let finalNorm: Norm
    private let compute: Compute

    /// What the encoder makes of one sequence.
    package struct Output: Sendable {
        /// (T, D): embeddings, then the output of each layer, before the final norm.
        package var hiddenStates: [Tensor]
        /// (T, D): the last layer's output after the final norm.
        package var lastHiddenState: Tensor
        /// (D): the row of `lastHiddenState` at the end token.
        package var pooled: Tensor

        /// (T, D): output of the last layer but one, which SDXL and SD3 take.
        package var penultimate: Tensor { hiddenStates[hiddenStates.count - 2] }
    }

    /// Reads a component's configuration, and refuses one of which no network can be made.
    private static func configuration(_ folder: ModelFolder, _ component: String) throws -> Config {
        let config = try folder.config(component, as: Config.self)
        try config.check(folder: folder.path(component))
        return config
    }

    /// Refuses a component whose configuration makes no network, without reading weights.
    static func check(folder: ModelFolder, component: String) throws { _ = try configuration(folder, component) }

    /// Loads a component's configuration and weights.
    package init(folder: ModelFolder, component: String = "text_encoder", compute: Compute) throws {
        let config = try Self.configuration(folder, component)
        let files = try folder.weights(component)
        var weights = WeightReader(
            files: files, prefix: files.contains("text_model.final_layer_norm.weight") ? "text_model." : "",
            compute: compute)
        let width = config.width
        tokenTable = try weights.tensor("embeddings.token_embedding.weight", [nil, width])
        positionTable = try weights.tensor("embeddings.position_embedding.weight", [config.positions, width])
        layers = try (0..<config.layers).map {
            try Layer(&weights, "encoder.layers.\($0).", config, compute)
        }
        finalNorm = try weights.norm("final_layer_norm", width, config.epsilon)
        residentBytes = weights.bytes
        self.config = config
        self.width = width
        self.compute = compute
        maxLength = config.positions
        vocabulary = tokenTable.shape[0]
        // Absent: the default of transformers' `CLIPTextConfig`.
        let endToken = config.endToken ?? 49407
        self.endToken = endToken == 2 ? nil : endToken
    }

    /// Encodes a sequence of token ids; `pause` is called after each layer, and may throw.
    ///
    /// - Precondition: at least one id, at most `maxLength`, all below `vocabulary`, `endToken` among them.
    package func callAsFunction(_ ids: [Int], pause: () throws -> Void = {}) rethrows -> Output {
        promise(!ids.isEmpty && ids.count <= maxLength, "\(ids.count) tokens of at most \(maxLength)")
        let positions = positionTable.rows(0..<ids.count)
        var hidden = compute.sum(tokenTable.gathered(ids), positions)  // (T, D)
        var states = [hidden]
        for layer in layers {
            hidden = layer(hidden)
            states.append(hidden)
            try pause()
        }
        let last = finalNorm(hidden)
        let end = endPosition(ids)
        return Output(hiddenStates: states, lastHiddenState: last, pooled: last.rows(end..<end + 1).reshaped([width]))
    }

    /// Where the end token stands first.
    private func endPosition(_ ids: [Int]) -> Int {
        let end = endToken ?? ids.max()
        guard let position = ids.firstIndex(where: { $0 == end }) else {
            fatalError("no end token \(end ?? 0) in \(ids.count) ids")
        }
        return position
    }

    private struct Layer {
        let heads: Int
        let attentionNorm: Norm
        let query: Linear
        let key: Linear
        let value: Linear
        let output: Linear
        let mlpNorm: Norm
        let mlpIn: Linear
        let mlpOut: Linear
        let activation: Activation
        let compute: Compute

        init(_ weights: inout WeightReader, _ prefix: String, _ config: Config, _ compute: Compute) throws {
            let (width, inner) = (config.width, config.inner)
            heads = config.heads
            activation = config.activation
            self.compute = compute
            attentionNorm = try weights.norm(prefix + "layer_norm1", width, config.epsilon)
            query = try weights.linear(prefix + "self_attn.q_proj", width, width)
            key = try weights.linear(prefix + "self_attn.k_proj", width, width)
            value = try weights.linear(prefix + "self_attn.v_proj", width, width)
            output = try weights.linear(prefix + "self_attn.out_proj", width, width)
            mlpNorm = try weights.norm(prefix + "layer_norm2", width, config.epsilon)
            mlpIn = try weights.linear(prefix + "mlp.fc1", width, inner)
            mlpOut = try weights.linear(prefix + "mlp.fc2", inner, width)
        }

        /// (T, D) to (T, D).
        func callAsFunction(_ x: Tensor) -> Tensor {
            let normed = attentionNorm(x)
            let shape = [x.shape[0], heads, x.width / heads]
            let attended = compute.attention(
                q: query(normed).reshaped(shape), k: key(normed).reshaped(shape), v: value(normed).reshaped(shape),
                scale: 1 / Float(shape[2]).squareRoot(), causal: true)
            let middle = compute.sum(x, output(attended.reshaped(x.shape)))
            return compute.sum(middle, mlpOut(activation(mlpIn(mlpNorm(middle)), compute)))
        }
    }

    private struct Config: Decodable {
        var width: Int
        var inner: Int
        var heads: Int
        var layers: Int
        var positions: Int
        var epsilon: Float
        var activationName: String
        var endTokens: EndTokens?

        var activation: Activation {
            guard let known = Activation(rawValue: activationName) else {
                fatalError("hidden_act \(activationName) was not checked")
            }
            return known
        }

        /// The only one, or the first.
        var endToken: Int? { endTokens?.ids.first }

        enum CodingKeys: String, CodingKey {
            case width = "hidden_size"
            case inner = "intermediate_size"
            case heads = "num_attention_heads"
            case layers = "num_hidden_layers"
            case positions = "max_position_embeddings"
            case epsilon = "layer_norm_eps"
            case activationName = "hidden_act"
            case endTokens = "eos_token_id"
        }

        func check(folder: String) throws {
            let sizes = [width, inner, heads, layers, positions]
            guard sizes.allSatisfy({ 1...1_000_000 ~= $0 }), heads <= 1024, width % heads == 0, epsilon > 0 else {
                throw TextError(.configuration(folder: folder, detail: "its sizes make no network: \(sizes)"))
            }
            guard Activation(rawValue: activationName) != nil else {
                throw TextError(
                    .configuration(
                        folder: folder,
                        detail: "hidden_act is \(activationName.prefix(40)), only quick_gelu and gelu are known"))
            }
        }

        /// A number, or a list of them.
        struct EndTokens: Decodable {
            let ids: [Int]

            init(from decoder: any Decoder) throws {
                let value = try decoder.singleValueContainer()
                if let id = try? value.decode(Int.self) { ids = [id] } else { ids = try value.decode([Int].self) }
            }
        }
    }
}

/// The functions that CLIP's configurations name.
private enum Activation: String {
    case quickGELU = "quick_gelu"
    case gelu

    func callAsFunction(_ x: Tensor, _ compute: Compute) -> Tensor {
        switch self {
        case .quickGELU: compute.quickGELU(x)
        case .gelu: compute.geluErf(x)
        }
    }
}
