/// What a client asks of the coordinator; each request gets one answer with the same number.
package enum ClientRequest: Codable, Equatable, Sendable {
    /// Queues a job; answered with `accepted` after it is on disk.
    case submit(Submission)
    /// Lists jobs, newest first.
    case jobs(limit: Int)
    /// Lists jobs that are not finished: those with a picture in flight, then the others, in the order in which they are
    /// drawn; answered as `jobs`.
    case unfinished(limit: Int)
    /// Lists jobs whose id begins with these hexadecimal digits, newest first, at most `mostMatches`; answered as `jobs`.
    case jobsBeginning(with: String)
    /// One job with its pictures.
    case job(JobID)
    /// Blocks on the coordinator's side until the job is final, the tick (0.2 s) after it differs from `version`, or a
    /// second has passed: a long poll.
    case watch(JobID, version: UInt64)
    /// Stops a job; pictures in flight are dropped at the next step.
    case cancel(JobID)
    /// Queues the failed and cancelled pictures of a job again.
    case retry(JobID)
    /// Takes a finished job off the queue; its pictures stay on the disk. Refused while it has pictures left.
    case remove(JobID)
    /// The same of jobs that were finished so many seconds ago or before, the oldest first, as many as are quickly done;
    /// answered with `removed`.
    case removeFinished(secondsAgo: Double)
    /// Lists nodes.
    case nodes
    /// Lists nodes with counters that include everything done before the request: each worker is asked for them.
    case countedNodes
    /// What became of a job's pictures, moment by moment, up to now: each worker is asked for what it has not told.
    case trace(JobID)
    /// Takes a worker out of the plan once its work in hand is done, and keeps it out, whatever starts again, until
    /// `undrain`; one that is off stays out when it comes back.
    case drain(worker: String)
    /// Lets a drained worker back in.
    case undrain(worker: String)
    /// Takes a worker that is gone off the list, and forgets that it was drained; refused while it is connected.
    case forget(worker: String)
    /// Facts of the served model, for defaults and checks.
    case model
    /// The same, but blocks on the coordinator's side until a worker has joined or a second has passed: a long poll.
    case awaitModel

    /// Jobs that an answer to `jobsBeginning` lists at most.
    package static let mostMatches = 10
}

/// What the coordinator answers.
package enum ClientReply: Codable, Equatable, Sendable {
    /// The job is durable.
    case accepted(JobID, duplicate: Bool)
    /// Answer to `jobs`, `unfinished` and `jobsBeginning`.
    case jobs([JobStatus])
    /// Answer to `job` and `watch`.
    case job(JobStatus)
    /// Answer to `nodes` and `countedNodes`.
    case nodes(ClusterStatus)
    /// Answer to `trace`.
    case trace(JobTrace)
    /// Answer to `model` and `awaitModel`; nil until a worker has joined.
    case model(ModelFacts?)
    /// Answer to `removeFinished`: how many jobs are off the queue, and whether that was all; otherwise ask again.
    case removed(jobs: Int, isAll: Bool)
    /// Done, nothing to say.
    case done
    /// Refused or failed.
    case failure(ClientFailure)
}

/// Why a request was not met.
package struct ClientFailure: Codable, Equatable, Sendable, Error {
    /// What a program can decide from.
    package enum Code: String, Codable, Sendable {
        /// The request makes no sense: bad size, empty batch, prompt too long.
        case invalid
        /// No such job or worker.
        case unknown
        /// The queue is full.
        case full
        /// The coordinator cannot do it now.
        case unavailable
    }

    /// The reason.
    package var code: Code
    /// One line with what, where and the next step.
    package var text: String

    /// Joins both.
    package init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }
}

/// A batch of pictures.
package struct Submission: Codable, Equatable, Sendable {
    /// Makes submitting idempotent: a second submission with the same key answers with the first job, unless that was
    /// removed.
    package var key: String?
    /// Folder for the PNG files, on the coordinator's disk below its output folder; the job id when nil.
    package var folder: String?
    /// The pictures.
    package var images: [ImageRequest]
    /// Higher goes first.
    package var priority: Int
    /// Somebody waits for it: it goes before every batch, of whatever priority, and batches step back while it runs.
    package var isInteractive: Bool

    /// Joins the fields.
    package init(
        key: String? = nil, folder: String? = nil, images: [ImageRequest], priority: Int = 0,
        isInteractive: Bool = false
    ) {
        self.key = key
        self.folder = folder
        self.images = images
        self.priority = priority
        self.isInteractive = isInteractive
    }
}

extension Submission {
    /// Decodes a batch; one from before there were interactive jobs is none.
    ///
    /// - Throws: `DecodingError` where a field is missing or of another type.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            key: try fields.decodeIfPresent(String.self, forKey: .key),
            folder: try fields.decodeIfPresent(String.self, forKey: .folder),
            images: try fields.decode([ImageRequest].self, forKey: .images),
            priority: try fields.decode(Int.self, forKey: .priority),
            isInteractive: try fields.decodeIfPresent(Bool.self, forKey: .isInteractive) ?? false)
    }
}

/// The cluster as the coordinator sees it.
package struct ClusterStatus: Codable, Equatable, Sendable {
    /// The plan in force; nil before the first worker.
    package var plan: ClusterPlan?
    /// Workers, pipeline order first, then the rest by name.
    package var workers: [WorkerStatus]
    /// Pictures waiting.
    package var queued: Int
    /// Pictures in flight.
    package var inFlight: Int
    /// Pictures done since the coordinator started.
    package var imagesDone: UInt64
    /// Seconds since the coordinator started.
    package var uptime: Double
    /// Links of the coordinator itself.
    package var links: [LinkCounters]
    /// Connections and messages refused for want of the right key, by reason; nil in a cluster without keys.
    package var authFailures: [String: UInt64]?
    /// Pictures in flight in each replica of the plan, those that wait for a replica left out; nil from a coordinator that
    /// knows none.
    package var inFlightByReplica: [Int]?
    /// Unfinished jobs with a picture in flight.
    package var jobsRunning = 0
    /// Unfinished jobs whose pictures all wait.
    package var jobsWaiting = 0
    /// Seconds that steps were ready and the first workers took none, since the coordinator started; nil from a
    /// coordinator that does not tell.
    package var creditWaitSeconds: Double?
    /// Steps of a picture in flight, on average; nil while there is none.
    package var stepsPerPicture: Double?
    /// Pictures an hour that the plan in force should give, by the workers' measured speed, for what is in flight and in
    /// the queue; nil without a plan or measurements.
    package var predictedPerHour: Double?
    /// Workers that were refused in the last hour and have not joined since, the last one first; nil from a coordinator
    /// that does not tell.
    package var refused: [RefusedWorker]?
    /// How often workers were refused since the coordinator started, by `Refusal.Code`; nil from one that does not tell.
    package var refusals: [String: UInt64]?
    /// Unfinished jobs that wait for somebody to look after `queue_disk`, `output_disk` or their `folder`; nil from a coordinator
    /// that does not tell.
    package var jobsBlocked: [String: Int]?
    /// Version and build of the coordinator's program; nil from one that does not tell.
    package var build: String?

    /// Pictures an hour that a worker's last steps amount to; nil without blocks, or with nothing in flight.
    package func picturesPerHour(_ worker: WorkerStatus) -> Double? {
        guard let stepsPerPicture, stepsPerPicture > 0, worker.placement?.span.isEmpty == false else { return nil }
        return 3600 * worker.rates.steps / stepsPerPicture
    }

    /// Pictures an hour of the cluster now: what the first workers of its pipelines do together.
    package var picturesPerHour: Double? {
        let first = workers.filter { $0.placement?.span.lowerBound == 0 }.compactMap { picturesPerHour($0) }
        return first.isEmpty ? nil : first.reduce(0, +)
    }

    /// Seconds until everything in flight and in the queue is drawn, at this speed; nil while none is known.
    ///
    /// Pictures in flight count as half done.
    package var secondsLeft: Double? {
        guard let picturesPerHour, picturesPerHour > 0 else { return nil }
        return 3600 * (Double(queued) + 0.5 * Double(inFlight)) / picturesPerHour
    }

    /// Share of a pipeline's time that its workers were not computing, 0...1; nil while nothing is in flight there.
    package func bubble(replica: Int) -> Double? {
        let pipeline = workers.filter { worker in
            guard let share = worker.placement, !share.span.isEmpty else { return false }
            return share.replica ?? 0 == replica && worker.life == .ready
        }
        guard (inFlightByReplica.map { $0.indices.contains(replica) ? $0[replica] : 0 } ?? inFlight) > 0,
            !pipeline.isEmpty
        else { return nil }
        return 1 - pipeline.reduce(0) { $0 + $1.rates.busy } / Double(pipeline.count)
    }

    /// Joins the fields.
    package init(
        plan: ClusterPlan?, workers: [WorkerStatus], queued: Int, inFlight: Int, imagesDone: UInt64, uptime: Double,
        links: [LinkCounters]
    ) {
        self.plan = plan
        self.workers = workers
        self.queued = queued
        self.inFlight = inFlight
        self.imagesDone = imagesDone
        self.uptime = uptime
        self.links = links
    }
}

/// One worker as the coordinator sees it.
package struct WorkerStatus: Codable, Equatable, Sendable {
    /// Where it is in its life.
    package enum Life: String, Codable, Sendable {
        /// Accepted, no share of the plan yet.
        case joined
        /// Reading weights.
        case loading
        /// Working or ready to.
        case ready
        /// Finishing what it has; no new work.
        case draining
        /// No heartbeat for a while.
        case suspect
        /// Gone.
        case lost
    }

    /// Why a worker that is here has no share of the plan.
    package struct Idle: Codable, Equatable, Sendable {
        /// What a program can decide from.
        package enum Code: String, Codable, Sendable {
            /// It could not load its share.
            case loadFailure = "load_failure"
            /// It stood still while it loaded.
            case stalled
            /// It crashed again and again.
            case crashes
            /// Somebody it should talk to does not hear it, or it does not hear them.
            case link
            /// The plan gains too little by it.
            case spare
        }

        /// The reason.
        package var code: Code
        /// The same for people, with the next step.
        package var text: String

        /// Joins both.
        package init(_ code: Code, _ text: String) {
            self.code = code
            self.text = text
        }
    }

    /// Its introduction.
    package var hello: Hello
    /// Its life.
    package var life: Life
    /// Its share of the plan.
    package var placement: Placement?
    /// Its counters at the last heartbeat.
    package var counters: WorkerCounters
    /// Seconds since the last heartbeat.
    package var heartbeatAge: Double
    /// Its recent speed.
    package var rates: WorkerRates
    /// Tasks that it could not do, or answered with something unusable, since it joined.
    package var faults: UInt64 = 0
    /// The link to the next worker of the plan, where it was measured.
    package var link: MeasuredLink?
    /// How many times as long as in its benchmark its steps take; nil before enough of them.
    package var pace: Double?
    /// Whether a client took it out of the plan, until it is let back in; nil from a coordinator that does not tell.
    package var isDrained: Bool?
    /// Why it has no share of the plan, where its life does not say; nil from a coordinator that does not tell.
    package var idle: Idle?

    /// Joins the fields.
    package init(
        hello: Hello, life: Life, placement: Placement?, counters: WorkerCounters, heartbeatAge: Double,
        rates: WorkerRates
    ) {
        self.hello = hello
        self.life = life
        self.placement = placement
        self.counters = counters
        self.heartbeatAge = heartbeatAge
        self.rates = rates
    }
}

/// A worker that wanted to join and may not.
package struct RefusedWorker: Codable, Equatable, Sendable {
    /// The name that it gave.
    package var name: String
    /// Why, for programs.
    package var code: Refusal.Code
    /// What it was told: what, where and the next step.
    package var text: String
    /// How often since it joined last, or the coordinator started.
    package var times: Int
    /// Seconds since the last time.
    package var secondsAgo: Double = 0

    /// Joins the fields.
    package init(name: String, code: Refusal.Code, text: String, times: Int) {
        self.name = name
        self.code = code
        self.text = text
        self.times = times
    }
}

/// A worker's recent speed.
///
/// Steps, tokens and bytes a second are those of the last eight steps or more, from 5 s to 10 minutes; 0 once it has stopped.
package struct WorkerRates: Codable, Equatable, Sendable {
    /// Steps per second through its span.
    package var steps: Double = 0
    /// Image tokens per second through its span.
    package var tokens: Double = 0
    /// Share of the last 5 to 10 seconds spent computing, 0...1.
    package var busy: Double = 0
    /// Bytes per second sent.
    package var sent: Double = 0
    /// Bytes per second received.
    package var received: Double = 0

    /// All zero.
    package init() {}
}
