package import Plan
package import Tensors

/// The noise that a transition adds to every token.
///
/// Counter-based: the value of a token and channel depends only on seed, transition, place in the picture and channel,
/// not on the order of tokens, the number of workers or what was drawn before.
package struct InjectionNoise: Equatable, Sendable {
    /// Keeps these numbers apart from other uses of the same seed.
    private static let purpose: UInt32 = 0x52_41_4C_55

    /// The picture's seed.
    package let seed: UInt64
    /// 1 on entering stage 2, 2 on entering stage 3.
    package let transition: Int
    /// Columns of the full-resolution grid of tokens.
    package let columns: Int
    /// The transition's strength, which decides the correlation.
    package let correlation: Double
    /// Which values of upsampled tokens share their noise.
    package let upsampling: RALUSettings.Upsampling
    /// Strength for tokens that were not upsampled.
    package let idle: RALUSettings.IdleNoise

    /// Names the noise of one transition.
    package init(
        seed: UInt64, transition: Int, columns: Int, correlation: Double, upsampling: RALUSettings.Upsampling,
        idle: RALUSettings.IdleNoise
    ) {
        self.seed = seed
        self.transition = transition
        self.columns = columns
        self.correlation = correlation
        self.upsampling = upsampling
        self.idle = idle
    }

    /// The noise, (N, 64), of tokens at `positions`, of which the ones in `fresh` were just upsampled.
    ///
    /// `scale` takes positions to full-resolution units: 2 in coarse units, 1 in fine ones. A token that was not
    /// upsampled is keyed by its upper left place.
    ///
    /// - Precondition: `fresh` holds siblings in consecutive fours.
    package func callAsFunction(positions: Tensor, scale: Float, fresh: Range<Int>) -> Tensor {
        promise(fresh.count % BlockNoise.siblings == 0, "\(fresh.count) tokens are no blocks of four")
        let count = positions.shape[0]
        let width = Packing.tokenWidth
        let stream = Philox(seed: seed, purpose: Self.purpose, index: UInt32(transition))
        let block = BlockNoise(correlation: correlation)
        let idleStrength = idle == .official ? 1 : Float((1 - correlation).squareRoot())
        var result = Tensor(uninitialized: [count, width])
        positions.withUnsafeBuffer { places in
            result.withUnsafeMutableBuffer { out in
                for token in 0..<count {
                    let place = Int(places[token * 3 + 1] * scale) * columns + Int(places[token * 3 + 2] * scale)
                    let normals = stream.normals(width, from: UInt64(place * width))
                    normals.withUnsafeBuffer { values in
                        for channel in 0..<width { out[token * width + channel] = values[channel] }
                    }
                    guard !fresh.contains(token) else { continue }
                    for channel in 0..<width { out[token * width + channel] *= idleStrength }
                }
                for parent in stride(from: fresh.lowerBound, to: fresh.upperBound, by: BlockNoise.siblings) {
                    // The four values that carry the same old noise: of four siblings, or of one child's four pixels.
                    for group in 0..<width {
                        let (start, step) =
                            upsampling == .tokenRepeat
                            ? (parent * width + group, width) : (parent * width + group * 4, 1)
                        var four = SIMD4<Float>(
                            out[start], out[start + step], out[start + 2 * step], out[start + 3 * step])
                        block.correlate(&four)
                        for sibling in 0..<4 { out[start + sibling * step] = four[sibling] }
                    }
                }
            }
        }
        return result
    }
}
