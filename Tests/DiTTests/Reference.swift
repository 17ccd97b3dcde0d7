import Plan
import TestKit
import Tensors
import Testing

@testable import DiT

/// The fastest kernels for a format.
func compute(_ format: ComputeFormat, threads: Int) throws -> Compute {
    Compute(threads: threads, kernels: try #require(KernelClass.current.computing(in: format)))
}

/// One recorded forward pass: the network and what it was given.
struct Reference {
    let golden: GoldenFile
    let flux: Flux
    var latents: Latents
    let input: Conditioning
    let sigma: Float
    let guidance: Float

    init(_ model: String, _ run: String, item: Int = 0, threads: Int = 2, format: ComputeFormat = .f32) throws {
        let folder = try Golden(model)
        let golden = try folder.file("transformer")
        self.golden = golden
        flux = try Flux(folder: folder.modelFolder, compute: try compute(format, threads: threads))
        latents = Latents(
            tokens: try golden.tensor("\(run).in.hidden_states", item: item),
            positions: try golden.tensor("\(run).in.img_ids"))
        input = Conditioning(
            context: try golden.tensor("\(run).in.encoder_hidden_states", item: item),
            pooled: try golden.tensor("\(run).in.pooled_projections", item: item))
        sigma = try golden.tensor("\(run).in.timestep")[item]
        guidance = golden.contains("\(run).in.guidance") ? try golden.tensor("\(run).in.guidance")[item] : 0
    }

    func embedded() -> Stream { flux.embed(latents, input, sigma: sigma, guidance: guidance) }

    func velocity() -> Tensor {
        var stream = embedded()
        flux.run(blocks: 0..<flux.parameters.blockCount, &stream)
        return flux.head(stream)
    }

    /// Compares the rotary table; the reference repeats each column for both channels of a pair.
    func expectRotation(_ run: String) throws {
        func twice(_ table: Tensor) -> Tensor {
            Tensor(table.values.flatMap { [$0, $0] }, shape: [table.shape[0], 2 * table.width])
        }
        let rotation = flux.rotation(text: input.context.shape[0], image: latents.positions)
        try expectClose(twice(rotation.cosines), golden, "\(run).rope_cos", part: "rope")
        try expectClose(twice(rotation.sines), golden, "\(run).rope_sin", part: "rope")
    }
}
