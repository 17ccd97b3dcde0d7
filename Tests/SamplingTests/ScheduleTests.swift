import Foundation
import Plan
import Sampling
import TestKit
import Tensors
import Testing

@Suite("Schedules")
struct ScheduleTests {
    @Test("U1 shift and unshift invert each other; the cumulative share rises from 0 to 1")
    func inverse() {
        for h in [0.3, 0.864, 1, 1.5, 3, 8.141, 10] {
            for step in 0...1000 {
                let u = Double(step) / 1000
                #expect(abs(Schedule.unshift(Schedule.shift(u, by: h), by: h) - u) < 1e-12)
                #expect(abs(Schedule.shift(Schedule.unshift(u, by: h), by: h) - u) < 1e-12)
                let next = TimestepMatching.cumulative(u + 0.001, shift: h)
                #expect(TimestepMatching.cumulative(u, shift: h) < next)
            }
            #expect(TimestepMatching.cumulative(0, shift: h) == 0)
            #expect(abs(TimestepMatching.cumulative(1, shift: h) - 1) < 1e-12)
        }
    }

    @Test("U2 stages of known presets have the known noise levels", arguments: KnownPreset.all)
    func knownStages(preset: KnownPreset) {
        let stages = Schedule.ralu(preset.settings)
        #expect(stages.map(\.count) == preset.sigmas.map(\.count))
        for (index, (nodes, known)) in zip(stages, preset.sigmas).enumerated() {
            for (node, value) in zip(nodes, known) { #expect(abs(node - value) < 1e-5, "\(nodes)") }
            #expect(zip(nodes, nodes.dropFirst()).allSatisfy { $0 > $1 })
            let start = index == 0 ? 0 : transition(preset, index - 1).start
            #expect(abs(nodes[0] - (1 - start)) < 1e-15)
            #expect(nodes.last == 1 - preset.settings.ends[index])
        }
    }

    @Test("U2 the schedules of FLUX.1-dev and schnell have the known noise levels")
    func knownModels() {
        func expect(_ nodes: [Double], _ known: [Double]) {
            for (node, value) in zip(nodes, known) { #expect(abs(node - value) < 1e-6) }
        }
        let dev = ScheduleFacts()
        expect(Schedule.euler(steps: 4, tokens: 4096, facts: dev), [1, 0.904531, 0.759511, 0.512844, 0])
        let long = Schedule.euler(steps: 28, tokens: 4096, facts: dev)
        expect(long, [1, 0.988409, 0.976222])
        expect(Array(long.suffix(3)), [0.195455, 0.104721, 0])
        for (tokens, h) in [(1024, 1.87761), (1330, 1.97743), (1636, 2.08255), (1945, 2.19438), (4096, 3.15819)] {
            #expect(abs(Schedule.dynamicShift(tokens: tokens, facts: dev) - h) < 1e-5)
        }
        let schnell = ScheduleFacts(shift: 1, dynamic: false)
        #expect(Schedule.euler(steps: 4, tokens: 4096, facts: schnell) == [1, 0.75, 0.5, 0.25, 0])
    }

    @Test("schedules of both models are those of the reference", arguments: ["flux-dev", "flux-schnell"])
    func goldens(model: String) throws {
        let golden = try Golden(model).file("scheduler")
        let dynamic = model == "flux-dev"
        let facts = dynamic ? ScheduleFacts() : ScheduleFacts(shift: 1, dynamic: false)
        var compared = 0
        for name in golden.names {
            // n28_1360x768.sigmas
            let parts = name.split(whereSeparator: { "n_x.".contains($0) })
            guard parts.count == 4, let steps = Int(parts[0]), let a = Int(parts[1]), let b = Int(parts[2]) else {
                Issue.record("unexpected golden \(name)")
                continue
            }
            let nodes = Schedule.euler(steps: steps, tokens: a / 16 * (b / 16), facts: facts)
            let values = parts[3] == "sigmas" ? nodes : nodes.dropLast().map { 1000 * $0 }
            try expectClose(Tensor(values.map(Float.init), shape: [values.count]), golden, name)
            compared += 1
        }
        #expect(compared == golden.names.count && compared >= 12)
    }

    @Test("U3 transitions go back in time, and their factors match signal and noise", arguments: KnownPreset.all)
    func transitions(preset: KnownPreset) {
        for index in 0..<2 {
            let (end, z) = (preset.settings.ends[index], preset.settings.z)
            let transition = Transition(end: end, z: z)
            #expect(transition.start < end)
            #expect(abs(transition.signal * end - transition.start) < 1e-15)
            #expect(abs(transition.noise - (1 - transition.start)) < 1e-15)
            #expect(abs(transition.signal * (1 - end) - transition.noise / z) < 1e-15)
            // The table is from 1 / z^2 before z was rounded to four digits.
            #expect(abs(transition.signal - preset.transitions[index][0]) < 2e-5)
            #expect(abs(transition.noise - preset.transitions[index][1]) < 1e-5)
        }
    }

    @Test("U4 every step of a stage takes the same share of its density", arguments: KnownPreset.all)
    func equalShares(preset: KnownPreset) {
        for (nodes, h) in zip(Schedule.ralu(preset.settings), preset.settings.shifts) {
            let shares = nodes.map { TimestepMatching.cumulative(1 - $0, shift: h) }
            let steps = zip(shares, shares.dropFirst()).map { $1 - $0 }
            #expect(steps.allSatisfy { abs($0 - steps[0]) < 1e-12 && $0 > 0 })
        }
    }

    // schnell's is that of the shifts in its file: those of the one-step stages, which no schedule shows, are 1.
    @Test("U5 known presets have the known timestep distance", arguments: KnownPreset.all)
    func distances(preset: KnownPreset) {
        let settings = preset.settings
        let matching = TimestepMatching(
            steps: settings.steps, ends: settings.ends, originalShift: preset.originalShift)
        #expect(abs(matching.distance(shifts: settings.shifts, z: settings.z) - preset.distance) < 2e-4)
    }

    @Test("the timestep distance and both densities are the reference's", arguments: 0..<8)
    func matchingGoldens(item: Int) throws {
        let golden = try Golden("ntdm").file("ntdm")
        let matching = TimestepMatching(
            steps: try golden.ints("c\(item).N"), ends: try golden.doubles("c\(item).e_f64"),
            originalShift: try golden.doubles("c\(item).h_ori_f64")[0])
        func compare(_ actual: [Double], _ name: String) throws {
            let (expected, allowed) = (try golden.doubles(name), try golden.tolerance(name))
            #expect(actual.count == expected.count)
            let worst = zip(actual, expected).map { abs($0 - $1) }.max() ?? .infinity
            ClosenessLog.shared.enter(group: golden.group, name: name, share: worst / allowed)
            #expect(worst <= allowed, "\(name): \(worst)")
        }
        let probes = try golden.doubles("c\(item).probe_params_f64")
        let distances = stride(from: 0, to: probes.count, by: 4).map {
            matching.distance(shifts: Array(probes[$0..<$0 + 3]), z: probes[$0 + 3])
        }
        try compare(distances, "c\(item).probe_js_f64")
        let (h, z) = (try golden.doubles("c\(item).h_f64"), try golden.doubles("c\(item).Z_f64")[0])
        try compare([matching.distance(shifts: h, z: z)], "c\(item).js_f64")
        // The first cases carry their densities.
        guard golden.contains("c\(item).P_f64") else { return #expect(item > 0) }
        try compare(matching.target(z: z), "c\(item).P_target_f64")
        try compare(matching.actual(shifts: h, z: z), "c\(item).P_f64")
    }

    private func transition(_ preset: KnownPreset, _ index: Int) -> Transition {
        Transition(end: preset.settings.ends[index], z: preset.settings.z)
    }
}
