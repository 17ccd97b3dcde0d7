internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Imaging
internal import Plan
internal import Rendering
internal import Sampling
internal import Settings
internal import Stages
internal import Tensors

/// One process, no cluster: prompt in, PNG out.
struct RenderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "render", abstract: "Render one picture in this process, without a cluster.",
        discussion: """
            The same bytes as any cluster makes from the same request. For comparison with reference runs, --inject takes \
            noise and embeddings from a file and --trace writes every intermediate tensor.

            \(DemoWords.help)
            """)

    @Option(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
    var model: String?

    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: ArgumentHelp(
            "The text to draw. The demo model's words are above.", valueName: "text"))
    var prompt: String

    @OptionGroup var picture: PictureOptions

    @Option(
        help: ArgumentHelp(
            "Number format of the transformer's matrix products: f32, bf16 or int8.", valueName: "format"))
    var compute: ComputeFormat = .f32

    @Option(name: .shortAndLong, help: ArgumentHelp("PNG file to write.", valueName: "file.png"))
    var output = "out.png"

    @Option(
        help: ArgumentHelp(
            "Take latents_unpacked or latents, noise_stage2, noise_stage3, tie_noise, prompt_embeds, pooled from here.",
            valueName: "file.safetensors"))
    var inject: String?

    @Option(help: ArgumentHelp("Write all intermediate tensors here.", valueName: "file.safetensors"))
    var trace: String?

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var options: OutputOptions

    /// What `--json` prints.
    private struct Report: Encodable {
        let file: String
        let steps: Int
        let tokenSteps: Int
        let loadSeconds: Double
        let renderSeconds: Double
        let metadata: PictureMetadata
    }

    func run() async throws {
        try checkOutputs()
        let clock = ContinuousClock()
        let begin = clock.now
        let folder = try modelFolder(model)
        let facts = try ModelFacts(folder: folder)
        let line = PromptLine(prompt: prompt, place: .init(file: "the command line"))
        var presets = Presets(in: .ofThisProcess())
        let request = try picture.defaults.request(line, index: 0, facts: facts, presets: &presets)
        let injection = try inject.map { try Injection(path: $0) } ?? Injection()
        // Refuses what cannot work before any weights are read.
        try injection.check(facts: facts)
        _ = try Sampler(request: request, facts: facts, injected: injection.noise)
        if let inject {
            let (used, held) = (injection.used(by: request.sampler), injection.held)
            let unused = held.filter { !used.contains($0) }
            guard !used.isEmpty else {
                throw CommandFailure(
                    .usage,
                    "\(inject) holds only \(held.joined(separator: ", ")), which the sampler \(request.sampler.name) does not "
                        + "take; give the --preset that they were recorded with")
            }
            if !unused.isEmpty { note("not used of \(inject): \(unused.joined(separator: ", "))") }
        }
        noteNegativePrompts(of: [request])

        let kernels = try kernelClass(compute)
        let checked = clock.now
        let record = trace.map { _ in Trace() }
        var bar = ProgressBar()
        defer { bar.clear() }
        let (result, loading) = try Renderer.renderOnce(
            request, folder: folder, facts: facts, compute: Compute(threads: threads.count, kernels: kernels),
            injecting: injection, trace: record
        ) { progress in
            switch progress {
            case .loading(let share): bar.draw(0, "loading the " + (share.encodes ? "text encoders" : "transformer"))
            case .encoding: bar.draw(0, "encoding")
            case .denoising(let step, let total): bar.draw(Double(step) / Double(total), "step \(step + 1) of \(total)")
            case .decoding: bar.draw(1, "decoding")
            }
        }
        bar.clear()
        let bytes = try result.png()
        try writeAtomically(bytes, to: output)
        // Last: it is the larger one, and a full disk must not cost the picture.
        if let trace { try record?.write(to: trace) }
        let loadTime = checked - begin + loading
        let report = Report(
            file: output, steps: result.steps, tokenSteps: result.tokenSteps, loadSeconds: loadTime.inSeconds,
            renderSeconds: (clock.now - begin - loadTime).inSeconds, metadata: result.metadata)
        if options.json { return try sayJSON(report) }
        say(
            "\(output): \(request.width)x\(request.height), \(result.steps) steps, \(grouped(result.tokenSteps)) "
                + "token-steps, \(durationText(report.renderSeconds))")
    }
}

extension RenderCommand {
    /// Refuses output paths that cannot work, before any work is done for them.
    private func checkOutputs() throws {
        try checkWritable(output)
        guard let trace else { return }
        try checkWritable(trace)
        guard place(of: trace) != place(of: output) else {
            throw CommandFailure(.usage, "--output and --trace both name \(output); give two names")
        }
    }

    /// Where a file lies, with all links of its folder followed.
    private func place(of path: String) -> String {
        let file = URL(filePath: path)
        return file.deletingLastPathComponent().resolvingSymlinksInPath().path + "/" + file.lastPathComponent
    }
}

extension Duration {
    /// As a number.
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
