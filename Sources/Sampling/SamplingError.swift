/// Why a request cannot be sampled, in one line with what would work.
package struct SamplingError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// A side of the picture is not a multiple of `multiple`, or lies outside `multiple...limit`.
        case size(width: Int, height: Int, multiple: Int, limit: Int)
        /// A prompt is longer than `limit` characters, or bytes.
        case promptTooLong(field: String, length: Int, unit: String, limit: Int)
        /// The text length is outside what the model's tokenizer allows.
        case textLength(Int, limit: Int)
        /// The guidance strength lies outside `0...limit`.
        case guidance(Float, limit: Float)
        /// A constant of the sampler is impossible.
        case settings(String)
        /// A tensor to inject has the wrong shape, or is missing.
        case injected(String)
        /// An answer holds values that are not numbers: where the first is, and after how many steps of how many.
        case notNumbers(place: String, step: Int, of: Int)
        /// A checkpoint does not describe a sampler.
        case checkpoint(String)
    }

    /// What is wrong.
    package let reason: Reason

    /// Wraps a reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// One line for people.
    package var description: String {
        switch reason {
        case .size(let width, let height, let multiple, let limit):
            let near = Self.nearest(width: width, height: height, multiple: multiple, limit: limit)
            return "\(width)x\(height) cannot be drawn: both sides must be multiples of \(multiple) from \(multiple) "
                + "to \(limit / multiple * multiple); nearest: \(near.map { "\($0.0)x\($0.1)" }.joined(separator: ", "))"
        case .promptTooLong(let field, let length, let unit, let limit):
            return "the \(field) has \(length) \(unit), the limit is \(limit); shorten it"
        case .textLength(let length, let limit):
            return "a text length of \(length) tokens is impossible; this model takes 1 to \(limit)"
        case .guidance(let value, let limit):
            return "a guidance of \(value) is impossible; it must be a number from 0 to \(Int(limit))"
        case .settings(let text): return text
        case .injected(let text): return "cannot inject \(text)"
        case .notNumbers(let place, let step, let steps):
            return "the picture holds values that are not numbers (first at \(place), after step \(step) of \(steps)); "
                + "check the guidance, what was injected and the model's weights"
        case .checkpoint(let text): return "the sampler's checkpoint is damaged: \(text)"
        }
    }

    /// The one or two allowed sizes nearest to the wanted one, smaller first.
    package static func nearest(width: Int, height: Int, multiple: Int, limit: Int) -> [(Int, Int)] {
        let most = max(limit / multiple, 1)
        func below(_ side: Int) -> Int { min(max(side / multiple, 1), most) * multiple }
        func above(_ side: Int) -> Int {
            let up = side > limit ? most : side / multiple + (side % multiple > 0 ? 1 : 0)
            return min(max(up, 1), most) * multiple
        }
        let (low, high) = ((below(width), below(height)), (above(width), above(height)))
        return low == high ? [low] : [low, high]
    }
}
