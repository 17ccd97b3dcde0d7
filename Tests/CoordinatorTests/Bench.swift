import Coordinator
import JobStore
import Plan
import Tensors
import Testing

/// A core with a store, samplers and files that answer at once; workers and clients are played by the test.
final class Bench {
    struct Task: Equatable {
        var input: TaskInput
        var key: TaskKey
        var worker: String
        var isUrgent = false
    }

    var core: CoordinatorCore
    var store = FakeStore()
    var files: [String: [UInt8]] = [:]
    var now: UInt64 = 0
    var control: [(message: ControlMessage, worker: String, boot: UInt64)] = []
    /// Tasks handed out and not answered by the test yet.
    var tasks: [Task] = []
    var replies: [UInt64: ClientReply] = [:]
    var events: [ClusterEvent] = []
    var measurements: [Measurement] = []
    var logged: [String] = []
    var hasStopped = false
    /// Answers that the test holds back, by the kind of effect.
    var holdsStore = false
    var holdsFiles = false
    var held: [Event] = []
    var failsFiles = 0
    /// What the disk of the pictures says then.
    var filesTrouble = WriteFailure("cannot write the picture: No space left", .output)
    /// Folders that take no file, whatever is in `failsFiles`.
    var closedFolders: Set<String> = []
    var refusesWrites = false
    var refusesCheckpoints = false
    /// What the store says then.
    var trouble = StoreError(.database(code: 13, text: "database or disk is full"))
    private var lastNumber: UInt64 = 0
    private var lastJob: UInt64 = 0

    init(_ change: (inout CoordinatorSettings) -> Void = { _ in }) {
        var settings = CoordinatorSettings(outputFolder: "/out", dataEndpoint: "tcp://127.0.0.1:5791")
        change(&settings)
        core = CoordinatorCore(settings: settings)
        handle(.recovered([], pin: nil, epoch: 0))
    }

    func handle(_ event: Event) {
        var pending = [event]
        while !pending.isEmpty {
            let next = pending.removeFirst()
            for effect in core.handle(next, now: now) { pending += perform(effect) }
        }
    }

    private func perform(_ effect: Effect) -> [Event] {
        switch effect {
        case .control(let message, let worker, let boot): control.append((message, worker, boot))
        case .task(let input, let key, let worker, let isUrgent):
            tasks.append(Task(input: input, key: key, worker: worker, isUrgent: isUrgent))
        case .store(let write, let ticket):
            let answer: StoreAnswer =
                refusesWrites
                ? .failed(trouble) : store.perform(write)
            guard ticket != 0 else {
                guard case .failed(let error) = answer, case .checkpoint(let image, _, _) = write else { break }
                return [.checkpointRefused(image, error)]
            }
            if holdsStore {
                held.append(.stored(answer, ticket: ticket))
            } else {
                return [.stored(answer, ticket: ticket)]
            }
        case .read(let query, let ticket): return [.read(store.read(query), ticket: ticket)]
        case .sample(let task, let ticket):
            let result = task.perform { image in
                guard !refusesCheckpoints else { throw trouble }
                return store.jobs[image.job]?.checkpoints[image.index]?.sampler
            }
            return [.sampled(result, ticket: ticket)]
        case .write(let picture, let ticket):
            var answer = Event.wrote(.success(UInt32(picture.rgb8.count)), ticket: ticket)
            if closedFolders.contains(where: { picture.path.hasPrefix($0 + "/") }) {
                answer = .wrote(
                    .failure(WriteFailure("cannot write there: Permission denied", .folder)), ticket: ticket)
            } else if failsFiles > 0 {
                failsFiles -= 1
                answer = .wrote(.failure(filesTrouble), ticket: ticket)
            } else {
                files[picture.path] = picture.rgb8
            }
            if holdsFiles { held.append(answer) } else { return [answer] }
        case .remove(let path): files[path] = nil
        case .reply(let reply, let client): replies[client.number] = reply
        case .publish(let event): events.append(event)
        case .measure(let measurement): measurements.append(measurement)
        case .log(_, let text): logged.append(text)
        case .stopped: hasStopped = true
        }
        return []
    }

    func release() {
        let events = held
        held = []
        for event in events { handle(event) }
    }

    // MARK: Time

    func wait(_ seconds: Double) {
        let end = now + UInt64(seconds * 1e9)
        while now < end {
            now = min(end, now + 200_000_000)
            handle(.tick)
        }
    }

    /// Time passes and these workers go on beating.
    func wait(_ seconds: Double, beating workers: [String]) {
        let end = now + UInt64(seconds * 1e9)
        while now < end {
            now = min(end, now + 500_000_000)
            for worker in workers { beat(worker) }
            handle(.tick)
        }
    }

    // MARK: Workers

    func say(_ message: ControlMessage, _ worker: String, boot: UInt64 = 1) {
        handle(.control(message, from: worker, bootID: boot))
    }

    /// A heartbeat; memory grows, as of one that loads, unless it is given.
    ///
    /// `linkBytes` are all that it has received.
    func beat(
        _ worker: String, boot: UInt64 = 1, image: ImageID? = nil, block: Int? = nil,
        link: Heartbeat.LinkTrouble? = nil, residentBytes: UInt64? = nil,
        linkBytes: UInt64 = 0
    ) {
        let epoch = core.plan?.epoch ?? 0
        var counters = WorkerCounters()
        counters.residentBytes = residentBytes ?? now / 8
        var received = LinkCounters(source: "coordinator", target: worker)
        received.totalBytes = linkBytes
        counters.links = [received]
        say(
            .heartbeat(Heartbeat(epoch: epoch, image: image, block: block, counters: counters, link: link)), worker,
            boot: boot)
    }

    /// Workers join together and load the plan that is made.
    func join(_ hellos: [Hello]) {
        for hello in hellos { say(.hello(hello), hello.name, boot: hello.bootID) }
        wait(0.6)
        load()
    }

    func join(_ names: String...) { join(names.map { FakeModel.hello($0) }) }

    /// Every worker of the plan, or of those named, says that it has loaded, and its link is up with credit for a hundred
    /// steps; where the plan asks for it, it says how fast its link is.
    func load(only names: [String]? = nil, link: LinkSpeed? = nil) {
        guard let plan = core.plan else { return }
        for placement in plan.placements where names?.contains(placement.worker) ?? true {
            let boot = core.bootID(of: placement.worker) ?? 1
            let loaded = Loaded(epoch: plan.epoch, residentBytes: 1, link: plan.measuresLinks == true ? link : nil)
            say(.loaded(loaded), placement.worker, boot: boot)
            handle(.credit(limit: Credit(messages: 100), epoch: plan.epoch, from: placement.worker))
        }
    }

    func output(of task: Task) -> TaskOutput {
        switch task.input {
        case .encode(let prompt, let length): .conditioning(FakeModel.conditioning(prompt, textLength: length))
        case .step(let latents, let sigma, let guidance, _, let conditioning):
            .velocity(
                FakeModel.velocity(
                    latents, sigma: sigma, guidance: guidance,
                    conditioning ?? shown[task.key.image] ?? FakeModel.conditioning("", textLength: 4)))
        case .decode(let latent):
            task.key.need == .edge
                ? .planes(FakeModel.decode(latent))
                : .picture(
                    rgb8: FakeModel.decode(latent).rgb8(), width: latent.shape[2] * 8, height: latent.shape[1] * 8)
        }
    }

    /// Conditioning that was sent along before.
    private var shown: [ImageID: Conditioning] = [:]

    /// The last worker of the pipeline that it was given to, or whoever was asked, answers a task.
    func answer(_ task: Task) {
        if case .step(_, _, _, _, let conditioning?) = task.input { shown[task.key.image] = conditioning }
        tasks.removeAll { $0.key == task.key }
        let pipeline = core.plan?.pipelines.first { $0.first?.worker == task.worker }
        let worker = task.key.need == .step ? pipeline?.last?.worker ?? task.worker : task.worker
        handle(.result(output(of: task), task.key, from: worker))
    }

    /// Answers tasks until there are none, or `stop` says so; `pick` chooses the next one.
    func work(
        _ pick: ([Task]) -> Int = { _ in 0 }, until stop: (Task) -> Bool = { _ in false }
    ) {
        var rounds = 0
        while !tasks.isEmpty, rounds < 100_000 {
            let task = tasks[pick(tasks)]
            if stop(task) { return }
            now += 1_000_000
            answer(task)
            rounds += 1
        }
    }

    // MARK: Clients

    @discardableResult
    func ask(_ request: ClientRequest) -> ClientReply? {
        lastNumber += 1
        lastJob += 1
        handle(
            .client(request, ClientTicket(client: "c", number: lastNumber), fresh: JobID(high: 7, low: lastJob)))
        return replies[lastNumber]
    }

    /// The reply to the last request, which may have come later.
    var reply: ClientReply? { replies[lastNumber] }

    func submit(
        _ images: [ImageRequest], key: String? = nil, folder: String? = nil, priority: Int = 0,
        isInteractive: Bool = false
    ) throws -> JobID {
        let submission = Submission(
            key: key, folder: folder, images: images, priority: priority, isInteractive: isInteractive)
        let reply = ask(.submit(submission))
        guard case .accepted(let id, _) = reply else {
            Issue.record("not accepted: \(String(describing: reply))")
            throw BenchError()
        }
        return id
    }

    func status(_ id: JobID) throws -> JobStatus {
        guard case .job(let status) = ask(.job(id)) else { throw BenchError() }
        return status
    }

    /// Why the last request was refused.
    var failureOfLast: ClientFailure? { if case .failure(let failure) = reply { failure } else { nil } }

    func failure(_ request: ClientRequest) -> ClientFailure? {
        if case .failure(let failure) = ask(request) { failure } else { nil }
    }
}

struct BenchError: Error {}
