internal import Plan
internal import Tensors
package import Wire

extension TaskInput {
    /// The message that asks a worker for this; `isUrgent` when somebody waits for the picture.
    package func message(_ key: TaskKey, isUrgent: Bool = false) -> Message {
        func message(_ kind: MessageKind, stage: Int = 0, argument: UInt32 = 0, _ tensors: [WireTensor]) -> Message {
            Message(
                kind, epoch: key.epoch, image: key.image, isUrgent: isUrgent, step: UInt16(clamping: key.step),
                stage: UInt8(clamping: stage), argument: argument, tensors: tensors)
        }
        switch self {
        case .encode(let prompt, let textLength):
            return message(.encode, argument: UInt32(clamping: textLength), [WireTensor(.prompt, text: prompt)])
        case .step(let latents, let sigma, let guidance, let stage, let conditioning):
            var tensors = [
                WireTensor(.tokens, latents.tokens), WireTensor(.positions, latents.positions),
                WireTensor(.scalars, dims: [2], floats: [sigma, guidance]),
            ]
            if let conditioning {
                tensors += [WireTensor(.context, conditioning.context), WireTensor(.pooled, conditioning.pooled)]
            }
            return message(.step, stage: stage, tensors)
        case .decode(let latent):
            return message(.decode, argument: key.need == .picture ? 0 : 1, [WireTensor(.latent, latent)])
        }
    }
}

extension TaskOutput {
    /// Reads a worker's answer and what it answers; shapes are checked as far as they do not depend on the picture.
    ///
    /// - Throws: `FrameError` for another kind, a missing tensor, or a type or rank that no answer has.
    package static func read(_ message: Message, from peer: String) throws(FrameError) -> (TaskOutput, TaskKey) {
        guard let image = message.image else { throw FrameError(.field("image", value: 0), peer: peer) }
        let output: TaskOutput
        let need: Need
        switch message.kind {
        case .conditioning:
            let context = try message.tensor(.context, dims: [nil, nil], from: peer)
            let pooled = try message.tensor(.pooled, dims: [nil], from: peer)
            output = .conditioning(Conditioning(context: Tensor(context), pooled: Tensor(pooled)))
            need = .encode
        case .velocity:
            output = .velocity(Tensor(try message.tensor(.velocity, dims: [nil, 64], from: peer)))
            need = .step
        case .pixels where message.argument == 1:
            output = .planes(Pixels(planes: Tensor(try message.tensor(.planes, dims: [3, nil, nil], from: peer))))
            need = .edge
        case .pixels:
            let rgb = try message.tensor(.rgb, .u8, dims: [nil, nil, 3], from: peer)
            output = .picture(rgb8: rgb.bytes, width: rgb.dims[1], height: rgb.dims[0])
            need = .picture
        default: throw FrameError(.unexpected(message.kind), peer: peer)
        }
        return (output, TaskKey(need: need, image: image, step: Int(message.step), epoch: message.epoch))
    }
}
