internal import Checkpoint
internal import Tensors

/// Reads an encoder's weights by name and counts their bytes.
struct WeightReader {
    let files: WeightFiles
    let prefix: String
    let compute: Compute
    private(set) var bytes = 0

    init(files: WeightFiles, prefix: String, compute: Compute) {
        self.files = files
        self.prefix = prefix
        self.compute = compute
    }

    /// A tensor of the given shape; nil stands for an extent that the configuration does not fix.
    mutating func tensor(_ name: String, _ shape: [Int?]) throws -> Tensor {
        let tensor = try raw(name, shape)
        bytes += tensor.count * MemoryLayout<Float>.stride
        return tensor
    }

    private func raw(_ name: String, _ shape: [Int?]) throws -> Tensor {
        let stored = try files[prefix + name]
        let known =
            stored.shape.count == shape.count ? zip(shape, stored.shape).map { $0 ?? $1 } : shape.map { $0 ?? 0 }
        return try stored.tensor(shape: known)
    }

    /// A dense layer with or without bias, in the encoders' format.
    mutating func linear(_ name: String, _ inputs: Int, _ outputs: Int, hasBias: Bool = true) throws -> Linear {
        let layer = Linear(
            weight: try raw(name + ".weight", [outputs, inputs]),
            bias: hasBias ? try raw(name + ".bias", [outputs]) : nil, compute: compute, format: compute.encoderFormat)
        bytes += layer.residentBytes
        return layer
    }

    /// A layer norm.
    mutating func norm(_ name: String, _ width: Int, _ epsilon: Float) throws -> Norm {
        Norm(
            weight: try tensor(name + ".weight", [width]), bias: try tensor(name + ".bias", [width]), epsilon: epsilon,
            compute: compute)
    }
}

/// Layer norm with its weights.
struct Norm {
    let weight: Tensor
    let bias: Tensor
    let epsilon: Float
    let compute: Compute

    /// (rows, D) to (rows, D).
    func callAsFunction(_ x: Tensor) -> Tensor {
        compute.layerNorm(x, weight: weight, bias: bias, epsilon: epsilon)
    }
}
