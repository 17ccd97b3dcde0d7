/// The time that one task took on a worker, by the worker's own clock.
package struct TaskSpan: Equatable, Sendable {
    /// What was computed.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// Text encoders.
        case encode
        /// One network call through the worker's blocks.
        case step
        /// An intermediate picture for the edge map.
        case edge
        /// The finished picture.
        case picture
    }

    /// What was computed.
    package var kind: Kind
    /// For which picture.
    package var image: ImageID
    /// Network calls made before.
    package var step: UInt16
    /// Generation of the plan.
    package var epoch: Epoch
    /// Resolution stage of the sampler, from 1; 0 outside the transformer.
    package var stage: UInt8
    /// Image tokens; 0 outside the transformer.
    package var tokens: Int
    /// When it began, nanoseconds of the worker's clock.
    package var began: UInt64
    /// How long it took.
    package var nanoseconds: UInt64

    /// Joins the fields.
    package init(
        kind: Kind, image: ImageID, step: UInt16, epoch: Epoch, stage: UInt8, tokens: Int, began: UInt64,
        nanoseconds: UInt64
    ) {
        self.kind = kind
        self.image = image
        self.step = step
        self.epoch = epoch
        self.stage = stage
        self.tokens = tokens
        self.began = began
        self.nanoseconds = nanoseconds
    }
}

extension TaskSpan: Codable {
    /// Decodes a list without names: a heartbeat may carry hundreds.
    ///
    /// - Throws: `DecodingError` for anything else.
    package init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        let code = try list.decode(UInt8.self)
        guard let kind = Kind(rawValue: code) else {
            throw DecodingError.dataCorruptedError(in: list, debugDescription: "\(code) is no kind of task")
        }
        self.init(
            kind: kind, image: ImageID(job: try list.decode(JobID.self), index: try list.decode(UInt32.self)),
            step: try list.decode(UInt16.self), epoch: try list.decode(Epoch.self),
            stage: try list.decode(UInt8.self), tokens: try list.decode(Int.self),
            began: try list.decode(UInt64.self), nanoseconds: try list.decode(UInt64.self))
    }

    /// Encodes the list.
    package func encode(to encoder: any Encoder) throws {
        var list = encoder.unkeyedContainer()
        try list.encode(kind.rawValue)
        try list.encode(image.job)
        try list.encode(image.index)
        try list.encode(step)
        try list.encode(epoch)
        try list.encode(stage)
        try list.encode(tokens)
        try list.encode(began)
        try list.encode(nanoseconds)
    }
}

/// What a worker did since its last heartbeat, task by task, for traces.
package struct SpanReport: Codable, Equatable, Sendable {
    /// Most spans that a worker keeps between two heartbeats; of more, the oldest go.
    package static let limit = 512

    /// The worker's clock when the report was sent: by it the coordinator tells the two clocks' difference.
    package var clock: UInt64
    /// Number of the first span among all of this run of the worker, from 0: a gap shows how many never came.
    package var first: UInt64
    /// The spans, oldest first.
    package var spans: [TaskSpan]

    /// Joins the fields.
    package init(clock: UInt64, first: UInt64 = 0, spans: [TaskSpan] = []) {
        self.clock = clock
        self.first = first
        self.spans = spans
    }
}
