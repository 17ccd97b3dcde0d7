internal import Settings
internal import TestKit
internal import Testing

@Suite("Prompt files")
struct PromptFileTests {
    private func problem(_ text: String, file: String = "p.jsonl") -> SettingsError? {
        #expect(throws: SettingsError.self) { try PromptFile.parse(text, file: file) }
    }

    @Test("a text file has one prompt a line; comments and blank lines are skipped and counted")
    func text() throws {
        let prompts = try PromptFile.parse("# title\n\na red car\r\n  a café, № 5  \n#x\nlast", file: "p.txt")
        #expect(prompts.map(\.prompt) == ["a red car", "a café, № 5", "last"])
        #expect(prompts.map(\.place.line) == [3, 4, 6])
    }

    @Test("only LF and CR LF end a line", arguments: ["\u{2028}", "\u{2029}", "\u{85}"])
    func lineEnds(other: String) throws {
        let objects = "{\"prompt\": \"a\(other)b\"}\r\n{\"prompt\": \"c\"}\n"
        #expect(try PromptFile.parse(objects, file: "p.jsonl").map(\.prompt) == ["a\(other)b", "c"])
        let texts = try PromptFile.parse("a\(other)b\r\n\(other)\n\u{0B}c\u{0C}d\u{0C}\n", file: "p.txt")
        #expect(texts.map(\.prompt) == ["a\(other)b", "c\u{0C}d"])
        #expect(texts.map(\.place.line) == [1, 3])
        #expect(try #require(problem("{\"prompt\": \"a\(other)b\"}\nx")).line == 2)
    }

    @Test("a .jsonl line may set every field")
    func object() throws {
        let line = """
            {"prompt": "a", "negative_prompt": "b", "seed": 18446744073709551615, "width": 256, "height": 128, \
            "steps": 4, "guidance": 2.5, "sampler": "euler", "preset": "x"}
            """
        let prompt = try #require(PromptFile.parse("\n" + line, file: "p.jsonl").first)
        #expect(prompt.prompt == "a" && prompt.negativePrompt == "b" && prompt.seed == .max)
        #expect(prompt.width == 256 && prompt.height == 128 && prompt.steps == 4 && prompt.guidance == 2.5)
        #expect(prompt.sampler == "euler" && prompt.preset == "x" && prompt.place.line == 2)
    }

    @Test(
        "refuses what no prompt line can mean, with the line",
        arguments: [
            "{\"prompt\": \"a\", \"sead\": 7}", "{\"seed\": 7}", "{\"prompt\": 7}", "not json", "[1]", "\"a\"",
            "{\"prompt\": \"a\", \"seed\": -1}", "{\"prompt\": \"a\", \"seed\": 1.5}",
            "{\"prompt\": \"a\", \"width\": 0}", "{\"prompt\": \"a\", \"width\": \"256\"}",
            "{\"prompt\": \"a\", \"steps\": true}", "{\"prompt\": \"a\", \"guidance\": -2}",
            "{\"prompt\": \"a\", \"guidance\": null}", "{\"prompt\": \"a\"",
        ])
    func refusesLine(line: String) throws {
        let error = try #require(problem("{\"prompt\": \"fine\"}\n" + line))
        #expect(error.line == 2)
        #expect(!error.description.contains("\n"))
    }

    @Test(
        "names the value and what it must be",
        arguments: [
            ("\"seed\": \"7\"", "seed is \"7\", but must be a whole number"),
            ("\"seed\": \"7\"", "from 0 to 18446744073709551615, without quotes"),
            ("\"seed\": \"x\"", "seed is \"x\", but must be a whole number from 0 to 18446744073709551615"),
            ("\"seed\": 7.5", "seed is 7.5, but"), ("\"seed\": -5", "seed is -5, but"),
            ("\"seed\": 18446744073709551616", "seed is 1.8446744073709552e+19, but"),
            ("\"seed\": true", "seed is true, but"), ("\"seed\": null", "seed is null, but"),
            ("\"seed\": [7]", "seed is a list, an object or a number that is too large, but"),
            ("\"guidance\": -1", "guidance is -1, but must be a number from 0 to 1000"),
            ("\"guidance\": 3e38", "but must be a number from 0 to 1000"),
            ("\"guidance\": \"3\"", "must be a number from 0 to 1000, without quotes"),
            ("\"width\": 1.5", "width is 1.5, but must be a whole number from 1 to 1000000"),
        ])
    func namesValue(field: String, words: String) throws {
        let error = try #require(problem("{\"prompt\": \"a\", \(field)}"))
        #expect(error.description.hasPrefix("p.jsonl:1: "), "\(error)")
        #expect(error.description.contains(words), "\(error)")
    }

    @Test("refuses files without a prompt and of another kind")
    func refusesFiles() throws {
        #expect(try #require(problem("", file: "p.txt")).description.contains("no prompt"))
        #expect(try #require(problem("# only\n\n", file: "p.txt")).line == nil)
        _ = problem("a", file: "p.csv")
        let gone = #expect(throws: SettingsError.self) { try PromptFile.read(path: "/nowhere/p.txt") }
        #expect(gone?.description == "/nowhere/p.txt does not exist")
        let folder = #expect(throws: SettingsError.self) { try PromptFile.read(path: "/") }
        #expect(folder?.description == "/ is a folder; give the name of a file")
    }

    @Test("the quickstart's prompts can be read")
    func quickstart() throws {
        let prompts = try PromptFile.read(path: Fixtures.root + "/configs/prompts/quickstart.txt")
        #expect(prompts.count >= 8)
    }
}
