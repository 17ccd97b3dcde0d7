internal import Plan
internal import Sampling
internal import Tensors

/// A picture between admission and its end.
struct Flight {
    /// Where it is.
    enum Phase: Equatable {
        /// Its sampler is being opened or goes on; the ticket tells a late answer from the one awaited.
        case sampling(ticket: UInt64)
        /// It waits for a worker.
        case ready(Need, since: UInt64, number: UInt64)
        /// A worker has it, or a message on its way to one.
        case sent(Need, at: UInt64)
        /// Its file is being written.
        case writing(ticket: UInt64)
        /// Its end is being made durable.
        case recording(ImageState, ticket: UInt64)
    }

    /// The loss of a run of a worker.
    struct Loss: Equatable {
        var worker: String
        var run: UInt64
        /// Whether the run was not heard any more, so that it may turn out to live.
        var isSilence: Bool
        var line: String
    }

    /// What was lost with one sending of a task in hand, for the evidence against a picture.
    struct Death: Equatable {
        /// When the task was sent.
        var sent: UInt64
        var losses: [Loss]
    }

    /// A run of a worker out of whose hands a new plan took the task.
    struct Recall: Equatable {
        var worker: String
        var run: UInt64
        var need: Need
        /// When it was sent.
        var sent: UInt64
        /// When it was taken out of its hands.
        var at: UInt64
    }

    let image: ImageID
    let request: ImageRequest
    let priority: Int
    /// Somebody waits for it.
    let isInteractive: Bool
    /// When it left the queue.
    let admitted: UInt64
    var phase: Phase
    /// When it came to that phase.
    var phaseSince: UInt64
    /// Its sampler with what it needs; nil until it is open.
    var progress: Advance?
    var conditioning: Conditioning?
    /// The pipeline that it goes through while the plan lasts; nil until work flows.
    var replica: Int?
    /// Who was given the present task; of a step, the first worker of the pipeline.
    var holder: String?
    /// The epoch in which the first worker was given the conditioning.
    var shownEpoch: Epoch?
    /// Tries of the present task that came to a fault.
    var faults = 0
    /// Steps that were computed again after a loss.
    var replayed = 0
    /// Times that the present task was sent and runs of workers were lost with it in hand.
    var deaths: [Death] = []
    /// How many of these were taken back.
    var acquittals = 0
    /// Runs of workers that had the present task before the last plans, and were not heard since: they may be dead already.
    var recalls: [Recall] = []
    /// When its checkpoint is to be read again, which the disk refused; nil unless it waits for that.
    var opensAt: UInt64?
    /// Why the disk refused it last.
    var openTrouble: String?
    /// Tries to write its file that failed.
    var writes = 0
    /// Why the place of its file takes none, while it waits for that to change.
    var placeTrouble: WriteFailure?
    /// The finished picture, kept until its file is durable.
    var picture: [UInt8] = []

    /// Tokens of the network call that it waits for.
    var tokens: Int {
        if case .velocity(let latents, _, _, _) = progress?.demand { latents.count } else { 0 }
    }

    /// What it needs from a worker, by its sampler's demand.
    var need: Need? {
        switch progress?.demand {
        case .velocity: conditioning == nil ? .encode : .step
        case .decode: .edge
        case .finished: .picture
        case nil: nil
        }
    }

    /// Whether the network is not done with it.
    var wantsSteps: Bool {
        switch phase {
        case .writing, .recording: return false
        case .sampling where openTrouble != nil: return false
        case .sampling, .ready, .sent: break
        }
        return if case .finished = progress?.demand { false } else { true }
    }

    /// Whether what is left for now is a decoding, of the finished picture or for its edges, or less than that.
    var isDecoding: Bool {
        switch progress?.demand {
        case .decode, .finished: true
        case .velocity, nil: false
        }
    }

    var isSent: Bool { if case .sent = phase { true } else { false } }

    /// What is sent, if something is.
    var sentNeed: Need? { if case .sent(let need, _) = phase { need } else { nil } }

    /// The name of the task it waits for.
    func key(_ need: Need, epoch: Epoch) -> TaskKey {
        TaskKey(need: need, image: image, step: progress?.step ?? 0, epoch: epoch)
    }

    /// Puts the loss of a run of a worker on record; with one sending in hand it dies once, however often it is told.
    ///
    /// One sending of the task counts one loss: workers that go together were taken by a network or a host, not by a
    /// picture, which would have killed the first of them and not have come to the next.
    mutating func note(
        deathOf worker: String, run: UInt64, at need: Need, sent: UInt64, isSilence: Bool, _ why: String
    ) {
        let known = deaths.firstIndex { $0.sent == sent }
        if let known, deaths[known].losses.contains(where: { $0.worker == worker && $0.run == run }) { return }
        let task = need == .step ? "step \((progress?.step ?? 0) + 1)" : "task \(need)"
        let loss = Loss(
            worker: worker, run: run, isSilence: isSilence, line: "\(worker) was lost at \(task) (\(why))")
        if let known {
            deaths[known].losses.append(loss)
        } else {
            deaths.append(Death(sent: sent, losses: [loss]))
        }
    }

    /// Takes back what the silence of a run was held against it for: the run is heard again.
    ///
    /// A death goes with its last loss. Not without end: a picture that leaves a worker no time to speak is as bad as one that
    /// ends it.
    mutating func acquit(_ worker: String, run: UInt64) {
        guard acquittals < Self.mostAcquittals else { return }
        for index in deaths.indices {
            deaths[index].losses.removeAll { $0.isSilence && $0.worker == worker && $0.run == run }
        }
        acquittals += deaths.count { $0.losses.isEmpty }
        deaths.removeAll(where: \.losses.isEmpty)
    }

    /// Silences in one task after which they count, whoever is heard again.
    private static let mostAcquittals = 8

    /// The task is done: nothing is held against the picture any more.
    mutating func passTask() {
        (faults, deaths, recalls, acquittals) = (0, [], [], 0)
    }

    /// The input of the task it waits for.
    func input(_ need: Need, epoch: Epoch) -> TaskInput? {
        switch (need, progress?.demand) {
        case (.encode, _): .encode(prompt: request.prompt, textLength: request.textLength)
        case (.step, .velocity(let latents, let sigma, let stage, _)):
            .step(
                latents, sigma: sigma, guidance: request.guidance, stage: stage,
                shownEpoch == epoch ? nil : conditioning)
        case (.edge, .decode(let latent)), (.picture, .finished(let latent)): .decode(latent)
        default: nil
        }
    }
}
