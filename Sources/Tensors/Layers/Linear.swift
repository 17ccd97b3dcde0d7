package import Plan

/// A dense layer, y = x Wᵀ + b.
///
/// M rows in, K their width, N the output width. The bits of a row depend on that row alone, whatever M, the thread count
/// and the tile it falls in:
///
/// - f32: each output is one chain of fused multiply-adds over ascending k, then the bias.
/// - bf16: the same chain of values rounded to bf16 (or the processor's own bf16 sums of pairs; see `KernelClass`).
/// - int8: exact integer sums of 512 k at a time, with a scale for each of them in x and in W, then their chain.
package struct Linear: Sendable {
    /// Width of the input, K.
    package let inputs: Int
    /// Width of the output, N.
    package let outputs: Int
    /// Bytes of the weight, the bias and their scales in memory.
    package var residentBytes: Int { weight.residentBytes }

    /// How it multiplies, and what its `Operand` is in.
    package let format: ComputeFormat

    private let weight: PackedMatrix
    private let compute: Compute

    /// Packs a weight for fast products.
    ///
    /// `weight` is (N, K), as checkpoints store it, and is not kept: the packed copy replaces it. `bias` is (N) or nil.
    ///
    /// - Precondition: a class with OpenBLAS computes in f32.
    package init(weight: Tensor, bias: Tensor?, compute: Compute, format: ComputeFormat = .f32) {
        promise(weight.shape.count == 2, "weight \(weight.shape)")
        promise(bias.map { $0.shape == [weight.shape[0]] } ?? true, "bias \(bias?.shape ?? []) of \(weight.shape)")
        outputs = weight.shape[0]
        inputs = weight.shape[1]
        (self.format, self.compute) = (format, compute)
        self.weight = PackedMatrix(weight, bias: bias, compute: compute, format: format)
    }

    /// Applies the layer to each row: (..., K) to (..., N).
    package func callAsFunction(_ x: Tensor) -> Tensor {
        promise(x.width == inputs, "input \(x.shape), weight (\(outputs), \(inputs))")
        var y = Tensor(uninitialized: x.shape.dropLast() + [outputs])
        write(compute.operand(x, format: format), into: &y, from: 0)
        return y
    }

    /// Applies the layer to each row: (M, N).
    package func callAsFunction(_ x: Operand) -> Tensor {
        var y = Tensor(uninitialized: [x.rows, outputs])
        write(x, into: &y, from: 0)
        return y
    }

    /// Applies the layer and sets the rows of `y` from `row` on; y holds rows of N values, whatever its shape says of them.
    package func write(_ x: Operand, into y: inout Tensor, from row: Int) {
        promise(
            x.format == format && y.count % outputs == 0 && row >= 0 && row + x.rows <= y.count / outputs,
            "\(x.rows) rows in \(x.format) into \(y.shape) from \(row), weight (\(outputs), \(inputs)) in \(format)")
        y.withUnsafeMutableBuffer { out in
            guard let to = out.baseAddress else { return }
            weight.multiply(x, ProductResult(to + row * outputs, columns: outputs, compute: compute))
        }
    }

    /// Applies the layer, then GELU in its tanh form, for layers in `format`: (M, N).
    ///
    /// The same as the layer, `geluTanh` and `operand` one after the other, but what lies between never leaves the caches.
    package func geluTanh(_ x: Operand, format: ComputeFormat) -> Operand {
        promise(x.format == self.format, "rows in \(x.format), weight in \(self.format)")
        let result = Operand(rows: x.rows, depth: outputs, format: format, kernels: compute.kernels)
        weight.multiply(x, ProductResult(geluTanhInto: result, compute: compute))
        return result
    }

    /// Adds the layer's output to a residual stream: `y + gate * (other + (x Wᵀ + b))`, the gate being one value a channel.
    ///
    /// `y` and `other`, if there is one, are (M, N), `gate` is (N). The same as the layer, `sum` and `gatedSum` one after the
    /// other, but what lies between never leaves the caches.
    package func addGated(_ x: Operand, and other: Tensor? = nil, to y: inout Tensor, gate: Tensor) {
        promise(
            x.format == format && y.shape == [x.rows, outputs] && gate.count == outputs
                && other.map { $0.shape == y.shape } ?? true,
            "\(x.rows) rows to \(y.shape), other \(other?.shape ?? []), gate \(gate.shape), "
                + "weight (\(outputs), \(inputs))")
        y.withUnsafeMutableBuffer { out in
            withPointer(gate) { gate in
                withPointer(other) { other in
                    guard let to = out.baseAddress, let gate else { return }
                    weight.multiply(
                        x,
                        ProductResult(gatedOnto: to, gate: gate, other: other, columns: outputs, compute: compute))
                }
            }
        }
    }
}
