internal import Logging
package import Plan
internal import Stages

/// The worker as a pure state machine: events in, effects out, without sockets, files or clocks.
///
/// The shell owns sockets and the compute thread; it hands every event to `handle` and carries out what comes back, in
/// order. The life of a worker:
///
/// ```
/// connecting ─ welcome ─▶ greeted ─ assign ─▶ loading ─ loaded ─▶ ready ─ drain ─▶ draining ─▶ leaving ─▶ left
///     ▲                      ▲                   │  ▲              │ │
///     └─ no answer for 15 s ─┴── failed load ────┘  └─── assign ───┘ │
///     └──────────────────────────────────────────────────────────────┘
/// ```
package struct WorkerCore: Sendable {
    /// Where a worker stands towards its coordinator.
    package enum Life: Equatable, Sendable {
        /// Says hello until it is answered; `attempt` rises with each hello, the next one is due at `next`.
        case connecting(attempt: Int, next: Nanoseconds)
        /// Accepted, without a share of the plan.
        case greeted
        /// Reading the weights of its share.
        case loading(Assignment)
        /// Works for the plan.
        case ready(Assignment)
        /// Works until the coordinator wants no more of it.
        case draining(Draining)
        /// Left the plan at the coordinator's wish, still connected: a new assignment brings it back.
        case standby
        /// Has said that it leaves, and waits until that was heard.
        case leaving(since: Nanoseconds)
        /// Over; nothing is handled any more.
        case left(Ending)

        /// What the log shows.
        package var summary: String {
            switch self {
            case .connecting(let attempt, _): "connecting, attempt \(attempt)"
            case .greeted: "greeted, no share of the plan yet"
            case .loading(let assignment): "loading \(assignment.summary)"
            case .ready(let assignment): "ready, \(assignment.summary)"
            case .draining(let draining): "draining, " + (draining.assignment?.summary ?? "nothing assigned")
            case .standby: "standing by, drained"
            case .leaving: "leaving"
            case .left(let ending): "left: \(ending.text)"
            }
        }
    }

    /// A worker on its way out.
    package struct Draining: Equatable, Sendable {
        /// What it still works for; nil when the plan went on without it.
        package var assignment: Assignment?
        /// Whether the process ends afterwards, as after a signal, or stands by, as after the operator's `drain`.
        package var exits: Bool
        /// When the coordinator said that nothing new will come; nil before.
        package var released: Nanoseconds?

        /// Joins the fields.
        package init(assignment: Assignment?, exits: Bool, released: Nanoseconds? = nil) {
            self.assignment = assignment
            self.exits = exits
            self.released = released
        }
    }

    /// How a worker's life ended.
    package enum Ending: Equatable, Sendable {
        /// It was asked to leave and left nothing behind.
        case drained
        /// It was told to stop at once.
        case stopped
        /// The coordinator will not have it.
        case refused(Refusal)
        /// No coordinator answered for as long as the caller would wait.
        case unreachable(String)

        /// One line with what, where and the next step.
        package var text: String {
            switch self {
            case .drained: "drained"
            case .stopped: "stopped"
            case .refused(let refusal): "the coordinator refused this worker: \(refusal.text)"
            case .unreachable(let text): text
            }
        }
    }

    /// What was dropped, and why; each only rises.
    package struct Drops: Equatable, Sendable {
        /// Tasks and results of an epoch that is over, or not begun.
        package var stale = 0
        /// Tasks that were here already.
        package var duplicate = 0
        /// Messages that do not fit the model, or come from the wrong peer.
        package var refused = 0
        /// Tasks beyond the sender's credit.
        package var overrun = 0
        /// Tasks of pictures that nobody wants any more.
        package var forgotten = 0
        /// Tasks given up when the coordinator was lost.
        package var abandoned = 0

        /// None.
        package init() {}
    }

    /// Times and bounds.
    package struct Limits: Equatable, Sendable {
        /// Silence of the coordinator after which it counts as lost.
        package var lostAfter: Nanoseconds = 15_000_000_000
        /// Shortest wait before the next hello.
        package var shortestBackoff: Nanoseconds = 500_000_000
        /// Longest wait before the next hello.
        package var longestBackoff: Nanoseconds = 30_000_000_000
        /// Time without a coordinator after which the worker gives up; nil for never.
        package var unreachableAfter: Nanoseconds?
        /// Time that an answer which nobody takes may keep a released worker from leaving.
        package var drainAfter: Nanoseconds = 30_000_000_000
        /// Time that a leaving worker waits for the coordinator's last word.
        package var farewell: Nanoseconds = 500_000_000
        /// Heartbeats without an answer after which a worker that was told to end waits for its coordinator no longer.
        package var drainHeartbeats: Nanoseconds = 3
        /// Pictures whose conditioning is kept.
        package var conditionings = 64
        /// Encode and decode tasks that may wait; the coordinator's bound on pictures in flight keeps it far from this.
        package var sideTasks = 256

        /// The defaults.
        package init() {}
    }

    /// How it introduces itself.
    package let hello: Hello
    /// Address of the coordinator's control socket, for messages.
    package let coordinator: String
    /// Times and bounds.
    package let limits: Limits
    /// Where it stands.
    package private(set) var life: Life = .connecting(attempt: 0, next: 0)
    /// What was dropped.
    package private(set) var drops = Drops()
    /// The newest share it was given, loaded or not: what messages on their way may be for.
    package private(set) var latest: Assignment?

    private var queue: WorkQueue
    private var conditionings: ConditioningCache
    private var counters = WorkerCounters()
    private var spans = SpanLog()
    private var heartbeatEvery: Nanoseconds = 1_000_000_000
    private var heartbeatAt: Nanoseconds = 0
    /// Number of the report that the coordinator waits for.
    private var asked: UInt64?
    private var heartbeatSent: Nanoseconds?
    private var answerHeldSince: Nanoseconds?
    private var started: Nanoseconds?
    private var wasWelcome = false
    /// The control socket gave up by itself.
    private var mustReopen = false
    private var heard: Nanoseconds = 0
    /// Whether the control connection to the coordinator stands.
    package private(set) var isConnected = false
    private var held: Share?
    private var loading: Share?
    private var nextLink = NextLink()
    /// The measurement of the link to the next worker, where the plan asks for it.
    private var probe: LinkProbe?
    private var linkSpeed: LinkSpeed?
    private var jitter: SplitMix64

    /// A worker that has not said hello yet.
    package init(hello: Hello, coordinator: String, limits: Limits = Limits()) {
        self.hello = hello
        self.coordinator = coordinator
        self.limits = limits
        queue = WorkQueue(sideLimit: limits.sideTasks)
        conditionings = ConditioningCache(capacity: limits.conditionings)
        jitter = SplitMix64(state: hello.bootID)
    }

    /// The share it works for, while it does.
    package var assignment: Assignment? {
        switch life {
        case .ready(let assignment): assignment
        case .draining(let draining): draining.assignment
        case .connecting, .greeted, .loading, .standby, .leaving, .left: nil
        }
    }

    /// Hidden states in memory: waiting, in hand, and the last answer; never more than three.
    package var activationsInMemory: Int { queue.activationsInMemory }

    /// Advances by one event; the effects are to be carried out in their order.
    package mutating func handle(_ event: Event, now: Nanoseconds) -> [Effect] {
        if case .left = life { return [] }
        var effects: [Effect] = []
        let before = life
        if started == nil { started = now; heard = now }
        switch event {
        case .tick(let vitals): tick(vitals, now, &effects)
        case .control(let message): control(message, now, &effects)
        case .connection(let isUp): connection(isUp)
        case .denied(let why, let isTriedAgain): denied(why, isTriedAgain, now, &effects)
        case .link(let isUp): if assignment != nil { nextLink.change(isUp: isUp) }
        case .credit(let peer, let epoch, let limit): credit(from: peer, epoch, limit, now, &effects)
        case .probed(let number, let epoch, let peer): probed(number, epoch, peer, &effects)
        case .echoed(let number, let epoch, let peer): echoed(number, epoch, peer, now, &effects)
        case .task(let item, let peer): receive(item, from: peer, &effects)
        case .malformed(let task): malformed(task, &effects)
        case .computed(let key, let answer, let elapsed, let given):
            computed(key, answer, elapsed, given: given, now, &effects)
        case .loaded(let share, let result): loaded(share, result, &effects)
        case .drain: drain(now, &effects)
        case .stop: life = .left(.stopped)
        }
        pump(now, &effects)
        if life.name != before.name || life.epoch != before.epoch { effects.append(.log(.info, life.summary)) }
        if case .left(let ending) = life { effects.append(.exit(ending)) }
        precondition(queue.activationsInMemory <= 3, "\(queue.activationsInMemory) activations in memory, 3 allowed")
        return effects
    }
}

// MARK: - Time

extension WorkerCore {
    private mutating func tick(_ vitals: Vitals, _ now: Nanoseconds, _ effects: inout [Effect]) {
        if case .connecting(let attempt, let next) = life {
            if let patience = limits.unreachableAfter, now >= heard + patience {
                life = .left(
                    .unreachable(
                        "no coordinator answered at \(coordinator) for \(patience / 1_000_000_000) s: "
                            + "start one there, or give its address"))
                return
            }
            guard now >= next else { return }
            if attempt == 3 || attempt % 10 == 9 {
                effects.append(.log(.warning, "no answer from the coordinator at \(coordinator) yet; trying on"))
            }
            if mustReopen { effects.append(.reconnect) }
            mustReopen = false
            effects.append(.control(.hello(hello)))
            life = .connecting(attempt: attempt + 1, next: now + backoff(attempt))
            return
        }
        if case .leaving(let since) = life {
            if now >= since + limits.farewell { life = .left(.drained) }
            return
        }
        if now >= heard + patience { return loseCoordinator(now, &effects) }
        if case .loading(let assignment) = life, probe?.isOver == false, let move = probe?.passed(now: now) {
            carryOut(move, assignment, &effects)
        }
        if now >= heartbeatAt {
            heartbeatAt = now + heartbeatEvery
            heartbeatSent = heartbeatSent ?? now
            var beat = heartbeat(vitals, now)
            beat.done = spans.report(clock: now)
            effects.append(.control(.heartbeat(beat)))
            asked = nil
            repeatCredits(&effects)
        }
    }

    /// Silence of the coordinator that is put up with; little once the process was told to end.
    private var patience: Nanoseconds {
        guard case .draining(let draining) = life, draining.exits else { return limits.lostAfter }
        return min(limits.lostAfter, max(1_000_000_000, limits.drainHeartbeats * heartbeatEvery))
    }

    /// Doubles from the shortest to the longest wait, each drawn from its upper half so that workers spread out.
    private mutating func backoff(_ attempt: Int) -> Nanoseconds {
        let full = min(limits.longestBackoff, limits.shortestBackoff << UInt64(min(attempt, 16)))
        return max(limits.shortestBackoff, full / 2 + jitter.next() % (full / 2 + 1))
    }

    private func heartbeat(_ vitals: Vitals, _ now: Nanoseconds) -> Heartbeat {
        var counters = counters
        counters.busyNanoseconds &+= vitals.computing
        counters.upNanoseconds = now - (started ?? now)
        counters.residentBytes = vitals.residentBytes
        counters.links = vitals.links
        counters.authFailures = vitals.authFailures
        counters.queued = queue.waiting
        return Heartbeat(
            epoch: life.epoch ?? 0, image: queue.inHand?.key.image, block: queue.inHand == nil ? nil : vitals.block,
            counters: counters, answering: asked,
            link: assignment == nil ? nil : nextLink.trouble(now, heartbeat: heartbeatEvery))
    }

    /// Stops working for a coordinator that is silent, keeps the weights, and says hello again.
    private mutating func loseCoordinator(_ now: Nanoseconds, _ effects: inout [Effect]) {
        let silence = (now - heard) / 1_000_000_000
        effects.append(.log(.warning, "no answer from the coordinator at \(coordinator) for \(silence) s"))
        if case .draining(let draining) = life, draining.exits {
            life = .left(.drained)
            return
        }
        effects.append(.reconnect)
        isConnected = false
        introduceAgain(now, &effects)
    }

    /// The handshake failed: a worker that was never welcome gives up at once if nothing will change by waiting.
    private mutating func denied(
        _ why: String, _ isTriedAgain: Bool, _ now: Nanoseconds, _ effects: inout [Effect]
    ) {
        let text = "not admitted by \(coordinator): \(why)"
        if isTriedAgain { return effects.append(.log(.warning, text + "; trying on")) }
        guard wasWelcome else {
            life = .left(.refused(Refusal(code: .key, text: text)))
            return
        }
        effects.append(.log(.warning, text + "; trying again"))
        mustReopen = true
    }

    private mutating func introduceAgain(_ now: Nanoseconds, _ effects: inout [Effect]) {
        drops.abandoned += queue.clear()
        effects.append(.closeDownstream)
        effects.append(.control(.hello(hello)))
        life = .connecting(attempt: 1, next: now + backoff(0))
    }
}

// MARK: - Control

extension WorkerCore {
    private mutating func control(_ message: ControlMessage, _ now: Nanoseconds, _ effects: inout [Effect]) {
        heard = now
        switch message {
        case .welcome(let welcome):
            wasWelcome = true
            heartbeatEvery = Nanoseconds(min(max(10, welcome.heartbeatMilliseconds), 60_000)) * 1_000_000
            heartbeatAt = now + heartbeatEvery
            guard case .connecting = life else { return }  // the answer to a repeated hello
            effects.append(.openData(welcome.dataEndpoint))
            life = .greeted
        case .refuse(let refusal):
            switch refusal.code {
            case .name:  // perhaps an earlier run of this worker that is not given up yet
                effects.append(.log(.warning, "\(refusal.text); trying again"))
                drops.abandoned += queue.clear()
                let attempt = if case .connecting(let attempt, _) = life { attempt } else { 1 }
                // The coordinator lets a waiting worker in by itself; this is for when it forgot.
                life = .connecting(attempt: attempt, next: now + backoff(min(attempt, 2)))
            case .protocolVersion, .model, .malformed, .kernelClass, .key: life = .left(.refused(refusal))
            }
        case .introduce:
            if case .connecting = life { return }
            introduceAgain(now, &effects)
        case .assign(let plan): assign(plan, now, &effects)
        case .forget(let images): drops.forgotten += queue.forget(Set(images))
        case .alive:
            counters.roundTripNanoseconds = now - (heartbeatSent ?? now)
            heartbeatSent = nil
        case .report(let number):
            asked = number
            heartbeatAt = now
        case .drain: release(now)
        case .leave: if case .leaving = life { life = .left(.drained) }
        case .hello, .loaded, .heartbeat, .fault:
            drops.refused += 1
            effects.append(.log(.warning, "the coordinator sent a message that only workers send; ignored"))
        }
    }

    /// The connection to the coordinator: a worker that was told to end does not wait for one that is gone.
    private mutating func connection(_ isUp: Bool) {
        isConnected = isUp
        guard !isUp else { return }
        switch life {
        case .draining(let draining) where draining.exits: life = .left(.drained)
        case .leaving: life = .left(.drained)
        default: break
        }
    }

    private mutating func assign(_ plan: ClusterPlan, _ now: Nanoseconds, _ effects: inout [Effect]) {
        switch life {
        case .connecting, .leaving: return
        default: break
        }
        if let epoch = life.epoch, plan.epoch <= epoch {
            if plan.epoch < epoch { drops.stale += 1 }
            return
        }
        drops.stale += queue.clear()
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
        (probe, linkSpeed) = (nil, nil)
        effects.append(.admit(assignment?.upstream))
        guard let assignment else {
            effects += [.closeDownstream, .drop]
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
    private mutating func settle(_ effects: inout [Effect]) {
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

    private mutating func loaded(_ share: Share, _ result: Result<UInt64, LoadFailure>, _ effects: inout [Effect]) {
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
        let loaded = Loaded(epoch: assignment.epoch, residentBytes: counters.residentBytes, link: linkSpeed)
        effects.append(.control(.loaded(loaded)))
        _ = queue.extendGrant()
        repeatCredits(&effects)
    }

    // MARK: The link to the next worker

    private func probed(_ number: UInt32, _ epoch: Epoch, _ peer: Peer, _ effects: inout [Effect]) {
        guard case .upstream(let name) = peer, let latest, latest.epoch == epoch, latest.upstream?.worker == name
        else { return }
        effects.append(.echo(number, epoch: epoch))
    }

    private mutating func echoed(
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
        case .done(let speed):
            linkSpeed = speed
            settle(&effects)
        }
    }

    /// The process was told to end: ask the coordinator to plan without this worker, or, the second time, just end.
    private mutating func drain(_ now: Nanoseconds, _ effects: inout [Effect]) {
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
    private mutating func release(_ now: Nanoseconds) {
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

    private mutating func leaveIfDone(_ now: Nanoseconds, _ effects: inout [Effect]) {
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

// MARK: - Tasks

extension WorkerCore {
    private mutating func receive(_ item: WorkItem, from peer: Peer, _ effects: inout [Effect]) {
        let key = item.key
        guard let assignment, key.epoch == assignment.epoch else { return drops.stale += 1 }
        guard accepts(key.kind, from: peer, under: assignment) else {
            drops.refused += 1
            effects.append(
                .log(.warning, "\(peer) sent \(key.kind) for \(key.image), which is not in this worker's share"))
            return
        }
        if key.isStep && !queue.receiveStep() {
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
        if !queue.add(item) {
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

    private mutating func malformed(_ task: MalformedTask, _ effects: inout [Effect]) {
        drops.refused += 1
        let text = task.text
        effects.append(.log(.warning, text))
        guard let assignment, task.epoch == assignment.epoch else { return }
        if task.isStep { _ = queue.receiveStep() }
        // Sent once more it may arrive whole; what never fits fails when the tries are used up.
        if let task = task.task { fault(task, text, &effects) }
    }

    private mutating func computed(
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
        guard case .activation = answer.outcome else { return effects.append(.answer(answer, to: .coordinator)) }
        guard let downstream = assignment?.downstream, queue.spendCredit() else { return }
        effects.append(.answer(answer, to: .downstream(downstream.worker)))
    }

    private func fault(_ task: TaskID, _ text: String, isRetriable: Bool = true, _ effects: inout [Effect]) {
        effects.append(.control(.fault(Fault(task, text: Self.told(text), isRetriable: isRetriable))))
    }

    /// As much of a text as a control message takes.
    private static func told(_ text: String) -> String { String(text.prefix(2000)) }

    /// Does whatever has become possible: sends the answer in hand, starts the next task, grants credit, leaves.
    private mutating func pump(_ now: Nanoseconds, _ effects: inout [Effect]) {
        if let assignment {
            if let downstream = assignment.downstream, let answer = queue.release() {
                counters.creditWaitNanoseconds += now - (answerHeldSince ?? now)
                answerHeldSince = nil
                effects.append(.answer(answer, to: .downstream(downstream.worker)))
            }
            if queue.holdsAnswer && answerHeldSince == nil { answerHeldSince = now }
            while let item = queue.start() { effects.append(.compute(item)) }
            if queue.extendGrant(), let grant = grant(under: assignment) { effects.append(grant) }
        }
        if !queue.holdsAnswer { answerHeldSince = nil }
        leaveIfDone(now, &effects)
    }
}

// MARK: - Credits

extension WorkerCore {
    private mutating func credit(
        from peer: Peer, _ epoch: Epoch, _ limit: UInt32, _ now: Nanoseconds, _ effects: inout [Effect]
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

    private func grant(under assignment: Assignment) -> Effect? {
        if let upstream = assignment.upstream {
            return .credit(to: .upstream(upstream.worker), epoch: assignment.epoch, limit: queue.granted)
        }
        return assignment.isFirst ? .credit(to: .coordinator, epoch: assignment.epoch, limit: queue.granted) : nil
    }

    /// Tells every neighbour once more; a credit that was lost, or sent before a link was up, stalls nobody for long.
    private func repeatCredits(_ effects: inout [Effect]) {
        guard let assignment else { return }
        if let grant = grant(under: assignment) { effects.append(grant) }
        if !assignment.isFirst { effects.append(.credit(to: .coordinator, epoch: assignment.epoch, limit: 0)) }
        if let downstream = assignment.downstream {
            effects.append(.credit(to: .downstream(downstream.worker), epoch: assignment.epoch, limit: 0))
        }
    }
}

extension WorkerCore.Life {
    fileprivate var name: String {
        switch self {
        case .connecting: "connecting"
        case .greeted: "greeted"
        case .loading: "loading"
        case .ready: "ready"
        case .draining: "draining"
        case .standby: "standby"
        case .leaving: "leaving"
        case .left: "left"
        }
    }

    fileprivate var epoch: Epoch? {
        switch self {
        case .loading(let assignment), .ready(let assignment): assignment.epoch
        case .draining(let draining): draining.assignment?.epoch
        case .connecting, .greeted, .standby, .leaving, .left: nil
        }
    }
}
