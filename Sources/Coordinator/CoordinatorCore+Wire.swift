internal import JobStore
internal import Logging
internal import Plan

/// How hidden states travel, where the planner says so.
///
/// A plan whose links are not all known has its workers measure them while they load. When all are ready, and before the
/// first picture begins, the format is chosen and made durable; if it is another one than the plan's, the same shares
/// are assigned once more with it. It is chosen again when a job comes to an idle cluster, for pictures of its sizes.
/// Pictures that have begun end as they began, so while there are any the format stays. The links count for the cuts of
/// later plans too.
extension CoordinatorCore {
    /// Where the choice stands; no picture begins before it is settled.
    enum WireChoosing: Equatable {
        /// The plan's workers are loading and measuring.
        case open
        /// The choice is on its way to the disk.
        case recording(WireFormat, ticket: UInt64)
        /// Pictures may begin.
        case settled
    }

    /// A link as its sender measured it.
    struct LinkMeasurement {
        /// Nil when it could not be measured.
        var speed: LinkSpeed?
        /// When.
        var at: UInt64
    }

    /// The name under which the queue remembers the format.
    static let wireFact = "wire"
    /// Age of a measurement after which an idle cluster's next plan has it made again.
    private static let measurementsLast: UInt64 = 600_000_000_000
    /// Time that some replica has been ready after which the others' links count as the network's.
    private static let choiceWaits: UInt64 = 10_000_000_000

    private var hasBegun: Bool { !flights.isEmpty || jobs.values.contains { !$0.checkpoints.isEmpty } }

    /// Before a plan is assigned: opens the choice if no picture has begun; whether workers are to measure their links.
    mutating func openWire(for placements: [Placement]) -> Bool {
        guard settings.wire == .auto, !hasBegun else { return false }
        wireChoosing = .open
        openSince = nil
        measuredLinks = measuredLinks.filter { now - min(now, $0.value.at) < Self.measurementsLast }
        let plan = ClusterPlan(epoch: 0, placements: placements, blockCount: 0)
        return links(of: plan).contains { measuredLinks[$0] == nil }
    }

    /// Takes note of what a worker measured, or could not.
    mutating func note(_ speed: LinkSpeed?, of worker: String, _ plan: ClusterPlan) {
        guard plan.measuresLinks == true, let ends = links(of: plan).first(where: { $0.from == worker }) else { return }
        let speed = speed.flatMap { $0.isSane ? $0 : nil }
        measuredLinks[ends] = LinkMeasurement(speed: speed, at: now)
        guard let speed else {
            let assumed = Int((settings.network.bytesPerSecond * 8e-6).rounded())
            return log(.warning, "\(ends.from) -> \(ends.to): could not be measured, taken for \(assumed) Mbit/s")
        }
        log(.info, "\(ends.from) -> \(ends.to): \(speed.text)")
    }

    /// Chooses the format once the whole plan is ready, or a part of it has been for long.
    mutating func settleWire() {
        guard wireChoosing == .open, replan == nil, let plan else { return }
        switch planning {
        case .active: break
        case .loading where replicas.contains(where: \.isLoaded):
            openSince = openSince ?? now
            guard now - (openSince ?? now) >= Self.choiceWaits else { return }
        case .loading, .none: return
        }
        var format = wire
        if let model = pin?.model, let current = ReplicatedPlan(plan) {
            let eligible = members.values.filter(\.isEligible).map(\.hello)
            format = WireChoice.best(current, planningInput(eligible, model))
        }
        guard format != recordedWire else { return settle(format) }
        log(.info, "hidden states of the pictures to come travel as \(format.rawValue)")
        let ticket = ticket(.wire(format))
        wireChoosing = .recording(format, ticket: ticket)
        commit(.fact(name: Self.wireFact, value: format.rawValue), ticket: ticket)
    }

    /// The choice is durable.
    mutating func wireRecorded(_ format: WireFormat, _ ticket: UInt64) {
        recordedWire = format
        // A plan that was made meanwhile has opened the choice again.
        if wireChoosing == .recording(format, ticket: ticket) { settle(format) }
    }

    private mutating func settle(_ format: WireFormat) {
        wire = format
        wireChoosing = .settled
        guard let plan, plan.wire != format else { return }
        adopt(plan.placements, cause: .wire, text: "hidden states travel as \(format.rawValue)", measuresLinks: false)
    }

    /// After a job came: chooses the format again if no picture has begun.
    ///
    /// Links of workers that came while others were drawn are not known yet: they are measured first.
    mutating func reconsiderWire() {
        guard settings.wire == .auto, wireChoosing == .settled, !hasBegun, case .active(let plan) = planning else {
            return
        }
        wireChoosing = .open
        openSince = nil
        guard links(of: plan).contains(where: { measuredLinks[$0] == nil }) else { return settleWire() }
        adopt(plan.placements, cause: .wire, text: "links are measured", measuresLinks: true)
    }

    /// Why no picture begins yet, if that is why.
    var wireReason: String? {
        guard wireChoosing != .settled else { return nil }
        guard case .loading(_, let missing) = planning else { return "the format of hidden states is being recorded" }
        return "\(missing.sorted().joined(separator: ", ")) loading weights and measuring links"
    }

    /// The nodes with the links that were measured: each as fast as its slowest.
    func withMeasuredLinks(_ nodes: [PlanningNode]) -> [PlanningNode] {
        nodes.withLinks(
            measuredLinks.compactMap { ends, link in link.speed.map { (ends: [ends.from, ends.to], speed: $0) } })
    }

    /// The link from a worker of the plan to the next one, where it was measured.
    func measuredLink(from name: String) -> MeasuredLink? {
        guard let plan, let ends = links(of: plan).first(where: { $0.from == name }) else { return nil }
        return measuredLinks[ends]?.speed.map { MeasuredLink(target: ends.to, speed: $0) }
    }

    private func links(of plan: ClusterPlan) -> [LinkEnds] {
        plan.pipelines.flatMap { pipeline in
            zip(pipeline, pipeline.dropFirst()).map { LinkEnds(from: $0.worker, to: $1.worker) }
        }
    }
}
