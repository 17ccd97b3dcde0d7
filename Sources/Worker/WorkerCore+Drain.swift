internal import Plan

/// Leaving: as the process is told to end, and as the coordinator lets it go.
extension WorkerCore {
    /// The process was told to end: ask the coordinator to plan without this worker, or, the second time, just end.
    mutating func drain(_ now: Nanoseconds, _ effects: inout [Effect]) {
        switch life {
        case .ready, .greeted, .loading, .standby, .draining:
            if isConnected { break }
            drops.abandoned += queue.clear()
            life = .left(.drained)
            return
        default: break
        }
        switch life {
        case .connecting: life = .left(.drained)
        case .draining(var draining):
            if draining.exits {
                life = .left(.stopped)
            } else {
                draining.exits = true
                life = .draining(draining)
            }
        case .ready(let assignment):
            effects.append(.control(.drain))
            life = .draining(Draining(assignment: assignment, exits: true))
        case .greeted, .loading, .standby:
            effects.append(.control(.drain))
            life = .draining(Draining(assignment: nil, exits: true))
        case .leaving, .left: life = .left(.drained)
        }
    }

    /// The coordinator wants no more of this worker: nothing new comes, and it leaves when its queue is empty.
    mutating func release(_ now: Nanoseconds) {
        switch life {
        case .ready(let assignment):
            life = .draining(Draining(assignment: assignment, exits: false, released: now))
        case .greeted, .loading: life = .draining(Draining(assignment: nil, exits: false, released: now))
        case .draining(var draining):
            draining.released = draining.released ?? now
            life = .draining(draining)
        case .standby, .connecting, .leaving, .left: break
        }
    }

    mutating func leaveIfDone(_ now: Nanoseconds, _ effects: inout [Effect]) {
        guard case .draining(let draining) = life, let released = draining.released else { return }
        let overdue = queue.inHand == nil && now >= released + limits.drainAfter
        guard queue.isEmpty || overdue else { return }
        drops.abandoned += queue.clear()
        effects += [.closeDownstream, .control(.leave)]
        if draining.exits {
            life = .leaving(since: now)
        } else {
            if held != nil { effects.append(.drop) }
            held = nil
            life = .standby
        }
    }
}
