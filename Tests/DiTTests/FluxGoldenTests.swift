import TestKit
import Testing

@testable import DiT

/// Every tensor that the reference implementation recorded of its transformer.
@Suite struct FluxGoldenTests {
    @Test(arguments: ["flux-dev", "flux-schnell"], ["r0", "mixed"])
    func `each module's output is the reference's`(_ model: String, _ run: String) throws {
        let reference = try Reference(model, run)
        let (golden, flux) = (reference.golden, reference.flux)
        try reference.expectRotation(run)

        var stream = reference.embedded()
        try expectClose(stream.vector, golden, "\(run).time_text_embed", part: "embedders")
        try expectClose(stream.image, golden, "\(run).x_embedder", part: "embedders")
        try expectClose(stream.text, golden, "\(run).context_embedder", part: "embedders")

        for index in 0..<flux.parameters.blockCount {
            flux.run(blocks: index..<index + 1, &stream)
            let doubles = flux.parameters.doubleCount
            let name = index < doubles ? "transformer_blocks.\(index)" : "single_transformer_blocks.\(index - doubles)"
            try expectClose(stream.text, golden, "\(run).\(name).txt", part: "blocks")
            try expectClose(stream.image, golden, "\(run).\(name).img", part: "blocks")
        }
        try expectClose(#require(flux.normalisedForHead(stream)), golden, "\(run).norm_out", part: "head")
        try expectClose(flux.head(stream), golden, "\(run).out", part: "velocity")
    }

    @Test(arguments: ["flux-dev", "flux-schnell"], [0, 1])
    func `each sample of a batch gives its own velocity`(_ model: String, _ item: Int) throws {
        let reference = try Reference(model, "r1", item: item)
        try reference.expectRotation("r1")
        try expectClose(reference.velocity(), reference.golden, "r1.out", item: item, part: "velocity")
    }
}
