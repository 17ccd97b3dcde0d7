internal import Plan

/// How much the workers of the plan in force were given to compute, in seconds.
///
/// Layers are cut in whole blocks, and by times of one moment, so no two spans take quite the same time; and the slowest
/// worker's is that of the pipeline. Decodings can go to any decoder: given to the one that has had least to do so far,
/// they fill what the cut left uneven. Measured with two workers of one thread, FLUX of 8 double and 16 single blocks of
/// width 384 at 256x256: spans of 38.2 and 42.7 seconds of 24 pictures, and 6 seconds of decodings.
struct WorkBook: Equatable {
    /// A network call of one size through one worker's span.
    private struct Call: Hashable {
        var worker: String
        var tokens: Int
        var text: Int
    }

    /// Decodings that a worker may be ahead of another by: beyond, it is given none anyway, and what it got in a past of
    /// other pictures and speeds must not keep decodings from it for long.
    private static let longestLead = 8.0

    private var seconds: [String: Double] = [:]
    /// Seconds by benchmark, as far as they were asked for; nil where nothing was measured.
    private var calls: [Call: Double?] = [:]

    /// Seconds that a worker was given.
    func given(_ worker: String) -> Double { seconds[worker] ?? 0 }

    /// Takes note of work.
    mutating func give(_ worker: String, _ more: Double) { seconds[worker, default: 0] += more }

    /// Takes note of a decoding; `others` are those that it could have gone to.
    mutating func giveDecoding(_ worker: String, _ more: Double, others: [String]) {
        give(worker, more)
        let all = others + [worker]
        let most = (all.map { given($0) }.min() ?? 0) + Self.longestLead * more
        for decoder in all { seconds[decoder] = min(given(decoder), most) }
    }

    /// Seconds by benchmark of a call through a worker's span, worked out by `measure` the first time.
    mutating func call(_ worker: String, tokens: Int, text: Int, measure: () -> Double?) -> Double? {
        let call = Call(worker: worker, tokens: tokens, text: text)
        if let known = calls[call] { return known }
        let seconds = measure()
        calls[call] = .some(seconds)
        return seconds
    }
}

extension CoordinatorCore {
    /// Takes note of a step that went through a replica.
    mutating func noteStep(_ flight: Flight) {
        guard let number = flight.replica, replicas[number].decoders.count > 1 else { return }
        for worker in replicas[number].pipeline {
            guard let member = members[worker], let share = placement(of: worker), let model = pin?.model,
                let sizes = model.sizes, let costs = member.hello.profile?.costs, costs.isSane
            else { continue }
            let seconds = work.call(worker, tokens: flight.tokens, text: flight.request.textLength) {
                let node = PlanningNode(
                    name: worker, memory: 0, speed: .measured(costs), bytesPerWeight: costs.bytesPerWeight)
                let part = PictureMix.Part(
                    steps: 1, imageTokens: flight.tokens, textTokens: flight.request.textLength)
                let blocks = NodeCosts.callSeconds(part, of: node, model: model, sizes: sizes)
                return share.span.upperBound <= blocks.count ? blocks[share.span].reduce(0, +) : nil
            }
            if let seconds { work.give(worker, seconds * (member.pace.factor(now: now) ?? 1)) }
        }
    }

    /// Takes note of an encoding or a decoding that a worker is given.
    mutating func noteSideTask(_ need: Need, _ flight: Flight, to worker: String) {
        let costs = members[worker]?.hello.profile?.costs
        let pace = members[worker]?.pace.factor(now: now) ?? 1
        let pixels = flight.request.width * flight.request.height
        switch need {
        case .encode:
            work.give(worker, pace * (costs?.encode.seconds(flight.request.textLength) { $0 } ?? 0))
        case .edge, .picture:
            // Where nothing was measured decodings are counted.
            let seconds = costs?.decode.seconds(need == .edge ? pixels / 4 : pixels) { $0 } ?? 1
            let others = flight.replica.map { replicas[$0].decoders.map(\.worker) } ?? []
            work.giveDecoding(worker, pace * seconds, others: others.filter { $0 != worker })
        case .step: break
        }
    }
}
