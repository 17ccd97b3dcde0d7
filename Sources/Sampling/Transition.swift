internal import Foundation
internal import Plan

/// How tokens that were just upsampled are brought back to a noise level the next stage knows.
///
/// At time `end` (t = 1 - sigma) the children of one parent share their noise. Adding noise with the opposite
/// correlation, and going back to the earlier time `start`, leaves independent noise of the right strength:
/// `x' = signal * x + noise * z`, z with covariance `I - c J` on every block of siblings, J all ones.
/// Source: RALU (arXiv 2507.08422) section 3.2.
package struct Transition: Equatable, Sendable {
    /// Time at which the next stage begins; earlier than `end`.
    package let start: Double
    /// Factor of the tokens.
    package let signal: Double
    /// Factor of the injected noise; also the noise level of the next stage's first step.
    package let noise: Double
    /// Correlation taken out of the injected noise, 1 / z squared.
    package let correlation: Double

    /// The coefficients for a stage that ends at time `end`.
    ///
    /// - Precondition: `z` is at least 2, or the covariance of four siblings is not one.
    package init(end: Double, z: Double) {
        promise(z >= 2 && end > 0 && end < 1, "a transition at \(end) with z \(z)")
        let scale = z * (1 - end) + end
        start = end / scale
        signal = 1 / scale
        noise = z * (1 - end) / scale
        correlation = 1 / (z * z)
    }
}
