package import Plan

/// A dense layer, y = x Wᵀ + b.
///
/// M rows in, K their width, N the output width. The bits of a row depend on that row alone, whatever M, the thread count
/// and the tile it falls in:
///
/// - f32: each output is one chain of fused multiply-adds over ascending k, then the bias.
/// - bf16: the same chain of values rounded to bf16 (or the processor's own bf16 sums of pairs; see `KernelClass`).
/// - int8: exact integer sums of 128 k at a time, with a scale for each of them in x and in W, then their chain.
package struct Linear: Sendable {
    /// Width of the input, K.
    package let inputs: Int
    /// Width of the output, N.
    package let outputs: Int
    /// Bytes of the weight, the bias and their scales in memory.
    package var residentBytes: Int { weight.residentBytes }

    private let weight: PackedMatrix

    /// Packs a weight for fast products.
    ///
    /// `weight` is (N, K), as checkpoints store it, and is not kept: the packed copy replaces it. `bias` is (N) or nil.
    ///
    /// - Precondition: a class with OpenBLAS computes in f32.
    package init(weight: Tensor, bias: Tensor?, compute: Compute, format: ComputeFormat = .f32) {
        precondition(weight.shape.count == 2, "weight \(weight.shape)")
        precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "bias \(bias?.shape ?? []) of \(weight.shape)")
        outputs = weight.shape[0]
        inputs = weight.shape[1]
        self.weight = PackedMatrix(weight, bias: bias, compute: compute, format: format)
    }

    /// Applies the layer to each row: (..., K) to (..., N).
    package func callAsFunction(_ x: Tensor) -> Tensor {
        precondition(x.width == inputs, "input \(x.shape), weight (\(outputs), \(inputs))")
        var y = Tensor(uninitialized: x.shape.dropLast() + [outputs])
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { a in
                guard let from = a.baseAddress, let to = out.baseAddress else { return }
                weight.multiply(from, rows: x.rowCount, into: to)
            }
        }
        return y
    }
}
