internal import Plan

/// Tasks waiting and in hand, and the bounds on them.
///
/// One task is computed at a time. Steps (which go through the span) run in order of arrival; so do side tasks (encode
/// and decode). When both wait they take turns in beginning, so a side task waits for at most one step besides the one
/// in hand. A side task that has begun gives way: a step may be taken in hand beside it, and the compute thread runs it
/// between two of the side task's layers (`ComputeThread`). A final decode is as long as a dozen steps, and the other
/// workers would soon wait for this one. Side tasks of pictures that somebody waits for give way to nothing: they go
/// before steps, and between the layers of another side task too. Only a decode does not go inside another decode,
/// since memory is planned for one: it waits for its end, and steps wait with it.
///
/// Memory: the sender of hidden states has credit for two of them or for the bytes of two of the largest, so no more are
/// waiting or in hand.
/// The last answer is kept, to be sent again if its task is; and no further step starts before that answer has left, so
/// an answer that waits for the next worker's credit is that same third one.
struct WorkQueue: Sendable {
    /// A task on the compute thread; it may be of an epoch that is over.
    private struct Hand {
        var ticket: Ticket
        /// Bytes of hidden states that it came with.
        var bytes = 0
        /// Nobody wants the answer any more.
        var isForgotten = false
    }

    /// Runs without a break: a step, or an urgent side task.
    private var wholeInHand: Hand?
    /// A side task that gives way to it.
    private var sideInHand: Hand?
    private var urgent: [WorkItem] = []
    private var steps: [(item: WorkItem, bytes: Int)] = []
    private var sides: [WorkItem] = []
    private var sideIsNext = false
    private var lastStep: Answer?
    private var lastStepWaits = false
    private var lastSide: Answer?
    private var grant = CreditGrant()
    private var line = CreditLine()
    private let sideLimit: Int

    init(sideLimit: Int) { self.sideLimit = sideLimit }

    /// The task that is computed, or about to be: before a side task what it gives way to.
    var inHand: Ticket? { (wholeInHand ?? sideInHand)?.ticket }

    /// The encodes and decodes in hand whose picture is not wanted any more or whose epoch is not this one.
    func unwantedSides(_ epoch: Epoch?) -> [TaskKey] {
        [wholeInHand, sideInHand].compactMap { $0 }.filter {
            !$0.ticket.key.isStep && ($0.isForgotten || epoch != nil && $0.ticket.key.epoch != epoch)
        }.map(\.ticket.key)
    }

    /// Tasks not begun.
    var waiting: Int { steps.count + sides.count + urgent.count }

    /// Whether nothing waits, is in hand, or has still to be sent.
    var isEmpty: Bool { inHand == nil && waiting == 0 && !lastStepWaits }

    /// Whether an answer waits for the next worker's credit.
    var holdsAnswer: Bool { lastStepWaits }

    /// What the sender of steps has waiting or in hand here.
    private var occupied: Credit {
        let bytes = steps.reduce(stepInHand?.bytes ?? 0) { $0 + $1.bytes }
        return Credit(messages: UInt32(steps.count + (stepInHand == nil ? 0 : 1)), bytes: UInt64(bytes))
    }

    private var stepInHand: Hand? { wholeInHand?.ticket.key.isStep == true ? wholeInHand : nil }

    /// Rows of hidden states in memory: waiting, in hand and the last answer.
    var hiddenRows: Int {
        var rows = steps.reduce(stepInHand?.ticket.rows ?? 0) { sum, step in
            if case .activation(let stream) = step.item.work { sum + stream.rows } else { sum }
        }
        if case .activation(let stream) = lastStep?.outcome { rows += stream.rows }
        return rows
    }

    // MARK: Credits

    /// What the sender of steps may have sent in this epoch.
    var granted: Credit { grant.limit }

    /// Counts one step received; false if its sender had no credit.
    mutating func receiveStep(bytes: Int) -> Bool { grant.receive(bytes: bytes) }

    /// Grants what is free; whether there is news for the sender.
    mutating func extendGrant() -> Bool { grant.extend(occupied: occupied) }

    /// Takes note of what the next worker is ready for.
    mutating func raiseCredit(to limit: Credit) { line.raise(to: limit) }

    /// Uses credit for sending so many bytes of hidden states again; false if there is too little.
    mutating func spendCredit(bytes: Int) -> Bool {
        guard line.takes(bytes: bytes), !lastStepWaits else { return false }
        line.send(bytes: bytes)
        return true
    }

    // MARK: Tasks

    /// Whether a task waits, is in hand, or has an answer that still waits to be sent.
    func contains(_ key: TaskKey) -> Bool {
        isInHand(key) || (key.isStep ? steps.map(\.item) : sides + urgent).contains { $0.key == key }
            || (lastStepWaits && lastStep?.ticket.key == key)
    }

    private func isInHand(_ key: TaskKey) -> Bool {
        [wholeInHand, sideInHand].contains { $0?.ticket.key == key && $0?.isForgotten == false }
    }

    /// The answer of a task that was done last and sent.
    func answered(_ key: TaskKey) -> Answer? {
        if key.isStep { return !lastStepWaits && lastStep?.ticket.key == key ? lastStep : nil }
        return lastSide?.ticket.key == key ? lastSide : nil
    }

    /// Queues a task that came with so many bytes of hidden states; false if there are too many.
    mutating func add(_ item: WorkItem, bytes: Int) -> Bool {
        if item.key.isStep {
            steps.append((item, bytes))
        } else {
            guard sides.count + urgent.count < sideLimit else { return false }
            if item.isUrgent { urgent.append(item) } else { sides.append(item) }
        }
        return true
    }

    /// Takes the next task in hand; nil when nothing may start.
    ///
    /// To be asked until it says so: a step may follow a side task at once.
    mutating func start() -> WorkItem? {
        guard wholeInHand == nil else { return nil }
        if !urgent.isEmpty {
            // A decode waits for the end of the decode in hand, which nothing but an encode keeps from it.
            let index = urgent.firstIndex { item in
                sideInHand.map { item.goesBetween(layersOf: $0.ticket.key) } ?? true
            }
            guard let index else { return nil }
            let item = urgent.remove(at: index)
            wholeInHand = Hand(ticket: item.ticket)
            return item
        }
        let stepMayStart = !steps.isEmpty && !lastStepWaits
        let sideMayStart = !sides.isEmpty && sideInHand == nil
        if sideMayStart && (sideIsNext || !stepMayStart) {
            sideIsNext = false
            let item = sides.removeFirst()
            sideInHand = Hand(ticket: item.ticket)
            return item
        }
        guard stepMayStart else { return nil }
        sideIsNext = true
        let (item, bytes) = steps.removeFirst()
        wholeInHand = Hand(ticket: item.ticket, bytes: bytes)
        return item
    }

    /// A task in hand by its name.
    func ticket(_ key: TaskKey) -> Ticket? {
        [wholeInHand, sideInHand].first { $0?.ticket.key == key }??.ticket
    }

    /// Ends a task in hand; nil if it is none, or nobody wants its answer.
    mutating func finish(_ key: TaskKey) -> Ticket? {
        let hand: Hand?
        if wholeInHand?.ticket.key == key {
            hand = wholeInHand
            wholeInHand = nil
        } else if sideInHand?.ticket.key == key {
            hand = sideInHand
            sideInHand = nil
        } else {
            hand = nil
        }
        return hand?.isForgotten == false ? hand?.ticket : nil
    }

    /// Drops what is here of pictures that nobody wants any more; how many tasks that is.
    ///
    /// It counts for what is here now: should a picture be wanted again, its tasks come again.
    mutating func forget(_ images: Set<ImageID>) -> Int {
        let before = waiting
        steps.removeAll { images.contains($0.item.key.image) }
        sides.removeAll { images.contains($0.key.image) }
        urgent.removeAll { images.contains($0.key.image) }
        var dropped = before - waiting
        func drop(_ hand: inout Hand?) {
            guard let ticket = hand?.ticket, hand?.isForgotten == false else { return }
            guard images.contains(ticket.key.image) else { return }
            hand?.isForgotten = true
            dropped += 1
        }
        drop(&wholeInHand)
        drop(&sideInHand)
        if lastStepWaits, let last = lastStep?.ticket.key, images.contains(last.image) {
            lastStep = nil
            lastStepWaits = false
            dropped += 1
        }
        return dropped
    }

    // MARK: Answers

    /// Keeps an answer that was sent.
    mutating func remember(_ answer: Answer) {
        if answer.ticket.key.isStep { lastStep = answer } else { lastSide = answer }
    }

    /// Keeps an answer that waits for credit.
    mutating func hold(_ answer: Answer) {
        promise(!lastStepWaits, "\(answer.ticket.key) done before the answer before it was sent")
        lastStep = answer
        lastStepWaits = true
    }

    /// The answer that waits, once there is credit for it on a link that carries hidden states in this format.
    mutating func release(_ format: WireFormat) -> Answer? {
        guard lastStepWaits, let answer = lastStep, case .activation(let stream) = answer.outcome else { return nil }
        let bytes = stream.hiddenBytes(format)
        guard line.takes(bytes: bytes) else { return nil }
        line.send(bytes: bytes)
        lastStepWaits = false
        return answer
    }

    /// Forgets everything but the tasks in hand, for a new epoch; how many tasks that drops.
    mutating func clear() -> Int {
        let dropped = waiting + (lastStepWaits ? 1 : 0)
        let (whole, side) = (wholeInHand, sideInHand)
        self = WorkQueue(sideLimit: sideLimit)
        (wholeInHand, sideInHand) = (whole, side)
        return dropped
    }
}
