import Coordinator
import JobStore
import Plan
import Sampling
import Tensors

/// A model that costs nothing but depends on everything a real one depends on.
enum FakeModel {
    static let facts = ModelFacts(
        name: "fake", family: "FluxPipeline", fingerprint: "f00d", blockCount: 6, width: 8, contextWidth: 5,
        pooledWidth: 3, maxTextLength: 16, takesGuidance: true, scalingFactor: 0.3611, shiftFactor: 0.1159,
        schedule: ScheduleFacts(), maxSide: 128)

    static func conditioning(_ prompt: String, textLength: Int) -> Conditioning {
        var state = UInt32(2_166_136_261)
        for byte in prompt.utf8 { state = (state ^ UInt32(byte)) &* 16_777_619 }
        func next() -> Float {
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(state >> 8) / Float(1 << 24) - 0.5
        }
        return Conditioning(
            context: Tensor((0..<textLength * facts.contextWidth).map { _ in next() }, shape: [textLength, 5]),
            pooled: Tensor((0..<3).map { _ in next() }, shape: [3]))
    }

    static func velocity(_ latents: Latents, sigma: Float, guidance: Float, _ conditioning: Conditioning) -> Tensor {
        let pull = conditioning.context.values.reduce(0, +) + conditioning.pooled[1] + guidance * 0.01
        var result = latents.tokens
        let places = latents.positions.values
        result.withUnsafeMutableBuffer { values in
            for index in values.indices {
                let place = places[index / 64 * 3 + 1] * 0.1 + places[index / 64 * 3 + 2] * 0.07
                values[index] = values[index] * (0.4 + 0.1 * sigma) + 0.05 * pull + place + Float(index % 64) * 0.003
            }
        }
        return result
    }

    static func decode(_ latent: Tensor) -> Pixels {
        let (rows, columns) = (latent.shape[1], latent.shape[2])
        var planes = Tensor(uninitialized: [3, rows * 8, columns * 8])
        latent.withUnsafeBuffer { source in
            planes.withUnsafeMutableBuffer { target in
                for plane in 0..<3 {
                    for y in 0..<rows * 8 {
                        for x in 0..<columns * 8 {
                            let value = source[(plane * rows + y / 8) * columns + x / 8]
                            target[(plane * rows * 8 + y) * columns * 8 + x] = max(-1, min(1, value * 0.3))
                        }
                    }
                }
            }
        }
        return Pixels(planes: planes)
    }

    /// The finished picture, without a cluster.
    static func render(_ request: ImageRequest) throws -> [UInt8] {
        let conditioning = conditioning(request.prompt, textLength: request.textLength)
        var sampler = try Sampler(request: request, facts: facts)
        while true {
            switch sampler.demand {
            case .velocity(let latents, let sigma, _, _):
                try sampler.supply(
                    velocity: velocity(latents, sigma: sigma, guidance: request.guidance, conditioning))
            case .decode(let latent): try sampler.supply(decoded: decode(latent))
            case .finished(let latent): return decode(latent).rgb8()
            }
        }
    }

    static func hello(
        _ name: String, boot: UInt64 = 1, roles: Set<Role> = Set(Role.allCases), fingerprint: String = "f00d",
        kernels: String = "avx2", protocols: ClosedRange<UInt8> = Hello.protocolVersion...Hello.protocolVersion
    ) -> Hello {
        var model = facts
        model.fingerprint = fingerprint
        return Hello(
            protocols: protocols, name: name, bootID: boot, build: "test", model: model,
            dataEndpoint: "tcp://127.0.0.1:\(6000 + name.utf8.count)", threads: 1, memoryCap: 1 << 30,
            kernelClass: kernels, roles: roles)
    }
}

extension ImageRequest {
    static func euler(_ prompt: String, seed: UInt64 = 1, steps: Int = 3, side: Int = 32) -> ImageRequest {
        ImageRequest(
            prompt: prompt, seed: seed, width: side, height: side, guidance: 3.5, textLength: 4,
            sampler: .euler(steps: steps))
    }

    static func ralu(_ prompt: String, seed: UInt64 = 1) -> ImageRequest {
        ImageRequest(
            prompt: prompt, seed: seed, width: 64, height: 64, guidance: 3.5, textLength: 4,
            sampler: .ralu(
                RALUSettings(
                    steps: [2, 1, 2], ends: [0.3, 0.45, 1.0], shifts: [5.019, 2.589, 2.226], z: 6.317, upRatio: 0.3)))
    }
}

/// What `JobStore` promises, in memory.
struct FakeStore {
    struct Job {
        var status: JobStatus
        var submission: Submission
        var checkpoints: [UInt32: (step: Int, sampler: [UInt8])] = [:]
        var number: Int64
        var model: String?
    }

    var jobs: [JobID: Job] = [:]
    var facts: [String: String] = [:]

    mutating func perform(_ write: StoreWrite) -> StoreAnswer {
        switch write {
        case .submit(let id, let submission, let folder, let time, let onlyKnown, _):
            if let key = submission.key, let known = jobs.values.first(where: { $0.submission.key == key }) {
                guard known.submission.images == submission.images else {
                    return .failed(
                        StoreError(.keyUsed(key: key, job: known.status.id.description, difference: "other pictures")))
                }
                return .submitted(known.status.id, folder: known.status.folder, duplicate: true)
            }
            if onlyKnown { return .failed(StoreError(.unknownKey(submission.key ?? ""))) }
            let count = submission.images.count
            jobs[id] = Job(
                status: JobStatus(
                    id: id, version: 1, submitted: time, finished: nil, folder: folder,
                    images: Array(repeating: .queued, count: count), total: count, done: 0, failed: 0, cancelled: 0,
                    waiting: nil, tokenSteps: 0), submission: submission,
                number: (jobs.values.map(\.number).max() ?? 0) + 1)
            return .submitted(id, folder: folder, duplicate: false)
        case .finish(let image, let state, let time, let model):
            if case .done = state, jobs[image.job]?.model == nil { jobs[image.job]?.model = model }
            return change(image.job, [image.index], state, time)
        case .checkpoint(let image, let step, let sampler):
            if jobs[image.job]?.status.images[Int(image.index)] == .queued {
                jobs[image.job]?.checkpoints[image.index] = (step, sampler)
            }
            return .written
        case .progress(let id, let tokens, _):
            jobs[id]?.status.tokenSteps += tokens
            return .written
        case .cancel(let id, let time):
            return change(id, jobs[id].map { Array(0..<UInt32($0.status.total)) } ?? [], .cancelled, time)
        case .retry(let id, let mostPictures, let mostBytes, let model):
            guard var job = jobs[id] else { return .failed(StoreError(.unknownJob(id.description))) }
            if let was = job.model, was != model {
                return .failed(StoreError(.otherModel(job: id.description, was: was, now: model)))
            }
            let pictures = job.status.failed + job.status.cancelled
            guard pictures <= mostPictures, mostBytes > 0 else {
                return .failed(StoreError(.full(pictures: pictures, bytes: 1)))
            }
            for (index, state) in job.status.images.enumerated() {
                switch state {
                case .failed, .cancelled: job.status.images[index] = .queued
                default: break
                }
            }
            job.status.failed = 0
            job.status.cancelled = 0
            job.status.finished = nil
            jobs[id] = job
            return .retried(stored(job))
        case .remove(let id):
            guard let job = jobs[id] else { return .failed(StoreError(.unknownJob(id.description))) }
            guard job.status.isFinal else { return .failed(StoreError(.unfinished(id.description))) }
            jobs[id] = nil
            return .written
        case .removeFinished(let time, let mostPictures):
            let old = jobs.values.filter { $0.status.finished.map { $0 <= time } ?? false }.sorted {
                ($0.status.finished ?? 0, $0.number) < ($1.status.finished ?? 0, $1.number)
            }
            var (count, pictures) = (0, 0)
            for job in old {
                pictures += job.status.total
                if count > 0 && pictures > mostPictures { break }
                jobs[job.status.id] = nil
                count += 1
            }
            return .removed(jobs: count, isAll: count == old.count)
        case .moveTimes(let from, let to, let step):
            for id in jobs.keys {
                if let time = jobs[id]?.status.submitted, (from...to).contains(time) {
                    jobs[id]?.status.submitted += step
                }
                if let time = jobs[id]?.status.finished, (from...to).contains(time) {
                    jobs[id]?.status.finished = time + step
                }
            }
            return .written
        case .fact(let name, let value):
            facts[name] = value
            return .written
        }
    }

    private mutating func change(_ id: JobID, _ indices: [UInt32], _ state: ImageState, _ time: Double) -> StoreAnswer {
        guard var job = jobs[id] else { return .failed(StoreError(.unknownJob(id.description))) }
        for index in indices where job.status.images[Int(index)] == .queued {
            job.status.images[Int(index)] = state
            job.checkpoints[index] = nil
            switch state {
            case .done: job.status.done += 1
            case .failed: job.status.failed += 1
            default: job.status.cancelled += 1
            }
        }
        if job.status.isFinal { job.status.finished = job.status.finished ?? time }
        jobs[id] = job
        return .written
    }

    func read(_ query: StoreQuery) -> StoreReading {
        switch query {
        case .jobs(let limit): .jobs(listed(limit) { _ in true })
        case .jobsBeginning(let digits, let limit): .jobs(listed(limit) { $0.description.hasPrefix(digits) })
        case .job(let id): .job(jobs[id]?.status)
        }
    }

    private func listed(_ limit: Int, where isWanted: (JobID) -> Bool) -> [JobStatus] {
        jobs.values.filter { isWanted($0.status.id) }.sorted { $0.number > $1.number }.prefix(limit).map { job in
            var status = job.status
            status.images = []
            return status
        }
    }

    func stored(_ job: Job) -> StoredJob {
        StoredJob(
            status: job.status, number: job.number, priority: job.submission.priority,
            isInteractive: job.submission.isInteractive, requests: job.submission.images,
            checkpoints: job.checkpoints.mapValues(\.step))
    }

    /// What a new coordinator finds.
    var unfinished: [StoredJob] {
        jobs.values.filter { $0.status.finished == nil }.sorted {
            (-$0.submission.priority, $0.number) < (-$1.submission.priority, $1.number)
        }.map(stored)
    }
}
