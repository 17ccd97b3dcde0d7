internal import Glibc

/// Rotary position table: the cosine and sine of each token's angle for each pair of channels.
///
/// Angles are `position[axis] * theta^(-2i / axes[axis])`, computed in double precision.
/// Source: Su et al. 2021, section 3.4.2; three axes as in the FLUX reference.
package struct Rotation: Equatable, Sendable {
    /// (tokens, headWidth / 2)
    package let cosines: Tensor
    /// (tokens, headWidth / 2)
    package let sines: Tensor

    /// Builds the table.
    ///
    /// - Parameters:
    ///   - positions: (tokens, axes.count); halves are allowed.
    ///   - axes: channels of the head that each axis rotates; even, summing to the head width.
    package init(positions: Tensor, axes: [Int], theta: Double = 10_000) {
        precondition(positions.width == axes.count && axes.allSatisfy { $0 % 2 == 0 }, "\(positions.shape), axes \(axes)")
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
    /// Rotates neighbouring channel pairs: `(a, b) -> (a cos - b sin, a sin + b cos)`.
    ///
    /// - Parameter x: (tokens, heads, headWidth)
    package func rotated(_ x: Tensor, by rotation: Rotation) -> Tensor {
        let (tokens, heads, width) = (x.shape[0], x.shape[1], x.shape[2])
        precondition(rotation.cosines.shape == [tokens, width / 2], "\(x.shape), table \(rotation.cosines.shape)")
        var y = x
        y.withUnsafeMutableBuffer { out in
            for token in 0..<tokens {
                for head in 0..<heads {
                    let start = (token * heads + head) * width
                    for pair in 0..<width / 2 {
                        let (c, s) = (rotation.cosines[token * width / 2 + pair], rotation.sines[token * width / 2 + pair])
                        let (a, b) = (out[start + 2 * pair], out[start + 2 * pair + 1])
                        out[start + 2 * pair] = a * c - b * s
                        out[start + 2 * pair + 1] = a * s + b * c
                    }
                }
            }
        }
        return y
    }
}
