package import Checkpoint
internal import Plan
package import Tensors

/// The decoder half of the autoencoder: latents to pixels.
///
/// C latent channels, h x w latent pixels, each of which becomes `scale` x `scale` pixels of the picture.
///
/// Source: diffusers `AutoencoderKL`, in its naming:
///
/// | key | field |
/// | --- | --- |
/// | `post_quant_conv` | `postQuantisation` |
/// | `decoder.conv_in` | `convIn` |
/// | `decoder.mid_block.resnets.{0,1}`, `decoder.mid_block.attentions.0` | `middle`, `attention` |
/// | `decoder.up_blocks.I.resnets.J`, `.upsamplers.0.conv` | `levels[I].resnets[J]`, `.upsampler` |
/// | `decoder.conv_norm_out`, `decoder.conv_out` | `normOut`, `convOut` |
package struct Decoder: Sendable {
    /// Every size that shapes the network.
    package let parameters: Parameters
    /// Which latents are decoded in tiles.
    package let tiling: Tiling
    /// Bytes of the weights in memory.
    package let weightBytes: Int

    private let postQuantisation: Convolution?
    private let convIn: Convolution
    private let middle: [ResNet]
    private let attention: SpatialAttention?
    private let levels: [Level]
    private let normOut: GroupNorm
    private let convOut: Convolution
    private let compute: Compute

    /// Reads the decoder from a model's `vae` folder; the encoder's weights are not touched.
    package init(folder: ModelFolder, tiling: Tiling = .standard, compute: Compute) throws(CheckpointError) {
        let p = try Parameters(folder: folder)
        let root = LayerReader(try folder.weights("vae"), compute: compute)
        let decoder = root["decoder"]
        let deepest = p.channels[p.channels.count - 1]

        postQuantisation =
            p.hasPostQuantisation
            ? try root.convolution("post_quant_conv", from: p.latentChannels, to: p.latentChannels, kernel: 1) : nil
        convIn = try decoder.convolution("conv_in", from: p.latentChannels, to: deepest, kernel: 3)
        middle = [
            try ResNet(decoder["mid_block.resnets.0"], p, from: deepest, to: deepest),
            try ResNet(decoder["mid_block.resnets.1"], p, from: deepest, to: deepest),
        ]
        attention = p.attends ? try SpatialAttention(decoder["mid_block.attentions.0"], p, width: deepest) : nil
        var (levels, width): ([Level], Int) = ([], deepest)
        for (index, channels) in p.channels.reversed().enumerated() {
            let isLast = index == p.channels.count - 1
            levels.append(try Level(decoder["up_blocks.\(index)"], p, from: width, to: channels, doubles: !isLast))
            width = channels
        }
        self.levels = levels
        normOut = try GroupNorm(decoder, "conv_norm_out", p, width: width)
        convOut = try decoder.convolution("conv_out", from: width, to: 3, kernel: 3)
        (parameters, self.tiling, self.compute) = (p, tiling, compute)
        weightBytes = root.bytes
    }

    /// Turns a latent, (C, h, w) after scaling and shifting, into a picture of h x w times `scale` pixels.
    ///
    /// `pause` is called between convolutions, where no thread computes: other work may run there, and what it throws ends
    /// the decoding.
    package func decode(_ latent: Tensor, pause: () throws -> Void = {}) rethrows -> Pixels {
        promise(
            latent.shape.count == 3 && latent.shape[0] == parameters.latentChannels && latent.count > 0,
            "latent \(latent.shape), \(parameters.latentChannels) channels expected")
        return Pixels(planes: try tiling.decode(latent, scale: parameters.scale) { try whole($0, pause: pause) })
    }

    /// Decodes without tiles: (3, scale h, scale w).
    ///
    /// `tap` is shown the output of each module.
    func whole(
        _ latent: Tensor, tap: (String, Tensor) -> Void = { _, _ in }, pause: () throws -> Void = {}
    ) rethrows -> Tensor {
        var x = convIn(postQuantisation.map { $0(latent) } ?? latent)  // (deepest, h, w)
        tap("conv_in", x)
        try pause()
        x = try middle[0](x, pause)
        tap("mid_block.resnets.0", x)
        if let attention {
            x = attention(x)
            try pause()
        }
        tap("mid_block.attentions.0", x)
        x = try middle[1](x, pause)
        tap("mid_block", x)
        for (index, level) in levels.enumerated() {
            x = try level(consume x, pause)  // (channels, 2 h, 2 w) but for the last
            tap("up_blocks.\(index)", x)
        }
        x = normOut(x)
        tap("conv_norm_out", x)
        return convOut(compute.silu(inPlaceOf: consume x))  // (3, scale h, scale w)
    }
}

// MARK: - Sizes

extension Decoder {
    /// Every size that shapes the network, checked.
    package struct Parameters: Equatable, Sendable {
        /// C.
        package let latentChannels: Int
        /// Channels of each level, full resolution first.
        package let channels: [Int]
        /// Residual blocks of a level.
        package let resnets: Int
        /// Groups of all group normalisations.
        package let groups: Int
        /// Whether the middle attends over all pixels.
        package let attends: Bool
        /// Whether a 1x1 convolution precedes the decoder.
        package let hasPostQuantisation: Bool
        /// A latent is divided by this when it is decoded.
        package let scalingFactor: Float
        /// Added to a latent after the division.
        package let shiftFactor: Float

        /// Pixels of the picture for one of the latent, along each side.
        package var scale: Int { 1 << (channels.count - 1) }
        /// Of all normalisations; from the source, goldens cannot tell it from 1e-5.
        static let epsilon: Float = 1e-6

        /// Reads `vae/config.json`.
        package init(folder: ModelFolder) throws(CheckpointError) {
            let config = try folder.config("vae", as: Config.self)
            let file = folder.path("vae") + "/config.json"
            func require(_ holds: Bool, _ detail: @autoclosure () -> String) throws(CheckpointError) {
                guard holds else { throw CheckpointError(.configuration(detail: detail()), file: file) }
            }
            latentChannels = config.latentChannels ?? 4
            channels = config.blockOutChannels
            let layers = config.layersPerBlock ?? 1
            try require(1...63 ~= layers, "layers_per_block is \(layers)")
            resnets = layers + 1
            groups = config.normNumGroups ?? 32
            attends = config.midBlockAddAttention ?? true
            hasPostQuantisation = config.usePostQuantConv ?? true
            scalingFactor = config.scalingFactor ?? 0.18215
            shiftFactor = config.shiftFactor ?? 0
            try require(1...1024 ~= latentChannels, "latent_channels is \(latentChannels)")
            try require(
                1...8 ~= channels.count && channels.allSatisfy { 1...65536 ~= $0 }, "block_out_channels is \(channels)")
            try require(
                groups >= 1 && channels.allSatisfy { $0 % groups == 0 },
                "\(groups) groups do not divide block_out_channels \(channels)")
            try require(
                scalingFactor.isFinite && scalingFactor > 0 && shiftFactor.isFinite,
                "scaling_factor is \(scalingFactor), shift_factor \(shiftFactor)")
            try require((config.outChannels ?? 3) == 3, "out_channels is \(config.outChannels ?? 3), 3 expected")
            try require((config.actFn ?? "silu") == "silu", "act_fn is \(config.actFn ?? ""), silu expected")
            let kinds = Set(config.upBlockTypes ?? []).subtracting(["UpDecoderBlock2D"])
            try require(kinds.isEmpty, "up_block_types holds \(kinds.sorted()), only UpDecoderBlock2D works")
        }
    }

    /// `vae/config.json`; defaults are those of `AutoencoderKL`.
    private struct Config: Decodable {
        var latentChannels: Int?
        var blockOutChannels: [Int]
        var layersPerBlock: Int?
        var normNumGroups: Int?
        var midBlockAddAttention: Bool?
        var usePostQuantConv: Bool?
        var scalingFactor: Float?
        var shiftFactor: Float?
        var outChannels: Int?
        var actFn: String?
        var upBlockTypes: [String]?

        enum CodingKeys: String, CodingKey {
            case latentChannels = "latent_channels"
            case blockOutChannels = "block_out_channels"
            case layersPerBlock = "layers_per_block"
            case normNumGroups = "norm_num_groups"
            case midBlockAddAttention = "mid_block_add_attention"
            case usePostQuantConv = "use_post_quant_conv"
            case scalingFactor = "scaling_factor"
            case shiftFactor = "shift_factor"
            case outChannels = "out_channels"
            case actFn = "act_fn"
            case upBlockTypes = "up_block_types"
        }
    }
}

// MARK: - Layers

/// Group normalisation with its scale and shift.
private struct GroupNorm {
    let weight: Tensor
    let bias: Tensor
    let groups: Int
    let compute: Compute

    init(_ reader: LayerReader, _ name: String, _ p: Decoder.Parameters, width: Int) throws(CheckpointError) {
        weight = try reader.tensor(name + ".weight", [width])
        bias = try reader.tensor(name + ".bias", [width])
        groups = p.groups
        compute = reader.compute
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
        compute.groupNorm(x, groups: groups, weight: weight, bias: bias, epsilon: Decoder.Parameters.epsilon)
    }
}

/// A residual block: twice norm, SiLU, 3x3 convolution; a 1x1 convolution fits the input where widths differ.
private struct ResNet {
    let norm1: GroupNorm
    let conv1: Convolution
    let norm2: GroupNorm
    let conv2: Convolution
    let shortcut: Convolution?
    let compute: Compute

    init(_ reader: LayerReader, _ p: Decoder.Parameters, from inputs: Int, to outputs: Int) throws(CheckpointError) {
        norm1 = try GroupNorm(reader, "norm1", p, width: inputs)
        conv1 = try reader.convolution("conv1", from: inputs, to: outputs, kernel: 3)
        norm2 = try GroupNorm(reader, "norm2", p, width: outputs)
        conv2 = try reader.convolution("conv2", from: outputs, to: outputs, kernel: 3)
        shortcut =
            inputs == outputs ? nil : try reader.convolution("conv_shortcut", from: inputs, to: outputs, kernel: 1)
        compute = reader.compute
    }

    func callAsFunction(_ x: Tensor, _ pause: () throws -> Void) rethrows -> Tensor {
        let half = conv1(compute.silu(inPlaceOf: norm1(x)))
        try pause()
        let branch = conv2(compute.silu(inPlaceOf: norm2(half)))
        try pause()
        return compute.sum(shortcut.map { $0(x) } ?? x, branch)
    }
}

/// One head of attention over all pixels, added to its input.
private struct SpatialAttention {
    let norm: GroupNorm
    let q: Linear
    let k: Linear
    let v: Linear
    let out: Linear
    let compute: Compute

    init(_ reader: LayerReader, _ p: Decoder.Parameters, width: Int) throws(CheckpointError) {
        norm = try GroupNorm(reader, "group_norm", p, width: width)
        q = try reader.linear("to_q", from: width, to: width)
        k = try reader.linear("to_k", from: width, to: width)
        v = try reader.linear("to_v", from: width, to: width)
        out = try reader.linear("to_out.0", from: width, to: width)
        compute = reader.compute
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
        let (channels, pixels) = (x.shape[0], x.shape[1] * x.shape[2])
        let rows = norm(x).reshaped([channels, pixels]).transposed()  // (h w, channels)
        func head(_ layer: Linear) -> Tensor { layer(rows).reshaped([pixels, 1, channels]) }
        let attended = compute.attention(q: head(q), k: head(k), v: head(v), scale: 1 / Float(channels).squareRoot())
        let branch = out(attended.reshaped([pixels, channels])).transposed()  // (channels, h w)
        return compute.sum(x, branch.reshaped(x.shape))
    }
}

/// The residual blocks of one resolution and the step to the next.
private struct Level {
    let resnets: [ResNet]
    let upsampler: Convolution?
    let compute: Compute

    init(
        _ reader: LayerReader, _ p: Decoder.Parameters, from inputs: Int, to outputs: Int, doubles: Bool
    ) throws(CheckpointError) {
        var resnets: [ResNet] = []
        for index in 0..<p.resnets {
            resnets.append(try ResNet(reader["resnets.\(index)"], p, from: index == 0 ? inputs : outputs, to: outputs))
        }
        self.resnets = resnets
        upsampler = doubles ? try reader.convolution("upsamplers.0.conv", from: outputs, to: outputs, kernel: 3) : nil
        compute = reader.compute
    }

    /// Takes its input over: at full resolution that would be the largest tensor beside what the later blocks need.
    func callAsFunction(_ input: consuming Tensor, _ pause: () throws -> Void) rethrows -> Tensor {
        var x = input
        for resnet in resnets { x = try resnet(x, pause) }
        guard let upsampler else { return x }
        let y = upsampler(compute.doubled(x))
        try pause()
        return y
    }
}
