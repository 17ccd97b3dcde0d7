import Plan
import Sampling
import Tensors
import Testing

private func numbered(rows: Int, columns: Int) -> Latents {
    let tokens = rows * columns
    return Latents(
        tokens: Tensor((0..<tokens * 64).map { Float($0) }, shape: [tokens, 64]),
        positions: Latents.grid(rows: rows, columns: columns))
}

private func places(_ latents: Latents) -> [[Float]] {
    (0..<latents.count).map { [latents.positions[3 * $0 + 1], latents.positions[3 * $0 + 2]] }
}

@Suite("Tokens")
struct TokenTests {
    @Test("U10 stages have as many tokens as the formula says", arguments: [0, 0.1, 0.2, 0.3, 0.5, 1])
    func counts(upRatio: Double) throws {
        for (width, height) in [(1024, 1024), (32, 32), (160, 192), (224, 128)] {
            var settings = flux4x
            settings.upRatio = upRatio
            var sampler = try Sampler(request: request(.ralu(settings), width: width, height: height), facts: facts())
            let full = width * height / 256
            let refined = Int(Double(full / 4) * upRatio)
            let expected = [full / 4, full / 4 + 3 * refined, full]
            var seen: [Int] = []
            let steps = settings.steps
            loop: while true {
                switch sampler.demand {
                case .velocity(let latents, _, let stage, let step):
                    if step == 0 { seen.append(latents.count) }
                    #expect(latents.count == expected[stage - 1])
                    try sampler.supply(velocity: latents.tokens)
                case .decode(let latent):
                    #expect(latent.shape == [16, height / 16, width / 16])
                    try sampler.supply(decoded: discs(width: width / 2, height: height / 2))
                case .finished(let latent):
                    #expect(latent.shape == [16, height / 8, width / 8])
                    break loop
                }
            }
            #expect(seen == expected)
            let tokenSteps = zip(steps, expected).reduce(0) { $0 + $1.0 * $1.1 }
            #expect(sampler.tokenSteps == tokenSteps && sampler.totalTokenSteps == tokenSteps)
            if width == 1024 && upRatio == 0.3 { #expect(expected == [1024, 1945, 4096]) }
        }
    }

    @Test("U11 a small split has the known order and positions at every stage")
    func worked() {
        let coarse = numbered(rows: 2, columns: 2)
        let middle = TokenSplit.refined(coarse, selected: [2], upsampling: .tokenRepeat)
        #expect(places(middle) == [[0, 0], [0, 1], [1, 1], [1, 0], [1, 0.5], [1.5, 0], [1.5, 0.5]])
        #expect(middle.tokens == coarse.tokens.gathered([0, 1, 3, 2, 2, 2, 2]))
        let fine = TokenSplit.completed(middle, coarse: 3, upsampling: .tokenRepeat)
        #expect(
            places(fine) == [
                [0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 2], [2, 3], [3, 2], [3, 3], [2, 0],
                [2, 1], [3, 0], [3, 1],
            ])
        #expect(fine.tokens == coarse.tokens.gathered([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 2, 2, 2, 2]))
        let sorted = TokenSplit.rasterSorted(fine)
        #expect(sorted.positions == Latents.grid(rows: 4, columns: 4))
        #expect(sorted.tokens == coarse.tokens.gathered([0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]))
    }

    @Test("U11 any selection ends in the raster grid, without repeats")
    func raster() {
        for selected in [[], [0], [5, 6, 7, 30], Array(0..<32), [1, 31]] {
            let coarse = numbered(rows: 4, columns: 8)
            let middle = TokenSplit.refined(coarse, selected: selected, upsampling: .latentNearest)
            let fine = TokenSplit.completed(middle, coarse: 32 - selected.count, upsampling: .latentNearest)
            #expect(Set(places(fine)).count == 128)
            #expect(TokenSplit.rasterSorted(fine).positions == Latents.grid(rows: 8, columns: 16))
        }
    }

    @Test("U12 refining nothing or everything early still ends in raster order", arguments: [0.0, 1.0])
    func extremes(upRatio: Double) throws {
        var settings = flux4x
        settings.upRatio = upRatio
        let start = try Sampler(request: request(.ralu(settings)), facts: facts())
        let latent = try run(start) { sampler in
            guard case .velocity(let latents, _, let stage, 0) = sampler.demand else { return }
            switch stage {
            case 1: #expect(latents.positions == Latents.grid(rows: 3, columns: 4))
            case 2: #expect(latents.count == (upRatio == 0 ? 12 : 48))
            default: #expect(latents.positions == Latents.grid(rows: 6, columns: 8))
            }
        }
        #expect(latent.values.allSatisfy { $0.isFinite })
    }

    @Test("U13 packing and unpacking are inverse, and a token's values are in the known order")
    func packing() {
        let latent = Tensor((0..<16 * 6 * 10).map { Float($0) }, shape: [16, 6, 10])
        let tokens = Packing.tokens(of: latent)
        #expect(Packing.latent(of: tokens, rows: 3, columns: 5) == latent)
        // Token (1, 2), channel 7, row 1, column 0 of its patch is latent (7, 3, 4).
        #expect(tokens[(1 * 5 + 2) * 64 + 7 * 4 + 1 * 2] == latent[(7 * 6 + 3) * 10 + 4])
        let small = Packing.subsampled(latent)
        #expect(small.shape == [16, 3, 5])
        #expect(small[(7 * 3 + 1) * 5 + 2] == latent[(7 * 6 + 2) * 10 + 4])
    }

    @Test("U13 both ways of upsampling give their 4x4 tile of latent pixels")
    func tiles() {
        let parent = Latents(
            tokens: Tensor((0..<64).map { Float($0 % 4) }, shape: [1, 64]),
            positions: Latents.grid(rows: 1, columns: 1))
        func tile(_ upsampling: RALUSettings.Upsampling) -> [Float] {
            let children = TokenSplit.refined(parent, selected: [0], upsampling: upsampling)
            return Array(Packing.latent(of: children.tokens, rows: 2, columns: 2).values[9 * 16..<10 * 16])
        }
        #expect(tile(.tokenRepeat) == [0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3])
        #expect(tile(.latentNearest) == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3])
    }
}
