internal import Logging
internal import Plan
internal import Stages

/// The share of the plan: taking it up, and reading its weights.
extension WorkerCore {
    mutating func assign(_ plan: ClusterPlan, _ now: Nanoseconds, _ effects: inout [Effect]) {
        switch life {
        case .connecting, .leaving: return
        default: break
        }
        if let epoch = life.epoch, plan.epoch <= epoch {
            if plan.epoch < epoch { drops.stale += 1 }
            // Asked again: the coordinator waits for a word that was lost on its way.
            if plan.epoch == epoch, case .ready(let assignment) = life { effects.append(hasLoaded(assignment)) }
            return
        }
        drops.stale += queue.clear()
        // It will be asked for again, of whoever decodes now.
        effects += queue.unwantedSides(plan.epoch).map { .abandon($0) }
        if case .draining(var draining) = life {
            // The plan goes on without it, or with a share it will not take up.
            draining.assignment = nil
            life = .draining(draining)
            effects += [.admit(nil), .closeDownstream]
            return
        }
        if let trouble = plan.trouble(blockCount: hello.model.blockCount) {
            // Its numbers come from outside: a span beyond the model, or no neighbour, must not get as far as the weights.
            let text = "\(hello.name) does not take the plan of epoch \(plan.epoch): \(trouble)"
            effects += [.log(.error, text), .closeDownstream]
            effects.append(.control(.loaded(Loaded(epoch: plan.epoch, residentBytes: 0, failure: text))))
            latest = nil
            life = .greeted
            return
        }
        let assignment = Assignment(plan, worker: hello.name)
        latest = assignment
        nextLink = NextLink()
        probe = nil
        effects.append(.admit(assignment?.upstream))
        guard let assignment else {
            effects.append(.closeDownstream)
            // What is still being read goes when it is there (`loaded`), unless a plan wants it by then.
            if held != nil { effects.append(.drop) }
            held = nil
            life = .greeted
            return
        }
        if let downstream = assignment.downstream {
            effects.append(
                .openDownstream(
                    downstream.worker, endpoint: downstream.endpoint, publicKey: downstream.publicKey))
        } else {
            effects.append(.closeDownstream)
        }
        life = .loading(assignment)
        if assignment.measuresLink {
            probe = LinkProbe(now: now)
            effects.append(.probe(0, bytes: 0, epoch: assignment.epoch))
        }
        settle(&effects)
    }

    /// Starts loading what the assignment needs, or reports it if it is in memory already and its link is measured.
    mutating func settle(_ effects: inout [Effect]) {
        guard case .loading(let assignment) = life, loading == nil else { return }
        if held == assignment.share {
            if probe?.isOver ?? true { becomeReady(assignment, &effects) }
            return
        }
        if held != nil { effects.append(.drop) }
        held = nil
        loading = assignment.share
        effects.append(.load(assignment.share))
    }

    mutating func loaded(_ share: Share, _ result: Result<UInt64, LoadFailure>, _ effects: inout [Effect]) {
        loading = nil
        switch result {
        case .success(let bytes):
            held = share
            counters.residentBytes = bytes
        case .failure(let failure):
            if case .loading(let assignment) = life, assignment.share == share {
                effects.append(.log(.error, failure.text))
                effects.append(
                    .control(
                        .loaded(Loaded(epoch: assignment.epoch, residentBytes: 0, failure: Self.told(failure.text)))))
                life = .greeted
                return
            }
        }
        settle(&effects)
        // A share that nobody wants any more, because the plan changed while it was read.
        if loading == nil, assignment == nil, held != nil, case .greeted = life {
            held = nil
            effects.append(.drop)
        }
    }

    private mutating func becomeReady(_ assignment: Assignment, _ effects: inout [Effect]) {
        life = .ready(assignment)
        effects.append(hasLoaded(assignment))
        _ = queue.extendGrant()
        repeatCredits(&effects)
    }

    private func hasLoaded(_ assignment: Assignment) -> Effect {
        .control(
            .loaded(Loaded(epoch: assignment.epoch, residentBytes: counters.residentBytes, link: probe?.measured)))
    }
}
