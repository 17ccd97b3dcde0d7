internal import JobStore
package import Plan
package import Sampling
package import Tensors

/// What a picture needs from a worker next.
package enum Need: String, Hashable, Sendable {
    /// Its prompt encoded.
    case encode
    /// A velocity.
    case step
    /// An intermediate picture for the edge map.
    case edge
    /// The finished picture.
    case picture
}

/// Names one task: workers are pure functions, so the first answer under a name is as good as any later one.
package struct TaskKey: Hashable, Sendable {
    /// What is asked.
    package var need: Need
    /// The picture.
    package var image: ImageID
    /// Network calls made before.
    package var step: Int
    /// Generation of the plan.
    package var epoch: Epoch

    /// Joins the fields.
    package init(need: Need, image: ImageID, step: Int, epoch: Epoch) {
        self.need = need
        self.image = image
        self.step = step
        self.epoch = epoch
    }

    /// Its name on the wire, where a decoder is not told what its pixels are for.
    package var id: TaskID {
        let kind: TaskID.Kind =
            switch need {
            case .encode: .encode
            case .step: .step
            case .edge, .picture: .decode
            }
        return TaskID(kind, image, step: UInt16(clamping: step), epoch: epoch)
    }
}

/// What a worker is given.
package enum TaskInput: Equatable, Sendable {
    /// A prompt and the number of text tokens to make of it.
    case encode(prompt: String, textLength: Int)
    /// Latents at one noise level; the conditioning is left out when the worker has seen it in this epoch.
    case step(Latents, sigma: Float, guidance: Float, stage: Int, Conditioning?)
    /// A (16, h, w) decoder input.
    case decode(Tensor)
}

/// What a worker gives back.
package enum TaskOutput: Equatable, Sendable {
    /// Answer to `encode`.
    case conditioning(Conditioning)
    /// Answer to `step`, (N, 64).
    case velocity(Tensor)
    /// Answer to `edge`.
    case planes(Pixels)
    /// Answer to `picture`: interleaved 8-bit rows.
    case picture(rgb8: [UInt8], width: Int, height: Int)
}

/// Work on a sampler, done beside the core because a transition takes milliseconds.
package enum SamplingTask: Equatable, Sendable {
    /// Starts a picture, from its checkpoint if it has one.
    case open(ImageRequest, ModelFacts, checkpoint: ImageID?)
    /// Takes a step.
    case supply(Sampler, velocity: Tensor)
    /// Finds edges and goes on.
    case refine(Sampler, decoded: Pixels)

    /// Does the work; the same input always gives the same answer.
    ///
    /// A checkpoint that makes no sense costs its steps and nothing else: the picture starts again, and `Advance` says why. One
    /// that cannot be read now is there all the same: the answer is a failure that may pass.
    package func perform(
        checkpoint load: (ImageID) throws -> [UInt8]?
    ) -> Result<Advance, SamplingFailure> {
        do throws(SamplingError) {
            switch self {
            case .open(let request, let facts, let image):
                var trouble: String?
                if let image {
                    do {
                        guard let bytes = try load(image) else {
                            throw SamplingError(.checkpoint("the queue has none"))
                        }
                        return .success(Advance(try Sampler(checkpoint: bytes), checkpoint: []))
                    } catch let error as StoreError where error.mayPass {
                        return .failure(SamplingFailure(error.description, mayPass: true))
                    } catch {
                        trouble = "\(error)"
                    }
                }
                let sampler = try Sampler(request: request, facts: facts)
                return .success(Advance(sampler, checkpoint: [], startsAgain: trouble))
            case .supply(var sampler, let velocity):
                try sampler.supply(velocity: velocity)
                return .success(Advance(sampler, checkpoint: sampler.checkpoint()))
            case .refine(var sampler, let decoded):
                try sampler.supply(decoded: decoded)
                return .success(Advance(sampler, checkpoint: sampler.checkpoint()))
            }
        } catch {
            return .failure(SamplingFailure("\(error)"))
        }
    }
}

/// Why a sampler cannot go on: one line.
package struct SamplingFailure: Error, Equatable, Sendable {
    /// The line.
    package let text: String
    /// Whether it may go on later, because a disk was in the way.
    package let mayPass: Bool

    /// Wraps the line.
    package init(_ text: String, mayPass: Bool = false) {
        self.text = text
        self.mayPass = mayPass
    }
}

/// A sampler that went on, with what the core wants to know of it.
package struct Advance: Equatable, Sendable {
    /// The sampler.
    package let sampler: Sampler
    /// What it needs now.
    package let demand: Demand
    /// Network calls made.
    package let step: Int
    /// Network calls in all.
    package let totalSteps: Int
    /// Image tokens through the network so far.
    package let tokenSteps: Int
    /// Its bytes, to be kept; empty when they are kept already.
    package let checkpoint: [UInt8]
    /// Why its checkpoint was of no use, so that it begins at the first step; nil when it had none, or goes on from it.
    package let startsAgain: String?

    init(_ sampler: Sampler, checkpoint: [UInt8], startsAgain: String? = nil) {
        self.startsAgain = startsAgain
        self.sampler = sampler
        demand = sampler.demand
        step = sampler.step
        totalSteps = sampler.totalSteps
        tokenSteps = sampler.tokenSteps
        self.checkpoint = checkpoint
    }
}
