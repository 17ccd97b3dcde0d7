internal import CKernels

/// How the layers' C functions are spread over the pool.
extension Compute {
    /// Values that one thread takes at a time: enough to outweigh waking it.
    private static let portion = 1 << 15

    /// Calls `body` with ranges that cover `0 ..< count` items of `width` values each, several at once when they are many.
    func forRanges(of count: Int, width: Int = 1, _ body: @Sendable (Range<Int>) -> Void) {
        guard count > 0 else { return }
        let step = max(Self.portion / max(width, 1), 1)
        guard count > step else { return body(0..<count) }
        pool.run((count + step - 1) / step) { body($0 * step..<min(($0 + 1) * step, count)) }
    }

    /// A tensor of the shape of `x` that `body` fills range by range, from the first value of each item of `width` values.
    func mapped(
        _ x: Tensor, width: Int = 1,
        _ body: @Sendable (_ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ range: Range<Int>) -> Void
    ) -> Tensor {
        var y = Tensor(uninitialized: x.shape)
        guard x.count > 0 else { return y }
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { values in
                guard let from = values.baseAddress, let to = out.baseAddress else { return }
                nonisolated(unsafe) let (source, target) = (from, to)
                forRanges(of: x.count / width, width: width) { range in
                    body(source + range.lowerBound * width, target + range.lowerBound * width, range)
                }
            }
        }
        return y
    }
}

/// Calls `body` with the tensor's values, or with nil.
func withPointer<R>(_ tensor: Tensor?, _ body: (UnsafePointer<Float>?) -> R) -> R {
    guard let tensor else { return body(nil) }
    return tensor.withUnsafeBuffer { body($0.baseAddress) }
}
