internal import Foundation

/// Carries events from other threads to their one reader, in the order in which they were put in.
///
/// A task for each event would not do: tasks reach an actor in any order.
package final class Inbox<Event: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var events: [Event] = []
    private let wake: @Sendable () -> Void

    /// `wake` is called when something is put into an empty box; its reader then takes all.
    package init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    /// Adds events behind those that wait.
    package func put(_ new: [Event]) {
        let wasEmpty = lock.withLock {
            defer { events += new }
            return events.isEmpty
        }
        if wasEmpty { wake() }
    }

    /// Takes everything that waits, the oldest first.
    package func takeAll() -> [Event] {
        lock.withLock {
            defer { events = [] }
            return events
        }
    }
}
