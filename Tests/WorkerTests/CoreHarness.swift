import DiT
import Plan
import Stages
import Tensors
import Worker

/// A core under a virtual clock, with everything that its neighbours would do at hand.
struct CoreHarness {
    var core: WorkerCore
    var now: Nanoseconds = 0
    /// Effects of the last event.
    private(set) var effects: [Effect] = []

    static let facts = ModelFacts(
        name: "tiny", family: "FluxPipeline", fingerprint: "f", blockCount: 5, width: 4, contextWidth: 3,
        pooledWidth: 2,
        maxTextLength: 8, takesGuidance: true, scalingFactor: 1, shiftFactor: 0, schedule: ScheduleFacts(), maxSide: 64)

    init(_ name: String = "node1", limits: WorkerCore.Limits = .init()) {
        let hello = Hello(
            name: name, bootID: 7, build: "test", model: Self.facts, dataEndpoint: "tcp://here:1",
            threads: 1, memoryCap: 0, kernelClass: "test", roles: Set(Role.allCases))
        core = WorkerCore(hello: hello, coordinator: "tcp://there:5790", limits: limits)
    }

    @discardableResult
    mutating func send(_ event: Event) -> [Effect] {
        effects = core.handle(event, now: now)
        return effects
    }

    @discardableResult
    mutating func tick(after seconds: Double = 0) -> [Effect] {
        now += Nanoseconds(seconds * 1e9)
        return send(.tick(Vitals()))
    }

    /// Says hello and is welcome.
    mutating func join() {
        send(.connection(isUp: true))
        tick()
        send(
            .control(
                .welcome(Welcome(heartbeatMilliseconds: 1000, dataEndpoint: "tcp://there:5791"))))
    }

    /// Three workers with blocks 0..<2, 2..<4 and 4..<5.
    static func plan(_ epoch: Epoch, spans: [Range<Int>] = [0..<2, 2..<4, 4..<5]) -> ClusterPlan {
        let placements = spans.enumerated().map { place, span in
            Placement(
                worker: "node\(place + 1)", span: span, encodes: place == 0, decodes: place == spans.count - 1,
                endpoint: "tcp://node\(place + 1):1")
        }
        return ClusterPlan(epoch: epoch, placements: placements, blockCount: 5)
    }

    /// Joins, is assigned its part of `plan` and has loaded it.
    mutating func start(_ plan: ClusterPlan) {
        join()
        assign(plan)
    }

    mutating func assign(_ plan: ClusterPlan) {
        for case .load(let share) in send(.control(.assign(plan))) { send(.loaded(share, .success(1000))) }
    }

    /// What the core has granted its upstream in the effects of the last event.
    var limit: Credit? {
        for case .credit(let peer, _, let limit) in effects {
            if case .downstream = peer { continue }
            if limit.messages > 0 { return limit }
        }
        return nil
    }

    /// The same in messages.
    var grant: UInt32? { limit?.messages }
}

extension [Effect] {
    var logged: [String] { compactMap { if case .log(_, let text) = $0 { text } else { nil } } }
    var controls: [ControlMessage] { compactMap { if case .control(let message) = $0 { message } else { nil } } }
    var computed: [TaskKey] { compactMap { if case .compute(let item) = $0 { item.key } else { nil } } }
    var abandoned: [TaskKey] { compactMap { if case .abandon(let key) = $0 { key } else { nil } } }
    var faults: [Fault] { controls.compactMap { if case .fault(let fault) = $0 { fault } else { nil } } }
    var answers: [(Answer, Peer)] {
        compactMap { if case .answer(let answer, let peer) = $0 { (answer, peer) } else { nil } }
    }
    var loads: [Share] { compactMap { if case .load(let share) = $0 { share } else { nil } } }
    var ending: WorkerCore.Ending? { compactMap { if case .exit(let ending) = $0 { ending } else { nil } }.first }
}

func image(_ index: UInt32) -> ImageID { ImageID(job: JobID(high: 1, low: 2), index: index) }

func stream(_ value: Float = 0) -> Stream {
    Stream(
        text: Tensor(repeating: value, shape: [2, 4]), image: Tensor(repeating: value, shape: [3, 4]),
        vector: Tensor(repeating: value, shape: [4]), positions: Tensor(repeating: 0, shape: [3, 3]))
}

func conditioning(_ value: Float = 0) -> Conditioning {
    Conditioning(context: Tensor(repeating: value, shape: [2, 3]), pooled: Tensor(repeating: value, shape: [2]))
}

func step(
    _ index: UInt32, _ step: UInt16 = 0, epoch: Epoch = 1, conditioning: Conditioning? = conditioning()
) -> WorkItem {
    let latents = Latents(
        tokens: Tensor(repeating: 1, shape: [3, 64]), positions: Tensor(repeating: 0, shape: [3, 3]))
    return WorkItem(
        key: TaskKey(kind: .step, image: image(index), step: step, epoch: epoch),
        work: .step(latents, sigma: 1, guidance: 3.5, conditioning))
}

func activation(_ index: UInt32, _ step: UInt16 = 0, epoch: Epoch = 1) -> WorkItem {
    WorkItem(
        key: TaskKey(kind: .activation, image: image(index), step: step, epoch: epoch), work: .activation(stream()))
}

func encode(_ index: UInt32, epoch: Epoch = 1, isUrgent: Bool = false) -> WorkItem {
    WorkItem(
        key: TaskKey(kind: .encode, image: image(index), step: 0, epoch: epoch), isUrgent: isUrgent,
        work: .encode(prompt: "a fox", textLength: 8))
}

func decode(_ index: UInt32, epoch: Epoch = 1, isUrgent: Bool = false) -> WorkItem {
    WorkItem(
        key: TaskKey(kind: .decode, image: image(index), step: 9, epoch: epoch), isUrgent: isUrgent,
        work: .decode(Tensor(repeating: 0, shape: [16, 4, 4]), final: true))
}
