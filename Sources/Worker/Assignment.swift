package import Plan
package import Stages

/// One worker's view of a plan: its share and its neighbours.
package struct Assignment: Equatable, Sendable {
    /// Generation of the plan.
    package let epoch: Epoch
    /// The share of this worker.
    package let placement: Placement
    /// The worker with the span before; nil when the coordinator sends latents here, or without a span.
    package let upstream: Placement?
    /// The worker with the next span; nil for the last one, which answers the coordinator.
    package let downstream: Placement?
    /// How hidden states travel to and from here.
    package let wire: WireFormat
    /// Whether the link to the next worker is to be measured first.
    package let measuresLink: Bool
    /// Whether the worker before measures its link to here.
    package let expectsProbes: Bool

    /// Finds `worker` in a plan; nil if the plan has no work for it.
    package init?(_ plan: ClusterPlan, worker: String) {
        guard let placement = plan.placements.first(where: { $0.worker == worker }),
            !placement.span.isEmpty || placement.encodes || placement.decodes
        else { return nil }
        epoch = plan.epoch
        wire = plan.wire
        self.placement = placement
        let pipeline = plan.pipeline(of: placement.replica ?? 0) ?? []
        let place = pipeline.firstIndex { $0.worker == worker }
        upstream = place.flatMap { $0 > 0 ? pipeline[$0 - 1] : nil }
        downstream = place.flatMap { $0 + 1 < pipeline.count ? pipeline[$0 + 1] : nil }
        measuresLink = plan.measuresLinks == true && downstream != nil
        expectsProbes = plan.measuresLinks == true && upstream != nil
    }

    /// What has to be in memory.
    package var share: Share {
        Share(encodes: placement.encodes, span: placement.span, decodes: placement.decodes)
    }

    /// Whether the coordinator sends latents here.
    package var isFirst: Bool { !placement.span.isEmpty && upstream == nil }

    /// For the log: `epoch 3: blocks 0..<19, encoder, to node2`.
    package var summary: String {
        var parts: [String] = []
        if !placement.span.isEmpty { parts.append("blocks \(placement.span)") }
        if let replica = placement.replica, replica > 0 { parts.append("replica \(replica)") }
        if placement.encodes { parts.append("encoder") }
        if placement.decodes { parts.append("decoder") }
        if let downstream { parts.append("to \(downstream.worker) at \(downstream.endpoint)") }
        return "epoch \(epoch): " + parts.joined(separator: ", ")
    }
}
