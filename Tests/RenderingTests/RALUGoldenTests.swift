internal import Checkpoint
internal import Foundation
internal import Imaging
internal import Plan
internal import Rendering
internal import Sampling
internal import Stages
internal import TestKit
internal import Tensors
internal import Testing

/// Whole RALU runs of the tiny model against the official implementation.
@Suite("Whole RALU runs", .timeLimit(.minutes(10)))
struct RALUGoldenTests {
    @Test("RALU gives the official tensors, choices and pixels", arguments: RALURun.names)
    func ralu(name: String) throws {
        let run = try RALURun.named(name)
        let golden = try Golden("ralu").file(name)
        let renderer = try Renderer(golden: Golden("flux-dev"), threads: 2)
        let settings = RALUSettings(
            steps: run.steps, ends: run.ends, shifts: run.shifts, z: run.z, upRatio: run.upRatio)
        let request = ImageRequest(
            prompt: run.prompt, seed: 0, width: run.width, height: run.height, guidance: run.guidance,
            textLength: run.textLength, sampler: .ralu(settings))
        let injected = [
            "latents_unpacked", "noise_stage2", "noise_stage3", "tie_noise", "prompt_embeds", "pooled",
        ]
        let trace = Trace()
        let picture = try renderer.render(
            request,
            injecting: Injection(
                named: Dictionary(uniqueKeysWithValues: injected.map { ($0, try golden.tensor($0)) })),
            trace: trace)

        // Everything that was recorded but the normals behind the ready-made noise, which is injected.
        for name in golden.names where !name.hasPrefix("eps_") {
            switch trace[name] {
            case .floats(let tensor):
                #expect(tensor.shape == (try golden.shape(name)), "\(name)")
                if name.hasSuffix("img_ids") { #expect(try tensor == golden.tensor(name), "\(name)") }
                try expectClose(tensor, golden, name)
            case .integers(let values, let shape):
                #expect(shape == (try golden.shape(name)), "\(name)")
                try expectEqual(values.map { Int($0) }, golden, name)
            case .bytes(let bytes, let shape):
                #expect(shape == (try golden.shape(name)), "\(name)")
                // From the recorded picture on, gray, edges, sums and selection are exact: see the sampling tests. From
                // the prompt on, edges and selection are, and gray is but for levels that rounding decides.
                let faults =
                    name == "gray"
                    ? try grayFaults(bytes, against: golden)
                    : try zip(bytes, golden.bytes(name)).enumerated().filter { $0.element.0 != $0.element.1 }
                        .map(\.offset)
                ClosenessLog.shared.enter(group: golden.group, name: name, share: faults.isEmpty ? 0 : .infinity)
                #expect(faults.isEmpty, "\(name): \(faults.count) of \(bytes.count) differ, first \(faults.prefix(3))")
            case nil: Issue.record("the trace lacks \(name)")
            }
        }

        let reference = try PNG.decode([UInt8](Data(contentsOf: URL(filePath: "\(Fixtures.path)/ralu/\(name).png"))))
        let ours = try PNG.decode(picture.png())
        #expect(ours.width == reference.width && ours.height == reference.height)
        let worst = zip(ours.rgb8, reference.rgb8).map { abs(Int($0) - Int($1)) }.max() ?? 0
        #expect(worst <= 1, "pixels differ by up to \(worst) levels")
        #expect(picture.steps == run.steps.reduce(0, +))
        let full = request.fullTokens
        let tokens = [full / 4, full / 4 + 3 * run.refined, full]
        #expect(picture.tokenSteps == zip(run.steps, tokens).reduce(0) { $0 + $1.0 * $1.1 })
    }

    @Test("a run that is stored and read back at every step gives the same picture")
    func resumed() throws {
        let renderer = try Renderer(golden: Golden("flux-dev"), threads: 1)
        let settings = RALUSettings(
            steps: [2, 3, 5], ends: [0.2, 0.3, 1], shifts: [8.141, 2.856, 2.193], z: 6.261, upRatio: 0.1)
        let request = ImageRequest(
            prompt: "a cat", seed: 5, width: 128, height: 96, guidance: 3.5, textLength: 64, sampler: .ralu(settings))
        let straight = try renderer.render(request)
        let conditioning = try renderer.model.encode(prompt: "a cat", textLength: 64)
        var sampler = try Sampler(request: request, facts: renderer.facts)
        while true {
            sampler = try Sampler(checkpoint: sampler.checkpoint())
            switch sampler.demand {
            case .velocity(let latents, let sigma, _, _):
                var stream = renderer.model.embed(latents, conditioning, sigma: sigma, guidance: 3.5)
                renderer.model.run(&stream)
                try sampler.supply(velocity: renderer.model.head(stream))
            case .decode(let latent): try sampler.supply(decoded: renderer.model.decode(latent))
            case .finished(let latent):
                #expect(try renderer.model.decode(latent) == straight.pixels)
                return
            }
        }
    }
}
