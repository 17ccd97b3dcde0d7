import Foundation
import Plan
import Tensors
import TestKit
import Testing

@testable import Sampling

private var distilled: RALUSettings {
    var settings = KnownPreset.all[5].settings
    settings.steps = [2, 2, 3]
    settings.upRatio = 0.3
    return settings
}

/// Every switch at its other place than in `distilled`.
private var otherSwitches: RALUSettings {
    var settings = distilled
    settings.upsampling = .latentNearest
    settings.idleNoise = .official
    settings.gray = .normalised
    return settings
}

@Suite("The sampler as a value")
struct SamplerTests {
    @Test("Euler starts from torch's normals and ends at the decoder's input")
    func euler() throws {
        var sampler = try Sampler(request: request(.euler(steps: 3), width: 48, height: 80), facts: facts())
        let noise = torchRandn(seed: 7, count: 16 * 10 * 6).reshaped([16, 10, 6])
        var x = Packing.tokens(of: noise)
        let sigmas = Schedule.euler(steps: 3, tokens: 15, facts: ScheduleFacts())
        for step in 0..<3 {
            #expect(sampler.step == step && sampler.tokenSteps == 15 * step && !sampler.isFinished)
            let latents = Latents(tokens: x, positions: Latents.grid(rows: 5, columns: 3))
            #expect(sampler.demand == .velocity(latents, sigma: Schedule.told(sigmas[step]), stage: 1, step: step))
            let v = fakeVelocity(latents, sigma: Schedule.told(sigmas[step]))
            try sampler.supply(velocity: v)
            let distance = Float(sigmas[step + 1] - sigmas[step])
            x = Tensor(zip(x.values, v.values).map { $0 + distance * $1 }, shape: [15, 64])
        }
        let latent = Packing.latent(of: x, rows: 5, columns: 3)
        #expect(sampler.isFinished && sampler.step == 3 && sampler.totalSteps == 3)
        #expect(sampler.demand == .finished(Packing.decoderInput(latent, scale: 0.3611, shift: 0.1159)))
        #expect(Packing.decoderInput(latent, scale: 0.5, shift: 3)[77] == latent[77] / 0.5 + 3)
    }

    @Test("RALU starts from every second row and column of the same noise")
    func coarseStart() throws {
        let sampler = try Sampler(request: request(.ralu(flux4x)), facts: facts())
        let noise = torchRandn(seed: 7, count: 16 * 12 * 16).reshaped([16, 12, 16])
        let coarse = Packing.tokens(of: Packing.subsampled(noise))
        #expect(
            sampler.demand
                == .velocity(
                    Latents(tokens: coarse, positions: Latents.grid(rows: 3, columns: 4)), sigma: 1, stage: 1, step: 0))
    }

    @Test(
        "U14 with a network that knows the picture, noise is standard and independent at every boundary",
        arguments: RALUSettings.Upsampling.allCases)
    func syntheticNetwork(upsampling: RALUSettings.Upsampling) throws {
        let size = 512
        let picture = Philox(seed: 99, purpose: 5).normals(256 * 64)
        // Tokens of a stage that are not split yet; they stand before the others.
        func coarse(_ stage: Int) -> Int { [256, 256 - 76, 0][stage - 1] }
        // The picture's token under each token: its coarse parent's, or what a child shows of it.
        func target(_ latents: Latents, stage: Int) -> Tensor {
            let scale: Float = stage == 3 ? 0.5 : 1
            func place(_ token: Int, axis: Int) -> Float { latents.positions[3 * token + axis] * scale }
            let parents = (0..<latents.count).map { Int(place($0, axis: 1)) * 16 + Int(place($0, axis: 2)) }
            var result = picture.reshaped([256, 64]).gathered(parents)
            guard upsampling == .latentNearest else { return result }
            for token in coarse(stage)..<latents.count {
                func half(_ axis: Int) -> Int { Int(2 * place(token, axis: axis)) % 2 }
                let pixel = 2 * half(1) + half(2)
                for channel in 0..<16 {
                    let value = result[token * 64 + channel * 4 + pixel]
                    for other in 0..<4 { result[token * 64 + channel * 4 + other] = value }
                }
            }
            return result
        }
        func expectStandard(_ x: Tensor, _ latents: Latents, stage: Int, time: Double, _ place: String) {
            let target = target(latents, stage: stage)
            let rest = Tensor(
                zip(x.values, target.values).map { ($0 - Float(time) * $1) / Float(1 - time) }, shape: x.shape)
            let count = Double(rest.count)
            let mean = rest.values.reduce(0) { $0 + Double($1) } / count
            let variance = rest.values.reduce(0) { $0 + Double($1) * Double($1) } / count
            #expect(abs(mean) < 4 / count.squareRoot(), "\(place): mean \(mean)")
            #expect(abs(variance - 1) < 4 * (2 / count).squareRoot(), "\(place): variance \(variance)")
            let blocks = copies(latents, stage: stage)
            guard !blocks.isEmpty else { return }
            var (sum, pairs) = (0.0, 0.0)
            for four in blocks {
                for a in 0..<4 {
                    for b in a + 1..<4 {
                        sum += Double(rest[four[a]]) * Double(rest[four[b]])
                        pairs += 1
                    }
                }
            }
            #expect(abs(sum / pairs) < 4 / pairs.squareRoot(), "\(place): siblings correlate by \(sum / pairs)")
        }
        // Values that are copies of one of a parent's: of four siblings, or of one child's four pixels.
        func copies(_ latents: Latents, stage: Int) -> [[Int]] {
            guard upsampling == .tokenRepeat else {
                return stride(from: coarse(stage) * 64, to: stage == 1 ? 0 : latents.count * 64, by: 4).map {
                    [$0, $0 + 1, $0 + 2, $0 + 3]
                }
            }
            let siblings: [[Int]] =
                switch stage {
                case 2: stride(from: coarse(2), to: latents.count, by: 4).map { [$0, $0 + 1, $0 + 2, $0 + 3] }
                case 3:
                    (0..<256).map { parent in
                        let corner = parent / 16 * 64 + parent % 16 * 2
                        return [corner, corner + 1, corner + 32, corner + 33]
                    }
                default: []
                }
            return siblings.flatMap { four in (0..<64).map { channel in four.map { $0 * 64 + channel } } }
        }

        var settings = distilled
        settings.upsampling = upsampling
        var sampler = try Sampler(request: request(.ralu(settings), width: size, height: size), facts: facts())
        loop: while true {
            switch sampler.demand {
            case .velocity(let latents, let sigma, let stage, let step):
                if step == 0 {
                    expectStandard(
                        latents.tokens, latents, stage: stage, time: 1 - Double(sigma), "start of stage \(stage)")
                }
                let goal = target(latents, stage: stage)
                let velocity = Tensor(
                    zip(latents.tokens.values, goal.values).map { ($0 - $1) / sigma }, shape: goal.shape)
                if step == settings.steps[stage - 1] - 1, stage < 3 {
                    let end = settings.ends[stage - 1]
                    let ended = zip(latents.tokens.values, velocity.values).map { $0 + (Float(1 - end) - sigma) * $1 }
                    expectStandard(
                        Tensor(ended, shape: goal.shape), latents, stage: stage, time: end, "end of stage \(stage)")
                }
                try sampler.supply(velocity: velocity)
            case .decode: try sampler.supply(decoded: discs(width: size / 2, height: size / 2))
            case .finished(let latent):
                let grid = Latents(
                    tokens: Tensor(repeating: 0, shape: [1024, 64]), positions: Latents.grid(rows: 32, columns: 32))
                let goal = Packing.latent(of: target(grid, stage: 3), rows: 32, columns: 32)
                expectClose(
                    latent, Packing.decoderInput(goal, scale: 0.3611, shift: 0.1159), tolerance: 5e-5, label: "picture")
                break loop
            }
        }
    }

    @Test("tokens that stay get the noise that the settings say", arguments: RALUSettings.IdleNoise.allCases)
    func idleNoise(mode: RALUSettings.IdleNoise) throws {
        var settings = distilled
        settings.idleNoise = mode
        var sampler = try Sampler(request: request(.ralu(settings), width: 512, height: 512), facts: facts())
        while true {
            switch sampler.demand {
            // Of a network that knows the picture, here 0, all is noise.
            case .velocity(let latents, let sigma, 1, _):
                try sampler.supply(
                    velocity: Tensor(latents.tokens.values.map { $0 / sigma }, shape: latents.tokens.shape))
            case .decode: try sampler.supply(decoded: discs(width: 256, height: 256))
            case .velocity(let latents, let sigma, _, _):
                let stay = latents.tokens.values.prefix(180 * 64).map { Double($0 / sigma) }
                let variance = stay.reduce(0) { $0 + $1 * $1 } / Double(stay.count)
                let expected = mode == .exact ? 1 : 1 + 1 / (settings.z * settings.z)
                #expect(abs(variance - expected) < 4 * expected * (2 / Double(stay.count)).squareRoot(), "\(variance)")
                return
            case .finished: throw BadDemand()
            }
        }
    }

    @Test("edges are looked for in the brightness that the settings say", arguments: RALUSettings.Gray.allCases)
    func gray(range: RALUSettings.Gray) throws {
        var settings = distilled
        settings.gray = range
        var sampler = try Sampler(request: request(.ralu(settings), width: 512, height: 512), facts: facts())
        // Dark discs, which the official range does not see.
        var dark = discs(width: 256, height: 256)
        dark.planes = Tensor(dark.planes.values.map { $0 / 2 - 0.45 }, shape: dark.planes.shape)
        while case .velocity(let latents, let sigma, _, _) = sampler.demand {
            try sampler.supply(velocity: fakeVelocity(latents, sigma: sigma))
        }
        try sampler.supply(decoded: dark)
        let map = EdgeMap(dark, range: range)
        #expect(map.edges.contains { $0 != 0 } == (range == .normalised))
        let selected = Set(map.selection(76, seed: 7))
        guard case .velocity(let latents, _, 2, _) = sampler.demand else { throw BadDemand() }
        let stay = (0..<180).map { Int(latents.positions[3 * $0 + 1]) * 16 + Int(latents.positions[3 * $0 + 2]) }
        #expect(stay == (0..<256).filter { !selected.contains($0) })
    }

    private struct BadDemand: Error {}

    @Test("U15 the clean estimate with the new noise level equals the one with the old")
    func cleanEstimate() throws {
        var sampler = try Sampler(request: request(.ralu(flux4x)), facts: facts())
        var expected: Tensor?
        while case .velocity(let latents, let sigma, _, _) = sampler.demand {
            let v = fakeVelocity(latents, sigma: sigma)
            let clean = Tensor(
                zip(latents.tokens.values, v.values).map { $0 - sigma * $1 }, shape: latents.tokens.shape)
            expected = Packing.decoderInput(
                Packing.latent(of: clean, rows: 3, columns: 4), scale: 0.3611, shift: 0.1159)
            try sampler.supply(velocity: v)
        }
        guard case .decode(let latent) = sampler.demand else {
            Issue.record("no decode was asked for")
            return
        }
        #expect(sampler.step == 5)
        expectClose(latent, try #require(expected), tolerance: 1e-5, label: "estimate")
    }

    @Test(
        "a sampler that was encoded and decoded after every step goes on with the same bits",
        arguments: [SamplerSettings.euler(steps: 4), .ralu(flux4x), .ralu(distilled), .ralu(otherSwitches)])
    func codable(settings: SamplerSettings) throws {
        let start = try Sampler(request: request(settings), facts: facts())
        let straight = try run(start)
        let json = try run(start) { sampler in
            let copy = try JSONDecoder().decode(Sampler.self, from: JSONEncoder().encode(sampler))
            #expect(copy == sampler && copy.demand == sampler.demand)
            sampler = copy
        }
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        let plist = try run(start) { sampler in
            sampler = try PropertyListDecoder().decode(Sampler.self, from: encoder.encode(sampler))
        }
        let bytes = try run(start) { sampler in
            let copy = try Sampler(checkpoint: sampler.checkpoint())
            #expect(copy == sampler)
            sampler = copy
        }
        #expect(json == straight && plist == straight && bytes == straight)
        #expect(try run(start) == straight)
        let other = try Sampler(request: request(settings, seed: 8), facts: facts())
        #expect(try run(other) != straight)
    }

    @Test("a shift below 1 begins at pure noise, too, and its checkpoints are read", arguments: [0.1, 0.2, 0.45])
    func smallShifts(shift: Double) throws {
        var facts = facts()
        facts.schedule = ScheduleFacts(shift: shift, dynamic: false)
        #expect(Schedule.euler(steps: 4, tokens: 256, facts: facts.schedule)[0] == 1)
        let sampler = try Sampler(request: request(.euler(steps: 4)), facts: facts)
        #expect(try Sampler(checkpoint: sampler.checkpoint()) == sampler)
    }

    @Test("injected noise travels in a checkpoint until it is used, and decides the picture")
    func injectedCheckpoint() throws {
        func normals(_ shape: [Int], _ purpose: UInt32) -> Tensor {
            Philox(seed: 1, purpose: purpose).normals(shape.reduce(1, *)).reshaped(shape)
        }
        let injected = InjectedNoise(named: [
            "latents": normals([1, 48, 64], 1), "noise_stage2": normals([1, 12 + 9, 64], 2),
            "noise_stage3": normals([48, 64], 3), "tie_noise": normals([12], 4), "other": normals([2], 5),
        ])
        let start = try Sampler(request: request(.ralu(flux4x)), facts: facts(), injected: injected)
        let straight = try run(start)
        let trace = Trace()
        let resumed = try run(start, trace: trace) { $0 = try Sampler(checkpoint: $0.checkpoint()) }
        #expect(resumed == straight)
        for name in ["latents", "noise_stage2", "noise_stage3", "tie_noise"] {
            let used = injected.named(name)
            #expect(trace[name] == .floats(name == "tie_noise" ? used : used.reshaped([1] + used.shape)), "\(name)")
        }
        let drawn = try run(Sampler(request: request(.ralu(flux4x)), facts: facts()))
        #expect(drawn != straight)
        var sampler = start
        while case .velocity(let latents, _, _, _) = sampler.demand { try sampler.supply(velocity: latents.tokens) }
        #expect(sampler.injected?.latents == nil && sampler.injected?.noiseStage3 != nil)
    }

    @Test("a damaged checkpoint is refused, and one that was made to deceive cannot crash")
    func damage() throws {
        var sampler = try Sampler(
            request: request(.ralu(distilled), width: 32, height: 32), facts: facts(),
            injected: InjectedNoise(tieNoise: Tensor([0], shape: [1])))
        var states = [sampler.checkpoint()]
        while case .velocity(let latents, _, _, _) = sampler.demand { try sampler.supply(velocity: latents.tokens) }
        states.append(sampler.checkpoint())
        for bytes in states {
            for length in 0..<bytes.count {
                #expect(throws: SamplingError.self) { try Sampler(checkpoint: Array(bytes.prefix(length))) }
            }
            #expect(throws: SamplingError.self) { try Sampler(checkpoint: bytes + [0]) }
            var refused = 0
            for index in 0..<bytes.count - 8 {
                for change in [0x01, 0x10, 0x80, 0xFF] as [UInt8] {
                    var damaged = bytes
                    damaged[index] ^= change
                    #expect(throws: SamplingError.self) { try Sampler(checkpoint: damaged) }
                    // With the right checksum it is another sampler, or refused for what it says.
                    let sum = Sampler.checksum(damaged.dropLast(8)).littleEndian
                    damaged.replaceSubrange(bytes.count - 8..<bytes.count, with: withUnsafeBytes(of: sum) { Array($0) })
                    if let other = try? Sampler(checkpoint: damaged) { _ = other.demand } else { refused += 1 }
                }
            }
            #expect(refused > 100)
        }
        let file = try JSONEncoder().encode([Data("no sampler".utf8)])
        #expect(throws: (any Error).self) { try JSONDecoder().decode([Sampler].self, from: file) }
    }

    @Test("an answer that is not a number is refused at its step, and the sampler can be asked again")
    func notNumbers() throws {
        var sampler = try Sampler(request: request(.ralu(flux4x)), facts: facts())
        func velocity() -> Tensor {
            if case .velocity(let latents, let sigma, _, _) = sampler.demand {
                return fakeVelocity(latents, sigma: sigma)
            }
            return Tensor(repeating: 0, shape: [0])
        }
        for value in [Float.nan, .infinity, -.infinity] {
            let before = sampler
            var wrong = velocity()
            wrong[2 * 64 + 5] = value
            let error = #expect(throws: SamplingError.self) { try sampler.supply(velocity: wrong) }
            #expect(error?.reason == .notNumbers(place: "token 3 of 12", step: sampler.step + 1, of: 18))
            #expect(sampler == before)
            try sampler.supply(velocity: velocity())
        }
        while case .velocity = sampler.demand { try sampler.supply(velocity: velocity()) }
        var planes = discs(width: 64, height: 48).planes
        planes[64 * 48 + 2 * 64 + 1] = .nan
        let error = #expect(throws: SamplingError.self) { try sampler.supply(decoded: Pixels(planes: planes)) }
        #expect(error.map { "\($0)" }?.contains("first at row 3, column 2 of the picture that edges") == true)
    }

    @Test("a trace has the names of recorded runs")
    func traceNames() throws {
        let ralu = Trace()
        _ = try run(Sampler(request: request(.ralu(flux4x)), facts: facts()), trace: ralu)
        let golden = try Golden("ralu").file("l4_s0")
        let elsewhere: Set = ["prompt_embeds", "pooled", "image", "eps_stage2", "eps_stage3"]
        #expect(Set(golden.names).subtracting(elsewhere).subtracting(ralu.names) == [])
        let euler = Trace()
        _ = try run(Sampler(request: request(.euler(steps: 4)), facts: facts()), trace: euler)
        #expect(
            Set(euler.names)
                == Set(["latents_unpacked", "latents", "sigmas"] + (0..<4).flatMap { ["step\($0)", "pred\($0)"] }))
    }
}

extension InjectedNoise {
    fileprivate func named(_ name: String) -> Tensor {
        let found =
            switch name {
            case "latents": latents
            case "noise_stage2": noiseStage2
            case "noise_stage3": noiseStage3
            default: tieNoise
            }
        return found ?? Tensor(repeating: 0, shape: [0])
    }
}
