internal import JobStore
internal import Logging
package import Plan
internal import Sampling
internal import Tensors

/// Pictures: admission, work, answers, files, ends.
extension CoordinatorCore {
    /// Tasks of one kind that one worker has in hand or on their way, besides steps: one computed, one arriving.
    ///
    /// Those of interactive pictures come on top of what batches have there.
    private static let slots = 2

    // MARK: Admission

    mutating func admit() {
        guard !isStopping, storeTrouble == nil, outputTrouble == nil, wireChoosing == .settled, let pin else { return }
        // Before the line, which may begin with thousands of jobs whose place is closed.
        guard hasRoom(isInteractive: false) || hasRoom(isInteractive: true) else { return }
        let closed = troubledPlaces
        var next = line.startIndex
        while next < line.endIndex {
            let id = line[next]
            guard jobs[id]?.waiting.isEmpty == false else {
                line.remove(at: next)
                continue
            }
            if !closed.isEmpty, let place = jobs[id]?.place, closed.keys.contains(place) {
                next += 1
                continue
            }
            // The job is not held while its list of waiting pictures changes, which would copy that.
            guard hasRoom(isInteractive: jobs[id]?.isInteractive ?? false),
                let index = jobs[id]?.waiting.popLast(), let job = jobs[id]
            else { return }
            queued -= 1
            let image = ImageID(job: id, index: index)
            let request = job.requests[Int(index)]
            let ticket = ticket(.sampler(image))
            // One that goes on from a checkpoint has been drawn for a part of that time.
            if !job.checkpoints.contains(index) {
                let again = job.requeued[index].map { Double(now - min($0, now)) * 1e-9 }
                let waited = again ?? max(0, wall - job.status.submitted)
                effects.append(.measure(.admitted(preset: request.presetName, waited: waited)))
            }
            noteAdmission(image)
            flights[image] = Flight(
                image: image, request: request, priority: job.priority, isInteractive: job.isInteractive, admitted: now,
                phase: .sampling(ticket: ticket), phaseSince: now)
            set(image, .running(step: 0, of: request.sampler.totalSteps))
            effects.append(opening(image, request, pin, ticket))
        }
    }

    private func opening(_ image: ImageID, _ request: ImageRequest, _ pin: ClusterPin, _ ticket: UInt64) -> Effect {
        let hasCheckpoint = jobs[image.job]?.checkpoints.contains(image.index) ?? false
        return .sample(.open(request, pin.model, checkpoint: hasCheckpoint ? image : nil), ticket: ticket)
    }

    /// Tries again to read the checkpoints that the disk refused, each a second after its last refusal.
    mutating func openAgain() {
        guard let pin, !isStopping else { return }
        let due = flights.filter { $0.value.opensAt.map { $0 <= now } ?? false }
        for (image, flight) in due.sorted(by: { $0.key < $1.key }) {
            let ticket = ticket(.sampler(image))
            // The same moment of its life, however often the disk is asked.
            flights[image]?.phase = .sampling(ticket: ticket)
            flights[image]?.opensAt = nil
            effects.append(opening(image, flight.request, pin, ticket))
        }
    }

    /// Whether one more picture may be in flight.
    ///
    /// An interactive one may although batches fill the cluster: theirs wait while it is fed (`batchSteps`). As many as
    /// there are workers with blocks may, and while there are any, a batch's picture begins only where less than that is
    /// in flight.
    ///
    /// A picture that is being decoded takes no place in the pipeline, so the next one begins when its steps are done; one
    /// whose folder takes no files takes none at all.
    private func hasRoom(isInteractive: Bool) -> Bool {
        let inFlight = flights.values.filter { $0.placeTrouble == nil }
        let interactive = inFlight.count(where: \.isInteractive)
        if isInteractive { return interactive < interactiveLimit }
        guard interactive == 0 else { return inFlight.count < interactiveLimit }
        return inFlight.count { !$0.isDecoding } < flightLimit && inFlight.count < flightLimit + spareFlights
    }

    // MARK: Work

    /// Steps of batches that may be at workers at a time; nil while no interactive picture needs steps.
    ///
    /// One for each worker with blocks, less those of interactive pictures: so that a step of theirs finds the pipeline
    /// with little more before it than what is being computed (cluster specification 6.6). No batch's picture loses
    /// anything, they only wait.
    private var batchSteps: Int? {
        let interactive = flights.values.count { $0.isInteractive && $0.wantsSteps }
        return interactive == 0 ? nil : max(0, interactiveLimit - interactive)
    }

    mutating func dispatch() {
        defer { watchCredit() }
        guard plan != nil, !isStopping, !isHeldForPlan else { return }
        bind()
        let closed = sendSuspects()
        for need in [Need.encode, .edge, .picture, .step] {
            while let (image, worker) = next(need, closed) { send(image, need, to: worker) }
        }
    }

    /// Measures how long steps wait for the credit of a first worker.
    private mutating func watchCredit() {
        let wait = flights.values.contains { flight in
            guard case .ready(.step, _, _) = flight.phase, let number = flight.replica else { return false }
            return !replicas[number].credit.isOpen && linked.contains(replicas[number].first)
        }
        if let since = creditWaitSince { effects.append(.measure(.creditWaited(seconds: Double(now - since) * 1e-9))) }
        creditWaitSince = wait ? now : nil
    }

    /// Gives a replica to each picture that has none: the one with most places free for its size.
    ///
    /// A picture keeps it until the next plan, since its first worker keeps the conditioning. After the loss of a replica
    /// there can be more pictures than places; what was in hand of a lost worker does not wait for one, since others wait
    /// for it.
    private mutating func bind() {
        let loose = flights.values.filter { $0.replica == nil && $0.isReady }
        guard !loose.isEmpty else { return }
        var taken = Array(repeating: 0, count: replicas.count)
        var decoding = taken
        for flight in flights.values {
            guard let number = flight.replica, flight.placeTrouble == nil else { continue }
            if flight.isDecoding { decoding[number] += 1 } else { taken[number] += 1 }
        }
        func rank(_ flight: Flight) -> (Int, Int, Int, UInt64) {
            guard case .ready(_, _, let number) = flight.phase else { return (1, 1, 0, 0) }
            return (flight.deaths.isEmpty ? 1 : 0, flight.isInteractive ? 0 : 1, -flight.priority, number)
        }
        for flight in loose.sorted(by: { rank($0) < rank($1) }) {
            let open = replicas.indices.filter {
                let (replica, all) = (replicas[$0], taken[$0] + decoding[$0])
                let hasPlace = (flight.isDecoding || taken[$0] < replica.limit) && all < replica.limit + replica.spare
                return replica.isLoaded && (hasPlace || flight.isInteractive || !flight.deaths.isEmpty)
            }
            func load(_ number: Int) -> Double { Double(taken[number]) / Double(replicas[number].limit) }
            guard let number = open.min(by: { (load($0), $0) < (load($1), $1) }) else { continue }
            if flight.isDecoding { decoding[number] += 1 } else { taken[number] += 1 }
            flights[flight.image]?.replica = number
        }
    }

    /// What only suspects may be given: replicas, and workers that serve several.
    private struct Closed {
        var replicas: Set<Int> = []
        var workers: Set<String> = []
    }

    /// A picture that was in hand of a lost worker runs alone in its replica, and alone at workers that serve several, so
    /// that the next loss shows whose fault it is.
    private mutating func sendSuspects() -> Closed {
        var closed = Closed()
        let suspects = flights.values.filter { !$0.deaths.isEmpty && ($0.isReady || $0.isSent) }
        for number in Set(suspects.compactMap(\.replica)).sorted() {
            closed.replicas.insert(number)
            let inHand = flights.values.filter { $0.replica == number && $0.isSent }
            guard inHand.isEmpty else {
                closed.workers.formUnion(inHand.filter { !$0.deaths.isEmpty }.compactMap(\.holder))
                continue
            }
            let first = suspects.filter { $0.replica == number && $0.isReady }.min { $0.image < $1.image }
            guard let first, case .ready(let need, _, _) = first.phase,
                let worker = target(of: need, number, isInteractive: first.isInteractive)
            else { continue }
            if !flights.values.contains(where: { $0.isSent && $0.holder == worker }) {
                send(first.image, need, to: worker)
            }
            closed.workers.insert(worker)
        }
        return closed
    }

    private func next(_ need: Need, _ closed: Closed) -> (ImageID, String)? {
        var candidates: [Int: [Scheduler.Candidate]] = [:]
        var batchesMay = true
        if need == .step, let batchSteps {
            batchesMay = flights.values.count { !$0.isInteractive && $0.sentNeed == .step } < batchSteps
        }
        for flight in flights.values {
            guard case .ready(need, let since, let number) = flight.phase, let replica = flight.replica,
                !closed.replicas.contains(replica), batchesMay || flight.isInteractive
            else { continue }
            candidates[replica, default: []].append(
                .init(
                    image: flight.image, isInteractive: flight.isInteractive, priority: flight.priority,
                    tokens: need == .step ? flight.tokens : 0,
                    since: since, number: number))
        }
        for (replica, candidates) in candidates.sorted(by: { $0.key < $1.key }) {
            for isInteractive in [true, false] {
                let equals = candidates.filter { $0.isInteractive == isInteractive }
                guard let worker = target(of: need, replica, isInteractive: isInteractive),
                    !closed.workers.contains(worker),
                    let image = Scheduler.next(equals, now: now, nanosecondsPerToken: nanosecondsPerToken)
                else { continue }
                return (image, worker)
            }
        }
        return nil
    }

    private mutating func send(_ image: ImageID, _ need: Need, to worker: String) {
        guard let flight = flights[image], let replica = flight.replica, let input = flight.input(need, epoch: epoch)
        else { return }
        if need == .step {
            replicas[replica].credit.send()
            flights[image]?.shownEpoch = epoch
        }
        flights[image]?.holder = worker
        noteSideTask(need, flight, to: worker)
        enter(.sent(need, at: now), image)
        effects.append(.task(input, flight.key(need, epoch: epoch), to: worker, isUrgent: flight.isInteractive))
    }

    /// Who can be given a task of a replica's pictures now; nil when nobody takes one.
    ///
    /// Workers compute encodings and decodings of interactive pictures before all others, so for those only the slots
    /// that are taken by such count: what batches have in hand gives way to steps and can take long.
    private func target(of need: Need, _ number: Int, isInteractive: Bool) -> String? {
        let replica = replicas[number]
        guard replica.isLoaded else { return nil }
        switch need {
        case .encode:
            let inHand = flights.values.count {
                $0.sentNeed == .encode && $0.holder == replica.encoder && ($0.isInteractive || !isInteractive)
            }
            return linked.contains(replica.encoder) && inHand < Self.slots ? replica.encoder : nil
        case .step: return linked.contains(replica.first) && replica.credit.isOpen ? replica.first : nil
        case .edge, .picture: return decoder(replica, isInteractive: isInteractive)
        }
    }

    /// The decoder with the fewest decodings in hand, of equal ones the one that has been given least to compute; nil while
    /// all have their slots full.
    private func decoder(_ replica: Replica, isInteractive: Bool) -> String? {
        var (inHand, slotsTaken): ([String: Int], [String: Int]) = ([:], [:])
        for flight in flights.values where flight.sentNeed == .edge || flight.sentNeed == .picture {
            guard let decoder = flight.holder else { continue }
            inHand[decoder, default: 0] += 1
            if flight.isInteractive || !isInteractive { slotsTaken[decoder, default: 0] += 1 }
        }
        func rank(_ share: Placement) -> (Int, Double) {
            (inHand[share.worker] ?? 0, work.given(share.worker))
        }
        let free = replica.decoders.filter {
            linked.contains($0.worker) && slotsTaken[$0.worker] ?? 0 < Self.slots
        }
        return free.min { rank($0) < rank($1) }?.worker
    }

    /// Who can have a task in their hands: a step passes all of the picture's pipeline.
    func hands(_ need: Need, _ flight: Flight) -> [String] {
        guard need == .step else { return flight.holder.map { [$0] } ?? [] }
        return flight.replica.map { replicas[$0].pipeline } ?? []
    }

    /// Who answers a task.
    private func source(of need: Need, _ flight: Flight) -> String? { hands(need, flight).last }

    mutating func ready(_ image: ImageID, _ need: Need) {
        lastNumber += 1
        enter(.ready(need, since: now, number: lastNumber), image)
    }

    // MARK: Answers

    mutating func take(_ output: TaskOutput, _ key: TaskKey, from worker: String) {
        guard key.epoch == epoch, let flight = flights[key.image], case .sent(let need, let at) = flight.phase,
            flight.key(need, epoch: epoch) == key, source(of: need, flight) == worker
        else {
            return effects.append(.measure(.staleAnswer))
        }
        guard fits(output, flight) else {
            return take(Fault(key.id, text: "its answer has the wrong shape", isRetriable: true), from: worker)
        }
        if case .velocity(let velocity) = output, velocity.firstNonFinite != nil {
            let pipeline = hands(need, flight).joined(separator: ", ")
            let text =
                "a velocity that came through \(pipeline) has values that are not numbers: one of them computes wrongly"
            return take(Fault(key.id, text: text, isRetriable: true), from: worker)
        }
        forgetBreaks(of: hands(need, flight), isStep: need == .step)
        flights[key.image]?.passTask()
        switch output {
        case .conditioning(let conditioning):
            flights[key.image]?.conditioning = conditioning
            if let next = flights[key.image]?.need { ready(key.image, next) }
        case .velocity(let velocity):
            let perToken = Double(now - at) / Double(max(1, flight.tokens))
            nanosecondsPerToken += (perToken - nanosecondsPerToken) * (nanosecondsPerToken == 0 ? 1 : 0.1)
            noteStep(flight)
            goOn(key.image) { .supply($0, velocity: velocity) }
        case .planes(let pixels): goOn(key.image) { .refine($0, decoded: pixels) }
        case .picture(let rgb8, _, _):
            flights[key.image]?.picture = rgb8
            writeFile(key.image)
        }
    }

    private func fits(_ output: TaskOutput, _ flight: Flight) -> Bool {
        guard let pin else { return false }
        let request = flight.request
        switch (output, flight.sentNeed) {
        case (.conditioning(let conditioning), .encode):
            return conditioning.context.shape == [request.textLength, pin.model.contextWidth]
                && conditioning.pooled.count == pin.model.pooledWidth
        case (.velocity(let velocity), .step): return velocity.shape == [flight.tokens, 64]
        case (.planes(let pixels), .edge):
            guard case .decode(let latent) = flight.progress?.demand else { return false }
            return pixels.planes.shape == [3, latent.shape[1] * 8, latent.shape[2] * 8]
        case (.picture(let rgb8, let width, let height), .picture):
            return width == request.width && height == request.height && rgb8.count == 3 * width * height
        default: return false
        }
    }

    private mutating func goOn(_ image: ImageID, _ task: (Sampler) -> SamplingTask) {
        guard let sampler = flights[image]?.progress?.sampler else { return }
        let ticket = ticket(.sampler(image))
        enter(.sampling(ticket: ticket), image)
        effects.append(.sample(task(sampler), ticket: ticket))
    }

    mutating func sampled(_ result: Result<Advance, SamplingFailure>, _ ticket: UInt64) {
        guard case .sampler(let image) = awaited.removeValue(forKey: ticket), let flight = flights[image],
            flight.phase == .sampling(ticket: ticket)
        else { return }
        switch result {
        case .failure(let failure) where failure.mayPass:
            if flight.openTrouble == nil { log(.error, "picture \(image): \(failure.text); trying again each second") }
            flights[image]?.openTrouble = failure.text
            flights[image]?.opensAt = now + 1_000_000_000
            changedAll()
        case .failure(let failure): fail(image, failure.text)
        case .success(let advance):
            if flight.openTrouble != nil {
                log(.info, "picture \(image): its checkpoint can be read again")
                flights[image]?.openTrouble = nil
                changedAll()
            }
            if let trouble = advance.startsAgain {
                log(.warning, "picture \(image) begins at its first step again: \(trouble)")
                traces.note("from the first step again: \(trouble)", image, now: now)
            }
            let tokens = advance.tokenSteps - (flight.progress?.tokenSteps ?? advance.tokenSteps)
            flights[image]?.progress = advance
            jobs[image.job]?.status.tokenSteps += UInt64(max(0, tokens))
            set(image, .running(step: advance.step, of: advance.totalSteps))
            if !advance.checkpoint.isEmpty {
                jobs[image.job]?.checkpoints.insert(image.index)
                commit(.checkpoint(image, step: advance.step, sampler: advance.checkpoint), ticket: 0)
            }
            if tokens > 0, let version = jobs[image.job]?.status.version {
                commit(.progress(image.job, tokens: UInt64(tokens), version: version), ticket: 0)
            }
            if let need = flights[image]?.need { ready(image, need) }
        }
    }

    mutating func take(_ fault: Fault, from worker: String) {
        guard let (flight, need) = waiting(for: fault.task), hands(need, flight).contains(worker) else {
            return effects.append(.measure(.staleAnswer))
        }
        let image = fault.task.image
        let faults = flight.faults + 1
        flights[image]?.faults = faults
        members[worker]?.faults += 1
        log(.warning, "\(worker), \(fault.task): \(fault.text)")
        traces.note("\(worker), \(fault.task.kind) \(fault.task.step): \(fault.text)", image, now: now)
        // The worker may have forgotten the conditioning: send it along.
        flights[image]?.shownEpoch = nil
        if fault.isRetriable && faults < settings.tries + 1 {
            ready(image, need)
        } else {
            fail(image, "\(worker): \(fault.text)" + (fault.isRetriable ? " (tried \(faults) times)" : ""))
        }
    }

    /// The picture that waits for the answer to this very task, and what for.
    private func waiting(for task: TaskID) -> (Flight, Need)? {
        guard task.epoch == epoch, let flight = flights[task.image], let need = flight.sentNeed,
            flight.key(need, epoch: epoch).id == task
        else { return nil }
        return (flight, need)
    }

    /// A task could not be handed to the socket: it waits until the worker's link is up again.
    mutating func returned(_ key: TaskKey, from worker: String) {
        guard let (flight, need) = waiting(for: key.id) else { return }
        if need == .step, let replica = flight.replica { replicas[replica].credit.takeBack() }
        linked.remove(worker)
        flights[key.image]?.shownEpoch = nil
        ready(key.image, need)
    }

    /// Payload bytes of the answer that a worker owes; nil when it owes none to this task.
    package func answerBytes(_ task: TaskID, from worker: String) -> Int? {
        guard let (flight, need) = waiting(for: task), source(of: need, flight) == worker, let pin
        else { return nil }
        let request = flight.request
        let float = MemoryLayout<Float>.size
        switch need {
        case .encode: return (request.textLength * pin.model.contextWidth + pin.model.pooledWidth) * float
        case .step: return flight.tokens * 64 * float
        case .edge:
            guard case .decode(let latent) = flight.progress?.demand else { return nil }
            return 3 * latent.shape[1] * latent.shape[2] * 64 * float
        case .picture: return 3 * request.width * request.height
        }
    }

    // MARK: Ends

    mutating func fail(_ image: ImageID, _ text: String) {
        log(.error, "picture \(image) failed: \(text)")
        end(image, .failed(text))
    }

    /// Makes the end of a picture durable; clients see it after that.
    mutating func end(_ image: ImageID, _ state: ImageState) {
        let ticket = ticket(.end(image))
        enter(.recording(state, ticket: ticket), image)
        commit(.finish(image, state, time: wall, model: pin?.drawsWith), ticket: ticket)
    }

    mutating func ended(_ image: ImageID, _ ticket: UInt64) {
        guard let flight = flights[image], case .recording(let state, ticket) = flight.phase else { return }
        land(image)
        let outcome: Measurement.Outcome = if case .done = state { .done } else { .failed }
        effects.append(
            .measure(
                .finished(
                    outcome, preset: flight.request.presetName,
                    seconds: Double(now - flight.admitted) * 1e-9, replayed: flight.replayed)))
        if case .done = state { imagesDone += 1 }
        set(image, state)
    }
}

extension Flight {
    var isReady: Bool { if case .ready = phase { true } else { false } }
}
