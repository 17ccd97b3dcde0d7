/// Why a prompt cannot be encoded or a tokenizer's files cannot be used.
package struct TextError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong, with the numbers.
    package enum Reason: Equatable, Sendable {
        /// A tokenizer's file breaks its format.
        case tokenizerFile(path: String, detail: String)
        /// A tokenizer's file is whole, and of a kind that is not implemented.
        case unsupported(path: String, detail: String)
        /// The folder holds none of the files that a tokenizer of this kind needs.
        case noTokenizer(folder: String, needs: String)
        /// The prompt has more characters than are encoded.
        case promptTooLong(characters: Int, limit: Int)
        /// The number of text tokens asked for is out of range.
        case textLength(Int, limit: Int)
        /// A tokenizer has ids beyond its encoder's embedding table.
        case vocabulary(tokens: Int, rows: Int, folder: String)
        /// An encoder's configuration asks for something that is not implemented or makes no sense.
        case configuration(folder: String, detail: String)
    }

    /// What is wrong.
    package let reason: Reason

    /// Wraps a reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// One line: what, where and the next step.
    package var description: String {
        switch reason {
        case .tokenizerFile(let path, let detail):
            "\(path) is damaged: \(detail); copy or download it again"
        case .unsupported(let path, let detail): "\(path) cannot be used: \(detail); give another model"
        case .noTokenizer(let folder, let needs):
            "no tokenizer in \(folder): it needs \(needs); copy or download the folder again"
        case .promptTooLong(let characters, let limit):
            "the prompt has \(characters) characters, at most \(limit) are encoded: shorten it"
        case .textLength(let length, let limit):
            "text length \(length) is out of range: this model takes 1 to \(limit) text tokens"
        case .vocabulary(let tokens, let rows, let folder):
            "the tokenizer for \(folder) has \(tokens) ids, its embedding table \(rows): they belong to different models; "
                + "copy or download both again"
        case .configuration(let folder, let detail):
            "\(folder)/config.json cannot be used: \(detail); copy or download it again, or give another model"
        }
    }
}
