import DiT
import Plan
import Tensors
import Testing
import Wire

@testable import Worker

@Suite("Tasks on the wire")
struct MessageTests {
    private let reader = MessageReader(facts: CoreHarness.facts)

    @Test(
        "every task is the same after a journey",
        arguments: [step(0), step(1, conditioning: nil), encode(2), decode(3), decode(4, isUrgent: true)])
    func roundTrip(_ item: WorkItem) throws {
        #expect(try reader.task(item.message(), from: "coordinator") == item)
    }

    @Test("hidden states keep every bit, those of NaN and -0 too, and their key")
    func activationRoundTrip() throws {
        var sent = stream(0.1)
        sent.image[0] = -0.0
        sent.image[1] = Float(bitPattern: 0x7fc0_1234)
        var item = activation(3, 17, epoch: 9)
        item.stage = 2
        item.work = .activation(sent)
        let message = Answer(ticket: item.ticket, outcome: .activation(sent)).message()
        let received = try reader.task(message, from: "node1")
        #expect(received.key == item.key && received.stage == 2)
        guard case .activation(let stream) = received.work else { throw Unexpected() }
        #expect(stream.image == sent.image && stream.text == sent.text)
    }

    @Test(
        "hidden states in a short format have their size and stay close; in another format than the plan's they are refused",
        arguments: [WireFormat.bf16, .int8])
    func shortFormats(_ format: WireFormat) throws {
        let sent = stream(0.37)
        var item = activation(3, 17, epoch: 9)
        item.work = .activation(sent)
        let message = Answer(ticket: item.ticket, outcome: .activation(sent)).message(wire: format)
        let rows = sent.text.shape[0] + sent.image.shape[0]
        #expect(message.activationBytes == rows * format.rowBytes(CoreHarness.facts.width))
        guard case .activation(let received) = try reader.task(message, from: "node1", wire: format).work else {
            throw Unexpected()
        }
        #expect(received.vector == sent.vector && received.positions == sent.positions)
        for (value, other) in zip(sent.image.values + sent.text.values, received.image.values + received.text.values) {
            #expect(abs(value - other) <= abs(value) / 250)
        }
        for other in WireFormat.allCases where other != format {
            #expect(throws: FrameError.self) { try reader.task(message, from: "node1", wire: other) }
        }
        if format == .int8 {
            let bare = changing(message, .imageScales, to: nil)
            #expect(throws: FrameError.self) { try reader.task(bare, from: "node1", wire: format) }
            let short = changing(message, .textScales, to: floats(.textScales, [1, 1]))
            #expect(throws: FrameError.self) { try reader.task(short, from: "node1", wire: format) }
        }
    }

    @Test("an answer names its picture, branch, step and epoch")
    func answerNames() {
        var item = step(4, 6, epoch: 2)
        item.key.branch = 1
        item.stage = 1
        let velocity = Tensor(repeating: 3, shape: [3, 64])
        let message = Answer(ticket: item.ticket, outcome: .velocity(velocity)).message()
        #expect(message.kind == .velocity && message.image == image(4) && message.branch == 1)
        #expect(message.step == 6 && message.epoch == 2 && message.stage == 1)
        #expect(message[.velocity]?.dims == [3, 64])
        let picture = Answer(ticket: item.ticket, outcome: .picture(rgb8: [1, 2, 3, 4, 5, 6], width: 2, height: 1))
            .message()
        #expect(picture[.rgb]?.dims == [1, 2, 3] && picture[.rgb]?.type == .u8)
    }

    /// Changes one tensor of a message; nil takes it out.
    private func changing(_ message: Message, _ name: TensorName, to tensor: WireTensor?) -> Message {
        var message = message
        message.tensors = message.tensors.compactMap { $0.name == name ? tensor : $0 }
        return message
    }

    private func floats(_ name: TensorName, _ dims: [Int]) -> WireTensor {
        WireTensor(name, dims: dims, floats: Array(repeating: 0, count: dims.reduce(1, *)))
    }

    @Test("a message that does not fit the model is an error with the tensor's name, never a trap")
    func refusesMisfits() {
        let (stepped, passed, decoded) = (step(0).message(), activation(0).message(), decode(0).message())
        var noImage = stepped
        noImage.image = nil
        var noText = encode(0).message()
        noText.tensors = [WireTensor(.prompt, .u8, dims: [2], bytes: [0xff, 0xfe])]
        var long = encode(0).message()
        long.argument = 9
        var mode = decoded
        mode.argument = 2
        let bad: [(Message, String)] = [
            (changing(stepped, .tokens, to: floats(.tokens, [3, 63])), "tokens"),
            (changing(stepped, .tokens, to: floats(.tokens, [3, 64, 1])), "tokens"),
            (changing(stepped, .tokens, to: floats(.tokens, [0, 64])), "tokens"),
            (changing(stepped, .tokens, to: floats(.tokens, [17, 64])), "tokens"),
            (
                changing(
                    stepped, .tokens,
                    to: WireTensor(.tokens, .u8, dims: [3, 64], bytes: .init(repeating: 0, count: 192))), "tokens"
            ),
            (changing(stepped, .tokens, to: nil), "tokens"),
            (changing(stepped, .positions, to: floats(.positions, [2, 3])), "positions"),
            (changing(stepped, .scalars, to: floats(.scalars, [3])), "scalars"),
            (changing(stepped, .context, to: floats(.context, [2, 4])), "context"),
            (changing(stepped, .context, to: floats(.context, [9, 3])), "context"),
            (changing(stepped, .pooled, to: nil), "pooled"),
            (changing(passed, .image, to: floats(.image, [3, 5])), "image"),
            (changing(passed, .image, to: floats(.image, [17, 4])), "image"),
            (changing(passed, .text, to: floats(.text, [2, 3])), "text"),
            (changing(passed, .text, to: floats(.text, [9, 4])), "text"),
            (changing(passed, .vector, to: floats(.vector, [3])), "vector"),
            (changing(passed, .positions, to: floats(.positions, [4, 3])), "positions"),
            (changing(decoded, .latent, to: floats(.latent, [15, 4, 4])), "latent"),
            (changing(decoded, .latent, to: floats(.latent, [16, 0, 4])), "latent"),
            (changing(decoded, .latent, to: floats(.latent, [16, 4, 9])), "latent"),
            (noImage, "image"), (noText, "prompt"), (long, "text length"), (mode, "argument"),
            (Message(.velocity, image: image(0), tensors: [floats(.velocity, [1, 64])]), "velocity"),
        ]
        for (message, name) in bad {
            do {
                let item = try reader.task(message, from: "node1")
                Issue.record("accepted \(item.key) with a bad \(name)")
            } catch {
                #expect(error.description.contains("node1") && error.description.contains(name), "\(error)")
            }
        }
    }

    @Test("a share accepts only what it has use for, and the limit is what the largest picture needs")
    func limits() throws {
        let limits = MessageLimits(facts: CoreHarness.facts)
        let plan = CoreHarness.plan(1)
        let first = Assignment(plan, worker: "node1")
        let last = Assignment(plan, worker: "node3")
        #expect(limits.bytes(.step, under: first) == (16 * 67 + 2 + 8 * 3 + 2) * 4)
        #expect(limits.bytes(.activation, under: last) == ((16 + 8 + 1) * 4 + 16 * 3) * 4)
        #expect(limits.bytes(.decode, under: last) == 16 * 8 * 8 * 4)
        #expect(limits.bytes(.credit, under: nil) == 8)
        for (kind, assignment) in [
            (.activation, first), (.decode, first), (.step, last), (.encode, last), (.velocity, last), (.step, nil),
        ] as [(MessageKind, Assignment?)] {
            #expect(limits.bytes(kind, under: assignment) == nil, "\(kind)")
        }
        #expect(step(0).message().payloadBytes <= (limits.bytes(.step, under: first) ?? 0))
    }

    @Test("what credits count is what the message carries, in each format", arguments: WireFormat.allCases)
    func hiddenBytes(format: WireFormat) throws {
        let message = activation(0).message(wire: format)
        #expect(stream().hiddenBytes(format) == message.activationBytes && message.activationBytes > 0)
        var plan = CoreHarness.plan(1)
        plan.wire = format
        let limits = MessageLimits(facts: CoreHarness.facts)
        let most = limits.bytes(.activation, under: Assignment(plan, worker: "node3"))
        #expect(limits.waitingBytes >= CreditGrant.slots * (most ?? .max))
        let largest = Stream(
            text: Tensor(repeating: 1, shape: [8, 4]), image: Tensor(repeating: 1, shape: [16, 4]),
            vector: Tensor(repeating: 1, shape: [4]), positions: Tensor(repeating: 0, shape: [16, 3]))
        #expect(most == WorkItem(key: activation(0).key, work: .activation(largest)).message(wire: format).payloadBytes)
        let credit = Message.credit(limit: Credit(messages: 7, bytes: 1 << 40), epoch: 3)
        #expect(try credit.credit(from: "a") == Credit(messages: 7, bytes: 1 << 40) && credit.epoch == 3)
        #expect(throws: FrameError.self) { try Message(.credit, epoch: 3, argument: 7).credit(from: "a") }
        #expect(throws: FrameError.self) { try message.credit(from: "a") }
    }

    @Test("a worker's neighbours are those of its own replica")
    func neighbours() {
        var plan = CoreHarness.plan(1, spans: [0..<2, 2..<5, 0..<3, 3..<5])
        for place in 0..<4 { plan.placements[place].replica = place / 2 }
        #expect(plan.trouble(blockCount: 5) == nil)
        let names = plan.placements.map(\.worker)
        let shares = names.map { Assignment(plan, worker: $0) }
        #expect(shares.map { $0?.upstream?.worker } == [nil, names[0], nil, names[2]])
        #expect(shares.map { $0?.downstream?.worker } == [names[1], nil, names[3], nil])
        #expect(shares.map { $0?.isFirst } == [true, false, true, false])
    }
}

private struct Unexpected: Error {}
