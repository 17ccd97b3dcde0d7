/// Why a file of settings or prompts cannot be used, with the file and the line.
package struct SettingsError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// There is no such file; where it was looked for.
        case notFound(tried: [String])
        /// The file cannot be read: the system's words.
        case unreadable(String)
        /// There is a folder in its place.
        case isFolder
        /// The text breaks YAML or JSON.
        case syntax(String)
        /// A key that nobody reads, with the keys that exist.
        case unknownKey(String, known: [String])
        /// A preset that is not there, with those that are.
        case unknownPreset(String, known: [String])
        /// A file of presets that is not there, and the preset that is.
        case presetNotHere(String, meant: String)
        /// A key that must be there.
        case missingKey(String)
        /// A value of the wrong kind or outside its range: the key, the value, what would be right.
        case badValue(key: String, value: String, wanted: String)
        /// A file with nothing in it to do.
        case empty(String)
        /// Wishes that exclude each other.
        case conflict(String)
    }

    /// What is wrong.
    package let reason: Reason
    /// The file, or the option of the command line, that holds the fault.
    package let file: String
    /// The line, counted from 1, where one can be named.
    package let line: Int?

    /// Joins the parts.
    package init(_ reason: Reason, file: String, line: Int? = nil) {
        self.reason = reason
        self.file = file
        self.line = line
    }

    /// One line: where, what and the next step.
    package var description: String {
        let place = line.map { "\(file):\($0)" } ?? file
        switch reason {
        case .notFound(let tried):
            let places = tried.isEmpty ? "" : "; looked for \(tried.joined(separator: ", "))"
            return "\(place) does not exist\(places)"
        case .unreadable(let text): return "\(place) cannot be read: \(text)"
        case .isFolder: return "\(place) is a folder; give the name of a file"
        case .syntax(let text): return "\(place): \(text)"
        case .unknownKey(let key, let known):
            let near = Self.nearest(to: key, among: known).map { "did you mean \($0)? " } ?? ""
            return "\(place): unknown key \(Self.shown(key)); \(near)known keys: \(known.joined(separator: ", "))"
        case .unknownPreset(let name, let known):
            let near = Self.nearest(to: name, among: known).map { "did you mean \($0)? " } ?? ""
            return "\(place): there is no preset \(Self.shown(name)); \(near)known: "
                + known.joined(separator: ", ") + "; or give a file, FILE.yaml"
        case .presetNotHere(let name, let meant):
            return "\(place): there is no file \(Self.shown(name)) here; the preset is called \(meant)"
        case .missingKey(let key): return "\(place): the key \(key) is missing; add it"
        case .badValue(let key, let value, let wanted):
            return "\(place): \(key) is \(Self.shown(value)), but must be \(wanted)"
        case .empty(let what): return "\(place): \(what)"
        case .conflict(let text): return "\(place): \(text)"
        }
    }

    /// The known name that differs in at most two letters.
    static func nearest(to key: String, among known: [String]) -> String? {
        known.map { (distance(key, $0), $0) }.filter { $0.0 <= 2 }.min { $0.0 < $1.0 }?.1
    }

    /// One line of at most 60 characters, so that a wild value cannot fill the terminal.
    private static func shown(_ text: String) -> String {
        let line = text.count > 60 ? text.prefix(57) + "..." : text[...]
        return String(
            String.UnicodeScalarView(line.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }

    /// Letters to insert, delete or replace to turn one word into the other (Levenshtein).
    private static func distance(_ left: String, _ right: String) -> Int {
        let (a, b) = (Array(left.prefix(40)), Array(right.prefix(40)))
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(replaced, row[j + 1] + 1, row[j] + 1)
            }
        }
        return row[b.count]
    }
}
