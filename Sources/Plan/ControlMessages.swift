/// What coordinator and worker say to each other on the control socket, besides activations.
///
/// Bodies travel as JSON of at most `limit` bytes behind the fixed binary header.
package enum ControlMessage: Codable, Equatable, Sendable {
    /// Largest encoded body, bytes.
    package static let limit = 1 << 20

    /// Worker to coordinator, first: who it is and what it can do.
    case hello(Hello)
    /// Coordinator to worker: accepted.
    case welcome(Welcome)
    /// Coordinator to worker: not accepted; the worker prints the text and exits or retries.
    case refuse(Refusal)
    /// Coordinator to worker: the plan of a new epoch.
    case assign(ClusterPlan)
    /// Worker to coordinator: its share of an epoch is in memory.
    case loaded(Loaded)
    /// Worker to coordinator, every second: progress and counters.
    case heartbeat(Heartbeat)
    /// Coordinator to worker: the answer to a heartbeat, so that a worker notices a lost coordinator.
    case alive
    /// Coordinator to worker: send a heartbeat now, with this number in it.
    case report(UInt64)
    /// Worker to coordinator: one task could not be done.
    case fault(Fault)
    /// Coordinator to worker: a heartbeat came from a worker it does not know (it restarted, or gave the worker up);
    /// the worker keeps its weights and says hello again.
    case introduce
    /// Coordinator to worker: finish what is in hand and leave. Worker to coordinator: it would like to leave; the
    /// coordinator plans without it and answers with the same message when nothing of the worker's is in flight.
    case drain
    /// Coordinator to worker: nobody wants these pictures any more; what waits is dropped, what is in hand not sent on.
    case forget([ImageID])
    /// Worker to coordinator: it leaves now; nothing of its is in flight. Coordinator to worker: heard, so go.
    case leave
}

/// A worker's introduction.
package struct Hello: Codable, Equatable, Sendable {
    /// The version of the protocol between workers and coordinator that this program speaks.
    ///
    /// Rises with whatever a peer of before would refuse or misread, so that it is refused at the handshake, in words.
    /// 2: tasks of urgent pictures have a flag in the header. 3: credits between workers count bytes, and counters of
    /// links tell formats apart.
    package static let protocolVersion: UInt8 = 3

    /// Lowest and highest protocol version it speaks.
    package var protocols: ClosedRange<UInt8>
    /// Name of the worker, unique in the cluster.
    package var name: String
    /// Random at each start: a worker that restarts is a new one.
    package var bootID: UInt64
    /// Version of the program.
    package var build: String
    /// The model it has on disk.
    package var model: ModelFacts
    /// Where its upstream neighbour can reach it.
    package var dataEndpoint: String
    /// Threads it computes with.
    package var threads: Int
    /// Most memory it may use, bytes.
    package var memoryCap: UInt64
    /// Kernels it computes with; the class decides the bits of the pictures.
    package var kernelClass: String
    /// What it may be asked to do.
    package var roles: Set<Role>
    /// Its machine and what it measured, for planning.
    package var profile: NodeProfile?
    /// Public key of its links; nil in a cluster without keys.
    ///
    /// The coordinator puts the authorised one here, whatever the worker says.
    package var publicKey: String?

    /// Joins the fields.
    package init(
        protocols: ClosedRange<UInt8> = Hello.protocolVersion...Hello.protocolVersion, name: String, bootID: UInt64,
        build: String, model: ModelFacts, dataEndpoint: String, threads: Int, memoryCap: UInt64, kernelClass: String,
        roles: Set<Role>, profile: NodeProfile? = nil, publicKey: String? = nil
    ) {
        self.protocols = protocols
        self.name = name
        self.bootID = bootID
        self.build = build
        self.model = model
        self.dataEndpoint = dataEndpoint
        self.threads = threads
        self.memoryCap = memoryCap
        self.kernelClass = kernelClass
        self.roles = roles
        self.profile = profile
        self.publicKey = publicKey
    }
}

/// The coordinator's acceptance.
package struct Welcome: Codable, Equatable, Sendable {
    /// Protocol version to speak.
    package var protocolVersion: UInt8
    /// Milliseconds between heartbeats.
    package var heartbeatMilliseconds: Int
    /// Endpoint of the coordinator's data socket, `tcp://host:port`.
    package var dataEndpoint: String
    /// Milliseconds of silence after which the coordinator gives a worker up; nil from one that does not tell.
    package var lostAfterMilliseconds: Int?

    /// Joins the fields.
    package init(
        protocolVersion: UInt8 = Hello.protocolVersion, heartbeatMilliseconds: Int, dataEndpoint: String,
        lostAfterMilliseconds: Int? = nil
    ) {
        self.protocolVersion = protocolVersion
        self.heartbeatMilliseconds = heartbeatMilliseconds
        self.dataEndpoint = dataEndpoint
        self.lostAfterMilliseconds = lostAfterMilliseconds
    }
}

/// Why a worker was not accepted.
package struct Refusal: Codable, Equatable, Sendable {
    /// What a program can decide from.
    package enum Code: String, CaseIterable, Codable, Sendable {
        /// No common protocol version.
        case protocolVersion
        /// Its model differs from the cluster's.
        case model
        /// Another live worker has the name.
        case name
        /// The message could not be understood.
        case malformed
        /// Its kernel class differs, so pictures would not be reproducible.
        case kernelClass
        /// It has no key that opens the coordinator's sockets.
        case key
    }

    /// The reason.
    package var code: Code
    /// One line with what, where and the next step.
    package var text: String

    /// Joins both.
    package init(code: Code, text: String) {
        self.code = code
        self.text = text
    }
}

/// A worker's report that an epoch's weights are in memory.
package struct Loaded: Codable, Equatable, Sendable {
    /// The epoch.
    package var epoch: Epoch
    /// Resident memory, bytes.
    package var residentBytes: UInt64
    /// Set when loading failed: one line with what, where and the next step.
    package var failure: String?
    /// The link to the next worker, where the plan asks for it and it could be measured.
    package var link: LinkSpeed?

    /// Joins the fields.
    package init(epoch: Epoch, residentBytes: UInt64, failure: String? = nil, link: LinkSpeed? = nil) {
        self.epoch = epoch
        self.residentBytes = residentBytes
        self.failure = failure
        self.link = link
    }
}

/// A sign of life with counters since the worker started.
package struct Heartbeat: Codable, Equatable, Sendable {
    /// The epoch it works in; 0 before the first.
    package var epoch: Epoch
    /// The picture in hand.
    package var image: ImageID?
    /// The block in hand, so that a stuck worker can be told from a slow one.
    package var block: Int?
    /// Counters.
    package var counters: WorkerCounters
    /// Number of the `report` that it answers, if it answers one.
    package var answering: UInt64?
    /// What it did since the last one, task by task.
    package var done: SpanReport?
    /// What is wrong with the link to the next worker of the plan; nil when nothing is known to be.
    package var link: LinkTrouble?

    /// Why hidden states may not have reached the next worker.
    package enum LinkTrouble: String, Codable, Equatable, Sendable {
        /// The link broke in this epoch and stands again: what was on its way is lost.
        case broken
        /// Work flows, and the next worker has not been heard over it for several heartbeats.
        case silent
    }

    /// Joins the fields.
    package init(
        epoch: Epoch, image: ImageID?, block: Int?, counters: WorkerCounters, answering: UInt64? = nil,
        link: LinkTrouble? = nil, done: SpanReport? = nil
    ) {
        self.epoch = epoch
        self.image = image
        self.block = block
        self.counters = counters
        self.answering = answering
        self.link = link
        self.done = done
    }
}

/// What a worker has done since it started; every field only rises, except `residentBytes` and `queued`.
package struct WorkerCounters: Codable, Equatable, Sendable {
    /// Pictures that it decoded.
    package var images: UInt64 = 0
    /// Denoising steps through its span.
    package var steps: UInt64 = 0
    /// Image tokens through its span, summed over steps.
    package var tokens: UInt64 = 0
    /// Nanoseconds spent computing.
    package var busyNanoseconds: UInt64 = 0
    /// Nanoseconds since it started.
    package var upNanoseconds: UInt64 = 0
    /// Steps by resolution stage of the sampler, first stage first; at most `stagesToldApart`.
    package var stages: [StageCounters] = []
    /// Nanoseconds that finished answers waited until the next worker would take them.
    package var creditWaitNanoseconds: UInt64 = 0
    /// Nanoseconds between the last heartbeat and its answer; 0 before the first.
    package var roundTripNanoseconds: UInt64 = 0
    /// Links, each direction counted where it is sent and where it is received.
    package var links: [LinkCounters] = []
    /// Resident memory, bytes.
    package var residentBytes: UInt64 = 0
    /// Tasks waiting.
    package var queued: Int = 0
    /// Connections refused for want of the right key, by reason; nil without keys.
    package var authFailures: [String: UInt64]?

    /// Stages that are counted apart; what comes after them counts with the last one.
    package static let stagesToldApart = 8

    /// All zero.
    package init() {}

    /// Counts a step through the span; stages count from 1.
    package mutating func countStep(stage: UInt8, tokens: Int, nanoseconds: UInt64) {
        let stage = min(max(Int(stage), 1), Self.stagesToldApart) - 1
        while stages.count <= stage { stages.append(StageCounters()) }
        stages[stage].steps += 1
        stages[stage].busyNanoseconds += nanoseconds
        steps += 1
        self.tokens += UInt64(tokens)
    }
}

/// What a worker has done in one resolution stage of the sampler.
package struct StageCounters: Codable, Equatable, Sendable {
    /// Steps through its span.
    package var steps: UInt64 = 0
    /// Nanoseconds spent on them.
    package var busyNanoseconds: UInt64 = 0

    /// All zero.
    package init() {}
}

/// Bytes of one direction of one link.
package struct LinkCounters: Codable, Equatable, Hashable, Sendable {
    /// Sender's name; `coordinator` for the coordinator.
    package var source: String
    /// Receiver's name.
    package var target: String
    /// Messages, each of one or more chunks.
    package var messages: UInt64 = 0
    /// Bytes of hidden states (text and image rows), the figure that the cost model predicts.
    package var activationBytes: UInt64 = 0
    /// All bytes handed to the socket: activations, other tensors, tables, headers.
    package var totalBytes: UInt64 = 0
    /// Those of them that belong to messages with hidden states, by the format that these had.
    package var hiddenBytes: [WireFormat: UInt64] = [:]
    /// Nanoseconds from a message being ready to its last chunk being taken by the socket, summed; the sender knows it.
    package var sendNanoseconds: UInt64 = 0

    /// Starts at zero.
    package init(source: String, target: String) {
        self.source = source
        self.target = target
    }
}

extension LinkCounters {
    /// Decodes counters; those of a program that did not know formats and times apart have none.
    ///
    /// - Throws: `DecodingError` where a field is missing or of another type.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            source: try fields.decode(String.self, forKey: .source),
            target: try fields.decode(String.self, forKey: .target))
        messages = try fields.decode(UInt64.self, forKey: .messages)
        activationBytes = try fields.decode(UInt64.self, forKey: .activationBytes)
        totalBytes = try fields.decode(UInt64.self, forKey: .totalBytes)
        hiddenBytes = try fields.decodeIfPresent([WireFormat: UInt64].self, forKey: .hiddenBytes) ?? [:]
        sendNanoseconds = try fields.decodeIfPresent(UInt64.self, forKey: .sendNanoseconds) ?? 0
    }
}

/// A task that a worker could not do.
package struct Fault: Codable, Equatable, Sendable {
    /// The task: a fault that comes late must not hit another one of the same picture.
    package var task: TaskID
    /// One line with what, where and the next step.
    package var text: String
    /// Whether another try may succeed.
    package var isRetriable: Bool

    /// Joins the fields.
    package init(_ task: TaskID, text: String, isRetriable: Bool) {
        self.task = task
        self.text = text
        self.isRetriable = isRetriable
    }
}
