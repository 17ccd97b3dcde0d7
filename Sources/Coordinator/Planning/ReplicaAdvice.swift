internal import Plan

/// How many pipelines beside each other the same nodes would do best as.
///
/// Where a node holds the whole model, pipelines of one node beat any longer one: no bubble, no links. So the planner
/// looks for the fewest nodes in a pipeline that fit (`--replicas auto`), and says what that would give.
package struct ReplicaAdvice: Codable, Equatable, Sendable {
    /// The groups, each a pipeline of its own; workers without a share are left out.
    package var groups: [[String]]
    /// Pictures an hour of all groups together, by the simulation.
    package var picturesPerHour: Double

    /// The best division into at least two groups; nil when one pipeline is best, or nothing is known of speeds.
    package static func best(_ input: PlanningInput, flightsPerWorker: Int = 2) -> ReplicaAdvice? {
        guard let plan = try? Planner.plan(input, replicas: .auto), plan.replicas.count > 1,
            let forecast = Forecast(plan, input, flightsPerWorker: flightsPerWorker)
        else { return nil }
        return ReplicaAdvice(
            groups: plan.replicas.map { $0.spans.map(\.node).sorted() }, picturesPerHour: forecast.picturesPerHour)
    }
}
