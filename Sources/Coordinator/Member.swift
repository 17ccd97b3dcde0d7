internal import Plan

/// A worker as the core knows it.
struct Member {
    var hello: Hello
    var life: WorkerStatus.Life
    /// When this run of it was first given a share of a plan.
    var worksSince: UInt64?
    /// When it was last heard.
    var heard: UInt64
    /// When its connection broke, unless it was heard since.
    var disconnected: UInt64?
    /// A client took it out of the plan.
    var isDrained = false
    /// It wants to leave.
    var isLeaving = false
    /// It went as it should, so that nobody needs to hear of it any more.
    var hasLeft = false
    /// A plan took its share away because it was silent or its connection broke; it has not been heard since.
    var isPlannedAround = false
    /// It ended with a share of the plan in its hands.
    var hasCrashed = false
    /// Why it could not load its share; it gets none for a while.
    var loadFailure: String?
    /// How often in a row, and until when it gets none.
    var (loadTries, loadsAgain): (Int, UInt64) = (0, 0)
    /// When it had loaded, while its data link has not come up since.
    var unlinkedSince: UInt64?
    var counters = WorkerCounters()
    /// Tasks that it could not do, or answered with something unusable.
    var faults: UInt64 = 0
    /// How fast it is.
    var speed = SpeedSamples()
    /// Its clock, for traces.
    var clock = WorkerClock()
    /// How long its steps take, against its benchmark.
    var pace = Pace()
    /// What it had in hand, and since when that has not changed.
    var inHand: InHand?
    var inHandSince: UInt64 = 0
    /// Memory that it had when that last changed by more than a little, and since when: how loading is seen to go on.
    var memory: UInt64 = 0
    var memorySince: UInt64
    /// Whether it stood still while it loaded its share: it gets none until it moves, or starts again.
    var isStalled = false
    /// What it says of its link to the next worker, and since when.
    var linkTrouble: (kind: Heartbeat.LinkTrouble, since: UInt64)?
    /// The last plan that it was sent, and when.
    var assigned: (epoch: Epoch, at: UInt64)?
    /// Since when it has had nothing in hand, nothing waiting and nothing on its way.
    var idleSince: UInt64?

    struct InHand: Equatable {
        var image: ImageID
        var block: Int?
        var steps: UInt64
        var images: UInt64
    }

    init(_ hello: Hello, now: UInt64) {
        self.hello = hello
        life = .joined
        heard = now
        memorySince = now
    }

    /// Change of memory that shows that loading goes on.
    private static let memoryStep: UInt64 = 1 << 20

    var isPresent: Bool { life != .lost }

    /// May be given a share of a plan.
    var isEligible: Bool {
        isPresent && life != .suspect && !isDrained && !isLeaving && loadFailure == nil && !isStalled
            && disconnected == nil
    }

    /// Leaves out time in which nobody listened, from all that is counted from some moment.
    mutating func forgive(_ pause: UInt64, now: UInt64) {
        func later(_ time: UInt64) -> UInt64 { min(now, time + pause) }
        worksSince = worksSince.map(later)
        heard = later(heard)
        inHandSince = later(inHandSince)
        memorySince = later(memorySince)
        disconnected = disconnected.map(later)
        idleSince = idleSince.map(later)
        unlinkedSince = unlinkedSince.map(later)
        linkTrouble = linkTrouble.map { ($0.kind, later($0.since)) }
        assigned = assigned.map { ($0.epoch, later($0.at)) }
    }

    /// Bytes between two heartbeats that show that a message is on its way; the heartbeats themselves are fewer.
    private static let trafficStep: UInt64 = 1 << 13

    mutating func note(_ heartbeat: Heartbeat, epoch: Epoch, now: UInt64) {
        let before = counters.linkBytes
        counters = heartbeat.counters
        let carries = counters.linkBytes > before && counters.linkBytes - before > Self.trafficStep
        let bytes = counters.residentBytes
        if max(bytes, memory) - min(bytes, memory) > Self.memoryStep { (memory, memorySince) = (bytes, now) }
        let trouble = heartbeat.epoch == epoch ? heartbeat.link : nil
        if trouble != linkTrouble?.kind { linkTrouble = trouble.map { ($0, now) } }
        speed.note(heartbeat.counters, isWorking: heartbeat.image != nil, now: now)
        let inHand = heartbeat.image.map {
            InHand(
                image: $0, block: heartbeat.block, steps: heartbeat.counters.steps, images: heartbeat.counters.images)
        }
        if inHand != self.inHand {
            self.inHand = inHand
            inHandSince = now
        }
        let isIdle = inHand == nil && heartbeat.counters.queued == 0 && !carries
        idleSince = isIdle ? idleSince ?? now : nil
    }

    /// Whether every heartbeat of the last while, up to a recent one, said that it has nothing, and that nothing travels.
    func hasBeenIdle(for duration: UInt64, now: UInt64) -> Bool {
        idleSince.map { heard >= $0 + duration && now - min(now, heard) < duration } ?? false
    }

    /// Time that it has taken for a token through its span, so far; nil before its first step.
    var nanosecondsPerToken: Double? {
        let busy = counters.stages.reduce(0.0) { $0 + Double($1.busyNanoseconds) }
        return counters.tokens > 0 && busy > 0 ? busy / Double(counters.tokens) : nil
    }
}

extension WorkerCounters {
    /// Bytes that a worker has sent and received.
    fileprivate var linkBytes: UInt64 { links.reduce(0) { $0 &+ $1.totalBytes } }
}
