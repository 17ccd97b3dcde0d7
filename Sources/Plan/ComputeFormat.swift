/// The number format that the transformer's large matrix products compute in.
///
/// Norms, modulation, embedders, the final layer, the decoder and the sampler compute in f32 whatever the format.
package enum ComputeFormat: String, Codable, CaseIterable, Sendable {
    /// 32-bit floats throughout.
    case f32
    /// Weights and inputs of products rounded to bfloat16, sums in 32-bit floats; attention likewise.
    case bf16
    /// Weights of 8-bit integers with a scale for each output channel and each 512 input channels; inputs alike, with a
    /// range of their own for each token and each 512 channels. Attention's queries and keys too, with a scale for each row of
    /// a head, its values in bf16.
    ///
    /// Inputs are integers of 8 bits where processors multiply bytes (VNNI), else of 16, whose products take as many
    /// instructions there (and attention is all bf16): two kernel classes, `dot` or `fma` and `wide`.
    ///
    /// Relative error of the demo model's velocity in the first step of 64 pictures (Scripts/accuracy.py): bf16 0.0018, int8 in
    /// bytes 0.0078; with scales for 256 channels and attention in bf16 it was 0.0070, at 6 to 10 % more time. How int8 came to
    /// be so, mean square over all steps of 6 pictures: one scale for each token and each output channel, as it once was,
    /// 0.0082; 128 channels each with symmetric ranges 0.0070, with ranges of their own 0.0060; with inputs of 16 bits
    /// 0.0042, which is what the weights lose. More channels to a scale cost less time, of which scales of 128 took a tenth.
    /// No layer stands out: any
    /// one kind of layer in bf16 (the MLPs' first product of single blocks, a fifth of all products, is the best) leaves
    /// 0.0069 to 0.0082 of the 0.0082, and any one single block 0.0055 to 0.0057 of 0.0061. So none is kept in bf16. On
    /// random rows of 3072 channels, 4 of which are 20 times larger than the others, the part of the result that is owed to
    /// the others is off by 0.070 with one scale a token, 0.014 with bytes and 128 channels, 0.008 with 16 bits; 0.003 in
    /// bf16.
    ///
    /// Text encoders compute in bf16: T5's activations have outliers, and they run once for each prompt.
    case int8

    /// The number format of attention's values and their shares: bf16 for both of the shorter formats.
    package var attention: ComputeFormat { self == .f32 ? .f32 : .bf16 }
}
