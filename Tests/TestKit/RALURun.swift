internal import Checkpoint
internal import Tensors

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

/// Pixels whose gray level differs from the recorded one, other than by rounding.
///
/// Gray is truncated, so a picture's last bits decide a level that lies on a whole number. Measured against a float64
/// run of the decoder, on the seven recorded runs: our pictures are off by 1.8e-6 to 2.6e-6, the recorded ones by 1.7e-6
/// to 2.1e-6, and three pixels of 51,200 differ (recorded levels 174.00002, 122.00008 and 4.000004; for two of them the
/// float64 level is ours). So one level of difference is accepted where the recorded level is within 5e-4, 2e-6 of the
/// range, of a whole number, and nowhere else. Edges, sums and selections were exact in every run.
package func grayFaults(_ gray: [UInt8], against golden: GoldenFile) throws -> [Int] {
    let (recorded, picture) = (try golden.bytes("gray"), try golden.tensor("x0_image").values)
    guard gray.count == recorded.count, picture.count == 3 * gray.count else { return Array(gray.indices) }
    return gray.indices.filter { pixel in
        guard gray[pixel] != recorded[pixel] else { return false }
        let (red, green, blue) = (picture[pixel], picture[gray.count + pixel], picture[2 * gray.count + pixel])
        let bright = 0.299 * Double(red) + 0.587 * Double(green) + 0.114 * Double(blue)
        let level = min(max(bright, 0), 1) * 255
        return abs(Int(gray[pixel]) - Int(recorded[pixel])) > 1 || abs(level - level.rounded()) > 5e-4
    }
}
