internal import Foundation

/// Collects how close results come to their goldens.
///
/// When the variable `ABBOZZO_CLOSENESS` names a file, each comparison appends one line to it: group, share of the
/// tolerance and tensor, separated by tabs. `Scripts/closeness.sh` prints the worst share of each group from it when all
/// test processes are through. Appends of one short line do not mix, so any number of processes may share it.
package final class ClosenessLog: Sendable {
    /// The log of this process.
    package static let shared = ClosenessLog(path: ProcessInfo.processInfo.environment["ABBOZZO_CLOSENESS"])

    private let descriptor: Int32?

    /// Opens the file for appending; nil or an unwritable path leaves the log switched off.
    package init(path: String?) {
        let opened = path.map { open($0, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) } ?? -1
        descriptor = opened >= 0 ? opened : nil
    }

    deinit {
        if let descriptor { close(descriptor) }
    }

    /// Enters one comparison; a share of 1 is exactly at the tolerance, and a billion stands for infinity.
    package func enter(group: String, name: String, share: Double) {
        guard let descriptor else { return }
        let line = "\(group)\t\(min(share, 1e9))\t\(name)\n"
        _ = line.withCString { write(descriptor, $0, strlen($0)) }
    }
}
