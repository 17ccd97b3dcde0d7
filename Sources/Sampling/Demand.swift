package import Tensors

/// What a sampler needs next to go on.
package enum Demand: Codable, Equatable, Sendable {
    /// The network's velocity, after guidance, for these tokens at noise level `sigma`.
    ///
    /// `stage` counts from 1 (Euler has one stage), `step` from 0 within it. The answer is (N, 64), N the tokens given.
    case velocity(Latents, sigma: Float, stage: Int, step: Int)
    /// A decoded picture of this decoder input, (16, h, w), for the edge map.
    case decode(Tensor)
    /// Nothing: this is the decoder input of the picture, (16, height / 8, width / 8).
    case finished(Tensor)
}
