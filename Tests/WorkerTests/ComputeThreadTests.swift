import Checkpoint
import Foundation
import Plan
import Stages
import TestKit
import Tensors
import Testing

@testable import Worker

@Suite("The compute thread")
struct ComputeThreadTests {
    /// What the thread reported, in order.
    private final class Reports: @unchecked Sendable {
        private let condition = NSCondition()
        private var all: [Event] = []

        func put(_ event: Event) {
            condition.withLock {
                all.append(event)
                condition.signal()
            }
        }

        func wait(for count: Int) -> [Event] {
            condition.withLock {
                while all.count < count { condition.wait() }
                return all
            }
        }

        func wait(until isEnough: ([Event]) -> Bool) -> [Event] {
            condition.withLock {
                while !isEnough(all) { condition.wait() }
                return all
            }
        }
    }

    /// The compute thread and what it reports, with the tiny model.
    private struct Setting {
        let folder: ModelFolder
        let facts: ModelFacts
        let compute = Compute(threads: 1)
        let reports = Reports()

        init() throws {
            folder = try Golden("flux-dev").modelFolder
            facts = try ModelFacts(folder: folder)
        }

        /// Starts the thread with all weights in memory.
        func start(report: @escaping @Sendable (Event) -> Void = { _ in }) -> ComputeThread {
            let thread = ComputeThread(folder: folder, facts: facts, compute: compute) {
                [reports] event in
                report(event)
                reports.put(event)
            }
            thread.load(.everything(of: facts))
            return thread
        }

        /// What was computed, in order: the task, and whether it gave way.
        func computed(_ count: Int) -> [(TaskKey, gaveWay: Bool)] {
            reports.wait(for: count + 1).compactMap { event in
                guard case .computed(let key, .success, _, let given) = event else { return nil }
                return (key, given > 0)
            }
        }
    }

    private func decode(_ index: UInt32, side: Int, isUrgent: Bool = false) -> WorkItem {
        WorkItem(
            key: TaskKey(kind: .decode, image: image(index), step: 0, epoch: 1), isUrgent: isUrgent,
            work: .decode(noise(UInt64(index), [16, side, side]), final: false))
    }

    private func encode(_ index: UInt32, isUrgent: Bool = false) -> WorkItem {
        WorkItem(
            key: TaskKey(kind: .encode, image: image(index), step: 0, epoch: 1), isUrgent: isUrgent,
            work: .encode(prompt: "a fox in the snow", textLength: 16))
    }

    @Test("no decode runs inside another, however urgent; an encode that somebody waits for does")
    func noDecodeInsideAnother() throws {
        let setting = try Setting()
        let thread = setting.start()
        defer { thread.end() }
        for item in [decode(1, side: 8), decode(2, side: 8, isUrgent: true), decode(3, side: 8)] {
            thread.compute(item)
        }
        thread.compute(encode(4, isUrgent: true))
        let computed = setting.computed(4)
        #expect(computed.map(\.0.image) == [1, 2, 4, 3].map { image($0) })
        #expect(computed.map(\.gaveWay) == [false, false, false, true])
    }

    @Test("an encode that gives way to a step is as exact as alone")
    func encodeGivesWay() throws {
        let setting = try Setting()
        let alone = try LoadedModel(
            folder: setting.folder, share: .everything(of: setting.facts), compute: setting.compute)
        let expected = try alone.encode(prompt: "a fox in the snow", textLength: 16)
        let thread = setting.start()
        defer { thread.end() }
        thread.compute(encode(1))
        thread.compute(step(setting.facts))
        let computed = setting.computed(2)
        #expect(computed.map(\.0.kind) == [.step, .encode] && computed.map(\.gaveWay) == [false, true])
        guard case .computed(_, .success(.conditioning(let conditioning)), _, _)? = setting.reports.wait(for: 3).last
        else {
            Issue.record("no conditioning")
            return
        }
        #expect(conditioning == expected)
    }

    @Test("a decode that nobody wants any more ends between two layers, and the same one can be asked for again")
    func abandons() throws {
        /// Touched by the compute thread only.
        final class Source: @unchecked Sendable { var thread: ComputeThread? }
        let setting = try Setting()
        let (source, item) = (Source(), decode(1, side: 16))
        let thread = setting.start { event in
            if case .computed(let key, _, _, _) = event, key.isStep { source.thread?.abandon(item.key) }
        }
        defer { thread.end() }
        source.thread = thread
        thread.compute(item)
        thread.compute(step(setting.facts))
        let events = setting.reports.wait(for: 3)
        guard case .computed(item.key, .failure(let failure), _, _)? = events.last else {
            Issue.record("the decode went on: \(events.last.map { "\($0)".prefix(80) } ?? "")")
            return
        }
        #expect(failure.text == "nobody wants it any more")
        thread.compute(item)
        guard case .computed(item.key, .success, _, _)? = setting.reports.wait(for: 4).last else {
            Issue.record("the decode is wanted again")
            return
        }
    }

    @Test("steps that never end slow a decode down and do not starve it")
    func patience() throws {
        /// Each step that is done brings the next one, until the decode is done too; touched by the compute thread only.
        final class Source: @unchecked Sendable {
            var thread: ComputeThread?
            /// So many that the test fails, and ends, where a decode waits for all of them.
            var left = 5000
        }
        let setting = try Setting()
        let (source, step) = (Source(), step(setting.facts))
        let thread = setting.start { event in
            guard case .computed(let key, _, _, _) = event else { return }
            source.left = key.isStep ? source.left - 1 : 0
            if source.left > 0 { source.thread?.compute(step) }
        }
        defer { thread.end() }
        source.thread = thread
        let item = decode(1, side: 16)
        thread.compute(item)
        thread.compute(step)
        var (steps, own, given): ([Nanoseconds], Nanoseconds, Nanoseconds) = ([], 0, 0)
        func isDecode(_ event: Event) -> Bool { if case .computed(item.key, _, _, _) = event { true } else { false } }
        // A step that waited meanwhile may be done before anybody looks.
        let events = setting.reports.wait { $0.contains(where: isDecode) }
        let end = try #require(events.firstIndex(where: isDecode))
        for case .computed(let key, .success, let elapsed, let between) in events[...end] {
            if key.isStep { steps.append(elapsed) } else { (own, given) = (elapsed, between) }
        }
        #expect(!steps.isEmpty && steps.reduce(0, +) <= given)
        // The last step may have begun when the decode had a little patience left.
        #expect(steps.dropLast().reduce(0, +) < 4 * own, "\(steps.count) steps, \(given) ns within \(own) ns")
    }

    @Test("a decode gives way to a step that waits, is as exact as alone, and its time is its own")
    func givesWay() throws {
        let folder = try Golden("flux-dev").modelFolder
        let facts = try ModelFacts(folder: folder)
        let compute = Compute(threads: 2)
        let share = Share.everything(of: facts)
        let alone = try LoadedModel(folder: folder, share: share, compute: compute)
        let latent = noise(1, [16, 24, 24])
        let expected = try alone.decode(latent)
        let stepItem = step(facts)

        let reports = Reports()
        let thread = ComputeThread(folder: folder, facts: facts, compute: compute) { reports.put($0) }
        defer { thread.end() }
        // Both wait before the first of them begins, so nothing here depends on how fast anything is.
        thread.load(share)
        let decodeItem = WorkItem(
            key: TaskKey(kind: .decode, image: image(1), step: 0, epoch: 1), work: .decode(latent, final: false))
        thread.compute(decodeItem)
        thread.compute(stepItem)
        let began = monotonicNow()
        let events = reports.wait(for: 3)
        let passed = monotonicNow() - began

        guard case .loaded(_, .success) = events[0],
            case .computed(let first, .success(.velocity(let velocity)), let stepTime, let stepGiven) = events[1],
            case .computed(let second, .success(.planes(let pixels)), let own, let given) = events[2]
        else {
            Issue.record("\(events)")
            return
        }
        #expect(first == stepItem.key && second == decodeItem.key)
        #expect(pixels == expected)
        if case .step(let latents, let sigma, let guidance, let conditioning?) = stepItem.work {
            var stream = alone.embed(latents, conditioning, sigma: sigma, guidance: guidance)
            alone.run(&stream)
            #expect(velocity == alone.head(stream))
        }
        #expect(stepGiven == 0 && given >= stepTime && own + given <= passed)
        #expect(thread.computing == 0)
    }

    @Test("what comes after a step in the queue is not overtaken: weights are not changed under a decode")
    func keepsOrder() throws {
        let folder = try Golden("flux-dev").modelFolder
        let facts = try ModelFacts(folder: folder)
        let reports = Reports()
        let thread = ComputeThread(folder: folder, facts: facts, compute: Compute(threads: 1)) {
            reports.put($0)
        }
        defer { thread.end() }
        let share = Share.everything(of: facts)
        thread.load(share)
        thread.compute(
            WorkItem(
                key: TaskKey(kind: .decode, image: image(1), step: 0, epoch: 1),
                work: .decode(Tensor(repeating: 0, shape: [16, 8, 8]), final: false)))
        thread.load(share)
        thread.compute(step(facts))
        let kinds = reports.wait(for: 4).map { event in
            switch event {
            case .loaded: "loaded"
            case .computed(let key, _, _, let given): "\(key.kind) \(given == 0)"
            default: "else"
            }
        }
        #expect(kinds == ["loaded", "decode true", "loaded", "step true"])
    }

    @Test("how long a task has stood is told while the thread is stuck in it, and nothing once it is done")
    func stands() throws {
        let setting = try Setting()
        let (stuck, goOn) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let thread = setting.start { event in
            guard case .computed = event else { return }
            stuck.signal()
            goOn.wait()
        }
        defer { thread.end() }
        _ = setting.reports.wait(for: 1)
        #expect(thread.standing == 0, "loading is watched by the coordinator")
        thread.compute(step(setting.facts))
        stuck.wait()
        let before = thread.standing
        #expect(before > 0)
        let since = monotonicNow()
        while monotonicNow() == since {}
        #expect(thread.standing > before)
        goOn.signal()
        _ = setting.reports.wait(for: 2)
        thread.load(.everything(of: setting.facts))
        _ = setting.reports.wait(for: 3)
        #expect(thread.standing == 0)
    }

    private func step(_ facts: ModelFacts) -> WorkItem {
        let latents = Latents(
            tokens: noise(2, [16, 64]),
            positions: Tensor((0..<16).flatMap { [0, Float($0 / 4), Float($0 % 4)] }, shape: [16, 3]))
        let conditioning = Conditioning(
            context: noise(3, [8, facts.contextWidth]),
            pooled: noise(4, [facts.pooledWidth]))
        return WorkItem(
            key: TaskKey(kind: .step, image: image(2), step: 0, epoch: 1),
            work: .step(latents, sigma: 0.5, guidance: 3.5, conditioning))
    }
}

private func noise(_ seed: UInt64, _ shape: [Int]) -> Tensor {
    Philox(seed: seed, purpose: 0).normals(shape.reduce(1, *)).reshaped(shape)
}
