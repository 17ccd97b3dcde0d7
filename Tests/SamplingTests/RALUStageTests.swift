import Checkpoint
import Plan
import Sampling
import TestKit
import Tensors
import Testing

/// Each piece of RALU on what a recorded run had at that point, without a network.
@Suite("RALU on recorded runs, piece by piece")
struct RALUStageTests {
    private struct Run {
        let arguments: RALURun
        let golden: GoldenFile

        init(_ name: String) throws {
            arguments = try RALURun.named(name)
            golden = try Golden("ralu").file(name)
        }

        var settings: RALUSettings {
            RALUSettings(
                steps: arguments.steps, ends: arguments.ends, shifts: arguments.shifts, z: arguments.z,
                upRatio: arguments.upRatio)
        }

        var columns: Int { arguments.width / 16 }
        var rows: Int { arguments.height / 16 }

        /// A recorded tensor of tokens without its axis of one.
        func tokens(_ name: String) throws -> Tensor { try golden.tensor(name, item: 0) }

        func lastStep(_ stage: Int) throws -> Tensor {
            try tokens("stage\(stage).step\(arguments.steps[stage - 1] - 1)")
        }

        func transition(_ stage: Int) -> Transition { Transition(end: arguments.ends[stage], z: arguments.z) }
    }

    private struct VAEConfig: Decodable {
        var scalingFactor: Float
        var shiftFactor: Float

        enum CodingKeys: String, CodingKey {
            case scalingFactor = "scaling_factor"
            case shiftFactor = "shift_factor"
        }
    }

    private func vae() throws -> VAEConfig {
        try Golden("flux-dev").modelFolder.config("vae", as: VAEConfig.self)
    }

    private func mixed(_ x: Tensor, _ noise: Tensor, _ transition: Transition) -> Tensor {
        let (signal, strength) = (Float(transition.signal), Float(transition.noise))
        return Tensor(zip(x.values, noise.values).map { signal * $0 + strength * $1 }, shape: x.shape)
    }

    @Test("the start has the recorded tokens and positions, from either form of the noise", arguments: RALURun.names)
    func start(name: String) throws {
        let run = try Run(name)
        for injected in [
            InjectedNoise(latents: try run.tokens("latents")),
            InjectedNoise(named: ["latents_unpacked": try run.golden.tensor("latents_unpacked")]),
        ] {
            let sampler = try Sampler(
                request: request(.ralu(run.settings), width: run.arguments.width, height: run.arguments.height),
                facts: facts(), injected: injected)
            guard case .velocity(let latents, let sigma, 1, 0) = sampler.demand else {
                Issue.record("\(sampler.demand)")
                return
            }
            #expect(sigma == 1)
            #expect(try latents.tokens == run.tokens("stage1.latents_in"))
            #expect(try latents.positions == run.golden.tensor("stage1.img_ids"))
        }
    }

    @Test("stages have the recorded noise levels and coefficients", arguments: RALURun.names)
    func timesteps(name: String) throws {
        let run = try Run(name)
        for (stage, nodes) in Schedule.ralu(run.settings).enumerated() {
            let timesteps = Tensor(nodes.map { Float(1000 * $0) }, shape: [nodes.count])
            try expectClose(timesteps, run.golden, "stage\(stage + 1).timesteps")
        }
    }

    // The other runs do not record the velocity of the stage's last step.
    @Test("the clean estimate is the recorded decoder input", arguments: ["l4_s0", "l7_s0", "custom_s0"])
    func estimate(name: String) throws {
        let run = try Run(name)
        let (x, sigma) = (try run.lastStep(1), Float(1 - run.arguments.ends[0]))
        let v = try run.tokens("stage1.pred\(run.arguments.steps[0] - 1)")
        let clean = Tensor(zip(x.values, v.values).map { $0 - sigma * $1 }, shape: x.shape)
        let latent = Packing.latent(of: clean, rows: run.rows / 2, columns: run.columns / 2)
        let config = try vae()
        try expectClose(
            Packing.decoderInput(latent, scale: config.scalingFactor, shift: config.shiftFactor), run.golden,
            "x0_latent")
    }

    @Test("gray, edges, sums and selection are exactly the recorded ones", arguments: RALURun.names)
    func selection(name: String) throws {
        let run = try Run(name)
        let map = EdgeMap(Pixels(planes: try run.golden.tensor("x0_image", item: 0)), range: .official)
        #expect(try map.gray == run.golden.bytes("gray"))
        #expect(try map.edges == run.golden.bytes("edges"))
        let sums = map.noisySums(try run.golden.tensor("tie_noise"))
        #expect(try sums == run.golden.tensor("patch_sums"))
        let selected = EdgeMap.selection(run.arguments.refined, noisySums: sums)
        try expectEqual(selected, run.golden, "selected")
        try expectEqual(map.sums.indices.filter { !selected.contains($0) }, run.golden, "kept")
        // No run has a tie at the boundary, so our own order chooses the same tokens.
        #expect(map.selection(run.arguments.refined, seed: 1) == selected)
    }

    @Test("the first transition gives the recorded tokens and positions", arguments: RALURun.names)
    func firstTransition(name: String) throws {
        let run = try Run(name)
        let coarse = Latents(tokens: try run.lastStep(1), positions: try run.golden.tensor("stage1.img_ids"))
        let split = TokenSplit.refined(coarse, selected: try run.golden.ints("selected"), upsampling: .tokenRepeat)
        #expect(try split.positions == run.golden.tensor("stage2.img_ids"))
        let noise = try run.tokens("noise_stage2")
        try expectClose(mixed(split.tokens, noise, run.transition(0)), run.golden, "stage2.latents_in")
    }

    @Test("the second transition gives the recorded tokens in raster order", arguments: RALURun.names)
    func secondTransition(name: String) throws {
        let run = try Run(name)
        let middle = Latents(tokens: try run.lastStep(2), positions: try run.golden.tensor("stage2.img_ids"))
        let kept = try run.golden.ints("kept").count
        var split = TokenSplit.completed(middle, coarse: kept, upsampling: .tokenRepeat)
        split.tokens = mixed(split.tokens, try run.tokens("noise_stage3"), run.transition(1))
        let sorted = TokenSplit.rasterSorted(split)
        #expect(try sorted.positions == run.golden.tensor("stage3.img_ids"))
        try expectClose(sorted.tokens, run.golden, "stage3.latents_in")
    }

    @Test("the last tokens give the recorded decoder input", arguments: RALURun.names)
    func end(name: String) throws {
        let run = try Run(name)
        let latent = Packing.latent(of: try run.lastStep(3), rows: run.rows, columns: run.columns)
        let config = try vae()
        try expectClose(
            Packing.decoderInput(latent, scale: config.scalingFactor, shift: config.shiftFactor), run.golden,
            "final_latent")
    }

    @Test("recorded noise is what our closed form makes of other normals: same variance among siblings")
    func recordedNoise() throws {
        let run = try Run("l4_s1")
        let noise = try run.tokens("noise_stage3")
        let eps = try run.tokens("eps_stage3")
        // A Cholesky factor and the symmetric root are different roots of one covariance: compare block sums, whose
        // variance is 4 (1 + 4 gamma) for both.
        let block = BlockNoise(correlation: 1 / (run.arguments.z * run.arguments.z))
        let (kept, width) = (try run.golden.ints("kept").count, 64)
        var (theirs, ours) = (0.0, 0.0)
        for parent in 0..<kept {
            for channel in 0..<width {
                var four = SIMD4<Float>()
                var sum = 0.0
                for child in 0..<4 {
                    let index = (parent * 4 + child) * width + channel
                    four[child] = eps[index]
                    sum += Double(noise[index])
                }
                block.correlate(&four)
                theirs += sum * sum
                ours += Double(four.sum()) * Double(four.sum())
            }
        }
        let (count, expected) = (Double(kept * width), 4 * (1 + 4 * block.gamma))
        for value in [theirs / count, ours / count] {
            #expect(abs(value - expected) < 4 * expected * (2 / count).squareRoot())
        }
    }
}
