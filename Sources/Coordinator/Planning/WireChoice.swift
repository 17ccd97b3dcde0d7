package import Plan

/// How hidden states should travel: as exactly as a plan's links allow.
package enum WireChoice {
    /// Share of the slowest worker's time within which a link hides behind the computing, with room for convoys.
    private static let hidden = 0.7

    /// The most exact format whose bytes hide behind the computing, by the measured times of workers and links.
    ///
    /// Where none does, the one with the shortest way; f32 while nothing is known of a worker's speed.
    ///
    /// By the formula and not by the simulation: it is asked for on the coordinator's thread.
    ///
    /// - Source: cluster specification, section 4.10.
    package static func best(_ plan: ReplicatedPlan, _ input: PlanningInput) -> WireFormat {
        var best: (format: WireFormat, share: Double)?
        for format in WireFormat.allCases {
            var input = input
            input.bytesPerValue = format.bytesPerValue(width: input.model.width)
            let shares = plan.replicas.map { cut in
                Forecast.linkShare(cut, Planner.part(input, of: cut, in: plan))
            }
            guard shares.allSatisfy({ $0 != nil }), let share = shares.compactMap(\.self).max() else { return .f32 }
            if share <= hidden { return format }
            if share < best?.share ?? .infinity { best = (format, share) }
        }
        return best?.format ?? .f32
    }
}

extension WireFormat {
    /// Bytes of one value of a row of so many.
    package func bytesPerValue(width: Int) -> Double { Double(rowBytes(width)) / Double(width) }
}
