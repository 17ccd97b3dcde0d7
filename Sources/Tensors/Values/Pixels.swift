internal import Plan

/// A decoded picture before it is clamped: about -1 (black) to 1 (white).
package struct Pixels: Equatable, Sendable {
    /// (3, height, width): red, green, blue planes.
    package var planes: Tensor

    /// Wraps three planes.
    ///
    /// - Precondition: the shape is (3, height, width).
    package init(planes: Tensor) {
        promise(planes.shape.count == 3 && planes.shape[0] == 3, "three planes expected, got \(planes.shape)")
        self.planes = planes
    }

    /// Rows of the picture.
    package var height: Int { planes.shape[1] }
    /// Columns of the picture.
    package var width: Int { planes.shape[2] }

    /// Where the value with a row-major index lies, for people: rows and columns count from 1.
    package func place(of index: Int) -> String {
        let pixel = index % (height * width)
        return "row \(pixel / width + 1), column \(pixel % width + 1)"
    }

    /// Interleaved 8-bit RGB rows: `round(255 * clamp(x / 2 + 0.5, 0, 1))`, half to even as the reference rounds.
    ///
    /// NaN becomes black: whoever must not draw such a picture looks for it before, see `Tensor.firstNonFinite`.
    package func rgb8() -> [UInt8] {
        let area = height * width
        return planes.withUnsafeBuffer { source in
            [UInt8](unsafeUninitializedCapacity: 3 * area) { bytes, count in
                for pixel in 0..<area {
                    for channel in 0..<3 {
                        let unit = source[channel * area + pixel] / 2 + 0.5
                        // The comparison is false for NaN, which no conversion to an integer survives.
                        let bounded = unit > 0 ? min(unit, 1) : 0
                        bytes[pixel * 3 + channel] = UInt8((bounded * 255).rounded(.toNearestOrEven))
                    }
                }
                count = 3 * area
            }
        }
    }
}
