internal import JobStore
internal import Logging
internal import Plan

/// Everything the coordinator decides, as a value: no sockets, files, clocks or random numbers.
///
/// The life of a picture: queued, admitted, its sampler opened, its prompt encoded, then whatever the sampler demands
/// (a step through the pipeline, a decoded picture for the edge map), at last decoded, written and recorded as done.
/// The life of a plan: workers join, a plan is made and its epoch made durable, each worker loads its share, work flows
/// until a worker joins, drains, leaves or is lost; then the epoch rises. Answers of an older epoch count for nothing.
/// A plan may have several replicas of the pipeline; a picture is bound to one of them until the epoch rises.
package struct CoordinatorCore: Sendable {
    /// What has become of planning.
    enum Planning: Equatable {
        /// No plan, and why.
        case none(String)
        /// Waits until the epoch is durable, then for workers to load; work flows through replicas that have.
        case loading(ClusterPlan, missing: Set<String>)
        /// Work flows.
        case active(ClusterPlan)
    }

    /// A plan that is to be made.
    struct Replan {
        var cause: Measurement.Cause
        var text: String
        var due: UInt64
        /// Whether to wait until nothing is at a worker.
        var isGraceful: Bool
        /// When it was first wished for: each further wish puts it off.
        var since: UInt64
        /// What is to replace the plan in force: from then on nothing is dispatched, so that work runs out.
        var decision: Decision?

        /// Placements, or nil for none and why, as they were found for these runs of workers; nil once there was another wish.
        struct Decision {
            var placements: [Placement]?
            var trouble: String?
            var runs: [String: UInt64]?
        }
    }

    /// A run of a worker that says hello under the name of one that still seems to live.
    struct Challenger {
        var hello: Hello
        /// Whether its hello was answered; it waits for the other one to speak, or to be silent.
        var isAnswered = false
    }

    /// What the answer to a ticket is for.
    enum Awaited {
        /// With what its client hears if its key is not known and there is no room.
        case submission(Submission, ClientTicket, full: ClientFailure?)
        case cancellation(ClientTicket, JobID)
        case order(StoreOrder, ClientTicket)
        case pin
        case checkpoint(ImageID)
        case epoch(Epoch)
        case wire(WireFormat)
        case drained(ClientTicket)
        case end(ImageID)
        case jobs(ClientTicket)
        case job(ClientTicket)
        case sampler(ImageID)
        case file(ImageID, path: String)
    }

    /// A client that waits for a job to change.
    struct Watcher {
        var client: ClientTicket
        var job: JobID
        var version: UInt64
        var deadline: UInt64
    }

    /// A client that waits for the first worker.
    struct ModelWatcher {
        var client: ClientTicket
        var deadline: UInt64
    }

    /// Its settings.
    package let settings: CoordinatorSettings
    var now: UInt64 = 0
    var effects: [Effect] = []
    var lastTick: UInt64?
    /// Seconds since 1970 when the clock showed zero, as far as the machine's clock can be believed now.
    var wallAtZero: Double
    /// Since when it comes to rest.
    var stoppingSince: UInt64?
    var isStopping: Bool { stoppingSince != nil }
    var hasStopped = false

    // Workers and the plan.
    var pin: ClusterPin?
    var members: [String: Member] = [:]
    /// Names of workers that clients took out of the plan; the queue remembers them.
    var drained: Set<String> = []
    var challengers: [String: Challenger] = [:]
    /// Names of workers that were refused and have not joined since.
    var refused: [String: Refused] = [:]
    /// How often workers were refused, by `Refusal.Code`.
    var refusals: [String: UInt64] = [:]
    var planning = Planning.none("no worker has joined")
    var epoch: Epoch = 0
    var hasPlanned = false
    /// Until when the first plan waits for all workers that it is told to wait for; nil for a cluster that has never planned.
    var minimumUntil: UInt64?
    var replan: Replan?
    /// The replicas of the plan; none without one.
    var replicas: [Replica] = []
    /// Since when steps have been ready while a first worker took none.
    var creditWaitSince: UInt64?
    /// How hidden states travel.
    var wire: WireFormat
    /// Whether that is settled.
    var wireChoosing: WireChoosing
    /// The format that the queue remembers, as far as this run knows.
    var recordedWire: WireFormat?
    /// Since when some replica has been ready and the choice open.
    var openSince: UInt64?
    /// Links between workers as they were measured; only between runs of workers that are there.
    var measuredLinks: [LinkEnds: LinkMeasurement] = [:]
    /// Links between workers that carried nothing.
    var partings: [LinkEnds: Parting] = [:]
    /// How often links broke with work on its way since any came through.
    var fruitlessBreaks: [LinkEnds: Int] = [:]
    /// When they were last looked at.
    var lastLook: UInt64 = 0
    /// Workers whose last runs ended soon after they were given a share.
    var crashes: [String: Crashes] = [:]
    /// When the present plan was made, or later handed out, and whether workers have weights to read for it.
    var (planned, loadsShares): (UInt64, Bool) = (0, true)
    /// Seconds that the last plan of other shares took until all had loaded.
    var lastLoading = 0.0
    /// Pictures an hour that the plan should give, and when that is next reckoned.
    var (predictedPerHour, nextPrediction): (Double?, UInt64) = (nil, 0)
    /// When the cut is next compared with what the work shows, and how long after the last change of it.
    var (nextPaceLook, paceWait): (UInt64, UInt64) = (0, 0)
    /// The last look that was not spared.
    var lastPaceLook: PaceLook?
    /// When it is next looked at whether the plan has memory for the pictures to come.
    var nextMemoryLook: UInt64 = 0
    /// Workers whose data link is up in this epoch.
    var linked: Set<String> = []
    /// What each worker was given to compute in this epoch.
    var work = WorkBook()

    // Jobs and pictures.
    var jobs: [JobID: LiveJob] = [:]
    /// Jobs with pictures waiting, in the order of admission.
    var line: [JobID] = []
    var flights: [ImageID: Flight] = [:]
    var queued = 0
    /// Bytes of the requests of unfinished jobs.
    var queuedBytes = 0
    var imagesDone: UInt64 = 0
    /// Time from sending a step to its answer, for each token; rises and falls slowly.
    var nanosecondsPerToken = 0.0

    // Answers to come.
    var lastTicket: UInt64 = 0
    var lastNumber: UInt64 = 0
    var lastSerial: UInt64 = 0
    var awaited: [UInt64: Awaited] = [:]
    /// Retries and removals in the order in which they were asked for; one at a time is with the store: how many pictures a
    /// retry brings is known when it is read.
    var orders: [(order: StoreOrder, client: ClientTicket)] = []
    var watchers: [Watcher] = []
    var modelWatchers: [ModelWatcher] = []
    var censuses: [Census] = []
    /// Writes that the disk refused, and those that came after them, with their tickets; the first is tried once a second.
    var refusedWrites: [(write: StoreWrite, ticket: UInt64)] = []
    /// The ticket of the one that is being tried.
    var probe: UInt64?
    var nextWriteTry: UInt64 = 0
    var storeTrouble: String?
    /// What became of the pictures of the last jobs.
    var traces = TraceBook()
    /// Pictures whose file could not be written, and when to try again.
    var rewrites: [(image: ImageID, due: UInt64)] = []

    /// Starts with nothing; `Event.recovered` comes first.
    package init(settings: CoordinatorSettings) {
        self.settings = settings
        wallAtZero = settings.wallAtZero
        switch settings.wire {
        case .format(let format): (wire, wireChoosing) = (format, .settled)
        case .auto: (wire, wireChoosing) = (settings.begunWire ?? .f32, settings.begunWire == nil ? .open : .settled)
        }
    }

    /// Takes note of an event and says what to do about it.
    ///
    /// `now` is in nanoseconds and never falls.
    package mutating func handle(_ event: Event, now: UInt64) -> [Effect] {
        self.now = max(self.now, now)
        switch event {
        case .recovered(let jobs, let pin, let epoch, let drained):
            recover(jobs, pin: pin, epoch: epoch)
            self.drained = drained
        case .control(let message, let worker, let bootID): hear(message, from: worker, bootID: bootID)
        case .malformed(let text, let worker, let bootID):
            // One that is at work may say something better next time.
            if self.bootID(of: worker) != bootID { refuse(worker, bootID, .malformed, text) }
        case .disconnected(let worker, let bootID): disconnect(worker, bootID: bootID)
        case .revoked(let worker):
            challengers[worker] = nil
            lose(worker, "its key is not authorised any more", isDeath: false)
        case .result(let output, let key, let worker): take(output, key, from: worker)
        case .credit(let limit, let epoch, let worker): open(limit: limit, epoch: epoch, worker: worker)
        case .linkLost(let worker): unlink(worker)
        case .undeliverable(let key, let worker): returned(key, from: worker)
        case .client(let request, let client, let fresh): answer(request, client, fresh: fresh)
        case .stored(let answer, let ticket): stored(answer, ticket)
        case .read(let reading, let ticket): read(reading, ticket)
        case .sampled(let result, let ticket): sampled(result, ticket)
        case .wrote(let result, let ticket): wrote(result, ticket)
        case .checkpointRefused(let image, let error): checkpointRefused(image, error)
        case .clockSet(let wallAtZero, let isSleep): setClock(wallAtZero, isSleep: isSleep)
        case .tick: tick()
        case .stop:
            stoppingSince = stoppingSince ?? self.now
            log(.info, "stopping: \(flights.values.count(where: \.isSent)) pictures finish their step")
        }
        planIfDue()
        admit()
        dispatch()
        stopIfIdle()
        defer { effects.removeAll() }
        return effects
    }

    /// Seconds since 1970.
    var wall: Double { wallAtZero + Double(now) * 1e-9 }

    mutating func ticket(_ awaited: Awaited) -> UInt64 {
        lastTicket += 1
        self.awaited[lastTicket] = awaited
        return lastTicket
    }

    private mutating func recover(_ stored: [StoredJob], pin: ClusterPin?, epoch: Epoch) {
        self.epoch = min(epoch, Self.highestEpochHeard)
        self.pin = stored.isEmpty ? nil : pin
        if epoch > 0 { minimumUntil = now + Self.returnGrace }
        for job in stored { insert(job) }
        if !stored.isEmpty { log(.info, "\(stored.count) jobs with \(queued) pictures go on from the queue") }
    }

    private mutating func tick() {
        // A process that was stopped for a while must not blame its workers for the silence.
        if let lastTick, now - lastTick > 2 * settings.heartbeat {
            for name in members.keys { members[name]?.forgive(now - lastTick, now: now) }
        }
        lastTick = now
        watchMembers()
        forgetMembers()
        watchLinks()
        watchDataLinks()
        endRests()
        endReturn()
        watchMemory()
        watchPace()
        predict()
        settleWire()
        resendLost()
        tryStoreAgain()
        tryFilesAgain()
        openAgain()
        tellWatchers()
        endCensuses()
    }

    private mutating func stopIfIdle() {
        guard let stoppingSince, !hasStopped else { return }
        let isBusy = flights.values.contains { flight in
            switch flight.phase {
            case .sent: true
            // What waits for a disk can wait longer than who stops it; such a picture goes on from its checkpoint at the
            // next start, or is decoded again.
            case .sampling: flight.opensAt == nil
            case .writing: flight.placeTrouble == nil
            case .recording: storeTrouble == nil
            case .ready: false
            }
        }
        // Who has no answer does not know whether the job is accepted. Where the disk hangs they ask again.
        let isAsked =
            storeTrouble == nil && now - stoppingSince < Self.lastAnswers
            && awaited.values.contains {
                switch $0 {
                case .submission, .order, .cancellation, .drained: true
                default: false
                }
            }
        guard !isBusy && !isAsked else { return }
        hasStopped = true
        writeRefused()
        effects.append(.stopped)
    }

    /// How long a coordinator that comes to rest waits for answers to clients.
    private static let lastAnswers: UInt64 = 5_000_000_000

    /// Believes a clock that was set, and moves the times with it that were taken from the clock as it was; not those from
    /// before a sleep, which were right.
    private mutating func setClock(_ wallAtZero: Double, isSleep: Bool) {
        if isSleep {
            log(.notice, "this machine slept for \(Int((wallAtZero - self.wallAtZero).rounded())) s")
            self.wallAtZero = wallAtZero
            return
        }
        let (step, from, to) = (wallAtZero - self.wallAtZero, self.wallAtZero, wall)
        log(.notice, "this machine's clock was set \(step < 0 ? "back" : "forward") by \(Int(abs(step).rounded())) s")
        self.wallAtZero = wallAtZero
        for id in jobs.keys where (from...to).contains(jobs[id]?.status.submitted ?? -1) {
            jobs[id]?.status.submitted += step
        }
        commit(.moveTimes(from: from, to: to, by: step), ticket: 0)
    }

    /// Pictures of batches in flight at most, those left out that are being decoded.
    var flightLimit: Int { replicas.reduce(0) { $0 + ($1.isLoaded ? $1.limit : 0) } }

    /// Pictures in flight beyond that at most.
    var spareFlights: Int { replicas.reduce(0) { $0 + ($1.isLoaded ? $1.spare : 0) } }

    /// Pictures of interactive jobs in flight at most, and of all while there are any: one for each worker with blocks.
    var interactiveLimit: Int { replicas.reduce(0) { $0 + ($1.isLoaded ? $1.pipeline.count : 0) } }
}
