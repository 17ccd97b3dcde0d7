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
        let thread = ComputeThread(folder: folder, blockCount: facts.blockCount, compute: compute) { reports.put($0) }
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
        let thread = ComputeThread(folder: folder, blockCount: facts.blockCount, compute: Compute(threads: 1)) {
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
