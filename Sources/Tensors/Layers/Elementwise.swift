internal import CKernels
internal import Plan

extension Compute {
    /// Gaussian error linear unit, tanh form: `x / 2 * (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))`.
    package func geluTanh(_ x: Tensor) -> Tensor { map(x, kernels.kernels.pointee.gelu_tanh) }

    /// CLIP's approximation of GELU: `x / (1 + exp(-1.702 x))`.
    package func quickGELU(_ x: Tensor) -> Tensor { map(x, kernels.kernels.pointee.quick_gelu) }

    /// Exact GELU: `x / 2 * (1 + erf(x / sqrt(2)))`.
    package func geluErf(_ x: Tensor) -> Tensor { map(x, kernels.kernels.pointee.gelu_erf) }

    /// Sigmoid linear unit: `x / (1 + exp(-x))`.
    package func silu(_ x: Tensor) -> Tensor { map(x, kernels.kernels.pointee.silu) }

    /// The same in the memory of its argument, where that is its only owner.
    package func silu(inPlaceOf x: consuming Tensor) -> Tensor {
        let count = x.count
        guard count > 0 else { return x }
        x.withUnsafeMutableBuffer { values in
            guard let base = values.baseAddress else { return }
            nonisolated(unsafe) let start = base
            forRanges(of: count) { range in
                let from = start + range.lowerBound
                kernels.kernels.pointee.silu(from, from, range.count)
            }
        }
        return x
    }

    /// Adds two tensors of one shape.
    package func sum(_ left: Tensor, _ right: Tensor) -> Tensor { zip(left, right, kernels.kernels.pointee.sum) }

    /// Multiplies two tensors of one shape, value by value.
    package func product(_ left: Tensor, _ right: Tensor) -> Tensor {
        zip(left, right, kernels.kernels.pointee.pairwise_product)
    }

    /// Adds a branch to a residual stream: `x + gate * branch`, fused, the gate being one value a channel.
    ///
    /// `x` and `branch` are (rows, D), `gate` is (D).
    package func gatedSum(_ x: Tensor, _ branch: Tensor, gate: Tensor) -> Tensor {
        promise(x.shape == branch.shape && gate.count == x.width, "\(x.shape) + \(gate.shape) * \(branch.shape)")
        let width = x.width
        return withPointer(branch) { branch in
            withPointer(gate) { gate in
                nonisolated(unsafe) let (branch, gate) = (branch, gate)
                return mapped(x, width: width) { x, y, rows in
                    kernels.kernels.pointee.gated_sum(
                        x, branch.map { $0 + rows.lowerBound * width }, gate, y, rows.count, width)
                }
            }
        }
    }

    private typealias Unary = @convention(c) (UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void

    private typealias Binary =
        @convention(c) (UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void

    private func map(_ x: Tensor, _ function: Unary) -> Tensor {
        mapped(x) { x, y, range in function(x, y, range.count) }
    }

    private func zip(_ left: Tensor, _ right: Tensor, _ function: Binary) -> Tensor {
        promise(left.shape == right.shape, "\(left.shape) and \(right.shape)")
        return withPointer(right) { right in
            nonisolated(unsafe) let right = right
            return mapped(left) { x, y, range in function(x, right.map { $0 + range.lowerBound }, y, range.count) }
        }
    }
}
