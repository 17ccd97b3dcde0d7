/// Which sampler walks from noise to picture, with every number it needs: a job carries this, not the name of a preset.
package enum SamplerSettings: Codable, Hashable, Sendable {
    /// Flow-match Euler with the model's own schedule, `steps` network calls.
    case euler(steps: Int)
    /// Region-adaptive latent upsampling in three stages.
    case ralu(RALUSettings)

    private enum Kind: String, CodingKey { case euler, ralu }
    private struct Euler: Codable { var steps: Int }

    /// Reads `{"euler": {"steps": n}}` or `{"ralu": {...}}`.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Kind.self)
        switch container.allKeys.first {
        case .euler? where container.allKeys.count == 1:
            self = .euler(steps: try container.decode(Euler.self, forKey: .euler).steps)
        case .ralu? where container.allKeys.count == 1:
            self = .ralu(try container.decode(RALUSettings.self, forKey: .ralu))
        default:
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "one sampler is needed: euler or ralu"))
        }
    }

    /// Writes what `init(from:)` reads.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Kind.self)
        switch self {
        case .euler(let steps): try container.encode(Euler(steps: steps), forKey: .euler)
        case .ralu(let settings): try container.encode(settings, forKey: .ralu)
        }
    }

    /// Network calls of each stage.
    package var stages: [Int] {
        switch self {
        case .euler(let steps): [steps]
        case .ralu(let settings): settings.steps
        }
    }

    /// Network calls for one picture.
    package var totalSteps: Int { stages.reduce(0, +) }

    /// Name of the sampler as the command line spells it.
    package var name: String {
        switch self {
        case .euler: "euler"
        case .ralu: "ralu"
        }
    }
}

/// Constants of one RALU preset.
///
/// Source: Jeong et al., arXiv 2507.08422, sections 3 and 4.
package struct RALUSettings: Codable, Hashable, Sendable {
    /// How a parent token's values pass to its four children.
    package enum Upsampling: String, Codable, Hashable, Sendable, CaseIterable {
        /// Every child receives the parent's whole vector, as the official code does.
        case tokenRepeat = "token-repeat"
        /// Nearest neighbour on latent pixels, as the paper describes.
        case latentNearest = "latent-nearest"
    }

    /// Noise of the tokens that a transition does not upsample.
    package enum IdleNoise: String, Codable, Hashable, Sendable, CaseIterable {
        /// Unit variance, as the official code does: the total is (1 + c) times too much.
        case official
        /// Variance 1 - c, which matches the next stage exactly.
        case exact

        /// What is meant where nobody says.
        ///
        /// Exact where the official noise would be too strong by more than a sixteenth, as with the z of 2 that a schedule
        /// of four steps has; else official, as in the published presets, whose z is 4.1 and more.
        package static func usual(z: Double) -> IdleNoise { z < 4 ? .exact : .official }
    }

    /// Range of the picture handed to the edge detector.
    package enum Gray: String, Codable, Hashable, Sendable, CaseIterable {
        /// The decoder's range clipped to 0...1: the dark half becomes black, as the official code does.
        case official
        /// The decoder's range mapped to 0...1.
        case normalised
    }

    /// Euler steps of each of the three stages.
    package var steps: [Int]
    /// End of each stage in t = 1 - sigma; rising, the last one 1.
    package var ends: [Double]
    /// Schedule shift of each stage.
    package var shifts: [Double]
    /// 1 / sqrt(c), c the correlation taken from the injected noise; at least 2.
    package var z: Double
    /// Share of coarse tokens that are refined at the first transition, 0...1.
    package var upRatio: Double
    /// How values pass to children.
    package var upsampling: Upsampling
    /// Noise of tokens that are not upsampled.
    package var idleNoise: IdleNoise
    /// Range of the edge detector's input.
    package var gray: Gray

    /// Joins the constants; `SettingsError` checks of files are made where they are read.
    ///
    /// `idleNoise` is the usual one of `z` unless given.
    package init(
        steps: [Int], ends: [Double], shifts: [Double], z: Double, upRatio: Double,
        upsampling: Upsampling = .tokenRepeat, idleNoise: IdleNoise? = nil, gray: Gray = .official
    ) {
        self.steps = steps
        self.ends = ends
        self.shifts = shifts
        self.z = z
        self.upRatio = upRatio
        self.upsampling = upsampling
        self.idleNoise = idleNoise ?? .usual(z: z)
        self.gray = gray
    }
}
