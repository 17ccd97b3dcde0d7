/// Prometheus text, format 0.0.4.
///
/// Source: "Exposition formats" of the Prometheus documentation.
package struct Exposition: Sendable {
    /// What a family's values are.
    package enum Kind: String, Sendable {
        /// Only rises.
        case counter
        /// Goes up and down.
        case gauge
        /// Quantiles with a sum and a count.
        case summary
    }

    /// The content type to serve it under.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The text so far; ends with a newline.
    package private(set) var text = ""

    /// Starts empty.
    package init() {}

    /// Begins a family: its HELP and TYPE lines.
    package mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    }

    /// Adds a value to the family that was begun last.
    package mutating func sample(_ name: String, _ labels: [(String, String)] = [], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0)=\"\(Self.escaped($1, quotes: true))\"" }.joined(separator: ",") + "}"
        }
        text += " \(Self.number(value))\n"
    }

    /// Begins a family of one value without labels.
    package mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        family(name, kind, help)
        sample(name, [], value)
    }

    /// Whole numbers without a point, the rest as short as it can be read back.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }

    static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    /// A name of letters, digits, `_` and `:` that does not begin with a digit.
    static func sanitized(_ name: String) -> String {
        var result = ""
        for scalar in name.unicodeScalars {
            let isLetter = "a"..."z" ~= scalar || "A"..."Z" ~= scalar || scalar == "_" || scalar == ":"
            let isDigit = "0"..."9" ~= scalar
            if isDigit && result.isEmpty { result += "_" }
            result += isLetter || isDigit ? String(scalar) : "_"
        }
        return result.isEmpty ? "_" : result
    }
}
