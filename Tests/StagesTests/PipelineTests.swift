import Plan
import Sampling
import Stages
import TestKit
import Tensors
import Testing

/// Whole runs of the reference pipelines, with a loop as plain as theirs.
@Suite struct PipelineTests {
    struct Run: Sendable, CustomTestStringConvertible {
        let model: String
        let name: String
        let prompt: Int
        let rows: Int
        let columns: Int
        let textLength: Int
        let guidance: Float
        var testDescription: String { "\(model) \(name)" }
    }

    @Test(arguments: [
        Run(model: "flux-dev", name: "r0", prompt: 10, rows: 8, columns: 8, textLength: 64, guidance: 3.5),
        Run(model: "flux-dev", name: "r1", prompt: 3, rows: 6, columns: 10, textLength: 512, guidance: 2),
        Run(model: "flux-schnell", name: "r0", prompt: 10, rows: 8, columns: 8, textLength: 64, guidance: 0),
        Run(model: "flux-schnell", name: "r1", prompt: 3, rows: 6, columns: 10, textLength: 256, guidance: 0),
    ])
    func `prompt to picture is the reference's at each step`(_ run: Run) throws {
        let (source, name) = (try Golden(run.model), run.name)
        let golden = try source.file("pipeline")
        let facts = try ModelFacts(folder: source.modelFolder)
        let model = try LoadedModel(
            folder: source.modelFolder, share: .everything(of: facts), compute: Compute(threads: 2))

        let conditioning = try model.encode(prompt: source.prompts[run.prompt], textLength: run.textLength)
        try expectClose(conditioning.context, golden, "\(name).prompt_embeds", part: "text")
        try expectClose(conditioning.pooled, golden, "\(name).pooled", part: "text")

        let recorded = Conditioning(
            context: try golden.tensor("\(name).prompt_embeds", item: 0),
            pooled: try golden.tensor("\(name).pooled", item: 0))
        var latents = Latents(
            tokens: try golden.tensor("\(name).latents", item: 0),
            positions: Latents.grid(rows: run.rows, columns: run.columns))
        let sigmas = try golden.tensor("\(name).sigmas").values
        for (step, (sigma, next)) in zip(sigmas, sigmas.dropFirst()).enumerated() {
            var stream = model.embed(latents, recorded, sigma: sigma, guidance: run.guidance)
            model.run(&stream)
            let velocity = model.head(stream)
            for index in 0..<velocity.count { latents.tokens[index] += (next - sigma) * velocity[index] }
            try expectClose(latents.tokens, golden, "\(name).step\(step)", part: "steps")
        }

        let latent = Packing.latent(of: latents.tokens, rows: run.rows, columns: run.columns)
        let pixels = try model.decode(
            Packing.decoderInput(latent, scale: facts.scalingFactor, shift: facts.shiftFactor))
        try expectClose(pixels.planes, golden, "\(name).image", part: "picture")
    }
}
