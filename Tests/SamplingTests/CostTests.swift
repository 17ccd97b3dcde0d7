import Plan
import Sampling
import Testing

/// Sizes of FLUX.1.
private func flux(_ text: Int) -> CostModel { CostModel(blockCount: 57, width: 3072, textTokens: text) }

/// Tera-operations of the encoders and the decoder, which the published totals contain.
private func fixed(text: Int, ralu: Bool) -> Double { (text == 512 ? 4.87 : 2.43) + 9.92 + (ralu ? 2.48 : 0) }

@Suite("Cost model")
struct CostTests {
    @Test("operations of a call are those of the table")
    func call() {
        for (tokens, linear, all) in [
            (1024, 19.83, 21.48), (1330, 23.78, 26.16), (1636, 27.73, 30.96), (1945, 31.72, 35.95),
            (4096, 59.49, 74.36),
        ] {
            let cost = flux(512).call(imageTokens: tokens)
            #expect(abs(cost.linearOperations / 1e12 - linear) < 0.003 * linear)
            #expect(abs(cost.operations / 1e12 - all) < 0.003 * all)
        }
    }

    @Test("bytes across a link are those of the table")
    func bytes() {
        for (tokens, megabytes) in [(4096, 28.31), (1636, 13.20), (1024, 9.44)] {
            let bytes = flux(512).call(imageTokens: tokens, wire: .bf16).bytesPerLink
            #expect(abs(Double(bytes) / 1e6 - megabytes) < 0.01)
        }
        #expect(flux(512).call(imageTokens: 4096).bytesPerLink == 4608 * 3072 * 4)
        #expect(flux(512).call(imageTokens: 4096, wire: .int8).bytesPerLink == 4608 * (3072 + 4 * 24))
    }

    @Test("published totals follow from steps, ratio and text length, attention left out")
    func published() {
        func ralu(_ index: Int, _ text: Int) -> Double {
            flux(text).picture(.ralu(KnownPreset.all[index].settings), fullTokens: 4096).linearOperations / 1e12
                + fixed(text: text, ralu: true)
        }
        func euler(_ steps: Int) -> Double {
            flux(512).picture(.euler(steps: steps), fullTokens: 4096).linearOperations / 1e12
                + fixed(text: 512, ralu: false)
        }
        for (ours, published) in [
            (euler(50), 2991.0), (euler(10), 610.02), (euler(7), 431.45), (ralu(0, 512), 724.2), (ralu(1, 256), 540.47),
            (ralu(2, 512), 426.01), (ralu(5, 512), 187.92), (euler(4), 252.88),
        ] {
            #expect(abs(ours - published) < 0.003 * published, "\(ours) \(published)")
        }
    }

    @Test("the sampler works on as many tokens as the model says")
    func sampler() throws {
        for preset in KnownPreset.all {
            let sampler = try Sampler(request: request(.ralu(preset.settings)), facts: facts())
            let cost = CostModel(facts: facts(), textTokens: 64).picture(.ralu(preset.settings), fullTokens: 48)
            #expect(cost.tokenSteps == sampler.totalTokenSteps && cost.steps == sampler.totalSteps)
        }
    }
}
