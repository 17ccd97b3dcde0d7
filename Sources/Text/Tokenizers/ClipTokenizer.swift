internal import Checkpoint
internal import Foundation

/// CLIP's tokenizer: cleaning, lower case, words, byte pairs.
///
/// Gives the ids of transformers' slow `CLIPTokenizer` without ftfy, which is what pipelines load.
package struct ClipTokenizer: Sendable {
    /// Tokens of a padded sequence, start and end included.
    package let maxLength: Int
    /// Largest id that can occur, plus one.
    package let idCount: Int

    private let pairs: BytePairs
    private let added: AddedTokens
    /// Ids that words spelt like a special token get; matched without regard to case.
    private let specials: [(text: [Unicode.Scalar], id: Int)]
    private let begin: Int
    /// The id that ends every sequence; it may occur before, and as padding.
    let end: Int
    private let pad: Int

    /// Reads `vocab.json` and `merges.txt`, or else `tokenizer.json`, and `tokenizer_config.json`.
    ///
    /// - Throws: `TextError` or `CheckpointError` with one line when a file is absent or makes no sense.
    package init(folder: String) throws {
        let config = try TokenizerConfig(folder: folder)
        let files = try ClipFiles(folder: folder)
        let vocabulary = files.vocabulary
        guard !vocabulary.isEmpty, vocabulary.values.allSatisfy({ 0...Int(Int32.max) ~= $0 }) else {
            throw TextError(.tokenizerFile(path: files.path, detail: "it has no tokens or ids below zero"))
        }
        let known = files.added.merging(config.addedTokens) { $1 }
        func id(_ text: String) throws -> Int {
            guard let id = known[text] ?? vocabulary[text] else {
                throw TextError(.tokenizerFile(path: files.path, detail: "it lacks the special token \(text)"))
            }
            return id
        }
        let (beginText, endText) = (config.begin ?? "<|startoftext|>", config.end ?? "<|endoftext|>")
        begin = try id(beginText)
        end = try id(endText)
        pad = try id(config.pad ?? endText)
        let unknown = try id(config.unknown ?? endText)
        var added = known
        for text in [beginText, endText, config.pad, config.unknown].compactMap(\.self) { added[text] = try id(text) }
        guard let tokens = AddedTokens(added) else {
            throw TextError(.tokenizerFile(path: "\(folder)/tokenizer_config.json", detail: AddedTokens.tooLarge))
        }
        self.added = tokens
        specials = ["<|startoftext|>", "<|endoftext|>"].map {
            (Array($0.unicodeScalars), known[$0] ?? vocabulary[$0] ?? unknown)
        }
        if let fault = BytePairs.misfit(vocabulary, files.merges) {
            throw TextError(.tokenizerFile(path: files.mergesPath, detail: fault))
        }
        pairs = BytePairs(vocabulary: vocabulary, merges: files.merges, unknown: unknown)
        maxLength = config.maxLength ?? 77
        guard maxLength >= 3 else {
            throw TextError(
                .tokenizerFile(path: "\(folder)/tokenizer_config.json", detail: "model_max_length is \(maxLength)"))
        }
        idCount = max(vocabulary.values.max() ?? 0, added.values.max() ?? 0) + 1
    }

    /// Ids of a prompt between start and end, cut to `maxLength` (the end token stays) and padded to it.
    package func callAsFunction(_ prompt: String) -> [Int] {
        var ids = untruncated(prompt)
        if ids.count > maxLength {
            ids.removeLast(ids.count - maxLength)
            ids[maxLength - 1] = end
        }
        return ids + Array(repeating: pad, count: maxLength - ids.count)
    }

    /// Ids of a prompt between start and end, however many.
    package func untruncated(_ prompt: String) -> [Int] {
        var ids = [begin]
        for piece in added.split(Array(prompt.unicodeScalars)) {
            switch piece {
            case .token(let id): ids.append(id)
            case .text(let text): tokenise(cleaned(text), into: &ids)
            }
        }
        return ids + [end]
    }

    /// Splits clean text into words and merges each.
    ///
    /// At each place the first that fits: a special token spelt out, a contraction, a run of letters, one digit, a run
    /// of anything else but spaces. Source: the pattern of OpenAI's `simple_tokenizer.py`.
    private func tokenise(_ text: [Unicode.Scalar], into ids: inout [Int]) {
        var at = 0
        while at < text.count {
            if text[at].properties.isWhitespace {
                at += 1
                continue
            }
            if text[at] == "<", let special = specials.first(where: { text[at...].starts(with: $0.text) }) {
                ids.append(special.id)
                at += special.text.count
                continue
            }
            let kind = Kind(text[at])
            var stop = at + 1
            if text[at] == "'", let length = contraction(text[at...]) {
                stop = at + length
            } else if kind != .number {
                while stop < text.count, Kind(text[stop]) == kind { stop += 1 }
            }
            pairs.encode(text[at..<stop].flatMap { UTF8.encode($0).map(Array.init) ?? [] }, into: &ids)
            at = stop
        }
    }

    /// Length of 's, 't, 're, 've, 'm, 'll or 'd at the start of the text; the long s counts as s, as case folding has it.
    private func contraction(_ text: ArraySlice<Unicode.Scalar>) -> Int? {
        let letters = text.dropFirst().prefix(2).map { $0 == "\u{17F}" ? "s" : $0 }
        guard let first = letters.first else { return nil }
        if ["s", "t", "m", "d"].contains(first) { return 2 }
        return [["r", "e"], ["v", "e"], ["l", "l"]].contains(letters) ? 3 : nil
    }
}

/// Classes of characters that the word pattern tells apart.
private enum Kind {
    case letter, number, space, other

    init(_ scalar: Unicode.Scalar) {
        if scalar.isASCII {
            switch scalar {
            case "a"..."z", "A"..."Z": self = .letter
            case "0"..."9": self = .number
            case " ", "\t"..."\r": self = .space
            default: self = .other
            }
            return
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
        case .decimalNumber, .letterNumber, .otherNumber: self = .number
        default: self = scalar.properties.isWhitespace ? .space : .other
        }
    }
}

/// Cleans text as BERT's basic tokenizer does with accents kept and punctuation unsplit.
///
/// Drops control and unassigned characters, makes white space a space, sets CJK ideographs apart, composes (NFC) and
/// lowers the case. Runs of spaces may stay; the word pattern skips them.
private func cleaned(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    if text.allSatisfy({ $0.isASCII }) {
        return text.compactMap { scalar in
            switch scalar {
            case "\t", "\n", "\r": " "
            case "A"..."Z": Unicode.Scalar(scalar.value | 32) ?? scalar
            default: scalar.value < 32 || scalar.value == 127 ? nil : scalar
            }
        }
    }
    var clean: [Unicode.Scalar] = []
    clean.reserveCapacity(text.count)
    for scalar in text {
        let category = scalar.properties.generalCategory
        if scalar == "\t" || scalar == "\n" || scalar == "\r" || category == .spaceSeparator {
            clean.append(" ")
        } else if category.isOther || scalar == "\u{FFFD}" {
            continue
        } else if scalar.isIdeograph {
            clean += [" ", scalar, " "]
        } else {
            clean.append(scalar)
        }
    }
    return lowercased(composed(clean))
}

/// Normalisation form C.
///
/// Foundation's takes time quadratic in a run of combining marks that is out of order (30 s for 100,000), so runs are
/// put in canonical order first, which changes nothing but the time.
private func composed(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var ordered = text
    var start = 0
    while start < ordered.count {
        let starter = ordered[start...].firstIndex { $0.properties.canonicalCombiningClass == .notReordered }
        let end = starter ?? ordered.count
        if end - start > 1 {
            let classes = ordered[start..<end].map(\.properties.canonicalCombiningClass)
            let order = classes.indices.sorted { (classes[$0].rawValue, $0) < (classes[$1].rawValue, $1) }
            ordered.replaceSubrange(start..<end, with: order.map { ordered[start + $0] })
        }
        start = end + 1
    }
    var view = String.UnicodeScalarView()
    view.append(contentsOf: ordered)
    return Array(String(view).precomposedStringWithCanonicalMapping.unicodeScalars)
}

/// Lower case of each character by Unicode's full mapping, with the final form of sigma at the end of words.
private func lowercased(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    for (index, scalar) in text.enumerated() {
        if scalar == "\u{3A3}" {
            let before = text[..<index].last { !$0.properties.isCaseIgnorable }
            let after = text[(index + 1)...].first { !$0.properties.isCaseIgnorable }
            let isFinal = before?.properties.isCased == true && after?.properties.isCased != true
            result.append(isFinal ? "\u{3C2}" : "\u{3C3}")
        } else {
            result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
        }
    }
    return result
}

extension Unicode.GeneralCategory {
    /// Control, format, surrogate, private use and unassigned characters.
    fileprivate var isOther: Bool {
        switch self {
        case .control, .format, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }
}

extension Unicode.Scalar {
    /// CJK ideographs by the blocks that BERT's tokenizer lists.
    fileprivate var isIdeograph: Bool {
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0xF900...0xFAFF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B820...0x2CEAF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
