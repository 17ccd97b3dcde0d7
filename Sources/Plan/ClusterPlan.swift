/// Who does what in one epoch.
///
/// A plan has one or more replicas: pipelines of the same model beside each other. Each picture goes through one of them.
package struct ClusterPlan: Codable, Equatable, Sendable {
    /// Generation; a worker drops messages of older ones.
    package var epoch: Epoch
    /// What each worker holds, replica after replica, each in pipeline order: the spans of a replica are contiguous from
    /// block 0 to `blockCount`.
    package var placements: [Placement]
    /// Blocks of the transformer.
    package var blockCount: Int
    /// How hidden states travel between workers.
    package var wire: WireFormat
    /// Whether workers are to measure the link to the next one before they say that they are ready; nil for no.
    package var measuresLinks: Bool?

    /// Joins the parts.
    package init(
        epoch: Epoch, placements: [Placement], blockCount: Int, wire: WireFormat = .f32, measuresLinks: Bool = false
    ) {
        self.epoch = epoch
        self.placements = placements
        self.blockCount = blockCount
        self.wire = wire
        self.measuresLinks = measuresLinks ? true : nil
    }

    /// Workers that hold blocks, replica after replica, each from its first span on.
    package var pipeline: [Placement] { placements.filter { !$0.span.isEmpty } }

    /// The pipelines, by the number of their replica, each from its first span on.
    package var pipelines: [[Placement]] {
        let byNumber = Dictionary(grouping: pipeline) { $0.replica ?? 0 }
        return byNumber.sorted { $0.key < $1.key }.map(\.value)
    }

    /// The pipeline of one replica; nil when there is no such replica.
    package func pipeline(of replica: Int) -> [Placement]? {
        let shares = pipeline.filter { $0.replica ?? 0 == replica }
        return shares.isEmpty ? nil : shares
    }

    /// Cuts `blockCount` blocks over `workers` so that spans differ by at most one block, longer ones first.
    package static func evenSpans(blockCount: Int, workers: Int) -> [Range<Int>] {
        promise(workers >= 1 && workers <= blockCount, "\(blockCount) blocks over \(workers) workers")
        var start = 0
        return (0..<workers).map { worker in
            let length = blockCount / workers + (worker < blockCount % workers ? 1 : 0)
            defer { start += length }
            return start..<start + length
        }
    }
}

/// How the layers are cut.
package enum CutRule: Equatable, Sendable {
    /// By measured times and memory; evenly while a worker has not measured.
    case measured
    /// Evenly, in order of name.
    case even
    /// So many blocks for each worker in order of name, while exactly so many are there; else evenly.
    case counts([Int])

    /// What a count may be.
    package static let counts = 1...10_000

    /// What does not fit where pipelines of so many blocks for each worker were to be cut by counts; nil where they are.
    package func misfit(_ pipelines: [[Int]]) -> String? {
        guard case .counts(let wanted) = self, let cut = pipelines.first(where: { $0 != wanted }) else { return nil }
        let sum = wanted.reduce(0) { $0.addingReportingOverflow($1).partialValue }
        return
            "\(wanted.map(String.init).joined(separator: ",")) is for \(wanted.count) workers and \(sum) blocks, but a pipeline "
            + "has \(cut.count) and \(cut.reduce(0, +)); without it that is cut \(cut.map(String.init).joined(separator: ","))"
    }
}

/// How many replicas a plan has.
package enum ReplicaRule: Equatable, Sendable {
    /// So many, or fewer while there are too few workers, or too little memory, for that.
    case count(Int)
    /// As many as give most pictures an hour by measured times; one while a worker has not measured.
    case auto

    /// Numbers that can be asked for.
    package static let counts = 1...1000

    /// Reads `auto` or a number; nil for anything else.
    package init?(_ text: String) {
        if text == "auto" {
            self = .auto
        } else if let count = Int(text), Self.counts ~= count {
            self = .count(count)
        } else {
            return nil
        }
    }
}

/// One worker's share of a plan.
package struct Placement: Codable, Equatable, Sendable {
    /// Name of the worker.
    package var worker: String
    /// Blocks it runs; empty for none.
    package var span: Range<Int>
    /// Whether it encodes prompts.
    package var encodes: Bool
    /// Whether it decodes latents.
    package var decodes: Bool
    /// Where its upstream neighbour sends activations, `tcp://host:port`.
    package var endpoint: String
    /// Which run of the worker it is; its neighbours take messages of no other run of the name.
    package var bootID: UInt64 = 0
    /// The worker's public key, by which its neighbours know it; nil in a cluster without keys.
    package var publicKey: String?
    /// The replica that it works for, from 0; nil for one that has no blocks and serves all of them.
    ///
    /// A plan of a coordinator that knows no replicas has none here: its one pipeline is number 0.
    package var replica: Int?

    /// Joins the fields.
    package init(
        worker: String, span: Range<Int>, encodes: Bool, decodes: Bool, endpoint: String, publicKey: String? = nil,
        replica: Int? = nil
    ) {
        self.worker = worker
        self.span = span
        self.encodes = encodes
        self.decodes = decodes
        self.endpoint = endpoint
        self.publicKey = publicKey
        self.replica = replica
    }

    /// Whether pictures of a replica may be encoded and decoded here.
    package func serves(_ replica: Int) -> Bool { self.replica == nil || self.replica == replica }
}

/// Facts of a model that the coordinator needs to plan, sample and bound messages; it never reads weights.
package struct ModelFacts: Codable, Equatable, Sendable {
    /// Name shown to people: the model folder's name.
    package var name: String
    /// Class of the pipeline, `FluxPipeline`.
    package var family: String
    /// Fingerprint of configuration and weights: workers that disagree are refused.
    package var fingerprint: String
    /// Blocks of the transformer, both kinds together.
    package var blockCount: Int
    /// Channels of the residual stream, D.
    package var width: Int
    /// Channels of the sequence encoder's output.
    package var contextWidth: Int
    /// Channels of the pooled encoder's output.
    package var pooledWidth: Int
    /// Longest text the sequence tokenizer's configuration allows.
    package var maxTextLength: Int
    /// Whether the network takes a guidance strength (dev) or not (schnell).
    package var takesGuidance: Bool
    /// The latent's scale: `decoder input = x / scalingFactor + shiftFactor`.
    package var scalingFactor: Float
    /// The latent's shift.
    package var shiftFactor: Float
    /// The noise schedule.
    package var schedule: ScheduleFacts
    /// Largest width or height in pixels.
    package var maxSide: Int
    /// Width and height of a picture when a request names none: what the model was made for.
    package var defaultSide: Int
    /// Sizes of its parts, for planning; nil when its files did not tell.
    package var sizes: ModelSizes?

    /// Joins the fields.
    package init(
        name: String, family: String, fingerprint: String, blockCount: Int, width: Int, contextWidth: Int,
        pooledWidth: Int, maxTextLength: Int, takesGuidance: Bool, scalingFactor: Float, shiftFactor: Float,
        schedule: ScheduleFacts, maxSide: Int = 2048, defaultSide: Int = 1024, sizes: ModelSizes? = nil
    ) {
        self.name = name
        self.family = family
        self.fingerprint = fingerprint
        self.blockCount = blockCount
        self.width = width
        self.contextWidth = contextWidth
        self.pooledWidth = pooledWidth
        self.maxTextLength = maxTextLength
        self.takesGuidance = takesGuidance
        self.scalingFactor = scalingFactor
        self.shiftFactor = shiftFactor
        self.schedule = schedule
        self.maxSide = maxSide
        self.defaultSide = defaultSide
        self.sizes = sizes
    }

    /// Tokens of the prompt when a request names none: 512 for guided models, 256 for distilled ones, less where the
    /// model allows less.
    package var defaultTextLength: Int { min(maxTextLength, takesGuidance ? 512 : 256) }
}

/// The scheduler's configuration, named as in `scheduler_config.json`.
package struct ScheduleFacts: Codable, Equatable, Sendable {
    /// Static shift; used when `dynamic` is false.
    package var shift: Double
    /// Whether the shift depends on the number of image tokens (dev).
    package var dynamic: Bool
    /// `base_shift`.
    package var baseShift: Double
    /// `max_shift`.
    package var maxShift: Double
    /// `base_image_seq_len`.
    package var baseTokens: Int
    /// `max_image_seq_len`.
    package var maxTokens: Int

    /// Joins the fields; the defaults are FLUX.1-dev's.
    package init(
        shift: Double = 3, dynamic: Bool = true, baseShift: Double = 0.5, maxShift: Double = 1.15,
        baseTokens: Int = 256, maxTokens: Int = 4096
    ) {
        self.shift = shift
        self.dynamic = dynamic
        self.baseShift = baseShift
        self.maxShift = maxShift
        self.baseTokens = baseTokens
        self.maxTokens = maxTokens
    }
}
