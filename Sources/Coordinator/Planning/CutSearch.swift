internal import Plan

/// Finds the best contiguous cut of a model over some nodes.
///
/// A picture makes node p compute for `load_p = sum of w_p(b) over its blocks + encoding + decoding`, and its link to the
/// next node busy for `link_p`; w_p(b) is the measured time of block b there, summed over the mix's calls. With enough
/// pictures in flight all of them overlap, so the pipeline gives one picture every
///
///     bottleneck = max over p of max(load_p, link_p)        link_p = 0 where one node has all blocks
///
/// Of several decoders the one that has least to do gets the next decoding, so they fill up what the blocks leave uneven:
/// the search is for the blocks alone then, and the bottleneck no less than the level that decodings rise to.
///
/// and the search minimises that, exactly, over all cuts: with best(j, S) the smallest bottleneck of the first j blocks on
/// the set S of nodes,
///
///     best(j, S) = min over p in S of  max(best(j, S - p), extra_p)                                      p has no block
///                                      min over i < j of max(best(i, S - p), cost_p(i ..< j))            p ends at block j
///
/// where cost is infinite if weights, workspace and the node's other parts exceed its usable memory. For a given order the
/// sets are its prefixes. Among cuts with the smallest bottleneck a second pass of the same form takes the one with the
/// smallest sum of squared loads, which keeps the others from being loaded for nothing; of equal ones the order of names
/// wins, so that equal input gives an equal plan.
struct CutSearch {
    /// A cut: the nodes in order of the pipeline with their blocks.
    struct Cut: Equatable {
        var spans: [(node: Int, span: Range<Int>)]
        /// Seconds for one picture at the slowest place.
        var bottleneck: Double
        /// Sum of squared loads.
        var squares: Double

        static func == (left: Cut, right: Cut) -> Bool {
            left.bottleneck == right.bottleneck && left.squares == right.squares
                && left.spans.elementsEqual(right.spans) { $0.node == $1.node && $0.span == $1.span }
        }

        /// Whether it is the better one.
        func precedes(_ other: Cut) -> Bool {
            let tolerance = 1e-9 * max(bottleneck, other.bottleneck)
            if abs(bottleneck - other.bottleneck) > tolerance { return bottleneck < other.bottleneck }
            return squares < other.squares * (1 - 1e-9)
        }
    }

    /// Nodes up to which every order is tried, by sets: 2^7 of them.
    static let mostForAllOrders = 7

    let nodes: [NodeCosts]
    /// Who encodes and who decodes; of several decoders each gets as much as brings them to one level.
    let encoder: Int
    let decoders: [Int]
    private let blocks: Int
    /// Sums of seconds and bytes of the blocks before each, for every node.
    private let seconds: [[Double]]
    private let bytes: [[Double]]
    private let extra: [Double]
    private let held: [Double]
    /// Of each node, what the inner loops ask millions of times: reading it out of the nodes' numbers took half of the time.
    private let usable: [Double]
    private let workspace: [Double]
    private let link: [Double]
    private let carries: [Bool]

    init(nodes: [NodeCosts], encoder: Int, decoders: [Int]) {
        self.nodes = nodes
        self.encoder = encoder
        self.decoders = decoders
        blocks = nodes.first?.blockSeconds.count ?? 0
        func sums(_ values: [Double]) -> [Double] {
            values.reduce(into: [0]) { sums, value in sums.append((sums.last ?? 0) + value) }
        }
        usable = nodes.map(\.usableBytes)
        workspace = nodes.map(\.workspaceBytes)
        link = nodes.map(\.linkSeconds)
        carries = nodes.map { $0.roles.contains(.blocks) }
        seconds = nodes.map { sums($0.blockSeconds) }
        bytes = nodes.map { sums($0.blockBytes) }
        extra = nodes.indices.map {
            (encoder == $0 ? nodes[$0].encodeSeconds : 0) + (decoders == [$0] ? nodes[$0].decodeSeconds : 0)
        }
        held = nodes.indices.map {
            (encoder == $0 ? nodes[$0].encoderBytes : 0) + (decoders.contains($0) ? nodes[$0].decoderBytes : 0)
        }
    }

    /// The level that decoders rise to when the one with least to do gets the next decoding: seconds for one picture.
    ///
    /// `loads` are the seconds that each has to do besides, `alone` those in which each would do all decodings. A decoder
    /// above the level gets none. Solves: sum over those below of (level - load) / alone = 1.
    static func level(_ loads: [Double], _ alone: [Double]) -> Double {
        promise(loads.count == alone.count && !loads.isEmpty, "\(loads.count) loads, \(alone.count) decoders")
        guard alone.allSatisfy({ $0 > 0 }) else { return loads.min() ?? 0 }
        // Taken in from below, until the next one is above the level of those before.
        var (speed, filled, level) = (0.0, 0.0, Double.infinity)
        for place in loads.indices.sorted(by: { (loads[$0], $0) < (loads[$1], $1) }) where loads[place] < level {
            speed += 1 / alone[place]
            filled += loads[place] / alone[place]
            level = (1 + filled) / speed
        }
        return level
    }

    /// The level of this search's decoders with some spans; 0 with one decoder, whose load is complete as it is.
    func level(_ spans: [(node: Int, span: Range<Int>)]) -> Double {
        guard decoders.count > 1 else { return 0 }
        let loads = decoders.map { node in load(node, spans.first { $0.node == node }?.span ?? 0..<0) }
        return Self.level(loads, decoders.map { nodes[$0].decodeSeconds })
    }

    /// Bytes that a node would need.
    func need(_ node: Int, _ span: Range<Int>) -> Double {
        held[node]
            + (span.isEmpty
                ? 0 : bytes[node][span.upperBound] - bytes[node][span.lowerBound] + workspace[node])
    }

    /// Whether it has them; with `more` bytes, in search of how many are missing.
    func fits(_ node: Int, _ span: Range<Int>, more: Double = 0) -> Bool {
        need(node, span) <= usable[node] + more && (span.isEmpty || carries[node])
    }

    /// Seconds that a picture occupies a node's processor; without decodings where several decode.
    func load(_ node: Int, _ span: Range<Int>) -> Double {
        extra[node] + seconds[node][span.upperBound] - seconds[node][span.lowerBound]
    }

    /// Seconds that a picture occupies the node or its link, whichever is longer.
    func cost(_ node: Int, _ span: Range<Int>) -> Double {
        span.isEmpty || span.count == blocks
            ? load(node, span) : max(load(node, span), link[node])
    }

    /// The best cut over any order of the nodes, up to `mostForAllOrders` of them.
    func anyOrder() -> Cut? {
        promise(nodes.count <= Self.mostForAllOrders, "\(nodes.count) nodes")
        let sets = 1 << nodes.count
        return search(
            states: sets, last: sets - 1,
            steps: { set in
                nodes.indices.reversed().compactMap { set & (1 << $0) == 0 ? nil : (node: $0, before: set ^ (1 << $0)) }
            })
    }

    /// The best cut over the nodes in this order.
    func inOrder(_ order: [Int]) -> Cut? {
        search(states: order.count + 1, last: order.count) { $0 == 0 ? [] : [(order[$0 - 1], $0 - 1)] }
    }

    /// State 0 has used no node; `steps` lists by which node, and from which state before, a state is reached.
    private func search(
        states: Int, last: Int, steps: (Int) -> [(node: Int, before: Int)]
    ) -> Cut? {
        guard blocks > 0 else { return nil }
        let places = blocks + 1
        var best = Array(repeating: Double.infinity, count: states * places)
        best[0] = 0
        for state in 1..<max(states, 2) where state < states {
            for (node, before) in steps(state) {
                let mayIdle = fits(node, 0..<0)
                for end in 0..<places {
                    let target = state * places + end
                    var value = best[target]
                    if mayIdle { value = min(value, max(best[before * places + end], extra[node])) }
                    for start in (0..<end).reversed() {
                        let span = start..<end
                        // Both only rise as the span grows.
                        guard load(node, span) < value, fits(node, span) else { break }
                        value = min(value, max(best[before * places + start], cost(node, span)))
                    }
                    best[target] = value
                }
            }
        }
        let bottleneck = best[last * places + blocks]
        guard bottleneck.isFinite else { return nil }
        return balanced(within: bottleneck, states: states, last: last, steps: steps)
    }

    /// The second pass: the smallest sum of squared loads with no cost above the bottleneck.
    private func balanced(
        within bottleneck: Double, states: Int, last: Int, steps: (Int) -> [(node: Int, before: Int)]
    ) -> Cut? {
        let limit = bottleneck * (1 + 1e-12)
        let places = blocks + 1
        var best = Array(repeating: Double.infinity, count: states * places)
        var from = Array(repeating: (node: 0, before: 0, start: 0), count: states * places)
        best[0] = 0
        for state in 1..<max(states, 2) where state < states {
            for (node, before) in steps(state) {
                let mayIdle = fits(node, 0..<0) && extra[node] <= limit
                for end in 0..<places {
                    let target = state * places + end
                    func offer(_ start: Int, _ load: Double) {
                        let value = best[before * places + start] + load * load
                        // A node that comes later has to be better by more than rounding.
                        guard value < best[target] * (1 - 1e-12) || best[target] == .infinity && value < .infinity
                        else { return }
                        best[target] = value
                        from[target] = (node, before, start)
                    }
                    for start in (0..<end).reversed() {
                        let span = start..<end
                        guard load(node, span) <= limit, fits(node, span) else { break }
                        if cost(node, span) <= limit { offer(start, load(node, span)) }
                    }
                    if mayIdle { offer(end, extra[node]) }
                }
            }
        }
        guard best[last * places + blocks].isFinite else { return nil }
        var spans: [(node: Int, span: Range<Int>)] = []
        var (state, end) = (last, blocks)
        while state != 0 {
            let (node, before, start) = from[state * places + end]
            if start < end { spans.insert((node, start..<end), at: 0) }
            (state, end) = (before, start)
        }
        return Cut(
            spans: spans, bottleneck: max(bottleneck, level(spans)), squares: best[last * places + blocks])
    }
}
