/// The number format that the transformer's large matrix products compute in.
///
/// Norms, modulation, embedders, the final layer, the decoder and the sampler compute in f32 whatever the format.
package enum ComputeFormat: String, Codable, CaseIterable, Sendable {
    /// 32-bit floats throughout.
    case f32
    /// Weights and inputs of products rounded to bfloat16, sums in 32-bit floats; attention likewise.
    case bf16
    /// 8-bit integers with a scale for each token and each output channel, exact sums; attention in bf16.
    ///
    /// Text encoders compute in bf16: T5's activations have outliers, and they run once for each prompt.
    case int8
}
