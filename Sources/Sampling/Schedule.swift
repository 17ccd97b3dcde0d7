internal import Foundation
package import Plan

/// Noise levels of flow matching: `x = (1 - sigma) * picture + sigma * noise`.
///
/// All in Double; the network is given a Float. Source: spec of the FLUX and Stable Diffusion 3 schedulers; RALU
/// (arXiv 2507.08422) section 3 for the stages.
package enum Schedule {
    /// A noise level as the network is told it: a timestep of 0...1000 in float32, divided by 1000 again.
    ///
    /// The reference pipelines hand times over in this form. It may differ from the nearest float32 by one unit in the last
    /// place, which the network's fastest sinusoid, of 1000 times the level, turns into 6e-5 rad: a velocity of FLUX's
    /// test model moves by 2e-5, ten times its own rounding.
    package static func told(_ sigma: Double) -> Float { Float(1000 * sigma) / 1000 }

    /// Pushes a noise level of 0...1 towards high noise for `h` > 1: `h u / (1 + (h - 1) u)`.
    package static func shift(_ u: Double, by h: Double) -> Double { h * u / (1 + (h - 1) * u) }

    /// The inverse of `shift(_:by:)`: `s / (h - (h - 1) s)`.
    package static func unshift(_ s: Double, by h: Double) -> Double { s / (h - (h - 1) * s) }

    /// FLUX.1-dev's shift for a picture of `tokens` tokens: `exp(mu)`, mu linear in the number of tokens.
    package static func dynamicShift(tokens: Int, facts: ScheduleFacts) -> Double {
        let slope = (facts.maxShift - facts.baseShift) / Double(facts.maxTokens - facts.baseTokens)
        return exp(facts.baseShift + slope * Double(tokens - facts.baseTokens))
    }

    /// The model's own schedule: `steps` + 1 falling noise levels from 1 to 0.
    ///
    /// Base levels are `1 - i / steps`, shifted once, dynamically (dev) or by the static shift (schnell: 1). The first is
    /// set: of a shift below 0.5 its formula may round to more than 1.
    package static func euler(steps: Int, tokens: Int, facts: ScheduleFacts) -> [Double] {
        let h = facts.dynamic ? dynamicShift(tokens: tokens, facts: facts) : facts.shift
        return (0..<steps).map { $0 == 0 ? 1 : shift(1 - Double($0) / Double(steps), by: h) } + [0]
    }

    /// One RALU stage: `steps` + 1 falling noise levels that start and end exactly at the given ones.
    ///
    /// Between them the unshifted levels are equally spaced, so each step takes the same share of the stage's density.
    package static func stage(from start: Double, to end: Double, steps: Int, shift h: Double) -> [Double] {
        let (first, last) = (unshift(start, by: h), unshift(end, by: h))
        var nodes = (0...steps).map { shift(first + Double($0) / Double(steps) * (last - first), by: h) }
        nodes[0] = start
        nodes[steps] = end
        return nodes
    }

    /// The noise levels of the three RALU stages.
    ///
    /// The model's own shift has no part in them: the settings' shifts were fitted against a static shift.
    package static func ralu(_ settings: RALUSettings) -> [[Double]] {
        var start = 1.0
        return settings.ends.indices.map { index in
            let nodes = stage(
                from: start, to: 1 - settings.ends[index], steps: settings.steps[index], shift: settings.shifts[index])
            if index + 1 < settings.ends.count {
                start = Transition(end: settings.ends[index], z: settings.z).noise
            }
            return nodes
        }
    }
}
