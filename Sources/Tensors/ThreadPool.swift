/// Threads that share the iterations of a loop.
package final class ThreadPool: Sendable {
    /// Number of threads that run iterations, the caller's included.
    package let threads: Int

    /// Makes a pool; one thread means the caller runs everything itself.
    package init(threads: Int) {
        precondition(threads >= 1, "a pool of \(threads) threads")
        self.threads = threads
    }

    /// Calls `body` once for each index below `count`, in any order, and returns when all are done.
    ///
    /// Iterations must write disjoint memory; which thread runs one is not defined.
    package func run(_ count: Int, _ body: @Sendable (Int) -> Void) {
        for index in 0..<count { body(index) }
    }
}
