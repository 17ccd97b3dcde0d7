internal import Plan
internal import Tensors

/// What stays the same while one picture is sampled.
struct Recipe: Equatable, Sendable {
    /// Pixels across and down.
    let width: Int
    let height: Int
    let seed: UInt64
    let method: SamplerSettings
    /// The latent's scale and shift: `decoder input = x / scale + shift`.
    let scale: Float
    let shift: Float
    /// Noise levels of each stage, one more than it has steps.
    let sigmas: [[Double]]

    /// RALU's constants; nil for Euler.
    var ralu: RALUSettings? {
        if case .ralu(let settings) = method { settings } else { nil }
    }

    /// Rows and columns of tokens at full resolution.
    var rows: Int { height / 16 }
    var columns: Int { width / 16 }

    /// Coarse tokens that are split at the first transition: truncated, and the same number everywhere.
    var refined: Int { Int(Double(rows * columns / 4) * (ralu?.upRatio ?? 0)) }

    /// Tokens that the network sees in each stage.
    var tokens: [Int] {
        let full = rows * columns
        return ralu == nil ? [full] : [full / 4, full / 4 + 3 * refined, full]
    }

    /// Initial noise of the full resolution, (16, height / 8, width / 8): what `torch.randn` gives for the seed.
    ///
    /// RALU keeps every fourth value of it, so that a seed means the same noise for every sampler.
    func fullNoise(_ injected: InjectedNoise?) -> Tensor {
        if let latent = injected?.latentsUnpacked { return latent }
        if let tokens = injected?.latents { return Packing.latent(of: tokens, rows: rows, columns: columns) }
        let shape = [Packing.channels, height / 8, width / 8]
        return torchRandn(seed: seed, count: shape.reduce(1, *)).reshaped(shape)
    }

    /// What the first step starts from.
    func start(_ injected: InjectedNoise?) -> Latents {
        let noise = fullNoise(injected)
        guard ralu != nil else {
            return Latents(tokens: Packing.tokens(of: noise), positions: Latents.grid(rows: rows, columns: columns))
        }
        return Latents(
            tokens: Packing.tokens(of: Packing.subsampled(noise)),
            positions: Latents.grid(rows: rows / 2, columns: columns / 2))
    }

    /// The decoder input of a picture of all tokens in raster order; half the size if `coarse`.
    func decoderInput(_ tokens: Tensor, coarse: Bool = false) -> Tensor {
        let latent = Packing.latent(of: tokens, rows: coarse ? rows / 2 : rows, columns: coarse ? columns / 2 : columns)
        return Packing.decoderInput(latent, scale: scale, shift: shift)
    }

    /// How stage `stage` (from 0) hands over to the next.
    func transition(after stage: Int, _ settings: RALUSettings) -> Transition {
        Transition(end: settings.ends[stage], z: settings.z)
    }

    /// Noise that the transition after `stage` (from 0) injects.
    func injection(after stage: Int, _ settings: RALUSettings) -> InjectionNoise {
        InjectionNoise(
            seed: seed, transition: stage + 1, columns: columns,
            correlation: transition(after: stage, settings).correlation, upsampling: settings.upsampling,
            idle: settings.idleNoise)
    }
}
