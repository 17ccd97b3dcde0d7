package import Plan

/// Pipelines of one model beside each other, by name.
package struct ReplicatedPlan: Equatable, Sendable {
    /// Each replica's own cut.
    ///
    /// A worker with blocks is in one of them; one without may encode or decode for several.
    package var replicas: [CutPlan]

    /// Wraps the cuts.
    package init(_ replicas: [CutPlan]) { self.replicas = replicas }

    /// As a plan's placements: replica after replica, those that serve several of them last, by name.
    package func placements(endpoints: [String: String]) -> [Placement] {
        var placements: [Placement] = []
        for (number, cut) in replicas.enumerated() {
            for var share in cut.placements(endpoints: endpoints) {
                if let known = placements.firstIndex(where: { $0.worker == share.worker }) {
                    placements[known].encodes = placements[known].encodes || share.encodes
                    placements[known].decodes = placements[known].decodes || share.decodes
                    placements[known].replica = nil
                } else {
                    share.replica = number
                    placements.append(share)
                }
            }
        }
        return placements.filter { $0.replica != nil }
            + placements.filter { $0.replica == nil }.sorted { $0.worker < $1.worker }
    }

    /// Reads placements back; nil when a replica has nobody who encodes, or nobody who decodes.
    package init?(_ plan: ClusterPlan) {
        replicas = []
        for (number, pipeline) in plan.pipelines.enumerated() {
            // Its own worker before one that serves several.
            let serving = plan.placements.filter { $0.serves(number) }
            let encoders = serving.filter(\.encodes)
            guard let encoder = encoders.first(where: { $0.replica != nil }) ?? encoders.first else { return nil }
            let decoders = serving.filter(\.decodes).map(\.worker)
            guard !decoders.isEmpty else { return nil }
            replicas.append(
                CutPlan(
                    spans: pipeline.map { CutPlan.Span(node: $0.worker, blocks: $0.span) }, encoder: encoder.worker,
                    decoders: decoders))
        }
        if replicas.isEmpty { return nil }
    }
}

extension Planner {
    /// Difference in predicted speed below which the division with more replicas is taken: the formula knows nothing of
    /// bubbles and queues, of which short pipelines have less.
    private static let tie = 0.02

    /// The plan for some workers in so many replicas, or in as many as are best.
    ///
    /// A replica is a group of workers with blocks, planned for itself; a worker with blocks encodes and decodes for its
    /// own replica only. Workers that offer no blocks serve all replicas: each replica is planned with their memory, and
    /// with its share of their time. For each number of groups three divisions are tried: by name, by speed (equally
    /// fast ones together), and by memory (each next larger one to the group that has least); other divisions are not
    /// searched, which can matter where workers differ much. Of those that fit into memory the one with the largest sum of
    /// 1 / bottleneck is taken. `auto` tries the numbers that divide the workers into groups of 1, 2, 3, and so on, until two
    /// in a row are slower than the best so far, and one group; without measured times it takes one.
    ///
    /// Messages wait meanwhile: `abbozzo plan` for 64 workers and FLUX's blocks took 2.1 s where they were equal and 2.7 s where
    /// each had another speed, beside other load on a Zen 2.
    package static func plan(
        _ input: PlanningInput, replicas rule: ReplicaRule
    ) throws(PlanningFailure) -> ReplicatedPlan {
        let carriers = input.nodes.count { $0.roles.contains(.blocks) }
        switch rule {
        case .count(let wanted):
            var known = KnownCuts()
            for count in stride(from: min(wanted, carriers), to: 1, by: -1) {
                if let (plan, _) = best(input, groups: count, &known) { return plan }
            }
            return ReplicatedPlan([try plan(input)])
        case .auto:
            let one = ReplicatedPlan([try plan(input)])
            guard isMeasured(input), let rate = rate(one, input) else { return one }
            var (known, found, most, slower) = (KnownCuts(), [(plan: ReplicatedPlan, rate: Double)](), 0.0, 0)
            // Short pipelines are the faster ones where they fit, and long ones take longest to plan.
            for count in Set((1...max(1, carriers)).map { carriers / $0 }).sorted(by: >) where count > 1 && slower < 2 {
                guard let next = best(input, groups: count, &known) else { continue }
                slower = next.rate < most ? slower + 1 : 0
                most = max(most, next.rate)
                found.append(next)
            }
            found.append((one, rate))
            most = max(most, rate)
            return found.first { $0.rate >= (1 - tie) * most }?.plan ?? one
        }
    }

    /// Cuts of groups that were searched already: of equal machines there are few different groups.
    private struct KnownCuts {
        private var cuts: [(nodes: [PlanningNode], cut: CutPlan?)] = []

        /// The cut of these nodes, whatever they are called; nil when none fits.
        mutating func cut(_ input: PlanningInput) -> CutPlan? {
            var bare = input
            let names = input.nodes.map(\.name)
            // Names order equal plans; these do as the others did.
            let numbers = Dictionary(
                uniqueKeysWithValues: names.sorted().enumerated().map { ($1, String(1_000_000 + $0)) })
            for index in bare.nodes.indices { bare.nodes[index].name = numbers[names[index]] ?? "" }
            let own = Dictionary(uniqueKeysWithValues: numbers.map { ($1, $0) })
            let cut: CutPlan?
            if let known = cuts.first(where: { $0.nodes == bare.nodes }) {
                cut = known.cut
            } else {
                cut = try? Planner.plan(bare)
                cuts.append((bare.nodes, cut))
            }
            return cut.map { cut in
                CutPlan(
                    spans: cut.spans.map { .init(node: own[$0.node] ?? "", blocks: $0.blocks) },
                    encoder: own[cut.encoder] ?? "", decoders: cut.decoders.map { own[$0] ?? "" })
            }
        }
    }

    /// Whether a running plan stays: the new one is not worth the change, and does not come closer to what was asked for.
    package static func keeps(
        _ current: ReplicatedPlan, over plan: ReplicatedPlan, _ input: PlanningInput, replicas rule: ReplicaRule
    ) -> Bool {
        if current == plan { return true }
        if current.replicas.count == 1 && plan.replicas.count == 1 {
            return keeps(current.replicas[0], over: plan.replicas[0], input)
        }
        guard rule == .auto || current.replicas.count == plan.replicas.count, input.rule == .measured,
            isMeasured(input), shortage(current, input) == nil, let before = rate(current, input),
            let after = rate(plan, input)
        else { return false }
        return after / before - 1 <= worthwhileGain
    }

    /// Pictures a second of all replicas together by the formula; nil when a worker is not there, or nothing is known.
    static func rate(_ plan: ReplicatedPlan, _ input: PlanningInput) -> Double? {
        var sum = 0.0
        for cut in plan.replicas {
            guard let seconds = bottleneck(cut, part(input, of: cut, in: plan)), seconds > 0 else { return nil }
            sum += 1 / seconds
        }
        return sum
    }

    /// What one replica of a plan is to be predicted from.
    static func part(_ input: PlanningInput, of cut: CutPlan, in plan: ReplicatedPlan) -> PlanningInput {
        part(input, Set(cut.spans.map(\.node) + cut.decoders + [cut.encoder]), groups: plan.replicas.count)
    }

    /// The workers of one of several groups, and the group's share of those without blocks.
    private static func part(_ input: PlanningInput, _ group: Set<String>, groups: Int) -> PlanningInput {
        let guess = meanRate(input)
        var part = input
        part.nodes = input.nodes.compactMap { node in
            guard node.roles.contains(.blocks) else { return node.slower(Double(groups), guess: guess) }
            return group.contains(node.name) ? node : nil
        }
        return part
    }

    /// The best of the divisions into so many groups; nil when none fits.
    private static func best(
        _ input: PlanningInput, groups count: Int, _ known: inout KnownCuts
    ) -> (plan: ReplicatedPlan, rate: Double)? {
        var best: (plan: ReplicatedPlan, rate: Double)?
        for division in divisions(input, groups: count) {
            var cuts: [CutPlan] = []
            for group in division {
                guard let cut = known.cut(part(input, group, groups: count)) else { break }
                cuts.append(cut)
            }
            let plan = ReplicatedPlan(cuts)
            guard cuts.count == count, input.model.sizes == nil || shortage(plan, input) == nil else { continue }
            let rate = isMeasured(input) ? Self.rate(plan, input) ?? 0 : 0
            if best.map({ rate > $0.rate * (1 + 1e-9) }) ?? true { best = (plan, rate) }
        }
        return best
    }

    /// Divisions of the workers with blocks, the plainest first.
    private static func divisions(_ input: PlanningInput, groups count: Int) -> [[Set<String>]] {
        let carriers = input.nodes.filter { $0.roles.contains(.blocks) }
        func inChunks(_ nodes: [PlanningNode]) -> [Set<String>] {
            ClusterPlan.evenSpans(blockCount: nodes.count, workers: count).map { Set(nodes[$0].map(\.name)) }
        }
        let byName = inChunks(carriers)
        guard isMeasured(input), let costs = costs(input) else { return [byName] }
        let work = Dictionary(costs.map { ($0.name, $0.blockSeconds.reduce(0, +)) }, uniquingKeysWith: { $1 })
        let bySpeed = carriers.sorted { (work[$0.name] ?? 0, $0.name) < (work[$1.name] ?? 0, $1.name) }
        var byMemory = Array(repeating: (bytes: 0.0, names: Set<String>()), count: count)
        for node in carriers.sorted(by: { (-$0.memory, $0.name) < (-$1.memory, $1.name) }) {
            guard let least = byMemory.indices.min(by: { (byMemory[$0].bytes, $0) < (byMemory[$1].bytes, $1) })
            else { continue }
            byMemory[least].bytes += node.memory
            byMemory[least].names.insert(node.name)
        }
        return [byName, inChunks(bySpeed), byMemory.map(\.names)]
    }

    /// Why a plan does not fit into memory; nil when it does.
    static func shortage(_ plan: ReplicatedPlan, _ input: PlanningInput) -> String? {
        for cut in plan.replicas {
            if let text = shortage(cut, input) { return text }
        }
        // Who encodes for one replica and decodes for another holds both.
        for node in costs(input) ?? [] where !node.roles.contains(.blocks) {
            let bytes =
                (plan.replicas.contains { $0.encoder == node.name } ? node.encoderBytes : 0)
                + (plan.replicas.contains { $0.decoders.contains(node.name) } ? node.decoderBytes : 0)
            if bytes > node.usableBytes { return "\(node.name) has no room for encoders and decoder together" }
        }
        return nil
    }
}

extension PlanningNode {
    /// The same node with so many times the time for everything; `guess` is what one of unknown speed is taken to do.
    fileprivate func slower(_ factor: Double, guess: Double) -> PlanningNode {
        var node = self
        node.guess = guess / factor
        switch speed {
        case .measured(let costs): node.speed = .measured(costs.faster(1 / factor))
        case .rate(let rate): node.speed = .rate(rate / factor)
        case nil: break
        }
        return node
    }
}
