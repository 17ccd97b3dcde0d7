package import DiT
package import Plan
package import Tensors

/// Names one task: a worker is a pure function, so the same key always has the same answer.
package struct TaskKey: Hashable, Sendable {
    /// What a task asks for.
    package enum Kind: UInt8, Hashable, Sendable {
        /// A prompt to conditioning.
        case encode
        /// Latents through the first span.
        case step
        /// Hidden states of the span before through this one.
        case activation
        /// A latent to pixels.
        case decode
    }

    /// What is asked.
    package var kind: Kind
    /// The picture.
    package var image: ImageID
    /// 0, or 1 for the unconditioned half of classifier-free guidance.
    package var branch: UInt8
    /// Step of the sampler.
    package var step: UInt16
    /// Generation of the plan.
    package var epoch: Epoch

    /// Joins the fields.
    package init(kind: Kind, image: ImageID, branch: UInt8 = 0, step: UInt16, epoch: Epoch) {
        self.kind = kind
        self.image = image
        self.branch = branch
        self.step = step
        self.epoch = epoch
    }

    /// Its name on the wire: an activation belongs to the step that it came from.
    package var id: TaskID {
        let kind: TaskID.Kind =
            switch kind {
            case .encode: .encode
            case .step, .activation: .step
            case .decode: .decode
            }
        return TaskID(kind, image, branch: branch, step: step, epoch: epoch)
    }

    /// Whether the task goes through the span, and so is held back by credits.
    package var isStep: Bool { kind == .step || kind == .activation }
}

/// One task with its inputs.
package struct WorkItem: Equatable, Sendable {
    /// The inputs of each kind of task.
    package enum Work: Equatable, Sendable {
        /// A prompt and the number of text tokens to make of it.
        case encode(prompt: String, textLength: Int)
        /// Latents at one noise level; the conditioning may be left out when this worker has seen it.
        case step(Latents, sigma: Float, guidance: Float, Conditioning?)
        /// What the span before computed.
        case activation(Stream)
        /// A (16, h, w) decoder input; `final` asks for 8-bit pixels, else for planes that an edge map is made of.
        case decode(Tensor, final: Bool)
    }

    /// Its name.
    package var key: TaskKey
    /// Resolution stage of the sampler, from 1, passed on for the counters of others.
    package var stage: UInt8
    /// Whether somebody waits for the picture: the task gives way to no other.
    package var isUrgent: Bool
    /// Its inputs.
    package var work: Work

    /// Joins the fields.
    package init(key: TaskKey, stage: UInt8 = 0, isUrgent: Bool = false, work: Work) {
        self.key = key
        self.stage = stage
        self.isUrgent = isUrgent
        self.work = work
    }

    /// Whether it runs without a break: steps, and side tasks of pictures that somebody waits for.
    var isWhole: Bool { key.isStep || isUrgent }

    /// Whether it may run between the layers of another: what runs without a break may.
    ///
    /// But no decode inside a decode: memory is planned for the buffers of one.
    func goesBetween(layersOf other: TaskKey) -> Bool { isWhole && (key.kind, other.kind) != (.decode, .decode) }

    /// What stays known of the task while its inputs are being computed in place.
    package var ticket: Ticket {
        let tokens =
            switch work {
            case .step(let latents, _, _, _): latents.count
            case .activation(let stream): stream.image.shape[0]
            case .encode, .decode: 0
            }
        let text =
            switch work {
            case .step(_, _, _, let conditioning): conditioning?.context.shape[0] ?? 0
            case .activation(let stream): stream.text.shape[0]
            case .encode, .decode: 0
            }
        let isEdge = if case .decode(_, let final) = work { !final } else { false }
        return Ticket(
            key: key, stage: stage, isUrgent: isUrgent, tokens: tokens, textTokens: text, isEdge: isEdge)
    }
}

/// A task without its inputs: whoever holds this keeps no hidden states alive.
package struct Ticket: Equatable, Sendable {
    /// The task's name.
    package var key: TaskKey
    /// Stage of the sampler.
    package var stage: UInt8
    /// Whether somebody waits for the picture.
    package var isUrgent: Bool
    /// Image tokens; 0 for tasks outside the transformer.
    package var tokens: Int
    /// Text tokens that go with them.
    package var textTokens: Int
    /// Whether a decoding is of an intermediate picture.
    package var isEdge: Bool

    /// Joins the fields.
    package init(
        key: TaskKey, stage: UInt8, isUrgent: Bool = false, tokens: Int, textTokens: Int = 0, isEdge: Bool = false
    ) {
        self.key = key
        self.stage = stage
        self.isUrgent = isUrgent
        self.tokens = tokens
        self.textTokens = textTokens
        self.isEdge = isEdge
    }

    /// Rows of its hidden states.
    var rows: Int { tokens + textTokens }

    /// The time that it took, for traces.
    func span(began: Nanoseconds, nanoseconds: Nanoseconds) -> TaskSpan {
        let kind: TaskSpan.Kind =
            switch key.kind {
            case .encode: .encode
            case .step, .activation: .step
            case .decode: isEdge ? .edge : .picture
            }
        return TaskSpan(
            kind: kind, image: key.image, step: key.step, epoch: key.epoch, stage: key.isStep ? stage : 0,
            tokens: tokens, began: began, nanoseconds: nanoseconds)
    }
}

/// One answer with the task it belongs to.
package struct Answer: Equatable, Sendable {
    /// The task.
    package var ticket: Ticket
    /// What it came to.
    package var outcome: Outcome

    /// Joins both.
    package init(ticket: Ticket, outcome: Outcome) {
        self.ticket = ticket
        self.outcome = outcome
    }
}

/// What a task came to.
package enum Outcome: Equatable, Sendable {
    /// Answer to `encode`.
    case conditioning(Conditioning)
    /// Hidden states for the next span.
    case activation(Stream)
    /// The network's answer, (N, 64), from the worker with the last span.
    case velocity(Tensor)
    /// Planes of an intermediate picture.
    case planes(Pixels)
    /// Interleaved 8-bit RGB rows of the finished picture.
    case picture(rgb8: [UInt8], width: Int, height: Int)
}
