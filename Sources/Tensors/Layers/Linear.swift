/// A dense layer, y = x Wᵀ + b.
///
/// M rows in, K their width, N the output width. Each output element is summed over k in ascending order with fused
/// multiply-add, whatever M, the thread count and the tile it falls in, so the bits of a row depend on that row alone.
package struct Linear: Sendable {
    /// Width of the input, K.
    package let inputs: Int
    /// Width of the output, N.
    package let outputs: Int
    private let weight: Tensor
    private let bias: Tensor?
    private let compute: Compute

    /// Packs a weight for fast products.
    ///
    /// - Parameters:
    ///   - weight: (N, K), as checkpoints store it.
    ///   - bias: (N), or nil.
    package init(weight: Tensor, bias: Tensor?, compute: Compute) {
        precondition(weight.shape.count == 2, "weight \(weight.shape)")
        precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "bias \(bias?.shape ?? []) of \(weight.shape)")
        outputs = weight.shape[0]
        inputs = weight.shape[1]
        self.weight = weight
        self.bias = bias
        self.compute = compute
    }

    /// Applies the layer to each row.
    ///
    /// - Parameter x: (..., K)
    /// - Returns: (..., N)
    package func callAsFunction(_ x: Tensor) -> Tensor {
        precondition(x.width == inputs, "input \(x.shape), weight (\(outputs), \(inputs))")
        let rows = x.rowCount
        var y = Tensor(uninitialized: x.shape.dropLast() + [outputs])
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { a in
                weight.withUnsafeBuffer { w in
                    for row in 0..<rows {
                        for column in 0..<outputs {
                            var sum: Float = 0
                            for k in 0..<inputs { sum.addProduct(a[row * inputs + k], w[column * inputs + k]) }
                            out[row * outputs + column] = sum + (bias?[column] ?? 0)
                        }
                    }
                }
            }
        }
        return y
    }
}
