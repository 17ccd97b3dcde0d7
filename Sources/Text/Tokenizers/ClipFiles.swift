internal import Checkpoint
internal import Foundation

/// The vocabulary of a CLIP tokenizer and its merges, from whichever files a folder has.
///
/// Folders of transformers before version 5 have `vocab.json` and `merges.txt`, often with a `tokenizer.json` made from
/// them; later ones have that alone.
struct ClipFiles {
    /// Token ids by the token's spelling.
    let vocabulary: [String: Int]
    /// By falling priority.
    let merges: [(left: String, right: String)]
    /// Ids of tokens that are matched in the raw text.
    let added: [String: Int]
    /// The file of the vocabulary, for errors.
    let path: String
    /// That of the merges.
    let mergesPath: String

    /// - Throws: `TextError` or `CheckpointError` with one line when a file is absent or makes no sense.
    init(folder: String) throws {
        let (vocabularyPath, json) = ("\(folder)/vocab.json", "\(folder)/tokenizer.json")
        if FileManager.default.fileExists(atPath: vocabularyPath) {
            path = vocabularyPath
            vocabulary = try decodeJSON([String: Int].self, path: path)
            mergesPath = "\(folder)/merges.txt"
            merges = try BytePairs.merges(path: mergesPath)
            added = [:]
            return
        }
        guard FileManager.default.fileExists(atPath: json) else {
            throw TextError(.noTokenizer(folder: folder, needs: "vocab.json and merges.txt, or tokenizer.json"))
        }
        (path, mergesPath) = (json, json)
        // Models of other kinds have vocabularies of other forms.
        let kind = try decodeJSON(TokenizerKind.self, path: json).model.type ?? "BPE"
        guard kind == "BPE" else {
            throw TextError(.unsupported(path: json, detail: "its model is \(kind), only BPE is read"))
        }
        let file = try decodeJSON(TokenizerFile.self, path: json)
        vocabulary = file.model.vocabulary
        merges = file.model.merges.map { ($0.left, $0.right) }
        guard !merges.isEmpty else { throw TextError(.tokenizerFile(path: json, detail: "it holds no merges")) }
        var added: [String: Int] = [:]
        for token in file.addedTokens ?? [] {
            guard 0...Int(Int32.max) ~= token.id else {
                throw TextError(.tokenizerFile(path: json, detail: "an added token has the id \(token.id)"))
            }
            added[token.content] = token.id
        }
        self.added = added
    }
}

/// What kind of model a `tokenizer.json` has.
private struct TokenizerKind: Decodable {
    struct Model: Decodable { var type: String? }

    var model: Model
}

/// `tokenizer.json` as far as a CLIP tokenizer needs it.
private struct TokenizerFile: Decodable {
    struct Token: Decodable {
        var id: Int
        var content: String
    }

    struct Model: Decodable {
        var vocabulary: [String: Int]
        var merges: [Merge]

        enum CodingKeys: String, CodingKey {
            case vocabulary = "vocab"
            case merges
        }
    }

    /// Written as `"l o"`, or as `["l", "o"]`.
    struct Merge: Decodable {
        var left: String
        var right: String

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            let parts: [String] =
                if let line = try? container.decode(String.self) {
                    line.split(separator: " ").map(String.init)
                } else {
                    try container.decode([String].self)
                }
            guard parts.count == 2 else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "a merge has \(parts.count) parts instead of 2")
            }
            (left, right) = (parts[0], parts[1])
        }
    }

    var model: Model
    var addedTokens: [Token]?

    enum CodingKeys: String, CodingKey {
        case model
        case addedTokens = "added_tokens"
    }
}
