internal import Tensors

/// The names are those of recorded reference runs: plain for Euler, with the stage in front for RALU.
extension Trace {
    /// Records what a stage starts from, before its first step.
    func recordStart(of sampler: Sampler, stage: Int, step: Int) {
        guard step == 0 else { return }
        if stage == 0 {
            let noise = sampler.recipe.fullNoise(sampler.injected)
            recordBatch("latents_unpacked", noise)
            recordBatch("latents", Packing.tokens(of: noise))
        }
        let sigmas = sampler.recipe.sigmas[stage]
        guard sampler.recipe.ralu != nil else {
            return record("sigmas", Tensor(sigmas.map(Float.init), shape: [sigmas.count]))
        }
        record("stage\(stage + 1).timesteps", Tensor(sigmas.map { Float(1000 * $0) }, shape: [sigmas.count]))
        recordBatch("stage\(stage + 1).latents_in", sampler.latents.tokens)
        record("stage\(stage + 1).img_ids", sampler.latents.positions)
    }

    /// Records the latents after a step, and the velocity that took them there.
    func recordStep(of sampler: Sampler, stage: Int, step: Int, velocity: Tensor) {
        let prefix = sampler.recipe.ralu == nil ? "" : "stage\(stage + 1)."
        recordBatch("\(prefix)step\(step)", sampler.latents.tokens)
        recordBatch("\(prefix)pred\(step)", velocity)
    }

    /// Records how the first transition chose tokens.
    ///
    /// Without injected tie noise one is recorded that repeats the choice when it is injected.
    func recordEdges(of sampler: Sampler, decoded: Pixels, map: EdgeMap, selected: [Int]) {
        if case .decode(let latent) = sampler.demand { recordBatch("x0_latent", latent) }
        recordBatch("x0_image", decoded.planes)
        record("gray", map.gray, shape: [map.rows, map.columns])
        record("edges", map.edges, shape: [map.rows, map.columns])
        let tieNoise = sampler.injected?.tieNoise ?? map.tieNoise(seed: sampler.recipe.seed)
        record("tie_noise", tieNoise)
        record("patch_sums", map.noisySums(tieNoise))
        record("selected", selected)
        let chosen = Set(selected)
        record("kept", map.sums.indices.filter { !chosen.contains($0) })
    }

    /// Records the decoder's input.
    func recordEnd(of sampler: Sampler) {
        if sampler.recipe.ralu != nil, case .finished(let latent) = sampler.demand {
            recordBatch("final_latent", latent)
        }
    }
}
