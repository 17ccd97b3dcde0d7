/// Everything that determines one picture, besides the model's weights.
package struct ImageRequest: Codable, Hashable, Sendable {
    /// The text to draw.
    package var prompt: String
    /// What to steer away from; used only by models with true classifier-free guidance.
    package var negativePrompt: String
    /// Seed of all random numbers of this picture.
    package var seed: UInt64
    /// Pixels across.
    package var width: Int
    /// Pixels down.
    package var height: Int
    /// Strength of the prompt; ignored by models without guidance.
    package var guidance: Float
    /// Tokens of the sequence encoder, padding included.
    package var textLength: Int
    /// The sampler and its constants.
    package var sampler: SamplerSettings
    /// Name of the preset that `sampler` came from, for people.
    package var preset: String?

    /// Joins the fields.
    package init(
        prompt: String, negativePrompt: String = "", seed: UInt64, width: Int, height: Int, guidance: Float,
        textLength: Int, sampler: SamplerSettings, preset: String? = nil
    ) {
        self.prompt = prompt
        self.negativePrompt = negativePrompt
        self.seed = seed
        self.width = width
        self.height = height
        self.guidance = guidance
        self.textLength = textLength
        self.sampler = sampler
        self.preset = preset
    }

    /// Tokens at full resolution: one for each 16 x 16 pixels.
    package var fullTokens: Int { (width / 16) * (height / 16) }
}
