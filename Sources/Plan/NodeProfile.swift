/// What a worker does about measuring its own speed, by which the plan cuts the model.
package enum BenchmarkMode: String, CaseIterable, Sendable {
    /// Measure once and keep the result on disk.
    case cached
    /// Measure at each start.
    case fresh
    /// Do not measure: the plan cuts evenly.
    case off
}

/// What a worker says of its machine and its speed, for planning; no picture's bits depend on it.
package struct NodeProfile: Codable, Equatable, Sendable {
    /// Cores that its process may use.
    package var cores: Int
    /// Instruction set of its kernels: `avx2`.
    package var instructions: String
    /// Tells machines apart: workers of one machine share its memory.
    package var machine: String
    /// Whether its memory cap is all that the machine has, and not a share that somebody gave it.
    package var sharesMemory: Bool
    /// What it measured; nil when it was told not to, or could not.
    package var costs: MeasuredCosts?
    /// Bytes that a weight of the transformer takes in its memory, by the headers of the model's files; nil from workers of
    /// before.
    package var bytesPerWeight: Double?
    /// Bytes that the text encoders take in its memory, by the same headers; nil from workers of before.
    package var encoderBytes: Double?
    /// Conditionings that a worker with the first block keeps, so that each crosses the wire once.
    package static let keptConditionings = 64

    /// Joins the fields.
    package init(
        cores: Int, instructions: String, machine: String, sharesMemory: Bool, costs: MeasuredCosts? = nil,
        bytesPerWeight: Double? = nil, encoderBytes: Double? = nil
    ) {
        self.cores = cores
        self.instructions = instructions
        self.machine = machine
        self.sharesMemory = sharesMemory
        self.costs = costs
        self.bytesPerWeight = bytesPerWeight
        self.encoderBytes = encoderBytes
    }
}

/// Times of the parts of a model on one worker, measured on synthetic input of the model's real shapes.
package struct MeasuredCosts: Codable, Equatable, Sendable {
    /// Seconds of one double block, by tokens of text and image together.
    package var double = CostCurve()
    /// Seconds of one single block, by tokens of text and image together.
    package var single = CostCurve()
    /// Seconds of the embedders, by tokens of text and image together.
    package var embed = CostCurve()
    /// Seconds of the head, by tokens of text and image together.
    package var head = CostCurve()
    /// Seconds of the text encoders, by tokens of the sequence; empty when they are too large to try.
    package var encode = CostCurve()
    /// Seconds of the decoder, by pixels of the picture.
    package var decode = CostCurve()
    /// Bytes in memory of one weight of a block.
    package var bytesPerWeight = 4.0

    /// Nothing measured.
    package init() {}

    /// The costs on a machine that is so many times as fast.
    package func faster(_ factor: Double) -> MeasuredCosts {
        func faster(_ curve: CostCurve) -> CostCurve {
            CostCurve(curve.samples.map { .init(size: $0.size, seconds: $0.seconds / factor) })
        }
        var costs = self
        (costs.double, costs.single, costs.embed) = (faster(double), faster(single), faster(embed))
        (costs.head, costs.encode, costs.decode) = (faster(head), faster(encode), faster(decode))
        return costs
    }

    /// Whether every number can be a time: a report from outside must not lead the planner astray.
    package var isSane: Bool {
        [double, single, embed, head, encode, decode].allSatisfy(\.isSane) && bytesPerWeight > 0 && bytesPerWeight <= 16
    }
}

/// Seconds that something takes, at a few sizes.
package struct CostCurve: Codable, Equatable, Sendable {
    /// One measurement.
    package struct Sample: Codable, Equatable, Sendable {
        /// Tokens or pixels.
        package var size: Int
        /// The shortest of several times.
        package var seconds: Double

        /// Joins both.
        package init(size: Int, seconds: Double) {
            self.size = size
            self.seconds = seconds
        }
    }

    /// By rising size.
    package var samples: [Sample]

    /// Sorts the samples.
    package init(_ samples: [Sample] = []) { self.samples = samples.sorted { $0.size < $1.size } }

    /// Whether sizes rise and times are a nanosecond or more.
    package var isSane: Bool {
        samples.count <= 64
            && samples.allSatisfy { $0.size > 0 && $0.size < 1 << 40 && $0.seconds >= 1e-9 && $0.seconds < 1e6 }
            && zip(samples, samples.dropFirst()).allSatisfy { $0.size < $1.size }
    }

    /// Seconds at `size`; nil without samples.
    ///
    /// `work` says how the arithmetic grows with the size. Seconds for one unit of work are interpolated linearly
    /// between the samples and constant beyond them: exact where time is proportional to work, and close where small
    /// sizes are less efficient.
    package func seconds(_ size: Int, work: (Double) -> Double) -> Double? {
        guard let first = samples.first, let last = samples.last else { return nil }
        func unit(_ sample: Sample) -> Double { sample.seconds / work(Double(sample.size)) }
        let above = samples.firstIndex { $0.size >= size }
        let perUnit: Double
        switch above {
        case nil: perUnit = unit(last)
        case 0: perUnit = unit(first)
        case let index?:
            let (low, high) = (samples[index - 1], samples[index])
            let share = Double(size - low.size) / Double(high.size - low.size)
            perUnit = unit(low) + (unit(high) - unit(low)) * share
        }
        return perUnit * work(Double(size))
    }
}

/// Sizes of a model's parts, from the headers of its files.
package struct ModelSizes: Codable, Equatable, Sendable {
    /// Blocks with separate weights for text and image; the others follow them.
    package var doubleCount: Int
    /// Weights of one double block.
    package var doubleWeights: Int
    /// Weights of one single block.
    package var singleWeights: Int
    /// Weights of the embedders in front of block 0.
    package var embedWeights: Int
    /// Weights of the head behind the last block.
    package var headWeights: Int
    /// Weights of the text encoders.
    package var encoderWeights: Int
    /// Those of them that are multiplied with each token, tables of words left out.
    package var encoderMatrixWeights: Int
    /// Weights of the decoder.
    package var decoderWeights: Int
    /// Operations of the decoder for one pixel of the picture, two for a multiply-add.
    package var decoderOperationsPerPixel: Double
    /// Values that the decoder holds at once for one pixel of a tile.
    package var decoderValuesPerPixel: Int

    /// Joins the fields.
    package init(
        doubleCount: Int, doubleWeights: Int, singleWeights: Int, embedWeights: Int, headWeights: Int,
        encoderWeights: Int, encoderMatrixWeights: Int, decoderWeights: Int, decoderOperationsPerPixel: Double,
        decoderValuesPerPixel: Int
    ) {
        self.doubleCount = doubleCount
        self.doubleWeights = doubleWeights
        self.singleWeights = singleWeights
        self.embedWeights = embedWeights
        self.headWeights = headWeights
        self.encoderWeights = encoderWeights
        self.encoderMatrixWeights = encoderMatrixWeights
        self.decoderWeights = decoderWeights
        self.decoderOperationsPerPixel = decoderOperationsPerPixel
        self.decoderValuesPerPixel = decoderValuesPerPixel
    }
}
