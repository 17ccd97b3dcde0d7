internal import Checkpoint
internal import Foundation
internal import Plan

/// T5's tokenizer: normalisation, words at spaces, unigram pieces.
///
/// Gives the ids of transformers' `T5TokenizerFast`, which FLUX pipelines load. Where `spiece.model` is present it rules,
/// as in the real repositories, whose settings make transformers rebuild `tokenizer.json` from it.
package struct T5Tokenizer: Sendable {
    /// Longest sequence that the configuration allows, end token included.
    package let maxLength: Int
    /// Largest id that can occur, plus one.
    package let idCount: Int

    private let unigram: Unigram
    private let steps: [NormalisationStep]
    private let prefix: PrefixScheme
    /// Whether words are what stands between any white space, and not what follows spaces.
    private let splitsAtWhiteSpace: Bool
    private let added: AddedTokens
    private let end: Int
    private let pad: Int

    /// Reads `spiece.model` or else `tokenizer.json`, and `tokenizer_config.json`.
    ///
    /// - Throws: `TextError` or `CheckpointError` with one line when a file is absent or makes no sense.
    package init(folder: String) throws {
        let config = try TokenizerConfig(folder: folder)
        let (model, json) = ("\(folder)/spiece.model", "\(folder)/tokenizer.json")
        let parts: Parts
        let path: String
        if FileManager.default.fileExists(atPath: model) {
            parts = try Parts(spiece: model, config: config)
            path = model
        } else if FileManager.default.fileExists(atPath: json) {
            parts = try Parts(json: json)
            path = json
        } else {
            throw TextError(.noTokenizer(folder: folder, needs: "spiece.model or tokenizer.json"))
        }
        unigram = Unigram(pieces: parts.pieces, unknown: parts.unknown, byteFallback: parts.byteFallback)
        steps = parts.steps
        prefix = parts.prefix
        splitsAtWhiteSpace = parts.splitsAtWhiteSpace
        var ids: [String: Int] = [:]
        for (id, piece) in parts.pieces.enumerated() { ids[piece.text] = id }
        ids.merge(config.addedTokens) { $1 }
        ids.merge(parts.added) { $1 }
        func id(_ text: String) throws -> Int {
            guard let id = ids[text] else {
                throw TextError(.tokenizerFile(path: path, detail: "it lacks the special token \(text)"))
            }
            return id
        }
        let special = [config.end ?? "</s>", config.pad ?? "<pad>", config.unknown ?? "<unk>"]
        end = try id(special[0])
        pad = try id(special[1])
        var added = config.addedTokens
        added.merge(parts.added) { $1 }
        for text in special { added[text] = try id(text) }
        guard let tokens = AddedTokens(added) else {
            throw TextError(.tokenizerFile(path: "\(folder)/tokenizer_config.json", detail: AddedTokens.tooLarge))
        }
        self.added = tokens
        maxLength = config.maxLength ?? 512
        idCount = max(parts.pieces.count, (added.values.max() ?? 0) + 1)
    }

    /// Ids of a prompt with the end token, cut to `length` (the end token stays) and padded to it.
    ///
    /// - Precondition: `length` is at least 1.
    package func callAsFunction(_ prompt: String, length: Int) -> [Int] {
        promise(length >= 1, "a text of \(length) tokens")
        let ids = pieces(prompt).prefix(length - 1) + [end]
        return ids + Array(repeating: pad, count: length - ids.count)
    }

    /// Ids of a prompt and the end token, however many.
    package func untruncated(_ prompt: String) -> [Int] { pieces(prompt) + [end] }

    private func pieces(_ prompt: String) -> [Int] {
        var ids: [Int] = []
        for (index, piece) in added.split(Array(prompt.unicodeScalars)).enumerated() {
            switch piece {
            case .token(let id): ids.append(id)
            case .text(let scalars):
                let text = steps.reduce(String(String.UnicodeScalarView(scalars))) { $1($0) }
                guard splitsAtWhiteSpace else {
                    encode(text[...], isFirst: index == 0, into: &ids)
                    continue
                }
                for word in text.unicodeScalars.split(whereSeparator: \.properties.isWhitespace) {
                    encode(Substring(word), isFirst: index == 0 && word.startIndex == text.startIndex, into: &ids)
                }
            }
        }
        return ids
    }

    /// Makes spaces ▁, puts one in front and encodes each word with the ▁ before it.
    private func encode(_ text: Substring, isFirst: Bool, into ids: inout [Int]) {
        guard !text.isEmpty else { return }
        let mark = Array("\u{2581}".utf8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + 3)
        var starts: [Int] = []
        for scalar in text.unicodeScalars {
            let isMark = scalar == " " || scalar == "\u{2581}"
            if bytes.isEmpty && !isMark && (prefix == .always || prefix == .first && isFirst) { bytes += mark }
            if isMark && !bytes.isEmpty { starts.append(bytes.count) }
            if isMark { bytes += mark } else { bytes.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? []) }
        }
        var start = 0
        for stop in starts + [bytes.count] {
            unigram.encode(bytes[start..<stop], into: &ids)
            start = stop
        }
    }
}

/// Which pieces of a prompt get a ▁ in front.
private enum PrefixScheme: String, Decodable {
    /// Each, also those after a token that the prompt spells out.
    case always
    /// Only one at the prompt's start.
    case first
    /// None.
    case never
}

/// One rewriting of the text before it is split.
private enum NormalisationStep {
    case characterMap(CharacterMap)
    case strip(left: Bool, right: Bool)
    /// Runs of two or more spaces become one text, of at most `longestForSpaces` bytes.
    case collapse(to: String)

    /// One character, as every T5 has it: a replacement of the character map may hold many runs.
    static let longestForSpaces = 4

    func callAsFunction(_ text: String) -> String {
        switch self {
        case .characterMap(let map): return map(text)
        case .strip(let left, let right):
            var scalars = text.unicodeScalars[...]
            if left { scalars = scalars.drop { $0.properties.isWhitespace } }
            if right {
                while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
            }
            return String(scalars)
        case .collapse(let replacement):
            var result = String.UnicodeScalarView()
            var spaces = 0
            func flush() {
                if spaces == 1 { result.append(" ") }
                if spaces > 1 { result.append(contentsOf: replacement.unicodeScalars) }
                spaces = 0
            }
            for scalar in text.unicodeScalars {
                if scalar == " " {
                    spaces += 1
                } else {
                    flush()
                    result.append(scalar)
                }
            }
            flush()
            return String(result)
        }
    }
}

/// What both kinds of file give.
private struct Parts {
    var pieces: [(text: String, score: Double)]
    var unknown: Int
    var byteFallback: Bool
    var steps: [NormalisationStep] = []
    var prefix: PrefixScheme
    var splitsAtWhiteSpace = false
    var added: [String: Int] = [:]

    /// Builds what transformers' converter for T5 builds.
    init(spiece path: String, config: TokenizerConfig) throws {
        let model = try SentencePieceModel(path: path)
        pieces = model.pieces.map { ($0.text, Double($0.score)) }
        let extra = config.extraIDs ?? 100
        guard 0...10_000 ~= extra else {
            throw TextError(.tokenizerFile(path: path, detail: "tokenizer_config.json asks for \(extra) extra ids"))
        }
        for number in (0..<extra).reversed() {
            added["<extra_id_\(number)>"] = pieces.count
            pieces.append(("<extra_id_\(number)>", 0))
        }
        unknown = model.unknown
        byteFallback = model.hasByteFallback
        prefix = config.addPrefixSpace == false ? .never : config.legacy == false ? .first : .always
        if !model.characterMap.isEmpty {
            guard let map = CharacterMap(model.characterMap) else {
                throw TextError(.tokenizerFile(path: path, detail: CharacterMap.unusable))
            }
            steps.append(.characterMap(map))
        }
        steps += [.strip(left: false, right: true), .collapse(to: "\u{2581}")]
    }

    init(json path: String) throws {
        let file = try decodeJSON(TokenizerFile.self, path: path)
        func damaged(_ detail: String) -> TextError { TextError(.tokenizerFile(path: path, detail: detail)) }
        func unsupported(_ detail: String) -> TextError { TextError(.unsupported(path: path, detail: detail)) }
        guard file.model.type == nil || file.model.type == "Unigram" else {
            throw unsupported("its model is \(file.model.type ?? ""), only Unigram is read")
        }
        let vocabulary = file.model.vocab
        guard vocabulary.count <= Unigram.mostPieces,
            vocabulary.allSatisfy({ $0.text.utf8.count <= Unigram.longestPiece })
        else { throw damaged(Unigram.tooLarge) }
        pieces = vocabulary.map { ($0.text, $0.score) }
        unknown = file.model.unknown ?? -1
        guard pieces.indices.contains(unknown) else { throw damaged("unk_id is \(unknown) of \(pieces.count)") }
        guard pieces.allSatisfy({ $0.score.isFinite }) else { throw damaged("a piece has no finite score") }
        byteFallback = file.model.byteFallback ?? false
        let splitters = file.preTokenizer?.flattened ?? []
        splitsAtWhiteSpace = splitters.first?.type == "WhitespaceSplit"
        guard splitters.count == (splitsAtWhiteSpace ? 2 : 1), let marks = splitters.last, marks.isKnown else {
            let types = splitters.map(\.type).joined(separator: ", ")
            throw unsupported(
                "its pre-tokenizer is [\(types)], only Metaspace is known, alone or after WhitespaceSplit")
        }
        prefix = marks.prefix ?? (marks.addsPrefix == false ? .never : .always)
        for token in file.addedTokens ?? [] {
            guard 0...Int(Int32.max) ~= token.id else { throw damaged("an added token has the id \(token.id)") }
            added[token.content] = token.id
        }
        guard AddedTokens.fit(added) else { throw damaged(AddedTokens.tooLarge) }
        let normalisers = file.normalizer?.flattened ?? []
        for type in ["Precompiled", "Replace"] where normalisers.count(where: { $0.type == type }) > 1 {
            // Each may make the text longer, and several in a row would multiply.
            throw damaged("its normalizer has more than one step \(type)")
        }
        for step in normalisers {
            switch step.type {
            case "Precompiled":
                guard let blob = step.characterMap.flatMap({ Data(base64Encoded: $0) }),
                    let map = CharacterMap(Array(blob))
                else { throw damaged(CharacterMap.unusable) }
                steps.append(.characterMap(map))
            case "Strip": steps.append(.strip(left: step.left ?? true, right: step.right ?? true))
            case "Replace" where step.pattern?.regex == " {2,}":
                let text = step.content ?? ""
                guard text.utf8.count <= NormalisationStep.longestForSpaces else {
                    throw damaged("it replaces spaces by more than \(NormalisationStep.longestForSpaces) bytes")
                }
                steps.append(.collapse(to: text))
            default: throw unsupported("its normalizer has a step \(step.type), which is not known")
            }
        }
    }
}

/// The parts of `tokenizer.json` that are read.
private struct TokenizerFile: Decodable {
    var model: Model
    var normalizer: Normalizer?
    var preTokenizer: PreTokenizer?
    var addedTokens: [Added]?

    enum CodingKeys: String, CodingKey {
        case model, normalizer
        case preTokenizer = "pre_tokenizer"
        case addedTokens = "added_tokens"
    }

    struct Model: Decodable {
        var type: String?
        var unknown: Int?
        var byteFallback: Bool?
        var vocab: [Piece]

        enum CodingKeys: String, CodingKey {
            case type, vocab
            case unknown = "unk_id"
            case byteFallback = "byte_fallback"
        }
    }

    /// A pair of text and score.
    struct Piece: Decodable {
        var text: String
        var score: Double

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            text = try container.decode(String.self)
            score = try container.decode(Double.self)
        }
    }

    struct Normalizer: Decodable {
        var type: String
        var normalizers: [Normalizer]?
        var characterMap: String?
        var left: Bool?
        var right: Bool?
        var pattern: Pattern?
        var content: String?

        /// Sequences opened.
        var flattened: [Normalizer] { normalizers.map { $0.flatMap(\.flattened) } ?? [self] }

        enum CodingKeys: String, CodingKey {
            case type, normalizers, pattern, content
            case characterMap = "precompiled_charsmap"
            case left = "strip_left"
            case right = "strip_right"
        }
    }

    struct Pattern: Decodable {
        var regex: String?

        enum CodingKeys: String, CodingKey { case regex = "Regex" }
    }

    struct PreTokenizer: Decodable {
        var type: String
        var steps: [PreTokenizer]?
        var mark: String?
        var prefix: PrefixScheme?
        /// What older files say in place of `prefix`.
        var addsPrefix: Bool?
        var splits: Bool?

        /// Sequences opened.
        var flattened: [PreTokenizer] { steps.map { $0.flatMap(\.flattened) } ?? [self] }

        /// Whether it is the one kind that is known: ▁ for spaces, and words that begin there.
        var isKnown: Bool { type == "Metaspace" && mark == "\u{2581}" && splits != false }

        enum CodingKeys: String, CodingKey {
            case type
            case steps = "pretokenizers"
            case mark = "replacement"
            case prefix = "prepend_scheme"
            case addsPrefix = "add_prefix_space"
            case splits = "split"
        }
    }

    struct Added: Decodable {
        var id: Int
        var content: String
    }
}
