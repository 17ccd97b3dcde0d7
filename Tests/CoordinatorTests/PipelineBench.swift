import Coordinator
import DiT
import JobStore
import Plan
import Tensors
import Testing
import Worker

/// The coordinator's core and the cores of workers, over a virtual clock and a network without losses.
///
/// Every worker takes `secondsPerToken` of its clock for each token of a step, whatever its blocks, so that a stage of
/// the pipeline takes equally long at each of them. Equal input gives an equal run.
final class PipelineBench {
    /// One task on one worker as it really was, by the coordinator's clock.
    struct Computed: Equatable {
        var worker: String
        var kind: JobTrace.Entry.Kind
        var image: ImageID
        var step: Int
        var began: UInt64
        var ended: UInt64
    }

    private struct Entry {
        var time: UInt64
        var order: UInt64
        var action: () -> Void
    }

    /// Who computes what, and by which clock.
    private final class Node {
        let name: String
        var core: WorkerCore
        /// Its clock less the coordinator's.
        let skew: UInt64
        /// Time that the side task in hand has to make up for.
        var given: UInt64 = 0

        init(_ name: String, skew: UInt64, blocks: Int) {
            self.name = name
            self.skew = skew
            var hello = FakeModel.hello(name)
            hello.model.blockCount = blocks
            core = WorkerCore(hello: hello, coordinator: "tcp://there:5790")
        }
    }

    private struct Input {
        var latents: Latents
        var sigma: Float
        var guidance: Float
        var conditioning: Conditioning
    }

    var core: CoordinatorCore
    private(set) var now: UInt64 = 0
    private(set) var replies: [UInt64: ClientReply] = [:]
    /// Tasks on workers, in the order in which they ended.
    private(set) var computed: [Computed] = []
    /// Steps that the coordinator handed out: when, and of which picture.
    private(set) var handed: [(time: UInt64, image: ImageID)] = []
    /// When pictures ended.
    private(set) var ended: [ImageID: UInt64] = [:]
    let secondsPerToken: Double
    private var nodes: [String: Node] = [:]
    private var store = FakeStore()
    private var queue: [Entry] = []
    private var order: UInt64 = 0
    private var lastNumber: UInt64 = 0
    private var random = SplitMix(7)
    private var inputs: [ImageID: Input] = [:]
    private var conditionings: [ImageID: Conditioning] = [:]

    /// Starts so many workers and runs until their plan is active; their clocks differ by hours.
    init(
        workers: Int, secondsPerToken: Double = 1.0 / 64, _ change: (inout CoordinatorSettings) -> Void = { _ in }
    ) {
        self.secondsPerToken = secondsPerToken
        var settings = CoordinatorSettings(outputFolder: "/out", dataEndpoint: "tcp://127.0.0.1:5791")
        settings.minimumWorkers = workers
        settings.stuckAfter = 1_000_000_000_000
        change(&settings)
        core = CoordinatorCore(settings: settings)
        handle(.recovered([], pin: nil, epoch: 0))
        for index in 0..<workers {
            let node = Node("w\(index)", skew: UInt64(index) * 3_600_000_000_007, blocks: max(6, workers))
            nodes[node.name] = node
            tell(node, .connection(isUp: true))
            tick(node)
        }
        tick()
        run { self.core.plan?.pipeline.count == workers && self.core.plan?.placements.allSatisfy(self.isReady) == true }
    }

    private func isReady(_ share: Placement) -> Bool {
        if case .ready = nodes[share.worker]?.core.life { true } else { false }
    }

    // MARK: Time

    /// Plays on until a condition holds, for at most an hour; whether it came to hold.
    @discardableResult
    func run(until isOver: () -> Bool) -> Bool {
        let end = now + 3_600_000_000_000
        while !isOver() {
            guard let next = queue.popLast(), next.time < end else { return false }
            now = next.time
            next.action()
        }
        return true
    }

    func run(seconds: Double) {
        let end = now + UInt64(seconds * 1e9)
        while let next = queue.last, next.time <= end {
            queue.removeLast()
            now = next.time
            next.action()
        }
        now = end
    }

    private func after(_ delay: UInt64, _ action: @escaping () -> Void) {
        order += 1
        let entry = Entry(time: now + delay, order: order, action: action)
        var (low, high) = (0, queue.count)
        while low < high {
            let middle = (low + high) / 2
            if (queue[middle].time, queue[middle].order) > (entry.time, entry.order) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        queue.insert(entry, at: low)
    }

    /// A message under way.
    ///
    /// It takes 0.2 to 1.2 ms; those of one link may not overtake each other, so all take their turn.
    private func send(_ action: @escaping () -> Void) {
        lastArrival = max(lastArrival + 1, now + 200_000 + random.next() % 1_000_000)
        after(lastArrival - now, action)
    }
    private var lastArrival: UInt64 = 0

    private func tick() {
        handle(.tick)
        after(200_000_000) { [unowned self] in tick() }
    }

    private func tick(_ node: Node) {
        tell(node, .tick(Vitals()))
        after(100_000_000) { [unowned self] in tick(node) }
    }

    // MARK: Clients

    func ask(_ request: ClientRequest) -> UInt64 {
        lastNumber += 1
        let ticket = ClientTicket(client: "c", number: lastNumber)
        handle(.client(request, ticket, fresh: JobID(high: 9, low: lastNumber)))
        return lastNumber
    }

    func submit(_ images: [ImageRequest], priority: Int = 0, isInteractive: Bool = false) throws -> JobID {
        let number = ask(.submit(Submission(images: images, priority: priority, isInteractive: isInteractive)))
        guard case .accepted(let id, _) = replies[number] else { throw BenchError() }
        return id
    }

    /// Asks and plays on until the answer is there.
    func answer(_ request: ClientRequest) -> ClientReply? {
        let number = ask(request)
        run { replies[number] != nil }
        return replies[number]
    }

    /// Tasks that workers had and forgot, because nobody wanted their pictures any more.
    var forgotten: Int { nodes.values.reduce(0) { $0 + $1.core.drops.forgotten } }

    /// Pictures of a job that have ended.
    func done(_ job: JobID) -> Int { ended.keys.count { $0.job == job } }

    // MARK: The coordinator

    private func handle(_ event: Coordinator.Event) {
        var pending = [event]
        while !pending.isEmpty {
            for effect in core.handle(pending.removeFirst(), now: now) { pending += perform(effect) }
        }
    }

    private func perform(_ effect: Coordinator.Effect) -> [Coordinator.Event] {
        switch effect {
        case .control(let message, let worker, _):
            if let node = nodes[worker] { send { [unowned self] in tell(node, .control(message)) } }
        case .task(let input, let key, let worker, let isUrgent): give(input, key, worker, isUrgent: isUrgent)
        case .store(let write, let ticket):
            if case .finish(let image, _, _, _) = write { ended[image] = now }
            let answer = store.perform(write)
            if ticket != 0 { return [.stored(answer, ticket: ticket)] }
        case .read(let query, let ticket): return [.read(store.read(query), ticket: ticket)]
        case .sample(let task, let ticket): return [.sampled(task.perform { _ in nil }, ticket: ticket)]
        case .write(let picture, let ticket): return [.wrote(.success(UInt32(picture.rgb8.count)), ticket: ticket)]
        case .reply(let reply, let client): replies[client.number] = reply
        case .remove, .publish, .measure, .log, .stopped: break
        }
        return []
    }

    private func give(_ input: TaskInput, _ key: Coordinator.TaskKey, _ worker: String, isUrgent: Bool) {
        guard let node = nodes[worker] else { return }
        var item: WorkItem
        func named(_ kind: Worker.TaskKey.Kind) -> Worker.TaskKey {
            Worker.TaskKey(kind: kind, image: key.image, step: UInt16(key.step), epoch: key.epoch)
        }
        switch input {
        case .encode(let prompt, let length):
            item = WorkItem(key: named(.encode), work: .encode(prompt: prompt, textLength: length))
        case .step(let latents, let sigma, let guidance, let stage, let conditioning):
            handed.append((now, key.image))
            if let conditioning { conditionings[key.image] = conditioning }
            inputs[key.image] = conditionings[key.image].map {
                Input(latents: latents, sigma: sigma, guidance: guidance, conditioning: $0)
            }
            item = WorkItem(
                key: named(.step), stage: UInt8(stage),
                work: .step(latents, sigma: sigma, guidance: guidance, conditioning))
        case .decode(let latent):
            item = WorkItem(key: named(.decode), work: .decode(latent, final: key.need == .picture))
        }
        item.isUrgent = isUrgent
        send { [unowned self, item] in tell(node, .task(item, from: .coordinator)) }
    }

    // MARK: Workers

    private func tell(_ node: Node, _ event: Worker.Event) {
        for effect in node.core.handle(event, now: now + node.skew) { perform(effect, node) }
    }

    private func perform(_ effect: Worker.Effect, _ node: Node) {
        switch effect {
        case .control(let message):
            send { [unowned self] in handle(.control(message, from: node.name, bootID: 1)) }
        case .credit(let peer, let epoch, let limit):
            send { [unowned self] in
                switch peer {
                case .coordinator: handle(.credit(limit: limit, epoch: epoch, from: node.name))
                case .upstream(let name):
                    nodes[name].map { tell($0, .credit(from: .downstream(node.name), epoch: epoch, limit: limit)) }
                case .downstream(let name):
                    nodes[name].map { tell($0, .credit(from: .upstream(node.name), epoch: epoch, limit: limit)) }
                }
            }
        case .answer(let answer, let peer): send { [unowned self] in take(answer, from: node, to: peer) }
        case .load(let share): after(1_000_000) { [unowned self] in tell(node, .loaded(share, .success(1))) }
        case .compute(let item): compute(item, node)
        case .reconnect, .openData, .admit, .openDownstream, .closeDownstream, .probe, .echo, .drop, .abandon, .log,
            .exit:
            break
        }
    }

    private func compute(_ item: WorkItem, _ node: Node) {
        let isLast = core.plan?.pipeline.last?.worker == node.name
        let stage = { (tokens: Int) in UInt64(Double(tokens) * self.secondsPerToken * 1e9) }
        let outcome: Outcome
        let time: UInt64
        let kind: JobTrace.Entry.Kind
        switch item.work {
        case .encode(let prompt, let length):
            outcome = .conditioning(FakeModel.conditioning(prompt, textLength: length))
            time = stage(4)
            kind = .encode
        case .step, .activation:
            let tokens = item.ticket.tokens
            time = stage(tokens)
            kind = .step
            func zeros(_ shape: Int...) -> Tensor { Tensor(repeating: 0, shape: shape) }
            outcome = .activation(
                Stream(text: zeros(1, 1), image: zeros(tokens, 1), vector: zeros(1), positions: zeros(tokens, 3)))
        case .decode(let latent, let final):
            let pixels = FakeModel.decode(latent)
            outcome =
                final
                ? .picture(rgb8: pixels.rgb8(), width: pixels.width, height: pixels.height) : .planes(pixels)
            time = stage(16)
            kind = final ? .picture : .edge
        }
        let began = now
        let givesWay = !item.key.isStep && !item.isUrgent
        if !givesWay {
            // Before the side task in hand, if there is one, which ends so much later.
            node.given += time
        } else {
            node.given = 0
        }
        func end(after duration: UInt64, given: UInt64) {
            after(duration) { [unowned self] in
                let more = givesWay ? node.given : 0
                guard more == 0 else {
                    node.given = 0
                    return end(after: more, given: given + more)
                }
                computed.append(
                    Computed(
                        worker: node.name, kind: kind, image: item.key.image, step: Int(item.key.step),
                        began: began, ended: now))
                var outcome = outcome
                if item.key.isStep, isLast, let input = inputs[item.key.image] {
                    outcome = .velocity(
                        FakeModel.velocity(
                            input.latents, sigma: input.sigma, guidance: input.guidance, input.conditioning))
                }
                tell(node, .computed(item.key, .success(outcome), elapsed: time, given: given))
            }
        }
        end(after: time, given: 0)
    }

    private func take(_ answer: Answer, from node: Node, to peer: Peer) {
        let key = answer.ticket.key
        func result(_ need: Need, _ output: TaskOutput) {
            let named = Coordinator.TaskKey(need: need, image: key.image, step: Int(key.step), epoch: key.epoch)
            handle(.result(output, named, from: node.name))
        }
        switch answer.outcome {
        case .conditioning(let conditioning): result(.encode, .conditioning(conditioning))
        case .velocity(let velocity): result(.step, .velocity(velocity))
        case .planes(let pixels): result(.edge, .planes(pixels))
        case .picture(let rgb8, let width, let height):
            result(.picture, .picture(rgb8: rgb8, width: width, height: height))
        case .activation(let stream):
            guard case .downstream(let name) = peer, let next = nodes[name] else { return }
            let item = WorkItem(
                key: Worker.TaskKey(kind: .activation, image: key.image, step: key.step, epoch: key.epoch),
                stage: answer.ticket.stage, work: .activation(stream))
            tell(next, .task(item, from: .upstream(node.name)))
        }
    }
}
