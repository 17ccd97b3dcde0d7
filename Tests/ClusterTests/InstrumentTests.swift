internal import Checkpoint
internal import Foundation
internal import TestKit
internal import Tensors
internal import Testing

/// `render --inject --trace` as people use it to compare with reference runs: files in, files out.
@Suite("The instrument", .timeLimit(.minutes(10)))
struct InstrumentTests {
    let folder = TemporaryFolder()
    let model = Fixtures.path + "/flux-dev/model"

    /// Renders with a trace and compares every golden tensor by name, shape, type and value.
    private func compare(
        _ arguments: [String], with golden: GoldenFile, names: [String: String], part: String
    ) async throws {
        let trace = folder.path("trace.safetensors")
        let outcome = try await Abbozzo.run(
            ["render", "--model", model, "--compute", "f32", "--trace", trace, "-o", folder.path("out.png")]
                + arguments, limit: .seconds(100))
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        let file = try SafetensorsFile(path: trace)
        for (name, reference) in names.sorted(by: { $0.key < $1.key }) {
            guard file.contains(name) else {
                Issue.record("the trace lacks \(name)")
                continue
            }
            let (ours, theirs) = (try file[name], try golden.stored[reference])
            #expect(ours.shape == theirs.shape && ours.dtype == theirs.dtype, "\(name)")
            if ours.dtype == .f32 {
                try expectClose(ours.tensor(), golden, reference, part: part)
            } else {
                let (left, right) = (ours.withBytes { Array($0) }, theirs.withBytes { Array($0) })
                let isRight = name == "gray" ? try grayFaults(left, against: golden).isEmpty : left == right
                #expect(isRight, "\(name) differs")
            }
        }
    }

    @Test("a recorded RALU run, given whole, gives all its tensors again", arguments: ["l7_s0", "l4_s1", "custom_s3"])
    func ralu(name: String) async throws {
        let run = try RALURun.named(name)
        let golden = try Golden("ralu").file(name)
        let preset = try folder.write(
            Array(
                """
                sampler: ralu
                steps: \(run.steps)
                ends: \(run.ends)
                shifts: \(run.shifts)
                z: \(run.z)
                up_ratio: \(run.upRatio)
                """.utf8), name: "preset.yaml")
        let names = golden.names.filter { !$0.hasPrefix("eps_") }
        try await compare(
            [
                "-p", run.prompt, "--width", "\(run.width)", "--height", "\(run.height)", "--guidance",
                "\(run.guidance)", "--text-length", "\(run.textLength)", "--preset", preset, "--inject",
                golden.stored.path,
            ], with: golden, names: Dictionary(uniqueKeysWithValues: names.map { ($0, $0) }), part: "render")
    }

    @Test("an Euler run with the reference's noise gives its tensors")
    func euler() async throws {
        let flux = try Golden("flux-dev")
        let golden = try flux.file("pipeline")
        var writer = SafetensorsWriter()
        writer.add("latents_unpacked", try golden.tensor("r0.latents_unpacked"))
        try writer.write(to: folder.path("noise.safetensors"))
        let names = ["latents", "prompt_embeds", "pooled", "sigmas", "step0", "step1", "step2", "step3", "image"]
        try await compare(
            [
                "-p", flux.prompts[10], "--width", "128", "--height", "128", "--steps", "4", "--guidance", "3.5",
                "--text-length", "64", "--sampler", "euler", "--inject", folder.path("noise.safetensors"),
            ], with: golden, names: Dictionary(uniqueKeysWithValues: names.map { ($0, "r0." + $0) }), part: "render")
    }
}
