internal import Plan

/// One run of a worker, as routers know it: `NAME/BOOT`, the boot id in 16 hexadecimal digits.
///
/// Two processes that were given the same name are two peers, so neither takes the other's connection.
package struct RoutingID: Hashable, Sendable, CustomStringConvertible {
    /// Longest text, bytes.
    package static let limit = WorkerName.limit + 17

    /// Name of the worker.
    package let name: String
    /// Random number of the run.
    package let bootID: UInt64

    /// Joins both.
    package init(name: String, bootID: UInt64) {
        self.name = name
        self.bootID = bootID
    }

    /// Reads `NAME/BOOT`; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, WorkerName.isValid(String(parts[0])), parts[1].utf8.count == 16,
            let bootID = UInt64(parts[1], radix: 16)
        else { return nil }
        self.init(name: String(parts[0]), bootID: bootID)
        guard description == text else { return nil }
    }

    /// `NAME/BOOT`.
    package var description: String {
        let digits = String(bootID, radix: 16)
        return "\(name)/" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The name that link counters use for a peer: what stands before the first slash.
    static func counted(_ peer: String) -> String { peer.prefix { $0 != "/" }.description }
}
