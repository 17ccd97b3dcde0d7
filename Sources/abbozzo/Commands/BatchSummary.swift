internal import Foundation
internal import Plan
internal import Sampling
internal import Settings

/// What a batch cost, counted and predicted.
struct BatchSummary: Encodable {
    /// A quantity against plain sampling.
    struct Ratio: Encodable {
        /// What the batch needs by the cost model.
        let batch: Int
        /// Share of as many full steps as the batch takes.
        let ofSameSteps: Double
        /// Share of the model's usual number of full steps.
        let ofUsualSteps: Double
    }

    /// One direction between two workers.
    struct Link: Encodable {
        let source: String
        let target: String
        /// Bytes of hidden states, counted.
        let counted: UInt64
        /// Bytes of hidden states by the cost model; of several replicas, this one's share by the image tokens that it had.
        let formula: Int
        /// All bytes, with headers and what travels besides.
        let all: UInt64
        /// `counted` over `formula`, less 1.
        var deviation: Double { formula == 0 ? 0 : Double(counted) / Double(formula) - 1 }
    }

    /// One worker's part.
    struct Node: Encodable {
        let name: String
        let blocks: String
        let images: UInt64
        let steps: UInt64
        let tokens: UInt64
        let busy: Double
        let sent: UInt64
        let received: UInt64
    }

    let pictures: Int
    /// From submission to the last picture, with all that it waited for other jobs.
    let seconds: Double
    let usualSteps: Int
    let tokenSteps: Ratio
    let bytesPerLink: Ratio
    let countedTokenSteps: UInt64
    /// Whether layers were cut anew while the batch ran; a link has carried only a part of the batch then.
    let planChanged: Bool
    /// Whether other jobs had work at the same time: links and nodes have counted that, too.
    let othersRan: Bool
    let links: [Link]
    let nodes: [Node]

    /// Differences of two looks at the cluster, one before and one after the batch.
    ///
    /// Of a duplicate, the first look sees pictures of the batch itself.
    init(
        requests: [ImageRequest], facts: ModelFacts, status: JobStatus, isDuplicate: Bool = false,
        before: ClusterStatus, after: ClusterStatus
    ) {
        pictures = status.done
        seconds = (status.finished ?? status.submitted) - status.submitted
        usualSteps = facts.usualSteps
        countedTokenSteps = status.tokenSteps
        // The first plan may be made for this batch.
        planChanged = after.plan?.epoch != (before.plan?.epoch ?? 1)
        let early = isDuplicate ? 0 : before.inFlight + before.queued
        let late = after.inFlight + after.queued
        // Jobs that came and went meanwhile are seen by what they have drawn; after a restart that is counted anew.
        let known = after.uptime < before.uptime ? 0 : before.imagesDone
        let drawn = after.imagesDone > known ? after.imagesDone - known : 0
        othersRan = early > 0 || late > 0 || drawn > UInt64(clamping: status.done)
        func sum(_ settings: (ImageRequest) -> SamplerSettings) -> (tokenSteps: Int, bytes: Int) {
            requests.reduce((0, 0)) { sum, request in
                let model = CostModel(facts: facts, textTokens: request.textLength)
                let cost = model.picture(
                    settings(request), fullTokens: request.fullTokens, wire: after.plan?.wire ?? .f32)
                return (sum.0 + cost.tokenSteps, sum.1 + cost.bytesPerLink)
            }
        }
        let batch = sum(\.sampler)
        let same = sum { .euler(steps: $0.sampler.totalSteps) }
        let usual = sum { _ in .euler(steps: facts.usualSteps) }
        func ratio(_ value: Int, _ base: Int) -> Double { base == 0 ? 0 : Double(value) / Double(base) }
        tokenSteps = Ratio(
            batch: batch.tokenSteps, ofSameSteps: ratio(batch.tokenSteps, same.tokenSteps),
            ofUsualSteps: ratio(batch.tokenSteps, usual.tokenSteps))
        bytesPerLink = Ratio(
            batch: batch.bytes, ofSameSteps: ratio(batch.bytes, same.bytes),
            ofUsualSteps: ratio(batch.bytes, usual.bytes))

        let old = Dictionary(before.workers.map { ($0.hello.bootID, $0.counters) }, uniquingKeysWith: { $1 })
        var (links, nodes): ([Link], [Node]) = ([], [])
        // Counters are what workers say, and need not rise.
        func rise(_ now: UInt64, _ then: UInt64) -> UInt64 { now > then ? now - then : 0 }
        for worker in after.workers {
            let (now, then) = (worker.counters, old[worker.hello.bootID] ?? WorkerCounters())
            let name = worker.hello.name
            guard worker.life != .lost || now.steps > then.steps || now.images > then.images else { continue }
            let up = Double(now.upNanoseconds) - Double(then.upNanoseconds)
            nodes.append(
                Node(
                    name: name, blocks: worker.blocksText, images: rise(now.images, then.images),
                    steps: rise(now.steps, then.steps), tokens: rise(now.tokens, then.tokens),
                    busy: up > 0 ? (Double(now.busyNanoseconds) - Double(then.busyNanoseconds)) / up : 0,
                    sent: rise(now.bytes(from: name), then.bytes(from: name)),
                    received: rise(now.bytes(to: name), then.bytes(to: name))))
            let hasReplicas = (after.plan?.pipelines.count ?? 1) > 1
            let tokens = Int(clamping: rise(now.tokens, then.tokens))
            let share = hasReplicas ? ratio(tokens, batch.tokenSteps) : 1
            for link in now.links where link.source == name && link.activationBytes > 0 {
                let earlier = then.links.first { $0.source == link.source && $0.target == link.target }
                let counted = rise(link.activationBytes, earlier?.activationBytes ?? 0)
                guard counted > 0 else { continue }
                links.append(
                    Link(
                        source: name, target: link.target, counted: counted,
                        formula: Int(min((Double(batch.bytes) * share).rounded(), 1e18)),
                        all: rise(link.totalBytes, earlier?.totalBytes ?? 0)))
            }
        }
        (self.links, self.nodes) = (links, nodes)
    }

    /// The lines for people.
    var lines: [String] {
        let speed = seconds > 0 ? String(format: ", %.0f an hour", Double(pictures) / seconds * 3600) : ""
        var lines = [
            "", "pictures      \(pictures) in \(durationText(seconds)) from submission on\(speed)",
            "token-steps   \(grouped(tokenSteps.batch)) (counted \(grouped(countedTokenSteps))): "
                + "\(ratioText(tokenSteps.ofSameSteps)) of the same number of full steps, "
                + "\(ratioText(tokenSteps.ofUsualSteps)) of the model's usual \(usualSteps)",
            "bytes a link  \(grouped(bytesPerLink.batch)) by the formula: "
                + "\(ratioText(bytesPerLink.ofSameSteps)) of the same number of full steps, "
                + "\(ratioText(bytesPerLink.ofUsualSteps)) of the model's usual \(usualSteps)",
        ]
        if othersRan { lines.append("other jobs ran meanwhile: links and nodes count theirs, too") }
        for link in links {
            let deviation =
                planChanged
                ? "part of the batch: layers were cut anew meanwhile"
                : "formula \(grouped(link.formula))"
                    + (othersRan ? " for this batch" : String(format: ", %+.3f %%", link.deviation * 100))
            lines.append(
                "  \(link.source) -> \(link.target)  counted \(grouped(link.counted)), \(deviation); "
                    + "all bytes \(grouped(link.all))")
        }
        var table = Table(["NODE", "BLOCKS", "IMAGES", "STEPS", "TOKENS", "BUSY", "SENT", "RECEIVED"])
        for node in nodes {
            table.add([
                node.name, node.blocks, grouped(node.images), grouped(node.steps), grouped(node.tokens),
                percentText(node.busy), bytesText(Double(node.sent)), bytesText(Double(node.received)),
            ])
        }
        return lines + [""] + table.lines
    }
}
