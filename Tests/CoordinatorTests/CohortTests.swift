@testable import Coordinator
import Testing

@Suite("Cohorts")
struct CohortTests {
    /// FLUX on nodes of 1 TFLOP/s and Gigabit links, f32 on the wire, two pictures a node in flight.
    ///
    /// Work and bytes of a step in the three stages of RALU: cluster specification 6.1 and 4.10.
    private static func flux(_ nodes: Int, steps: [Int], cohort: Int, stagger: Double) -> PipelineSimulation {
        let work = [21.5, 35.9, 74.4]
        var course: [PipelineSimulation.Task] = [.encode]
        for (part, number) in steps.enumerated() {
            course += Array(repeating: .step(part), count: number)
            if part == 0 { course.append(.decode(0)) }
        }
        course.append(.decode(1))
        let station = PipelineSimulation.Station(
            partSeconds: work.map { $0 / Double(nodes) }, hopSeconds: [18.9, 30.2, 56.6].map { $0 / 125 },
            wayThere: 0.0005)
        var simulation = PipelineSimulation(
            stations: Array(repeating: station, count: nodes), encodeSeconds: 0, encoder: nodes,
            decoders: [(nodes + 1, [0, 0])], course: course, tokens: [1024, 1945, 4096],
            rows: [1536, 2457, 4608], flights: 2 * nodes,
            turnaround: 0.001)
        simulation.cohort = cohort
        let picture = zip(steps, work).reduce(0.0) { $0 + Double($1.0) * $1.1 }
        simulation.stagger = stagger * picture / Double(nodes)
        return simulation
    }

    /// Share of the time that the nodes compute.
    private static func busy(_ simulation: PipelineSimulation) -> Double {
        let result = simulation.run(pictures: 300)
        return result.busy.reduce(0, +) / Double(result.busy.count)
    }

    /// What groups may gain.
    private static let nothing = 0.005

    @Test("pictures admitted in groups keep a pipeline hardly busier than single ones", arguments: [4, 8])
    func gainNothing(nodes: Int) {
        for steps in [[5, 6, 7], [2, 3, 5]] {
            let single = Self.busy(Self.flux(nodes, steps: steps, cohort: 1, stagger: 0))
            #expect(single > 0.97, "\(single)")
            for cohort in [nodes / 2, nodes, 2 * nodes] {
                let grouped = Self.busy(Self.flux(nodes, steps: steps, cohort: cohort, stagger: 0))
                let words = "\(steps), groups of \(cohort): \(grouped) instead of \(single)"
                #expect(grouped < single + Self.nothing, "\(words)")
            }
            // What was in flight before had come evenly spread: steps of all sizes are on their way.
            let spread = Self.busy(Self.flux(nodes, steps: steps, cohort: 1, stagger: 1))
            let aligned = Self.busy(Self.flux(nodes, steps: steps, cohort: 2 * nodes, stagger: 1))
            #expect(spread > 0.97 && aligned < spread + Self.nothing, "\(steps): \(spread), \(aligned)")
        }
    }
}
