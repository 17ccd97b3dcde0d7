package import Plan

/// What the command line says about all pictures; what is nil comes from the model.
package struct RequestDefaults: Equatable, Sendable {
    /// What to steer away from.
    package var negativePrompt = ""
    /// Seed of the first picture; each further one adds 1.
    package var seed: UInt64 = 0
    /// Pixels across.
    package var width: Int?
    /// Pixels down.
    package var height: Int?
    /// Steps of the Euler sampler.
    package var steps: Int?
    /// Strength of the prompt.
    package var guidance: Float?
    /// Tokens of the sequence encoder.
    package var textLength: Int?
    /// Name of the sampler.
    package var sampler: String?
    /// Name or file of the preset.
    package var preset: String?

    /// Nothing said.
    package init() {}

    /// Completes one line of a batch; `index` counts the pictures of the batch from 0.
    ///
    /// A line's own word wins over the flags, a preset wins over the model's usual sampler.
    ///
    /// - Throws: `SettingsError` at the line's place for samplers and presets that do not exist or exclude each other.
    package func request(
        _ line: PromptLine, index: Int, facts: ModelFacts, presets: inout Presets
    ) throws(SettingsError) -> ImageRequest {
        let presetPlace = line.preset == nil ? PromptLine.Place(file: "--preset") : line.place
        var line = line
        // A line that names its own sampler or steps does not mean the preset of the flags, and the reverse; what the flags
        // say of that very sampler holds.
        switch (line.sampler, line.preset, line.steps) {
        case (nil, nil, nil): (line.sampler, line.preset, line.steps) = (sampler, preset, steps)
        case (nil, nil, _): line.sampler = "euler"
        case (let own?, nil, nil):
            if let preset, try presets.named(preset).sampler.name == own { line.preset = preset }
            if own == "euler" && line.preset == nil { line.steps = steps }
        default: break
        }
        let chosen = try Self.sampler(of: line, presetPlace, facts: facts, presets: &presets)
        let (seed, _) = self.seed.addingReportingOverflow(UInt64(index))
        return ImageRequest(
            prompt: line.prompt, negativePrompt: line.negativePrompt ?? negativePrompt, seed: line.seed ?? seed,
            width: line.width ?? width ?? facts.defaultSide, height: line.height ?? height ?? facts.defaultSide,
            guidance: line.guidance ?? guidance ?? facts.defaultGuidance,
            textLength: textLength ?? facts.defaultTextLength, sampler: chosen.sampler, preset: chosen.preset)
    }

    private static func sampler(
        of line: PromptLine, _ presetPlace: PromptLine.Place, facts: ModelFacts, presets: inout Presets
    ) throws(SettingsError) -> (sampler: SamplerSettings, preset: String?) {
        func fault(_ reason: SettingsError.Reason) -> SettingsError {
            SettingsError(reason, file: line.place.file, line: line.place.line)
        }
        if let wanted = line.sampler, wanted != "euler" && wanted != "ralu" {
            throw fault(.badValue(key: "sampler", value: wanted, wanted: "euler or ralu"))
        }
        if line.preset == nil && line.sampler != "ralu" {
            let steps = line.steps ?? facts.usualSteps
            guard steps >= 1 else { throw fault(.badValue(key: "steps", value: "\(steps)", wanted: "at least 1")) }
            return (.euler(steps: steps), nil)
        }
        let preset = try presets.named(line.preset ?? facts.usualPreset, place: presetPlace)
        if let wanted = line.sampler, wanted != preset.sampler.name {
            throw fault(
                .conflict("preset \(preset.name) is for \(preset.sampler.name), not \(wanted); leave one of them out"))
        }
        if line.steps != nil {
            throw fault(
                .conflict("steps come from the preset \(preset.name); leave steps out, or give a preset file"))
        }
        return (preset.sampler, preset.name)
    }
}

extension ModelFacts {
    /// Steps that the model's authors use for plain sampling: 28 for guided models (FLUX.1-dev), 4 for distilled ones.
    package var usualSteps: Int { takesGuidance ? 28 : 4 }
    /// The RALU preset to take when none is named.
    package var usualPreset: String { takesGuidance ? "flux-4x" : "schnell-4" }
    /// Strength of the prompt when none is given: 3.5 as FLUX.1-dev's pipeline has it, 0 where it has no effect.
    package var defaultGuidance: Float { takesGuidance ? 3.5 : 0 }
}
