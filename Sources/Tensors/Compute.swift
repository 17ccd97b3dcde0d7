/// Where and how arithmetic runs: the threads, and later the number format of matrix products.
///
/// Layers hold the one they were loaded for. Results do not depend on the number of threads.
package struct Compute: Sendable {
    /// The threads that share loops.
    package let pool: ThreadPool

    /// Uses the given threads.
    package init(pool: ThreadPool) { self.pool = pool }

    /// Uses a new pool of `threads` threads.
    package init(threads: Int) { pool = ThreadPool(threads: threads) }
}
