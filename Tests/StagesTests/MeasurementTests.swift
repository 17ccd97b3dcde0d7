import Checkpoint
import Plan
import Stages
import TestKit
import Tensors
import Testing

@Suite("Measured costs")
struct MeasurementTests {
    let folder: ModelFolder
    let facts: ModelFacts

    init() throws {
        folder = try Golden("flux-dev").modelFolder
        facts = try ModelFacts(folder: folder)
    }

    @Test("sizes are those of the files, part by part")
    func sizes() throws {
        let sizes = try #require(facts.sizes)
        let weights = try folder.weights("transformer")
        let total = try weights.names.reduce(0) { $0 + (try weights[$1].count) }
        let singles = facts.blockCount - sizes.doubleCount
        #expect(
            sizes.doubleCount * sizes.doubleWeights + singles * sizes.singleWeights + sizes.embedWeights
                + sizes.headWeights == total)
        #expect(sizes.encoderMatrixWeights > 0 && sizes.encoderMatrixWeights < sizes.encoderWeights)
        // Loading everything takes as many bytes as were counted.
        let model = try LoadedModel(folder: folder, share: .everything(of: facts), compute: Compute(threads: 1))
        let counted = 4 * (total + sizes.encoderWeights + sizes.decoderWeights)
        #expect(abs(Double(model.residentBytes) / Double(counted) - 1) < 0.05)
        #expect(sizes.decoderOperationsPerPixel > 0)
    }

    @Test("every part is measured, at rising sizes, within a budget; and only the parts that the roles need")
    func measures() throws {
        let compute = Compute(threads: 1)
        let costs = try MeasuredCosts.measured(folder: folder, facts: facts, compute: compute)
        #expect(costs.isSane)
        for curve in [costs.double, costs.single, costs.embed, costs.head, costs.encode, costs.decode] {
            #expect(!curve.samples.isEmpty)
        }
        #expect(costs.double.samples.map(\.size) == costs.single.samples.map(\.size))
        #expect(costs.bytesPerWeight > 3.9 && costs.bytesPerWeight < 4.5)

        // Under a quota everything takes as many times as long.
        let throttled = try MeasuredCosts.measured(folder: folder, facts: facts, compute: compute, throttle: 1000)
        let sample = try #require(costs.single.samples.first)
        let slow = try #require(throttled.single.seconds(sample.size, work: { $0 }))
        #expect(throttled.isSane && slow > 100 * sample.seconds)

        let one = try MeasuredCosts.measured(
            folder: folder, facts: facts, roles: [.blocks], compute: compute, budget: .zero)
        #expect(one.double.samples.count == 1 && one.decode.samples.isEmpty && one.encode.samples.isEmpty)
    }

    @Test("times between the samples follow the work, also beyond them")
    func interpolates() {
        // Time proportional to the work: exact everywhere.
        let work: (Double) -> Double = { 6 * 8 * $0 + $0 * $0 }
        let exact = CostCurve([10, 40, 90].map { CostCurve.Sample(size: $0, seconds: 2e-6 * work(Double($0))) })
        for size in [1, 10, 25, 40, 64, 90, 400] {
            let seconds = exact.seconds(size, work: work) ?? 0
            #expect(abs(seconds / (2e-6 * work(Double(size))) - 1) < 1e-12)
        }
        let curve = CostCurve([.init(size: 20, seconds: 3), .init(size: 10, seconds: 2)])
        #expect(curve.seconds(15, work: { $0 }) == 15 * (0.2 + 0.15) / 2)
        #expect(CostCurve().seconds(5, work: { $0 }) == nil)
    }

    @Test("a report that cannot be true is not sane")
    func refusesNonsense() {
        for samples in [
            [CostCurve.Sample(size: 0, seconds: 1)], [.init(size: 1, seconds: 0)], [.init(size: 1, seconds: .nan)],
            [.init(size: 1, seconds: .infinity)], [.init(size: 2, seconds: 1), .init(size: 2, seconds: 1)],
        ] {
            var costs = MeasuredCosts()
            costs.single = CostCurve(samples)
            #expect(!costs.isSane, "\(samples)")
        }
        #expect(MeasuredCosts().isSane)
    }
}
