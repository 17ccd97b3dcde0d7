package import Plan

/// How hidden states should travel: as exactly as a plan's links allow.
package enum WireChoice {
    /// Share of the pictures an hour that a more exact format may cost.
    private static let tolerance = 0.02

    /// The most exact format that gives nearly as many pictures an hour as the fastest one, by the simulation with the
    /// measured times of workers and links; f32 while nothing is known of a worker's speed.
    package static func best(_ plan: ReplicatedPlan, _ input: PlanningInput, flightsPerWorker: Int) -> WireFormat {
        let rates = WireFormat.allCases.map { format -> Double in
            var input = input
            input.bytesPerValue = format.bytesPerValue(width: input.model.width)
            return Forecast(plan, input, flightsPerWorker: flightsPerWorker)?.picturesPerHour ?? 0
        }
        let most = rates.max() ?? 0
        return zip(WireFormat.allCases, rates).first { $0.1 >= (1 - tolerance) * most }?.0 ?? .f32
    }
}

extension WireFormat {
    /// Bytes of one value of a row of so many.
    func bytesPerValue(width: Int) -> Double { Double(rowBytes(width)) / Double(width) }
}
