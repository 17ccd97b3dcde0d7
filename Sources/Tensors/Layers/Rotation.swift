internal import CKernels
internal import Glibc
internal import Plan

/// Rotary position table: the cosine and sine of each token's angle for each pair of channels.
///
/// Angles are `position[axis] * theta^(-2i / axes[axis])`, computed in double precision.
/// Source: Su et al. 2021, section 3.4.2; three axes as in the FLUX reference.
package struct Rotation: Equatable, Sendable {
    /// Cosines, (tokens, headWidth / 2).
    package let cosines: Tensor
    /// Sines, (tokens, headWidth / 2).
    package let sines: Tensor

    /// Builds the table.
    ///
    /// `positions` is (tokens, axes.count), halves allowed; `axes` says how many channels of the head each axis rotates, even
    /// numbers that sum to the head width.
    package init(positions: Tensor, axes: [Int], theta: Double = 10_000) {
        promise(
            positions.width == axes.count && axes.allSatisfy { $0 % 2 == 0 }, "\(positions.shape), axes \(axes)")
        let (tokens, half) = (positions.rowCount, axes.reduce(0, +) / 2)
        var cosines = Tensor(uninitialized: [tokens, half])
        var sines = Tensor(uninitialized: [tokens, half])
        cosines.withUnsafeMutableBuffer { c in
            sines.withUnsafeMutableBuffer { s in
                for token in 0..<tokens {
                    var pair = token * half
                    for (axis, channels) in axes.enumerated() {
                        let position = Double(positions[token * axes.count + axis])
                        for i in 0..<channels / 2 {
                            let angle = position * pow(theta, -Double(2 * i) / Double(channels))
                            c[pair] = Float(cos(angle))
                            s[pair] = Float(sin(angle))
                            pair += 1
                        }
                    }
                }
            }
        }
        self.cosines = cosines
        self.sines = sines
    }
}

extension Compute {
    /// Rotates neighbouring channel pairs of (tokens, heads, headWidth): `(a, b) -> (a cos - b sin, a sin + b cos)`.
    package func rotated(_ x: Tensor, by rotation: Rotation) -> Tensor {
        let (tokens, heads, width) = (x.shape[0], x.shape[1], x.shape[2])
        promise(
            width % 2 == 0 && rotation.cosines.shape == [tokens, width / 2],
            "\(x.shape), table \(rotation.cosines.shape)")
        return withPointer(rotation.cosines) { cosines in
            withPointer(rotation.sines) { sines in
                nonisolated(unsafe) let (cosines, sines) = (cosines, sines)
                return mapped(x, width: heads * width) { x, y, tokens in
                    let first = tokens.lowerBound * (width / 2)
                    kernels.kernels.pointee.rotate(
                        x, cosines.map { $0 + first }, sines.map { $0 + first }, y, tokens.count, heads, width)
                }
            }
        }
    }

    /// Normalises each head by its root mean square and rotates it, in place: `rotated(rmsNorm(x))` in one pass.
    ///
    /// `x` holds (tokens, heads, headWidth); the tokens of each part get its weight, (headWidth). Those of no part stay as they
    /// are.
    package func normaliseAndRotate(
        _ x: inout Tensor, parts: [(rows: Range<Int>, weight: Tensor)], by rotation: Rotation, epsilon: Float
    ) {
        let (tokens, heads, width) = (x.shape[0], x.shape[1], x.shape[2])
        promise(
            width % 2 == 0 && rotation.cosines.shape == [tokens, width / 2],
            "\(x.shape), table \(rotation.cosines.shape)")
        x.withUnsafeMutableBuffer { values in
            withPointer(rotation.cosines) { cosines in
                withPointer(rotation.sines) { sines in
                    for part in parts {
                        promise(
                            part.rows.lowerBound >= 0 && part.rows.upperBound <= tokens,
                            "rows \(part.rows) of \(tokens)")
                        promise(part.weight.count == width, "heads of \(width), weight \(part.weight.shape)")
                        withPointer(part.weight) { weight in
                            guard let base = values.baseAddress else { return }
                            nonisolated(unsafe) let (values, cosines, sines, weight) = (base, cosines, sines, weight)
                            forRanges(of: part.rows.count, width: heads * width) { range in
                                for token in range {
                                    let row = part.rows.lowerBound + token
                                    let (x, first) = (values + row * heads * width, row * (width / 2))
                                    kernels.kernels.pointee.rms_norm(x, x, weight, heads, width, epsilon)
                                    kernels.kernels.pointee.rotate(
                                        x, cosines.map { $0 + first }, sines.map { $0 + first }, x, 1, heads, width)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
