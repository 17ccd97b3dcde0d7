/// How many pipelines beside each other the same nodes would do best as.
///
/// Where a node holds the whole model, pipelines of one node beat any longer one: no bubble, no links. So the planner
/// looks for the fewest nodes in a pipeline that fit, and says what that would give; the coordinator itself runs one
/// pipeline, so a cluster is divided by starting a coordinator for each group.
package struct ReplicaAdvice: Codable, Equatable, Sendable {
    /// The groups, each a pipeline of its own, in order of name.
    package var groups: [[String]]
    /// Pictures an hour of all groups together, by the simulation.
    package var picturesPerHour: Double

    /// The best division into at least two groups; nil when there is none, or nothing is known of speeds.
    ///
    /// For each number of groups, nodes go by falling memory to the group that has least so far, so that none is short of
    /// memory only by the luck of names.
    package static func best(_ input: PlanningInput, flightsPerWorker: Int = 2) -> ReplicaAdvice? {
        guard Planner.isMeasured(input), let costs = Planner.costs(input), input.nodes.count > 1 else { return nil }
        func speed(_ node: Int) -> Double { 1 / max(1e-12, costs[node].blockSeconds.reduce(0, +)) }
        let byMemory = input.nodes.indices.sorted { left, right in
            let (a, b) = (costs[left].usableBytes, costs[right].usableBytes)
            return a != b ? a > b : (-speed(left), left) < (-speed(right), right)
        }
        var best: ReplicaAdvice?
        for count in counts(upTo: input.nodes.count) {
            var groups = Array(repeating: [Int](), count: count)
            for node in byMemory {
                func rank(_ group: Int) -> (Double, Int) {
                    (groups[group].reduce(0) { $0 + costs[$1].usableBytes }, group)
                }
                guard let least = groups.indices.min(by: { rank($0) < rank($1) }) else { continue }
                groups[least].append(node)
            }
            var sum = 0.0
            for group in groups {
                var part = input
                part.nodes = group.sorted().map { input.nodes[$0] }
                guard let plan = try? Planner.plan(part),
                    let forecast = Forecast(plan, part, flightsPerWorker: flightsPerWorker)
                else {
                    sum = 0
                    break
                }
                sum += forecast.picturesPerHour
            }
            if sum > best?.picturesPerHour ?? 0 {
                best = ReplicaAdvice(
                    groups: groups.map { $0.sorted().map { input.nodes[$0].name } }, picturesPerHour: sum)
            }
        }
        return best
    }

    /// Numbers of groups that are tried: all of a few, of many nodes those that divide them into groups of 1, 2, 3, ...
    private static func counts(upTo nodes: Int) -> [Int] {
        Set((1...nodes).map { nodes / $0 }).filter { $0 > 1 }.sorted()
    }
}
