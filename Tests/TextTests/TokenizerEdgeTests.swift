import Checkpoint
import Foundation
import Glibc
import Tensors
import TestKit
import Testing

@testable import Text

@Suite struct TokenizerEdgeTests {
    let temporary = TemporaryFolder()
    let clipFolder = Fixtures.path + "/flux-dev/model/tokenizer"
    let t5Folder = Fixtures.path + "/flux-dev/model/tokenizer_2"

    struct Case: Decodable {
        var prompt: String
        var clip: [Int]
        var t5: [Int]
    }

    let cases: [Case]

    init() throws { cases = try decodeJSON([Case].self, path: Fixtures.path + "/tokenizers/edges.json") }

    @Test("awkward prompts get the reference's ids from both tokenizers")
    func edges() throws {
        let clip = try ClipTokenizer(folder: clipFolder)
        let t5 = try T5Tokenizer(folder: t5Folder)
        #expect(cases.count > 300)
        for (index, known) in cases.enumerated() {
            let prompt = known.prompt.debugDescription
            #expect(clip.untruncated(known.prompt) == known.clip, "CLIP, case \(index) \(prompt)")
            #expect(t5.untruncated(known.prompt) == known.t5, "T5, case \(index) \(prompt)")
        }
    }

    @Test("tokenizer.json alone gives the ids of spiece.model")
    func json() throws {
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(atPath: "\(t5Folder)/\(file)", toPath: temporary.path(file))
        }
        let t5 = try T5Tokenizer(folder: temporary.path)
        #expect(t5.maxLength == 512 && t5.idCount == 520)
        for known in cases { #expect(t5.untruncated(known.prompt) == known.t5, "\(known.prompt.debugDescription)") }
    }

    @Test("tokenizer.json alone gives the ids of vocab.json and merges.txt, whichever way its merges are written")
    func clipJSON() throws {
        let vocabulary = try decodeJSON([String: Int].self, path: "\(clipFolder)/vocab.json")
        let pairs = try BytePairs.merges(path: "\(clipFolder)/merges.txt")
        let spellings: [[Any]] = [pairs.map { "\($0.left) \($0.right)" }, pairs.map { [$0.left, $0.right] }]
        for (number, merges) in spellings.enumerated() {
            let folder = temporary.path("clip\(number)")
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            // As transformers 5 saves it: the added tokens are here and in the configuration.
            let file: [String: Any] = [
                "model": ["type": "BPE", "vocab": vocabulary, "merges": merges],
                "added_tokens": ["<|startoftext|>", "<|endoftext|>"].map {
                    ["id": vocabulary[$0] ?? -1, "content": $0]
                },
            ]
            try JSONSerialization.data(withJSONObject: file).write(to: URL(filePath: "\(folder)/tokenizer.json"))
            try FileManager.default.copyItem(
                atPath: "\(clipFolder)/tokenizer_config.json", toPath: "\(folder)/tokenizer_config.json")
            let clip = try ClipTokenizer(folder: folder)
            for known in cases {
                #expect(clip.untruncated(known.prompt) == known.clip, "\(known.prompt.debugDescription)")
            }
        }
        let other = temporary.path("tokenizer.json")
        try FileManager.default.copyItem(atPath: "\(t5Folder)/tokenizer.json", toPath: other)
        let error = #expect(throws: TextError.self) { try ClipTokenizer(folder: temporary.path) }
        #expect(error?.description.contains("\(other)") == true && "\(error!)".contains("only BPE is read"))
    }

    /// What stands between the brackets of a Metaspace, the ids of two prompts, alone and after WhitespaceSplit.
    static let metaspaces: [(options: String, alone: [[Int]], split: [[Int]])] = [
        (
            "\"prepend_scheme\": \"always\"", [[4, 150, 381, 105, 1], [52, 2, 172, 34, 5, 7, 6, 15, 112, 1]],
            [[4, 150, 381, 105, 1], [52, 36, 34, 5, 7, 6, 15, 112, 1]]
        ),
        (
            "\"prepend_scheme\": \"first\"", [[4, 150, 381, 105, 1], [52, 2, 172, 34, 5, 7, 6, 15, 112, 1]],
            [[112, 176, 258, 417, 105, 1], [52, 172, 34, 16, 7, 6, 15, 112, 1]]
        ),
        (
            "\"prepend_scheme\": \"never\"", [[4, 150, 381, 105, 1], [417, 274, 2, 172, 34, 5, 7, 6, 15, 112, 1]],
            [[112, 176, 258, 417, 105, 1], [417, 274, 172, 34, 16, 7, 6, 15, 112, 1]]
        ),
        (
            "\"add_prefix_space\": true", [[4, 150, 381, 105, 1], [52, 2, 172, 34, 5, 7, 6, 15, 112, 1]],
            [[4, 150, 381, 105, 1], [52, 36, 34, 5, 7, 6, 15, 112, 1]]
        ),
        (
            "\"add_prefix_space\": false", [[4, 150, 381, 105, 1], [417, 274, 2, 172, 34, 5, 7, 6, 15, 112, 1]],
            [[112, 176, 258, 417, 105, 1], [417, 274, 172, 34, 16, 7, 6, 15, 112, 1]]
        ),
    ]

    /// The tokenizer of tokenizer.json alone, with another pre-tokenizer.
    private func t5(preTokenizer: String) throws -> T5Tokenizer { try t5(replacing: "pre_tokenizer", by: preTokenizer) }

    /// The tokenizer of tokenizer.json alone, with other JSON under a key.
    private func t5(replacing key: String, by json: String) throws -> T5Tokenizer {
        let path = t5Folder + "/tokenizer.json"
        let whole = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path)))
        var file = try #require(whole as? [String: Any])
        file[key] = try JSONSerialization.jsonObject(with: Data(json.utf8), options: .fragmentsAllowed)
        let folder = TemporaryFolder()
        try folder.write(Array(try JSONSerialization.data(withJSONObject: file)), name: "tokenizer.json")
        return try T5Tokenizer(folder: folder.path)
    }

    // Ids of `tokenizers` 0.23.3, which takes add_prefix_space only where it says true; false means "never" as it once did.
    @Test("pre-tokenizers split words as the reference does", arguments: metaspaces.indices)
    func preTokenizers(index: Int) throws {
        let known = Self.metaspaces[index]
        let marks = "{\"type\": \"Metaspace\", \"replacement\": \"\u{2581}\", \(known.options)}"
        let split = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, \(marks)]}"
        for (json, ids) in [(marks, known.alone), (split, known.split)] {
            let tokenizer = try t5(preTokenizer: json)
            #expect(tokenizer.untruncated(" a\tred\ncar ") == ids[0], "\(json)")
            #expect(tokenizer.untruncated("castle\u{85}by the\u{0B}sea") == ids[1], "\(json)")
        }
    }

    @Test(
        "a pre-tokenizer that is not known is refused by its name",
        arguments: [
            ("null", "[]"), ("{\"type\": \"WhitespaceSplit\"}", "[WhitespaceSplit]"),
            ("{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "[ByteLevel]"),
            ("{\"type\": \"Metaspace\", \"replacement\": \"_\"}", "[Metaspace]"),
            ("{\"type\": \"Metaspace\", \"replacement\": \"\u{2581}\", \"split\": false}", "[Metaspace]"),
            (
                "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, "
                    + "{\"type\": \"Metaspace\", \"replacement\": \"\u{2581}\"}]}", "[Digits, Metaspace]"
            ),
        ])
    func unknownPreTokenizers(json: String, types: String) throws {
        let error = #expect(throws: TextError.self) { try t5(preTokenizer: json) }
        #expect(
            error?.description.contains("tokenizer.json cannot be used: its pre-tokenizer is \(types), only") == true)
    }

    @Test("cutting keeps the end token, padding fills up")
    func lengths() throws {
        let clip = try ClipTokenizer(folder: clipFolder)
        let t5 = try T5Tokenizer(folder: t5Folder)
        let long = String(repeating: "castle ", count: 500)
        #expect(clip(long).count == 77 && clip(long).last == clip("").last && clip(long)[75] != clip("")[75])
        #expect(t5(long, length: 1) == [1])
        #expect(t5(long, length: 9).dropLast() == t5.untruncated(long)[..<8] && t5(long, length: 9).last == 1)
        #expect(t5("", length: 4) == [1, 0, 0, 0])
    }

    @Test(
        "prompts of 100,000 characters take well under a second",
        arguments: [
            "a", "ab ", "é", "e\u{301}\u{323}", "\u{301}\u{323}", "Σ'", "<", " ", "漢", "👩\u{200D}", "</s>", "'",
        ])
    func long(unit: String) throws {
        let clip = try ClipTokenizer(folder: clipFolder)
        let t5 = try T5Tokenizer(folder: t5Folder)
        let prompt = String(repeating: unit, count: 100_000 / unit.unicodeScalars.count)
        let before = processorSeconds()
        #expect(clip(prompt).count == 77)
        #expect(t5(prompt, length: 512).count == 512)
        // The slowest takes 0.4 s on one idle core; quadratic code took 15 s.
        #expect(processorSeconds() - before < 5)
    }

    @Test("the façade refuses prompts and lengths beyond its limits")
    func limits() throws {
        let encoders = try TextEncoders(folder: ModelFolder(path: Fixtures.demoModel), compute: .init(threads: 1))
        for length in [-1, 0, 33, Int.max] {
            #expect(throws: TextError(.textLength(length, limit: 32))) {
                try encoders.encode(prompt: "a", textLength: length)
            }
        }
        let prompt = String(repeating: "a", count: TextEncoders.promptLimit + 1)
        #expect(throws: TextError(.promptTooLong(characters: 100_001, limit: 100_000))) {
            try encoders.encode(prompt: prompt, textLength: 32)
        }
    }

    @Test("byte fallback spells unknown characters, unknown neighbours join otherwise")
    func fallback() {
        let letters: [(text: String, score: Double)] = [("<unk>", 0), ("a", -1), ("ab", -1.5), ("b", -1)]
        let bytes = (0..<256).map { byte in (String(format: "<0x%02X>", byte), -9.0) }
        func ids(_ text: String, _ pieces: [(text: String, score: Double)], byteFallback: Bool) -> [Int] {
            var result: [Int] = []
            Unigram(pieces: pieces, unknown: 0, byteFallback: byteFallback).encode(Array(text.utf8)[...], into: &result)
            return result
        }
        #expect(ids("abéüb", letters, byteFallback: false) == [2, 0, 3])
        #expect(ids("aéa", letters + bytes, byteFallback: true) == [1, 4 + 0xC3, 4 + 0xA9, 1])
        #expect(ids("", letters, byteFallback: false) == [])
    }

    @Test("a merge that makes a pair of lower rank waits for its pass to end")
    func mergeOrder() throws {
        // "ab" merges first everywhere, although "ab"+"a" then has a lower rank than what is left of "a b".
        let merges = "#version\nab a\na b\nab ab</w>\n"
        let path = try temporary.write(Array(merges.utf8), name: "merges.txt")
        let names = ["a", "b", "ab", "aba", "a</w>", "b</w>", "ab</w>", "abab</w>"]
        let vocabulary = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
        let pairs = BytePairs(vocabulary: vocabulary, merges: try BytePairs.merges(path: path), unknown: 99)
        var ids: [Int] = []
        pairs.encode(Array("abaabac".utf8), into: &ids)
        #expect(ids == [3, 3, 99])
        ids = []
        pairs.encode(Array("b".utf8), into: &ids)
        #expect(ids == [5])
    }

    @Test("merges whose lines end as on Windows are the same merges")
    func windows() throws {
        let copy = temporary.path("windows")
        try FileManager.default.copyItem(atPath: clipFolder, toPath: copy)
        let merges = try String(contentsOfFile: "\(copy)/merges.txt", encoding: .utf8)
        try Data(merges.replacing("\n", with: "\r\n").utf8).write(to: URL(fileURLWithPath: "\(copy)/merges.txt"))
        let clip = try ClipTokenizer(folder: copy)
        for known in cases { #expect(clip.untruncated(known.prompt) == known.clip, "\(known.prompt.debugDescription)") }
    }

    @Test("files of T5's tokenizer that would take gigabytes are refused")
    func giants() throws {
        func piece(_ text: [UInt8]) -> [UInt8] {
            let body = [0x0A] + length(text.count) + text
            return [0x0A] + length(body.count) + body
        }
        func length(_ count: Int) -> [UInt8] {
            count < 128 ? [UInt8(count)] : [UInt8(count & 127 | 128)] + length(count >> 7)
        }
        let letters = [UInt8](repeating: 0x61, count: Unigram.longestPiece)
        let many = Array([[UInt8]](repeating: [0x0A, 0x00], count: Unigram.mostPieces + 1).joined())
        // Trainer and normaliser without a word.
        let settings: [UInt8] = [0x12, 0x00, 0x1A, 0x00]
        for bytes in [piece(letters + [0x61]) + settings, many + settings] {
            try expectOneLine(copyOf: t5Folder, with: bytes, as: "spiece.model") { try T5Tokenizer(folder: $0) }
        }
        let path = try temporary.write(piece(letters) + settings, name: "long.model")
        #expect(try SentencePieceModel(path: path).pieces.first?.text.utf8.count == Unigram.longestPiece)
        let only = TemporaryFolder()
        let long = String(repeating: "a", count: Unigram.longestPiece + 1)
        try only.write(Array("{\"model\":{\"vocab\":[[\"\(long)\",1]],\"unk_id\":0}}".utf8), name: "tokenizer.json")
        let error = try #require(throws: TextError.self) { try T5Tokenizer(folder: only.path) }
        #expect("\(error)".contains("longer than"), "\(error)")
    }

    @Test("what a tokenizer's file makes of each character of a prompt is bounded")
    func multipliers() throws {
        func map(_ count: Int) -> String {
            // A trie of one unit that leads nowhere, and one replacement.
            let blob: [UInt8] = [4, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0x61, count: count) + [0]
            return "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\(Data(blob).base64EncodedString())\"}"
        }
        func spaces(_ text: String) -> String {
            "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \"\(text)\"}"
        }
        func sequence(_ steps: String...) -> String {
            "{\"type\": \"Sequence\", \"normalizers\": [\(steps.joined(separator: ", "))]}"
        }
        let longest = CharacterMap.longestReplacement
        _ = try t5(replacing: "normalizer", by: sequence(map(longest), spaces("\u{2581}")))
        for (json, text) in [
            (map(longest + 1), "replaces by more than 64 bytes"), (spaces("\u{2581}\u{2581}"), "by more than 4 bytes"),
            (sequence(map(1), map(1)), "more than one step Precompiled"),
            (sequence(spaces(" "), sequence(spaces(" "))), "more than one step Replace"),
        ] {
            let error = try #require(throws: TextError.self) { try t5(replacing: "normalizer", by: json) }
            #expect(error.description.contains(text) && !error.description.contains("\n"), "\(error)")
        }
    }

    @Test("tokens that a prompt spells out: leftmost first, the longest at each place, and not without end")
    func addedTokens() throws {
        let few = try #require(AddedTokens(["<a>": 1, "<a><b>": 2, "": 3, "b": 4]))
        let pieces = few.split(Array("x<a><a><b>b<".unicodeScalars))
        #expect(pieces == [.text(["x"]), .token(1), .token(2), .token(4), .text(["<"])])

        // Sixteen thousand that begin alike: comparing each of them at each place took minutes.
        let stem = String(repeating: "a", count: 100)
        var many: [String: Int] = [:]
        for id in 0..<AddedTokens.most { many["\(stem)\(id)"] = id }
        let tokens = try #require(AddedTokens(many))
        let prompt = [Unicode.Scalar](repeating: "a", count: 100_000)
        let before = processorSeconds()
        #expect(tokens.split(prompt) == [.text(prompt)])
        #expect(processorSeconds() - before < 5)

        many[stem] = AddedTokens.most
        #expect(!AddedTokens.fit(many))
        #expect(AddedTokens.fit([String(repeating: "a", count: AddedTokens.longest): 0]))
        #expect(!AddedTokens.fit([String(repeating: "a", count: AddedTokens.longest + 1): 0]))
    }

    @Test("files that add more tokens than anybody needs are refused by name")
    func addedTooMany() throws {
        let numbers = 0...AddedTokens.most
        let listed = numbers.map { "{\"id\": \($0), \"content\": \"<\($0)>\"}" }.joined(separator: ", ")
        let error = try #require(throws: TextError.self) { try t5(replacing: "added_tokens", by: "[\(listed)]") }
        #expect(error.description.contains("/tokenizer.json is damaged: \(AddedTokens.tooLarge)"), "\(error)")

        let keyed = numbers.map { "\"\($0)\": {\"content\": \"<\($0)>\"}" }.joined(separator: ", ")
        let config = Array("{\"added_tokens_decoder\": {\(keyed)}}".utf8)
        for (source, load) in [
            (clipFolder, { _ = try ClipTokenizer(folder: $0) }), (t5Folder, { _ = try T5Tokenizer(folder: $0) }),
        ] as [(String, (String) throws -> Void)] {
            let copy = temporary.path(UUID().uuidString)
            try FileManager.default.copyItem(atPath: source, toPath: copy)
            try Data(config).write(to: URL(fileURLWithPath: "\(copy)/tokenizer_config.json"))
            let error = try #require(throws: TextError.self) { try load(copy) }
            #expect(error.description.hasPrefix("\(copy)/tokenizer_config.json is damaged: \(AddedTokens.tooLarge)"))
        }
    }

    @Test("damaged files of CLIP's tokenizer give one line that names the file")
    func damagedClip() throws {
        let broken: [(String, String)] = [
            ("vocab.json", ""), ("vocab.json", "{}"), ("vocab.json", "[1]"), ("vocab.json", "{\"a\":\"b\"}"),
            ("vocab.json", "{\"a\":-1,\"<|endoftext|>\":1}"), ("merges.txt", "#version\na b c\n"),
            ("merges.txt", "#version\na b\n\nc d\n"), ("merges.txt", "#version\n"), ("merges.txt", ""),
            ("tokenizer_config.json", "{\"pad_token\":\"<nothing>\"}"),
            ("tokenizer_config.json", "{\"pad_token\":3}"), ("tokenizer_config.json", "{\"model_max_length\":2}"),
            ("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}"),
        ]
        for (name, text) in broken {
            try expectOneLine(copyOf: clipFolder, with: Array(text.utf8), as: name) { try ClipTokenizer(folder: $0) }
        }
        for name in ["vocab.json", "merges.txt"] {
            try expectOneLine(copyOf: clipFolder, with: nil, as: name) { try ClipTokenizer(folder: $0) }
        }
    }

    @Test("files that were cut between two of their entries, or stand for others, are no tokenizer")
    func cutShort() throws {
        let merges = try String(contentsOfFile: clipFolder + "/merges.txt", encoding: .utf8)
        let lines = merges.split(separator: "\n", omittingEmptySubsequences: false)
        for text in [
            lines.prefix(lines.count / 2).joined(separator: "\n"),
            "#version: 0.2\nzq xj\n" + lines.dropFirst().joined(separator: "\n"),
        ] {
            try expectOneLine(copyOf: clipFolder, with: Array(text.utf8), as: "merges.txt") {
                try ClipTokenizer(folder: $0)
            }
        }
        let spiece = Array(try Data(contentsOf: URL(fileURLWithPath: t5Folder + "/spiece.model")))
        // Field 1, a message of so many bytes, again and again: whole pieces without what follows them.
        var (end, ends) = (0, [Int]())
        while end + 2 < spiece.count, spiece[end] == 0x0A, spiece[end + 1] < 0x80 {
            end += 2 + Int(spiece[end + 1])
            ends.append(end)
        }
        try #require(ends.count > 100 && end < spiece.count)
        for cut in [ends[ends.count / 2], end] {
            try expectOneLine(copyOf: t5Folder, with: Array(spiece.prefix(cut)), as: "spiece.model") {
                try T5Tokenizer(folder: $0)
            }
        }
        // Some pieces are missing, and the settings are there.
        let fewer = Array(spiece.prefix(ends[ends.count / 2]) + spiece[end...])
        try expectOneLine(copyOf: t5Folder, with: fewer, as: "spiece.model") { try T5Tokenizer(folder: $0) }
    }

    @Test("what Git LFS left in place of a file is named as that")
    func lfsPointer() throws {
        let copy = temporary.path("pointer")
        try FileManager.default.copyItem(atPath: t5Folder, toPath: copy)
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 791656\n"
        try Data(pointer.utf8).write(to: URL(fileURLWithPath: copy + "/spiece.model"))
        let error = try #require(throws: CheckpointError.self) { try T5Tokenizer(folder: copy) }
        #expect(error.description.contains("/spiece.model is only a pointer of Git LFS: run git lfs pull"))
    }

    @Test("damaged files of T5's tokenizer give one line that names the file, and never a trap")
    func damagedT5() throws {
        let spiece = Array(try Data(contentsOf: URL(fileURLWithPath: t5Folder + "/spiece.model")))
        for bytes in [[], [0xFF], Array(spiece.dropLast(1)), Array(spiece.prefix(1000)), Array("text".utf8)] {
            try expectOneLine(copyOf: t5Folder, with: bytes, as: "spiece.model") { try T5Tokenizer(folder: $0) }
        }
        var random = SystemRandomNumberGenerator()
        let folder = temporary.path("mutated")
        for _ in 0..<150 {
            var bytes = spiece
            for _ in 0..<8 {
                // Half of the hits where the small messages are, half anywhere.
                let place = Bool.random(using: &random) ? Int.random(in: 0..<9000) : Int.random(in: 0..<bytes.count)
                bytes[place] = UInt8.random(in: 0...255, using: &random)
            }
            try temporary.write(bytes, name: "mutated/spiece.model")
            if let tokenizer = try? T5Tokenizer(folder: folder) {
                for known in cases.prefix(40) { _ = tokenizer.untruncated(known.prompt) }
            }
        }
        let json = [
            "{}", "{\"model\":{\"type\":\"BPE\",\"vocab\":[]}}", "{\"model\":{\"vocab\":[[\"a\",1]],\"unk_id\":1}}",
            "{\"model\":{\"vocab\":[[\"a\",1]],\"unk_id\":0},\"normalizer\":{\"type\":\"NFD\"}}",
            "{\"model\":{\"vocab\":[[\"a\"]],\"unk_id\":0}}",
            "{\"model\":{\"vocab\":[[\"a\",1]],\"unk_id\":0},"
                + "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"//8=\"}}",
            "{\"model\":{\"vocab\":[[\"a\",1]],\"unk_id\":0}}",
        ]
        for text in json {
            let only = TemporaryFolder()
            try only.write(Array(text.utf8), name: "tokenizer.json")
            let error = try #require(throws: (any Error).self) { try T5Tokenizer(folder: only.path) }
            #expect("\(error)".hasPrefix(only.path) && !"\(error)".contains("\n"), "\(error)")
        }
        #expect(throws: TextError(.noTokenizer(folder: "/none", needs: "spiece.model or tokenizer.json"))) {
            try T5Tokenizer(folder: "/none")
        }
    }

    /// Copies a tokenizer, replaces or removes one file and expects loading to throw a line that names it.
    private func expectOneLine<T>(
        copyOf source: String, with bytes: [UInt8]?, as name: String, _ load: (String) throws -> T
    ) throws {
        let copy = temporary.path(UUID().uuidString)
        try FileManager.default.copyItem(atPath: source, toPath: copy)
        try FileManager.default.removeItem(atPath: "\(copy)/\(name)")
        if let bytes { try Data(bytes).write(to: URL(fileURLWithPath: "\(copy)/\(name)")) }
        let error = try #require(throws: (any Error).self) { try load(copy) }
        #expect("\(error)".contains(copy) && !"\(error)".contains("\n") && "\(error)".count < 400, "\(error)")
    }
}

/// Time that a processor spent on the thread that asks.
private func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
