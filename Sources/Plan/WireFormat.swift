/// How hidden states travel from one worker to the next.
///
/// Only `f32` keeps the promise that pictures do not depend on the cut; the others trade it for bytes, and the pictures
/// say so. Everything else (latents, velocities, conditioning, pixels) always travels exactly.
package enum WireFormat: String, Codable, CodingKeyRepresentable, CaseIterable, Sendable {
    /// Bit for bit, whatever the products compute in: the residual stream that travels is f32 in all formats.
    case f32
    /// Rounded to the nearest bfloat16, ties to even: half the bytes.
    case bf16
    /// Signed bytes with one f32 scale for each `group` values of a row: 0.258 of the bytes.
    ///
    /// Hidden states have outlier channels of a hundred times the typical size; a scale for a whole row would leave the
    /// other channels few steps.
    case int8

    /// Values that share a scale in `int8`.
    package static let group = 128

    /// Scales of a row of so many values.
    package static func scales(_ width: Int) -> Int { (width + group - 1) / group }

    /// Bytes of a row of so many values.
    package func rowBytes(_ width: Int) -> Int {
        switch self {
        case .f32: 4 * width
        case .bf16: 2 * width
        case .int8: width + 4 * Self.scales(width)
        }
    }

    /// Whether pictures are the same for any cut.
    package var isExact: Bool { self == .f32 }
}

/// Who says how hidden states travel.
package enum WireRule: Equatable, Sendable {
    /// The operator.
    case format(WireFormat)
    /// The planner, by measured links and times: the most exact format that does not hold the pipeline up.
    ///
    /// Never changed for a picture that has begun.
    case auto

    /// Reads `auto` or a format; nil for anything else.
    package init?(_ text: String) {
        if text == "auto" {
            self = .auto
        } else if let format = WireFormat(rawValue: text) {
            self = .format(format)
        } else {
            return nil
        }
    }

    /// Every text that can be read.
    package static var words: [String] { WireFormat.allCases.map(\.rawValue) + ["auto"] }
}
