internal import Foundation

/// Whether standard input is a terminal.
var isInputTerminal: Bool { isatty(STDIN_FILENO) == 1 }

/// Whether standard output is a terminal.
var isOutputTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

/// Whether standard error is a terminal.
var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }

/// Rows and columns of the terminal that standard output is; nil where it is none, or does not say.
var outputSize: (rows: Int, columns: Int)? {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 else { return nil }
    return (Int(size.ws_row), Int(size.ws_col))
}

/// Writes text to standard output at once; a closed pipe is not an error worth a word.
func say(_ text: String) {
    try? FileHandle.standardOutput.write(contentsOf: Data((withoutCommands(text) + "\n").utf8))
}

/// A text without characters that a terminal obeys, ends of lines and tabs excepted.
///
/// Prompts, names and files come from anybody.
func withoutCommands(_ text: String) -> String {
    func isObeyed(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.generalCategory == .control && scalar != "\n" && scalar != "\t"
    }
    guard text.unicodeScalars.contains(where: isObeyed) else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { isObeyed($0) ? "?" : $0 }))
}

/// Writes text to standard error at once.
func note(_ text: String) { writeToError(withoutCommands(text) + "\n") }

private func writeToError(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }

/// Prints a value as one JSON object.
func sayJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    say(jsonEscaped(String(decoding: try encoder.encode(value), as: UTF8.self)))
}

/// JSON with the control characters escaped that the encoder leaves in texts, so that `say` changes none of them.
func jsonEscaped(_ json: String) -> String {
    func isControl(_ scalar: Unicode.Scalar) -> Bool { 0x7F...0x9F ~= scalar.value }
    guard json.unicodeScalars.contains(where: isControl) else { return json }
    return json.unicodeScalars.reduce(into: "") { text, scalar in
        if isControl(scalar) {
            text += "\\u00" + String(scalar.value, radix: 16)
        } else {
            text.unicodeScalars.append(scalar)
        }
    }
}

/// Columns of text, each as wide as its widest cell; columns of numbers are set to the right, unless the head is `left`.
struct Table {
    private var rows: [[String]]
    private let left: Set<String>

    /// Starts with the head; names and identifiers may look like numbers.
    init(_ head: [String], left: Set<String> = ["JOB", "NODE", "NAME"]) {
        rows = [head]
        self.left = left
    }

    /// Adds a row of as many cells as the head has.
    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The lines, without blanks at their ends.
    var lines: [String] { lines(of: Array(rows[0].indices)) }

    /// The lines, at most so wide if that can be had by leaving out some of the `spare` columns, the first one first.
    func lines(within width: Int, spare: [String]) -> [String] {
        var columns = Array(rows[0].indices)
        var spare = spare[...]
        while true {
            let lines = lines(of: columns)
            guard lines.contains(where: { $0.count > width }), let next = spare.popFirst() else { return lines }
            columns.removeAll { rows[0][$0] == next }
        }
    }

    private func lines(of columns: [Int]) -> [String] {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        let right = rows[0].indices.map { column in
            !left.contains(rows[0][column])
                && rows.dropFirst().allSatisfy { $0[column].first.map { $0.isNumber || "-+".contains($0) } ?? true }
        }
        return rows.map { row in
            let cells = columns.map { column in
                let fill = String(repeating: " ", count: widths[column] - row[column].count)
                return right[column] ? fill + row[column] : row[column] + fill
            }
            let line = cells.joined(separator: "  ")
            return String(line.prefix(line.count - line.reversed().prefix { $0 == " " }.count))
        }
    }
}

/// A bar on standard error that is drawn over itself; without a terminal, a line whenever the text changes.
struct ProgressBar {
    private var last = ""
    private let isLive = isErrorTerminal

    /// Draws the share done with a text behind the bar; `milestone` is what is printed where there is no terminal.
    mutating func draw(_ share: Double, _ text: String, milestone: String? = nil) {
        let line: String
        if isLive {
            let filled = Int((min(max(share, 0), 1) * 30).rounded())
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
            line = "[\(bar)] \(withoutCommands(text))"
        } else {
            guard let milestone else { return }
            line = milestone
        }
        guard line != last else { return }
        last = line
        if isLive { writeToError("\r\u{1B}[K" + line) } else { note(line) }
    }

    /// Removes the bar.
    mutating func clear() {
        if isLive && !last.isEmpty { writeToError("\r\u{1B}[K") }
        last = ""
    }
}
