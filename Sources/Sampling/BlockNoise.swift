internal import Foundation

/// Normal noise whose blocks of four siblings have covariance `I + gamma J`, J all ones, from independent normals.
///
/// The symmetric root of `I + gamma J` is `I + kappa J`, because `(I + kappa J)^2 = I + (2 kappa + 4 kappa^2) J`: so
/// each sibling is its own normal plus kappa times the block's sum. The slow form is a Cholesky factor of the whole
/// covariance.
package struct BlockNoise: Equatable, Sendable {
    /// Siblings in a block.
    package static let siblings = 4
    /// What is added to -c so that the covariance keeps an inverse at z = 2, as the official code does.
    package static let ridge = 1e-6

    /// Off-diagonal covariance of siblings.
    package let gamma: Double
    /// Weight of the block's sum.
    package let kappa: Double

    /// The noise that takes out correlation `c` of at most a quarter.
    package init(correlation c: Double) {
        gamma = -c + Self.ridge
        kappa = ((1 + Double(Self.siblings) * gamma).squareRoot() - 1) / Double(Self.siblings)
    }

    /// Gives four independent normals their correlation, in place.
    package func correlate(_ values: inout SIMD4<Float>) {
        // The order of this sum is part of the result: it must not depend on how values are laid out.
        let sum = ((values[0] + values[1]) + values[2]) + values[3]
        values += SIMD4(repeating: Float(kappa) * sum)
    }
}
