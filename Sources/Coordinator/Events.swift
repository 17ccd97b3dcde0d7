package import JobStore
package import Logging
package import Plan

/// What happens to the coordinator.
package enum Event: Sendable {
    /// First of all: what the store knew, and the facts it kept, `drained` being the workers that clients took out.
    case recovered([StoredJob], pin: ClusterPin?, epoch: Epoch, drained: Set<String> = [])
    /// A worker said something.
    case control(ControlMessage, from: String, bootID: UInt64)
    /// A worker said what makes no sense, and why.
    case malformed(String, from: String, bootID: UInt64)
    /// The connection of one run of a worker broke.
    case disconnected(worker: String, bootID: UInt64)
    /// A worker's key is not authorised any more.
    case revoked(worker: String)
    /// A worker's answer.
    case result(TaskOutput, TaskKey, from: String)
    /// A worker allows this many steps in all of an epoch; the first one says that its data link is up.
    case credit(limit: Credit, epoch: Epoch, from: String)
    /// A worker's data link broke.
    case linkLost(worker: String)
    /// A task could not be handed to the socket.
    case undeliverable(TaskKey, to: String)
    /// A client asks; `fresh` is the identity of a new job, if it is a submission.
    case client(ClientRequest, ClientTicket, fresh: JobID)
    /// The store did what the effect of that ticket asked.
    case stored(StoreAnswer, ticket: UInt64)
    /// The store read what the effect of that ticket asked.
    case read(StoreReading, ticket: UInt64)
    /// A sampler went on.
    case sampled(Result<Advance, SamplingFailure>, ticket: UInt64)
    /// A picture's file is durable under its name (checksum of its bytes), or could not be written (one line).
    case wrote(Result<UInt32, WriteFailure>, ticket: UInt64)
    /// The store could not write a checkpoint, which no ticket waits for.
    case checkpointRefused(ImageID, StoreError)
    /// The machine's clock was set, or the machine slept, in which this process's clock stood; seconds since 1970 when that
    /// showed zero.
    case clockSet(wallAtZero: Double, isSleep: Bool = false)
    /// Time passes; about five times a second.
    case tick
    /// Come to rest at the next step of each picture.
    case stop
}

/// What the coordinator wants done, in this order.
package enum Effect: Sendable {
    /// Tell one run of a worker something.
    case control(ControlMessage, to: String, bootID: UInt64)
    /// Give a worker work.
    case task(TaskInput, TaskKey, to: String, isUrgent: Bool)
    /// Write to the store, in order; a ticket other than 0 wants an answer.
    case store(StoreWrite, ticket: UInt64)
    /// Read from the store, after everything written before.
    case read(StoreQuery, ticket: UInt64)
    /// Let a sampler go on.
    case sample(SamplingTask, ticket: UInt64)
    /// Write a picture under a temporary name, sync, rename.
    case write(Picture, ticket: UInt64)
    /// Remove a picture that a cancelled job left, after all writes asked for before.
    case remove(path: String)
    /// Answer a client.
    case reply(ClientReply, ClientTicket)
    /// Announce something.
    case publish(ClusterEvent)
    /// Count something.
    case measure(Measurement)
    /// Log a line.
    case log(Logger.Level, String)
    /// Nothing is in hand any more, after `Event.stop`.
    case stopped
}

/// Whom to answer, and under which number.
package struct ClientTicket: Hashable, Sendable {
    /// Routing id of the client.
    package var client: String
    /// Number of its request.
    package var number: UInt64

    /// Joins both.
    package init(client: String, number: UInt64) {
        self.client = client
        self.number = number
    }

    /// Whose key it goes by, for the log: ` by anna`; nothing where there are no keys.
    var byWhom: String { client.firstIndex(of: "/").map { " by \(client[..<$0])" } ?? "" }
}

/// What every worker of the cluster must agree on.
package struct ClusterPin: Codable, Equatable, Sendable {
    /// The model.
    package var model: ModelFacts
    /// The class of its kernels.
    package var kernelClass: String

    /// Joins both.
    package init(model: ModelFacts, kernelClass: String) {
        self.model = model
        self.kernelClass = kernelClass
    }

    /// What the bits of pictures depend on, as the queue keeps it for each job.
    var drawsWith: String { StoreWrite.model(model.fingerprint, kernels: kernelClass) }
}

/// A question to the store.
package enum StoreQuery: Equatable, Sendable {
    /// The newest jobs.
    case jobs(limit: Int)
    /// The newest jobs whose id begins with these digits.
    case jobsBeginning(with: String, limit: Int)
    /// One job.
    case job(JobID)
}

/// The store's answer to a question.
package enum StoreReading: Equatable, Sendable {
    /// Answer to `jobs` and `jobsBeginning`.
    case jobs([JobStatus])
    /// Answer to `job`.
    case job(JobStatus?)
    /// It could not read.
    case failed(StoreError)
}

/// A finished picture on its way to the disk.
package struct Picture: Equatable, Sendable {
    /// Which one.
    package var image: ImageID
    /// Interleaved 8-bit rows.
    package var rgb8: [UInt8]
    /// Everything that determined it.
    package var request: ImageRequest
    /// The model and kernels it was made with.
    package var pin: ClusterPin
    /// How hidden states travelled.
    package var wire: WireFormat
    /// Absolute path of the file.
    package var path: String
}

/// Why a file could not be written: one line.
package struct WriteFailure: Error, Equatable, Sendable {
    /// What else cannot be written now.
    package enum Reach: Sendable {
        /// Nothing else: it is this picture's name or file.
        case picture
        /// Pictures of the same folder, until somebody mends it.
        case folder
        /// All pictures: it is the output folder or its disk.
        case output
    }

    /// The line.
    package let text: String
    /// How far it reaches.
    package let reach: Reach

    /// Joins both.
    package init(_ text: String, _ reach: Reach) {
        self.text = text
        self.reach = reach
    }
}
