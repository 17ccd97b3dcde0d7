package import Checkpoint
internal import DiT
internal import Glibc
package import Plan
package import Tensors
internal import Text
internal import VAE

extension MeasuredCosts {
    /// Measures the parts of a model on this machine: one block of each kind, embedders, head, encoders and decoder.
    ///
    /// Synthetic input of the shapes that the model's default picture has: a quarter of its tokens, the middle stage of
    /// RALU, all of them. Sizes that would not fit the budget are left out, but of each part one small size is always
    /// measured; encoders above `largestEncoder` weights are not loaded for it. Of several runs the shortest counts: what
    /// else the machine did then is not this part's cost.
    ///
    /// Only what a worker of these roles may be asked to do is measured. At most one block with the embedders or the head
    /// is in memory at a time. Reading weights is not measured.
    ///
    /// `throttle` is how many times as long everything takes under a quota of processor time: short runs may pass between
    /// two pauses, long ones not, so processor time is measured then and multiplied by it.
    ///
    /// - Throws: `CheckpointError` or `TextError`, each with a text of one line.
    package static func measured(
        folder: ModelFolder, facts: ModelFacts, roles: Set<Role> = Set(Role.allCases), compute: Compute,
        throttle: Double = 1, budget: Duration = .milliseconds(1000)
    ) throws -> MeasuredCosts {
        var costs = MeasuredCosts()
        func watch(_ budget: Duration) -> StopWatch {
            StopWatch(budget: budget, throttle: throttle, threads: compute.pool.threads)
        }
        if roles.contains(.blocks) {
            try costs.measureTransformer(folder, facts, compute, watch(budget / 2))
        }
        if roles.contains(.encoder), let sizes = facts.sizes, sizes.encoderWeights <= largestEncoder {
            let encoders = try TextEncoders(folder: folder, compute: compute)
            let watch = watch(budget / 8)
            // A prompt of the usual length; the sequence is padded, so its length is what counts.
            let prompt = "a small red house by the sea under a sky with heavy clouds"
            for tokens in rising([facts.defaultTextLength / 4, facts.defaultTextLength]) where watch.allows(tokens) {
                _ = try encoders.encode(prompt: prompt, textLength: tokens)
                let seconds = try watch.time(tokens) { _ = try encoders.encode(prompt: prompt, textLength: tokens) }
                costs.encode.samples.append(.init(size: tokens, seconds: seconds))
            }
        }
        guard roles.contains(.decoder) else { return costs }
        let decoder = try Decoder(folder: folder, compute: compute)
        let watch = watch(budget * 3 / 8)
        for side in rising([64, facts.defaultSide / 2, facts.defaultSide]) where watch.allows(side * side) {
            let latent = noise([16, side / 8, side / 8], index: 9)
            let seconds = try watch.time(side * side) { _ = try decoder.decode(latent) }
            costs.decode.samples.append(.init(size: side * side, seconds: seconds))
        }
        return costs
    }

    /// Weights of encoders up to which they are measured: loading T5-XXL, 4.8 billion, would take minutes.
    private static let largestEncoder = 300_000_000

    private mutating func measureTransformer(
        _ folder: ModelFolder, _ facts: ModelFacts, _ compute: Compute, _ watch: StopWatch
    ) throws(CheckpointError) {
        let parameters = try Flux.Parameters(folder: folder)
        let weights = try folder.weights("transformer")
        let rows = max(2, facts.defaultSide / 32)  // of the coarse grid
        let full = 4 * rows * rows
        let text = facts.defaultTextLength
        // Coarse, 30 % of it refined, all; before them a size that any machine can do.
        let shapes = [(min(64, text), 64), (text, full / 4), (text, full / 4 + full * 9 / 40), (text, full)]
        let inputs = shapes.reduce(into: [(text: Int, image: Int)]()) { kept, shape in
            if shape.0 + shape.1 > kept.last.map({ $0.text + $0.image }) ?? 0 { kept.append(shape) }
        }
        var streams: [(size: Int, stream: Stream)] = []

        func block(_ index: Int, of flux: Flux, _ size: Int, _ stream: Stream) {
            let seconds = watch.time(size) {
                var copy = stream
                flux.run(blocks: index..<index + 1, &copy)
            }
            if index < parameters.doubleCount {
                double.samples.append(.init(size: size, seconds: seconds))
            } else {
                single.samples.append(.init(size: size, seconds: seconds))
            }
        }

        let last = parameters.blockCount - 1
        let count = facts.sizes.map { ($0.doubleWeights, $0.singleWeights, $0.embedWeights) }
        do {
            let flux = try Flux(parameters: parameters, weights: weights, span: 0..<1, compute: compute)
            if let (double, single, embed) = count, last > 0 {
                let block = parameters.doubleCount > 0 ? double : single
                bytesPerWeight = Double(flux.weightBytes) / Double(max(1, block + embed))
            }
            for (text, image) in inputs where watch.allows(text + image) {
                let size = text + image
                let latents = Latents(
                    tokens: noise([image, Flux.Parameters.tokenWidth], index: 0),
                    positions: Latents.grid(rows: 1, columns: image))
                let conditioning = Conditioning(
                    context: noise([text, parameters.contextWidth], index: 1),
                    pooled: noise([parameters.pooledWidth], index: 2))
                var stream = flux.embed(latents, conditioning, sigma: 0.5, guidance: 3.5)
                flux.run(blocks: 0..<1, &stream)
                let seconds = watch.time(size) {
                    _ = flux.embed(latents, conditioning, sigma: 0.5, guidance: 3.5)
                }
                embed.samples.append(.init(size: size, seconds: seconds))
                block(0, of: flux, size, stream)
                streams.append((size, stream))
            }
        }
        let flux = try Flux(parameters: parameters, weights: weights, span: last..<last + 1, compute: compute)
        for (size, stream) in streams {
            if last > 0 { block(last, of: flux, size, stream) }
            let seconds = watch.time(size) { _ = flux.head(stream) }
            head.samples.append(.init(size: size, seconds: seconds))
        }
    }

    /// Rising, each once, at least 1.
    private static func rising(_ sizes: [Int]) -> [Int] { Set(sizes.map { max(1, $0) }).sorted() }
}

/// Values between -1 and 1 from a counter: synthetic input that is the same everywhere.
private func noise(_ shape: [Int], index: UInt32) -> Tensor {
    let stream = Philox(seed: 0, purpose: 0x6D65_6173, index: index)  // "meas"
    var result = Tensor(uninitialized: shape)
    result.withUnsafeMutableBuffer { values in
        for number in stride(from: 0, to: values.count, by: 4) {
            let block = stream.block(UInt64(number / 4))
            for lane in 0..<min(4, values.count - number) {
                values[number + lane] = Float(block[lane] >> 8) / Float(1 << 23) - 1
            }
        }
    }
    return result
}

/// Takes times within a budget.
private final class StopWatch {
    private let clock = ContinuousClock()
    private let budget: Double
    private let throttle: Double
    private let threads: Int
    private var spent = 0.0
    private var slowest = (size: 0, seconds: 0.0)

    /// Runs of one thing at most, and at least when they fit the budget: one alone may have been interrupted.
    private static let runs = 3...7

    init(budget: Duration, throttle: Double, threads: Int) {
        self.budget = budget.seconds
        self.throttle = throttle
        self.threads = threads
    }

    /// Whether a size may still be tried: the first one always, a larger one when it should fit what is left.
    func allows(_ size: Int) -> Bool {
        guard slowest.size > 0 else { return true }
        // Two blocks and little else for each size; time grows faster than the size where attention counts.
        let predicted = 3 * Double(Self.runs.lowerBound) * slowest.seconds * Double(size) / Double(slowest.size)
        return spent + predicted <= budget
    }

    /// The shortest of a few runs, fewer when they take long; in seconds.
    func time<E: Error>(_ size: Int, _ body: () throws(E) -> Void) throws(E) -> Double {
        var best = Double.infinity
        var total = 0.0
        for run in 0..<Self.runs.upperBound {
            let limit = run < Self.runs.lowerBound ? budget / 2 : budget / 16
            guard run == 0 || total + best <= limit else { break }
            let (start, used) = (clock.now, Self.processorSeconds)
            try body()
            let elapsed = (clock.now - start).seconds
            let seconds = throttle > 1 ? (Self.processorSeconds - used) / Double(threads) * throttle : elapsed
            best = min(best, max(1e-9, seconds))
            total += max(1e-9, elapsed)
        }
        spent += best * Double(Self.runs.lowerBound)
        if size > slowest.size {
            slowest = (size, best)
        } else if size == slowest.size {
            slowest.seconds = max(slowest.seconds, best)
        }
        return best
    }
}

extension StopWatch {
    /// Processor time of this process so far.
    private static var processorSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

extension Duration {
    fileprivate var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
