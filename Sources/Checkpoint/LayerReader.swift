package import Plan
package import Tensors

/// Builds layers from a component's weights; every shape is checked against the configuration.
///
/// `reader["blocks.0"]["attn"].linear("to_q", ...)` reads `blocks.0.attn.to_q.weight` and its bias.
package struct LayerReader {
    /// What the layers compute with.
    package let compute: Compute
    private let weights: WeightFiles
    private let prefix: String
    private let tally: Tally

    /// Starts at the root of a component's names.
    package init(_ weights: WeightFiles, compute: Compute) {
        self.init(compute: compute, weights: weights, prefix: "", tally: Tally())
    }

    private init(compute: Compute, weights: WeightFiles, prefix: String, tally: Tally) {
        self.compute = compute
        self.weights = weights
        self.prefix = prefix
        self.tally = tally
    }

    /// A reader of the names that begin with `name` and a dot.
    package subscript(name: String) -> LayerReader {
        LayerReader(compute: compute, weights: weights, prefix: prefix + name + ".", tally: tally)
    }

    /// Bytes in memory of all tensors and layers read so far through this reader and its kin.
    package var bytes: Int { tally.bytes }

    /// Whether the weights hold the tensor.
    package func contains(_ name: String) -> Bool { weights.contains(prefix + name) }

    /// One tensor of exactly this shape.
    package func tensor(_ name: String, _ shape: [Int]) throws(CheckpointError) -> Tensor {
        let tensor = try raw(name, shape)
        tally.bytes += tensor.count * MemoryLayout<Float>.stride
        return tensor
    }

    /// A dense layer: weight (outputs, inputs), bias (outputs).
    ///
    /// Weights are read, packed and let go one at a time, so that loading needs little more memory than what stays.
    package func linear(
        _ name: String, from inputs: Int, to outputs: Int, hasBias: Bool = true, format: ComputeFormat = .f32
    ) throws(CheckpointError) -> Linear {
        let weight = try raw(name + ".weight", [outputs, inputs])
        return linear(weight, bias: hasBias ? try raw(name + ".bias", [outputs]) : nil, format: format)
    }

    /// A dense layer of parts of a stored tensor.
    package func linear(_ weight: Tensor, bias: Tensor?, format: ComputeFormat = .f32) -> Linear {
        let layer = Linear(weight: weight, bias: bias, compute: compute, format: format)
        tally.bytes += layer.residentBytes
        return layer
    }

    /// A tensor that does not stay in memory as it is: it counts only where it goes.
    package func raw(_ name: String, _ shape: [Int]) throws(CheckpointError) -> Tensor {
        try weights[prefix + name].tensor(shape: shape)
    }

    /// A convolution with a bias: weight (outputs, inputs, kernel, kernel), bias (outputs).
    package func convolution(
        _ name: String, from inputs: Int, to outputs: Int, kernel: Int
    ) throws(CheckpointError) -> Convolution {
        let layer = Convolution(
            weight: try raw(name + ".weight", [outputs, inputs, kernel, kernel]),
            bias: try raw(name + ".bias", [outputs]), compute: compute)
        tally.bytes += layer.residentBytes
        return layer
    }

    private final class Tally {
        var bytes = 0
    }
}
