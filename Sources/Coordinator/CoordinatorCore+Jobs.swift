internal import JobStore
internal import Logging
internal import Plan
internal import Sampling

/// Jobs and clients.
extension CoordinatorCore {
    /// Jobs whose pictures are left out of replies to `watch` until they are final: their states fill megabytes.
    static let listedPictures = 2000
    /// Jobs in one list, at most.
    private static let mostListed = 1000
    /// Requests that wait for something to happen, at most.
    private static let mostWaiting = 4096

    mutating func answer(_ request: ClientRequest, _ client: ClientTicket, fresh: JobID) {
        switch request {
        case .watch, .awaitModel, .countedNodes, .trace, .retry, .remove, .removeFinished:
            let waiting = watchers.count + modelWatchers.count + censuses.count + orders.count
            guard waiting < Self.mostWaiting else {
                return refuse(
                    client, .full, "\(Self.mostWaiting) requests wait for their answers already; ask again later")
            }
        default: break
        }
        switch request {
        case .submit(let submission): submit(submission, client, id: fresh)
        case .jobs(let limit):
            effects.append(
                .read(.jobs(limit: min(max(limit, 0), Self.mostListed)), ticket: ticket(.jobs(client))))
        case .unfinished(let limit): reply(.jobs(unfinished(limit: min(max(limit, 0), Self.mostListed))), client)
        case .jobsBeginning(let digits):
            effects.append(
                .read(
                    .jobsBeginning(with: digits, limit: ClientRequest.mostMatches), ticket: ticket(.jobs(client))))
        case .job(let id):
            if let job = jobs[id] {
                reply(.job(shown(job)), client)
            } else {
                effects.append(.read(.job(id), ticket: ticket(.job(client))))
            }
        case .watch(let id, let version):
            guard let job = jobs[id] else {
                // Nothing draws a job that is final or unknown.
                effects.append(.read(.job(id), ticket: ticket(.job(client))))
                return
            }
            guard !job.status.isFinal else { return reply(.job(watched(job)), client) }
            watchers.append(Watcher(client: client, job: id, version: version, deadline: now + settings.watchWait))
        case .cancel(let id): cancel(id, client)
        case .retry(let id):
            orders.append((.retry(id), client))
            orderNext()
        case .remove(let id):
            orders.append((.remove(id), client))
            orderNext()
        case .removeFinished(let seconds):
            guard seconds >= 0, seconds < .infinity else {
                return refuse(client, .invalid, "\(seconds) seconds ago is no time; it must be 0 or more")
            }
            orders.append((.removeFinished(by: wall - seconds), client))
            orderNext()
        case .nodes: reply(.nodes(clusterStatus()), client)
        case .countedNodes: count(client)
        case .trace(let id): trace(id, client)
        case .drain(let name): drain(name, true, client)
        case .undrain(let name): drain(name, false, client)
        case .forget(let name): forget(name, client)
        case .model: reply(.model(pin?.model), client)
        case .awaitModel:
            if let pin {
                reply(.model(pin.model), client)
            } else {
                modelWatchers.append(ModelWatcher(client: client, deadline: now + settings.watchWait))
            }
        }
    }

    // MARK: Submitting

    private mutating func submit(_ submission: Submission, _ client: ClientTicket, id: JobID) {
        guard !isStopping else {
            return refuse(client, .unavailable, "the coordinator is stopping; submit again when it is back")
        }
        guard !submission.images.isEmpty else {
            return refuse(client, .invalid, "the batch is empty; give at least one prompt")
        }
        guard submission.images.count <= settings.maxImagesPerJob else {
            return refuse(
                client, .invalid,
                "\(submission.images.count) pictures in one job, at most \(settings.maxImagesPerJob) are taken: split it"
            )
        }
        guard (submission.key?.utf8.count ?? 0) <= 256, submission.key != "" else {
            return refuse(client, .invalid, "a key is 1 to 256 bytes of text")
        }
        // A job that is here already is answered for however full the queue is.
        let full = refusal(of: submission)
        if let full, submission.key == nil { return reply(.failure(full), client) }
        var folder = settings.outputFolder + "/" + id.description
        if let name = submission.folder {
            guard let simple = OutputNames.folder(name) else {
                return refuse(
                    client, .invalid,
                    "folder \"\(name.prefix(80))\" is not a simple name below the coordinator's output folder; use "
                        + "letters, digits, - _ and .")
            }
            folder = settings.outputFolder + "/" + simple
        }
        let facts = pin?.model ?? Self.anyModel
        for (index, image) in submission.images.enumerated() {
            do throws(SamplingError) {
                try Sampler.check(image, facts: facts)
            } catch {
                let place = submission.images.count > 1 ? "picture \(index + 1) of \(submission.images.count): " : ""
                return refuse(client, .invalid, place + "\(error)")
            }
        }
        let ticket = ticket(.submission(submission, client, full: full))
        commit(.submit(id, submission, folder: folder, time: wall, onlyKnown: full != nil), ticket: ticket)
    }

    /// Pictures, bytes of requests and jobs that are unfinished, with those on their way into the store.
    var load: (pictures: Int, bytes: Int, jobs: Int) {
        var load = (pictures: queued, bytes: queuedBytes, jobs: jobs.count)
        for case .submission(let other, _, nil) in awaited.values {
            load.pictures += other.images.count
            load.bytes += LiveJob.bytes(of: other.images)
            load.jobs += 1
        }
        return load
    }

    /// Why the queue does not take a batch, with the numbers; nil if it does.
    private func refusal(of submission: Submission) -> ClientFailure? {
        let (pictures, bytes, jobs) = load
        let more = LiveJob.bytes(of: submission.images)
        let advice = "submit again when some are done, or cancel some (abbozzo jobs ls)"
        if pictures + submission.images.count > settings.maxQueued {
            return ClientFailure(
                .full,
                "\(pictures) pictures are waiting and at most \(settings.maxQueued) may, so there is no room for "
                    + "\(submission.images.count) more; \(advice)")
        }
        if jobs >= settings.maxJobs {
            return ClientFailure(
                .full, "\(jobs) jobs are unfinished and at most \(settings.maxJobs) may be; \(advice)")
        }
        if bytes + more > settings.maxQueuedBytes {
            return ClientFailure(
                .full,
                "unfinished jobs take \(bytes) bytes and at most \(settings.maxQueuedBytes) may be taken, so there is no "
                    + "room for \(more) more; \(advice)")
        }
        return nil
    }

    /// Limits before a worker has told the model's: what no model of ours passes.
    private static let anyModel = ModelFacts(
        name: "any", family: "", fingerprint: "", blockCount: 1, width: 1, contextWidth: 1, pooledWidth: 1,
        maxTextLength: 512, takesGuidance: true, scalingFactor: 1, shiftFactor: 0, schedule: ScheduleFacts(),
        maxSide: 4096)

    mutating func insert(_ stored: StoredJob) {
        let id = stored.status.id
        lastSerial += 1
        var job = LiveJob(
            status: stored.status, requests: stored.requests, priority: stored.priority,
            isInteractive: stored.isInteractive, serial: lastSerial, queued: now,
            checkpoints: Set(stored.checkpoints.keys), waiting: [], place: place(of: stored.status.folder))
        job.waiting = stored.status.images.indices.reversed().filter { !stored.status.images[$0].isFinal }
            .map(UInt32.init)
        queued += job.waiting.count
        queuedBytes += job.bytes - (jobs[id]?.bytes ?? 0)
        jobs[id] = job
        enqueue(id)
    }

    mutating func enqueue(_ id: JobID) {
        guard let job = jobs[id], !job.waiting.isEmpty else { return }
        // The line is sorted: with thousands of jobs a search from its front would take seconds.
        var (low, high) = (line.startIndex, line.endIndex)
        while low < high {
            let middle = (low + high) / 2
            if let other = jobs[line[middle]], other.precedes(job) { low = middle + 1 } else { high = middle }
        }
        if low < line.endIndex && line[low] == id { return }
        line.insert(id, at: low)
    }

    // MARK: The store's answers

    mutating func stored(_ answer: StoreAnswer, _ ticket: UInt64) {
        if case .failed(let error) = answer, keep(after: error, ticket) { return }
        if ticket == probe { diskAccepts() }
        guard let awaited = awaited.removeValue(forKey: ticket) else { return }
        defer { orderNext() }
        switch (awaited, answer) {
        case (.submission(let submission, let client, _), .submitted(let id, let folder, let isDuplicate)):
            if !isDuplicate {
                let status = JobStatus(
                    id: id, version: 1, submitted: wall, finished: nil, folder: folder,
                    images: Array(repeating: .queued, count: submission.images.count), total: submission.images.count,
                    done: 0, failed: 0, cancelled: 0, waiting: nil, tokenSteps: 0)
                insert(
                    StoredJob(
                        status: status, number: 0, priority: submission.priority,
                        isInteractive: submission.isInteractive, requests: submission.images, checkpoints: [:]))
                log(.info, "job \(id): \(submission.images.count) pictures queued\(client.byWhom)")
                reconsiderWire()
                changed(id)
            }
            reply(.accepted(id, duplicate: isDuplicate), client)
        case (.submission(_, let client, let full), .failed(let error)):
            if case .keyUsed = error.reason { return refuse(client, .invalid, "\(error)") }
            if case .unknownKey = error.reason, let full { return reply(.failure(full), client) }
            refuse(client, .unavailable, "the job could not be stored: \(error)")
        case (.cancellation(let client, let id), .written):
            reply(.done, client)
            changed(id)
        case (.cancellation(let client, let id), .failed(let error)):
            refuse(client, error)
            changed(id)
        case (.order(let order, let client), let answer): ordered(order, answer, client)
        case (.pin, .written), (.checkpoint, .written): break
        case (.epoch(let epoch), .written): assignPlan(epoch)
        case (.wire(let format), .written): wireRecorded(format, ticket)
        case (.drained(let client), .written): reply(.done, client)
        case (.drained(let client), .failed(let error)): refuse(client, .unavailable, "\(error)")
        case (.end(let image), .written): ended(image, ticket)
        case (.end(let image), .failed(let error)):
            // No job to record it in: nobody waits for it.
            log(.error, "the end of \(image) is not recorded: \(error)")
            land(image)
            changed(image.job)
        default: log(.error, "the store answered \(answer) to \(awaited)")
        }
    }

    mutating func read(_ reading: StoreReading, _ ticket: UInt64) {
        switch (awaited.removeValue(forKey: ticket), reading) {
        case (.jobs(let client), .jobs(let statuses)):
            reply(.jobs(statuses.map { status in jobs[status.id].map { listed($0) } ?? status }), client)
        case (.job(let client), .job(let status)):
            if let status {
                reply(.job(jobs[status.id].map(shown) ?? status), client)
            } else {
                refuse(client, .unknown, "there is no such job; `abbozzo jobs ls` lists them")
            }
        case (.jobs(let client), .failed(let error)), (.job(let client), .failed(let error)):
            refuse(client, .unavailable, "\(error)")
        default: break
        }
    }

    /// Remembers a write that the disk refused, if trying again makes sense; true if so.
    ///
    /// A submission is not kept: its client hears at once that it failed.
    private mutating func keep(after error: StoreError, _ ticket: UInt64) -> Bool {
        guard error.isRetriable, let awaited = awaited[ticket] else { return false }
        let write: StoreWrite
        switch awaited {
        case .end(let image):
            guard case .recording(let state, _) = flights[image]?.phase else { return false }
            write = .finish(image, state, time: wall, model: pin?.drawsWith)
        case .pin:
            guard let pin else { return false }
            write = .fact(name: "pin", value: Facts.encode(pin))
        case .epoch(let epoch): write = .fact(name: "epoch", value: String(epoch))
        case .wire(let format): write = .fact(name: Self.wireFact, value: format.rawValue)
        case .drained: write = .fact(name: Self.drainedFact, value: Facts.encode(drained))
        case .checkpoint(let image):
            write = checkpoint(of: image) ?? .fact(name: "pin", value: pin.flatMap(Facts.encode))
        case .cancellation(_, let id): write = .cancel(id, time: wall)
        default: return false
        }
        hold(write, ticket, error)
        return true
    }

    /// The latest checkpoint of a picture in flight.
    private func checkpoint(of image: ImageID) -> StoreWrite? {
        guard let progress = flights[image]?.progress, !progress.checkpoint.isEmpty else { return nil }
        return .checkpoint(image, step: progress.step, sampler: progress.checkpoint)
    }

    /// The disk took no checkpoint: it is tried with that one until it does, and no picture begins that might lose hours.
    mutating func checkpointRefused(_ image: ImageID, _ error: StoreError) {
        guard error.isRetriable, refusedWrites.isEmpty, probe == nil, let write = checkpoint(of: image) else { return }
        hold(write, ticket(.checkpoint(image)), error)
    }

    /// Keeps a write that the disk refused.
    private mutating func hold(_ write: StoreWrite, _ ticket: UInt64, _ error: StoreError) {
        if storeTrouble == nil { log(.error, "\(error); trying again each second") }
        storeTrouble = "\(error)"
        refuseRemovals()
        if ticket == probe { probe = nil }
        // Tickets rise: a client's word may have come between two answers of one failing transaction.
        let place = refusedWrites.firstIndex { $0.ticket > ticket } ?? refusedWrites.endIndex
        refusedWrites.insert((write, ticket), at: place)
        nextWriteTry = now + 1_000_000_000
        changedAll()
    }

    /// Gives a write to the store, behind those that the disk refused: a later one must not be overwritten by an earlier one.
    ///
    /// What is not kept when the disk refuses it does not wait here: submissions, retries and removals, whose clients are told,
    /// checkpoints, which the next ones replace but for one that the disk is tried with, and progress, which is for people only.
    mutating func commit(_ write: StoreWrite, ticket: UInt64) {
        switch write {
        case .finish, .cancel, .fact:
            guard refusedWrites.isEmpty && probe == nil else { return refusedWrites.append((write, ticket)) }
        case .submit, .retry, .remove, .removeFinished, .checkpoint, .progress, .moveTimes: break
        }
        effects.append(.store(write, ticket: ticket))
    }

    /// Tries the first of the refused writes again, a second after the last refusal; the others follow when it is done.
    mutating func tryStoreAgain() {
        guard !refusedWrites.isEmpty, probe == nil, now >= nextWriteTry else { return }
        let (write, ticket) = refusedWrites.removeFirst()
        probe = ticket
        effects.append(.store(current(write), ticket: ticket))
    }

    private mutating func diskAccepts() {
        probe = nil
        storeTrouble = nil
        writeRefused()
    }

    /// Gives all that waits for the disk to the store.
    mutating func writeRefused() {
        for (write, ticket) in refusedWrites { effects.append(.store(current(write), ticket: ticket)) }
        refusedWrites = []
    }

    /// A write as it would be now: one that was on its way when another was refused may have been stored before it.
    private func current(_ write: StoreWrite) -> StoreWrite {
        switch write {
        case .fact("epoch", _): .fact(name: "epoch", value: String(epoch))
        case .fact(Self.drainedFact, _): .fact(name: Self.drainedFact, value: Facts.encode(drained))
        case .checkpoint(let image, _, _): checkpoint(of: image) ?? write
        default: write
        }
    }

    // MARK: What clients see

    mutating func set(_ image: ImageID, _ state: ImageState) {
        let time = wall
        jobs[image.job]?.set(image.index, state, wall: time)
        effects.append(.publish(.image(image, state)))
        changed(image.job)
    }

    /// Tells listeners of a change, watchers too when the job is final, and lets go of it then: the store knows the rest.
    mutating func changed(_ id: JobID) {
        guard let job = jobs[id] else { return }
        let status = job.status
        effects.append(
            .publish(
                .job(
                    id, version: status.version, done: status.done, failed: status.failed,
                    cancelled: status.cancelled, total: status.total)))
        if status.isFinal { tell(watchers.filter { $0.job == id }) }
        // Both look at much: only where it matters.
        guard status.isFinal, !flights.keys.contains(where: { $0.job == id }),
            !awaited.values.contains(where: { if case .cancellation(_, id) = $0 { true } else { false } })
        else { return }
        queuedBytes -= job.bytes
        jobs[id] = nil
        traces.close(id)
        line.removeAll { $0 == id }
        log(
            .info,
            "job \(id) is finished: \(status.done) done, \(status.failed) failed, \(status.cancelled) cancelled")
    }

    /// The reason why jobs wait has changed.
    mutating func changedAll() {
        for id in jobs.keys.sorted() {
            jobs[id]?.status.version += 1
            changed(id)
        }
    }

    /// There is a model to draw with: tells those who wait for it.
    mutating func tellModel() {
        for watcher in modelWatchers { reply(.model(pin?.model), watcher.client) }
        modelWatchers = []
    }

    /// Tells those whose job has changed, or who have waited long enough.
    ///
    /// With each tick and not with each change: a status tells every picture's state, and there are many steps a second.
    mutating func tellWatchers() {
        for watcher in modelWatchers where watcher.deadline <= now { reply(.model(nil), watcher.client) }
        modelWatchers.removeAll { $0.deadline <= now }
        tell(
            watchers.filter { watcher in
                watcher.deadline <= now || jobs[watcher.job].map { $0.status.version != watcher.version } ?? true
            })
    }

    private mutating func tell(_ some: [Watcher]) {
        for watcher in some { if let job = jobs[watcher.job] { reply(.job(watched(job)), watcher.client) } }
        let told = Set(some.map(\.client))
        watchers.removeAll { told.contains($0.client) }
    }

    private func shown(_ job: LiveJob) -> JobStatus {
        var status = job.status
        status.waiting = status.isFinal ? nil : waitingReason ?? folderReason(job)
        return status
    }

    /// Why pictures of a job wait where others are drawn.
    private func folderReason(_ job: LiveJob) -> String? {
        troubledPlaces[job.place].map { "its folder: \($0)" }
    }

    private func listed(_ job: LiveJob) -> JobStatus {
        var status = shown(job)
        status.images = []
        return status
    }

    /// Jobs with pictures left: those of which one is in flight, then those that wait, each part in the order of admission.
    private func unfinished(limit: Int) -> [JobStatus] {
        let underWay = Set(flights.keys.map(\.job))
        var found = underWay.compactMap { jobs[$0] }.filter { !$0.status.isFinal }.sorted { $0.precedes($1) }
        // The line is sorted; all unfinished jobs may be many thousands.
        for id in line where !underWay.contains(id) {
            guard found.count < limit else { break }
            if let job = jobs[id], !job.status.isFinal { found.append(job) }
        }
        return found.prefix(limit).map { listed($0) }
    }

    private func watched(_ job: LiveJob) -> JobStatus {
        var status = shown(job)
        if status.total > Self.listedPictures && !status.isFinal { status.images = [] }
        return status
    }

    func clusterStatus() -> ClusterStatus {
        let order = plan?.placements.map(\.worker) ?? []
        let rest = members.keys.filter { !order.contains($0) }.sorted()
        let workers = (order + rest).compactMap { name in
            members[name].map { member in
                var status = WorkerStatus(
                    hello: member.hello, life: member.life, placement: placement(of: name), counters: member.counters,
                    heartbeatAge: Double(now - min(now, member.heard)) * 1e-9,
                    rates: member.isPresent ? member.speed.rates(of: name) : WorkerRates())
                status.faults = member.faults
                status.link = measuredLink(from: name)
                status.pace = member.isPresent ? member.pace.factor(now: now) : nil
                status.isDrained = member.isDrained
                status.idle = idle(name, member)
                return status
            }
        }
        var status = ClusterStatus(
            plan: plan, workers: workers, queued: queued, inFlight: flights.count, imagesDone: imagesDone,
            uptime: Double(now) * 1e-9, links: [])
        status.inFlightByReplica = replicas.indices.map { number in flights.values.count { $0.replica == number } }
        if !flights.isEmpty {
            let steps = flights.values.reduce(0) { $0 + $1.request.sampler.totalSteps }
            status.stepsPerPicture = Double(steps) / Double(flights.count)
        }
        status.predictedPerHour = predictedPerHour
        (status.refused, status.refusals) = (refusedWorkers, refusals)
        status.build = settings.build
        status.jobsBlocked = blockedJobs
        status.jobsRunning = Set(flights.keys.map(\.job)).count
        status.jobsWaiting = jobs.count - status.jobsRunning
        return status
    }

    /// Unfinished jobs that wait for somebody to look after a disk or a folder.
    private var blockedJobs: [String: Int] {
        let folders = troubledPlaces
        let waitsForQueue = storeTrouble != nil || flights.values.contains { $0.openTrouble != nil }
        return [
            "queue_disk": waitsForQueue || silentDisk == .queue ? jobs.count : 0,
            "output_disk": outputTrouble != nil || silentDisk == .output ? jobs.count : 0,
            "folder": folders.isEmpty ? 0 : jobs.values.count { !$0.status.isFinal && folders[$0.place] != nil },
        ]
    }

    /// Takes a worker out of the plan, or lets it back in; one that is off stays out, or takes part, when it comes back.
    private mutating func drain(_ name: String, _ isDrained: Bool, _ client: ClientTicket) {
        guard isKnown(name, client) else { return }
        let change = "\(name) is \(isDrained ? "drained" : "let back in")"
        if isDrained != drained.contains(name) { log(.info, change + client.byWhom) }
        if let member = members[name], member.isDrained != isDrained {
            members[name]?.isDrained = isDrained
            if member.isPresent {
                live(name, isDrained ? .draining : .joined)
                wantPlan(with: name, isDrained ? .drained : .undrained, change)
            }
        }
        rememberDrained(name, isDrained, client)
    }

    /// Takes a worker that is gone off the list: should it come back, it comes as a new one.
    private mutating func forget(_ name: String, _ client: ClientTicket) {
        guard isKnown(name, client) else { return }
        if let member = members[name], member.isPresent || placement(of: name) != nil {
            return refuse(
                client, .invalid,
                "\(name) is here (\(member.life.rawValue)), and only a worker that is gone can be forgotten; stop it, or keep "
                    + "it out with abbozzo nodes drain \(name)")
        }
        members[name] = nil
        crashes[name] = nil
        log(.info, "\(name), which is gone, is taken off the list\(client.byWhom)")
        rememberDrained(name, false, client)
    }

    /// Whether a worker is on the list, or drained and not seen since the coordinator started; refuses others.
    private mutating func isKnown(_ name: String, _ client: ClientTicket) -> Bool {
        guard members[name] == nil && !drained.contains(name) else { return true }
        let known = members.keys.sorted().joined(separator: ", ")
        refuse(client, .unknown, "there is no worker \(name) here (\(known.isEmpty ? "none" : known))")
        return false
    }

    /// Name of the fact of which workers are drained.
    package static let drainedFact = "drained"

    /// Answers a client once the queue remembers what it said of a worker.
    private mutating func rememberDrained(_ name: String, _ isDrained: Bool, _ client: ClientTicket) {
        guard drained.contains(name) != isDrained else { return reply(.done, client) }
        if isDrained { drained.insert(name) } else { drained.remove(name) }
        commit(.fact(name: Self.drainedFact, value: Facts.encode(drained)), ticket: ticket(.drained(client)))
    }

    mutating func reply(_ reply: ClientReply, _ client: ClientTicket) {
        effects.append(.reply(reply, client))
    }

    mutating func refuse(_ client: ClientTicket, _ code: ClientFailure.Code, _ text: String) {
        reply(.failure(ClientFailure(code, text)), client)
    }
}
