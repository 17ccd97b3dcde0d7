internal import Plan

/// Measuring the link to the next worker, and answering the one before.
extension WorkerCore {
    /// Time passes: the first probe once more, or no echo is waited for any longer.
    mutating func measureLink(_ now: Nanoseconds, _ effects: inout [Effect]) {
        guard case .loading(let assignment) = life, probe?.isOver == false, let move = probe?.passed(now: now)
        else { return }
        carryOut(move, assignment, &effects)
    }

    /// The worker before measures its link to here.
    func probed(_ number: UInt32, _ epoch: Epoch, _ peer: Peer, _ effects: inout [Effect]) {
        guard case .upstream(let name) = peer, let latest, latest.epoch == epoch, latest.upstream?.worker == name
        else { return }
        effects.append(.echo(number, epoch: epoch))
    }

    /// The next worker has a probe.
    mutating func echoed(
        _ number: UInt32, _ epoch: Epoch, _ peer: Peer, _ now: Nanoseconds, _ effects: inout [Effect]
    ) {
        guard case .loading(let assignment) = life, assignment.epoch == epoch,
            case .downstream(assignment.downstream?.worker) = peer, let move = probe?.echoed(number, now: now)
        else { return }
        carryOut(move, assignment, &effects)
    }

    private mutating func carryOut(_ move: LinkProbe.Move, _ assignment: Assignment, _ effects: inout [Effect]) {
        switch move {
        case .wait: break
        case .send(let number, let bytes): effects.append(.probe(number, bytes: bytes, epoch: assignment.epoch))
        case .done: settle(&effects)
        }
    }
}
