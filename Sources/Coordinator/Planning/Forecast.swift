internal import Plan

/// What a plan is expected to give.
package struct Forecast: Codable, Equatable, Sendable {
    /// One worker of the plan.
    package struct Node: Codable, Equatable, Sendable {
        /// Its name.
        package var name: String
        /// The replica that it works for, from 0; nil for one that serves several.
        package var replica: Int?
        /// First block and one past the last; both 0 without blocks.
        package var firstBlock: Int
        package var endBlock: Int
        /// Whether it encodes and decodes.
        package var encodes: Bool
        package var decodes: Bool
        /// Seconds that it computes for each picture.
        package var secondsPerPicture: Double
        /// Share of the time that it computes, by the simulation.
        package var busy: Double
        /// Bytes of weights and workspace.
        package var memoryBytes: Double
        /// Bytes that may be planned with.
        package var usableBytes: Double
    }

    /// The workers, in order of the pipeline, then the rest.
    package var nodes: [Node]
    /// Pipelines beside each other; nil for one.
    package var replicas: Int?
    /// Pictures in flight, those left out that are being decoded.
    package var flights: Int
    /// Pictures an hour by the formula of `Forecast.init`.
    package var formulaPerHour: Double
    /// Pictures an hour by the event simulation.
    package var picturesPerHour: Double
    /// Share of the workers' time that is not computing, over those with blocks, by the simulation.
    package var bubble: Double
    /// Seconds of one picture alone.
    package var latencySeconds: Double
    /// Bytes of hidden states over each link between two workers, for one picture.
    package var bytesPerLink: Double
    /// Links between workers.
    package var links: Int
    /// Where the pipeline is slowest.
    package var bottleneck: String

    /// Predicts what a plan gives.
    ///
    /// For each part r of the mix with N_r calls: stage time t_p(r), hop time h(r) = bytes / bandwidth + RTT / 2. Per
    /// picture: load_p = sum of N_r t_p(r) + side tasks, link = sum of N_r h(r) without the RTT. With B pictures in flight
    ///
    ///     X = min( 1 / max load_p,  1 / max link,  B / (sum of load_p + (P - 1) sum of N_r h(r) + N u) )
    ///
    /// where N u is the coordinator's turn-around. Nil when the plan names workers that are not in the input, or nothing
    /// is known of their speed.
    ///
    /// - Source: cluster specification, section 6.3, summed over the parts.
    package init?(
        _ plan: CutPlan, _ input: PlanningInput, flightsPerWorker: Int = 2, turnaround: Double = 0.001
    ) {
        guard let shape = Shape(plan, input) else { return nil }
        let (pipeline, all, hops, loads) = (shape.pipeline, shape.all, shape.hops, shape.loads)
        let (encoder, decoders, slowestLink, mix) = (shape.encoder, shape.decoders, shape.slowestLink, input.mix)
        flights = Replica.flights(pipeline.count, perWorker: flightsPerWorker)
        latencySeconds =
            loads.reduce(0, +) + hops.reduce(0) { $0 + $1.linkSeconds + mix.steps * $1.wayThere }
            + mix.steps * turnaround
        let rate = min(1 / max(loads.max() ?? 0, slowestLink), Double(flights) / latencySeconds)
        formulaPerHour = 3600 * rate

        let simulation = PipelineSimulation(
            pipeline: pipeline, hops: hops, encoder: encoder, decoders: decoders,
            places: all.map(\.node.name), mix: mix, flights: flights, turnaround: turnaround)
        let result = simulation.run(pictures: max(36, 6 * flights))
        picturesPerHour = 3600 * result.picturesPerSecond
        bubble = 1 - result.busy.reduce(0, +) / Double(max(1, result.busy.count))

        nodes = all.enumerated().map { index, share in
            let (node, blocks) = share
            var bytes = blocks.reduce(0) { $0 + node.blockBytes[$1] } + (blocks.isEmpty ? 0 : node.workspaceBytes)
            if node.name == encoder.name { bytes += node.encoderBytes }
            if plan.decoders.contains(node.name) { bytes += node.decoderBytes }
            return Node(
                name: node.name, firstBlock: blocks.lowerBound, endBlock: blocks.upperBound,
                encodes: node.name == encoder.name, decodes: plan.decoders.contains(node.name),
                secondsPerPicture: loads[index],
                busy: index < result.busy.count ? result.busy[index] : min(1, loads[index] * result.picturesPerSecond),
                memoryBytes: bytes, usableBytes: node.usableBytes)
        }
        links = hops.count
        bytesPerLink =
            mix.parts.reduce(0) { $0 + $1.steps * Double($1.tokens) } * Double(input.model.width) * input.bytesPerValue
        let busiest = all.indices.max { loads[$0] < loads[$1] } ?? 0
        bottleneck =
            slowestLink > loads[busiest] ? "a link between workers" : all[busiest].node.name
    }

    /// Time of the slowest link as a share of the slowest worker's, for one picture; 0 without links, nil where a speed is
    /// not known.
    static func linkShare(_ plan: CutPlan, _ input: PlanningInput) -> Double? {
        guard let shape = Shape(plan, input) else { return nil }
        return shape.hops.isEmpty ? 0 : shape.slowestLink / max(shape.loads.max() ?? 0, 1e-12)
    }

    /// Predicts what several pipelines beside each other give: the sum of what each gives.
    ///
    /// The bubble is that of all workers with blocks, the latency that of the slowest replica, and so is the bottleneck.
    package init?(
        _ plan: ReplicatedPlan, _ input: PlanningInput, flightsPerWorker: Int = 2, turnaround: Double = 0.001
    ) {
        let count = plan.replicas.count
        guard count > 1 else {
            guard let cut = plan.replicas.first else { return nil }
            self.init(cut, input, flightsPerWorker: flightsPerWorker, turnaround: turnaround)
            return
        }
        var parts: [Forecast] = []
        for cut in plan.replicas {
            let part = Planner.part(input, of: cut, in: plan)
            guard let forecast = Forecast(cut, part, flightsPerWorker: flightsPerWorker, turnaround: turnaround) else {
                return nil
            }
            parts.append(forecast)
        }
        let shared = Set(input.nodes.filter { !$0.roles.contains(.blocks) }.map(\.name))
        var nodes: [Node] = []
        for (number, part) in parts.enumerated() {
            for var node in part.nodes {
                node.replica = number
                if shared.contains(node.name) {
                    // Each replica was predicted with its share of this worker's time.
                    node.secondsPerPicture /= Double(count)
                    node.busy /= Double(count)
                }
                guard let known = nodes.firstIndex(where: { $0.name == node.name }) else {
                    nodes.append(node)
                    continue
                }
                nodes[known].replica = nil
                nodes[known].busy = min(1, nodes[known].busy + node.busy)
                nodes[known].encodes = nodes[known].encodes || node.encodes
                nodes[known].decodes = nodes[known].decodes || node.decodes
                nodes[known].memoryBytes = max(nodes[known].memoryBytes, node.memoryBytes)
            }
        }
        let slowest = parts.max { $0.latencySeconds < $1.latencySeconds } ?? parts[0]
        let stages = parts.map { part in Double(part.nodes.count { $0.endBlock > $0.firstBlock }) }
        self = slowest
        self.nodes = nodes
        replicas = count
        flights = parts.reduce(0) { $0 + $1.flights }
        formulaPerHour = parts.reduce(0) { $0 + $1.formulaPerHour }
        picturesPerHour = parts.reduce(0) { $0 + $1.picturesPerHour }
        bubble = zip(parts, stages).reduce(0) { $0 + $1.0.bubble * $1.1 } / max(1, stages.reduce(0, +))
        links = parts.reduce(0) { $0 + $1.links }
    }

    /// A longer pipeline of the same stage times: for each number of workers, pictures an hour as a multiple of what they
    /// would draw without any bubble (0 to 1), by the simulation.
    ///
    /// Worker i of P has the stage times of worker i mod n of this plan's n, as a model P / n times as deep would give
    /// them; the first encodes and the last decodes, or all that do so in the plan.
    package static func efficiency(
        _ plan: CutPlan, _ input: PlanningInput, workers: Int, flightsPerWorker: Int = 2, turnaround: Double = 0.001
    ) -> Double? {
        guard Planner.isMeasured(input), let costs = Planner.costs(input), workers > 0 else { return nil }
        let pipeline = plan.spans.compactMap { span in
            costs.first { $0.name == span.node }.map { (node: $0, blocks: span.blocks) }
        }
        guard pipeline.count == plan.spans.count, !pipeline.isEmpty,
            let encoder = costs.first(where: { $0.name == plan.encoder })
        else { return nil }
        let decoders = costs.filter { plan.decoders.contains($0.name) }
        let long = (0..<workers).map { pipeline[$0 % pipeline.count] }
        var simulation = PipelineSimulation(
            pipeline: long, hops: long.dropFirst().map(\.node), encoder: encoder, decoders: [], places: [],
            mix: input.mix, flights: Replica.flights(workers, perWorker: flightsPerWorker), turnaround: turnaround)
        let places =
            decoders.count == 1 ? [workers - 1] : long.indices.filter { plan.decoders.contains(long[$0].node.name) }
        simulation.decoders = places.map { place in
            (place, (decoders.count == 1 ? decoders[0] : long[place].node).decodingSeconds)
        }
        let result = simulation.run(pictures: max(36, 6 * flightsPerWorker * workers))
        return result.busy.reduce(0, +) / Double(workers)
    }
}

extension Forecast {
    /// A plan in times: who computes how long for a picture, and over which links.
    fileprivate struct Shape {
        let pipeline: [(node: NodeCosts, blocks: Range<Int>)]
        let encoder: NodeCosts
        let decoders: [NodeCosts]
        /// The pipeline, then those without blocks.
        let all: [(node: NodeCosts, blocks: Range<Int>)]
        /// Seconds of each of them for a picture.
        let loads: [Double]
        /// The slower end of each link.
        let hops: [NodeCosts]
        /// Seconds of the slowest link for a picture.
        let slowestLink: Double

        /// Nil when the plan names workers that are not in the input, or nothing is known of their speed.
        init?(_ plan: CutPlan, _ input: PlanningInput) {
            guard Planner.isMeasured(input), let costs = Planner.costs(input), !plan.spans.isEmpty else { return nil }
            let byName = Dictionary(costs.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
            var pipeline: [(node: NodeCosts, blocks: Range<Int>)] = []
            for span in plan.spans {
                guard let node = byName[span.node] else { return nil }
                pipeline.append((node, span.blocks))
            }
            let decoders = plan.decoders.compactMap { byName[$0] }
            guard let encoder = byName[plan.encoder], decoders.count == plan.decoders.count else { return nil }
            var all = pipeline
            for node in [encoder] + decoders where !all.contains(where: { $0.node.name == node.name }) {
                all.append((node, 0..<0))
            }

            var loads = all.map { node, blocks in
                blocks.reduce(0) { $0 + node.blockSeconds[$1] } + (node.name == encoder.name ? node.encodeSeconds : 0)
            }
            let decoding = all.indices.filter { plan.decoders.contains(all[$0].node.name) }
            let level = CutSearch.level(decoding.map { loads[$0] }, decoding.map { all[$0].node.decodeSeconds })
            for place in decoding { loads[place] = max(loads[place], level) }
            // A link is as fast as the slower of its ends.
            let hops = zip(pipeline, pipeline.dropFirst()).map { from, to in
                from.node.linkSeconds > to.node.linkSeconds ? from.node : to.node
            }
            let slowestLink = hops.map(\.linkSeconds).max() ?? 0
            (self.pipeline, self.encoder, self.decoders) = (pipeline, encoder, decoders)
            (self.all, self.loads, self.hops, self.slowestLink) = (all, loads, hops, slowestLink)
        }
    }
}

extension PipelineSimulation {
    /// The simulation of a plan; `places` names the workers, those with blocks first, as numbers 0, 1, 2.
    fileprivate init(
        pipeline: [(node: NodeCosts, blocks: Range<Int>)], hops: [NodeCosts], encoder: NodeCosts, decoders: [NodeCosts],
        places: [String], mix: PictureMix, flights: Int, turnaround: Double
    ) {
        stations = pipeline.enumerated().map { place, station in
            let link = place > 0 ? hops[place - 1] : station.node
            return PipelineSimulation.Station(
                partSeconds: station.node.partSeconds.map { seconds in
                    station.blocks.reduce(0) { $0 + seconds[$1] }
                }, hopSeconds: link.hopSeconds, wayThere: link.wayThere)
        }
        encodeSeconds = encoder.encodeSeconds
        self.encoder = places.firstIndex(of: encoder.name) ?? 0
        self.decoders = decoders.map { (places.firstIndex(of: $0.name) ?? 0, $0.decodingSeconds) }
        course = Self.course(mix)
        tokens = mix.parts.map(\.imageTokens)
        rows = mix.parts.map(\.tokens)
        self.flights = flights
        self.turnaround = turnaround
    }

    /// What one picture goes through: encoding, steps by rising tokens with the coarse picture decoded after the first
    /// stage, the finished picture decoded.
    private static func course(_ mix: PictureMix) -> [PipelineSimulation.Task] {
        var course: [PipelineSimulation.Task] = [.encode]
        for (index, part) in mix.parts.enumerated() {
            course += Array(repeating: .step(index), count: max(1, Int(part.steps.rounded())))
            if index == 0 && mix.decodings.count > 1 { course.append(.decode(0)) }
        }
        if let last = mix.decodings.indices.last { course.append(.decode(last)) }
        return course
    }
}
