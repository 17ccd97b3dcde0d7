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

    /// Bytes of all tensors read so far through this reader and its kin, as float32.
    package var bytes: Int { tally.bytes }

    /// Whether the weights hold the tensor.
    package func contains(_ name: String) -> Bool { weights.contains(prefix + name) }

    /// One tensor of exactly this shape.
    package func tensor(_ name: String, _ shape: [Int]) throws(CheckpointError) -> Tensor {
        let tensor = try weights[prefix + name].tensor(shape: shape)
        tally.bytes += tensor.count * MemoryLayout<Float>.stride
        return tensor
    }

    /// A dense layer with a bias: weight (outputs, inputs), bias (outputs).
    package func linear(_ name: String, from inputs: Int, to outputs: Int) throws(CheckpointError) -> Linear {
        Linear(
            weight: try tensor(name + ".weight", [outputs, inputs]), bias: try tensor(name + ".bias", [outputs]),
            compute: compute)
    }

    /// A convolution with a bias: weight (outputs, inputs, kernel, kernel), bias (outputs).
    package func convolution(
        _ name: String, from inputs: Int, to outputs: Int, kernel: Int
    ) throws(CheckpointError) -> Convolution {
        Convolution(
            weight: try tensor(name + ".weight", [outputs, inputs, kernel, kernel]),
            bias: try tensor(name + ".bias", [outputs]), compute: compute)
    }

    private final class Tally {
        var bytes = 0
    }
}
