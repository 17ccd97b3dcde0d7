import Checkpoint
import TestKit
import Testing
import Text

@Suite struct TokenizerGoldenTests {
    static let folders = ["flux-dev", "flux-schnell"]

    @Test("CLIP ids equal the reference on every prompt", arguments: folders)
    func clip(folder: String) throws {
        let golden = try Golden(folder)
        let file = try golden.file("tokenizer")
        let tokenizer = try ClipTokenizer(folder: golden.modelFolder.path("tokenizer"))
        #expect(golden.prompts.count == 12)
        let lengths = golden.prompts.map { tokenizer.untruncated($0).count }
        for (row, prompt) in golden.prompts.enumerated() {
            try expectEqual(tokenizer(prompt), file, "clip.ids", row: row, part: "clip")
        }
        try expectEqual(lengths, file, "clip.untruncated_len", part: "clip")
        let all = golden.prompts.map(tokenizer.untruncated)
        let longest = try #require(all.max { $0.count < $1.count })
        try expectEqual(longest, file, "clip.untruncated_long", part: "clip")
    }

    @Test("T5 ids equal the reference on every prompt and length", arguments: folders)
    func t5(folder: String) throws {
        let golden = try Golden(folder)
        let file = try golden.file("tokenizer")
        let tokenizer = try T5Tokenizer(folder: golden.modelFolder.path("tokenizer_2"))
        for (row, prompt) in golden.prompts.enumerated() {
            try expectEqual(tokenizer(prompt, length: 64), file, "t5.ids64", row: row, part: "t5")
            try expectEqual(tokenizer(prompt, length: 512), file, "t5.ids512", row: row, part: "t5")
        }
    }
}
