/// What became of one job's pictures, moment by moment: what `trace export` writes.
///
/// All times are nanoseconds of the coordinator's clock, which starts at zero with the coordinator. A picture is in one
/// phase at a time, so the entries of its row never overlap; those of a worker's row do not either, or one lies within
/// another: steps within the side task that gave way to them.
package struct JobTrace: Codable, Equatable, Sendable {
    /// A phase of a picture, or a task on a worker.
    package struct Entry: Equatable, Sendable {
        /// What took the time.
        package enum Kind: UInt8, Sendable, CaseIterable {
            /// The picture waited to be admitted.
            case queue
            /// Its sampler was opened, or went on.
            case sampler
            /// It waited for a worker.
            case wait
            /// Its prompt was encoded.
            case encode
            /// One network call.
            case step
            /// An intermediate picture for the edge map.
            case edge
            /// The finished picture was decoded.
            case picture
            /// Its file was written.
            case write
            /// Its end was made durable.
            case record

            /// The words that a trace shows.
            package var text: String {
                switch self {
                case .queue: "waiting in queue"
                case .sampler: "sampler"
                case .wait: "waiting for a worker"
                case .encode: "encode"
                case .step: "step"
                case .edge: "edge decode"
                case .picture: "final decode"
                case .write: "write file"
                case .record: "record"
                }
            }
        }

        /// 0 for the coordinator's view of the picture, which includes messages and waiting at workers; else one more than
        /// the worker's place in `workers`, for the time that it computed.
        package var row: UInt16
        /// What took the time.
        package var kind: Kind
        /// The picture's place in its job.
        package var image: UInt32
        /// Network calls made before.
        package var step: UInt16
        /// Resolution stage of the sampler, from 1; 0 outside the transformer.
        package var stage: UInt8
        /// Image tokens of a network call, else 0.
        package var tokens: UInt32
        /// Generation of the plan.
        package var epoch: Epoch
        /// When it began.
        package var began: UInt64
        /// How long it took.
        package var nanoseconds: UInt64

        /// Joins the fields.
        package init(
            row: UInt16 = 0, kind: Kind, image: UInt32, step: UInt16 = 0, stage: UInt8 = 0, tokens: UInt32 = 0,
            epoch: Epoch = 0, began: UInt64, nanoseconds: UInt64
        ) {
            self.row = row
            self.kind = kind
            self.image = image
            self.step = step
            self.stage = stage
            self.tokens = tokens
            self.epoch = epoch
            self.began = began
            self.nanoseconds = nanoseconds
        }
    }

    /// Something that happened at one moment: an epoch, a loss, a retry.
    package struct Note: Codable, Equatable, Sendable {
        /// When.
        package var time: UInt64
        /// The picture that it happened to; nil for the whole cluster.
        package var image: UInt32?
        /// One line.
        package var text: String

        /// Joins the fields.
        package init(time: UInt64, image: UInt32? = nil, text: String) {
            self.time = time
            self.image = image
            self.text = text
        }
    }

    /// The job.
    package var job: JobID
    /// Workers with rows of their own, in the order in which they first did something.
    package var workers: [String] = []
    /// Phases and tasks in the order in which the coordinator heard of them.
    package var entries: [Entry] = []
    /// Moments, oldest first.
    package var notes: [Note] = []
    /// Older entries and notes that had to go, because a job's trace is bounded.
    package var dropped: UInt64 = 0
    /// Tasks that workers did while the job ran and never told of, of this job or of others.
    package var untold: UInt64 = 0
    /// Whether it begins with the job's first picture; not so for a job that this coordinator found half done.
    package var isWhole = true
    /// Whether the job has pictures that are not final.
    package var isRunning = true

    /// An empty trace.
    package init(job: JobID) { self.job = job }

    /// What is missing in it, one line each; empty for one that holds everything.
    package var gaps: [String] {
        var lines: [String] = []
        if !isWhole { lines.append("what was done before the coordinator started, or this trace began, is not in it") }
        if dropped > 0 { lines.append("\(dropped) older events were dropped: a job's trace is bounded") }
        if untold > 0 {
            lines.append("workers left \(untold) tasks untold, of this job or of others that ran beside it")
        }
        if isRunning { lines.append("the job is not over yet") }
        return lines
    }
}

extension JobTrace.Entry: Codable {
    /// Decodes a list without names: a trace has thousands.
    ///
    /// - Throws: `DecodingError` for anything else.
    package init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        let row = try list.decode(UInt16.self)
        let code = try list.decode(UInt8.self)
        guard let kind = Kind(rawValue: code) else {
            throw DecodingError.dataCorruptedError(in: list, debugDescription: "\(code) is no kind of entry")
        }
        self.init(
            row: row, kind: kind, image: try list.decode(UInt32.self), step: try list.decode(UInt16.self),
            stage: try list.decode(UInt8.self), tokens: try list.decode(UInt32.self),
            epoch: try list.decode(Epoch.self), began: try list.decode(UInt64.self),
            nanoseconds: try list.decode(UInt64.self))
    }

    /// Encodes the list.
    package func encode(to encoder: any Encoder) throws {
        var list = encoder.unkeyedContainer()
        try list.encode(row)
        try list.encode(kind.rawValue)
        try list.encode(image)
        try list.encode(step)
        try list.encode(stage)
        try list.encode(tokens)
        try list.encode(epoch)
        try list.encode(began)
        try list.encode(nanoseconds)
    }
}
