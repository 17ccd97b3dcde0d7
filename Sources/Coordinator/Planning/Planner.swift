package import Plan

/// Everything that a plan depends on.
package struct PlanningInput: Equatable, Sendable {
    /// The model.
    package var model: ModelFacts
    /// Who is there.
    package var nodes: [PlanningNode]
    /// What for.
    package var mix: PictureMix
    /// How to cut.
    package var rule: CutRule
    /// Bytes of a value between workers.
    package var bytesPerValue: Double

    /// Joins the fields; nodes are put in order of name.
    package init(
        model: ModelFacts, nodes: [PlanningNode], mix: PictureMix, rule: CutRule = .measured, bytesPerValue: Double = 4
    ) {
        self.model = model
        self.nodes = nodes.sorted { $0.name < $1.name }
        self.mix = mix
        self.rule = rule
        self.bytesPerValue = bytesPerValue
    }
}

/// Who does what, by name.
package struct CutPlan: Equatable, Sendable {
    /// One worker's blocks.
    package struct Span: Equatable, Sendable {
        /// The worker.
        package var node: String
        /// Its blocks.
        package var blocks: Range<Int>

        /// Joins both.
        package init(node: String, blocks: Range<Int>) {
            self.node = node
            self.blocks = blocks
        }
    }

    /// The pipeline, first blocks first.
    package var spans: [Span]
    /// Who encodes prompts.
    package var encoder: String
    /// Who decodes latents, by name.
    package var decoders: [String]

    /// Joins the fields.
    package init(spans: [Span], encoder: String, decoders: [String]) {
        self.spans = spans
        self.encoder = encoder
        self.decoders = decoders.sorted()
    }

    /// As a plan's placements: the pipeline, then those that only encode or decode, by name.
    package func placements(endpoints: [String: String]) -> [Placement] {
        let others = Set(decoders + [encoder]).subtracting(spans.map(\.node)).sorted()
        let shares = spans.map { ($0.node, $0.blocks) } + others.map { ($0, 0..<0) }
        return shares.map { name, blocks in
            Placement(
                worker: name, span: blocks, encodes: name == encoder, decodes: decoders.contains(name),
                endpoint: endpoints[name] ?? "")
        }
    }

    /// Reads placements back; nil when nobody encodes or nobody decodes.
    package init?(_ placements: [Placement]) {
        let decoders = placements.filter(\.decodes).map(\.worker)
        guard let encoder = placements.first(where: \.encodes), !decoders.isEmpty else { return nil }
        spans = placements.filter { !$0.span.isEmpty }.map { Span(node: $0.worker, blocks: $0.span) }
        (self.encoder, self.decoders) = (encoder.worker, decoders.sorted())
    }
}

/// Why there is no plan: one line with what is missing and where.
package struct PlanningFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The line.
    package let description: String

    /// Wraps the line.
    package init(_ description: String) { self.description = description }
}

/// Places a model on workers: a pure function, so that equal input gives an equal plan.
package enum Planner {
    /// Gain in pictures an hour below which a running plan is not exchanged: a new one costs reading weights, and
    /// measured times are only good to a few percent.
    package static let worthwhileGain = 0.10

    /// The plan for some workers.
    ///
    /// By measured times if every worker that offers blocks has them and the rule says so; otherwise the encoder is the
    /// first worker that offers it, the decoder the last one, and blocks are cut evenly over all that offer them.
    package static func plan(_ input: PlanningInput) throws(PlanningFailure) -> CutPlan {
        for role in [Role.encoder, .blocks, .decoder] where !input.nodes.contains(where: { $0.roles.contains(role) }) {
            throw PlanningFailure("no worker offers role \(role.rawValue)")
        }
        let simple = cutByCount(input)
        guard input.model.sizes != nil else { return simple }
        switch input.rule {
        case .measured where isMeasured(input): break
        default:
            // Nothing is known of times, but weights that do not fit must not be tried.
            if shortage(simple, input) == nil { return simple }
            guard input.rule == .measured else { throw PlanningFailure(shortage(simple, input) ?? "") }
        }
        return try cutByCost(input)
    }

    /// Whether all speeds that a plan needs are known.
    package static func isMeasured(_ input: PlanningInput) -> Bool {
        input.model.sizes != nil && input.nodes.filter { $0.roles.contains(.blocks) }.allSatisfy { $0.speed != nil }
    }

    /// How much faster `plan` is than `current` with the same workers: 0.1 for 10 %; nil when the current one cannot go
    /// on, or nothing can be said.
    package static func gain(of plan: CutPlan, over current: CutPlan, _ input: PlanningInput) -> Double? {
        guard isMeasured(input), shortage(current, input) == nil, let before = bottleneck(current, input),
            let after = bottleneck(plan, input), after > 0
        else { return nil }
        return before / after - 1
    }

    /// Whether a running plan stays: the new one is not worth the change.
    package static func keeps(_ current: CutPlan, over plan: CutPlan, _ input: PlanningInput) -> Bool {
        if current == plan { return true }
        guard input.rule == .measured else { return false }
        return gain(of: plan, over: current, input).map { $0 <= worthwhileGain } ?? false
    }

    /// Seconds for one picture at the slowest place of a plan; nil when it names workers that are not there.
    package static func bottleneck(_ plan: CutPlan, _ input: PlanningInput) -> Double? {
        guard let (search, spans) = search(plan, input) else { return nil }
        let idle = ([search.encoder] + search.decoders).map { search.load($0, 0..<0) }
        return (spans.map { search.cost($0.node, $0.span) } + idle + [search.level(spans)]).max()
    }

    /// Why a plan does not fit into memory; nil when it does.
    package static func shortage(_ plan: CutPlan, _ input: PlanningInput) -> String? {
        guard let (search, spans) = search(plan, input) else { return "a worker of the plan is not there" }
        let all =
            spans + Set(search.decoders + [search.encoder]).subtracting(spans.map(\.node)).sorted().map { ($0, 0..<0) }
        for (node, span) in all {
            let missing = search.need(node, span) - search.nodes[node].usableBytes
            if missing > 0 { return Self.text(missing, input.nodes[node]) }
        }
        return nil
    }

    /// Operations a second of those nodes of which that is known, on average; 1 where it is of none.
    static func meanRate(_ input: PlanningInput) -> Double {
        let rates = input.nodes.compactMap { $0.rate(width: Double(input.model.width)) }
        return rates.isEmpty ? 1 : rates.reduce(0, +) / Double(rates.count)
    }

    /// The numbers of each node, in the input's order; nil for a model whose sizes are not known.
    package static func costs(_ input: PlanningInput) -> [NodeCosts]? {
        // A worker without blocks has measured none, and encoders that are too large to try neither: it is taken to be as fast
        // as the others are.
        let guess = meanRate(input)
        return input.model.sizes.map { sizes in
            input.nodes.map { node in
                var node = node
                node.guess = node.guess ?? guess
                return NodeCosts(
                    node, model: input.model, sizes: sizes, mix: input.mix, bytesPerValue: input.bytesPerValue)
            }
        }
    }

    private static func search(
        _ plan: CutPlan, _ input: PlanningInput
    ) -> (CutSearch, [(node: Int, span: Range<Int>)])? {
        func place(_ name: String) -> Int? { input.nodes.firstIndex { $0.name == name } }
        let decoders = plan.decoders.compactMap(place)
        guard let nodes = costs(input), let encoder = place(plan.encoder), decoders.count == plan.decoders.count else {
            return nil
        }
        let spans = plan.spans.compactMap { span in place(span.node).map { (node: $0, span: span.blocks) } }
        guard spans.count == plan.spans.count else { return nil }
        return (CutSearch(nodes: nodes, encoder: encoder, decoders: decoders), spans)
    }
}

// MARK: - Without measured times

extension Planner {
    private static func cutByCount(_ input: PlanningInput) -> CutPlan {
        let blocks = input.model.blockCount
        let pipeline = input.nodes.filter { $0.roles.contains(.blocks) }.prefix(blocks)
        var spans = ClusterPlan.evenSpans(blockCount: blocks, workers: pipeline.count)
        if case .counts(let cut) = input.rule, cut.count == pipeline.count, cut.allSatisfy({ $0 > 0 }),
            cut.reduce(0, +) == blocks
        {
            spans = cut.indices.map { place in
                let start = cut[..<place].reduce(0, +)
                return start..<start + cut[place]
            }
        }
        return CutPlan(
            spans: zip(pipeline, spans).map { CutPlan.Span(node: $0.name, blocks: $1) },
            encoder: input.nodes.first { $0.roles.contains(.encoder) }?.name ?? "",
            decoders: input.nodes.last { $0.roles.contains(.decoder) }.map { [$0.name] } ?? [])
    }
}

// MARK: - By measured times and memory

extension Planner {
    /// Pairs of encoder and decoder that are searched thoroughly, of those that look best.
    private static let thorough = 4
    /// Nodes of each role that are considered: those with most memory and those that are fastest.
    private static let candidates = 8

    private static func cutByCost(_ input: PlanningInput) throws(PlanningFailure) -> CutPlan {
        guard let nodes = costs(input) else { throw PlanningFailure("the model's sizes are not known") }
        let one = best(nodes).map { plan($0, nodes) }
        guard let all = shared(nodes).map({ plan($0, nodes) }) else {
            guard let one else { throw PlanningFailure(reason(nodes, input)) }
            return one
        }
        guard let one else { return all }
        // Where the pipeline is long the simulation would keep the coordinator from its work: then by the slowest place.
        if max(one.spans.count, all.spans.count) <= mostForSimulation, let first = Forecast(one, input),
            let second = Forecast(all, input)
        {
            return second.picturesPerHour > (1 + decodersGain) * first.picturesPerHour ? all : one
        }
        guard let first = bottleneck(one, input), let second = bottleneck(all, input) else { return one }
        return first > (1 + decodersGain) * second ? all : one
    }

    private static func plan(_ found: (search: CutSearch, cut: CutSearch.Cut), _ nodes: [NodeCosts]) -> CutPlan {
        CutPlan(
            spans: found.cut.spans.map { CutPlan.Span(node: nodes[$0.node].name, blocks: $0.span) },
            encoder: nodes[found.search.encoder].name, decoders: found.search.decoders.map { nodes[$0].name })
    }

    /// The best cut over all nodes with one worker that decodes, and who encodes and decodes: each pair is tried in order
    /// of name, the best few in every order (up to seven nodes) or in a few sensible ones, improved by exchanging
    /// neighbours.
    static func best(_ nodes: [NodeCosts]) -> (CutSearch, CutSearch.Cut)? {
        let byName = Array(nodes.indices)
        var pairs: [(search: CutSearch, cut: CutSearch.Cut)] = []
        for encoder in holders(.encoder, nodes) {
            for decoder in holders(.decoder, nodes).reversed() {
                let search = CutSearch(nodes: nodes, encoder: encoder, decoders: [decoder])
                if let cut = search.inOrder(byName) { pairs.append((search, cut)) }
            }
        }
        // Stable: of equal pairs the first encoder and the last decoder by name stay in front.
        let ranked = pairs.enumerated().sorted { left, right in
            if left.element.cut.precedes(right.element.cut) { return true }
            return !right.element.cut.precedes(left.element.cut) && left.offset < right.offset
        }
        // Memory can forbid an order of names that another order allows.
        let chosen =
            ranked.isEmpty
            ? holders(.encoder, nodes).flatMap { encoder in
                holders(.decoder, nodes).reversed().map { CutSearch(nodes: nodes, encoder: encoder, decoders: [$0]) }
            } : ranked.prefix(thorough).map(\.element.search)
        var best: (search: CutSearch, cut: CutSearch.Cut)?
        for search in chosen {
            guard let cut = thoroughly(search) else { continue }
            if best.map({ cut.precedes($0.cut) }) ?? true { best = (search, cut) }
        }
        return best.map { ($0.search, $0.cut) }
    }

    /// Workers with blocks up to which plans are compared by the simulation.
    private static let mostForSimulation = 16
    /// Gain in pictures an hour from which all workers decode: it takes memory on each.
    private static let decodersGain = 0.02

    /// The best cut if everybody who can decodes.
    ///
    /// Pictures go through a pipeline in phase. A worker that decodes for all has fewer blocks for it, so the others are
    /// its bottleneck while steps are computed, and it is theirs while it decodes; sums over a picture's course show
    /// nothing of that, the simulation does.
    private static func shared(_ nodes: [NodeCosts]) -> (search: CutSearch, cut: CutSearch.Cut)? {
        let decoders = nodes.indices.filter {
            nodes[$0].roles.contains(.decoder) && nodes[$0].decoderBytes <= nodes[$0].usableBytes
        }
        guard decoders.count > 1 else { return nil }
        var best: (search: CutSearch, cut: CutSearch.Cut)?
        for encoder in holders(.encoder, nodes) {
            let search = CutSearch(nodes: nodes, encoder: encoder, decoders: decoders)
            guard let cut = search.inOrder(Array(nodes.indices)) else { continue }
            if best.map({ cut.precedes($0.cut) }) ?? true { best = (search, cut) }
        }
        return best.flatMap { best in thoroughly(best.search).map { (best.search, $0) } }
    }

    private static func thoroughly(_ search: CutSearch) -> CutSearch.Cut? {
        let nodes = search.nodes
        if nodes.count <= CutSearch.mostForAllOrders { return search.anyOrder() }
        func order(_ key: (NodeCosts) -> Double) -> [Int] {
            nodes.indices.sorted { (key(nodes[$0]), $0) < (key(nodes[$1]), $1) }
        }
        func work(_ node: NodeCosts) -> Double { node.blockSeconds.reduce(0, +) }
        let orders = [
            Array(nodes.indices), order(work), order { -work($0) }, order { $0.usableBytes }, order { -$0.usableBytes },
        ]
        var best: (order: [Int], cut: CutSearch.Cut)?
        for order in orders {
            guard let cut = search.inOrder(order) else { continue }
            if best.map({ cut.precedes($0.cut) }) ?? true { best = (order, cut) }
        }
        guard var (order, cut) = best else { return nil }
        for _ in 0..<2 {
            var isBetter = false
            for place in 0..<order.count - 1 {
                var other = order
                other.swapAt(place, place + 1)
                guard let next = search.inOrder(other), next.precedes(cut) else { continue }
                (order, cut, isBetter) = (other, next, true)
            }
            if !isBetter { break }
        }
        return cut
    }

    /// Nodes that may take a role, by name: all of a few, of many those with most memory and the fastest.
    private static func holders(_ role: Role, _ nodes: [NodeCosts]) -> [Int] {
        let all = nodes.indices.filter { nodes[$0].roles.contains(role) }
        guard all.count > candidates else { return all }
        func time(_ node: Int) -> Double {
            role == .encoder ? nodes[node].encodeSeconds : nodes[node].decodeSeconds
        }
        let roomy = all.sorted { (-nodes[$0].usableBytes, $0) < (-nodes[$1].usableBytes, $1) }.prefix(candidates / 2)
        let fast = all.sorted { (time($0), $0) < (time($1), $1) }.prefix(candidates / 2)
        return Set(roomy).union(fast).sorted()
    }

    /// Why nothing fits: the worker that needs least more memory, and how much; of many workers one of those that have most, of
    /// all and of each role.
    ///
    /// Each is asked a dozen times whether a plan fits now, and messages wait meanwhile: for 40 workers that all were asked it
    /// took 2 s.
    private static func reason(_ nodes: [NodeCosts], _ input: PlanningInput) -> String {
        var least: (node: Int, bytes: Double)?
        let most =
            nodes[0].blockBytes.reduce(0, +) + nodes[0].workspaceBytes + nodes[0].encoderBytes + nodes[0].decoderBytes
        let roomiest = nodes.indices.sorted { (-nodes[$0].usableBytes, $0) < (-nodes[$1].usableBytes, $1) }
        let ofRoles = Role.allCases.compactMap { role in roomiest.first { nodes[$0].roles.contains(role) } }
        for node in Set(roomiest.prefix(candidates / 2) + ofRoles).sorted() {
            func fits(_ bytes: Double) -> Bool {
                var tried = input
                tried.nodes[node].memory += bytes / NodeCosts.memoryShare
                return costs(tried).flatMap { best($0) } != nil
            }
            guard fits(most) else { continue }
            var (low, high) = (0.0, most)
            // Down to 1 %, for a number that people read.
            while high - low > 0.01 * high {
                let middle = (low + high) / 2
                if fits(middle) { high = middle } else { low = middle }
            }
            if least.map({ high < $0.bytes }) ?? true { least = (node, high) }
        }
        guard let least else { return "the model does not fit: no single worker with more RAM would change that" }
        return text(least.bytes, input.nodes[least.node])
    }

    private static func text(_ bytes: Double, _ node: PlanningNode) -> String {
        // What is asked for includes the share that stays free.
        "needs \(gigabytes(bytes / NodeCosts.memoryShare)) more RAM on \(node.name), which has "
            + "\(gigabytes(node.memory)), 20 % of it kept free; or another worker"
    }

    private static func gigabytes(_ bytes: Double) -> String {
        let tenths = Int((bytes / 1e8).rounded(.up))
        return "\(tenths / 10).\(tenths % 10) GB"
    }
}
