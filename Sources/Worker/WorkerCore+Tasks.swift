internal import Logging
internal import Plan

/// Tasks as they come, and their answers.
extension WorkerCore {
    mutating func receive(_ item: WorkItem, from peer: Peer, _ effects: inout [Effect]) {
        let key = item.key
        guard let assignment, key.epoch == assignment.epoch else { return drops.stale += 1 }
        guard accepts(key.kind, from: peer, under: assignment) else {
            drops.refused += 1
            effects.append(
                .log(.warning, "\(peer) sent \(key.kind) for \(key.image), which is not in this worker's share"))
            return
        }
        let bytes = if case .activation(let stream) = item.work { stream.hiddenBytes(assignment.wire) } else { 0 }
        if key.isStep && !queue.receiveStep(bytes: bytes) {
            drops.overrun += 1
            return fault(key.id, "\(hello.name) had no free slot for it", &effects)
        }
        if let answer = queue.answered(key) {
            drops.duplicate += 1
            return resend(answer, &effects)
        }
        guard !queue.contains(key) else { return drops.duplicate += 1 }
        var item = item
        if case .step(let latents, let sigma, let guidance, let sent) = item.work {
            let place = ConditioningCache.Key(image: key.image, branch: key.branch)
            if let sent { conditionings.store(sent, for: place) }
            guard let conditioning = conditionings.find(place) else {
                return fault(key.id, "\(hello.name) has no conditioning of it: send that with the step", &effects)
            }
            item.work = .step(latents, sigma: sigma, guidance: guidance, conditioning)
        }
        if !queue.add(item, bytes: bytes) {
            fault(key.id, "\(hello.name) has \(limits.sideTasks) tasks waiting", &effects)
        }
    }

    private func accepts(_ kind: TaskKey.Kind, from peer: Peer, under assignment: Assignment) -> Bool {
        switch (kind, peer) {
        case (.encode, .coordinator): assignment.placement.encodes
        case (.decode, .coordinator): assignment.placement.decodes
        case (.step, .coordinator): assignment.isFirst
        case (.activation, .upstream(let name)): assignment.upstream?.worker == name
        default: false
        }
    }

    mutating func malformed(_ task: MalformedTask, _ effects: inout [Effect]) {
        drops.refused += 1
        let text = task.text
        effects.append(.log(.warning, text))
        guard let assignment, task.epoch == assignment.epoch else { return }
        if task.isStep { _ = queue.receiveStep(bytes: task.bytes) }
        // Sent once more it may arrive whole; what never fits fails when the tries are used up.
        if let task = task.task { fault(task, text, &effects) }
    }

    mutating func computed(
        _ key: TaskKey, _ result: Result<Outcome, WorkFailure>, _ elapsed: Nanoseconds, given: Nanoseconds,
        _ now: Nanoseconds, _ effects: inout [Effect]
    ) {
        counters.busyNanoseconds += elapsed
        if let ticket = queue.ticket(key) {
            // By when it was heard of, a message between threads after its end: so no span reaches into the next one,
            // and a side task's holds those of the steps that it gave way to.
            let nanoseconds = min(elapsed + given, now)
            spans.note(ticket.span(began: now - nanoseconds, nanoseconds: nanoseconds))
        }
        guard let ticket = queue.finish(key) else { return drops.stale += 1 }
        guard let assignment, key.epoch == assignment.epoch else { return drops.stale += 1 }
        switch result {
        case .failure(let failure):
            fault(key.id, "\(hello.name): \(failure.text)", isRetriable: false, &effects)
        case .success(let outcome):
            if key.isStep {
                counters.countStep(stage: ticket.stage, tokens: ticket.tokens, nanoseconds: elapsed)
            }
            if case .picture = outcome { counters.images += 1 }
            let answer = Answer(ticket: ticket, outcome: outcome)
            if case .activation = outcome {
                nextLink.use(now)
                return queue.hold(answer)
            }
            queue.remember(answer)
            effects.append(.answer(answer, to: .coordinator))
        }
    }

    private mutating func resend(_ answer: Answer, _ effects: inout [Effect]) {
        guard case .activation(let stream) = answer.outcome else {
            return effects.append(.answer(answer, to: .coordinator))
        }
        guard let assignment, let downstream = assignment.downstream,
            queue.spendCredit(bytes: stream.hiddenBytes(assignment.wire))
        else { return }
        effects.append(.answer(answer, to: .downstream(downstream.worker)))
    }

    private func fault(_ task: TaskID, _ text: String, isRetriable: Bool = true, _ effects: inout [Effect]) {
        effects.append(.control(.fault(Fault(task, text: Self.told(text), isRetriable: isRetriable))))
    }

    /// As much of a text as a control message takes.
    static func told(_ text: String) -> String { String(text.prefix(2000)) }
}
