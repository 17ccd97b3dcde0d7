package import Checkpoint
internal import DiT
package import Plan
internal import Text
internal import VAE

extension ModelFacts {
    /// Pipelines that can be loaded, by the class in `model_index.json`.
    private static let families = ["FluxPipeline"]

    /// What FLUX is made of: folders that are read by these names, whatever else the index lists.
    private static let components = [
        "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae",
    ]

    /// Longest text that the FLUX pipelines accept, whatever the tokenizer's configuration says.
    private static let textLimit = 512

    /// Reads what a coordinator must know from a model's configurations; weights are only fingerprinted.
    ///
    /// Components that do not fit each other are refused here, before anything large is read.
    ///
    /// - Throws: `StageError` or `CheckpointError`, each with a text of one line.
    package init(folder: ModelFolder) throws {
        try Self.checkComponents(of: folder)
        let transformer = try Flux.Parameters(folder: folder)
        let decoder = try Decoder.Parameters(folder: folder)
        let pooled = try folder.config("text_encoder", as: PooledEncoder.self)
        let sequence = try folder.config("text_encoder_2", as: SequenceEncoder.self)
        let tokenizer = try folder.config("tokenizer_2", as: Tokenizer.self)
        let picture = try folder.config("vae", as: Picture.self)
        func require(_ left: (String, Int), _ right: (String, Int)) throws(StageError) {
            guard left.1 == right.1 else {
                throw StageError(.misfit("\(left.0) is \(left.1), \(right.0) is \(right.1)"), file: folder.path)
            }
        }
        try require(("hidden_size of text_encoder", pooled.width), ("pooled_projection_dim", transformer.pooledWidth))
        try require(("d_model of text_encoder_2", sequence.width), ("joint_attention_dim", transformer.contextWidth))
        try require(
            ("in_channels of transformer", Flux.Parameters.tokenWidth),
            ("latent_channels of vae times 4", 4 * decoder.latentChannels))
        try require(("pixels for one of the latent", decoder.scale), ("pixels for half a token", 8))

        self.init(
            name: folder.name, family: folder.className, fingerprint: try folder.fingerprint(),
            blockCount: transformer.blockCount, width: transformer.width, contextWidth: transformer.contextWidth,
            pooledWidth: transformer.pooledWidth,
            maxTextLength: Int(max(1, min(Double(Self.textLimit), tokenizer.limit ?? Double(Self.textLimit)))),
            takesGuidance: transformer.takesGuidance, scalingFactor: decoder.scalingFactor,
            shiftFactor: decoder.shiftFactor, schedule: try ScheduleFacts(folder: folder),
            defaultSide: min(max(32, (picture.side ?? 1024) / 32 * 32), 2048),
            sizes: try ModelSizes(folder: folder, transformer: transformer, decoder: decoder))
    }

    /// Refuses a folder of another family, and one whose index leaves out a component.
    ///
    /// The folder of a component that is not listed may be there all the same: it would be loaded, but neither the fingerprint
    /// nor the memory that weights are said to take would count it.
    static func checkComponents(of folder: ModelFolder) throws(StageError) {
        guard families.contains(folder.className) else {
            throw StageError(.family(folder.className), file: folder.path)
        }
        for component in components where !folder.components.contains(component) {
            throw StageError(.unlisted(component: component), file: folder.path)
        }
    }

    /// Refuses tokenizers that cannot be read, and encoders whose configuration makes no network, without reading weights.
    ///
    /// - Throws: an error with a text of one line.
    package static func checkText(of folder: ModelFolder) throws { try TextEncoders.check(folder: folder) }

    /// `text_encoder/config.json`.
    private struct PooledEncoder: Decodable {
        var width: Int

        enum CodingKeys: String, CodingKey { case width = "hidden_size" }
    }

    /// `text_encoder_2/config.json`.
    private struct SequenceEncoder: Decodable {
        var width: Int

        enum CodingKeys: String, CodingKey { case width = "d_model" }
    }

    /// `vae/config.json`: the size of picture that the autoencoder, and with it the model, was made for.
    private struct Picture: Decodable {
        var side: Int?

        enum CodingKeys: String, CodingKey { case side = "sample_size" }
    }

    /// `tokenizer_2/tokenizer_config.json`; "no limit" is written there as 1e30.
    private struct Tokenizer: Decodable {
        var limit: Double?

        enum CodingKeys: String, CodingKey { case limit = "model_max_length" }
    }
}

extension ScheduleFacts {
    /// Reads `scheduler/scheduler_config.json`; defaults are those of diffusers' `FlowMatchEulerDiscreteScheduler`.
    init(folder: ModelFolder) throws {
        let config = try folder.config("scheduler", as: Config.self)
        let file = folder.path("scheduler") + "/scheduler_config.json"
        func require(_ holds: Bool, _ detail: String) throws(CheckpointError) {
            guard holds else { throw CheckpointError(.configuration(detail: detail), file: file) }
        }
        try require(
            (config.className ?? "FlowMatchEulerDiscreteScheduler") == "FlowMatchEulerDiscreteScheduler",
            "the scheduler is \(config.className ?? ""), only FlowMatchEulerDiscreteScheduler works")
        let unknown = [
            ("use_karras_sigmas", config.karras), ("use_exponential_sigmas", config.exponential),
            ("use_beta_sigmas", config.beta), ("invert_sigmas", config.invert),
            ("stochastic_sampling", config.stochastic),
        ]
        for (name, value) in unknown { try require(value != true, "\(name) is set, which does not work") }
        try require((config.kind ?? "exponential") == "exponential", "time_shift_type is not exponential")
        try require(config.terminal == nil, "shift_terminal is set, which does not work")
        self.init(
            shift: config.shift ?? 1, dynamic: config.dynamic ?? false, baseShift: config.baseShift ?? 0.5,
            maxShift: config.maxShift ?? 1.15, baseTokens: config.baseTokens ?? 256,
            maxTokens: config.maxTokens ?? 4096)
        // A dynamic shift is an exponent: that of FLUX goes from 0.5 to 1.15.
        try require(
            shift >= 1e-3 && shift <= 1e3 && abs(baseShift) <= 10 && abs(maxShift) <= 10,
            "shift \(shift), base_shift \(baseShift) and max_shift \(maxShift) are no schedule: "
                + "0.001 to 1000 and twice -10 to 10 are possible")
        try require(
            0 < baseTokens && baseTokens < maxTokens && maxTokens < 1 << 32,
            "base_image_seq_len \(baseTokens) should be below max_image_seq_len \(maxTokens)")
    }

    private struct Config: Decodable {
        var className: String?
        var shift: Double?
        var dynamic: Bool?
        var baseShift: Double?
        var maxShift: Double?
        var baseTokens: Int?
        var maxTokens: Int?
        var karras: Bool?
        var exponential: Bool?
        var beta: Bool?
        var invert: Bool?
        var stochastic: Bool?
        var kind: String?
        var terminal: Double?

        enum CodingKeys: String, CodingKey {
            case className = "_class_name"
            case shift
            case dynamic = "use_dynamic_shifting"
            case baseShift = "base_shift"
            case maxShift = "max_shift"
            case baseTokens = "base_image_seq_len"
            case maxTokens = "max_image_seq_len"
            case karras = "use_karras_sigmas"
            case exponential = "use_exponential_sigmas"
            case beta = "use_beta_sigmas"
            case invert = "invert_sigmas"
            case stochastic = "stochastic_sampling"
            case kind = "time_shift_type"
            case terminal = "shift_terminal"
        }
    }
}
