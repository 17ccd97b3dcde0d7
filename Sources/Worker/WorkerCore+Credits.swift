internal import Plan

/// How much each neighbour may send.
extension WorkerCore {
    mutating func credit(
        from peer: Peer, _ epoch: Epoch, _ limit: Credit, _ now: Nanoseconds, _ effects: inout [Effect]
    ) {
        guard let assignment, epoch == assignment.epoch else { return }
        switch peer {
        case .downstream(let name):
            guard name == assignment.downstream?.worker else { return }
            nextLink.hear(now)
            queue.raiseCredit(to: limit)
        case .upstream(let name):  // it is there now: tell it what it may send
            if name == assignment.upstream?.worker, let grant = grant(under: assignment) { effects.append(grant) }
        case .coordinator: break
        }
    }

    func grant(under assignment: Assignment) -> Effect? {
        if let upstream = assignment.upstream {
            return .credit(to: .upstream(upstream.worker), epoch: assignment.epoch, limit: queue.granted)
        }
        return assignment.isFirst ? .credit(to: .coordinator, epoch: assignment.epoch, limit: queue.granted) : nil
    }

    /// Tells every neighbour once more; a credit that was lost, or sent before a link was up, stalls nobody for long.
    func repeatCredits(_ effects: inout [Effect]) {
        guard let assignment else { return }
        if let grant = grant(under: assignment) { effects.append(grant) }
        if !assignment.isFirst { effects.append(.credit(to: .coordinator, epoch: assignment.epoch, limit: Credit())) }
        if let downstream = assignment.downstream {
            effects.append(.credit(to: .downstream(downstream.worker), epoch: assignment.epoch, limit: Credit()))
        }
    }
}
