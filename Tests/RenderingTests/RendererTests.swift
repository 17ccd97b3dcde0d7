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

@Suite("One process", .timeLimit(.minutes(10)))
struct RendererTests {
    let golden: Golden
    let request: ImageRequest

    init() throws {
        golden = try Golden("flux-dev")
        let ralu = RALUSettings(
            steps: [1, 1, 2], ends: [0.3, 0.45, 1], shifts: [5, 2.6, 2.2], z: 6.3, upRatio: 0.3)
        request = ImageRequest(
            prompt: "a red heart", seed: 7, width: 96, height: 64, guidance: 3.5, textLength: 16, sampler: .ralu(ralu))
    }

    @Test("the bytes do not depend on the number of threads, but on the seed")
    func threads() throws {
        let one = try Renderer(golden: golden, threads: 1).render(request).png()
        let two = try Renderer(golden: golden, threads: 2).render(request).png()
        #expect(one == two)
        var other = request
        other.seed = 8
        #expect(try Renderer(golden: golden, threads: 1).render(other).png() != one)
    }

    @Test("progress names every part in order, and an error in it cancels")
    func progress() throws {
        let renderer = try Renderer(golden: golden, threads: 2)
        var seen: [Renderer.Progress] = []
        let picture = try renderer.render(request) { seen.append($0) }
        #expect(
            seen == [
                .encoding, .denoising(step: 0, of: 4), .decoding(isFinal: false), .denoising(step: 1, of: 4),
                .denoising(step: 2, of: 4), .denoising(step: 3, of: 4), .decoding(isFinal: true),
            ])
        #expect(picture.tokenSteps == 6 + (6 + 3) + 2 * 24)
        #expect(throws: CancellationError.self) {
            try renderer.render(request) { if $0 != .encoding { throw CancellationError() } }
        }
    }

    @Test("with the text encoders let go before the rest is read, the bytes are the same")
    func once() throws {
        let folder = try golden.modelFolder
        let facts = try ModelFacts(folder: folder)
        let (trace, known) = (Trace(), Trace())
        var seen: [Renderer.Progress] = []
        let (picture, loading) = try Renderer.renderOnce(
            request, folder: folder, facts: facts, compute: Compute(threads: 2), trace: trace
        ) { seen.append($0) }
        let begin: [Renderer.Progress] = [
            .loading(.encoders), .encoding, .loading(.allButEncoders(of: facts)), .denoising(step: 0, of: 4),
        ]
        #expect(Array(seen.prefix(4)) == begin)
        #expect(loading > Duration.zero)
        let whole = try Renderer(golden: golden, threads: 2).render(request, trace: known)
        #expect(try picture.png() == whole.png())
        #expect(picture.pixels == whole.pixels && trace.names == known.names)
    }

    /// A copy of the golden's model that may be changed.
    private func copiedModel(in folder: TemporaryFolder) throws -> ModelFolder {
        try FileManager.default.copyItem(atPath: golden.modelFolder.path, toPath: folder.path("model"))
        return try ModelFolder(path: folder.path("model"))
    }

    @Test("the text encoders are not read for a picture whose embeddings are both injected")
    func withoutEncoders() throws {
        let temporary = TemporaryFolder()
        let folder = try copiedModel(in: temporary)
        try Data().write(to: URL(filePath: folder.path("tokenizer") + "/merges.txt"))
        let facts = try ModelFacts(folder: folder)
        func render(_ injection: Injection) throws -> Pixels {
            try Renderer.renderOnce(
                request, folder: folder, facts: facts, compute: Compute(threads: 2), injecting: injection
            ).picture.pixels
        }
        let renderer = try Renderer(golden: golden, threads: 2)
        let encoded = try renderer.model.encode(prompt: request.prompt, textLength: request.textLength)
        var named = ["prompt_embeds": encoded.context]
        for injection in [Injection(), Injection(named: named)] {
            let error = #expect(throws: (any Error).self) { try render(injection) }
            #expect(error.map { "\($0)".contains("merges.txt") } == true)
        }
        named["pooled"] = encoded.pooled
        #expect(try render(Injection(named: named)) == renderer.render(request).pixels)
    }

    @Test("a model whose files change between its text encoders and the rest is refused")
    func changedMeanwhile() throws {
        let temporary = TemporaryFolder()
        let folder = try copiedModel(in: temporary)
        let facts = try ModelFacts(folder: folder)
        var seen: [Renderer.Progress] = []
        let error = #expect(throws: StageError.self) {
            try Renderer.renderOnce(request, folder: folder, facts: facts, compute: Compute(threads: 2)) { progress in
                seen.append(progress)
                guard progress == .encoding else { return }
                let config = URL(filePath: folder.path("vae") + "/config.json")
                try (Data(contentsOf: config) + Data(" ".utf8)).write(to: config)
            }
        }
        #expect(error?.description.contains("are not those that this process began with") == true)
        #expect(seen.last == .loading(.allButEncoders(of: facts)))
    }

    @Test("a written trace can be injected and gives the same picture")
    func traceAndInject() throws {
        let renderer = try Renderer(golden: golden, threads: 2)
        let trace = Trace()
        let picture = try renderer.render(request, trace: trace)
        let path = FileManager.default.temporaryDirectory.path + "/trace-\(UUID().uuidString).safetensors"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try trace.write(to: path)
        let file = try SafetensorsFile(path: path)
        #expect(file.names.sorted() == trace.names.sorted())
        #expect(try file["edges"].dtype == .u8)
        #expect(try file["selected"].dtype == .i64)

        var named: [String: Tensor] = [:]
        for name in Injection.names where file.contains(name) { named[name] = try file[name].tensor() }
        var other = request
        (other.seed, other.prompt) = (99, "something else")
        let again = try renderer.render(other, injecting: Injection(named: named))
        #expect(again.pixels == picture.pixels)
        #expect(picture.metadata.injected == nil)
        let names = ["latents_unpacked", "noise_stage2", "noise_stage3", "tie_noise", "prompt_embeds", "pooled"]
        #expect(again.metadata.injected == names)
        let euler = Injection(named: named).used(by: .euler(steps: 1))
        #expect(euler == ["latents_unpacked", "prompt_embeds", "pooled"])
    }

    @Test("refuses to inject what does not fit, or what it does not know")
    func refuses() throws {
        let renderer = try Renderer(golden: golden, threads: 1)
        func refused(_ name: String, _ shape: [Int]) {
            let injection = Injection(named: [name: Tensor(repeating: 0, shape: shape)])
            #expect(throws: (any Error).self, "\(name) \(shape)") {
                try renderer.render(request, injecting: injection)
            }
        }
        refused("prompt_embeds", [16, 47])
        refused("prompt_embeds", [513, 48])
        refused("pooled", [31])
        refused("latents", [23, 64])
        refused("noise_stage2", [24, 64])
        for (name, shape) in [("prompt_embeds", [16, 48]), ("pooled", [32]), ("latents", [24, 64])] {
            var tensor = Tensor(repeating: 0, shape: shape)
            tensor[5] = .nan
            let error = #expect(throws: (any Error).self) {
                try renderer.render(request, injecting: Injection(named: [name: tensor]))
            }
            #expect(error.map { "\($0)" } == "cannot inject \(name): its value 5 is nan; numbers are needed")
        }
        let path = FileManager.default.temporaryDirectory.path + "/inject-\(UUID().uuidString).safetensors"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var writer = SafetensorsWriter()
        writer.add("latent", Tensor(repeating: 0, shape: [24, 64]))
        try writer.write(to: path)
        let error = #expect(throws: RenderingError.self) { try Injection(path: path) }
        #expect(error?.description.contains("nothing that can be injected") == true)
        // More values than any picture takes, in a file of holes.
        let values = 1 << 27
        let header = Data(
            "{\"latents\":{\"dtype\":\"U8\",\"shape\":[\(values)],\"data_offsets\":[0,\(values)]}}".utf8)
        let length = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }
        try (length + header).write(to: URL(filePath: path))
        #expect(truncate(path, length.count + header.count + values) == 0)
        let large = #expect(throws: RenderingError.self) { try Injection(path: path) }
        #expect(large?.description.contains("no picture takes 134217728 values") == true)
    }

    @Test("values that overflow in the network end the picture at their step")
    func overflow() throws {
        let renderer = try Renderer(golden: golden, threads: 2)
        let injection = Injection(named: ["latents": Tensor(repeating: 3e38, shape: [24, 64])])
        var steps = 0
        let error = #expect(throws: SamplingError.self) {
            try renderer.render(request, injecting: injection) { if case .denoising = $0 { steps += 1 } }
        }
        #expect(steps == 1)
        #expect(error.map { "\($0)" }?.hasPrefix("the picture holds values that are not numbers (first at") == true)
        #expect(error.map { "\($0)" }?.contains("after step 1 of 4") == true)
    }

    @Test("impossible sizes are refused with sizes that work")
    func sizes() throws {
        var odd = request
        odd.width = 100
        let error = #expect(throws: SamplingError.self) {
            try Renderer(golden: golden, threads: 1).render(odd)
        }
        #expect(error.map { "\($0)".contains("96x64") } == true)
    }
}
