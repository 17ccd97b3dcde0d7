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

/// Whole runs of the tiny models against diffusers, prompt to PNG.
@Suite("Whole pipelines", .timeLimit(.minutes(10)))
struct PipelineGoldenTests {
    struct Run: CustomTestStringConvertible {
        let model: String
        let name: String
        let width: Int
        let height: Int
        let guidance: Float
        let textLength: Int
        let prompt: Int
        var testDescription: String { "\(model) \(name)" }
    }

    /// Source: `runs` of the manifests; prompts by their row in prompts.json.
    static let runs = [
        Run(model: "flux-dev", name: "r0", width: 128, height: 128, guidance: 3.5, textLength: 64, prompt: 10),
        Run(model: "flux-dev", name: "r1", width: 160, height: 96, guidance: 2, textLength: 512, prompt: 3),
        Run(model: "flux-schnell", name: "r0", width: 128, height: 128, guidance: 0, textLength: 64, prompt: 10),
        Run(model: "flux-schnell", name: "r1", width: 160, height: 96, guidance: 0, textLength: 256, prompt: 3),
    ]

    @Test("Euler gives diffusers' tensors and pixels", arguments: runs)
    func euler(run: Run) throws {
        let golden = try Golden(run.model)
        let file = try golden.file("pipeline")
        let renderer = try Renderer(golden: golden, threads: 2)
        let request = ImageRequest(
            prompt: golden.prompts[run.prompt], seed: 0, width: run.width, height: run.height, guidance: run.guidance,
            textLength: run.textLength, sampler: .euler(steps: 4))
        let trace = Trace()
        let injection = Injection(named: ["latents": try file.tensor("\(run.name).latents")])
        let picture = try renderer.render(request, injecting: injection, trace: trace)

        for name in ["latents_unpacked", "latents", "prompt_embeds", "pooled", "sigmas"] + (0..<4).map({ "step\($0)" })
            + ["image"]
        {
            guard case .floats(let tensor) = trace[name] else {
                Issue.record("the trace lacks \(name)")
                continue
            }
            #expect(tensor.shape == (try file.shape("\(run.name).\(name)")), "\(name)")
            try expectClose(tensor, file, "\(run.name).\(name)", part: "euler")
        }

        let reference = try PNG.decode(bytes("\(golden.path)/pipeline_\(run.name).png"))
        let ours = try PNG.decode(picture.png())
        #expect(ours.width == reference.width && ours.height == reference.height)
        let worst = zip(ours.rgb8, reference.rgb8).map { abs(Int($0) - Int($1)) }.max() ?? 0
        #expect(worst <= 1, "pixels differ by up to \(worst) levels")
        #expect(picture.steps == 4 && picture.tokenSteps == 4 * request.fullTokens)
        #expect(try PictureMetadata(of: ours).request == request)
    }

    private func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: path))) }
}

extension Renderer {
    /// All of a golden's model.
    init(golden: Golden, threads: Int) throws {
        let folder = try golden.modelFolder
        let facts = try ModelFacts(folder: folder)
        let compute = Compute(threads: threads)
        self.init(
            model: try LoadedModel(folder: folder, share: .everything(of: facts), compute: compute), facts: facts,
            kernelClass: compute.kernels.name)
    }
}
