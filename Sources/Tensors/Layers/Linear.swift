/// A dense layer, y = x Wᵀ + b.
///
/// M rows in, K their width, N the output width. Each output element is summed over k in ascending order with fused
/// multiply-add, whatever M, the thread count and the tile it falls in, so the bits of a row depend on that row alone.
package struct Linear: Sendable {
    /// Width of the input, K.
    package let inputs: Int
    /// Width of the output, N.
    package let outputs: Int
    private let weight: PackedMatrix
    private let bias: Tensor?

    /// Packs a weight for fast products.
    ///
    /// `weight` is (N, K), as checkpoints store it, and is not kept: the packed copy replaces it. `bias` is (N) or nil.
    package init(weight: Tensor, bias: Tensor?, compute: Compute) {
        precondition(weight.shape.count == 2, "weight \(weight.shape)")
        precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "bias \(bias?.shape ?? []) of \(weight.shape)")
        outputs = weight.shape[0]
        inputs = weight.shape[1]
        self.weight = PackedMatrix(weight, compute: compute)
        self.bias = bias
    }

    /// Applies the layer to each row: (..., K) to (..., N).
    package func callAsFunction(_ x: Tensor) -> Tensor {
        precondition(x.width == inputs, "input \(x.shape), weight (\(outputs), \(inputs))")
        var y = Tensor(uninitialized: x.shape.dropLast() + [outputs])
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { a in
                guard let from = a.baseAddress, let to = out.baseAddress else { return }
                guard let bias else { return weight.multiply(from, rows: x.rowCount, bias: nil, into: to) }
                bias.withUnsafeBuffer { weight.multiply(from, rows: x.rowCount, bias: $0.baseAddress, into: to) }
            }
        }
        return y
    }
}
