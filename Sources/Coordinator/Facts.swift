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
}
