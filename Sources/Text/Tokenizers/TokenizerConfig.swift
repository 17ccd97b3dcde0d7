internal import Checkpoint
internal import Foundation

/// What `tokenizer_config.json` says, as far as it matters here.
struct TokenizerConfig: Decodable {
    /// Ids of tokens that are matched in the raw text before anything else, by their text.
    var addedTokens: [String: Int]
    var begin: String?
    var end: String?
    var pad: String?
    var unknown: String?
    /// Longest sequence; absent, or an absurd number, where the tokenizer has no limit.
    var maxLength: Int?
    var extraIDs: Int?
    var legacy: Bool?
    var addPrefixSpace: Bool?

    private enum CodingKeys: String, CodingKey {
        case addedTokens = "added_tokens_decoder"
        case begin = "bos_token"
        case end = "eos_token"
        case pad = "pad_token"
        case unknown = "unk_token"
        case maxLength = "model_max_length"
        case extraIDs = "extra_ids"
        case legacy
        case addPrefixSpace = "add_prefix_space"
    }

    /// Reads a folder's file; a folder without one has the defaults of its kind.
    init(folder: String) throws {
        let path = "\(folder)/tokenizer_config.json"
        if FileManager.default.fileExists(atPath: path) {
            self = try decodeJSON(Self.self, path: path)
        } else {
            addedTokens = [:]
        }
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let added = try container.decodeIfPresent([String: TokenText].self, forKey: .addedTokens) ?? [:]
        addedTokens = [:]
        for (key, token) in added {
            guard let id = Int(key), id >= 0, id <= Int(Int32.max) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .addedTokens, in: container, debugDescription: "\(key.prefix(20)) is no token id")
            }
            addedTokens[token.text] = id
        }
        begin = try container.decodeIfPresent(TokenText.self, forKey: .begin)?.text
        end = try container.decodeIfPresent(TokenText.self, forKey: .end)?.text
        pad = try container.decodeIfPresent(TokenText.self, forKey: .pad)?.text
        unknown = try container.decodeIfPresent(TokenText.self, forKey: .unknown)?.text
        // Repositories write 1e30 for "no limit".
        maxLength = try container.decodeIfPresent(Double.self, forKey: .maxLength)
            .flatMap { $0 >= 1 && $0 <= 1e6 ? Int($0) : nil }
        extraIDs = try container.decodeIfPresent(Int.self, forKey: .extraIDs)
        legacy = try container.decodeIfPresent(Bool.self, forKey: .legacy)
        addPrefixSpace = try container.decodeIfPresent(Bool.self, forKey: .addPrefixSpace)
    }

    /// A token given as its text or as an object with a `content`.
    private struct TokenText: Decodable {
        var text: String

        private enum CodingKeys: String, CodingKey { case content }

        init(from decoder: any Decoder) throws {
            if let text = try? decoder.singleValueContainer().decode(String.self) {
                self.text = text
            } else {
                text = try decoder.container(keyedBy: CodingKeys.self).decode(String.self, forKey: .content)
            }
        }
    }
}

/// A piece of a prompt: text to be tokenised, or a token that was written out in the prompt.
enum PromptPiece: Equatable {
    case text([Unicode.Scalar])
    case token(Int)
}

/// Finds tokens such as `<|endoftext|>` that a prompt spells out: leftmost first, the longest at each place.
struct AddedTokens {
    private let byFirst: [Unicode.Scalar: [(text: [Unicode.Scalar], id: Int)]]

    init(_ tokens: [String: Int]) {
        var byFirst: [Unicode.Scalar: [(text: [Unicode.Scalar], id: Int)]] = [:]
        for (text, id) in tokens {
            let scalars = Array(text.unicodeScalars)
            if let first = scalars.first { byFirst[first, default: []].append((scalars, id)) }
        }
        self.byFirst = byFirst.mapValues { $0.sorted { $0.text.count > $1.text.count } }
    }

    func split(_ text: [Unicode.Scalar]) -> [PromptPiece] {
        var pieces: [PromptPiece] = []
        var start = 0
        var at = 0
        while at < text.count {
            let found = byFirst[text[at]]?.first { text[at...].starts(with: $0.text) }
            guard let found else {
                at += 1
                continue
            }
            if start < at { pieces.append(.text(Array(text[start..<at]))) }
            pieces.append(.token(found.id))
            at += found.text.count
            start = at
        }
        if start < text.count { pieces.append(.text(Array(text[start...]))) }
        return pieces
    }
}
