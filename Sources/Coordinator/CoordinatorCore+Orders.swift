internal import JobStore
internal import Logging
internal import Plan

/// What a client wants of jobs that are over, and only the store can do.
enum StoreOrder {
    case retry(JobID)
    case remove(JobID)
    case removeFinished(by: Double)

    /// The job that it is about; nil where it is about many.
    var job: JobID? {
        switch self {
        case .retry(let id), .remove(let id): id
        case .removeFinished: nil
        }
    }

    var isRetry: Bool { if case .retry = self { true } else { false } }
}

/// Cancelling jobs, trying them again, removing them.
///
/// The core cancels at once and then tells the store; what the other two change, the core hears from the store.
extension CoordinatorCore {
    /// Pictures of finished jobs that one write removes at most, unless one job has more: no checkpoint is written meanwhile.
    private static let mostRemoved = 10_000

    mutating func cancel(_ id: JobID, _ client: ClientTicket) {
        if jobs[id] != nil { log(.info, "job \(id) cancelled\(client.byWhom)") }
        drop(id)
        // What was to be tried again before is cancelled with it.
        for (order, waiting) in orders where order.isRetry && order.job == id { reply(.done, waiting) }
        orders.removeAll { $0.order.isRetry && $0.order.job == id }
        commit(.cancel(id, time: wall), ticket: ticket(.cancellation(client, id)))
    }

    /// Stops what is left of a job.
    private mutating func drop(_ id: JobID) {
        guard let job = jobs[id] else { return }
        let time = wall
        queued -= job.waiting.count
        jobs[id]?.waiting = []
        var forgotten: [ImageID] = []
        for index in job.status.images.indices {
            let image = ImageID(job: id, index: UInt32(index))
            // What is on its way into the store as done or failed stays that.
            if case .recording = flights[image]?.phase { continue }
            if flights[image]?.isSent == true { forgotten.append(image) }
            if job.leftovers.contains(image.index), !job.status.images[index].isFinal, let path = path(of: image) {
                effects.append(.remove(path: path))
                jobs[id]?.leftovers.remove(image.index)
            }
            land(image)
            if !job.status.images[index].isFinal { jobs[id]?.set(UInt32(index), .cancelled, wall: time) }
        }
        if !forgotten.isEmpty {
            for share in plan?.placements ?? [] { send(.forget(forgotten), share.worker) }
        }
    }

    /// Gives the store the next retry or removal, when it is done with the one before.
    mutating func orderNext() {
        while let (order, client) = orders.first, isReady(for: order) {
            orders.removeFirst()
            switch order {
            case .retry(let id): retry(id, client)
            case .remove(let id) where jobs[id] != nil: refuse(client, StoreError(.unfinished(id.description)))
            case .remove(let id): commit(.remove(id), ticket: ticket(.order(order, client)))
            case .removeFinished(let time):
                let write = StoreWrite.removeFinished(by: time, mostPictures: Self.mostRemoved)
                commit(write, ticket: ticket(.order(order, client)))
            }
        }
        refuseRemovals()
    }

    private func isReady(for order: StoreOrder) -> Bool {
        // Not before a cancel that waits for the disk, or may have to: it would be written over what is queued again.
        refusedWrites.isEmpty && probe == nil
            && !awaited.values.contains {
                switch $0 {
                case .order: true
                case .cancellation(_, let id): id == order.job
                default: false
                }
            }
    }

    /// Refuses the removals that wait while the disk does not even take what jobs with pictures left need.
    mutating func refuseRemovals() {
        guard let storeTrouble else { return }
        for (order, client) in orders where !order.isRetry {
            refuse(client, .unavailable, "nothing is removed now: \(storeTrouble)")
        }
        orders.removeAll { !$0.order.isRetry }
    }

    /// Lets the store queue pictures again, as far as the queue has room.
    private mutating func retry(_ id: JobID, _ client: ClientTicket) {
        let (pictures, bytes, jobs) = load
        let isLive = self.jobs[id] != nil
        guard isLive || jobs < settings.maxJobs else {
            return refuse(
                client, .full,
                "\(jobs) jobs are unfinished and at most \(settings.maxJobs) may be; try again when some are done")
        }
        let write = StoreWrite.retry(
            id, mostPictures: max(0, settings.maxQueued - pictures),
            mostBytes: isLive ? .max : max(0, settings.maxQueuedBytes - bytes), model: pin?.drawsWith)
        commit(write, ticket: ticket(.order(.retry(id), client)))
    }

    /// The store's answer to a retry or a removal.
    mutating func ordered(_ order: StoreOrder, _ answer: StoreAnswer, _ client: ClientTicket) {
        switch answer {
        case .retried(let job):
            log(.info, "job \(job.status.id) tried again\(client.byWhom)")
            goOn(with: job)
            let isCancelled = awaited.values.contains {
                if case .cancellation(_, job.status.id) = $0 { true } else { false }
            }
            if isCancelled { drop(job.status.id) }
            reply(.done, client)
        case .written:
            if let id = order.job { log(.info, "job \(id) removed\(client.byWhom)") }
            reply(.done, client)
        case .removed(let jobs, let isAll):
            if jobs > 0 { log(.info, "finished jobs removed\(client.byWhom): \(jobs)") }
            reply(.removed(jobs: jobs, isAll: isAll), client)
        case .failed(let error): refuse(client, error)
        case .submitted: log(.error, "the store answered \(answer) to \(order)")
        }
    }

    /// Tells a client why the store did not do what it asked.
    mutating func refuse(_ client: ClientTicket, _ error: StoreError) {
        let code: ClientFailure.Code =
            switch error.reason {
            case .unknownJob: .unknown
            case .unfinished, .otherModel(_, _, .some): .invalid
            case .full: .full
            default: .unavailable
            }
        refuse(client, code, "\(error)")
    }

    private mutating func goOn(with stored: StoredJob) {
        let id = stored.status.id
        let time = wall
        guard let live = jobs[id] else {
            insert(stored)
            let (waiting, since) = (jobs[id]?.waiting ?? [], now)
            jobs[id]?.requeued = Dictionary(uniqueKeysWithValues: waiting.map { ($0, since) })
            reconsiderWire()
            return changed(id)
        }
        for (index, state) in stored.status.images.enumerated() where state == .queued {
            switch live.status.images[index] {
            case .failed, .cancelled:
                jobs[id]?.set(UInt32(index), .queued, wall: time)
                jobs[id]?.checkpoints.remove(UInt32(index))
                jobs[id]?.waiting.append(UInt32(index))
                jobs[id]?.requeued[UInt32(index)] = now
                queued += 1
            case .queued, .running, .done: break
            }
        }
        jobs[id]?.waiting.sort(by: >)
        enqueue(id)
        changed(id)
    }
}
