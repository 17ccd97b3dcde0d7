internal import CKernels
internal import Dispatch
internal import Glibc
package import Plan
package import Tensors

/// One line of a benchmark.
package struct BenchResult: Codable, Equatable, Sendable {
    /// What was measured: `gemm`.
    package var bench: String
    /// Its sizes, as people write them.
    package var shape: String
    /// Number format.
    package var compute: String
    /// Kernels and instructions.
    package var kernels: String
    /// Threads.
    package var threads: Int
    /// Runs after the first, which does not count.
    package var runs: Int
    /// Shortest run, seconds.
    package var minimumSeconds: Double
    /// Median run, seconds.
    package var medianSeconds: Double
    /// Operations (or bytes, for memory) a second of the median run, in units of 10^9; a multiply-add is two operations.
    package var rate: Double?
    /// What the processor does when it does nothing else, measured between the runs: median, same unit.
    package var ceiling: Double?
    /// Number format of the ceiling, the one in which most of this shape's products are computed: the decoder's is always f32.
    ///
    /// Attention whose two products differ has both, `int8+bf16`, and the ceiling of half the operations in each.
    package var ceilingFormat: String?
    /// Rate over ceiling.
    package var share: Double?
    /// Of a block: the share of its time that is neither a matrix product nor attention, but norms, modulation, rotation,
    /// conversion and copies.
    package var otherShare: Double?
    /// What the time is computed from when no single run took it.
    package var scaledFrom: String?
    /// The most memory that the process has had in use at once, bytes; earlier lines of the same process count.
    package var peakBytes: Int
}

/// Measures against the ceiling of the same moments: a run, the ceiling, a run, the ceiling, and so on.
///
/// A processor that is warm, throttled or shared with others is slower at both, so their ratio stays.
package struct Bench: Sendable {
    /// Threads and kernels.
    package let compute: Compute
    /// Seconds for each line.
    package let seconds: Double

    /// Seconds that a run takes at least; a shorter body is repeated.
    private static let shortest = 0.01

    /// Joins the fields.
    package init(compute: Compute, seconds: Double) {
        self.compute = compute
        self.seconds = seconds
    }

    /// Runs `body` for about `seconds`, at least three times, and says how it compares with the ceiling of as many
    /// operations in each of `formats`, by default the blocks' alone.
    package func measure<E: Error>(
        _ bench: String, _ shape: String, operations: Double? = nil, in formats: [ComputeFormat]? = nil,
        _ body: () throws(E) -> Void
    ) throws(E) -> BenchResult {
        let formats = formats ?? [compute.format]
        var (repeats, begin) = (1, now())
        try body()
        // As long as the ceiling beside it takes: what is shorter would begin each time with threads that sleep.
        if now() - begin < Self.shortest {
            (repeats, begin) = (0, now())
            repeat {
                try body()
                repeats += 1
            } while now() - begin < Self.shortest
        }
        var (times, ceilings): ([Double], [Double]) = ([], [])
        begin = now()
        repeat {
            if operations != nil { ceilings.append(ceiling(of: formats)) }
            let start = now()
            for _ in 0..<repeats { try body() }
            times.append((now() - start) / Double(repeats))
        } while times.count < 3 || now() - begin < seconds && times.count < 1000
        let median = Self.median(times)
        let rate = operations.map { $0 / median * 1e-9 }
        let ceiling = ceilings.isEmpty ? nil : Self.median(ceilings) * 1e-9
        return result(bench, shape, times, rate: rate, ceiling: ceiling, of: formats)
    }

    func result(
        _ bench: String, _ shape: String, _ times: [Double], rate: Double?, ceiling: Double?,
        of formats: [ComputeFormat] = []
    ) -> BenchResult {
        BenchResult(
            bench: bench, shape: shape, compute: compute.format.rawValue,
            kernels: "\(compute.kernels.name) \(compute.kernels.instructions)", threads: compute.pool.threads,
            runs: times.count, minimumSeconds: times.min() ?? 0, medianSeconds: Self.median(times), rate: rate,
            ceiling: ceiling, ceilingFormat: ceiling.map { _ in formats.map(\.rawValue).joined(separator: "+") },
            share: rate.flatMap { rate in ceiling.map { rate / $0 } }, peakBytes: peakBytes())
    }

    /// Operations a second where each of the formats has an equal part of them.
    private func ceiling(of formats: [ComputeFormat]) -> Double {
        Double(formats.count) / formats.reduce(0) { $0 + 1 / ceiling(of: $1) }
    }

    /// Operations a second of multiply-adds in registers on all threads.
    ///
    /// Takes about ten milliseconds, beside which waking a thread does not count.
    package func ceiling(of format: ComputeFormat) -> Double {
        let ceiling = abz_ceiling_of(compute.kernels.instructions, format.rawValue)
        let run = ceiling.run
        let (threads, rounds) = (compute.pool.threads, 4_000_000)
        let start = now()
        compute.pool.run(threads) { _ in
            var sink: Float = 0
            run?(rounds, &sink)
        }
        return Double(threads * rounds) * ceiling.operations / (now() - start)
    }

    /// The processor's ceiling, and copying memory that fits no cache.
    package func ceilings() -> [BenchResult] {
        var (times, rates): ([Double], [Double]) = ([], [])
        let begin = now()
        repeat {
            let start = now()
            rates.append(ceiling(of: compute.format) * 1e-9)
            times.append(now() - start)
        } while times.count < 3 || now() - begin < seconds
        let computed = result("ceilings", "multiply-adds", times, rate: Self.median(rates), ceiling: nil)

        let count = 64 << 20
        let source = Tensor(repeating: 1, shape: [count])
        var target = Tensor(repeating: 0, shape: [count])
        let parts = compute.pool.threads
        var copied = measure("ceilings", "copy 256 MiB") {
            target.withUnsafeMutableBuffer { to in
                source.withUnsafeBuffer { from in
                    guard let written = to.baseAddress, let read = from.baseAddress else { return }
                    nonisolated(unsafe) let (out, input) = (written, read)
                    compute.pool.run(parts) { part in
                        let (first, last) = (count * part / parts, count * (part + 1) / parts)
                        (out + first).update(from: input + first, count: last - first)
                    }
                }
            }
        }
        // Read and written.
        copied.rate = 2 * Double(count) * 4 / copied.medianSeconds * 1e-9
        return [computed, copied]
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        return sorted.count % 2 == 1
            ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
    }

    /// Linux counts kibibytes.
    private func peakBytes() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }

    func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }

    /// Values between -1 and 1, the same every time.
    package static func noise(_ shape: [Int], seed: UInt64) -> Tensor {
        let stream = Philox(seed: seed, purpose: 0x6265_6E63)  // "benc"
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
}
