/// Where a picture stands.
package enum ImageState: Codable, Equatable, Sendable {
    /// Waits for its turn.
    case queued
    /// Steps done of all steps.
    case running(step: Int, of: Int)
    /// Written: path of the PNG and CRC32C of its bytes.
    case done(path: String, checksum: UInt32)
    /// Failed for good: one line.
    case failed(String)
    /// Cancelled by a client.
    case cancelled

    /// Whether nothing more will happen.
    package var isFinal: Bool {
        switch self {
        case .queued, .running: false
        case .done, .failed, .cancelled: true
        }
    }
}

/// A job and its pictures.
package struct JobStatus: Codable, Equatable, Sendable {
    /// The job.
    package var id: JobID
    /// Rises with each change.
    package var version: UInt64
    /// Seconds since 1970 when it was accepted.
    package var submitted: Double
    /// Seconds since 1970 when the last picture became final.
    package var finished: Double?
    /// Absolute folder of its PNG files.
    package var folder: String
    /// State of each picture in the order of the submission; empty, and absent from JSON, in listings.
    package var images: [ImageState]
    /// Pictures in all.
    package var total: Int
    /// Pictures under way.
    package var running = 0
    /// Pictures done.
    package var done: Int
    /// Pictures failed.
    package var failed: Int
    /// Pictures cancelled.
    package var cancelled: Int
    /// Why it cannot go on now, if it cannot.
    package var waiting: String?
    /// Image tokens through the network so far, summed over steps.
    package var tokenSteps: UInt64

    /// Joins the fields.
    package init(
        id: JobID, version: UInt64, submitted: Double, finished: Double?, folder: String, images: [ImageState],
        total: Int, done: Int, failed: Int, cancelled: Int, waiting: String?, tokenSteps: UInt64
    ) {
        self.id = id
        self.version = version
        self.submitted = submitted
        self.finished = finished
        self.folder = folder
        self.images = images
        self.total = total
        self.done = done
        self.failed = failed
        self.cancelled = cancelled
        self.waiting = waiting
        self.tokenSteps = tokenSteps
    }

    /// Pictures that wait for their turn.
    package var queued: Int { total - running - done - failed - cancelled }

    /// Whether every picture is final.
    package var isFinal: Bool { done + failed + cancelled == total }
}

// MARK: - As JSON

// Programs read these, of `--json` and of published events: a picture is one flat object that says its state, and a job
// counts its pictures by state whether or not it lists them.

extension ImageState {
    private enum Name: String, Codable {
        case queued, running, done, failed, cancelled
    }

    private enum CodingKeys: String, CodingKey {
        case state, step, steps, path, checksum, error
    }

    /// Reads one object.
    ///
    /// - Throws: `DecodingError` where the state is unknown, or a field of it missing.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        switch try fields.decode(Name.self, forKey: .state) {
        case .queued: self = .queued
        case .running:
            self = .running(
                step: try fields.decode(Int.self, forKey: .step), of: try fields.decode(Int.self, forKey: .steps))
        case .done:
            self = .done(
                path: try fields.decode(String.self, forKey: .path),
                checksum: try fields.decode(UInt32.self, forKey: .checksum))
        case .failed: self = .failed(try fields.decode(String.self, forKey: .error))
        case .cancelled: self = .cancelled
        }
    }

    /// Writes one object: `state`, and what belongs to it.
    ///
    /// - Throws: whatever the encoder does.
    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .queued: try fields.encode(Name.queued, forKey: .state)
        case .running(let step, let steps):
            try fields.encode(Name.running, forKey: .state)
            try fields.encode(step, forKey: .step)
            try fields.encode(steps, forKey: .steps)
        case .done(let path, let checksum):
            try fields.encode(Name.done, forKey: .state)
            try fields.encode(path, forKey: .path)
            try fields.encode(checksum, forKey: .checksum)
        case .failed(let error):
            try fields.encode(Name.failed, forKey: .state)
            try fields.encode(error, forKey: .error)
        case .cancelled: try fields.encode(Name.cancelled, forKey: .state)
        }
    }
}

extension JobStatus {
    private enum CodingKeys: String, CodingKey {
        case id, version, submitted, finished, folder, images, total, queued, running, done, failed, cancelled, waiting
        case tokenSteps
    }

    /// Reads a job, with or without its pictures.
    ///
    /// - Throws: `DecodingError` where another field is missing or of another type.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            id: try fields.decode(JobID.self, forKey: .id), version: try fields.decode(UInt64.self, forKey: .version),
            submitted: try fields.decode(Double.self, forKey: .submitted),
            finished: try fields.decodeIfPresent(Double.self, forKey: .finished),
            folder: try fields.decode(String.self, forKey: .folder),
            images: try fields.decodeIfPresent([ImageState].self, forKey: .images) ?? [],
            total: try fields.decode(Int.self, forKey: .total), done: try fields.decode(Int.self, forKey: .done),
            failed: try fields.decode(Int.self, forKey: .failed),
            cancelled: try fields.decode(Int.self, forKey: .cancelled),
            waiting: try fields.decodeIfPresent(String.self, forKey: .waiting),
            tokenSteps: try fields.decode(UInt64.self, forKey: .tokenSteps))
        running = try fields.decode(Int.self, forKey: .running)
    }

    /// Writes a job: a number for each state, and the pictures if they are told.
    ///
    /// - Throws: whatever the encoder does.
    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(id, forKey: .id)
        try fields.encode(version, forKey: .version)
        try fields.encode(submitted, forKey: .submitted)
        try fields.encodeIfPresent(finished, forKey: .finished)
        try fields.encode(folder, forKey: .folder)
        // A job has a picture at least.
        if !images.isEmpty { try fields.encode(images, forKey: .images) }
        try fields.encode(total, forKey: .total)
        try fields.encode(queued, forKey: .queued)
        try fields.encode(running, forKey: .running)
        try fields.encode(done, forKey: .done)
        try fields.encode(failed, forKey: .failed)
        try fields.encode(cancelled, forKey: .cancelled)
        try fields.encodeIfPresent(waiting, forKey: .waiting)
        try fields.encode(tokenSteps, forKey: .tokenSteps)
    }
}
