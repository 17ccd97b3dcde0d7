import Plan
import Sampling
import Tensors
import Testing

/// Mean, variance and the covariance of neighbours in blocks of four.
private struct Moments {
    var count = 0.0
    var mean = 0.0
    var variance = 0.0
    var siblings = 0.0

    /// `blocks` holds values of one block of four next to each other.
    init(_ blocks: [Float]) {
        let values = blocks.map(Double.init)
        count = Double(values.count)
        mean = values.reduce(0, +) / count
        variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
        var sum = 0.0
        for block in stride(from: 0, to: values.count, by: 4) {
            for a in 0..<4 {
                for b in a + 1..<4 { sum += (values[block + a] - mean) * (values[block + b] - mean) }
            }
        }
        siblings = sum / (count / 4 * 6)
    }
}

/// Values of tokens `rows`, those of four siblings and one channel next to each other.
private func siblingBlocks(_ tokens: Tensor, _ rows: Range<Int>) -> [Float] {
    stride(from: rows.lowerBound, to: rows.upperBound, by: 4).flatMap { parent in
        (0..<64).flatMap { channel in (0..<4).map { tokens[(parent + $0) * 64 + channel] } }
    }
}

private func noise(
    transition: Int = 1, z: Double, upsampling: RALUSettings.Upsampling = .tokenRepeat,
    idle: RALUSettings.IdleNoise = .official, seed: UInt64 = 3
) -> InjectionNoise {
    InjectionNoise(
        seed: seed, transition: transition, columns: 64, correlation: 1 / (z * z), upsampling: upsampling, idle: idle)
}

@Suite("Injected noise")
struct NoiseTests {
    @Test("U6 the closed form is the root of the siblings' covariance", arguments: [2, 4, 6.3, 38])
    func root(z: Double) {
        let block = BlockNoise(correlation: 1 / (z * z))
        // (I + kappa J)^2, entry by entry.
        for row in 0..<4 {
            for column in 0..<4 {
                let sum = (0..<4).reduce(0.0) { sum, k in
                    sum + ((row == k ? 1 : 0) + block.kappa) * ((k == column ? 1 : 0) + block.kappa)
                }
                #expect(abs(sum - ((row == column ? 1 : 0) + block.gamma)) < 1e-12)
            }
        }
        #expect(abs(block.gamma - (-1 / (z * z) + 1e-6)) < 1e-15)
    }

    @Test("U6 known presets have the known weight of the block's sum", arguments: KnownPreset.all)
    func kappa(preset: KnownPreset) {
        let kappa = BlockNoise(correlation: 1 / (preset.settings.z * preset.settings.z)).kappa
        // The table is from 1 / z^2 before z was rounded to four digits.
        #expect(abs(kappa - preset.kappa) < (preset.settings.z == 2 ? 1e-5 : 2e-6))
    }

    @Test(
        "U7 after a transition siblings have independent noise of the next stage's strength around the scaled picture",
        arguments: [2, 6.317], RALUSettings.Upsampling.allCases)
    func siblings(z: Double, upsampling: RALUSettings.Upsampling) {
        let (end, picture) = (0.3, Float(0.7))
        let transition = Transition(end: end, z: z)
        let parents = 1024
        // x = e X + (1 - e) eps at the end of the stage, X the same everywhere.
        let eps = Philox(seed: 11, purpose: 1).normals(parents * 64).values
        let coarse = Latents(
            tokens: Tensor(eps.map { Float(end) * picture + Float(1 - end) * $0 }, shape: [parents, 64]),
            positions: Latents.grid(rows: 32, columns: 32))
        let fine = TokenSplit.refined(coarse, selected: Array(0..<parents), upsampling: upsampling)
        let z = noise(z: z, upsampling: upsampling)(positions: fine.positions, scale: 2, fresh: 0..<fine.count)
        let mixed = zip(fine.tokens.values, z.values).map {
            Float(transition.signal) * $0 + Float(transition.noise) * $1
        }
        let tokens = Tensor(mixed, shape: [4 * parents, 64])
        let blocks = upsampling == .tokenRepeat ? siblingBlocks(tokens, 0..<4 * parents) : mixed
        let moments = Moments(blocks)
        let variance = transition.noise * transition.noise
        // Three standard errors; values are independent, as this test claims.
        #expect(abs(moments.mean - transition.start * Double(picture)) < 3 * (variance / moments.count).squareRoot())
        #expect(abs(moments.variance - variance) < 3 * variance * (2 / moments.count).squareRoot())
        #expect(abs(moments.siblings) < 3 * variance / (moments.count * 6 / 4).squareRoot())
    }

    @Test("U8 tokens that stay have too much noise by 1 + c officially, and the right one in exact mode")
    func idle() {
        let (end, z) = (0.3, 2.0)
        let transition = Transition(end: end, z: z)
        let grid = Latents.grid(rows: 32, columns: 32)
        let eps = Philox(seed: 12, purpose: 1).normals(1024 * 64).values
        for (mode, factor) in [(RALUSettings.IdleNoise.exact, 1.0), (.official, 1 + transition.correlation)] {
            let z = noise(z: z, idle: mode)(positions: grid, scale: 2, fresh: 1024..<1024).values
            let mixed = zip(eps, z).map {
                Float(transition.signal * (1 - end)) * $0 + Float(transition.noise) * $1
            }
            let variance = transition.noise * transition.noise * factor
            #expect(abs(Moments(mixed).variance - variance) < 3 * variance * (2 / 65536.0).squareRoot())
        }
    }

    @Test("U9 noise depends on seed, transition, place and channel only", arguments: RALUSettings.Upsampling.allCases)
    func counterBased(upsampling: RALUSettings.Upsampling) {
        let latents = Latents(
            tokens: Tensor(repeating: 0, shape: [64, 64]), positions: Latents.grid(rows: 8, columns: 8))
        let split = TokenSplit.refined(latents, selected: [3, 9, 40], upsampling: upsampling)
        let make = noise(z: 3, upsampling: upsampling)
        let all = make(positions: split.positions, scale: 2, fresh: 61..<73)
        // Any order of blocks and of tokens that stay, and any part of them.
        let order = [50, 7, 0] + [69, 70, 71, 72] + [61, 62, 63, 64]
        let part = make(positions: split.positions.gathered(order), scale: 2, fresh: 3..<11)
        #expect(part == all.gathered(order))
        #expect(make(positions: split.positions, scale: 2, fresh: 61..<73) == all)

        let other = noise(transition: 2, z: 3, upsampling: upsampling)
        #expect(other(positions: split.positions, scale: 2, fresh: 61..<73) != all)
        let seed = noise(z: 3, upsampling: upsampling, seed: 4)
        #expect(seed(positions: split.positions, scale: 2, fresh: 61..<73) != all)
        #expect(Set(all.values).count > 73 * 64 - 10)
    }

    @Test("noise of a fine position is keyed by its place at full resolution")
    func places() {
        let coarse = Tensor([0, 3, 5.5], shape: [1, 3])
        let fine = Tensor([0, 6, 11], shape: [1, 3])
        let make = noise(z: 3)
        #expect(
            make(positions: coarse, scale: 2, fresh: 0..<0) == make(positions: fine, scale: 1, fresh: 0..<0))
    }
}
