internal import FoundationEssentials
internal import Glibc
package import Logging

/// Writes one line to stderr for each event, as text or as JSON.
package struct LineLog: LogHandler {
    /// How lines look.
    package enum Format: String, Sendable, CaseIterable {
        /// `2026-01-31T12:00:00.123Z info worker: loaded [epoch=3]`.
        case text
        /// One JSON object.
        case json
    }

    /// Least severe level that is written.
    package var logLevel: Logger.Level
    /// Values added to every line.
    package var metadata: Logger.Metadata = [:]
    /// Values added to every line from where it is written.
    package var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let format: Format
    private let write: @Sendable (String) -> Void

    /// Writes lines to stderr, or where `write` puts them.
    package init(
        label: String, level: Logger.Level = .info, format: Format = .text,
        write: @escaping @Sendable (String) -> Void = LineLog.toStandardError
    ) {
        self.label = label
        logLevel = level
        self.format = format
        self.write = write
    }

    /// Makes every logger of the process write lines to stderr; call once, first thing.
    package static func bootstrap(level: Logger.Level = .info, format: Format = .text) {
        LoggingSystem.bootstrap { LineLog(label: $0, level: level, format: format) }
    }

    /// One write call for each line, so that lines of several threads and processes do not mix.
    package static let toStandardError: @Sendable (String) -> Void = { line in
        var rest = Array(line.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written < 0 && errno == EINTR { continue }
            if written <= 0 { return }
            rest = rest.dropFirst(written)
        }
    }

    /// A value of the metadata.
    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes an event.
    package func log(event: LogEvent) {
        let values =
            metadata
            .merging(metadataProvider?.get() ?? [:]) { $1 }
            .merging(event.metadata ?? [:]) { $1 }
            .sorted { $0.key < $1.key }
            .map { ($0.key, "\($0.value)") }
        write(
            Self.line(
                time: Date().formatted(
                    .iso8601.year().month().day().timeZone(separator: .omitted).time(includingFractionalSeconds: true)),
                level: event.level, label: label, message: "\(event.message)", values: values, format: format))
    }

    static func line(
        time: String, level: Logger.Level, label: String, message: String, values: [(String, String)], format: Format
    ) -> String {
        switch format {
        case .text:
            let tail = values.map { "\($0)=\(oneLine($1))" }.joined(separator: " ")
            return "\(time) \(level) \(label): \(oneLine(message))\(tail.isEmpty ? "" : " [\(tail)]")\n"
        case .json:
            let fields = [("time", time), ("level", "\(level)"), ("label", label), ("message", message)] + values
            return "{" + fields.map { "\(quoted($0)):\(quoted($1))" }.joined(separator: ",") + "}\n"
        }
    }

    /// Replaces what would break a line or steer a terminal.
    private static func oneLine(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 32 || 127..<160 ~= scalar.value:
                result += "\\u{\(String(scalar.value, radix: 16))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case _ where scalar.value < 32:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
