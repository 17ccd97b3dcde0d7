package import Plan

/// What one picture costs, from sizes alone.
///
/// A multiply-add counts as two operations. Per network call with T = image + text tokens, D the width and B blocks:
/// `B * (24 D^2 T + 4 T^2 D)`, the second term being attention; `T * D` values cross each link between workers.
/// Source: counts of the FLUX architecture; double and single blocks cost the same for each token.
package struct CostModel: Codable, Equatable, Sendable {
    /// Blocks of the transformer.
    package var blockCount: Int
    /// Channels of the residual stream, D.
    package var width: Int
    /// Tokens of the prompt, padding included.
    package var textTokens: Int

    /// Joins the sizes.
    package init(blockCount: Int, width: Int, textTokens: Int) {
        self.blockCount = blockCount
        self.width = width
        self.textTokens = textTokens
    }

    /// The sizes of a model, for prompts of `textTokens` tokens.
    package init(facts: ModelFacts, textTokens: Int) {
        self.init(blockCount: facts.blockCount, width: facts.width, textTokens: textTokens)
    }

    /// One network call, or one part of a picture.
    package struct Cost: Codable, Equatable, Sendable {
        /// Network calls.
        package var steps: Int
        /// Image tokens, summed over calls.
        package var tokenSteps: Int
        /// Operations of the matrix products with weights.
        package var linearOperations: Double
        /// Operations of attention.
        package var attentionOperations: Double
        /// Bytes of the residual streams that cross each link between two workers.
        package var bytesPerLink: Int

        /// All operations of the transformer.
        package var operations: Double { linearOperations + attentionOperations }
    }

    /// The cost of one network call on `imageTokens` tokens; `wire` is how hidden states travel.
    package func call(imageTokens: Int, wire: WireFormat = .f32) -> Cost {
        let (tokens, d, blocks) = (Double(imageTokens + textTokens), Double(width), Double(blockCount))
        return Cost(
            steps: 1, tokenSteps: imageTokens, linearOperations: blocks * 24 * d * d * tokens,
            attentionOperations: blocks * 4 * tokens * tokens * d,
            bytesPerLink: (imageTokens + textTokens) * wire.rowBytes(width))
    }

    /// The cost of a whole picture of `fullTokens` tokens; encoders and decoder are left out.
    package func picture(_ settings: SamplerSettings, fullTokens: Int, wire: WireFormat = .f32) -> Cost {
        var sum = Cost(steps: 0, tokenSteps: 0, linearOperations: 0, attentionOperations: 0, bytesPerLink: 0)
        for (steps, tokens) in Self.stages(settings, fullTokens: fullTokens) {
            let one = call(imageTokens: tokens, wire: wire)
            sum.steps += steps
            sum.tokenSteps += steps * tokens
            sum.linearOperations += Double(steps) * one.linearOperations
            sum.attentionOperations += Double(steps) * one.attentionOperations
            sum.bytesPerLink += steps * one.bytesPerLink
        }
        return sum
    }

    /// Network calls and image tokens of each stage.
    package static func stages(_ settings: SamplerSettings, fullTokens: Int) -> [(steps: Int, tokens: Int)] {
        switch settings {
        case .euler(let steps): return [(steps, fullTokens)]
        case .ralu(let ralu):
            let coarse = fullTokens / 4
            let refined = Int(Double(coarse) * ralu.upRatio)
            return Array(zip(ralu.steps, [coarse, coarse + 3 * refined, fullTokens]))
        }
    }
}
