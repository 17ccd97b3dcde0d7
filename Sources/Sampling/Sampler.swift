package import Plan
package import Tensors

/// Walks from noise to picture, as a value: it says what it needs next and is given the answer.
///
///     var sampler = try Sampler(request: request, facts: facts)
///     loop: while true {
///         switch sampler.demand {
///         case .velocity(let latents, let sigma, _, _): try sampler.supply(velocity: network(latents, sigma))
///         case .decode(let latent): try sampler.supply(decoded: decoder(latent))
///         case .finished(let latent): break loop   // decode it and be done
///         }
///     }
///
/// It has no model, socket, clock or generator: copying it is a checkpoint, dropping it is cancelling, and a copy given
/// the same answers makes the same bits. Source: flow-match Euler; RALU, arXiv 2507.08422.
package struct Sampler: Equatable, Sendable {
    enum Phase: Equatable, Sendable {
        /// Waits for the velocity of one step; both count from 0.
        case denoising(stage: Int, step: Int)
        /// Waits for the picture of this estimate of the clean coarse tokens.
        case lookingForEdges(estimate: Tensor)
        case finished
    }

    let recipe: Recipe
    var phase: Phase
    var latents: Latents
    /// Noise from outside that is still to be used.
    var injected: InjectedNoise?

    /// Prepares the first step.
    ///
    /// Refuses requests that cannot work: see `Sampler.check(_:facts:)`, and injected tensors of other shapes.
    package init(
        request: ImageRequest, facts: ModelFacts, injected: InjectedNoise? = nil
    ) throws(SamplingError) {
        try Self.check(request, facts: facts)
        let sigmas =
            switch request.sampler {
            case .euler(let steps): [Schedule.euler(steps: steps, tokens: request.fullTokens, facts: facts.schedule)]
            case .ralu(let settings): Schedule.ralu(settings)
            }
        recipe = Recipe(
            width: request.width, height: request.height, seed: request.seed, method: request.sampler,
            scale: facts.scalingFactor, shift: facts.shiftFactor, sigmas: sigmas)
        if let injected { try Self.check(injected, for: recipe) }
        phase = .denoising(stage: 0, step: 0)
        latents = recipe.start(injected)
        self.injected = injected
        if recipe.ralu == nil {
            self.injected = injected.map { InjectedNoise(latentsUnpacked: $0.latentsUnpacked, latents: $0.latents) }
        }
    }

    /// What is needed to go on.
    package var demand: Demand {
        switch phase {
        case .denoising(let stage, let step):
            .velocity(latents, sigma: Schedule.told(recipe.sigmas[stage][step]), stage: stage + 1, step: step)
        case .lookingForEdges(let estimate): .decode(recipe.decoderInput(estimate, coarse: true))
        case .finished: .finished(recipe.decoderInput(latents.tokens))
        }
    }

    /// Takes one Euler step with the velocity that `demand` asked for, and goes through a transition if a stage ends.
    ///
    /// - Precondition: the demand is a velocity, and the answer's shape is that of its tokens.
    /// - Throws: `SamplingError` when it holds values that are not numbers; the sampler is as it was before.
    package mutating func supply(velocity: Tensor, trace: Trace? = nil) throws(SamplingError) {
        guard case .denoising(let stage, let step) = phase else { fatalError("no velocity was asked for") }
        promise(
            velocity.shape == latents.tokens.shape, "velocity \(velocity.shape) for tokens \(latents.tokens.shape)")
        try check(velocity, step: self.step + 1) { "token \($0 / Packing.tokenWidth + 1) of \(velocity.shape[0])" }
        let sigmas = recipe.sigmas[stage]
        trace?.recordStart(of: self, stage: stage, step: step)
        latents.tokens = Self.moved(latents.tokens, along: velocity, by: Float(sigmas[step + 1] - sigmas[step]))
        trace?.recordStep(of: self, stage: stage, step: step, velocity: velocity)
        injected?.latentsUnpacked = nil
        injected?.latents = nil

        if step + 2 < sigmas.count {
            phase = .denoising(stage: stage, step: step + 1)
        } else if stage + 1 == recipe.sigmas.count {
            phase = .finished
            trace?.recordEnd(of: self)
        } else if stage == 0 {
            // After the step, x - sigma v with the new sigma is the same estimate as before it with the old one.
            let sigma = Float(sigmas[step + 1])
            phase = .lookingForEdges(estimate: Self.moved(latents.tokens, along: velocity, by: -sigma))
        } else {
            enterLastStage(trace)
        }
    }

    /// Refines the tokens where the decoded estimate has edges, and enters stage 2.
    ///
    /// - Precondition: the demand is a decode, and the picture is half as wide and high as the final one.
    /// - Throws: `SamplingError` when it holds values that are not numbers; the sampler is as it was before.
    package mutating func supply(decoded: Pixels, trace: Trace? = nil) throws(SamplingError) {
        guard case .lookingForEdges = phase, let settings = recipe.ralu else {
            fatalError("no picture was asked for")
        }
        promise(
            decoded.width == recipe.width / 2 && decoded.height == recipe.height / 2,
            "a picture of \(decoded.width)x\(decoded.height) for half of \(recipe.width)x\(recipe.height)")
        try check(decoded.planes, step: step) { decoded.place(of: $0) + " of the picture that edges are looked for in" }
        let map = EdgeMap(decoded, range: settings.gray)
        let selected =
            injected?.tieNoise.map { EdgeMap.selection(recipe.refined, noisySums: map.noisySums($0)) }
            ?? map.selection(recipe.refined, seed: recipe.seed)
        trace?.recordEdges(of: self, decoded: decoded, map: map, selected: selected)

        latents = TokenSplit.refined(latents, selected: selected, upsampling: settings.upsampling)
        let fresh = latents.count - 4 * selected.count..<latents.count
        let noise =
            injected?.noiseStage2
            ?? recipe.injection(after: 0, settings)(positions: latents.positions, scale: 2, fresh: fresh)
        trace?.recordBatch("noise_stage2", noise)
        latents.tokens = Self.renoised(latents.tokens, noise, recipe.transition(after: 0, settings))
        injected?.tieNoise = nil
        injected?.noiseStage2 = nil
        phase = .denoising(stage: 1, step: 0)
    }

    /// Splits the tokens that are still coarse, and enters stage 3 in raster order.
    private mutating func enterLastStage(_ trace: Trace?) {
        guard let settings = recipe.ralu else { fatalError("only RALU has several stages") }
        let coarse = recipe.tokens[0] - recipe.refined
        latents = TokenSplit.completed(latents, coarse: coarse, upsampling: settings.upsampling)
        let noise =
            injected?.noiseStage3
            ?? recipe.injection(after: 1, settings)(positions: latents.positions, scale: 1, fresh: 0..<4 * coarse)
        trace?.recordBatch("noise_stage3", noise)
        latents.tokens = Self.renoised(latents.tokens, noise, recipe.transition(after: 1, settings))
        latents = TokenSplit.rasterSorted(latents)
        injected = nil
        phase = .denoising(stage: 2, step: 0)
    }

    /// `x + distance * v`.
    private static func moved(_ x: Tensor, along v: Tensor, by distance: Float) -> Tensor {
        var result = x
        v.withUnsafeBuffer { v in
            result.withUnsafeMutableBuffer { x in
                for index in x.indices { x[index] += distance * v[index] }
            }
        }
        return result
    }

    /// `signal * x + noise * z`.
    private static func renoised(_ x: Tensor, _ z: Tensor, _ transition: Transition) -> Tensor {
        let (signal, strength) = (Float(transition.signal), Float(transition.noise))
        var result = x
        z.withUnsafeBuffer { z in
            result.withUnsafeMutableBuffer { x in
                for index in x.indices { x[index] = signal * x[index] + strength * z[index] }
            }
        }
        return result
    }
}

extension Sampler {
    /// Network calls made so far.
    package var step: Int {
        switch phase {
        case .denoising(let stage, let step): stepsBefore(stage) + step
        case .lookingForEdges: stepsBefore(1)
        case .finished: totalSteps
        }
    }

    /// Network calls of the whole picture.
    package var totalSteps: Int { stepsBefore(recipe.sigmas.count) }

    /// Image tokens that the network has worked on so far, summed over calls.
    package var tokenSteps: Int {
        var (left, sum) = (step, 0)
        for (sigmas, tokens) in zip(recipe.sigmas, recipe.tokens) {
            let taken = min(left, sigmas.count - 1)
            sum += taken * tokens
            left -= taken
        }
        return sum
    }

    /// Image tokens that the network works on for the whole picture, summed over calls.
    package var totalTokenSteps: Int { zip(recipe.sigmas, recipe.tokens).reduce(0) { $0 + ($1.0.count - 1) * $1.1 } }

    /// Whether the picture only needs to be decoded.
    package var isFinished: Bool { phase == .finished }

    private func stepsBefore(_ stage: Int) -> Int { recipe.sigmas[..<stage].reduce(0) { $0 + $1.count - 1 } }
}
