package import Checkpoint
package import Tensors

/// FLUX's text side: CLIP gives the pooled vector, T5 the sequence.
package struct TextEncoders: Sendable {
    /// Longest prompt that is encoded, in characters (Unicode scalars).
    ///
    /// Only the first few hundred tokens can matter; the limit keeps a request from costing seconds.
    package static let promptLimit = 100_000

    /// Most text tokens that may be asked for.
    package let maxTextLength: Int
    /// Bytes of all weights in memory.
    package var residentBytes: Int { clip.residentBytes + t5.residentBytes }

    private let clipTokenizer: ClipTokenizer
    private let t5Tokenizer: T5Tokenizer
    private let clip: ClipEncoder
    private let t5: T5Encoder

    /// Refuses tokenizers that cannot be read, and encoders whose configuration makes no network, without reading weights.
    ///
    /// - Throws: `TextError` or `CheckpointError` with one line.
    package static func check(folder: ModelFolder) throws {
        _ = try ClipTokenizer(folder: folder.path("tokenizer"))
        _ = try T5Tokenizer(folder: folder.path("tokenizer_2"))
        try ClipEncoder.check(folder: folder, component: "text_encoder")
        try T5Encoder.check(folder: folder, component: "text_encoder_2")
    }

    /// Loads `tokenizer`, `tokenizer_2`, `text_encoder` and `text_encoder_2`.
    ///
    /// - Throws: `TextError` or `CheckpointError` with one line, also when tokenizer and encoder do not belong together.
    package init(folder: ModelFolder, compute: Compute) throws {
        clipTokenizer = try ClipTokenizer(folder: folder.path("tokenizer"))
        t5Tokenizer = try T5Tokenizer(folder: folder.path("tokenizer_2"))
        clip = try ClipEncoder(folder: folder, compute: compute)
        t5 = try T5Encoder(folder: folder, compute: compute)
        maxTextLength = t5Tokenizer.maxLength
        for (tokens, rows, component) in [
            (clipTokenizer.idCount, clip.vocabulary, "text_encoder"),
            (t5Tokenizer.idCount, t5.vocabulary ?? 0, "text_encoder_2"),
        ] where tokens > rows {
            throw TextError(.vocabulary(tokens: tokens, rows: rows, folder: folder.path(component)))
        }
        guard clipTokenizer.maxLength <= clip.maxLength else {
            throw TextError(
                .configuration(
                    folder: folder.path("text_encoder"),
                    detail: "it has \(clip.maxLength) positions, its tokenizer gives \(clipTokenizer.maxLength) ids"))
        }
        if let end = clip.endToken, end != clipTokenizer.end {
            throw TextError(
                .configuration(
                    folder: folder.path("text_encoder"),
                    detail: "its eos_token_id, 49407 unless given, is \(end), but its tokenizer ends prompts with "
                        + "\(clipTokenizer.end) (write that there if the two belong together)"))
        }
    }

    /// Encodes a prompt for the network.
    ///
    /// - Parameters:
    ///   - prompt: any text, also an empty one; what exceeds the encoders' lengths is cut.
    ///   - textLength: rows of the sequence, padding included: 1 to `maxTextLength`.
    ///   - pause: called between layers, where no thread computes: other work may run there, and what it throws
    ///     ends the encoding.
    /// - Returns: (textLength, width of T5) and (width of CLIP).
    /// - Throws: `TextError` when the prompt is longer than `promptLimit` or the length is out of range.
    package func encode(
        prompt: String, textLength: Int, pause: () throws -> Void = {}
    ) throws -> Conditioning {
        guard 1...maxTextLength ~= textLength else { throw TextError(.textLength(textLength, limit: maxTextLength)) }
        let characters = prompt.unicodeScalars.count
        guard characters <= Self.promptLimit else {
            throw TextError(.promptTooLong(characters: characters, limit: Self.promptLimit))
        }
        return Conditioning(
            context: try t5(t5Tokenizer(prompt, length: textLength), pause: pause),
            pooled: try clip(clipTokenizer(prompt), pause: pause).pooled)
    }
}
