internal import Imaging
package import Plan
package import Sampling
package import Stages
internal import Tensors

/// The whole path from prompt to picture in one process.
///
/// It takes the same steps as a cluster does, in the same order and on the same values, and therefore is the oracle for
/// everything distributed: encode, then for each demand of the sampler embed, blocks, head or decode.
package struct Renderer: Sendable {
    /// How far a picture is.
    package enum Progress: Equatable, Sendable {
        /// A share of the model is being read, by `renderOnce` only.
        case loading(Share)
        /// The prompt is being encoded.
        case encoding
        /// Network calls done of all.
        case denoising(step: Int, of: Int)
        /// The latent is being decoded: in between for the edge map, or in the end.
        case decoding(isFinal: Bool)
    }

    /// The model's blocks and its decoder, and the text encoders unless all prompts are encoded elsewhere.
    package let model: LoadedModel
    /// Its facts.
    package let facts: ModelFacts
    /// Name of the kernel class that computes.
    package let kernelClass: String

    /// Joins a model that holds everything, or everything but the text encoders, with its facts.
    package init(model: LoadedModel, facts: ModelFacts, kernelClass: String) {
        promise(
            [.everything(of: facts), .allButEncoders(of: facts)].contains(model.share),
            "a share of \(model.share) cannot render a picture by itself")
        self.model = model
        self.facts = facts
        self.kernelClass = kernelClass
    }

    /// Renders one picture; the model must hold the text encoders.
    ///
    /// `progress` may throw to cancel; the error passes through.
    ///
    /// - Throws: `SamplingError` for requests that cannot work and for answers that are not numbers, at the step where
    ///   they appear; `StageError` for a picture that holds such values; `TextError` for prompts; `RenderingError` for
    ///   injected conditioning that does not fit.
    package func render(
        _ request: ImageRequest, injecting injection: Injection = Injection(), trace: Trace? = nil,
        progress: (Progress) throws -> Void = { _ in }
    ) throws -> Picture {
        let sampler = try Sampler(request: request, facts: facts, injected: injection.noise)
        try injection.check(facts: facts)
        try progress(.encoding)
        let conditioning = try injection.conditioning {
            try model.encode(prompt: request.prompt, textLength: request.textLength)
        }
        return try draw(request, conditioning, from: sampler, injecting: injection, trace: trace, progress: progress)
    }

    /// Takes a prompt that is encoded, and a sampler at its start, to the picture.
    func draw(
        _ request: ImageRequest, _ conditioning: Conditioning, from start: Sampler, injecting injection: Injection,
        trace: Trace?, progress: (Progress) throws -> Void
    ) throws -> Picture {
        var sampler = start
        trace?.recordBatch("prompt_embeds", conditioning.context)
        trace?.recordBatch("pooled", conditioning.pooled)

        while true {
            switch sampler.demand {
            case .velocity(let latents, let sigma, _, _):
                try progress(.denoising(step: sampler.step, of: sampler.totalSteps))
                var stream = model.embed(latents, conditioning, sigma: sigma, guidance: request.guidance)
                model.run(&stream)
                try sampler.supply(velocity: model.head(stream), trace: trace)
            case .decode(let latent):
                try progress(.decoding(isFinal: false))
                try sampler.supply(decoded: model.decode(latent), trace: trace)
            case .finished(let latent):
                try progress(.decoding(isFinal: true))
                let pixels = try model.decode(latent)
                trace?.recordBatch("image", pixels.planes)
                return Picture(
                    pixels: pixels, metadata: metadata(of: request, injection), steps: sampler.totalSteps,
                    tokenSteps: sampler.tokenSteps)
            }
        }
    }

    private func metadata(of request: ImageRequest, _ injection: Injection) -> PictureMetadata {
        let injected = injection.used(by: request.sampler)
        return PictureMetadata(
            request: request, model: facts.family, fingerprint: facts.fingerprint, kernelClass: kernelClass,
            version: programVersion, injected: injected.isEmpty ? nil : injected)
    }
}

extension Injection {
    /// What is injected, and for the rest what `encode` gives, which is not called when nothing is left to encode.
    func conditioning(encode: () throws -> Conditioning) rethrows -> Conditioning {
        if let promptEmbeds, let pooled { return Conditioning(context: promptEmbeds, pooled: pooled) }
        let encoded = try encode()
        return Conditioning(context: promptEmbeds ?? encoded.context, pooled: pooled ?? encoded.pooled)
    }
}
