internal import Foundation
internal import Plan

/// How well the noise levels that RALU's stages visit match those the model was trained on.
///
/// The constants of a preset minimise `distance`; what ships is the table in `configs/presets`. Along z the distance is
/// almost flat, so compare distances, never constants, of two optimisers. Source: RALU (arXiv 2507.08422) section 3.3.
package struct TimestepMatching: Equatable, Sendable {
    /// Points of 0...1 at which densities are compared, both ends included.
    package static let points = 1000
    /// Densities are not taken below this, so that logarithms exist.
    private static let floor = 1e-10

    /// Steps of each stage.
    package let steps: [Int]
    /// End of each stage in t = 1 - sigma.
    package let ends: [Double]
    /// Shift of the model's own schedule.
    package let originalShift: Double

    /// Joins the fixed part of a preset.
    package init(steps: [Int], ends: [Double], originalShift: Double) {
        promise(steps.count == ends.count, "\(steps.count) stages, \(ends.count) ends")
        self.steps = steps
        self.ends = ends
        self.originalShift = originalShift
    }

    /// The Jensen-Shannon distance (the root of the divergence, natural logarithm) of `actual` and `target`.
    package func distance(shifts: [Double], z: Double) -> Double {
        func normalised(_ density: [Double]) -> [Double] {
            let clipped = density.map { max($0, Self.floor) }
            let sum = clipped.reduce(0, +)
            return clipped.map { $0 / sum }
        }
        let (p, q) = (normalised(target(z: z)), normalised(actual(shifts: shifts, z: z)))
        var divergence = 0.0
        for (p, q) in zip(p, q) {
            let middle = (p + q) / 2
            divergence += (p * log(p / middle) + q * log(q / middle)) / 2
        }
        return max(divergence, 0).squareRoot()
    }

    /// Density of times the model should see: its own, and the intervals that transitions repeat, at the same density.
    package func target(z: Double) -> [Double] {
        let starts = self.starts(z: z)
        let repeats = ends.indices.dropLast().map { (start: starts[$0 + 1], end: ends[$0]) }
        let whole = 1 + repeats.reduce(0) { $0 + $1.end - $1.start }
        return Self.grid.map { t in
            repeats.reduce(Self.density(t, originalShift, 0, 1)) { sum, part in
                sum + (part.end - part.start) * Self.density(t, originalShift, part.start, part.end)
            } / whole
        }
    }

    /// Density of times that the stages visit.
    package func actual(shifts: [Double], z: Double) -> [Double] {
        let starts = self.starts(z: z)
        let whole = Double(steps.reduce(0, +))
        return Self.grid.map { t in
            ends.indices.reduce(0) { sum, stage in
                sum + Double(steps[stage]) * Self.density(t, shifts[stage], starts[stage], ends[stage])
            } / whole
        }
    }

    /// Share of a uniform schedule's times below `t`, under shift `h`.
    package static func cumulative(_ t: Double, shift h: Double) -> Double { h * t / (1 + (h - 1) * t) }

    private static var grid: [Double] { (0..<points).map { Double($0) / Double(points - 1) } }

    private func starts(z: Double) -> [Double] {
        [0] + ends.dropLast().map { $0 / (z * (1 - $0) + $0) }
    }

    /// Density under shift `h`, cut to `start...end`.
    private static func density(_ t: Double, _ h: Double, _ start: Double, _ end: Double) -> Double {
        guard t >= start && t <= end else { return 0 }
        let whole = cumulative(end, shift: h) - cumulative(start, shift: h)
        return h / ((1 + (h - 1) * t) * (1 + (h - 1) * t)) / whole
    }
}
