internal import Foundation
internal import JobStore
internal import Plan
internal import Wire

/// Writes and reads the store in order on a queue of its own.
///
/// Writes that wait together go into one transaction, which costs one fsync; a read among them ends it, so that it sees
/// what was asked for before.
final class StoreThread: @unchecked Sendable {
    private enum Order {
        case write(StoreWrite, ticket: UInt64)
        case read(StoreQuery, ticket: UInt64)

        /// The picture whose checkpoint is to be written, unless somebody waits for the answer.
        var checkpointed: ImageID? {
            if case .write(.checkpoint(let image, _, _), ticket: 0) = self { image } else { nil }
        }
    }

    private let store: JobStore
    private let inbox: Inbox<Event>
    private let queue = DispatchQueue(label: "store")
    private let lock = NSLock()
    private var waiting: [Order] = []
    private let metrics: CoordinatorMetrics
    private let refused: @Sendable (StoreError) -> Void

    /// `refused` hears of writes that nobody waits for and that failed.
    init(
        store: JobStore, inbox: Inbox<Event>, metrics: CoordinatorMetrics,
        refused: @escaping @Sendable (StoreError) -> Void
    ) {
        self.store = store
        self.inbox = inbox
        self.metrics = metrics
        self.refused = refused
    }

    func write(_ write: StoreWrite, ticket: UInt64) { put(.write(write, ticket: ticket)) }

    func read(_ query: StoreQuery, ticket: UInt64) { put(.read(query, ticket: ticket)) }

    /// Returns when everything asked for before is done.
    func flush() async {
        await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
    }

    private func put(_ order: Order) {
        let wasEmpty = lock.withLock {
            defer { waiting.append(order) }
            let wasEmpty = waiting.isEmpty
            // Of a picture's checkpoints that wait only the last one counts; where the disk hangs they would gather.
            if let image = order.checkpointed { waiting.removeAll { $0.checkpointed == image } }
            return wasEmpty
        }
        if wasEmpty { queue.async { self.work() } }
    }

    private func work() {
        let orders = lock.withLock {
            defer { waiting = [] }
            return waiting
        }
        var writes: [(write: StoreWrite, ticket: UInt64)] = []
        // Each answer goes as soon as it is there: a job's may fill megabytes, and nobody is to wait for another's.
        for order in orders {
            switch order {
            case .write(let write, let ticket): writes.append((write, ticket))
            case .read(let query, let ticket):
                perform(writes)
                writes = []
                inbox.put([.read(answer(query), ticket: ticket)])
            }
        }
        perform(writes)
    }

    private func perform(_ writes: [(write: StoreWrite, ticket: UInt64)]) {
        guard !writes.isEmpty else { return }
        let start = DispatchTime.now().uptimeNanoseconds
        let answers = store.perform(writes.map(\.write))
        metrics.noteCheckpoint(nanoseconds: DispatchTime.now().uptimeNanoseconds - start)
        let events = zip(writes, answers).compactMap { write, answer -> Event? in
            if write.ticket != 0 { return .stored(answer, ticket: write.ticket) }
            guard case .failed(let error) = answer else { return nil }
            refused(error)
            return if case .checkpoint(let image, _, _) = write.write { .checkpointRefused(image, error) } else { nil }
        }
        if !events.isEmpty { inbox.put(events) }
    }

    private func answer(_ query: StoreQuery) -> StoreReading {
        do throws(StoreError) {
            switch query {
            case .jobs(let limit): return .jobs(try store.jobs(limit: limit))
            case .jobsBeginning(let digits, let limit):
                return .jobs(try store.jobs(beginningWith: digits, limit: limit))
            case .job(let id): return .job(try store.job(id))
            }
        } catch {
            return .failed(error)
        }
    }
}
