package import Checkpoint
internal import Plan
package import Tensors

/// The transformer of FLUX.1 (dev and schnell), or the part of it that one span of blocks needs.
///
/// N image tokens, T text tokens, D width, H heads, W = D / H. Where text and image are joined, text stands first.
/// A double block keeps separate weights for text and image and joins them in attention; a single block treats the
/// joined rows alike. Blocks are numbered through: double ones first.
///
/// The blocks' projections, MLPs and attention compute in the format of `Compute`; what is sensitive stays f32: embedders,
/// modulation, norms, the residual stream and the head.
///
/// Source: the published FLUX.1 weights in diffusers' naming, `FluxTransformer2DModel`:
///
/// | key | field |
/// | --- | --- |
/// | `x_embedder`, `context_embedder` | `Embedders.image`, `.text` |
/// | `time_text_embed.{timestep,guidance,text}_embedder` | `Embedders.time`, `.guidance`, `.pooled` |
/// | `transformer_blocks.I.norm1`, `norm1_context` | `DoubleBlock.image.modulation`, `.text.modulation` |
/// | `transformer_blocks.I.attn.to_{q,k,v}`, `attn.add_{q,k,v}_proj` | `.image.heads`, `.text.heads` |
/// | `transformer_blocks.I.attn.norm_{q,k}`, `attn.norm_added_{q,k}` | `.image.heads`, `.text.heads` |
/// | `transformer_blocks.I.attn.to_out.0`, `attn.to_add_out` | `.image.out`, `.text.out` |
/// | `transformer_blocks.I.ff`, `ff_context` | `.image.up`, `.down`, `.text.up`, `.down` |
/// | `single_transformer_blocks.I.norm` | `SingleBlock.modulation` |
/// | `single_transformer_blocks.I.attn.{to_q,to_k,to_v,norm_q,norm_k}` | `SingleBlock.heads` |
/// | `single_transformer_blocks.I.proj_mlp` | `SingleBlock.up` |
/// | `single_transformer_blocks.I.proj_out` | `SingleBlock.outOfAttention`, `.outOfMLP` |
/// | `norm_out.linear`, `proj_out` | `Head.modulation`, `.out` |
package struct Flux: Sendable {
    /// Every size that shapes the network.
    package let parameters: Parameters
    /// Blocks whose weights are here.
    package let span: Range<Int>
    /// Bytes of the weights here in memory.
    package let weightBytes: Int

    private let embedders: Embedders?
    private let doubleBlocks: [DoubleBlock]
    private let singleBlocks: [SingleBlock]
    private let head: Head?
    private let compute: Compute

    /// Reads the weights of a span from a model's `transformer` folder: all blocks when `span` is nil.
    ///
    /// The embedders are read with the first block, the head with the last, and nothing else is touched.
    package init(folder: ModelFolder, span: Range<Int>? = nil, compute: Compute) throws(CheckpointError) {
        try self.init(
            parameters: Parameters(folder: folder), weights: folder.weights("transformer"), span: span,
            compute: compute)
    }

    /// Reads the weights of a span: all blocks when it is nil.
    ///
    /// - Precondition: the span is not empty and within the network.
    package init(
        parameters: Parameters, weights: WeightFiles, span: Range<Int>? = nil, compute: Compute
    ) throws(CheckpointError) {
        let (p, span) = (parameters, span ?? 0..<parameters.blockCount)
        promise(!span.isEmpty && span.upperBound <= p.blockCount, "blocks \(span) of \(p.blockCount)")
        let root = LayerReader(weights, compute: compute)
        var (doubles, singles): ([DoubleBlock], [SingleBlock]) = ([], [])
        for index in span {
            if index < p.doubleCount {
                doubles.append(try DoubleBlock(root["transformer_blocks.\(index)"], p))
            } else {
                singles.append(try SingleBlock(root["single_transformer_blocks.\(index - p.doubleCount)"], p))
            }
        }
        embedders = span.lowerBound == 0 ? try Embedders(root, p) : nil
        head = span.upperBound == p.blockCount ? try Head(root, p) : nil
        (doubleBlocks, singleBlocks) = (doubles, singles)
        (self.parameters, self.span, self.compute) = (p, span, compute)
        weightBytes = root.bytes
    }

    /// Starts a forward pass: the tokens' features before the first block.
    ///
    /// `sigma` is the noise level, 1 for pure noise; `guidance` has no effect on a network that takes none.
    ///
    /// - Precondition: block 0 is in the span.
    package func embed(_ latents: Latents, _ conditioning: Conditioning, sigma: Float, guidance: Float) -> Stream {
        guard let embedders else { fatalError("no embedders with blocks \(span)") }
        return Stream(
            text: embedders.text(conditioning.context),  // (T, D)
            image: embedders.image(latents.tokens),  // (N, D)
            vector: embedders.vector(sigma, guidance, conditioning.pooled),  // (D)
            positions: latents.positions)  // (N, 3)
    }

    /// Runs some blocks of the span; `onBlock` is told each index when that block is done.
    package func run(blocks: Range<Int>, _ stream: inout Stream, onBlock: (Int) -> Void = { _ in }) {
        promise(
            blocks.isEmpty || span.lowerBound <= blocks.lowerBound && blocks.upperBound <= span.upperBound,
            "blocks \(blocks) of \(span)")
        let text = stream.text.shape[0]  // T
        let rotation = self.rotation(text: text, image: stream.positions)  // (T + N, W / 2)
        let modulator = compute.silu(stream.vector)  // (D)

        let doubles = blocks.clamped(to: 0..<parameters.doubleCount)
        for index in doubles {
            doubleBlocks[index - span.lowerBound](&stream, modulator, rotation)
            onBlock(index)
        }
        let singles = blocks.clamped(to: parameters.doubleCount..<parameters.blockCount)
        guard !singles.isEmpty else { return }
        var joined = concatenated(stream.text, stream.image)  // (T + N, D)
        // Not both at once in memory: an activation has tens of megabytes.
        (stream.text, stream.image) = (Tensor(shape: [0, joined.shape[1]]), Tensor(shape: [0, joined.shape[1]]))
        for index in singles {
            singleBlocks[index - max(span.lowerBound, parameters.doubleCount)](&joined, modulator, rotation)
            onBlock(index)
        }
        stream.text = joined.rows(0..<text)
        stream.image = joined.rows(text..<joined.shape[0])
    }

    /// Ends a forward pass: the velocity of each image token, (N, 64).
    ///
    /// - Precondition: the last block is in the span.
    package func head(_ stream: Stream) -> Tensor {
        guard let head else { fatalError("no head with blocks \(span)") }
        return head.out(head.normalised(stream))
    }

    /// What the head projects, (N, D).
    func normalisedForHead(_ stream: Stream) -> Tensor? { head?.normalised(stream) }

    /// Rotary table of text at the origin, then image tokens at their positions.
    func rotation(text: Int, image positions: Tensor) -> Rotation {
        Rotation(positions: concatenated(Tensor(shape: [text, 3]), positions), axes: parameters.axes)
    }
}

// MARK: - Sizes

extension Flux {
    /// Every size that shapes the network, checked.
    package struct Parameters: Equatable, Sendable {
        /// H.
        package let heads: Int
        /// W: channels of one head.
        package let headWidth: Int
        /// Blocks with separate weights for text and image.
        package let doubleCount: Int
        /// Blocks with common weights.
        package let singleCount: Int
        /// Channels of the sequence encoder's output.
        package let contextWidth: Int
        /// Channels of the pooled encoder's output.
        package let pooledWidth: Int
        /// Whether the guidance strength is an input (dev) or not (schnell).
        package let takesGuidance: Bool
        /// Channels of a head that each axis of the positions rotates.
        package let axes: [Int]

        /// D.
        package var width: Int { heads * headWidth }
        /// Blocks of both kinds.
        package var blockCount: Int { doubleCount + singleCount }
        /// Values of one packed latent token: 2 x 2 pixels of 16 channels.
        package static let tokenWidth = 64
        /// Hidden channels of an MLP as a multiple of D.
        static let expansion = 4
        /// Channels of the sinusoids that carry time and guidance.
        static let sinusoids = 256
        /// Of all normalisations; from the source, goldens cannot tell it from 1e-5.
        static let epsilon: Float = 1e-6

        /// Reads `transformer/config.json`.
        package init(folder: ModelFolder) throws(CheckpointError) {
            let config = try folder.config("transformer", as: Config.self)
            let file = folder.path("transformer") + "/config.json"
            func refuse(_ detail: String) -> CheckpointError {
                CheckpointError(.configuration(detail: detail), file: file)
            }
            func bounded(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(CheckpointError) -> Int {
                guard range.contains(value) else { throw refuse("\(name) is \(value), \(range) expected") }
                return value
            }
            let (inputs, outputs) = (config.inChannels, config.outChannels ?? config.inChannels)
            guard inputs == Self.tokenWidth, outputs == Self.tokenWidth else {
                throw refuse(
                    "it has \(inputs) input and \(outputs) output channels; only FLUX.1-dev and FLUX.1-schnell work, "
                        + "which have \(Self.tokenWidth)")
            }
            let patch = config.patchSize ?? 1
            guard patch == 1 else { throw refuse("patch_size is \(patch), 1 expected") }
            heads = try bounded("num_attention_heads", config.numAttentionHeads, 1...1024)
            headWidth = try bounded("attention_head_dim", config.attentionHeadDim, 2...1024)
            doubleCount = try bounded("num_layers", config.numLayers, 0...1000)
            singleCount = try bounded("num_single_layers", config.numSingleLayers, 0...1000)
            contextWidth = try bounded("joint_attention_dim", config.jointAttentionDim, 1...65536)
            pooledWidth = try bounded("pooled_projection_dim", config.pooledProjectionDim, 1...65536)
            takesGuidance = config.guidanceEmbeds ?? false
            axes = config.axesDimsRope ?? [16, 56, 56]
            guard doubleCount + singleCount > 0 else { throw refuse("it has no blocks") }
            guard axes.count == 3, axes.allSatisfy({ $0 >= 0 && $0 % 2 == 0 && $0 <= headWidth }),
                axes.reduce(0, +) == headWidth
            else { throw refuse("axes_dims_rope \(axes) should be three even numbers whose sum is \(headWidth)") }
        }
    }

    /// `transformer/config.json`.
    private struct Config: Decodable {
        var attentionHeadDim: Int
        var numAttentionHeads: Int
        var numLayers: Int
        var numSingleLayers: Int
        var inChannels: Int
        var outChannels: Int?
        var patchSize: Int?
        var jointAttentionDim: Int
        var pooledProjectionDim: Int
        var guidanceEmbeds: Bool?
        var axesDimsRope: [Int]?

        enum CodingKeys: String, CodingKey {
            case attentionHeadDim = "attention_head_dim"
            case numAttentionHeads = "num_attention_heads"
            case numLayers = "num_layers"
            case numSingleLayers = "num_single_layers"
            case inChannels = "in_channels"
            case outChannels = "out_channels"
            case patchSize = "patch_size"
            case jointAttentionDim = "joint_attention_dim"
            case pooledProjectionDim = "pooled_projection_dim"
            case guidanceEmbeds = "guidance_embeds"
            case axesDimsRope = "axes_dims_rope"
        }
    }
}

// MARK: - Before the blocks

/// Everything in front of block 0.
private struct Embedders {
    let image: Linear
    let text: Linear
    let time: TwoLayers
    let guidance: TwoLayers?
    let pooled: TwoLayers
    let compute: Compute

    init(_ root: LayerReader, _ p: Flux.Parameters) throws(CheckpointError) {
        let embed = root["time_text_embed"]
        image = try root.linear("x_embedder", from: Flux.Parameters.tokenWidth, to: p.width)
        text = try root.linear("context_embedder", from: p.contextWidth, to: p.width)
        time = try TwoLayers(embed["timestep_embedder"], from: Flux.Parameters.sinusoids, to: p.width)
        guidance =
            p.takesGuidance
            ? try TwoLayers(embed["guidance_embedder"], from: Flux.Parameters.sinusoids, to: p.width) : nil
        pooled = try TwoLayers(embed["text_embedder"], from: p.pooledWidth, to: p.width)
        compute = root.compute
    }

    /// The modulating vector, (D).
    ///
    /// The network was trained on time and guidance multiplied by 1000.
    func vector(_ sigma: Float, _ guidance: Float, _ text: Tensor) -> Tensor {
        var sum = time(sinusoids(of: sigma * 1000, count: Flux.Parameters.sinusoids))
        if let embedded = self.guidance?(sinusoids(of: guidance * 1000, count: Flux.Parameters.sinusoids)) {
            sum = compute.sum(sum, embedded)
        }
        return compute.sum(sum, pooled(text))
    }
}

/// Linear, SiLU, linear.
private struct TwoLayers {
    let first: Linear
    let second: Linear
    let compute: Compute

    init(_ reader: LayerReader, from inputs: Int, to width: Int) throws(CheckpointError) {
        first = try reader.linear("linear_1", from: inputs, to: width)
        second = try reader.linear("linear_2", from: width, to: width)
        compute = reader.compute
    }

    func callAsFunction(_ x: Tensor) -> Tensor { second(compute.silu(first(x))) }
}

// MARK: - Blocks

/// Three of the vectors that a block draws from time, guidance and pooled text: each (D).
struct Modulation {
    /// Added to the normalised rows.
    let shift: Tensor
    /// Multiplies the normalised rows, as 1 + scale.
    let scale: Tensor
    /// Multiplies what the branch adds to the stream.
    let gate: Tensor

    /// Cuts a layer's output, (D * 3 * n), into n modulations in the order shift, scale, gate.
    static func cut(_ vectors: Tensor, width: Int) -> [Modulation] {
        let rows = vectors.reshaped([vectors.count / width, width])
        func row(_ index: Int) -> Tensor { rows.rows(index..<index + 1).reshaped([width]) }
        return stride(from: 0, to: rows.shape[0], by: 3).map {
            Modulation(shift: row($0), scale: row($0 + 1), gate: row($0 + 2))
        }
    }
}

/// Queries, keys and values of some rows: each (rows, H, W).
private struct Attended {
    var q: Tensor
    var k: Tensor
    var v: Tensor

    /// To be written by `Heads.project`.
    init(rows: Int, heads: Int, width: Int) {
        q = Tensor(uninitialized: [rows, heads, width])
        k = Tensor(uninitialized: [rows, heads, width])
        v = Tensor(uninitialized: [rows, heads, width])
    }
}

/// Projections to heads, and the norms of queries and keys.
private struct Heads {
    let q: Linear
    let k: Linear
    let v: Linear
    let qNorm: Tensor
    let kNorm: Tensor

    /// `names` are those of q, k, v and of the norms of q and k.
    init(_ reader: LayerReader, _ p: Flux.Parameters, _ names: [String]) throws(CheckpointError) {
        let format = reader.compute.format
        q = try reader.linear(names[0], from: p.width, to: p.width, format: format)
        k = try reader.linear(names[1], from: p.width, to: p.width, format: format)
        v = try reader.linear(names[2], from: p.width, to: p.width, format: format)
        qNorm = try reader.tensor(names[3] + ".weight", [p.headWidth])
        kNorm = try reader.tensor(names[4] + ".weight", [p.headWidth])
    }

    /// Projects x, (M, D), to the rows of `all` from `row` on.
    func project(_ x: Operand, into all: inout Attended, from row: Int) {
        q.write(x, into: &all.q, from: row)
        k.write(x, into: &all.k, from: row)
        v.write(x, into: &all.v, from: row)
    }
}

extension Compute {
    /// Normalises and rotates queries and keys, then attends over all rows: (rows, D).
    ///
    /// Each part of the rows has its norms.
    fileprivate func attention(
        _ x: consuming Attended, _ parts: [(rows: Range<Int>, heads: Heads)], _ rotation: Rotation
    ) -> Tensor {
        let (rows, heads, width) = (x.q.shape[0], x.q.shape[1], x.q.shape[2])
        let epsilon = Flux.Parameters.epsilon
        normaliseAndRotate(&x.q, parts: parts.map { ($0.rows, $0.heads.qNorm) }, by: rotation, epsilon: epsilon)
        normaliseAndRotate(&x.k, parts: parts.map { ($0.rows, $0.heads.kNorm) }, by: rotation, epsilon: epsilon)
        return attention(q: x.q, k: x.k, v: x.v, scale: 1 / Float(width).squareRoot(), format: format)
            .reshaped([rows, heads * width])
    }
}

/// A block with separate weights for text and image that meet in attention.
private struct DoubleBlock {
    let image: Side
    let text: Side
    let parameters: Flux.Parameters
    let compute: Compute

    init(_ reader: LayerReader, _ p: Flux.Parameters) throws(CheckpointError) {
        image = try Side(
            reader, p, modulation: "norm1.linear", heads: ["to_q", "to_k", "to_v", "norm_q", "norm_k"],
            out: "attn.to_out.0", mlp: "ff.net")
        text = try Side(
            reader, p, modulation: "norm1_context.linear",
            heads: ["add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"],
            out: "attn.to_add_out", mlp: "ff_context.net")
        (parameters, compute) = (p, reader.compute)
    }

    func callAsFunction(_ stream: inout Stream, _ modulator: Tensor, _ rotation: Rotation) {
        let textModulation = Modulation.cut(text.modulation(modulator), width: modulator.count)
        let imageModulation = Modulation.cut(image.modulation(modulator), width: modulator.count)

        let (rows, count) = (stream.text.shape[0], stream.text.shape[0] + stream.image.shape[0])  // T, T + N
        var all = Attended(rows: count, heads: parameters.heads, width: parameters.headWidth)
        text.heads.project(text.modulated(stream.text, textModulation[0]), into: &all, from: 0)
        image.heads.project(image.modulated(stream.image, imageModulation[0]), into: &all, from: rows)
        let attended = compute.attention(
            consume all, [(0..<rows, text.heads), (rows..<count, image.heads)], rotation)  // (T + N, D)

        text.finish(&stream.text, attended, rows: 0..<rows, textModulation)
        image.finish(&stream.image, attended, rows: rows..<count, imageModulation)
    }

    /// The weights of one of the two.
    struct Side {
        let modulation: Linear
        let heads: Heads
        let out: Linear
        let up: Linear
        let down: Linear
        let compute: Compute

        init(
            _ reader: LayerReader, _ p: Flux.Parameters, modulation: String, heads: [String], out: String, mlp: String
        ) throws(CheckpointError) {
            let (width, hidden) = (p.width, p.width * Flux.Parameters.expansion)
            self.modulation = try reader.linear(modulation, from: width, to: 6 * width)
            self.heads = try Heads(reader["attn"], p, heads)
            compute = reader.compute
            let format = compute.format
            self.out = try reader.linear(out, from: width, to: width, format: format)
            up = try reader.linear(mlp + ".0.proj", from: width, to: hidden, format: format)
            down = try reader.linear(mlp + ".2", from: hidden, to: width, format: format)
        }

        func modulated(_ x: Tensor, _ m: Modulation) -> Operand {
            compute.modulatedNorm(
                x, shift: m.shift, scale: m.scale, epsilon: Flux.Parameters.epsilon, format: compute.format)
        }

        /// Adds what attention found, then the MLP of the result; the first modulation is attention's.
        func finish(_ x: inout Tensor, _ attended: Tensor, rows: Range<Int>, _ modulations: [Modulation]) {
            let (attention, mlp, format) = (modulations[0], modulations[1], compute.format)
            out.addGated(compute.operand(attended, rows: rows, format: format), to: &x, gate: attention.gate)
            down.addGated(up.geluTanh(modulated(x, mlp), format: format), to: &x, gate: mlp.gate)
        }
    }
}

/// A block whose attention and MLP read the same rows and are projected together.
private struct SingleBlock {
    let modulation: Linear
    let heads: Heads
    let up: Linear
    let outOfAttention: Linear
    let outOfMLP: Linear
    let parameters: Flux.Parameters
    let compute: Compute

    init(_ reader: LayerReader, _ p: Flux.Parameters) throws(CheckpointError) {
        let (width, hidden) = (p.width, p.width * Flux.Parameters.expansion)
        (parameters, compute) = (p, reader.compute)
        modulation = try reader.linear("norm.linear", from: width, to: 3 * width)
        heads = try Heads(reader["attn"], p, ["to_q", "to_k", "to_v", "norm_q", "norm_k"])
        up = try reader.linear("proj_mlp", from: width, to: hidden, format: compute.format)
        // The checkpoint multiplies [attention, MLP] by one matrix; two matrices spare joining rows of 5 D channels.
        let weight = try reader.raw("proj_out.weight", [width, width + hidden])
        let bias = try reader.raw("proj_out.bias", [width])
        outOfAttention = reader.linear(columns(0..<width, of: weight), bias: bias, format: compute.format)
        outOfMLP = reader.linear(columns(width..<width + hidden, of: weight), bias: nil, format: compute.format)
    }

    func callAsFunction(_ x: inout Tensor, _ modulator: Tensor, _ rotation: Rotation) {
        let (rows, format) = (x.shape[0], compute.format)  // T + N
        let m = Modulation.cut(modulation(modulator), width: modulator.count)[0]
        let normed = compute.modulatedNorm(
            x, shift: m.shift, scale: m.scale, epsilon: Flux.Parameters.epsilon, format: format)
        var all = Attended(rows: rows, heads: parameters.heads, width: parameters.headWidth)
        heads.project(normed, into: &all, from: 0)
        let attended = compute.operand(compute.attention(consume all, [(0..<rows, heads)], rotation), format: format)
        outOfMLP.addGated(
            up.geluTanh(normed, format: format), and: outOfAttention(attended), to: &x, gate: m.gate)
    }
}

// MARK: - After the blocks

/// Everything behind the last block.
private struct Head {
    let modulation: Linear
    let out: Linear
    let compute: Compute

    init(_ root: LayerReader, _ p: Flux.Parameters) throws(CheckpointError) {
        modulation = try root.linear("norm_out.linear", from: p.width, to: 2 * p.width)
        out = try root.linear("proj_out", from: p.width, to: Flux.Parameters.tokenWidth)
        compute = root.compute
    }

    /// Here, unlike in the blocks, the scale comes before the shift.
    func normalised(_ stream: Stream) -> Tensor {
        let vectors = modulation(compute.silu(stream.vector)).reshaped([2, stream.vector.count])
        func row(_ index: Int) -> Tensor { vectors.rows(index..<index + 1).reshaped([stream.vector.count]) }
        return compute.modulatedNorm(stream.image, shift: row(1), scale: row(0), epsilon: Flux.Parameters.epsilon)
    }
}
