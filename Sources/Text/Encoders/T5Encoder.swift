package import Checkpoint
internal import Glibc
internal import Plan
package import Tensors

/// T5's encoder as embed, blocks and head, so that it can be split over workers as the transformer is.
///
/// T tokens, D width, H heads of width K. No mask: padding is attended to, as the pipelines do. Source: Raffel et al.
/// 2020 with the gated feed-forward of T5 1.1 (Shazeer 2020), and `T5EncoderModel` of transformers.
package struct T5Encoder: Sendable {
    /// Width of the hidden states, D.
    package let width: Int
    /// Blocks of the whole encoder.
    package let blockCount: Int
    /// Blocks whose weights are loaded.
    package let span: Range<Int>
    /// Rows of the embedding table; nil when the span does not start at block 0.
    package var vocabulary: Int? { table?.shape[0] }
    /// Bytes of the weights in memory.
    package let residentBytes: Int

    private let config: Config
    /// (vocabulary, D), for a span from block 0.
    private let table: Tensor?
    /// (buckets, H): block 0's, which all blocks share.
    private let distanceTable: Tensor
    private let blocks: [Block]
    /// (D), for a span to the last block.
    private let finalNorm: Tensor?
    private let compute: Compute

    /// Reads a component's configuration, and refuses one of which no network can be made.
    private static func configuration(_ folder: ModelFolder, _ component: String) throws -> Config {
        let config = try folder.config(component, as: Config.self)
        try config.check(folder: folder.path(component))
        return config
    }

    /// Refuses a component whose configuration makes no network, without reading weights.
    static func check(folder: ModelFolder, component: String) throws { _ = try configuration(folder, component) }

    /// Loads a component's configuration and the weights of a span of its blocks; all when nil.
    package init(
        folder: ModelFolder, component: String = "text_encoder_2", span: Range<Int>? = nil, compute: Compute
    ) throws {
        let config = try Self.configuration(folder, component)
        let span = span ?? 0..<config.layers
        promise(span.lowerBound >= 0 && span.upperBound <= config.layers, "blocks \(span) of \(config.layers)")
        let files = try folder.weights(component)
        var weights = WeightReader(files: files, prefix: "", compute: compute)
        if span.lowerBound == 0 {
            let names = ["shared.weight", "encoder.embed_tokens.weight"]
            let name = names.first { files.contains($0) } ?? names[0]
            table = try weights.tensor(name, [nil, config.width])
        } else {
            table = nil
        }
        distanceTable = try weights.tensor(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [config.buckets, config.heads])
        blocks = try span.map { try Block(&weights, "encoder.block.\($0).layer.", config, compute) }
        finalNorm =
            span.upperBound == config.layers
            ? try weights.tensor("encoder.final_layer_norm.weight", [config.width]) : nil
        residentBytes = weights.bytes
        width = config.width
        blockCount = config.layers
        self.span = span
        self.config = config
        self.compute = compute
    }

    /// Encodes a sequence of token ids: (T) to (T, D); `pause` is called after each block, and may throw.
    ///
    /// - Precondition: all blocks are loaded, and all ids are below `vocabulary`.
    package func callAsFunction(_ ids: [Int], pause: () throws -> Void = {}) rethrows -> Tensor {
        var hidden = embed(ids)
        try run(blocks: 0..<blockCount, &hidden, pause: pause)
        return head(hidden)
    }

    /// Looks up the token embeddings: (T) to (T, D).
    ///
    /// - Precondition: the span starts at block 0.
    package func embed(_ ids: [Int]) -> Tensor {
        guard let table else { fatalError("blocks \(span) have no embedding table") }
        return table.gathered(ids)
    }

    /// Runs some of the loaded blocks over (T, D) states, in place; `pause` is called after each.
    ///
    /// - Precondition: the blocks are within the span.
    package func run(blocks range: Range<Int>, _ hidden: inout Tensor, pause: () throws -> Void = {}) rethrows {
        promise(
            range.lowerBound >= span.lowerBound && range.upperBound <= span.upperBound, "blocks \(range) of \(span)")
        let bias = positionBias(length: hidden.shape[0])
        for block in range {
            hidden = blocks[block - span.lowerBound](hidden, bias)
            try pause()
        }
    }

    /// Normalises the last block's states: (T, D) to (T, D).
    ///
    /// - Precondition: the span ends at the last block.
    package func head(_ hidden: Tensor) -> Tensor {
        guard let finalNorm else { fatalError("blocks \(span) have no final norm") }
        return compute.rmsNorm(hidden, weight: finalNorm, epsilon: config.epsilon)
    }

    /// What is added to the attention logits of every block: (H, T, T), from the distance of key and query.
    package func positionBias(length: Int) -> Tensor {
        let heads = config.heads
        var bias = Tensor(uninitialized: [heads, length, length])
        let buckets = (1 - max(length, 1)..<max(length, 1)).map { config.bucket(distance: $0) }
        bias.withUnsafeMutableBuffer { out in
            distanceTable.withUnsafeBuffer { table in
                for head in 0..<heads {
                    for query in 0..<length {
                        for key in 0..<length {
                            let bucket = buckets[key - query + length - 1]
                            out[(head * length + query) * length + key] = table[bucket * heads + head]
                        }
                    }
                }
            }
        }
        return bias
    }

    private struct Block {
        let heads: Int
        let headWidth: Int
        let epsilon: Float
        let attentionNorm: Tensor
        let query: Linear
        let key: Linear
        let value: Linear
        let output: Linear
        let mlpNorm: Tensor
        let mlp: FeedForward
        let compute: Compute

        init(_ weights: inout WeightReader, _ prefix: String, _ config: Config, _ compute: Compute) throws {
            let (width, inner) = (config.width, config.heads * config.headWidth)
            heads = config.heads
            headWidth = config.headWidth
            epsilon = config.epsilon
            self.compute = compute
            attentionNorm = try weights.tensor(prefix + "0.layer_norm.weight", [width])
            query = try weights.linear(prefix + "0.SelfAttention.q", width, inner, hasBias: false)
            key = try weights.linear(prefix + "0.SelfAttention.k", width, inner, hasBias: false)
            value = try weights.linear(prefix + "0.SelfAttention.v", width, inner, hasBias: false)
            output = try weights.linear(prefix + "0.SelfAttention.o", inner, width, hasBias: false)
            mlpNorm = try weights.tensor(prefix + "1.layer_norm.weight", [width])
            mlp = try FeedForward(&weights, prefix + "1.DenseReluDense.", config, compute)
        }

        /// (T, D) to (T, D).
        func callAsFunction(_ x: Tensor, _ bias: Tensor) -> Tensor {
            let normed = compute.rmsNorm(x, weight: attentionNorm, epsilon: epsilon)
            let shape = [x.shape[0], heads, headWidth]
            // T5 folds the usual 1 / sqrt(K) into its initial weights.
            let attended = compute.attention(
                q: query(normed).reshaped(shape), k: key(normed).reshaped(shape), v: value(normed).reshaped(shape),
                scale: 1, bias: bias)
            let middle = compute.sum(x, output(attended.reshaped([x.shape[0], heads * headWidth])))
            return compute.sum(middle, mlp(compute.rmsNorm(middle, weight: mlpNorm, epsilon: epsilon)))
        }
    }

    /// `wo(gelu(wi_0 x) * wi_1 x)`, or `wo(relu(wi x))` in the first T5.
    private struct FeedForward {
        let kind: Config.Kind
        let first: Linear
        let second: Linear?
        let output: Linear
        let compute: Compute

        init(_ weights: inout WeightReader, _ prefix: String, _ config: Config, _ compute: Compute) throws {
            kind = config.kind
            self.compute = compute
            let (width, inner) = (config.width, config.inner)
            first = try weights.linear(prefix + (kind.isGated ? "wi_0" : "wi"), width, inner, hasBias: false)
            second = kind.isGated ? try weights.linear(prefix + "wi_1", width, inner, hasBias: false) : nil
            output = try weights.linear(prefix + "wo", inner, width, hasBias: false)
        }

        func callAsFunction(_ x: Tensor) -> Tensor {
            let activated =
                switch kind {
                case .relu, .gatedRelu: compute.relu(first(x))
                case .gatedGELU: compute.geluTanh(first(x))
                }
            return output(second.map { compute.product(activated, $0(x)) } ?? activated)
        }
    }

    private struct Config: Decodable {
        enum Kind: String {
            case relu
            case gatedRelu = "gated-relu"
            case gatedGELU = "gated-gelu"

            var isGated: Bool { self != .relu }
        }

        var width: Int
        var inner: Int
        var heads: Int
        var headWidth: Int
        var layers: Int
        var buckets: Int
        var farthest: Int?
        var epsilon: Float
        var projection: String

        enum CodingKeys: String, CodingKey {
            case width = "d_model"
            case inner = "d_ff"
            case heads = "num_heads"
            case headWidth = "d_kv"
            case layers = "num_layers"
            case buckets = "relative_attention_num_buckets"
            case farthest = "relative_attention_max_distance"
            case epsilon = "layer_norm_epsilon"
            case projection = "feed_forward_proj"
        }

        var kind: Kind {
            guard let known = Kind(rawValue: projection) else {
                fatalError("feed_forward_proj \(projection) was not checked")
            }
            return known
        }

        func check(folder: String) throws {
            guard Kind(rawValue: projection) != nil else {
                throw TextError(
                    .configuration(
                        folder: folder,
                        detail:
                            "feed_forward_proj is \(projection.prefix(40)), only relu, gated-relu and gated-gelu are known"
                    ))
            }
            let sizes = [width, inner, heads, headWidth, layers, buckets]
            // Heads times the square of a text's length is what the position bias takes.
            guard sizes.allSatisfy({ 1...1_000_000 ~= $0 }), heads <= 1024, headWidth <= 4096, epsilon > 0 else {
                throw TextError(.configuration(folder: folder, detail: "its sizes make no network: \(sizes)"))
            }
            guard 4...4096 ~= buckets, buckets % 4 == 0, (farthest ?? 128) > buckets / 4 else {
                throw TextError(
                    .configuration(
                        folder: folder, detail: "\(buckets) buckets for distances up to \(farthest ?? 128)"))
            }
        }

        /// The row of the distance table for key position less query position.
        ///
        /// Half of the buckets are for keys after the query; of each half the first half counts single steps, the rest
        /// grows with the logarithm up to `farthest`. In float32, because the reference rounds there.
        func bucket(distance: Int) -> Int {
            let half = buckets / 2
            let exact = half / 2
            let base = distance > 0 ? half : 0
            let steps = abs(distance)
            if steps < exact { return base + steps }
            let ratio = logf(Float(steps) / Float(exact)) / logf(Float(farthest ?? 128) / Float(exact))
            return base + min(exact + Int(ratio * Float(half - exact)), half - 1)
        }
    }
}

extension Compute {
    /// Rectified linear unit: `max(x, 0)`.
    fileprivate func relu(_ x: Tensor) -> Tensor {
        var y = x
        y.withUnsafeMutableBuffer { for index in $0.indices { $0[index] = max($0[index], 0) } }
        return y
    }
}
