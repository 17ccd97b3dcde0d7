internal import Foundation

/// Carries events to the service, from its queues and from itself, in the order in which they were put in.
///
/// A task for each event would not do: tasks reach an actor in any order.
final class Inbox: @unchecked Sendable {
    private let lock = NSLock()
    private var events: [Event] = []
    private let wake: @Sendable () -> Void

    /// `wake` is called when something is put into an empty box; its reader then takes all.
    init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    func put(_ new: [Event]) {
        let wasEmpty = lock.withLock {
            defer { events += new }
            return events.isEmpty
        }
        if wasEmpty { wake() }
    }

    func takeAll() -> [Event] {
        lock.withLock {
            defer { events = [] }
            return events
        }
    }
}
