import Checkpoint
import Foundation
import Tensors
import TestKit
import Testing
import Text

@Suite struct EncoderGoldenTests {
    let compute = Compute(threads: 1)
    /// Prompts that rows of text.safetensors belong to.
    static let rows = [0, 1, 2, 3, 7, 9]

    @Test("CLIP's states and pooled output are within tolerance")
    func clip() throws {
        let golden = try Golden("flux-dev")
        let file = try golden.file("text")
        let encoder = try ClipEncoder(folder: golden.modelFolder, compute: compute)
        for item in Self.rows.indices {
            let output = try encoder(try file.ints("clip.ids", row: item))
            try expectClose(output.lastHiddenState, file, "clip.last_hidden_state", item: item, part: "clip")
            try expectClose(output.penultimate, file, "clip.penultimate", item: item, part: "clip")
            try expectClose(output.pooled, file, "clip.pooler_output", item: item, part: "clip")
            guard Self.rows[item] == 1 else { continue }
            for (layer, state) in output.hiddenStates.enumerated() {
                try expectClose(state, file, "clip.hidden\(layer)_p1", part: "clip")
            }
        }
    }

    @Test("T5's states and position bias are within tolerance")
    func t5() throws {
        let golden = try Golden("flux-dev")
        let file = try golden.file("text")
        let encoder = try T5Encoder(folder: golden.modelFolder, compute: compute)
        try expectClose(encoder.positionBias(length: 64), file, "t5.position_bias", part: "t5")
        for item in Self.rows.indices {
            let ids = try file.ints("t5.ids", row: item)
            try expectClose(encoder(ids), file, "t5.last_hidden_state", item: item, part: "t5")
            guard Self.rows[item] == 1 else { continue }
            var hidden = encoder.embed(ids)
            for block in 0..<encoder.blockCount {
                if block < 3 { try expectClose(hidden, file, "t5.hidden\(block)_p1", part: "t5") }
                try encoder.run(blocks: block..<block + 1, &hidden)
            }
        }
    }

    @Test("prompts become the conditioning of the pipelines", arguments: ["flux-dev", "flux-schnell"])
    func conditioning(folder: String) throws {
        let golden = try Golden(folder)
        let file = try golden.file("pipeline")
        let encoders = try TextEncoders(folder: golden.modelFolder, compute: compute)
        for (run, prompt) in [("r0", 10), ("r1", 3)] {
            let length = try file.shape("\(run).prompt_embeds")[1]
            let made = try encoders.encode(prompt: golden.prompts[prompt], textLength: length)
            try expectClose(made.context, file, "\(run).prompt_embeds", part: "conditioning")
            try expectClose(made.pooled, file, "\(run).pooled", part: "conditioning")
        }
    }

    @Test("spans of T5 give the bits of the whole", arguments: [1, 2])
    func spans(cut: Int) throws {
        let golden = try Golden("flux-dev")
        let folder = try golden.modelFolder
        let ids = try golden.file("text").ints("t5.ids", row: 1)
        let whole = try T5Encoder(folder: folder, compute: compute)
        let front = try T5Encoder(folder: folder, span: 0..<cut, compute: compute)
        let back = try T5Encoder(folder: folder, span: cut..<whole.blockCount, compute: compute)
        var hidden = front.embed(ids)
        try front.run(blocks: front.span, &hidden)
        try back.run(blocks: back.span, &hidden)
        #expect(try back.head(hidden) == whole(ids))
        #expect(front.residentBytes < whole.residentBytes && back.residentBytes < whole.residentBytes)
    }

    @Test("a row of T5's output does not depend on the number of threads")
    func threads() throws {
        let golden = try Golden("flux-dev")
        let one = try TextEncoders(folder: golden.modelFolder, compute: compute)
        let three = try TextEncoders(folder: golden.modelFolder, compute: Compute(threads: 3))
        let prompt = golden.prompts[1]
        #expect(try one.encode(prompt: prompt, textLength: 77) == three.encode(prompt: prompt, textLength: 77))
    }

    /// A copy of the tiny FLUX.1-dev with values of one encoder's configuration changed; those that are nil are left out.
    private func altered(_ component: String, _ values: [String: Int?]) throws -> TemporaryFolder {
        let copy = TemporaryFolder()
        let source = try Golden("flux-dev").modelFolder.path
        for name in try FileManager.default.contentsOfDirectory(atPath: source) {
            try FileManager.default.copyItem(atPath: "\(source)/\(name)", toPath: copy.path(name))
        }
        let path = "\(component)/config.json"
        let json = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: copy.path(path))))
        var config = try #require(json as? [String: Any])
        for (key, value) in values {
            try #require(config[key] != nil)
            config[key] = value
        }
        try copy.write(Array(try JSONSerialization.data(withJSONObject: config)), name: path)
        return copy
    }

    @Test(
        "an end token that the tokenizer does not write is refused; 2 means the largest id, none means 49407",
        arguments: [(nil, 49407), (49407, 49407), (3, 3)] as [(Int?, Int)])
    func otherEnd(value: Int?, id: Int) throws {
        let copy = try altered("text_encoder", ["eos_token_id": value])
        let error = #expect(throws: TextError.self) {
            try TextEncoders(folder: ModelFolder(path: copy.path), compute: compute)
        }
        #expect(error?.description.contains("eos_token_id, 49407 unless given, is \(id), but its tokenizer") == true)
    }

    @Test("an end token by its id pools where the largest id does")
    func endByID() throws {
        let golden = try Golden("flux-dev")
        let end = try #require(try golden.file("text").ints("clip.ids", row: 0).max())
        let copy = try altered("text_encoder", ["eos_token_id": end])
        let (old, new) = (
            try TextEncoders(folder: golden.modelFolder, compute: compute),
            try TextEncoders(folder: ModelFolder(path: copy.path), compute: compute)
        )
        let pooled = try golden.prompts.prefix(2).map { prompt in
            let known = try old.encode(prompt: prompt, textLength: 8)
            #expect(try new.encode(prompt: prompt, textLength: 8) == known)
            return known.pooled
        }
        #expect(pooled[0] != pooled[1])
    }

    @Test(
        "sizes that no encoder has are refused before anything is allocated by them",
        arguments: [
            ("text_encoder", ["num_attention_heads": 1025, "hidden_size": 2050]),
            ("text_encoder_2", ["num_heads": 1_000_000]), ("text_encoder_2", ["num_heads": 1025]),
            ("text_encoder_2", ["num_heads": 0]), ("text_encoder_2", ["d_kv": 4097]),
            ("text_encoder_2", ["relative_attention_num_buckets": 4100]),
        ] as [(String, [String: Int])])
    func hostileSizes(component: String, values: [String: Int]) throws {
        let copy = try altered(component, values)
        let error = #expect(throws: TextError.self) {
            try TextEncoders(folder: ModelFolder(path: copy.path), compute: compute)
        }
        #expect(error?.description.hasPrefix("\(copy.path)/\(component)/config.json cannot be used: ") == true)
        #expect(error?.description.hasSuffix("; copy or download it again, or give another model") == true)
    }

    @Test("the model that ships encodes prompts")
    func demo() throws {
        let encoders = try TextEncoders(folder: ModelFolder(path: Fixtures.demoModel), compute: compute)
        #expect(encoders.maxTextLength == 32)
        let made = try encoders.encode(prompt: "a red car on a beach at night", textLength: 32)
        #expect(made.context.shape == [32, 192] && made.pooled.shape == [128])
        #expect(made.context.values.allSatisfy(\.isFinite) && made.pooled.values.allSatisfy(\.isFinite))
        #expect(try made != encoders.encode(prompt: "a blue car on a beach at night", textLength: 32))
    }
}
