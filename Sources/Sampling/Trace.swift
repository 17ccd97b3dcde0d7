package import Tensors

/// Collects what a picture went through, under the names that reference runs use.
///
/// Floating-point arrays of tokens and pictures have the reference's leading axis of one.
package final class Trace {
    /// One recorded array.
    package enum Values: Equatable, Sendable {
        /// float32 values.
        case floats(Tensor)
        /// Bytes in row-major order.
        case bytes([UInt8], shape: [Int])
        /// 64-bit integers in row-major order.
        case integers([Int64], shape: [Int])
    }

    /// Names in the order of recording.
    package private(set) var names: [String] = []
    private var arrays: [String: Values] = [:]

    /// An empty trace.
    package init() {}

    /// The array of this name, if it was recorded.
    package subscript(name: String) -> Values? { arrays[name] }

    /// Records float32 values; a second time under one name replaces the first.
    package func record(_ name: String, _ tensor: Tensor) { record(name, .floats(tensor)) }

    /// Records float32 values with a leading axis of one.
    package func recordBatch(_ name: String, _ tensor: Tensor) { record(name, tensor.reshaped([1] + tensor.shape)) }

    /// Records bytes.
    package func record(_ name: String, _ bytes: [UInt8], shape: [Int]) { record(name, .bytes(bytes, shape: shape)) }

    /// Records integers, one axis.
    package func record(_ name: String, _ integers: [Int]) {
        record(name, .integers(integers.map(Int64.init), shape: [integers.count]))
    }

    private func record(_ name: String, _ values: Values) {
        if arrays.updateValue(values, forKey: name) == nil { names.append(name) }
    }
}
