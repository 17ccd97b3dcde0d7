internal import Logging
internal import Plan

/// Measures workers by their work, and cuts anew where that shows a better cut.
extension CoordinatorCore {
    /// Time between two looks at the cut.
    private static let looksEvery: UInt64 = 15_000_000_000
    /// Most time from a change of the cut to the next look: it doubles with each change and shrinks while nothing is to be
    /// changed, so that a machine whose speed comes and goes is not followed back and forth.
    private static let longestWait: UInt64 = 3_600_000_000_000
    /// What a new cut has to save on the pictures to come, in times of what the last one took to load.
    private static let worthLoadings = 4.0

    /// Takes note of a worker's steps.
    mutating func note(_ spans: [TaskSpan], of worker: String) {
        guard let share = placement(of: worker), !share.span.isEmpty, let model = pin?.model, let sizes = model.sizes,
            let hello = members[worker]?.hello, let costs = hello.profile?.costs, costs.isSane
        else { return }
        let node = PlanningNode(
            name: worker, memory: 0, speed: .measured(costs), bytesPerWeight: costs.bytesPerWeight)
        for span in spans where span.kind == .step && span.epoch == epoch && 1...1 << 20 ~= span.tokens {
            let text = flights[span.image]?.request.textLength ?? model.defaultTextLength
            let part = PictureMix.Part(steps: 1, imageTokens: span.tokens, textTokens: text)
            let blocks = NodeCosts.callSeconds(part, of: node, model: model, sizes: sizes)
            guard share.span.upperBound <= blocks.count else { return }
            members[worker]?.pace.note(
                seconds: Double(span.nanoseconds) * 1e-9, expected: blocks[share.span].reduce(0, +), now: now)
        }
    }

    /// Times as long as its benchmark says that each worker takes, as far as that is known.
    var paces: [String: Double] { members.compactMapValues { $0.pace.factor(now: now) } }

    /// Reckons what the plan in force should give, after each plan and now and then: queue and speeds change.
    mutating func predict() {
        guard now >= nextPrediction else { return }
        nextPrediction = now + Self.looksEvery
        predictedPerHour = nil
        guard let model = pin?.model, let plan, let current = ReplicatedPlan(plan) else { return }
        let input = planningInput(members.values.filter(\.isPresent).map(\.hello), model)
        guard Planner.isMeasured(input), let rate = Planner.rate(current, input) else { return }
        predictedPerHour = 3600 * rate
    }

    /// Replans where pictures to come are larger than those that the plan in force has memory for, if another plan has.
    mutating func watchMemory() {
        guard case .active(let plan) = planning, now >= nextMemoryLook else { return }
        nextMemoryLook = now + Self.looksEvery
        guard queued + flights.count > 0, replan == nil, !isStopping, let model = pin?.model, model.sizes != nil,
            let current = ReplicatedPlan(plan)
        else { return }
        let awake = members.values.filter { $0.isEligible && !isResting($0.hello.name) }.map(\.hello)
        // Who is silent or rests is another matter.
        guard Set(awake.map(\.name)).isSuperset(of: plan.placements.map(\.worker)) else { return }
        let input = planningInput(awake, model)
        guard let shortage = Planner.shortage(current, input),
            (try? Planner.plan(input, replicas: settings.replicas)) != nil
        else { return }
        wantPlan(.pace, "pictures to come are larger: the plan in force \(shortage)", isGraceful: true)
    }

    /// Replans where the work itself shows that another cut is better by more than what it costs.
    ///
    /// Only with f32 between workers: in the short formats pictures depend on the cut, and time alone must not change them.
    mutating func watchPace() {
        guard settings.cut == .measured, case .active(let plan) = planning, now >= nextPaceLook else { return }
        nextPaceLook = now + Self.looksEvery
        guard queued + flights.count > 0, wire == .f32 else { return }
        paceWait -= min(paceWait, Self.looksEvery)
        guard replan == nil, !isStopping, wireChoosing == .settled, partingReason.isEmpty, let model = pin?.model,
            plan.pipelines.joined().allSatisfy({ members[$0.worker]?.pace.isOfThisPlan ?? false }),
            let current = ReplicatedPlan(plan)
        else { return }
        let awake = members.values.filter { $0.isEligible && !isResting($0.hello.name) }
        // Planning takes seconds where workers are many, and messages wait.
        let look = PaceLook(epoch: epoch, paces: paces, workers: Set(awake.map(\.hello.name)), at: now)
        guard lastPaceLook.map({ !look.isAsAt($0) }) ?? true else { return }
        lastPaceLook = look
        let input = planningInput(awake.map(\.hello), model)
        guard let made = try? Planner.plan(input, replicas: settings.replicas),
            !Planner.keeps(current, over: made, input, replicas: settings.replicas),
            let before = Planner.rate(current, input), let after = Planner.rate(made, input)
        else { return }
        let saved = Double(queued + flights.count) * (1 / before - 1 / after)
        guard saved > Self.worthLoadings * lastLoading else { return }
        paceWait = min(Self.longestWait, 2 * (paceWait + Self.looksEvery))
        nextPaceLook = now + paceWait
        let percent = Int(min(1e6, 100 * (after / before - 1)).rounded())
        wantPlan(.pace, "the steps so far ask for another cut, \(percent) % faster", isGraceful: true)
    }
}

/// What a look at the cut was made by.
struct PaceLook {
    let epoch: Epoch
    let paces: [String: Double]
    let workers: Set<String>
    let at: UInt64

    /// Change of a worker's pace that is worth another look.
    private static let change = 0.03
    /// Time after which one is made anyway: the queue changes, too.
    private static let lasts: UInt64 = 300_000_000_000

    /// Whether nothing that matters has changed since another look.
    func isAsAt(_ other: PaceLook) -> Bool {
        guard epoch == other.epoch, workers == other.workers, at - min(at, other.at) < Self.lasts,
            paces.count == other.paces.count
        else { return false }
        return paces.allSatisfy { name, pace in
            other.paces[name].map { abs(pace / $0 - 1) < Self.change } ?? false
        }
    }
}

/// What a worker holds of a plan: what it has to read if it is another one than before.
struct HeldShare: Equatable {
    private let worker: String
    private let run: UInt64
    private let span: Range<Int>
    private let encodes: Bool
    private let decodes: Bool

    init(_ placement: Placement) {
        (worker, run, span) = (placement.worker, placement.bootID, placement.span)
        (encodes, decodes) = (placement.encodes, placement.decodes)
    }
}
