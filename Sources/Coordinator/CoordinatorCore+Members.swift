internal import JobStore
internal import Logging
internal import Plan

/// Workers: how they join, stay and go.
extension CoordinatorCore {
    /// Highest epoch of a worker that is believed; beyond it only plans of our own count, and they never get to the end.
    static let highestEpochHeard: Epoch = 1 << 30
    /// Workers that are remembered, if fewer are present.
    private static let mostMembers = Bounds.workers.upperBound

    mutating func hear(_ message: ControlMessage, from name: String, bootID: UInt64) {
        if case .hello(let hello) = message { return greet(hello, from: name, bootID: bootID) }
        guard var member = members[name], member.isPresent, member.hello.bootID == bootID else {
            switch message {
            case .leave: send(.leave, name, bootID: bootID)
            // A run that challenges the name is told when its time has come.
            case .heartbeat:
                if challengers[name]?.hello.bootID != bootID { send(.introduce, name, bootID: bootID) }
            default: break
            }
            return
        }
        let wasCut = member.disconnected != nil
        member.heard = now
        member.disconnected = nil
        members[name] = member
        // A plan that was made in between did without it, and it has no reason to introduce itself again.
        if wasCut {
            acquit(name, run: bootID)
            if placement(of: name) == nil { wantPlan(with: name, .reconnected, "\(name) is heard again") }
        }
        answerChallenger(name)
        switch message {
        case .heartbeat(let heartbeat): beat(heartbeat, name)
        case .loaded(let loaded): load(loaded, name)
        case .fault(let fault): take(fault, from: name)
        case .leave:
            send(.leave, name)
            lose(name, "it left", isDeath: false)
        case .drain:
            members[name]?.isLeaving = true
            live(name, .draining)
            log(.info, "\(name) wants to leave")
            releaseLeavers()
            wantPlan(with: name, .drained, "\(name) leaves")
        case .hello, .welcome, .refuse, .assign, .forget, .alive, .report, .introduce: break
        }
    }

    private mutating func greet(_ hello: Hello, from name: String, bootID: UInt64) {
        guard hello.name == name, hello.bootID == bootID else {
            return refuse(
                name, bootID, .malformed,
                "a worker that connects as \(name) introduces itself as \(hello.name), or as another run")
        }
        guard hello.protocols.contains(Hello.protocolVersion) else {
            let (low, high) = (hello.protocols.lowerBound, hello.protocols.upperBound)
            return refuse(
                name, bootID, .protocolVersion,
                "\(name) speaks protocol \(low == high ? "\(low)" : "\(low) to \(high)"), the coordinator "
                    + "\(Hello.protocolVersion); run the same version of abbozzo on both")
        }
        if let old = members[name], old.isPresent, old.hello.bootID != bootID {
            // The old one may be dead without anybody knowing yet: let it speak, or be silent, first.
            if now - min(now, old.heard) < settings.suspectAfter && old.disconnected == nil {
                challengers[name] = Challenger(hello: hello)
                return
            }
            lose(name, "it started again", isDeath: true)
        }
        accept(hello)
    }

    /// The name's owner is alive: whoever else wants the name is refused, and waits in case the owner goes.
    private mutating func answerChallenger(_ name: String) {
        guard let challenger = challengers[name], !challenger.isAnswered else { return }
        let text = "a worker called \(name) is here already and alive; start this one with another --name"
        refuse(name, challenger.hello.bootID, .name, text)
        challengers[name]?.isAnswered = true
    }

    /// A connection ended: that of the worker, or that of a run that wants its name.
    mutating func disconnect(_ name: String, bootID: UInt64) {
        if challengers[name]?.hello.bootID == bootID { challengers[name] = nil }
        guard let member = members[name], member.isPresent, member.hello.bootID == bootID else { return }
        members[name]?.disconnected = now
        if let share = placement(of: name), !usesDataLink(share), !linked.contains(name) {
            wantPlan(.link, "both connections of \(name) broke", isGraceful: false, after: settings.settle)
        }
        guard let challenger = challengers[name] else { return }
        lose(name, "it started again", isDeath: true)
        accept(challenger.hello)
    }

    /// How a cluster comes to draw with other files or kernels: pictures in its queue began with those that it has.
    private static let toChange =
        "; to change that of the whole cluster, let its queue end or cancel its jobs (abbozzo jobs ls), then stop all workers"

    private mutating func accept(_ hello: Hello) {
        let name = hello.name
        var hello = hello
        // Not kept: it would not be used, and may be long.
        if let costs = hello.profile?.costs, !costs.isSane { hello.profile?.costs = nil }
        challengers[name] = nil
        let othersLive = members.values.contains { $0.isPresent && $0.hello.name != name }
        if pin == nil || !othersLive && jobs.isEmpty {
            pin = ClusterPin(model: hello.model, kernelClass: hello.kernelClass)
            if let pin { commit(.fact(name: "pin", value: Facts.encode(pin)), ticket: ticket(.pin)) }
            tellModel()
        }
        if let pin {
            guard pin.model.fingerprint == hello.model.fingerprint else {
                return refuse(
                    name, hello.bootID, .model,
                    "the model files of \(name) (\(hello.model.name), fingerprint \(hello.model.fingerprint.prefix(12))) are "
                        + "not those that the cluster draws with (\(pin.model.name), fingerprint "
                        + "\(pin.model.fingerprint.prefix(12))); give all workers the same files\(Self.toChange)"
                )
            }
            guard pin.kernelClass == hello.kernelClass else {
                return refuse(
                    name, hello.bootID, .kernelClass,
                    "\(name) computes with kernels of class \(hello.kernelClass), the cluster with \(pin.kernelClass): the "
                        + "same seed would give other bits; give all workers one version, one --compute and, where instruction sets "
                        + "differ, one ABBOZZO_KERNELS\(Self.toChange)")
            }
        }
        let known = members[name].flatMap { $0.isPresent ? $0 : nil }
        let hadShare = placement(of: name) != nil
        var member = Member(hello, now: now)
        member.isDrained = drained.contains(name)
        member.counters = known?.counters ?? member.counters
        if let former = members[name], former.hello.bootID == hello.bootID {
            // What is told of it must not fall to nothing and come back: to a monitor that is work done twice.
            member.counters = former.counters
            (member.worksSince, member.clock, member.pace) = (former.worksSince, former.clock, former.pace)
            (member.loadFailure, member.loadTries, member.loadsAgain) =
                (former.loadFailure, former.loadTries, former.loadsAgain)
            acquit(name, run: hello.bootID)
        } else if let former = members[name], former.hasCrashed {
            noteCrash(of: former)
        }
        members[name] = member
        refused[name] = nil
        if member.isDrained { members[name]?.life = .draining }
        send(
            .welcome(
                Welcome(
                    heartbeatMilliseconds: Int(settings.heartbeat / 1_000_000), dataEndpoint: settings.dataEndpoint,
                    lostAfterMilliseconds: Int(settings.lostAfter / 1_000_000))),
            name)
        effects.append(.publish(.worker(name: name, life: members[name]?.life ?? .joined)))
        log(.info, "\(name) \(known == nil ? "joined" : "is back"): threads \(hello.threads), \(hello.kernelClass)")
        // Messages to or from it may have been lost with the old connection.
        let (cause, text): (Measurement.Cause, String) =
            known == nil ? (.joined, "\(name) joined") : (.reconnected, "\(name) connected again")
        if hadShare {
            wantPlan(cause, text, isGraceful: false, after: settings.settle)
        } else {
            wantPlan(with: name, cause, text)
        }
    }

    private mutating func beat(_ heartbeat: Heartbeat, _ name: String) {
        members[name]?.note(heartbeat, epoch: epoch, now: now)
        members[name]?.isPlannedAround = false
        if let report = heartbeat.done, var clock = members[name]?.clock {
            clock.note(clock: report.clock, roundTrip: heartbeat.counters.roundTripNanoseconds, now: now)
            traces.note(report, by: name, &clock, now: now)
            members[name]?.clock = clock
            note(report.spans, of: name)
        }
        if let number = heartbeat.answering { counted(name, number) }
        send(.alive, name)
        if heartbeat.epoch > Self.highestEpochHeard && heartbeat.epoch > epoch {
            // No plan of ours: it forgets the number when it introduces itself.
            log(.warning, "\(name) says that it works in epoch \(heartbeat.epoch), which nobody planned")
            send(.introduce, name)
        } else if heartbeat.epoch > epoch {
            // The queue that knew this epoch is gone: go beyond it, or the worker takes no plan.
            epoch = heartbeat.epoch
            wantPlan(.epoch, "\(name) knows epoch \(epoch)", isGraceful: false)
        }
        assignAgain(name, heard: heartbeat.epoch)
        if let member = members[name], member.isStalled, member.memorySince == now {
            members[name]?.isStalled = false
            log(.info, "\(name) moves again")
            wantPlan(with: name, .joined, "\(name) moves again")
        }
        guard members[name]?.life == .suspect else { return }
        let share = placement(of: name)
        if share == nil {
            live(name, .joined)
            wantPlan(with: name, .joined, "\(name) is heard again")
        } else if case .loading(_, let missing) = planning, missing.contains(name) {
            live(name, .loading)
        } else {
            live(name, .ready)
        }
    }

    private mutating func load(_ loaded: Loaded, _ name: String) {
        guard case .loading(let plan, var missing) = planning, loaded.epoch == epoch, missing.contains(name) else {
            return
        }
        if let failure = loaded.failure {
            let rest = noteLoadFailure(of: name, failure)
            live(name, .joined)
            log(.error, "\(name) cannot load its share: \(failure); it is tried again in \(rest / 1_000_000_000) s")
            return wantPlan(.load, "\(name) could not load", isGraceful: false)
        }
        members[name]?.counters.residentBytes = loaded.residentBytes
        members[name]?.loadTries = 0
        if !linked.contains(name) { members[name]?.unlinkedSince = now }
        live(name, .ready)
        note(loaded.link, of: name, plan)
        missing.remove(name)
        var isNews = missing.isEmpty
        for number in replicas.indices where !replicas[number].isLoaded && replicas[number].canWork(without: missing) {
            replicas[number].isLoaded = true
            isNews = true
        }
        planning = missing.isEmpty ? .active(plan) : .loading(plan, missing: missing)
        if missing.isEmpty && loadsShares { lastLoading = Double(now - min(now, planned)) * 1e-9 }
        if missing.isEmpty {
            effects.append(.publish(.plan(plan)))
            log(.info, "epoch \(epoch): \(plan.summary)")
            traces.note("epoch \(epoch): \(plan.summary)", now: now)
        }
        if isNews {
            settleWire()
            changedAll()
        }
    }

    /// The boot of a worker that is present.
    package func bootID(of worker: String) -> UInt64? {
        members[worker].flatMap { $0.isPresent ? $0.hello.bootID : nil }
    }

    /// Watches for silence and for work that does not go on.
    mutating func watchMembers() {
        for (name, challenger) in challengers.sorted(by: { $0.key < $1.key }) {
            guard let old = members[name], old.isPresent else {
                accept(challenger.hello)
                continue
            }
            if now - min(now, old.heard) >= settings.suspectAfter || old.disconnected != nil {
                lose(name, "it started again", isDeath: true)
                accept(challenger.hello)
            }
        }
        for (name, member) in members.sorted(by: { $0.key < $1.key }) where member.isPresent {
            let silence = now - min(member.heard, now)
            // Looked at in ticks, of which a busy machine is late for one: given up after the time that was promised,
            // not at the first look after it.
            let lostAfter = settings.lostAfter - min(settings.lostAfter, 2 * settings.tick)
            if let broken = member.disconnected, now - broken >= settings.disconnectGrace {
                lose(name, "its connection broke", isDeath: true)
            } else if silence >= lostAfter {
                lose(name, "silent for \(silence / 1_000_000_000) s", isDeath: true)
            } else if silence >= settings.suspectAfter && member.life != .suspect {
                live(name, .suspect)
                log(.warning, "\(name) has been silent for \(silence / 1_000_000) ms")
            } else if case .loading(_, let missing) = planning, missing.contains(name), !member.isStalled,
                member.assigned?.epoch == epoch,
                member.heard - min(member.heard, max(planned, member.memorySince)) >= Self.stallLimit(settings)
            {
                members[name]?.isStalled = true
                live(name, .joined)
                log(
                    .error,
                    "\(name) has loaded nothing for \(Self.stallLimit(settings) / 1_000_000_000) s: look at the disk that "
                        + "its model is on; it gets no share until it moves")
                wantPlan(.load, "\(name) is stuck loading", isGraceful: false)
            } else if let inHand = member.inHand, placement(of: name) != nil {
                // Up to its last word: one that is silent is not seen to be stuck, and has its own limit.
                let limit = patience(with: member, inHand)
                if member.heard - min(member.heard, member.inHandSince) >= limit {
                    let place = inHand.block.map { "block \($0) of " } ?? ""
                    lose(
                        name, "stuck in \(place)\(inHand.image) for \(limit / 1_000_000_000) s", isDeath: true,
                        isSilence: false)
                }
            }
        }
    }

    /// Time without any change of its memory after which a worker that loads is stuck.
    private static func stallLimit(_ settings: CoordinatorSettings) -> UInt64 { 10 * settings.stuckAfter }

    /// Time that a worker may take for the block in hand, or for a task without blocks.
    private func patience(with member: Member, _ inHand: Member.InHand) -> UInt64 {
        guard inHand.block != nil else {
            let predicted = sideSeconds(flights[inHand.image], by: member.hello)
            return max(10 * settings.stuckAfter, UInt64(min(5e9 * predicted, 1e15)))
        }
        let blocks = placement(of: member.hello.name)?.span.count ?? 1
        guard let nanoseconds = member.nanosecondsPerToken, nanoseconds.isFinite else { return 5 * settings.stuckAfter }
        let tokens = flights[inHand.image].map(\.tokens) ?? 0
        // A picture that is not in flight any more may be as large as pictures get.
        let most = pin.map { ($0.model.maxSide / 16) * ($0.model.maxSide / 16) } ?? 0
        let predicted = nanoseconds * Double(tokens > 0 ? tokens : most) / Double(max(1, blocks))
        return max(settings.stuckAfter, UInt64(min(5 * predicted, 1e15)))
    }

    /// Seconds of the encoding or decoding that a picture waits for, by the worker's benchmark; 0 where that does not tell.
    private func sideSeconds(_ flight: Flight?, by hello: Hello) -> Double {
        guard let costs = hello.profile?.costs else { return 0 }
        func encode(_ tokens: Int) -> Double { costs.encode.seconds(tokens, work: { $0 }) ?? 0 }
        func decode(_ pixels: Int) -> Double { costs.decode.seconds(pixels, work: { $0 }) ?? 0 }
        switch (flight?.sentNeed, flight?.request) {
        case (.encode, let request?): return encode(request.textLength)
        case (.edge, let request?), (.picture, let request?): return decode(request.width * request.height)
        case (.step, _): return 0
        // A picture that does not wait for it any more may be as large as pictures get.
        default:
            guard let model = pin?.model else { return 0 }
            return max(encode(model.maxTextLength), decode(model.maxSide * model.maxSide))
        }
    }

    /// Sends work again that every worker which could have it denies having: a message was lost without its connection.
    mutating func resendLost() {
        guard plan != nil, replan?.isGraceful ?? true else { return }
        let stale = flights.values.contains { flight in
            guard case .sent(let need, let at) = flight.phase else { return false }
            return now - at >= settings.resendAfter
                && hands(need, flight).allSatisfy { worker in
                    members[worker]?.hasBeenIdle(for: settings.resendAfter / 2, now: now) ?? false
                }
        }
        if stale { wantPlan(.link, "work was lost on its way", isGraceful: false) }
    }

    /// Gives a worker up; what it had in hand goes on elsewhere.
    ///
    /// `isSilence` says that it was not heard any more, and may be heard again.
    mutating func lose(_ name: String, _ why: String, isDeath: Bool, isSilence: Bool = true) {
        guard let member = members[name], member.isPresent else { return }
        live(name, .lost)
        members[name]?.hasLeft = !isDeath
        members[name]?.inHand = nil
        members[name]?.idleSince = nil
        counted(name)
        partings = partings.filter { $0.key.from != name && $0.key.to != name }
        fruitlessBreaks = fruitlessBreaks.filter { $0.key.from != name && $0.key.to != name }
        measuredLinks = measuredLinks.filter { $0.key.from != name && $0.key.to != name }
        log(isDeath ? .warning : .info, "\(name) is gone: \(why)")
        traces.note("\(name) is gone: \(why)", now: now)
        if isDeath { blameLate(member, isSilence: isSilence, why) }
        let share = placement(of: name)
        members[name]?.hasCrashed = isDeath && (share != nil || member.isPlannedAround)
        if !isDeath { crashes[name] = nil }
        guard let share else { return }
        if isDeath { blame(share, isSilence: isSilence, why) }
        wantPlan(isDeath ? .lost : .drained, "\(name) is gone", isGraceful: false)
    }

    /// Every picture that may have been in the worker's hands is a suspect: it runs alone until it passes the task.
    mutating func blame(_ share: Placement, isSilence: Bool, _ why: String) {
        for (image, flight) in flights {
            guard case .sent(let need, let sent) = flight.phase, hands(need, flight).contains(share.worker) else {
                continue
            }
            flights[image]?.note(
                deathOf: share.worker, run: share.bootID, at: need, sent: sent, isSilence: isSilence, why)
        }
    }

    /// So is every picture that a new plan took out of its hands after it was heard for the last time.
    private mutating func blameLate(_ member: Member, isSilence: Bool, _ why: String) {
        for (image, flight) in flights {
            for recall in flight.recalls
            where recall.worker == member.hello.name && recall.run == member.hello.bootID && member.heard <= recall.at {
                flights[image]?.note(
                    deathOf: recall.worker, run: recall.run, at: recall.need, sent: recall.sent,
                    isSilence: isSilence, why)
            }
            // What is at a worker again is judged when it comes back from there.
            if flight.isReady { setAsideIfDeadly(image) }
        }
    }

    /// A run that is heard again did not die of any picture.
    private mutating func acquit(_ name: String, run: UInt64) {
        for image in flights.keys { flights[image]?.acquit(name, run: run) }
    }

    /// Forgets workers that left as they should, and the longest lost ones where there are too many.
    mutating func forgetMembers() {
        func mayGo(_ name: String, _ member: Member) -> Bool { !member.isPresent && placement(of: name) == nil }
        for (name, member) in members where member.hasLeft && !member.isDrained && mayGo(name, member) {
            members[name] = nil
        }
        guard members.count > Self.mostMembers else { return }
        let lost = members.filter { mayGo($0.key, $0.value) }
        let oldest = lost.sorted { ($0.value.heard, $0.key) < ($1.value.heard, $1.key) }
        for (name, _) in oldest.prefix(members.count - Self.mostMembers) {
            members[name] = nil
            crashes[name] = nil
        }
    }

    /// Tells workers that want to leave, and have no work any more, to go.
    mutating func releaseLeavers() {
        for (name, member) in members.sorted(by: { $0.key < $1.key })
        where member.isPresent && member.isLeaving && placement(of: name) == nil {
            send(.drain, name)
        }
    }

    /// Notes where a worker is in its life; one that is drained or wants to leave stays so, whatever it has still in hand.
    mutating func live(_ name: String, _ life: WorkerStatus.Life) {
        let isGoing = members[name].map { $0.isDrained || $0.isLeaving } ?? false
        let life = isGoing && [.joined, .loading, .ready].contains(life) ? .draining : life
        guard members[name]?.life != life else { return }
        members[name]?.life = life
        effects.append(.publish(.worker(name: name, life: life)))
    }

    /// Tells a worker something: the run of it that is present, unless another one is named.
    mutating func send(_ message: ControlMessage, _ worker: String, bootID: UInt64? = nil) {
        guard let bootID = bootID ?? self.bootID(of: worker) else { return }
        effects.append(.control(message, to: worker, bootID: bootID))
    }

    mutating func log(_ level: Logger.Level, _ text: String) { effects.append(.log(level, text)) }
}
