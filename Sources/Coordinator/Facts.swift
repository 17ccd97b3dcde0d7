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
}
