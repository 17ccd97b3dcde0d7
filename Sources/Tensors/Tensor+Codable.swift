internal import Foundation

extension Tensor: Codable {
    private enum CodingKeys: String, CodingKey { case shape, littleEndian }

    /// Encodes the shape and the bits of all values, so that decoding gives back the same bits.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(shape, forKey: .shape)
        try container.encode(withUnsafeBuffer { Data(buffer: $0) }, forKey: .littleEndian)
    }

    /// Decodes what `encode(to:)` wrote.
    ///
    /// - Throws: `DecodingError.dataCorrupted` when the bytes do not fill the shape.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let shape = try container.decode([Int].self, forKey: .shape)
        let bytes = try container.decode(Data.self, forKey: .littleEndian)
        // Nothing is allocated before the bytes are known to fill the shape.
        var needed = MemoryLayout<Float>.stride
        for extent in shape {
            let (product, overflow) = needed.multipliedReportingOverflow(by: extent)
            guard extent >= 0, !overflow else {
                throw DecodingError.dataCorruptedError(
                    forKey: .shape, in: container, debugDescription: "impossible shape \(shape)")
            }
            needed = product
        }
        guard bytes.count == needed else {
            throw DecodingError.dataCorruptedError(
                forKey: .littleEndian, in: container,
                debugDescription: "\(bytes.count) bytes for shape \(shape) of float32")
        }
        self.init(uninitialized: shape)
        withUnsafeMutableBuffer { buffer in _ = bytes.copyBytes(to: buffer) }
    }
}
