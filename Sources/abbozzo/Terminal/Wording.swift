internal import Foundation

/// A number of bytes for people: 999 B, 1.2 kB, 34.5 MB.
func bytesText(_ bytes: Double) -> String {
    var (value, unit) = (bytes, "B")
    for next in ["kB", "MB", "GB", "TB"] where value >= 1000 { (value, unit) = (value / 1000, next) }
    return unit == "B" ? "\(Int(value)) B" : String(format: "%.1f %@", value, unit)
}

/// A whole number in groups of three.
func grouped(_ value: some BinaryInteger) -> String {
    let digits = String(value)
    var result = ""
    for (index, digit) in digits.enumerated() {
        if index > 0 && (digits.count - index) % 3 == 0 && result != "-" { result.append(",") }
        result.append(digit)
    }
    return result
}

/// Seconds for people: 12.3 s, 4 min 05 s, 3 h 07 min.
func durationText(_ seconds: Double) -> String {
    if seconds < 60 { return String(format: "%.1f s", max(seconds, 0)) }
    let whole = Int(min(seconds, 1e15))
    if whole < 3600 { return String(format: "%d min %02d s", whole / 60, whole % 60) }
    return String(format: "%d h %02d min", whole / 3600, whole / 60 % 60)
}

/// A word as a shell takes it for one.
func shellQuoted(_ word: String) -> String {
    let plain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:@,=".contains($0)) }
    return plain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
}

/// A ratio with two or three places.
func ratioText(_ value: Double) -> String { String(format: "%.3f", value) }

/// Steps a second: one may take minutes.
func rateText(_ rate: Double) -> String { String(format: rate > 0 && rate < 0.1 ? "%.4f" : "%.2f", rate) }

/// A share as a percentage.
func percentText(_ share: Double) -> String { String(format: "%.0f %%", share * 100) }

/// At most `limit` characters of one line.
func shortened(_ text: String, to limit: Int) -> String {
    let line = String(text.map { $0.isNewline ? " " : $0 })
    return line.count > limit ? line.prefix(max(limit - 1, 0)) + "…" : line
}

/// Text in lines at most so wide, broken where a part ends with a semicolon; a longer part stays whole.
func wrapped(_ text: String, within width: Int) -> [String] {
    let parts = text.components(separatedBy: "; ")
    return (parts.dropLast().map { $0 + ";" } + parts.suffix(1)).reduce(into: []) { lines, part in
        if let line = lines.last, line.count + 1 + part.count <= width {
            lines[lines.count - 1] = line + " " + part
        } else {
            lines.append(part)
        }
    }
}

/// A number with its noun: 1 picture, 2 pictures.
func countText(_ count: Int, _ noun: String) -> String { "\(grouped(count)) \(noun)\(count == 1 ? "" : "s")" }
