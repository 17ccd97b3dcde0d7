internal import Plan
package import Tensors

extension WireTensor {
    /// The values of a tensor, bit for bit.
    package init(_ name: TensorName, _ tensor: Tensor) {
        let dims = tensor.shape.isEmpty ? [1] : tensor.shape
        self = tensor.withUnsafeBuffer { WireTensor(name, .f32, dims: dims, copying: UnsafeRawBufferPointer($0)) }
    }
}

extension Tensor {
    /// The values of a single-precision array from the wire, bit for bit.
    ///
    /// - Precondition: its type is `f32`.
    package init(_ wire: WireTensor) {
        promise(wire.type == .f32, "\(wire.name) holds \(wire.type), not f32")
        self.init(uninitialized: wire.dims)
        withUnsafeMutableBuffer { target in
            wire.bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(target).copyMemory(from: $0) }
        }
    }
}
