internal import Plan

/// Rows of numbers in fewer bytes, for a slow network.
extension Tensor {
    /// Each value rounded to the nearest bfloat16, ties to even, little-endian; NaN stays NaN.
    package var bfloat16Bytes: [UInt8] {
        withUnsafeBuffer { source in
            [UInt8](unsafeUninitializedCapacity: 2 * source.count) { target, count in
                let target = UnsafeMutableRawBufferPointer(target)
                for index in source.indices {
                    let half = Self.bfloat16(source[index]).littleEndian
                    target.storeBytes(of: half, toByteOffset: 2 * index, as: UInt16.self)
                }
                count = 2 * source.count
            }
        }
    }

    /// Values from bfloat16s.
    ///
    /// - Precondition: two bytes a value.
    package init(bfloat16 bytes: [UInt8], shape: [Int]) {
        self.init(uninitialized: shape)
        promise(bytes.count == 2 * count, "\(bytes.count) bytes for \(shape) of bfloat16")
        withUnsafeMutableBuffer { target in
            bytes.withUnsafeBytes { source in
                for index in target.indices {
                    let half = UInt16(littleEndian: source.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self))
                    target[index] = Float(bitPattern: UInt32(half) << 16)
                }
            }
        }
    }

    /// Signed bytes and their scales, (rows, ⌈columns / group⌉): `value ≈ byte · scale`, off by at most half a scale.
    ///
    /// A scale is the group's largest size over 127. A group with a value that is not finite has that as its scale and
    /// comes back as NaN, so that trouble upstream is not rounded into something plausible.
    ///
    /// - Precondition: two axes.
    package func quantisedRows(group: Int) -> (bytes: [UInt8], scales: Tensor) {
        promise(shape.count == 2, "rows of shape \(shape)")
        let (rows, columns) = (shape[0], shape[1])
        let groups = (columns + group - 1) / group
        var scales = Tensor(uninitialized: [rows, groups])
        let bytes = withUnsafeBuffer { source in
            scales.withUnsafeMutableBuffer { scales in
                [UInt8](unsafeUninitializedCapacity: source.count) { target, count in
                    for row in 0..<rows {
                        for place in 0..<groups {
                            let start = row * columns + place * group
                            let end = min(start + group, (row + 1) * columns)
                            var largest: Float = 0
                            for index in start..<end {
                                let size = abs(source[index])
                                // What is not finite stays the largest, NaN included.
                                largest = size.isFinite ? max(largest, size) : .infinity
                                if !largest.isFinite { break }
                            }
                            let scale = largest / 127
                            scales[row * groups + place] = largest.isFinite ? scale : .nan
                            let inverse = largest.isFinite && scale > 0 ? 1 / scale : 0
                            for index in start..<end {
                                let step = (source[index] * inverse).rounded(.toNearestOrEven)
                                let bounded = step.isFinite ? max(-127, min(127, step)) : 0
                                target[index] = UInt8(bitPattern: Int8(bounded))
                            }
                        }
                    }
                    count = source.count
                }
            }
        }
        return (bytes, scales)
    }

    /// Values from signed bytes and scales as `quantisedRows` makes them.
    ///
    /// - Precondition: two axes, one byte a value, one scale a group.
    package init(quantised bytes: [UInt8], scales: Tensor, shape: [Int], group: Int) {
        promise(shape.count == 2 && bytes.count == shape[0] * shape[1], "\(bytes.count) bytes for \(shape)")
        let (rows, columns) = (shape[0], shape[1])
        let groups = (columns + group - 1) / group
        promise(scales.shape == [rows, groups], "scales of shape \(scales.shape) for \(shape)")
        self.init(uninitialized: shape)
        withUnsafeMutableBuffer { target in
            scales.withUnsafeBuffer { scales in
                for row in 0..<rows {
                    for column in 0..<columns {
                        let index = row * columns + column
                        target[index] = Float(Int8(bitPattern: bytes[index])) * scales[row * groups + column / group]
                    }
                }
            }
        }
    }

    private static func bfloat16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        // Rounding could carry a NaN's payload away, or into the sign.
        if value.isNaN { return UInt16(bits >> 16) | 0x40 }
        return UInt16((bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16)
    }
}
