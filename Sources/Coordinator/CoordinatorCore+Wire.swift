internal import JobStore
internal import Logging
internal import Plan

/// How hidden states travel, where the planner says so.
///
/// A plan whose links are not all known has its workers measure them while they load. When all are ready, and before the
/// first picture begins, the format is chosen; if it is another one than the plan's, one more plan follows, cut by the
/// links as they are. It is chosen again when a job comes to an idle cluster, for pictures of its sizes. Pictures that
/// have begun end as they began, so while there are any the format stays.
extension CoordinatorCore {
    /// The name under which the queue remembers the format.
    static let wireFact = "wire"

    private var hasBegun: Bool { !flights.isEmpty || jobs.values.contains { !$0.checkpoints.isEmpty } }

    /// Before a plan is made: whether the format is open again, and whether workers are to measure their links for that.
    mutating func reconsiderWire(_ placements: [Placement], _ cause: Measurement.Cause) -> Bool {
        guard settings.wire == .auto, cause != .wire, !hasBegun else { return false }
        wireIsSettled = false
        let present = Set(members.values.filter(\.isPresent).map(\.hello.name))
        linkSpeeds = linkSpeeds.filter { present.contains($0.key.from) && present.contains($0.key.to) }
        let plan = ClusterPlan(epoch: 0, placements: placements, blockCount: 0)
        return links(of: plan).contains { linkSpeeds[$0] == nil }
    }

    /// After a job came: chooses the format again if no picture has begun.
    mutating func reconsiderWire() {
        guard settings.wire == .auto, wireIsSettled, !hasBegun, replan == nil, case .active(let plan) = planning else {
            return
        }
        wireIsSettled = false
        settleWire(plan)
    }

    /// Takes note of what a worker measured.
    mutating func note(_ speed: LinkSpeed?, of worker: String, _ plan: ClusterPlan) {
        guard let speed, speed.isSane, let ends = links(of: plan).first(where: { $0.from == worker }) else { return }
        linkSpeeds[ends] = speed
        let megabits = (speed.bytesPerSecond * 8e-6).rounded()
        let milliseconds = (speed.roundTrip * 1e5).rounded() / 100
        log(.info, "\(ends.from) -> \(ends.to): \(Int(megabits)) Mbit/s, \(milliseconds) ms there and back")
    }

    /// All workers of a plan are ready: chooses the format, and plans again if it is not the plan's.
    mutating func settleWire(_ plan: ClusterPlan) {
        guard !wireIsSettled else { return }
        wireIsSettled = true
        if let model = pin?.model, let current = ReplicatedPlan(plan) {
            let eligible = members.values.filter(\.isEligible).map(\.hello)
            wire = WireChoice.best(
                current, planningInput(eligible, model), flightsPerWorker: settings.flightsPerWorker)
        }
        log(.info, "hidden states of the pictures to come travel as \(wire.rawValue)")
        effects.append(.store(.fact(name: Self.wireFact, value: wire.rawValue), ticket: 0))
        guard wire != plan.wire else { return }
        wantPlan(.wire, "hidden states travel as \(wire.rawValue)", isGraceful: false)
    }

    /// The nodes with the links that were measured: each as fast as its slowest.
    func withMeasuredLinks(_ nodes: [PlanningNode]) -> [PlanningNode] {
        nodes.map { node in
            let speeds = linkSpeeds.filter { $0.key.from == node.name || $0.key.to == node.name }.map(\.value)
            guard let slowest = speeds.min(by: { $0.bytesPerSecond < $1.bytesPerSecond }) else { return node }
            var node = node
            node.link = PlanningNode.Link(bytesPerSecond: slowest.bytesPerSecond, roundTrip: slowest.roundTrip)
            return node
        }
    }

    private func links(of plan: ClusterPlan) -> [LinkEnds] {
        plan.pipelines.flatMap { pipeline in
            zip(pipeline, pipeline.dropFirst()).map { LinkEnds(from: $0.worker, to: $1.worker) }
        }
    }
}
