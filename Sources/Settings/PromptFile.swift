internal import Foundation
internal import Sampling

/// One picture of a batch as its author wrote it; what is nil comes from flags or from the model.
package struct PromptLine: Equatable, Sendable {
    /// The text to draw.
    package var prompt: String
    /// What to steer away from.
    package var negativePrompt: String?
    /// Seed of the picture.
    package var seed: UInt64?
    /// Pixels across.
    package var width: Int?
    /// Pixels down.
    package var height: Int?
    /// Steps of the Euler sampler.
    package var steps: Int?
    /// Strength of the prompt.
    package var guidance: Float?
    /// Name of the sampler.
    package var sampler: String?
    /// Name or file of the preset.
    package var preset: String?
    /// Where it was written, for errors.
    package var place: Place

    /// A file, or an option of the command line, and a line of it.
    package struct Place: Equatable, Sendable {
        /// The file or option.
        package var file: String
        /// The line, from 1.
        package var line: Int?

        /// Joins both.
        package init(file: String, line: Int? = nil) {
            self.file = file
            self.line = line
        }
    }

    /// A line that says nothing but the prompt.
    package init(prompt: String, place: Place) {
        self.prompt = prompt
        self.place = place
    }
}

/// A batch of prompts in a file.
package enum PromptFile {
    /// Reads `.txt` (one prompt a line, `#` starts a comment line) or `.jsonl` (one object a line).
    ///
    /// Spaces before `#` change nothing: a prompt that begins with it can only be written in `.jsonl`.
    ///
    /// - Throws: `SettingsError` with the line of a fault, and for a file without any prompt.
    package static func read(path: String) throws(SettingsError) -> [PromptLine] {
        try parse(readText(path), file: path)
    }

    /// Reads the text of a file; its name decides the format.
    package static func parse(_ text: String, file: String) throws(SettingsError) -> [PromptLine] {
        let isJSON = file.hasSuffix(".jsonl")
        guard isJSON || file.hasSuffix(".txt") else {
            throw SettingsError(
                .syntax("a prompt file ends in .txt (one prompt a line) or .jsonl (one object a line)"), file: file)
        }
        var prompts: [PromptLine] = []
        // Character has CR LF as one, so files from other systems count the same lines. Its other newlines, such as U+2028,
        // may stand within a prompt.
        let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        for (index, raw) in lines.enumerated() {
            let line = raw.trimmingCharacters(in: .whitespacesAndNewlines.union(.init(charactersIn: "\u{FEFF}")))
            let place = PromptLine.Place(file: file, line: index + 1)
            if line.isEmpty { continue }
            if isJSON {
                prompts.append(try object(line, place))
            } else if !line.hasPrefix("#") {
                prompts.append(PromptLine(prompt: line, place: place))
            }
        }
        guard !prompts.isEmpty else {
            throw SettingsError(.empty("there is no prompt in it; write at least one"), file: file)
        }
        return prompts
    }

    private static let fields = [
        "prompt", "negative_prompt", "seed", "width", "height", "steps", "guidance", "sampler", "preset",
    ]

    private static func object(_ line: String, _ place: PromptLine.Place) throws(SettingsError) -> PromptLine {
        func fault(_ reason: SettingsError.Reason) -> SettingsError {
            SettingsError(reason, file: place.file, line: place.line)
        }
        let values: [String: Value]
        do {
            values = try JSONDecoder().decode([String: Value].self, from: Data(line.utf8))
        } catch {
            throw fault(.syntax("not a JSON object of fields such as {\"prompt\": \"a red car\", \"seed\": 7}"))
        }
        for key in values.keys.sorted() where !fields.contains(key) { throw fault(.unknownKey(key, known: fields)) }
        func bad(_ key: String, _ value: Value, _ wanted: String) -> SettingsError {
            fault(.badValue(key: key, value: value.shown, wanted: wanted))
        }
        func text(_ key: String) throws(SettingsError) -> String? {
            guard let value = values[key] else { return nil }
            guard case .text(let text) = value else { throw bad(key, value, "a text") }
            return text
        }
        func whole(_ key: String) throws(SettingsError) -> Int? {
            guard let value = values[key] else { return nil }
            guard case .whole(let number) = value, number >= 1, number <= 1_000_000 else {
                throw bad(key, value, "a whole number from 1 to 1000000" + value.unquoted)
            }
            return Int(number)
        }
        guard let prompt = try text("prompt") else { throw fault(.missingKey("prompt")) }
        var result = PromptLine(prompt: prompt, place: place)
        result.negativePrompt = try text("negative_prompt")
        if let value = values["seed"] {
            guard case .whole(let seed) = value else {
                throw bad("seed", value, "a whole number from 0 to \(UInt64.max)" + value.unquoted)
            }
            result.seed = seed
        }
        result.width = try whole("width")
        result.height = try whole("height")
        result.steps = try whole("steps")
        if let value = values["guidance"] {
            guard let number = value.number, number >= 0, number <= Double(Sampler.guidanceLimit) else {
                throw bad("guidance", value, "a number from 0 to \(Int(Sampler.guidanceLimit))" + value.unquoted)
            }
            result.guidance = Float(number)
        }
        result.sampler = try text("sampler")
        result.preset = try text("preset")
        return result
    }

    /// A JSON value as far as fields of a prompt need it.
    private enum Value: Decodable {
        case text(String)
        case whole(UInt64)
        case fraction(Double)
        case flag(Bool)
        case nothing
        case nested

        init(from decoder: any Decoder) throws {
            guard let container = try? decoder.singleValueContainer() else {
                self = .nested
                return
            }
            if container.decodeNil() {
                self = .nothing
            } else if let text = try? container.decode(String.self) {
                self = .text(text)
            } else if let flag = try? container.decode(Bool.self) {
                self = .flag(flag)
            } else if let whole = try? container.decode(UInt64.self) {
                self = .whole(whole)
            } else if let number = try? container.decode(Double.self), number.isFinite {
                self = .fraction(number)
            } else {
                self = .nested
            }
        }

        /// The value of a number.
        var number: Double? {
            switch self {
            case .whole(let number): Double(number)
            case .fraction(let number): number
            case .text, .flag, .nothing, .nested: nil
            }
        }

        /// What is wrong with a number that is written as a text.
        var unquoted: String {
            if case .text(let text) = self, Double(text) != nil { ", without quotes" } else { "" }
        }

        var shown: String {
            switch self {
            case .text(let text): "\"\(text)\""
            case .whole(let number): "\(number)"
            case .fraction(let number): Int(exactly: number).map(String.init) ?? "\(number)"
            case .flag(let flag): "\(flag)"
            case .nothing: "null"
            case .nested: "a list, an object or a number that is too large"
            }
        }
    }
}
