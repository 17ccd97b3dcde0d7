internal import Checkpoint

/// Arguments of one recorded RALU run, as the manifest of `Tests/Fixtures/ralu` lists them.
package struct RALURun: Decodable, Sendable {
    /// Names of all recorded runs.
    package static let names = ["l4_s0", "l7_s0", "custom_s0", "l4_s1", "l7_s2", "l4_s2", "custom_s3"]

    /// Pixels down.
    package let height: Int
    /// Pixels across.
    package let width: Int
    /// The prompt.
    package let prompt: String
    /// Guidance strength.
    package let guidance: Float
    /// Tokens of the sequence encoder.
    package let textLength: Int
    /// Steps of each stage.
    package let steps: [Int]
    /// End of each stage in t = 1 - sigma.
    package let ends: [Double]
    /// Shift of each stage.
    package let shifts: [Double]
    /// Strength of the transitions' noise.
    package let z: Double
    /// Share of coarse tokens that are refined early.
    package let upRatio: Double
    /// How many tokens that is.
    package let refined: Int

    private enum CodingKeys: String, CodingKey {
        case height, width, prompt
        case guidance = "guidance_scale"
        case textLength = "max_sequence_length"
        case steps = "N"
        case ends = "e"
        case shifts = "shift"
        case z = "Z"
        case upRatio = "up_ratio"
        case refined = "topk"
    }

    /// Reads the arguments of one run.
    package static func named(_ name: String) throws -> RALURun {
        struct Manifest: Decodable { var runs: [String: RALURun] }
        let manifest = try decodeJSON(Manifest.self, path: "\(Fixtures.path)/ralu/manifest.json")
        guard let run = manifest.runs[name] else { throw GoldenError(text: "ralu/manifest.json has no run \(name)") }
        return run
    }
}
