internal import Glibc

extension Compute {
    /// Gaussian error linear unit, tanh form: `x / 2 * (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))`.
    package func geluTanh(_ x: Tensor) -> Tensor {
        map(x) { 0.5 * $0 * (1 + tanhf(0.7978845608 * ($0 + 0.044715 * $0 * $0 * $0))) }
    }

    /// CLIP's approximation of GELU: `x / (1 + exp(-1.702 x))`.
    package func quickGELU(_ x: Tensor) -> Tensor { map(x) { $0 / (1 + expf(-1.702 * $0)) } }

    /// Exact GELU: `x / 2 * (1 + erf(x / sqrt(2)))`.
    package func geluErf(_ x: Tensor) -> Tensor { map(x) { 0.5 * $0 * (1 + erff($0 * 0.70710678)) } }

    /// Sigmoid linear unit: `x / (1 + exp(-x))`.
    package func silu(_ x: Tensor) -> Tensor { map(x) { $0 / (1 + expf(-$0)) } }

    /// Adds two tensors of one shape.
    package func sum(_ left: Tensor, _ right: Tensor) -> Tensor { zip(left, right, +) }

    /// Multiplies two tensors of one shape, value by value.
    package func product(_ left: Tensor, _ right: Tensor) -> Tensor { zip(left, right, *) }

    /// Adds a branch to a residual stream: `x + gate * branch`, the gate being one value a channel.
    ///
    /// - Parameters:
    ///   - x: (rows, D)
    ///   - branch: (rows, D)
    ///   - gate: (D)
    package func gatedSum(_ x: Tensor, _ branch: Tensor, gate: Tensor) -> Tensor {
        precondition(x.shape == branch.shape && gate.count == x.width, "\(x.shape) + \(gate.shape) * \(branch.shape)")
        var y = x
        let width = x.width
        y.withUnsafeMutableBuffer { out in
            branch.withUnsafeBuffer { b in
                gate.withUnsafeBuffer { g in for i in out.indices { out[i] += g[i % width] * b[i] } }
            }
        }
        return y
    }

    private func map(_ x: Tensor, _ body: (Float) -> Float) -> Tensor {
        var y = x
        y.withUnsafeMutableBuffer { for i in $0.indices { $0[i] = body($0[i]) } }
        return y
    }

    private func zip(_ left: Tensor, _ right: Tensor, _ body: (Float, Float) -> Float) -> Tensor {
        precondition(left.shape == right.shape, "\(left.shape) and \(right.shape)")
        var y = left
        y.withUnsafeMutableBuffer { out in right.withUnsafeBuffer { b in for i in out.indices { out[i] = body(out[i], b[i]) } } }
        return y
    }
}
