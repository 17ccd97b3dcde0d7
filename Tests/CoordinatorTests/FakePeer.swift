import Coordinator
import Plan
import Tensors
import Wire

/// A worker over real sockets, with the fake model behind it.
actor FakePeer {
    private nonisolated let loop: PollLoop
    private let name: String
    private let boot: UInt64
    private let coordinator: ServiceEndpoints
    private var control: DealerSocket?
    private var data: DealerSocket?
    private var isWelcome = false
    private var epoch: Epoch = 0
    private var conditioning: [ImageID: Conditioning] = [:]
    private var steps: UInt32 = 0
    /// Tasks answered.
    private(set) var answered = 0
    /// Refusals heard.
    private(set) var refusals: [Refusal] = []

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(_ name: String, boot: UInt64, _ coordinator: ServiceEndpoints) throws {
        loop = try PollLoop(name: name)
        self.name = name
        self.boot = boot
        self.coordinator = coordinator
    }

    func start(fingerprint: String = "f00d") throws {
        var options = SocketOptions.control(name: name, bootID: boot)
        options.routingID = RoutingID(name: name, bootID: boot).description
        let control = try DealerSocket(loop, options, to: coordinator.control)
        self.control = control
        control.onMessage = { [weak self] message, _ in self?.assumeIsolated { $0.hear(message) } }
        let hello = FakeModel.hello(name, boot: boot, fingerprint: fingerprint)
        loop.schedule(after: .zero, every: .milliseconds(300)) { [weak self] in
            self?.assumeIsolated { $0.beat(hello) }
        }
    }

    nonisolated func stop() async {
        await close()
        await loop.stop()
    }

    private func close() {
        control?.close()
        data?.close()
        control = nil
        data = nil
    }

    private func beat(_ hello: Hello) {
        let heartbeat = Heartbeat(epoch: epoch, image: nil, block: nil, counters: WorkerCounters())
        say(isWelcome ? .heartbeat(heartbeat) : .hello(hello))
    }

    private func say(_ message: ControlMessage) { try? control?.send(Message(message)) }

    private func hear(_ message: Message) {
        switch try? message.control(from: "coordinator") {
        case .welcome(let welcome):
            isWelcome = true
            guard data == nil, let endpoint = try? Endpoint(welcome.dataEndpoint) else { return }
            var options = SocketOptions(name: name, bootID: boot, limit: { _, _ in 1 << 20 })
            options.routingID = RoutingID(name: name, bootID: boot).description
            data = try? DealerSocket(loop, options, to: endpoint)
            data?.onMessage = { [weak self] message, _ in self?.assumeIsolated { $0.work(message) } }
        case .assign(let plan):
            epoch = plan.epoch
            steps = 2
            say(.loaded(Loaded(epoch: epoch, residentBytes: 1)))
            try? data?.send(.credit(limit: Credit(messages: steps), epoch: epoch))
        case .refuse(let refusal): refusals.append(refusal)
        case .introduce: isWelcome = false
        default: break
        }
    }

    private func work(_ task: Message) {
        guard let image = task.image, task.epoch == epoch else { return }
        var answer = task
        answer.tensors = []
        switch task.kind {
        case .encode:
            let known = FakeModel.conditioning(task[.prompt]?.text ?? "", textLength: Int(task.argument))
            answer.kind = .conditioning
            answer.tensors = [WireTensor(.context, known.context), WireTensor(.pooled, known.pooled)]
        case .step:
            if let context = task[.context], let pooled = task[.pooled] {
                conditioning[image] = Conditioning(context: Tensor(context), pooled: Tensor(pooled))
            }
            guard let known = conditioning[image], let tokens = task[.tokens], let positions = task[.positions],
                let scalars = task[.scalars]?.floats
            else { return }
            let velocity = FakeModel.velocity(
                Latents(tokens: Tensor(tokens), positions: Tensor(positions)), sigma: scalars[0],
                guidance: scalars[1], known)
            answer.kind = .velocity
            answer.tensors = [WireTensor(.velocity, velocity)]
            steps += 1
            try? data?.send(.credit(limit: Credit(messages: steps), epoch: epoch))
        case .decode:
            guard let latent = task[.latent] else { return }
            let pixels = FakeModel.decode(Tensor(latent))
            answer.kind = .pixels
            answer.tensors = [
                task.argument == 1
                    ? WireTensor(.planes, pixels.planes)
                    : WireTensor(.rgb, .u8, dims: [pixels.height, pixels.width, 3], bytes: pixels.rgb8())
            ]
        default: return
        }
        answered += 1
        try? data?.send(answer)
    }
}
