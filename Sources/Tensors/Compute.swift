package import Plan

/// Where and how arithmetic runs: the threads, and the kernels.
///
/// Layers hold the one they were loaded for. Results do not depend on the number of threads.
package struct Compute: Sendable {
    /// The threads that share loops.
    package let pool: ThreadPool
    /// The arithmetic; all layers of a process use one class, or their bits would not be those of its name.
    package let kernels: KernelClass
    /// What layers' time is added to, for benchmarks; nil for none.
    package let stopwatch: Stopwatch?

    /// The number format of the transformer's blocks.
    package var format: ComputeFormat { kernels.format }

    /// The number format of text encoders, which have no use for int8: see `ComputeFormat`.
    package var encoderFormat: ComputeFormat { format == .int8 ? .bf16 : format }

    /// Uses the given threads.
    package init(pool: ThreadPool, kernels: KernelClass = .current, stopwatch: Stopwatch? = nil) {
        self.pool = pool
        self.kernels = kernels
        self.stopwatch = stopwatch
    }

    /// Uses a new pool of `threads` threads; `cores` as `ThreadPool` takes them.
    package init(threads: Int, cores: [Int] = [], kernels: KernelClass = .current) {
        self.init(pool: ThreadPool(threads: threads, cores: cores), kernels: kernels)
    }
}
