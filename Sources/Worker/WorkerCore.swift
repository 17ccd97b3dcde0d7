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

        /// The same with names, for metrics.
        var byReason: [String: UInt64] {
            let counts = [
                ("stale", stale), ("duplicate", duplicate), ("refused", refused), ("overrun", overrun),
                ("forgotten", forgotten), ("abandoned", abandoned),
            ]
            return Dictionary(uniqueKeysWithValues: counts.map { ($0, UInt64($1)) })
        }
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
        package var conditionings = NodeProfile.keptConditionings
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
    package internal(set) var life: Life = .connecting(attempt: 0, next: 0)
    /// What was dropped.
    package internal(set) var drops = Drops()
    /// The newest share it was given, loaded or not: what messages on their way may be for.
    package internal(set) var latest: Assignment?

    // Towards the coordinator.
    /// Whether the control connection to it stands.
    package internal(set) var isConnected = false
    /// When it was heard last, or the worker started.
    var heard: Nanoseconds = 0
    /// Silence after which the coordinator gives a worker up, as it says; 0 before.
    var lostThere: Nanoseconds = 0
    var lastTick: Nanoseconds?
    /// When it was last logged that its name was refused; 0 before.
    var refusalLoggedAt: Nanoseconds = 0
    var started: Nanoseconds?
    var wasWelcome = false
    /// The control socket gave up by itself.
    var mustReopen = false
    var heartbeatEvery: Nanoseconds = 1_000_000_000
    var heartbeatAt: Nanoseconds = 0
    /// When the first heartbeat that is not answered yet was sent.
    var heartbeatSent: Nanoseconds?
    /// Number of the report that the coordinator waits for.
    var asked: UInt64?
    var jitter: SplitMix64

    // Its share of the plan.
    /// What is in memory.
    var held: Share?
    /// What is being read.
    var loading: Share?
    var nextLink = NextLink()
    /// The measurement of the link to the next worker, where the plan asks for it.
    var probe: LinkProbe?

    // Its work.
    var queue: WorkQueue
    var conditionings: ConditioningCache
    var counters = WorkerCounters()
    var spans = SpanLog()
    /// Since when an answer has waited for the next worker's credit.
    var answerHeldSince: Nanoseconds?

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

    /// Rows of hidden states in memory: waiting, in hand, and the last answer; never more than three of the largest.
    package var hiddenRows: Int { queue.hiddenRows }

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
        let most = 3 * hello.model.mostRows
        promise(hiddenRows <= most, "\(hiddenRows) rows of hidden states in memory, \(most) allowed")
        return effects
    }

    /// Does whatever has become possible: sends the answer in hand, starts the next task, grants credit, leaves.
    private mutating func pump(_ now: Nanoseconds, _ effects: inout [Effect]) {
        if let assignment {
            if let downstream = assignment.downstream, let answer = queue.release(assignment.wire) {
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
