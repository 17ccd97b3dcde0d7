@testable import Coordinator
import JobStore
import Plan
import Tensors

/// A whole cluster in one thread, over a virtual clock.
///
/// The core, workers, clients, store and disk, with delays, losses and crashes from one seed. The same seed always gives
/// the same run.
final class Simulation {
    struct Broken: Error, CustomStringConvertible {
        var description: String
    }

    private struct Entry {
        var time: UInt64
        var order: UInt64
        var action: () throws -> Void
    }

    private final class FakeWorker {
        let name: String
        let boot: UInt64
        var isAlive = true
        /// Does not compute or beat, like a stopped process.
        var isFrozen = false
        var plan: ClusterPlan?
        var isReady = false
        var isWelcome = false
        var grant = CreditGrant()
        var occupied: UInt32 = 0
        var busyUntil: UInt64 = 0
        var conditioning: [ImageID: Conditioning] = [:]

        init(name: String, boot: UInt64) {
            self.name = name
            self.boot = boot
        }
    }

    /// What clients know.
    private struct Record {
        var requests: [ImageRequest]
        var isCancelAsked = false
        var isCancelAcknowledged = false
        var wasRetried = false
        /// Pictures that were not done when a cancellation was acknowledged.
        var mustStayCancelled: Set<UInt32> = []
    }

    /// Begins the prompt of a picture that kills every worker which computes its second step.
    static let poison = "poison"

    private let seed: UInt64
    private let hasPoison: Bool
    private var random: SplitMix
    private var now: UInt64 = 0
    private var order: UInt64 = 0
    private var queue: [Entry] = []

    private var core: CoordinatorCore
    /// Rises with each crash of the coordinator; what was under way for the one before is lost.
    private var life = 0
    private var store = FakeStore()
    /// Writes asked for, not yet durable: a crash loses them.
    private var files: [String: [UInt8]] = [:]
    private var storeFree: UInt64 = 0
    private var filesFree: UInt64 = 0
    private var samplersFree: UInt64 = 0
    private var workers: [String: FakeWorker] = [:]
    private var lastBoot: UInt64 = 0
    private var lastJob: UInt64 = 0
    private var lastNumber: UInt64 = 0
    private var asked: [UInt64: (ClientReply) throws -> Void] = [:]
    private var records: [JobID: Record] = [:]
    private var epochs: Epoch = 0
    private var durableSteps: [ImageID: Int] = [:]
    private var trouble: UInt64
    private var log: [String] = []

    private(set) var crashes = 0
    private(set) var losses = 0
    /// Pictures that were set aside for killing workers.
    private(set) var setAside = 0

    /// With `hasPoison` there is a picture that kills workers, and no other trouble.
    init(seed: UInt64, hasPoison: Bool = false) {
        self.seed = seed
        self.hasPoison = hasPoison
        random = SplitMix(seed)
        trouble = 6_000_000_000
        core = Simulation.freshCore(seed, hasPoison, store)
    }

    private static func freshCore(_ seed: UInt64, _ hasPoison: Bool, _ store: FakeStore) -> CoordinatorCore {
        var settings = CoordinatorSettings(outputFolder: "/out")
        if !hasPoison { settings.deathsToSetAside = 1000 }
        settings.tries = 1000
        var draw = SplitMix(~seed)
        settings.replicas = [1, 1, 2, 3, 4].map(ReplicaRule.count)[Int(draw.next() % 5)]
        settings.resendAfter = 8_000_000_000
        if choosesWire(seed) { settings.wire = .auto }
        // As the service does.
        if store.unfinished.contains(where: { !$0.checkpoints.isEmpty }) {
            settings.begunWire = store.facts[CoordinatorCore.wireFact].flatMap { WireFormat(rawValue: $0) } ?? .f32
        }
        return CoordinatorCore(settings: settings)
    }

    /// Whether the coordinator chooses how hidden states travel, by links of speeds that the seed draws.
    private static func choosesWire(_ seed: UInt64) -> Bool { seed % 3 == 1 }

    /// Formats of the plans under which the steps of a picture were sent, since its first step.
    private var formats: [ImageID: Set<WireFormat>] = [:]
    /// Formats of pictures that were written.
    private(set) var formatsWritten: Set<WireFormat> = []

    // MARK: The run

    /// Runs until every job is final or the virtual time is up.
    func run() throws {
        try handle(.recovered([], pin: nil, epoch: 0))
        for name in ["a", "b", "c"].prefix(1 + Int(random.next() % 3)) { start(name, after: delay(200)) }
        for _ in 0..<(1 + random.next() % 3) { submitSoon() }
        tickSoon(life)
        if !hasPoison { for _ in 0..<(random.next() % 6) { troubleSoon() } }
        while let next = pop() {
            now = next.time
            try next.action()
            if now > trouble && records.count > 0 && asked.isEmpty && isOver { break }
            guard now < 900_000_000_000 else { throw Broken(description: "not over after 15 minutes: \(summary)") }
        }
        try check()
    }

    private var isOver: Bool {
        records.keys.allSatisfy { store.jobs[$0]?.status.isFinal == true }
    }

    private var summary: String {
        let states = records.keys.sorted().map { "\($0): \(store.jobs[$0]?.status.images ?? [])" }
        return "seed \(seed), \(states), log: \(log.suffix(30).joined(separator: " | "))"
    }

    private func check() throws {
        for (id, record) in records {
            guard let job = store.jobs[id] else { throw Broken(description: "acknowledged job \(id) is gone") }
            for (index, state) in job.status.images.enumerated() {
                let image = ImageID(job: id, index: UInt32(index))
                switch state {
                case .done(let path, _):
                    guard files[path] == (try FakeModel.render(record.requests[index])) else {
                        throw Broken(description: "\(image) is done with other pixels at \(path): \(summary)")
                    }
                    if record.mustStayCancelled.contains(UInt32(index)) && !record.wasRetried {
                        throw Broken(description: "\(image) is done after its cancellation: \(summary)")
                    }
                case .cancelled where record.isCancelAsked: break
                case .failed(let text) where record.requests[index].prompt.hasPrefix(Self.poison):
                    guard text.contains("set aside"), text.ranges(of: "was lost at step 2").count >= 2
                    else { throw Broken(description: "no evidence of two losses: \(text)") }
                    setAside += 1
                default: throw Broken(description: "\(image) ended as \(state): \(summary)")
                }
            }
        }
    }

    // MARK: Time

    private func after(_ delay: UInt64, _ action: @escaping () throws -> Void) {
        order += 1
        let entry = Entry(time: now + delay, order: order, action: action)
        // A binary search keeps the queue sorted, last first.
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

    private func pop() -> Entry? { queue.popLast() }

    /// Up to so many milliseconds.
    private func delay(_ milliseconds: UInt64) -> UInt64 { random.next() % (milliseconds * 1_000_000) + 1000 }

    private func tickSoon(_ life: Int) {
        after(200_000_000) { [self] in
            guard life == self.life else { return }
            try handle(.tick)
            tickSoon(life)
        }
    }

    // MARK: The coordinator

    private func handle(_ event: Event) throws {
        let life = life
        for effect in core.handle(event, now: now) { try perform(effect, life) }
    }

    private func later(_ delay: UInt64, _ life: Int, _ event: @escaping () -> Event?) {
        after(delay) { [self] in
            if life == self.life, let event = event() { try handle(event) }
        }
    }

    private func perform(_ effect: Effect, _ life: Int) throws {
        switch effect {
        case .control(let message, let worker, let boot): try tell(message, worker, boot)
        case .task(let input, let key, let worker, _): give(input, key, worker)
        case .store(let write, let ticket):
            storeFree = max(storeFree, now) + delay(15)
            after(storeFree - now) { [self] in
                guard life == self.life else { return }
                try note(write)
                let answer = store.perform(write)
                if ticket != 0 { try handle(.stored(answer, ticket: ticket)) }
            }
        case .read(let query, let ticket):
            storeFree = max(storeFree, now) + delay(2)
            later(storeFree - now, life) { [self] in .read(store.read(query), ticket: ticket) }
        case .sample(let task, let ticket):
            samplersFree = max(samplersFree, now) + delay(5)
            later(samplersFree - now, life) { [self] in
                .sampled(task.perform { self.store.jobs[$0.job]?.checkpoints[$0.index]?.sampler }, ticket: ticket)
            }
        case .write(let picture, let ticket):
            formatsWritten.insert(picture.wire)
            guard formats[picture.image] == [picture.wire] else {
                throw Broken(
                    description: "\(picture.image) says \(picture.wire), drawn in \(formats[picture.image] ?? [])")
            }
            filesFree = max(filesFree, now) + delay(30)
            later(filesFree - now, life) { [self] in
                files[picture.path] = picture.rgb8
                return .wrote(.success(1), ticket: ticket)
            }
        case .remove(let path):
            filesFree = max(filesFree, now) + 1000
            later(filesFree - now, life) { [self] in
                files[path] = nil
                return nil
            }
        case .reply(let reply, let client): try asked.removeValue(forKey: client.number)?(reply)
        case .measure: break
        case .log(_, let text): log.append("\(now / 1_000_000) \(text)")
        case .publish, .stopped: break
        }
    }

    /// Steps never fall below what is durable.
    private func note(_ write: StoreWrite) throws {
        guard case .checkpoint(let image, let step, _) = write else { return }
        if let before = durableSteps[image], step < before, store.jobs[image.job]?.checkpoints[image.index] != nil {
            throw Broken(description: "\(image) went back from step \(before) to \(step): \(summary)")
        }
        durableSteps[image] = step
    }

    private func crash() throws {
        crashes += 1
        life += 1
        log.append("\(now / 1_000_000) CRASH")
        // Clients whose request was under way hear nothing; a submission may or may not be there.
        asked = [:]
        (storeFree, filesFree, samplersFree) = (now, now, now)
        for worker in workers.values { worker.isWelcome = false }
        core = Simulation.freshCore(seed, hasPoison, store)
        let pin = store.facts["epoch"].flatMap { Epoch($0) } ?? 0
        try handle(.recovered(store.unfinished, pin: nil, epoch: pin))
        tickSoon(life)
    }

    // MARK: Workers

    private func start(_ name: String, after wait: UInt64) {
        lastBoot += 1
        let worker = FakeWorker(name: name, boot: lastBoot)
        after(wait) { [self] in
            guard workers[name]?.isAlive != true else { return }
            workers[name] = worker
            log.append("\(now / 1_000_000) START \(name)")
            beatSoon(worker)
        }
    }

    private func beatSoon(_ worker: FakeWorker) {
        after(worker.isWelcome ? 1_000_000_000 : 300_000_000) { [self] in
            guard worker.isAlive else { return }
            defer { beatSoon(worker) }
            guard !worker.isFrozen else { return }
            if worker.isWelcome {
                let heartbeat = Heartbeat(
                    epoch: worker.plan?.epoch ?? 0, image: nil, block: nil, counters: WorkerCounters())
                say(.heartbeat(heartbeat), worker)
                if worker.isReady { announceCredit(worker) }
            } else {
                var hello = FakeModel.hello(worker.name, boot: worker.boot)
                if Self.choosesWire(seed) {
                    let measured = PlannerTests.hello(worker.name, 0.01)
                    (hello.profile, hello.model) = (measured.profile, measured.model)
                }
                say(.hello(hello), worker)
            }
        }
    }

    private func say(_ message: ControlMessage, _ worker: FakeWorker) {
        later(delay(3), life) { .control(message, from: worker.name, bootID: worker.boot) }
    }

    private func announceCredit(_ worker: FakeWorker) {
        guard let plan = worker.plan else { return }
        let isFirst = plan.pipeline(from: worker.name) != nil
        if isFirst { _ = worker.grant.extend(occupied: Credit(messages: worker.occupied)) }
        let limit = isFirst ? worker.grant.limit : Credit()
        later(delay(3), life) { .credit(limit: limit, epoch: plan.epoch, from: worker.name) }
    }

    private func tell(_ message: ControlMessage, _ name: String, _ boot: UInt64) throws {
        if case .assign(let plan) = message {
            guard plan.epoch >= epochs else {
                throw Broken(description: "epoch \(plan.epoch) after \(epochs): \(summary)")
            }
            epochs = plan.epoch
        }
        guard let worker = workers[name], worker.boot == boot else { return }
        let life = life
        after(delay(3)) { [self] in
            guard worker.isAlive, life == self.life else { return }
            switch message {
            case .welcome: worker.isWelcome = true
            case .introduce: worker.isWelcome = false
            case .assign(let plan):
                guard plan.epoch > worker.plan?.epoch ?? 0 else { return }
                worker.plan = plan
                worker.isReady = false
                worker.grant = CreditGrant()
                worker.occupied = 0
                guard plan.placements.contains(where: { $0.worker == name }) else { return }
                after(delay(300)) { [self] in
                    guard worker.isAlive, worker.plan?.epoch == plan.epoch else { return }
                    worker.isReady = true
                    let speeds = [8e3, 1.7e4, 1e5, nil].map { $0.map { LinkSpeed(bytesPerSecond: $0, roundTrip: 0) } }
                    let link = plan.measuresLinks == true ? speeds[Int(random.next() % 4)] : nil
                    say(.loaded(Loaded(epoch: plan.epoch, residentBytes: 1, link: link)), worker)
                    announceCredit(worker)
                }
            default: break
            }
        }
    }

    private func give(_ input: TaskInput, _ key: TaskKey, _ name: String) {
        if key.need == .step, let wire = core.plan?.wire {
            if key.step == 0 { formats[key.image] = [] }
            formats[key.image, default: []].insert(wire)
        }
        guard let worker = workers[name], random.next() % 500 != 0 else { return }
        later(delay(4), life) { [self] in
            guard worker.isAlive, worker.plan?.epoch == key.epoch, worker.isReady, let plan = worker.plan else {
                return nil
            }
            compute(input, key, worker, plan)
            return nil
        }
    }

    private func compute(_ input: TaskInput, _ key: TaskKey, _ worker: FakeWorker, _ plan: ClusterPlan) {
        if key.need == .step {
            worker.occupied += 1
            guard worker.grant.receive() else {
                log.append("\(key) WITHOUT CREDIT")
                return
            }
        }
        let output: TaskOutput
        switch input {
        case .encode(let prompt, let length):
            output = .conditioning(FakeModel.conditioning(prompt, textLength: length))
        case .step(let latents, let sigma, let guidance, _, let conditioning):
            if let conditioning { worker.conditioning[key.image] = conditioning }
            guard let known = worker.conditioning[key.image] else {
                worker.occupied -= 1
                say(.fault(Fault(key.id, text: "forgotten", isRetriable: true)), worker)
                announceCredit(worker)
                return
            }
            if random.next() % 20 == 0 { worker.conditioning[key.image] = nil }
            output = .velocity(FakeModel.velocity(latents, sigma: sigma, guidance: guidance, known))
        case .decode(let latent):
            output =
                key.need == .edge
                ? .planes(FakeModel.decode(latent))
                : .picture(
                    rgb8: FakeModel.decode(latent).rgb8(), width: latent.shape[2] * 8, height: latent.shape[1] * 8)
        }
        let pipeline = plan.pipeline(from: worker.name) ?? []
        let path = key.need == .step ? pipeline.compactMap { workers[$0.worker] } : [worker]
        pass(output, key, path[...])
    }

    /// Each worker on the way takes its time, one task after the other; a dead or frozen one swallows it.
    private func pass(_ output: TaskOutput, _ key: TaskKey, _ path: ArraySlice<FakeWorker>) {
        guard let worker = path.first else { return }
        worker.busyUntil = max(worker.busyUntil, now) + delay(60)
        after(worker.busyUntil - now) { [self] in
            guard worker.isAlive, !worker.isFrozen, worker.plan?.epoch == key.epoch else { return }
            let prompt = records[key.image.job]?.requests[Int(key.image.index)].prompt ?? ""
            if key.need == .step, key.step == 1, prompt.hasPrefix(Self.poison) { return kill(worker) }
            if key.need == .step, worker.plan?.pipeline(from: worker.name) != nil {
                worker.occupied -= 1
                announceCredit(worker)
            }
            if path.count > 1 {
                after(delay(4)) { [self] in pass(output, key, path.dropFirst()) }
            } else {
                let copies = random.next() % 30 == 0 ? 2 : 1
                for _ in 0..<copies { later(delay(4), life) { .result(output, key, from: worker.name) } }
            }
        }
    }

    private func kill(_ worker: FakeWorker) {
        losses += 1
        log.append("\(now / 1_000_000) KILL \(worker.name)")
        worker.isAlive = false
        if random.next() % 4 != 0 { later(delay(5), life) { .disconnected(worker: worker.name, bootID: worker.boot) } }
        start(worker.name, after: delay(6000))
    }

    // MARK: Trouble

    private func troubleSoon() {
        let kind = random.next() % 8
        after(delay(trouble / 1_000_000)) { [self] in
            let alive = workers.values.filter(\.isAlive).sorted { $0.name < $1.name }
            let victim = alive.isEmpty ? nil : alive[Int(random.next() % UInt64(alive.count))]
            switch kind {
            case 0, 1, 2: if let victim { kill(victim) }
            case 3, 4: try crash()
            case 5:
                guard let victim else { return }
                victim.isFrozen = true
                after(delay(15_000)) { victim.isFrozen = false }
            case 6:
                if let victim { try handle(.linkLost(worker: victim.name)) }
            default: start(["a", "b", "c", "d"][Int(random.next() % 4)], after: 0)
            }
        }
    }

    // MARK: Clients

    private func ask(
        _ request: ClientRequest, id: JobID = JobID(high: 0, low: 0), _ then: @escaping (ClientReply) throws -> Void
    )
        throws
    {
        lastNumber += 1
        asked[lastNumber] = then
        try handle(.client(request, ClientTicket(client: "c", number: lastNumber), fresh: id))
    }

    private func submitSoon() {
        lastJob += 1
        let id = JobID(high: seed, low: lastJob)
        let requests = (0..<(1 + random.next() % 4)).map { index in
            random.next() % 2 == 0
                ? ImageRequest.ralu("job \(lastJob) \(index)", seed: index)
                : .euler("job \(lastJob) \(index)", seed: index, steps: 1 + Int(random.next() % 5))
        }
        var all = requests
        if hasPoison { all.append(.euler("\(Self.poison) \(lastJob)", steps: 3)) }
        let cancels = !hasPoison && random.next() % 3 == 0
        let priority = Int(random.next() % 2)
        let pictures = all
        after(delay(3000)) { [self] in
            let submission = Submission(key: "key \(id)", images: pictures, priority: priority)
            try submit(submission, id, cancels: cancels)
        }
    }

    /// Asks until there is an answer, like a client with an idempotency key.
    private func submit(_ submission: Submission, _ id: JobID, cancels: Bool) throws {
        guard records[id] == nil else { return }
        try ask(.submit(submission), id: id) { [self] reply in
            guard case .accepted(let known, _) = reply else {
                throw Broken(description: "not accepted: \(reply)")
            }
            guard store.jobs[known] != nil else { throw Broken(description: "acknowledged before it was durable") }
            if records[known] == nil { records[known] = Record(requests: submission.images) }
            if cancels { after(delay(3000)) { [self] in try cancel(known) } }
        }
        after(2_000_000_000) { [self] in try submit(submission, id, cancels: cancels) }
    }

    private func cancel(_ id: JobID) throws {
        guard records[id]?.isCancelAcknowledged == false else { return }
        records[id]?.isCancelAsked = true
        try ask(.cancel(id)) { [self] reply in
            guard case .done = reply, let job = store.jobs[id] else {
                throw Broken(description: "not cancelled: \(reply)")
            }
            guard job.status.isFinal else { throw Broken(description: "cancelled but not final: \(summary)") }
            records[id]?.isCancelAcknowledged = true
            for (index, state) in job.status.images.enumerated() where state == .cancelled {
                records[id]?.mustStayCancelled.insert(UInt32(index))
            }
            guard random.next() % 2 == 0 else { return }
            after(delay(2000)) { [self] in
                records[id]?.wasRetried = true
                try ask(.retry(id)) { _ in }
            }
        }
        after(2_000_000_000) { [self] in try cancel(id) }
    }
}

extension ClusterPlan {
    /// The pipeline whose first span a worker has.
    fileprivate func pipeline(from worker: String) -> [Placement]? { pipelines.first { $0.first?.worker == worker } }
}
