internal import DiT
package import Plan
internal import Tensors
package import Wire

/// Reads tasks from messages and writes answers into them; every shape is checked against the model.
///
/// A message can be well framed and still not fit the model. That is the peer's fault and gives a `FrameError`, never a
/// trap: the tensor types behind this trap on shapes that disagree.
package struct MessageReader: Sendable {
    /// Sizes of the served model.
    package let facts: ModelFacts

    /// Reads for one model.
    package init(facts: ModelFacts) { self.facts = facts }

    /// The task that a message asks for.
    ///
    /// - Throws: `FrameError` for another kind, a missing tensor, or a type or shape that does not fit the model.
    package func task(
        _ message: Message, from peer: String, wire: WireFormat = .f32
    ) throws(FrameError) -> WorkItem {
        guard let image = message.image else { throw FrameError(.field("image", value: 0), peer: peer) }
        func item(_ kind: TaskKey.Kind, _ work: WorkItem.Work) -> WorkItem {
            WorkItem(
                key: TaskKey(
                    kind: kind, image: image, branch: message.branch, step: message.step, epoch: message.epoch),
                stage: message.stage, isUrgent: message.isUrgent, work: work)
        }
        switch message.kind {
        case .encode: return item(.encode, try encode(message, peer))
        case .step: return item(.step, try step(message, peer))
        case .activation: return item(.activation, .activation(try stream(message, wire, peer)))
        case .decode:
            let latent = try values(message, .latent, [16, nil, nil], peer)
            let limit = facts.maxSide / 8
            guard latent.shape.dropFirst().allSatisfy({ 1...limit ~= $0 }) else {
                throw FrameError(
                    .tensor(.latent, "has shape \(latent.shape), sides of 1...\(limit) needed"), peer: peer)
            }
            guard message.argument <= 1 else {
                throw FrameError(.field("argument", value: UInt64(message.argument)), peer: peer)
            }
            return item(.decode, .decode(latent, final: message.argument == 0))
        default: throw FrameError(.unexpected(message.kind), peer: peer)
        }
    }

    private func encode(_ message: Message, _ peer: String) throws(FrameError) -> WorkItem.Work {
        guard let prompt = try message.tensor(.prompt, .u8, dims: [nil], from: peer).text else {
            throw FrameError(.tensor(.prompt, "is not UTF-8"), peer: peer)
        }
        let length = Int(message.argument)
        guard 1...facts.maxTextLength ~= length else {
            throw FrameError(.field("text length", value: UInt64(length)), peer: peer)
        }
        return .encode(prompt: prompt, textLength: length)
    }

    private func step(_ message: Message, _ peer: String) throws(FrameError) -> WorkItem.Work {
        let tokens = try values(message, .tokens, [nil, 64], peer)
        let count = try checked(tokens.shape[0], upTo: facts.maxTokens, .tokens, peer)
        let positions = try values(message, .positions, [count, 3], peer)
        let scalars = try values(message, .scalars, [2], peer)
        var conditioning: Conditioning?
        if message[.context] != nil || message[.pooled] != nil {
            let context = try values(message, .context, [nil, facts.contextWidth], peer)
            _ = try checked(context.shape[0], upTo: facts.maxTextLength, .context, peer)
            conditioning = Conditioning(
                context: context, pooled: try values(message, .pooled, [facts.pooledWidth], peer))
        }
        return .step(
            Latents(tokens: tokens, positions: positions), sigma: scalars[0], guidance: scalars[1], conditioning)
    }

    private func stream(_ message: Message, _ wire: WireFormat, _ peer: String) throws(FrameError) -> Stream {
        let image = try message.rows(
            .image, .imageScales, wire, width: facts.width, upTo: facts.maxTokens, from: peer)
        let text = try message.rows(
            .text, .textScales, wire, width: facts.width, upTo: facts.maxTextLength, from: peer)
        return Stream(
            text: text, image: image, vector: try values(message, .vector, [facts.width], peer),
            positions: try values(message, .positions, [image.shape[0], 3], peer))
    }

    private func values(
        _ message: Message, _ name: TensorName, _ dims: [Int?], _ peer: String
    ) throws(FrameError) -> Tensor {
        Tensor(try message.tensor(name, dims: dims, from: peer))
    }

    private func checked(_ rows: Int, upTo limit: Int, _ name: TensorName, _ peer: String) throws(FrameError) -> Int {
        guard 1...limit ~= rows else {
            throw FrameError(.tensor(name, "has \(rows) rows, 1...\(limit) needed"), peer: peer)
        }
        return rows
    }
}

extension WorkItem {
    /// The message that asks for this task, as the coordinator or the span before sends it.
    package func message(wire: WireFormat = .f32) -> Message {
        switch work {
        case .encode(let prompt, let textLength):
            return ticket.message(.encode, argument: UInt32(textLength), [WireTensor(.prompt, text: prompt)])
        case .step(let latents, let sigma, let guidance, let conditioning):
            var tensors = [
                WireTensor(.tokens, latents.tokens), WireTensor(.positions, latents.positions),
                WireTensor(.scalars, dims: [2], floats: [sigma, guidance]),
            ]
            if let conditioning {
                tensors += [WireTensor(.context, conditioning.context), WireTensor(.pooled, conditioning.pooled)]
            }
            return ticket.message(.step, tensors)
        case .activation(let stream):
            return ticket.message(.activation, stream.wireTensors(wire))
        case .decode(let latent, let final):
            return ticket.message(.decode, argument: final ? 0 : 1, [WireTensor(.latent, latent)])
        }
    }
}

extension Answer {
    /// The message that carries it, to the coordinator or the next span.
    package func message(wire: WireFormat = .f32) -> Message {
        switch outcome {
        case .conditioning(let conditioning):
            ticket.message(
                .conditioning,
                [WireTensor(.context, conditioning.context), WireTensor(.pooled, conditioning.pooled)])
        case .activation(let stream): ticket.message(.activation, stream.wireTensors(wire))
        case .velocity(let velocity): ticket.message(.velocity, [WireTensor(.velocity, velocity)])
        case .planes(let pixels): ticket.message(.pixels, argument: 1, [WireTensor(.planes, pixels.planes)])
        case .picture(let rgb8, let width, let height):
            ticket.message(.pixels, [WireTensor(.rgb, .u8, dims: [height, width, 3], bytes: rgb8)])
        }
    }
}

extension Ticket {
    fileprivate func message(_ kind: MessageKind, argument: UInt32 = 0, _ tensors: [WireTensor]) -> Message {
        Message(
            kind, epoch: key.epoch, image: key.image, isUrgent: isUrgent, branch: key.branch, step: key.step,
            stage: stage,
            argument: argument, tensors: tensors)
    }
}

extension ModelFacts {
    /// Image tokens of the largest picture: one for each 16 x 16 pixels.
    var maxTokens: Int { (maxSide / 16) * (maxSide / 16) }
}
