package import Plan

/// A worker as the planner sees it, there or only thought of.
package struct PlanningNode: Equatable, Sendable {
    /// How fast it is.
    package enum Speed: Equatable, Sendable {
        /// As it measured.
        case measured(MeasuredCosts)
        /// So many operations a second, a multiply-add being two.
        case rate(Double)
    }

    /// Its name.
    package var name: String
    /// What it may be asked to do.
    package var roles: Set<Role>
    /// Most memory it may use, bytes.
    package var memory: Double
    /// How fast it is; nil when nobody knows.
    package var speed: Speed?
    /// Bytes in memory of one weight of the transformer, on average: what its blocks multiply takes fewer than the rest.
    package var bytesPerWeight: Double
    /// Bytes that the text encoders take in its memory; nil when nobody knows.
    package var encoderBytes: Double?
    /// Its connection to the others.
    package var link: LinkSpeed
    /// Operations a second that it is taken to do where nothing is known of it; nil for as many as the others do.
    var guess: Double?

    /// Joins the fields.
    package init(
        name: String, roles: Set<Role> = Set(Role.allCases), memory: Double, speed: Speed?, bytesPerWeight: Double = 4,
        encoderBytes: Double? = nil, link: LinkSpeed = .gigabit
    ) {
        self.name = name
        self.roles = roles
        self.memory = memory
        self.speed = speed
        self.bytesPerWeight = bytesPerWeight
        self.encoderBytes = encoderBytes
        self.link = link
    }

    /// Workers as they introduced themselves; those that share a machine's memory get equal parts of it.
    ///
    /// `network` is the link between machines; workers that listen on loopback have that instead. `paces` says how many
    /// times as long as in its benchmark a worker's steps take, where that is known: all its times are taken that much
    /// longer.
    package static func nodes(_ hellos: [Hello], network: LinkSpeed, paces: [String: Double] = [:]) -> [PlanningNode] {
        let sharing = Dictionary(grouping: hellos.compactMap(\.profile).filter(\.sharesMemory), by: \.machine)
        return hellos.sorted { $0.name < $1.name }.map { hello in
            let profile = hello.profile.flatMap { $0.costs?.isSane ?? true ? $0 : nil }
            let sharers = profile.flatMap { $0.sharesMemory ? sharing[$0.machine]?.count : nil } ?? 1
            let isLocal = ["tcp://127.", "tcp://localhost:", "tcp://[::1]"].contains {
                hello.dataEndpoint.hasPrefix($0)
            }
            return PlanningNode(
                name: hello.name, roles: hello.roles, memory: Double(hello.memoryCap) / Double(sharers),
                speed: profile?.costs.map { .measured($0.faster(1 / (paces[hello.name] ?? 1))) },
                bytesPerWeight: profile?.costs?.bytesPerWeight ?? hello.profile?.bytesPerWeight ?? 4,
                encoderBytes: hello.profile?.encoderBytes, link: isLocal ? .loopback : network)
        }
    }
}

extension [PlanningNode] {
    /// The nodes with links that were measured, by their ends: each as fast as its slowest.
    package func withLinks(_ links: [(ends: [String], speed: LinkSpeed)]) -> [PlanningNode] {
        map { node in
            let own = links.filter { $0.ends.contains(node.name) }.map(\.speed)
            var node = node
            node.link = own.min { $0.bytesPerSecond < $1.bytesPerSecond } ?? node.link
            return node
        }
    }
}

/// One node in numbers: what each part of a model costs it for one picture of a mix, and takes of its memory.
///
/// D width, T rows of the residual stream, N image tokens. A block's operations are `4 D u(T)` with `u(T) = 6 D T + T²`,
/// the second term being attention (`CostModel`).
package struct NodeCosts: Equatable, Sendable {
    /// Its name.
    package let name: String
    /// What it may be asked to do.
    package let roles: Set<Role>
    /// Seconds of each block for one call of each part of the mix, embedders in the first, head in the last.
    package let partSeconds: [[Double]]
    /// Seconds of each block for one picture.
    package let blockSeconds: [Double]
    /// Seconds of its encoders for one picture.
    package let encodeSeconds: Double
    /// Seconds of each decoding of the mix, once.
    package let decodingSeconds: [Double]
    /// Seconds of all decodings of one picture.
    package let decodeSeconds: Double
    /// Bytes of each block, embedders and kept conditionings in the first, head in the last.
    package let blockBytes: [Double]
    /// Bytes that any block takes besides its weights: workspace and three activations.
    package let workspaceBytes: Double
    /// Bytes of the encoders.
    package let encoderBytes: Double
    /// Bytes of the decoder with its workspace.
    package let decoderBytes: Double
    /// Bytes that may be planned with: head-room is taken off.
    package let usableBytes: Double
    /// Seconds of one link for one call of each part of the mix: bytes over bandwidth, without the way there.
    package let hopSeconds: [Double]
    /// Half a round trip.
    package let wayThere: Double
    /// Seconds of one link for one picture.
    package let linkSeconds: Double
}

extension NodeCosts {
    /// Share of a memory cap that is planned with: the rest is for what nobody counts (cluster specification 6.8).
    package static let memoryShare = 0.8
    /// Values of the stream's size that a block holds at once: its input, normed rows, queries, keys and values, those
    /// two again as panels, what attention found, and the MLP's hidden rows of four times the width, twice.
    private static let workspaceRows = 16.0
    /// Pixels that the decoder works on at once: the side of a tile is 1024.
    private static let tilePixels = 1 << 20

    /// Works out the numbers; of a node without a speed or a guess, as if it did one operation a second.
    package init(_ node: PlanningNode, model: ModelFacts, sizes: ModelSizes, mix: PictureMix, bytesPerValue: Double) {
        let width = Double(model.width)
        let blocks = model.blockCount
        let measured = node.measured
        let rate = node.rate(width: width) ?? node.guess ?? 1
        func linear(_ weights: Int, _ tokens: Int) -> Double { 2 * Double(weights) * Double(tokens) / rate }

        partSeconds = mix.parts.map { Self.callSeconds($0, of: node, model: model, sizes: sizes) }
        let calls = partSeconds
        blockSeconds = (0..<blocks).map { block in
            zip(mix.parts, calls).reduce(0) { $0 + $1.0.steps * $1.1[block] }
        }
        encodeSeconds =
            measured?.encode.seconds(mix.textTokens, work: { $0 })
            ?? linear(sizes.encoderMatrixWeights, mix.textTokens)
        decodingSeconds = mix.decodings.map { decoding in
            measured?.decode.seconds(decoding.pixels, work: { $0 })
                ?? sizes.decoderOperationsPerPixel * Double(decoding.pixels) / rate
        }
        decodeSeconds = zip(mix.decodings, decodingSeconds).reduce(0) { $0 + $1.0.count * $1.1 }

        var bytes = (0..<blocks).map {
            Double($0 < sizes.doubleCount ? sizes.doubleWeights : sizes.singleWeights) * node.bytesPerWeight
        }
        bytes[0] += Double(sizes.embedWeights) * node.bytesPerWeight
        let conditioning = Double(mix.textTokens * model.contextWidth + model.pooledWidth) * 4
        bytes[0] += Double(NodeProfile.keptConditionings) * conditioning
        bytes[blocks - 1] += Double(sizes.headWeights) * node.bytesPerWeight
        blockBytes = bytes
        let stream = Double(mix.largestTokens) * width * 4
        // Three activations that are waited for, computed and kept, and what may wait for the next worker's credit.
        workspaceBytes = (Self.workspaceRows + 3 + Double(CreditGrant.slots)) * stream
        // Encoders are never in int8: a weight of a matrix takes 2 bytes, or, by the look of the transformer's, 4. Their
        // tables are 32-bit floats.
        let tables = max(0, Double(sizes.encoderWeights - sizes.encoderMatrixWeights))
        encoderBytes =
            node.encoderBytes
            ?? Double(sizes.encoderMatrixWeights) * (node.bytesPerWeight < 3.5 ? 2 : 4) + tables * 4
        let pixels = min(Self.tilePixels, mix.decodings.map(\.pixels).max() ?? 0)
        decoderBytes = Double(sizes.decoderWeights * 4 + sizes.decoderValuesPerPixel * pixels * 4)
        usableBytes = node.memory * Self.memoryShare
        hopSeconds = mix.parts.map { Double($0.tokens) * width * bytesPerValue / node.link.bytesPerSecond }
        wayThere = node.link.roundTrip / 2
        linkSeconds = zip(mix.parts, hopSeconds).reduce(0) { $0 + $1.0.steps * $1.1 }
        name = node.name
        roles = node.roles
    }
}

extension NodeCosts {
    /// Seconds of each block for one call, embedders in the first, head in the last.
    static func callSeconds(
        _ part: PictureMix.Part, of node: PlanningNode, model: ModelFacts, sizes: ModelSizes
    ) -> [Double] {
        let width = Double(model.width)
        let blocks = model.blockCount
        let (measured, rate, tokens) = (node.measured, node.rate(width: width) ?? node.guess ?? 1, part.tokens)
        func units(_ tokens: Double) -> Double { PlanningNode.units(tokens, width: width) }
        let formula = 4 * width * units(Double(tokens)) / rate
        let double = measured?.double.seconds(tokens, work: units)
        let single = measured?.single.seconds(tokens, work: units)
        var seconds = (0..<blocks).map {
            ($0 < sizes.doubleCount ? double ?? single : single ?? double) ?? formula
        }
        // The embedders multiply each token by some of their weights only: by those of its own kind.
        let perToken = Double(64 * part.imageTokens + model.contextWidth * part.textTokens) * width
        seconds[0] += measured?.embed.seconds(tokens, work: { $0 }) ?? 2 * perToken / rate
        seconds[blocks - 1] += measured?.head.seconds(tokens, work: { $0 }) ?? 128 * width * Double(tokens) / rate
        return seconds
    }
}

extension PlanningNode {
    /// What it measured, if it did.
    fileprivate var measured: MeasuredCosts? { if case .measured(let costs) = speed { costs } else { nil } }

    /// Arithmetic of a block, in units of 4 D operations.
    fileprivate static func units(_ tokens: Double, width: Double) -> Double { 6 * width * tokens + tokens * tokens }

    /// Operations a second, for what was not measured; nil where nothing is known.
    func rate(width: Double) -> Double? {
        switch speed {
        case .rate(let rate): rate
        case nil: nil
        case .measured(let costs):
            // Of the largest block measured: what encoders that are too large to try are guessed by.
            (costs.single.samples.last ?? costs.double.samples.last).map {
                4 * width * Self.units(Double($0.size), width: width) / $0.seconds
            }
        }
    }
}
