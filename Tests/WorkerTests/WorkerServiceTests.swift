import Checkpoint
import DiT
import Logging
import Plan
import Stages
import Tensors
import TestKit
import Testing
import Wire
import Worker

@Suite("Workers over TCP", .timeLimit(.minutes(10)))
struct WorkerServiceTests {
    private let folder: ModelFolder
    private let facts: ModelFacts
    private let log = Logger(label: "worker") { _ in SwiftLogNoOpLogHandler() }

    init() throws {
        folder = try Golden("flux-dev").modelFolder
        facts = try ModelFacts(folder: folder)
    }

    private func settings(_ name: String, _ coordinator: Endpoint) -> WorkerSettings {
        WorkerSettings(name: name, coordinator: coordinator, modelFolder: folder.path)
    }

    @Test("more threads than cores to keep them on are refused, fewer are not")
    func cores() throws {
        var settings = settings("a", try Endpoint("tcp://127.0.0.1:1"))
        (settings.threads, settings.cores) = (3, [0, 1])
        #expect(throws: WorkerError(.cores(threads: 3, cores: 2))) { try settings.check() }
        settings.threads = 2
        try settings.check()
    }

    /// Workers `w0`, `w1` and so on, with a coordinator that only says what the test tells it.
    private struct Cluster {
        let coordinator: FakeCoordinator
        let workers: [WorkerService]
        let plan: ClusterPlan
        var first: String { "w0" }
        var last: String { "w\(workers.count - 1)" }

        /// Ends all without their ceremony.
        func stop() async {
            for worker in workers {
                await worker.stop()
                _ = await worker.run()
            }
            await coordinator.stop()
            await coordinator.loop.stop()
        }
    }

    private func start(cut: [Range<Int>], threads: Int = 1) async throws -> Cluster {
        let coordinator = try await FakeCoordinator.start()
        var workers: [WorkerService] = []
        var placements: [Placement] = []
        for (index, span) in cut.enumerated() {
            var settings = settings("w\(index)", await coordinator.controlEndpoint)
            settings.threads = threads
            // However long this machine keeps the coordinator's last word from it.
            settings.limits.farewell = 600_000_000_000
            workers.append(try await WorkerService.start(settings, log: log))
            let hello = try #require(await coordinator.hello(from: settings.name))
            #expect(hello.model == facts && hello.threads == threads)
            await coordinator.welcome(settings.name)
            var share = Placement(
                worker: settings.name, span: span, encodes: index == 0, decodes: index == cut.count - 1,
                endpoint: hello.dataEndpoint)
            share.bootID = hello.bootID
            placements.append(share)
        }
        let plan = ClusterPlan(epoch: 1, placements: placements, blockCount: facts.blockCount)
        for placement in placements { await coordinator.tell(.assign(plan), to: placement.worker) }
        for placement in placements {
            let loaded = try #require(await coordinator.loaded(from: placement.worker, 1))
            #expect(loaded.failure == nil && loaded.residentBytes > 0)
            await coordinator.credit(from: placement.worker, 1, limit: placement.span.lowerBound == 0 ? 2 : 0)
        }
        return Cluster(coordinator: coordinator, workers: workers, plan: plan)
    }

    private func key(_ kind: TaskKey.Kind, _ step: UInt16) -> TaskKey {
        TaskKey(kind: kind, image: image(3), step: step, epoch: 1)
    }

    private static let latents = Latents(
        tokens: torchRandn(seed: 1, count: 64 * 64).reshaped([64, 64]), positions: Latents.grid(rows: 8, columns: 8))

    @Test(
        "encode, two steps and decode over one, two and three workers give the bytes of one process",
        arguments: [([0..<5], 1), ([0..<2, 2..<5], 1), ([0..<3, 3..<5], 2), ([0..<1, 1..<4, 4..<5], 1)])
    func equalsOneProcess(_ cut: [Range<Int>], _ threads: Int) async throws {
        let alone = try LoadedModel(folder: folder, share: .everything(of: facts), compute: Compute(threads: 1))
        let cluster = try await start(cut: cut, threads: threads)
        let coordinator = cluster.coordinator

        let prompt = "A fox in the snow"
        try await coordinator.give(
            WorkItem(key: key(.encode, 0), work: .encode(prompt: prompt, textLength: 32)).message(), to: cluster.first)
        let encoded = try #require(await coordinator.answer(from: cluster.first, .conditioning))
        let conditioning = try alone.encode(prompt: prompt, textLength: 32)
        #expect(encoded[.context]?.floats == conditioning.context.values)
        #expect(encoded[.pooled]?.floats == conditioning.pooled.values)

        var latents = Self.latents
        for (step, sigma) in [Float(1), 0.6].enumerated() {
            try await coordinator.give(
                WorkItem(
                    key: key(.step, UInt16(step)),
                    work: .step(latents, sigma: sigma, guidance: 3.5, step == 0 ? conditioning : nil)
                ).message(), to: cluster.first)
            let answer = try #require(await coordinator.answer(from: cluster.last, .velocity))
            var stream = alone.embed(latents, conditioning, sigma: sigma, guidance: 3.5)
            alone.run(&stream)
            let velocity = alone.head(stream)
            #expect(answer[.velocity]?.floats == velocity.values, "step \(step)")
            #expect(answer.image == image(3) && answer.step == step && answer.epoch == 1)
            latents.tokens = velocity
        }

        let latent = latents.tokens.reshaped([16, 16, 16])
        for final in [false, true] {
            try await coordinator.give(
                WorkItem(key: key(.decode, final ? 2 : 1), work: .decode(latent, final: final)).message(),
                to: cluster.last)
            let answer = try #require(await coordinator.answer(from: cluster.last, .pixels))
            let pixels = try alone.decode(latent)
            if final {
                #expect(answer[.rgb]?.bytes == pixels.rgb8() && answer[.rgb]?.dims == [128, 128, 3])
            } else {
                #expect(answer[.planes]?.floats == pixels.planes.values && answer.argument == 1)
            }
        }
        await cluster.stop()
    }

    @Test("counts on a link what the cost model predicts: text and image rows of each step")
    func countsLinks() async throws {
        let cluster = try await start(cut: [0..<2, 2..<5])
        let conditioning = Conditioning(
            context: Tensor(repeating: 0.5, shape: [32, facts.contextWidth]),
            pooled: Tensor(repeating: 0.5, shape: [facts.pooledWidth]))
        for step in 0..<3 as Range<UInt16> {
            let work = WorkItem.Work.step(Self.latents, sigma: 1, guidance: 3.5, conditioning)
            try await cluster.coordinator.give(WorkItem(key: key(.step, step), work: work).message(), to: "w0")
            _ = await cluster.coordinator.answer(from: "w1", .velocity)
        }
        let isCounted: @Sendable (FakeCoordinator.Inbound) -> Bool = {
            guard case .control(.heartbeat(let beat)) = $0 else { return false }
            return beat.counters.steps == 3 && beat.image == nil
        }
        for name in ["w0", "w1"] {
            guard case .control(.heartbeat(let beat)) = await cluster.coordinator.next(from: name, where: isCounted)
            else {
                continue
            }
            let link = beat.counters.links.first { $0.source == "w0" && $0.target == "w1" }
            #expect(link?.activationBytes == UInt64(3 * (64 + 32) * facts.width * 4), "as counted by \(name)")
            #expect((link?.totalBytes ?? 0) > (link?.activationBytes ?? 0))
            #expect(beat.counters.tokens == 3 * 64 && beat.counters.busyNanoseconds > 0)
            #expect(beat.counters.residentBytes > 1 << 20)
        }
        await cluster.stop()
    }

    @Test("a tensor that does not fit the model comes back as a fault, and the worker goes on")
    func faults() async throws {
        let cluster = try await start(cut: [0..<5])
        var message = WorkItem(
            key: key(.decode, 0), work: .decode(Tensor(repeating: 0, shape: [16, 4, 4]), final: true)
        )
        .message()
        message.tensors = [WireTensor(.latent, dims: [15, 4, 4], floats: Array(repeating: 0, count: 240))]
        try await cluster.coordinator.give(message, to: "w0")
        let fault = try #require(await cluster.coordinator.fault(from: "w0"))
        #expect(fault.isRetriable && fault.text.contains("latent"))
        #expect(fault.task == TaskID(.decode, image(3), step: 0, epoch: 1))
        let step = WorkItem(key: key(.step, 0), work: .step(Self.latents, sigma: 1, guidance: 1, nil))
        try await cluster.coordinator.give(step.message(), to: "w0")
        let missing = try #require(await cluster.coordinator.fault(from: "w0"))
        #expect(missing.isRetriable && missing.text.contains("conditioning"))
        try await cluster.coordinator.give(encode(0).message(), to: "w0")
        #expect(await cluster.coordinator.answer(from: "w0", .conditioning) != nil)
        await cluster.stop()
    }

    @Test("leaves after its work when drained, and as soon as its coordinator has heard so")
    func drains() async throws {
        let cluster = try await start(cut: [0..<5])
        await cluster.workers[0].drain()
        _ = await cluster.coordinator.next(from: "w0") { if case .control(.drain) = $0 { true } else { false } }
        try await cluster.coordinator.give(encode(0).message(), to: "w0")
        #expect(await cluster.coordinator.answer(from: "w0", .conditioning) != nil, "it works until it is let go")
        await cluster.coordinator.tell(.drain, to: "w0")
        _ = await cluster.coordinator.next(from: "w0") { if case .control(.leave) = $0 { true } else { false } }
        #expect(await cluster.workers[0].life.isLeaving, "its words may be on their way yet")
        await cluster.coordinator.tell(.leave, to: "w0")
        #expect(await cluster.workers[0].run() == .drained)
        await cluster.stop()
    }

    @Test("told to end when its coordinator is gone, it ends at once")
    func drainsAlone() async throws {
        let cluster = try await start(cut: [0..<5])
        await cluster.coordinator.stop()
        let clock = ContinuousClock()
        while await cluster.workers[0].isConnected { try await Task.sleep(for: .milliseconds(5)) }
        let began = clock.now
        await cluster.workers[0].drain()
        #expect(await cluster.workers[0].run() == .drained)
        #expect(clock.now - began < .seconds(60))
        await cluster.stop()
    }

    @Test("ends with the coordinator's words when it is refused")
    func refused() async throws {
        let coordinator = try await FakeCoordinator.start()
        let worker = try await WorkerService.start(settings("w0", await coordinator.controlEndpoint), log: log)
        _ = await coordinator.hello(from: "w0")
        let refusal = Refusal(code: .model, text: "w0 has another model")
        await coordinator.tell(.refuse(refusal), to: "w0")
        #expect(await worker.run() == .refused(refusal))
        await coordinator.stop()
        await coordinator.loop.stop()
    }

    @Test("keeps trying until its coordinator is there, or gives up after the time it was given")
    func unreachable() async throws {
        let coordinator = try await FakeCoordinator.start()
        let endpoint = await coordinator.controlEndpoint
        await coordinator.stop()
        await coordinator.loop.stop()
        var settings = settings("w0", endpoint)
        settings.limits.unreachableAfter = 300_000_000
        let worker = try await WorkerService.start(settings, log: log)
        let ending = await worker.run()
        #expect(ending.text.contains("no coordinator answered at \(endpoint)"))
    }

    @Test("says in one line why it cannot start")
    func cannotStart() async throws {
        let endpoint = try Endpoint("tcp://127.0.0.1:1")
        func reason(_ change: (inout WorkerSettings) -> Void) async -> String {
            var settings = settings("w0", endpoint)
            change(&settings)
            do {
                let worker = try await WorkerService.start(settings, log: log)
                await worker.stop()
                _ = await worker.run()
                return ""
            } catch { return "\(error)" }
        }
        let blocker = try await FakeCoordinator.start()
        let taken = await blocker.controlEndpoint
        let reasons = [
            (await reason { $0.modelFolder = "/no/such/model" }, "/no/such/model"),
            (await reason { $0.listen = taken }, "\(taken.port)"),
            (await reason { $0.listen = Endpoint(host: "*", port: 0) }, "keys"),
            (await reason { $0.name = "a b" }, "a b"),
            (await reason { $0.threads = 0 }, "0 threads"),
            (await reason { $0.roles = [] }, "roles"),
        ]
        for (text, part) in reasons {
            #expect(text.contains(part) && !text.contains("\n") && text.count < 400, "\(text)")
        }
        await blocker.stop()
        await blocker.loop.stop()
    }
}
