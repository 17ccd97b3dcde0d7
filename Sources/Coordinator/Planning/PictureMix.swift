package import Plan
internal import Sampling

/// What a cluster is asked for: the network calls and the decoding of one picture, averaged over the pictures to come.
package struct PictureMix: Codable, Equatable, Sendable {
    /// Calls of one size.
    package struct Part: Codable, Hashable, Sendable {
        /// Calls for each picture.
        package var steps: Double
        /// Image tokens.
        package var imageTokens: Int
        /// Tokens of the prompt, padding included.
        package var textTokens: Int

        /// Rows of the residual stream.
        package var tokens: Int { imageTokens + textTokens }

        /// Joins the fields.
        package init(steps: Double, imageTokens: Int, textTokens: Int) {
            self.steps = steps
            self.imageTokens = imageTokens
            self.textTokens = textTokens
        }
    }

    /// Decodings of one size.
    package struct Decoding: Codable, Hashable, Sendable {
        /// Decodings for each picture.
        package var count: Double
        /// Pixels.
        package var pixels: Int
    }

    /// Network calls, coarse stages first.
    package var parts: [Part]
    /// Decodings: the finished picture, and the coarse one that an edge map is made of.
    package var decodings: [Decoding]
    /// Tokens of the prompt that is encoded.
    package var textTokens: Int

    /// The average of some pictures.
    ///
    /// - Precondition: at least one.
    package init(_ requests: some Collection<ImageRequest>) {
        promise(!requests.isEmpty, "a mix of no pictures")
        let kinds = Dictionary(grouping: requests) { request in
            Kind(width: request.width, height: request.height, text: request.textLength, sampler: request.sampler)
        }
        // Whole numbers until the end: sums of fractions would depend on the order.
        var (steps, pixels): ([[Int]: Int], [Int: Int]) = ([:], [:])
        for (kind, pictures) in kinds {
            let full = (kind.width / 16) * (kind.height / 16)
            for stage in CostModel.stages(kind.sampler, fullTokens: full) {
                steps[[stage.tokens, kind.text], default: 0] += pictures.count * stage.steps
            }
            pixels[kind.width * kind.height, default: 0] += pictures.count
            if case .ralu = kind.sampler { pixels[kind.width * kind.height / 4, default: 0] += pictures.count }
        }
        let total = Double(requests.count)
        parts = steps.map { Part(steps: Double($1) / total, imageTokens: $0[0], textTokens: $0[1]) }.sorted {
            ($0.imageTokens, $0.textTokens) < ($1.imageTokens, $1.textTokens)
        }
        decodings = pixels.map { Decoding(count: Double($1) / total, pixels: $0) }.sorted { $0.pixels < $1.pixels }
        textTokens = kinds.keys.map(\.text).max() ?? 0
    }

    /// Pictures that cost the same.
    private struct Kind: Hashable {
        var width: Int
        var height: Int
        var text: Int
        var sampler: SamplerSettings
    }

    /// The picture that a model is planned for while nobody has asked for one: its default size, by RALU.
    package static func usual(_ facts: ModelFacts) -> PictureMix {
        // Steps and the refined share of the 4x preset; the other constants do not matter to the cost.
        let ralu = RALUSettings(steps: [5, 6, 7], ends: [0.3, 0.45, 1], shifts: [1, 1, 1], z: 2, upRatio: 0.3)
        return PictureMix([
            ImageRequest(
                prompt: "", seed: 0, width: facts.defaultSide, height: facts.defaultSide, guidance: 0,
                textLength: facts.defaultTextLength, sampler: .ralu(ralu))
        ])
    }

    /// Network calls for each picture.
    package var steps: Double { parts.reduce(0) { $0 + $1.steps } }

    /// Most rows of a residual stream.
    package var largestTokens: Int { parts.map(\.tokens).max() ?? 0 }
}
