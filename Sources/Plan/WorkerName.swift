/// What a worker may be called: 1 to 64 letters, digits, `.`, `_` or `-`, and not `coordinator`.
///
/// Names stand in logs, metrics and routing ids.
package enum WorkerName {
    /// Longest name, bytes.
    package static let limit = 64

    /// Whether a worker may have the name.
    package static func isValid(_ name: String) -> Bool {
        1...limit ~= name.utf8.count && name != "coordinator"
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}
