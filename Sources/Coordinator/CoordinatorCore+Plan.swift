internal import JobStore
internal import Logging
package import Plan

/// Plans: when they are made, and what happens to work in hand.
extension CoordinatorCore {
    /// The plan that workers have, or are loading.
    package var plan: ClusterPlan? {
        switch planning {
        case .none: nil
        case .loading(let plan, _), .active(let plan): plan
        }
    }

    func placement(of worker: String) -> Placement? { plan?.placements.first { $0.worker == worker } }

    /// Asks for a plan at a moment when nothing is at a worker, a little later, so that several workers that join
    /// together are planned once; or, when work in hand is lost anyway, as soon as `delay` is over.
    mutating func wantPlan(
        _ cause: Measurement.Cause, _ text: String, isGraceful: Bool, after delay: UInt64 = 0
    ) {
        var wish = Replan(
            cause: cause, text: text, due: now + (isGraceful ? settings.settle : delay), isGraceful: isGraceful,
            since: now)
        if let replan {
            wish.since = replan.since
            // Held back as before, and found anew: links and rests may be others.
            wish.decision = replan.decision
            wish.decision?.runs = nil
            if replan.isGraceful && isGraceful {
                wish.due = min(wish.due, max(replan.due, replan.since + Self.mostSettles * settings.settle))
            } else {
                (wish.due, wish.isGraceful) = (min(replan.due, wish.due), false)
            }
        }
        replan = wish
    }

    /// How often workers that join one after the other may put a plan off: a large cluster joins for minutes.
    private static let mostSettles: UInt64 = 8

    /// Asks for a plan with a worker that may be given a share again; one that may not changes nothing while there is a plan.
    mutating func wantPlan(with name: String, _ cause: Measurement.Cause, _ text: String) {
        let mayShare = members[name]?.isEligible == true && !isResting(name)
        guard mayShare || placement(of: name) != nil || plan == nil else { return }
        wantPlan(cause, text, isGraceful: true)
    }

    /// Whether new work is held back for the next plan's sake.
    ///
    /// A plan in force is worked by until another one is known to be better: to let its pipelines run empty for nothing
    /// costs as long as a step takes.
    var isHeldForPlan: Bool {
        guard let replan else { return false }
        return !replan.isGraceful || replan.decision != nil || workedBy == nil
    }

    /// The plan that work is done by: one that all have loaded, or some replica has.
    private var workedBy: ClusterPlan? {
        switch planning {
        case .active(let plan): plan
        case .loading(let plan, _) where replicas.contains(where: \.isLoaded): plan
        case .loading, .none: nil
        }
    }

    mutating func planIfDue() {
        guard let replan, now >= replan.due else { return }
        if replan.isGraceful && flights.values.contains(where: \.isSent) {
            guard !isHeldForPlan, let plan = workedBy else { return }
            let decision = decide(replan)
            self.replan?.decision = decision
            if decision.placements == plan.placements { self.replan = nil }
            return
        }
        self.replan = nil
        makePlan(replan)
    }

    private mutating func makePlan(_ replan: Replan) {
        // Planned around before it counts as lost: its pictures are suspects all the same.
        for share in plan?.placements ?? [] {
            guard let member = members[share.worker], member.isPresent else { continue }
            if member.disconnected != nil || member.life == .suspect { members[share.worker]?.isPlannedAround = true }
            if member.disconnected != nil { blame(share, isSilence: true, "its connection broke") }
        }
        let eligible = members.values.filter(\.isEligible).map(\.hello)
        let isTooFew = !hasPlanned && now < minimumUntil ?? .max && eligible.count < settings.minimumWorkers
        let decision = decide(replan)
        guard let placements = decision.placements, !isTooFew else {
            recallFlights(replan.cause)
            replicas = []
            planning = .none(missing(eligible, decision.trouble, isTooFew: isTooFew))
            for (name, member) in members where member.life == .loading || member.life == .ready { live(name, .joined) }
            log(.info, waitingReason ?? "")
            releaseLeavers()
            return changedAll()
        }
        if replan.isGraceful, workedBy?.placements == placements { return }
        adopt(placements, cause: replan.cause, text: replan.text, measuresLinks: openWire(for: placements))
    }

    /// Time after its start that a coordinator which has planned before waits for as many workers as it is told.
    static let returnGrace: UInt64 = 300_000_000_000

    /// Goes on with the workers that came back, if not all did: one may be lost for good, or drained.
    mutating func endReturn() {
        guard let until = minimumUntil, until > 0, now >= until, !hasPlanned else { return }
        minimumUntil = 0
        wantPlan(.joined, "others have not come back", isGraceful: true)
    }

    /// Begins an epoch with these placements.
    mutating func adopt(_ placements: [Placement], cause: Measurement.Cause, text: String, measuresLinks: Bool) {
        recallFlights(cause)
        effects.append(.measure(.planned(cause)))
        epoch += 1
        // What was said of a link was said of another neighbour.
        for name in members.keys {
            members[name]?.linkTrouble = nil
            members[name]?.unlinkedSince = nil
            members[name]?.pace.beginPlan()
        }
        planned = now
        nextPrediction = now
        loadsShares = self.plan.map { $0.placements.map(HeldShare.init) != placements.map(HeldShare.init) } ?? true
        if cause != .pace { paceWait = 0 }
        hasPlanned = true
        linked = []
        work = WorkBook()
        let plan = ClusterPlan(
            epoch: epoch, placements: placements, blockCount: pin?.model.blockCount ?? 0, wire: wire,
            measuresLinks: measuresLinks)
        planning = .loading(plan, missing: Set(placements.map(\.worker)))
        if let misfit = settings.cut.misfit(plan.pipelines.map { $0.map(\.span.count) }) {
            log(.warning, "the cut \(misfit)")
        }
        replicas = Replica.all(plan, flightsPerWorker: settings.flightsPerWorker)
        // A coordinator that starts again must not give the same number to another plan.
        commit(.fact(name: "epoch", value: String(epoch)), ticket: ticket(.epoch(epoch)))
        releaseLeavers()
        traces.note("planning epoch \(epoch): \(text)", now: now)
        let shape = replicas.count > 1 ? " in \(replicas.count) replicas" : ""
        log(.info, "planning epoch \(epoch) over \(placements.count) workers\(shape): \(text)")
        changedAll()
    }

    /// What was decided, if the same workers are there as then: to search again keeps messages waiting.
    private mutating func decide(_ replan: Replan) -> Replan.Decision {
        let eligible = members.values.filter(\.isEligible)
        let runs = Dictionary(uniqueKeysWithValues: eligible.map { ($0.hello.name, $0.hello.bootID) })
        if let decision = replan.decision, decision.runs == runs { return decision }
        let (placements, trouble) = proposal(replan)
        return Replan.Decision(placements: placements, trouble: trouble, runs: runs)
    }

    /// The placements to have now, the present ones if others are not worth the change; nil with the reason.
    private mutating func proposal(_ replan: Replan) -> (placements: [Placement]?, trouble: String?) {
        guard let model = pin?.model else { return (nil, nil) }
        let eligible = members.values.filter(\.isEligible).map(\.hello)
        var trouble = ""
        let awake = eligible.filter { !isResting($0.name) }
        let resting = Set(eligible.map(\.name)).subtracting(awake.map(\.name))
        let withoutThem = resting.isEmpty ? [] : leftOut(of: awake).map { $0.union(resting) }
        for left in withoutThem + leftOut(of: eligible) {
            let others = eligible.filter { !left.contains($0.name) }
            guard !others.isEmpty || eligible.isEmpty else {
                trouble = "no worker is in reach"
                continue
            }
            let (placements, failure) = proposal(others, model, replan)
            if var placements {
                for place in placements.indices {
                    placements[place].bootID = bootID(of: placements[place].worker) ?? 0
                }
                return (placements, nil)
            }
            trouble = failure ?? trouble
        }
        return (nil, trouble + partingReason)
    }

    private mutating func proposal(
        _ eligible: [Hello], _ model: ModelFacts, _ replan: Replan
    ) -> ([Placement]?, String?) {
        let input = planningInput(eligible, model)
        do throws(PlanningFailure) {
            let made = try Planner.plan(input, replicas: settings.replicas)
            if replan.isGraceful, let plan = workedBy, let current = ReplicatedPlan(plan),
                Planner.keeps(current, over: made, input, replicas: settings.replicas)
            {
                if made != current { log(.info, "\(replan.cause): the plan stays, another one would gain too little") }
                return (plan.placements, nil)
            }
            let endpoints = eligible.map { ($0.name, $0.dataEndpoint) }
            var placements = made.placements(endpoints: Dictionary(endpoints, uniquingKeysWith: { $1 }))
            for index in placements.indices {
                // By which its neighbours will know it.
                placements[index].publicKey = eligible.first { $0.name == placements[index].worker }?.publicKey
            }
            return (placements, nil)
        } catch {
            return (nil, error.description)
        }
    }

    func planningInput(_ eligible: [Hello], _ model: ModelFacts) -> PlanningInput {
        PlanningInput(
            model: model,
            nodes: withMeasuredLinks(PlanningNode.nodes(eligible, network: settings.network, paces: paces)),
            mix: mix(for: model), rule: settings.cut, bytesPerValue: wire.bytesPerValue(width: model.width))
    }

    /// What the pictures in flight and the next ones in line ask for; of the model's default when there are none.
    private func mix(for model: ModelFacts) -> PictureMix {
        var requests = flights.values.map(\.request)
        for id in line where requests.count < Self.mixedPictures {
            guard let job = jobs[id] else { continue }
            let next = job.waiting.suffix(Self.mixedPictures - requests.count)
            requests += next.map { job.requests[Int($0)] }
        }
        return requests.isEmpty ? .usual(model) : PictureMix(requests)
    }

    /// Pictures that a plan looks ahead.
    private static let mixedPictures = 200

    /// Hands out the plan once its epoch is durable.
    mutating func assignPlan(_ epoch: Epoch) {
        guard epoch == self.epoch, case .loading(let plan, _) = planning else { return }
        planned = now  // nobody loads before the disk of the queue has taken the epoch
        for (name, member) in members.sorted(by: { $0.key < $1.key }) where member.isPresent {
            if placement(of: name) != nil {
                if member.worksSince == nil { members[name]?.worksSince = now }
                live(name, .loading)
            } else if member.life == .loading || member.life == .ready {
                live(name, .joined)
            }
            assign(plan, to: name)
        }
    }

    private mutating func assign(_ plan: ClusterPlan, to name: String) {
        members[name]?.assigned = (plan.epoch, now)
        send(.assign(plan), name)
    }

    /// Hands a worker the plan again that it is waited for to load.
    ///
    /// It does so if the worker works in an older epoch long after the plan was sent, and now and then while it works in this
    /// one: the plan, or the word that it has loaded, went with a connection that broke. A worker that has loaded says so
    /// again; one that loads goes on.
    mutating func assignAgain(_ name: String, heard epoch: Epoch) {
        guard case .loading(let plan, let missing) = planning, missing.contains(name), epoch <= plan.epoch,
            let assigned = members[name]?.assigned, assigned.epoch == plan.epoch
        else { return }
        let hasIt = epoch == plan.epoch
        guard now - min(now, assigned.at) > (hasIt ? Self.heartbeatsOfLoading : 2) * settings.heartbeat else { return }
        if !hasIt {
            log(.warning, "\(name) still works in epoch \(epoch): it is sent the plan of epoch \(plan.epoch) again")
        }
        assign(plan, to: name)
    }

    /// Heartbeats between two questions to a worker that loads whether it has loaded.
    private static let heartbeatsOfLoading: UInt64 = 10

    /// Work at workers counts for nothing any more; samplers go on from their last state.
    private mutating func recallFlights(_ cause: Measurement.Cause) {
        for (image, flight) in flights.sorted(by: { $0.key < $1.key }) {
            flights[image]?.replica = nil
            flights[image]?.holder = nil
            guard case .sent(let need, let sent) = flight.phase else { continue }
            // The loss of a worker that is silent already may show only after the plan.
            let recalls =
                flight.recalls.filter { isSilent($0.worker, $0.run, since: $0.at) }
                + hands(need, flight).compactMap { worker in
                    bootID(of: worker).map {
                        Flight.Recall(worker: worker, run: $0, need: need, sent: sent, at: now)
                    }
                }
            flights[image]?.recalls = recalls
            guard !setAsideIfDeadly(image) else { continue }
            ready(image, need)
            traces.note("\(need) \(flight.progress?.step ?? 0) again: \(cause)", image, now: now)
            effects.append(.measure(.recovered(cause)))
            guard need == .step else { continue }
            flights[image]?.replayed += 1
            effects.append(.measure(.replayed))
            log(.info, "picture \(image) computes step \((flight.progress?.step ?? 0) + 1) again")
        }
    }

    /// Ends a picture with which in hand too many runs of workers died.
    ///
    /// Where one worker of several was lost each time, that may be a bad node: the picture goes on until that worker rests
    /// (`noteCrash`), and meets another one.
    @discardableResult
    mutating func setAsideIfDeadly(_ image: ImageID) -> Bool {
        guard let deaths = flights[image]?.deaths, deaths.count >= settings.deathsToSetAside else { return false }
        let lost = deaths.map { Set($0.losses.map(\.worker)) }
        let everyTime = lost.dropFirst().reduce(lost[0]) { $0.intersection($1) }
        let hasOthers = members.values.contains { $0.isEligible && !everyTime.contains($0.hello.name) }
        let isProven = everyTime.isEmpty || deaths.count > max(settings.deathsToSetAside, Self.forgivenCrashes + 1)
        guard isProven || !hasOthers else { return false }
        let evidence = deaths.compactMap(\.losses.first?.line).joined(separator: "; ")
        fail(image, "set aside, because workers die with it in hand: \(evidence)")
        return true
    }

    private func isSilent(_ worker: String, _ run: UInt64, since time: UInt64) -> Bool {
        bootID(of: worker) == run && members[worker].map { $0.heard <= time } ?? false
    }

    private func missing(_ eligible: [Hello], _ role: String?, isTooFew: Bool) -> String {
        let failures = members.values.filter { $0.isPresent && $0.loadFailure != nil }.sorted {
            $0.hello.name < $1.hello.name
        }
        if let failed = failures.first, let text = failed.loadFailure { return "\(failed.hello.name): \(text)" }
        let stalled = members.values.filter { $0.isPresent && $0.isStalled }.map(\.hello.name).sorted()
        if !stalled.isEmpty { return "\(stalled.joined(separator: ", ")) stuck loading weights" }
        let here = members.values.filter(\.isPresent)
        if !here.isEmpty && here.allSatisfy(\.isDrained) {
            let names = here.map(\.hello.name).sorted().joined(separator: ", ")
            return "all workers here are drained (\(names)); let one back in with abbozzo nodes undrain NAME"
        }
        if eligible.isEmpty && isTooFew == false || members.isEmpty { return "no worker is here" }
        if isTooFew {
            let verb = eligible.count == 1 ? "is" : "are"
            let patience = minimumUntil == nil ? "" : " up to \(Self.returnGrace / 1_000_000_000) s from the start"
            return "waiting\(patience) for \(settings.minimumWorkers) workers, \(eligible.count) \(verb) here"
        }
        return role ?? "no worker is here"
    }

    /// Why work does not flow now; nil when it does.
    var waitingReason: String? {
        if let storeTrouble { return "the queue's disk: \(storeTrouble)" }
        if let trouble = flights.values.compactMap(\.openTrouble).min() { return "the queue's disk: \(trouble)" }
        if let outputTrouble { return "the pictures' disk: \(outputTrouble)" }
        switch silentDisk {
        case .queue?: return "the queue's disk does not answer"
        case .output?: return "the pictures' disk does not answer"
        case nil: break
        }
        if isStopping { return "the coordinator is stopping; the job goes on when it is started again" }
        switch planning {
        case .none(let reason): return reason
        case .loading where replicas.contains(where: \.isLoaded): return wireReason
        case .loading(_, let missing): return "\(missing.sorted().joined(separator: ", ")) loading weights"
        case .active: return wireReason
        }
    }

    /// What the coordinator writes to.
    enum Disk {
        case queue, output
    }

    /// Which disk has not answered for long, without an error; nil where all do.
    var silentDisk: Disk? {
        func isLate(_ flight: Flight) -> Bool { now - min(now, flight.phaseSince) >= Self.diskPatience }
        for flight in flights.values where isLate(flight) {
            switch flight.phase {
            case .writing where flight.placeTrouble == nil: return .output
            case .recording: return .queue
            default: break
            }
        }
        guard case .loading = planning, now - min(now, planned) >= Self.diskPatience else { return nil }
        let waitsForEpoch = awaited.values.contains { if case .epoch = $0 { true } else { false } }
        return waitsForEpoch ? .queue : nil
    }

    /// Time after which a disk that was asked to write counts as silent.
    private static let diskPatience: UInt64 = 30_000_000_000

    /// Whether work of a share, or what becomes of it, passes between its worker and the coordinator: not in the middle of a
    /// pipeline.
    func usesDataLink(_ share: Placement) -> Bool {
        share.encodes || share.decodes
            || plan?.pipelines.contains { $0.first?.worker == share.worker || $0.last?.worker == share.worker } ?? false
    }

    /// A worker's data link is up; the first one of a pipeline may also be given so many steps.
    mutating func open(limit: Credit, epoch: Epoch, worker: String) {
        guard epoch == self.epoch, plan != nil, members[worker]?.isPresent == true else { return }
        linked.insert(worker)
        members[worker]?.unlinkedSince = nil
        if let replica = replicas.firstIndex(where: { $0.first == worker }) {
            replicas[replica].credit.raise(to: limit)
        }
    }

    /// The data link of a worker broke: what was on its way over it is lost.
    mutating func unlink(_ worker: String) {
        linked.remove(worker)
        guard let share = placement(of: worker), let member = members[worker], member.isPresent else { return }
        // Alone it says nothing of one that needs none; with the other one it says that the process is gone.
        guard usesDataLink(share) || member.disconnected != nil else { return }
        noteBreak(LinkEnds(from: worker, to: Self.dataSocket))
        // If the worker is dead, its control connection breaks too: wait for that, and plan once.
        wantPlan(.link, "the data link of \(worker) broke", isGraceful: false, after: settings.settle)
    }
}
