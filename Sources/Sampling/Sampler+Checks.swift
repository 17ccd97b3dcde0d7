package import Plan
internal import Tensors

extension Sampler {
    /// Longest prompt or negative prompt that is accepted, in characters.
    ///
    /// An empty prompt is a prompt. Encoders cut at `textLength` tokens anyway; this bounds what is stored and sent.
    package static let promptLimit = 20_000
    /// The same in bytes of UTF-8: a character may have any number of them.
    private static let byteLimit = 8 * promptLimit
    /// Largest strength of the prompt: models are trained with up to about 10, and far beyond that networks overflow.
    package static let guidanceLimit: Float = 1000
    /// Most network calls of one picture.
    package static let stepLimit = 1000

    /// Refuses requests that cannot work, saying what would.
    ///
    /// Sides are multiples of 16 (Euler) or 32 (RALU) up to the model's largest side.
    package static func check(_ request: ImageRequest, facts: ModelFacts) throws(SamplingError) {
        for (field, text) in [("prompt", request.prompt), ("negative prompt", request.negativePrompt)] {
            // A character is at least a byte: count the characters of texts that may be too long only.
            if text.utf8.count > promptLimit, text.count > promptLimit {
                throw SamplingError(
                    .promptTooLong(field: field, length: text.count, unit: "characters", limit: promptLimit))
            }
            // Combining marks make characters of any length.
            if text.utf8.count > byteLimit {
                throw SamplingError(
                    .promptTooLong(field: field, length: text.utf8.count, unit: "bytes", limit: byteLimit))
            }
        }
        let multiple = if case .ralu = request.sampler { 32 } else { 16 }
        for side in [request.width, request.height] where side < 1 || side > facts.maxSide || side % multiple != 0 {
            throw SamplingError(
                .size(width: request.width, height: request.height, multiple: multiple, limit: facts.maxSide))
        }
        guard request.textLength >= 1 && request.textLength <= facts.maxTextLength else {
            throw SamplingError(.textLength(request.textLength, limit: facts.maxTextLength))
        }
        guard request.guidance >= 0 && request.guidance <= guidanceLimit else {
            throw SamplingError(.guidance(request.guidance, limit: guidanceLimit))
        }
        try check(request.sampler)
        if case .euler(let steps) = request.sampler {
            let sigmas = Schedule.euler(steps: steps, tokens: request.fullTokens, facts: facts.schedule)
            try check(sigmas, tokens: request.fullTokens, facts: facts.schedule)
        }
    }

    /// Refuses constants that no picture can be sampled with.
    package static func check(_ settings: SamplerSettings) throws(SamplingError) {
        switch settings {
        case .euler(let steps): try check(steps: [steps])
        case .ralu(let ralu): try check(ralu)
        }
    }

    private static func check(_ ralu: RALUSettings) throws(SamplingError) {
        func refuse(_ text: String) -> SamplingError { SamplingError(.settings(text)) }
        for (name, count) in [
            ("steps", ralu.steps.count), ("ends", ralu.ends.count), ("shifts", ralu.shifts.count),
        ] where count != 3 {
            throw refuse("\(name) has \(count) values, RALU has 3 stages")
        }
        try check(steps: ralu.steps)
        guard ralu.ends[2] == 1 else { throw refuse("the last of ends is \(ralu.ends[2]), it must be 1") }
        guard ralu.ends[0] > 0 && ralu.ends[0] < ralu.ends[1] && ralu.ends[1] < 1 else {
            throw refuse("ends \(ralu.ends) must rise from above 0 to 1")
        }
        guard ralu.shifts.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw refuse("shifts \(ralu.shifts) must be finite and above 0")
        }
        guard ralu.z >= 2 && ralu.z <= 1e6 else { throw refuse("z is \(ralu.z), it must be from 2 to 1000000") }
        guard ralu.upRatio >= 0 && ralu.upRatio <= 1 else {
            throw refuse("up_ratio is \(ralu.upRatio), it must be from 0 to 1")
        }
        for (number, stage) in Schedule.ralu(ralu).enumerated() {
            guard zip(stage, stage.dropFirst()).allSatisfy({ Float($0) > Float($1) }) else {
                throw refuse(
                    "ends \(ralu.ends) and shifts \(ralu.shifts) give noise levels that do not fall in stage \(number + 1): "
                        + "give it a longer part of ends, or fewer steps")
            }
        }
    }

    /// Refuses a model's schedule that no picture can be sampled with: it comes from a file.
    private static func check(_ sigmas: [Double], tokens: Int, facts: ScheduleFacts) throws(SamplingError) {
        guard zip(sigmas, sigmas.dropFirst()).allSatisfy({ Float($0) > Float($1) }) else {
            let shifts = facts.dynamic ? "base_shift and max_shift" : "shift"
            throw SamplingError(
                .settings(
                    "the model's schedule gives noise levels that do not fall (\(sigmas.count - 1) steps, \(tokens) "
                        + "tokens); check \(shifts) in its scheduler/scheduler_config.json"))
        }
    }

    private static func check(steps: [Int]) throws(SamplingError) {
        guard steps.allSatisfy({ $0 >= 1 && $0 <= stepLimit }), steps.reduce(0, +) <= stepLimit else {
            let text = steps.count == 1 ? "\(steps[0])" : "\(steps)"
            throw SamplingError(
                .settings("steps is \(text), a stage needs at least 1 and a picture takes at most \(stepLimit)"))
        }
    }

    /// Refuses answers that hold values that are not numbers, at the step where they appear.
    ///
    /// Left alone they would spread over the whole picture and cost all remaining steps.
    func check(_ answer: Tensor, step: Int, _ place: (Int) -> String) throws(SamplingError) {
        guard let index = answer.firstNonFinite else { return }
        throw SamplingError(.notNumbers(place: place(index), step: step, of: totalSteps))
    }

    /// Refuses injected tensors that do not fit the picture, or hold values that are not numbers.
    static func check(_ injected: InjectedNoise, for recipe: Recipe) throws(SamplingError) {
        let size = "\(recipe.width)x\(recipe.height)"
        func check(_ name: String, _ tensor: Tensor?, _ shape: [Int], _ also: String = "") throws(SamplingError) {
            guard let tensor else { return }
            guard tensor.shape == shape else {
                throw SamplingError(
                    .injected("\(name) of shape \(tensor.shape): \(shape) is needed for \(size)\(also)"))
            }
            if let index = tensor.firstNonFinite {
                throw SamplingError(.injected("\(name): its value \(index) is \(tensor[index]); numbers are needed"))
            }
        }
        let full = recipe.rows * recipe.columns
        let latentShape = [Packing.channels, recipe.height / 8, recipe.width / 8]
        try check("latents_unpacked", injected.latentsUnpacked, latentShape)
        try check("latents", injected.latents, [full, Packing.tokenWidth])
        guard let ralu = recipe.ralu else { return }
        try check(
            "noise_stage2", injected.noiseStage2, [recipe.tokens[1], Packing.tokenWidth],
            " with up_ratio \(ralu.upRatio): take the preset that it was recorded with")
        try check("noise_stage3", injected.noiseStage3, [full, Packing.tokenWidth])
        try check("tie_noise", injected.tieNoise, [full / 4])
    }
}
