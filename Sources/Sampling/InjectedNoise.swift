package import Tensors

/// Random numbers made elsewhere, to repeat a reference run; what is missing is drawn from the seed.
package struct InjectedNoise: Equatable, Sendable {
    /// Names of the tensors that are understood.
    package static let names = ["latents_unpacked", "latents", "noise_stage2", "noise_stage3", "tie_noise"]

    /// Initial noise of the full resolution, (16, height / 8, width / 8).
    package var latentsUnpacked: Tensor?
    /// The same as tokens, (N, 64); used when `latentsUnpacked` is nil.
    package var latents: Tensor?
    /// Ready-made noise of the first transition, (tokens of stage 2, 64), in the order of `TokenSplit.refined`.
    package var noiseStage2: Tensor?
    /// Ready-made noise of the second transition, (tokens of stage 3, 64), in the order of `TokenSplit.completed`.
    package var noiseStage3: Tensor?
    /// What separates coarse tokens of equal edges: normals, or the ranks of `EdgeMap.tieNoise(seed:)`, (coarse tokens).
    package var tieNoise: Tensor?

    /// Joins the tensors.
    package init(
        latentsUnpacked: Tensor? = nil, latents: Tensor? = nil, noiseStage2: Tensor? = nil, noiseStage3: Tensor? = nil,
        tieNoise: Tensor? = nil
    ) {
        self.latentsUnpacked = latentsUnpacked
        self.latents = latents
        self.noiseStage2 = noiseStage2
        self.noiseStage3 = noiseStage3
        self.tieNoise = tieNoise
    }

    /// Picks the tensors it knows by name, as recorded runs name them; a leading axis of one is dropped.
    ///
    /// Shapes are checked by `Sampler.init`, which knows the picture's size.
    package init(named tensors: [String: Tensor]) {
        func find(_ name: String, axes: Int) -> Tensor? {
            tensors[name].map { tensor in
                tensor.shape.count == axes + 1 && tensor.shape[0] == 1
                    ? tensor.reshaped(Array(tensor.shape.dropFirst())) : tensor
            }
        }
        self.init(
            latentsUnpacked: find("latents_unpacked", axes: 3), latents: find("latents", axes: 2),
            noiseStage2: find("noise_stage2", axes: 2), noiseStage3: find("noise_stage3", axes: 2),
            tieNoise: find("tie_noise", axes: 1))
    }

    /// Whether nothing is injected.
    package var isEmpty: Bool {
        latentsUnpacked == nil && latents == nil && noiseStage2 == nil && noiseStage3 == nil && tieNoise == nil
    }
}
