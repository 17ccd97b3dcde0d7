internal import Foundation
internal import Glibc
internal import Synchronization

/// Tells the service manager that started this process how it is: ready, at work, stopping.
///
/// The watchdog is fed by whoever calls `alive`, which is to be the loop that would hang: a timer of its own would go on
/// beside a loop that stands.
///
/// - Source: sd_notify(3), sd_watchdog_enabled(3): datagrams to the socket in `NOTIFY_SOCKET`, whose first character is
///   `@` for an abstract address; `WATCHDOG_USEC` is the time after which a silent process is ended, for the process in
///   `WATCHDOG_PID` if that is set.
package final class ServiceManager: Sendable {
    private let address: [UInt8]
    private let isAbstract: Bool
    /// Nanoseconds of silence after which the manager ends this process; nil if it does not watch.
    package let watchdog: UInt64?
    /// When it was told last that the process is alive.
    private let told = Atomic<UInt64>(0)

    /// Finds the manager; nil where none listens.
    package init?(environment: [String: String], processID: Int32 = getpid()) {
        guard let path = environment["NOTIFY_SOCKET"], path.first == "/" || path.first == "@",
            2...Self.longestPath ~= path.utf8.count
        else { return nil }
        isAbstract = path.first == "@"
        address = Array(path.utf8)
        let isForThis = environment["WATCHDOG_PID"].map { $0 == String(processID) } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap { UInt64($0) }.flatMap { $0 > 0 ? $0 : nil }
        watchdog = isForThis ? microseconds.map { $0.multipliedReportingOverflow(by: 1000).partialValue } : nil
    }

    /// What `sun_path` holds, with the zero behind it.
    private static let longestPath = 107

    /// How long a manager that is behind with reading is waited for, where it has to hear something.
    private static let patience = timeval(tv_sec: 5, tv_usec: 0)

    /// The process does its work from now on.
    ///
    /// Waits up to five seconds for room in the manager's queue: who is never ready is ended.
    package func ready() async { await tell("READY=1") }

    /// The process is about to end; waits as `ready` does.
    package func stopping() async { await tell("STOPPING=1") }

    /// Sends on a thread of its own, since it may have to wait.
    private func tell(_ text: String) async {
        await withCheckedContinuation { continuation in
            let thread = Thread {
                self.send(text, patiently: true)
                continuation.resume()
            }
            thread.name = "notify"
            thread.start()
        }
    }

    /// The process is alive; told a few times in the watchdog's time, however often this is called.
    ///
    /// Not told, so that the process is ended and started again, when what it has in hand has not moved for as long as
    /// the watchdog waits: `standing`, in nanoseconds, as `now`.
    package func alive(now: UInt64, standing: UInt64 = 0) {
        guard let watchdog, standing < watchdog else { return }
        let last = told.load(ordering: .relaxed)
        guard last == 0 || now >= last + watchdog / 4 else { return }
        told.store(now, ordering: .relaxed)
        // Without waiting: a sign of life that is dropped is followed by others.
        send("WATCHDOG=1", patiently: false)
    }

    private func send(_ text: String, patiently: Bool) {
        let handle = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard handle >= 0 else { return }
        defer { close(handle) }
        var patience = Self.patience
        setsockopt(handle, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let flags = Int32(MSG_NOSIGNAL) | (patiently ? 0 : Int32(MSG_DONTWAIT))
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { path in
            path.copyBytes(from: address)
            if isAbstract { path[0] = 0 }
        }
        // An abstract name ends where the length says, a path at its zero.
        let length = MemoryLayout<sa_family_t>.size + address.count + (isAbstract ? 0 : 1)
        let bytes = Array(text.utf8)
        var sent = 0
        repeat {
            sent = withUnsafePointer(to: &name) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(handle, bytes, bytes.count, flags, $0, socklen_t(length))
                }
            }
        } while sent < 0 && errno == EINTR
    }
}
