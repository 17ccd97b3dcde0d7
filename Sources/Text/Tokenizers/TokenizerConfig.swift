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
struct AddedTokens: Sendable {
    /// Most tokens that files may add, and bytes of one; T5 has 103 of up to 13 bytes.
    ///
    /// At each place of a prompt as many steps are taken as the longest token has characters, whatever their number.
    static let most = 1 << 14
    static let longest = 128
    /// What to say of files that add more.
    static let tooLarge = "it has more than \(most) added tokens, or one longer than \(longest) bytes"

    /// A trie: the child of a node by its scalar, keyed by both, and the id of the token that ends at a node, or -1.
    private var children: [UInt64: Int] = [:]
    private var ids = [-1]

    /// Whether there are not too many and none is too long.
    static func fit(_ tokens: [String: Int]) -> Bool {
        tokens.count <= most && tokens.keys.allSatisfy { $0.utf8.count <= longest }
    }

    /// Takes ids by their text; nil when these do not fit.
    init?(_ tokens: [String: Int]) {
        guard Self.fit(tokens) else { return nil }
        for (text, id) in tokens {
            var node = 0
            for scalar in text.unicodeScalars {
                let key = Self.key(node, scalar)
                if let child = children[key] {
                    node = child
                } else {
                    children[key] = ids.count
                    node = ids.count
                    ids.append(-1)
                }
            }
            if node > 0 { ids[node] = id }
        }
    }

    func split(_ text: [Unicode.Scalar]) -> [PromptPiece] {
        var pieces: [PromptPiece] = []
        var start = 0
        var at = 0
        while at < text.count {
            guard let found = token(text, at: at) else {
                at += 1
                continue
            }
            if start < at { pieces.append(.text(Array(text[start..<at]))) }
            pieces.append(.token(found.id))
            at = found.end
            start = at
        }
        if start < text.count { pieces.append(.text(Array(text[start...]))) }
        return pieces
    }

    /// The longest token that stands at a place, and where it ends.
    private func token(_ text: [Unicode.Scalar], at start: Int) -> (id: Int, end: Int)? {
        var node = 0
        var found: (id: Int, end: Int)?
        for index in start..<text.count {
            guard let child = children[Self.key(node, text[index])] else { break }
            node = child
            if ids[node] >= 0 { found = (ids[node], index + 1) }
        }
        return found
    }

    private static func key(_ node: Int, _ scalar: Unicode.Scalar) -> UInt64 {
        UInt64(node) << 32 | UInt64(scalar.value)
    }
}
