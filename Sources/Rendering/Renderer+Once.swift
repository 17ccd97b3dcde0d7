package import Checkpoint
package import Plan
package import Sampling
internal import Stages
package import Tensors

extension Renderer {
    /// Renders one picture of a model's folder, whose text encoders are in memory only while the prompt is encoded.
    ///
    /// T5-XXL takes 9.8 GB, which blocks and decoder need not find room beside. The bytes are those of `render`, which is
    /// for whoever renders more than one picture. With both outputs of the encoders injected these are not read at all.
    ///
    /// - Returns: the picture, and how long reading the weights took.
    /// - Throws: what `render` throws, and `StageError`, `CheckpointError` or `TextError` for a model that cannot be read, or
    ///   whose files are not those of `facts` any more, also between one part and the other.
    package static func renderOnce(
        _ request: ImageRequest, folder: ModelFolder, facts: ModelFacts, compute: Compute,
        injecting injection: Injection = Injection(), trace: Trace? = nil,
        progress: (Progress) throws -> Void = { _ in }
    ) throws -> (picture: Picture, loading: Duration) {
        let sampler = try Sampler(request: request, facts: facts, injected: injection.noise)
        try injection.check(facts: facts)
        let clock = ContinuousClock()
        var loading = Duration.zero
        func load(_ share: Share) throws -> LoadedModel {
            try progress(.loading(share))
            let begin = clock.now
            let model = try LoadedModel(folder: folder, share: share, compute: compute, fingerprint: facts.fingerprint)
            loading += clock.now - begin
            return model
        }

        let conditioning = try injection.conditioning {
            // Goes when this returns, before anything else is read.
            let encoders = try load(.encoders)
            try progress(.encoding)
            return try encoders.encode(prompt: request.prompt, textLength: request.textLength)
        }
        let renderer = Renderer(
            model: try load(.allButEncoders(of: facts)), facts: facts, kernelClass: compute.kernels.name)
        let picture = try renderer.draw(
            request, conditioning, from: sampler, injecting: injection, trace: trace, progress: progress)
        return (picture, loading)
    }
}
