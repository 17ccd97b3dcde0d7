internal import Dispatch
internal import Synchronization

/// Time that layers spent in matrix products and in attention, by the clock of the thread that called them.
///
/// For benchmarks: a `Compute` without one measures nothing.
package final class Stopwatch: Sendable {
    private let products = Atomic<UInt64>(0)
    private let attentions = Atomic<UInt64>(0)

    /// What is timed.
    enum Part {
        /// Dense layers, with what is fused into them.
        case product
        /// Attention, with the packing of keys and values.
        case attention
    }

    /// Starts at nothing.
    package init() {}

    /// Seconds in products so far, of this `Compute`'s layers.
    package var productSeconds: Double { Double(products.load(ordering: .relaxed)) * 1e-9 }

    /// Seconds in attention so far.
    package var attentionSeconds: Double { Double(attentions.load(ordering: .relaxed)) * 1e-9 }

    fileprivate func add(_ nanoseconds: UInt64, to part: Part) {
        switch part {
        case .product: products.wrappingAdd(nanoseconds, ordering: .relaxed)
        case .attention: attentions.wrappingAdd(nanoseconds, ordering: .relaxed)
        }
    }
}

extension Compute {
    /// Calls `body`, on the clock of the stopwatch if there is one.
    func timed<R>(_ part: Stopwatch.Part, _ body: () -> R) -> R {
        guard let stopwatch else { return body() }
        let begin = DispatchTime.now().uptimeNanoseconds
        defer { stopwatch.add(DispatchTime.now().uptimeNanoseconds - begin, to: part) }
        return body()
    }
}
