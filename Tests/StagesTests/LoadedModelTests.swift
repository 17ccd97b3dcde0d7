import Checkpoint
import DiT
import Plan
import Stages
import TestKit
import Tensors
import Testing
import VAE

@Suite struct LoadedModelTests {
    let folder: ModelFolder
    let golden: GoldenFile
    let facts: ModelFacts
    let latents: Latents
    let conditioning: Conditioning

    init() throws {
        let flux = try Golden("flux-dev")
        (folder, golden) = (try flux.modelFolder, try flux.file("transformer"))
        facts = try ModelFacts(folder: folder)
        latents = Latents(
            tokens: try golden.tensor("mixed.in.hidden_states", item: 0),
            positions: try golden.tensor("mixed.in.img_ids"))
        conditioning = Conditioning(
            context: try golden.tensor("mixed.in.encoder_hidden_states", item: 0),
            pooled: try golden.tensor("mixed.in.pooled_projections", item: 0))
    }

    @Test func `embed, run and head are those of the network`() throws {
        let compute = Compute(threads: 2)
        let model = try LoadedModel(folder: folder, share: .everything(of: facts), compute: compute)
        let flux = try Flux(folder: folder, compute: compute)
        var (stream, expected) = (
            model.embed(latents, conditioning, sigma: 0.7, guidance: 3.5),
            flux.embed(latents, conditioning, sigma: 0.7, guidance: 3.5)
        )
        var seen: [Int] = []
        model.run(&stream) { seen.append($0) }
        flux.run(blocks: 0..<5, &expected)
        #expect(stream == expected)
        #expect(seen == [0, 1, 2, 3, 4])
        #expect(model.head(stream) == flux.head(expected))
        let z = try Golden("flux-dev").file("vae").tensor("t.z", item: 0)
        #expect(try model.decode(z) == (try Decoder(folder: folder, compute: compute)).decode(z))
    }

    @Test(arguments: [1, 2, 3, 5])
    func `any number of processes gives the bytes of one`(_ workers: Int) throws {
        let whole = try LoadedModel(folder: folder, share: .everything(of: facts), compute: Compute(threads: 1))
        var expected = whole.embed(latents, conditioning, sigma: 0.5, guidance: 3)
        whole.run(&expected)

        let models = try ClusterPlan.evenSpans(blockCount: facts.blockCount, workers: workers).map {
            try LoadedModel(
                folder: folder, share: Share(encodes: false, span: $0, decodes: false), compute: Compute(threads: 2))
        }
        var stream = models[0].embed(latents, conditioning, sigma: 0.5, guidance: 3)
        for model in models { model.run(&stream) }
        #expect(models[workers - 1].head(stream) == whole.head(expected))
        #expect(models.reduce(0) { $0 + $1.residentBytes } < whole.residentBytes)
    }

    @Test func `a process without the encoders says so`() throws {
        let model = try LoadedModel(
            folder: folder, share: Share(encodes: false, span: 0..<0, decodes: true), compute: Compute(threads: 1))
        let error = try #require(throws: StageError.self) { try model.encode(prompt: "a cat", textLength: 8) }
        #expect(error.reason == .notLoaded("text encoders"))
    }

    @Test func `a picture that holds values that are not numbers is refused`() throws {
        let share = Share(encodes: false, span: 0..<0, decodes: true)
        let model = try LoadedModel(folder: folder, share: share, compute: Compute(threads: 1))
        var latent = Tensor(repeating: 0.5, shape: [16, 4, 4])
        _ = try model.decode(latent)
        latent[5] = .nan
        let error = try #require(throws: StageError.self) { try model.decode(latent) }
        #expect("\(error)".hasPrefix("the picture holds values that are not numbers (first at row "))
    }

    @Test func `a component that the index leaves empty is refused, though its folder is there`() throws {
        let model = try AlteredModel(["model_index.json": ("\"T5EncoderModel\"", "null")])
        for share in [Share.encoders, .everything(of: facts)] {
            let error = #expect(throws: StageError.self) {
                try LoadedModel(folder: model.folder, share: share, compute: Compute(threads: 1))
            }
            #expect(error?.reason == .unlisted(component: "text_encoder_2"))
        }
    }

    @Test func `a span beyond the network is refused`() throws {
        let share = Share(encodes: false, span: 3..<6, decodes: false)
        let error = try #require(throws: StageError.self) {
            try LoadedModel(folder: folder, share: share, compute: Compute(threads: 1))
        }
        #expect(error.reason == .span(3..<6, blockCount: 5))
    }

    @Test(arguments: [
        ("\"num_layers\": 2", "\"num_layers\": 3", "no tensor transformer_blocks.2.norm1.linear.weight"),
        ("\"pooled_projection_dim\": 32", "\"pooled_projection_dim\": 31", "text_embedder.linear_1.weight"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 3", "transformer_blocks.0."),
    ])
    func `weights that do not fit the configuration are refused by name`(
        _ find: String, _ replace: String, _ text: String
    ) throws {
        let model = try AlteredModel(["transformer/config.json": (find, replace)])
        let error = try #require(throws: CheckpointError.self) {
            try LoadedModel(
                folder: model.folder, share: Share(encodes: false, span: 0..<3, decodes: false),
                compute: Compute(threads: 1))
        }
        #expect("\(error)".contains(text), "\(error)")
    }

    @Test func `a folder whose files were replaced is refused by who knew it before`() throws {
        let model = try AlteredModel([
            "transformer/config.json": ("\"num_single_layers\": 3", "\"num_single_layers\": 4")
        ])
        let now = try model.folder.fingerprint()
        func load(_ fingerprint: String) throws {
            _ = try LoadedModel(
                folder: model.folder, share: Share(encodes: false, span: 0..<5, decodes: false),
                compute: Compute(threads: 1), fingerprint: fingerprint)
        }
        try load(now)
        let error = #expect(throws: StageError.self) { try load(facts.fingerprint) }
        #expect(error?.reason == .changed(from: facts.fingerprint, to: now))
    }

    @Test func `a span does not look at the weights of others`() throws {
        let model = try AlteredModel([
            "transformer/config.json": ("\"num_single_layers\": 3", "\"num_single_layers\": 4")
        ])
        func load(_ span: Range<Int>) throws {
            _ = try LoadedModel(
                folder: model.folder, share: Share(encodes: false, span: span, decodes: false),
                compute: Compute(threads: 1))
        }
        try load(0..<5)
        #expect(throws: CheckpointError.self) { try load(5..<6) }
    }

    @Test(arguments: ComputeFormat.allCases)
    func `the headers tell how much memory the weights take`(_ format: ComputeFormat) throws {
        let kernels = try #require(KernelClass.current.computing(in: format))
        let model = try LoadedModel(
            folder: folder, share: .everything(of: facts), compute: Compute(threads: 1, kernels: kernels))
        let told = try weightMemory(of: folder, in: format)
        #expect(abs(Double(told) / Double(model.residentBytes) - 1) < 0.02, "\(told) of \(model.residentBytes)")
    }
}
