internal import Foundation
internal import Yams

/// A YAML mapping whose every value is asked for by name; each error names the file and the line.
struct YAMLFile {
    /// Path, for errors.
    let file: String
    private let entries: [String: Yams.Node]
    private let lines: [String: Int]

    /// Reads a file that holds one mapping with no keys but `known`.
    init(path: String, known: [String]) throws(SettingsError) {
        try self.init(text: readText(path), file: path, known: known)
    }

    /// Reads text that holds one mapping with no keys but `known`; an empty text is an empty mapping.
    init(text: String, file: String, known: [String]) throws(SettingsError) {
        try self.init(node: Self.composed(text, file: file), file: file, known: known)
    }

    private init(node: Yams.Node?, file: String, known: [String]) throws(SettingsError) {
        self.file = file
        var entries: [String: Yams.Node] = [:]
        var lines: [String: Int] = [:]
        switch node {
        case nil: break
        case .scalar(let scalar) where scalar.string.isEmpty: break
        case .mapping(let mapping):
            for (key, value) in mapping {
                let line = key.mark?.line
                guard let name = key.string else {
                    throw SettingsError(.syntax("a key must be a plain word"), file: file, line: line)
                }
                guard known.contains(name) else {
                    throw SettingsError(.unknownKey(name, known: known), file: file, line: line)
                }
                entries[name] = value
                lines[name] = line
            }
        case .some(let other):
            throw SettingsError(.syntax("expected lines of the form `key: value`"), file: file, line: other.mark?.line)
        }
        self.entries = entries
        self.lines = lines
    }

    private static func composed(_ text: String, file: String) throws(SettingsError) -> Yams.Node? {
        do {
            return try Yams.compose(yaml: text)
        } catch let error as YamlError {
            switch error {
            case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
                .composer(_, let problem, let mark, _):
                throw SettingsError(.syntax("not YAML: \(problem)"), file: file, line: mark.line)
            case .reader(let problem, _, _, _):
                throw SettingsError(.syntax("not YAML: \(problem)"), file: file)
            case .duplicatedKeysInMapping(let duplicates, let context):
                let names = duplicates.map(\.description).joined(separator: ", ")
                throw SettingsError(.syntax("the key \(names) occurs twice"), file: file, line: context.mark.line)
            default:
                throw SettingsError(.syntax("not YAML"), file: file)
            }
        } catch {
            throw SettingsError(.syntax("not YAML"), file: file)
        }
    }

    /// Whether the key is there.
    func has(_ key: String) -> Bool { entries[key] != nil }

    /// A text; nil when the key is missing.
    func text(_ key: String) throws(SettingsError) -> String? {
        guard let node = entries[key] else { return nil }
        guard let scalar = node.scalar?.string, !scalar.isEmpty, node.null == nil else {
            throw bad(key, wanted: "a text, in quotes where it is null or ~")
        }
        return scalar
    }

    /// A whole number within `range`; nil when the key is missing.
    func int(_ key: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let node = entries[key] else { return nil }
        guard let value = node.int, range.contains(value) else { throw bad(key, wanted: Self.phrase(range)) }
        return value
    }

    /// A number that passes `test`; nil when the key is missing.
    func double(_ key: String, wanted: String, where test: (Double) -> Bool) throws(SettingsError) -> Double? {
        guard let node = entries[key] else { return nil }
        guard let value = Self.number(node), test(value) else { throw bad(key, wanted: wanted) }
        return value
    }

    /// true or false; nil when the key is missing.
    func bool(_ key: String) throws(SettingsError) -> Bool? {
        guard let node = entries[key] else { return nil }
        guard let value = node.bool else { throw bad(key, wanted: "true or false") }
        return value
    }

    /// One of the words of `type`; nil when the key is missing.
    func word<Word: RawRepresentable & CaseIterable>(
        _ key: String, as type: Word.Type
    ) throws(SettingsError) -> Word? where Word.RawValue == String {
        guard let node = entries[key] else { return nil }
        guard let text = node.scalar?.string, let value = Word(rawValue: text) else {
            throw bad(key, wanted: Word.allCases.map(\.rawValue).joined(separator: " or "))
        }
        return value
    }

    /// Whole numbers within `range`, exactly `count` of them if given; nil when the key is missing.
    func ints(_ key: String, count: Int? = nil, in range: ClosedRange<Int>) throws(SettingsError) -> [Int]? {
        guard let node = entries[key] else { return nil }
        let values = node.sequence?.compactMap(\.int) ?? []
        guard !values.isEmpty, values.count == node.sequence?.count, values.count == count ?? values.count,
            values.allSatisfy(range.contains)
        else {
            let number = count.map { "\($0) " } ?? ""
            throw bad(
                key, wanted: "a list of \(number)whole numbers from \(range.lowerBound) to \(range.upperBound)")
        }
        return values
    }

    /// Exactly `count` numbers that together pass `test`; nil when the key is missing.
    func doubles(
        _ key: String, count: Int, wanted: String, where test: ([Double]) -> Bool
    ) throws(SettingsError) -> [Double]? {
        guard let node = entries[key] else { return nil }
        let values = node.sequence?.compactMap(Self.number) ?? []
        guard values.count == count, node.sequence?.count == count, test(values) else { throw bad(key, wanted: wanted) }
        return values
    }

    /// A list of words of `type`; nil when the key is missing.
    func words<Word: RawRepresentable & CaseIterable>(
        _ key: String, as type: Word.Type
    ) throws(SettingsError) -> [Word]? where Word.RawValue == String {
        guard let node = entries[key] else { return nil }
        let texts = node.sequence?.map { $0.scalar?.string ?? "" } ?? []
        let values = texts.compactMap(Word.init)
        guard !values.isEmpty, values.count == texts.count else {
            throw bad(key, wanted: "a list of " + Word.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return values
    }

    /// A list of mappings with no keys but `known`; nil when the key is missing.
    func mappings(_ key: String, known: [String]) throws(SettingsError) -> [YAMLFile]? {
        guard let node = entries[key] else { return nil }
        guard let items = node.sequence, !items.isEmpty else {
            throw bad(key, wanted: "a list, each item with its keys")
        }
        var result: [YAMLFile] = []
        for item in items { result.append(try YAMLFile(node: item, file: file, known: known)) }
        return result
    }

    /// The error of a value that is not what it should be.
    func bad(_ key: String, wanted: String) -> SettingsError {
        let value = entries[key].map(Self.shown) ?? "missing"
        return SettingsError(.badValue(key: key, value: value, wanted: wanted), file: file, line: line(of: key))
    }

    /// The line of a key.
    func line(of key: String) -> Int? { lines[key] }

    /// The error of a key that must be there; its line is that of `sampler`, where the reader will look.
    func missing(_ key: String) -> SettingsError { SettingsError(.missingKey(key), file: file) }

    private static func number(_ node: Yams.Node) -> Double? {
        guard let value = node.float, value.isFinite else { return nil }
        return value
    }

    /// The beginning of a value for people; aliases can make a short file a huge tree.
    private static func shown(_ node: Yams.Node) -> String {
        switch node {
        case .scalar(let scalar): return scalar.string.isEmpty ? "empty" : scalar.string
        case .sequence(let sequence):
            var text = "["
            for item in sequence {
                guard text.utf8.count < 80 else { break }
                if text.utf8.count > 1 { text += ", " }
                if case .sequence = item { text += "a list" } else { text += shown(item) }
            }
            return text + "]"
        default: return "a mapping"
        }
    }

    private static func phrase(_ range: ClosedRange<Int>) -> String {
        range.upperBound == .max
            ? "a whole number of at least \(range.lowerBound)"
            : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    }
}

/// Text of a file of at most 64 MiB.
func readText(_ path: String) throws(SettingsError) -> String {
    let limit = 64 << 20
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        guard access(path, F_OK) == 0 || errno == ENOENT || errno == ENOTDIR else {
            let why = String(cString: strerror(errno))
            throw SettingsError(
                .unreadable("this user does not get there (\(why)); check the folders on its way"), file: path)
        }
        throw SettingsError(.notFound(tried: []), file: path)
    }
    guard !isFolder.boolValue else { throw SettingsError(.isFolder, file: path) }
    do {
        // Not of the link itself.
        let resolved = URL(filePath: path).resolvingSymlinksInPath().path
        let attributes = try FileManager.default.attributesOfItem(atPath: resolved)
        guard attributes[.type] as? FileAttributeType == .typeRegular else {
            throw SettingsError(.unreadable("it is a pipe or a device; give a regular file"), file: path)
        }
        let size = attributes[.size] as? Int ?? 0
        guard size <= limit else {
            throw SettingsError(.unreadable("\(size) bytes, the limit is \(limit)"), file: path)
        }
        let data = try Data(contentsOf: URL(filePath: path))
        guard let text = String(data: data, encoding: .utf8) else {
            throw SettingsError(.unreadable("it is not UTF-8 text"), file: path)
        }
        return text
    } catch let error as SettingsError {
        throw error
    } catch {
        throw SettingsError(.unreadable("permission denied or a disk fault"), file: path)
    }
}
