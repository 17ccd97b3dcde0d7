internal import Foundation
internal import Plan

/// Facts about the cluster as the store keeps them.
enum Facts {
    static func encode(_ pin: ClusterPin) -> String? {
        (try? JSONEncoder().encode(pin)).map { String(decoding: $0, as: UTF8.self) }
    }

    static func decode(_ text: String?) -> ClusterPin? {
        text.flatMap { try? JSONDecoder().decode(ClusterPin.self, from: Data($0.utf8)) }
    }

    /// Names of workers, in which there are no spaces; nil for none.
    static func encode(_ names: Set<String>) -> String? {
        names.isEmpty ? nil : names.sorted().joined(separator: " ")
    }

    static func names(_ text: String?) -> Set<String> { Set((text ?? "").split(separator: " ").map(String.init)) }

    /// Name of the fact of where the disk of the output folder was mounted.
    static let disk = "output disk"

    static func encode(disk: String, of output: String) -> String { "\(output)\n\(disk)" }

    /// Where the disk of this very output folder was mounted; nil where it was on the root's, or nobody knows.
    static func disk(_ text: String?, of output: String) -> String? {
        guard let text, text.hasPrefix(output + "\n") else { return nil }
        return String(text.dropFirst(output.count + 1))
    }
}
