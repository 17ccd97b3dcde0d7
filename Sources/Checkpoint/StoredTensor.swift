package import Tensors

/// A tensor as it lies in a file: nothing is read before it is asked for.
package struct StoredTensor: Sendable {
    /// Name in the checkpoint.
    package let name: String
    /// Type of its values.
    package let dtype: ElementType
    /// Extent of each axis, outermost first.
    package let shape: [Int]

    private let file: MappedFile
    private let range: Range<Int>

    init(name: String, type: ElementType, shape: [Int], file: MappedFile, bytes: Range<Int>) {
        self.name = name
        dtype = type
        self.shape = shape
        self.file = file
        range = bytes
    }

    /// Path of the file it lies in.
    package var path: String { file.path }

    /// Number of values.
    package var count: Int { range.count / dtype.size }

    /// Bytes in the file.
    package var byteCount: Int { range.count }

    /// Calls `body` with the little-endian values; alignment is not promised, and the pointer is valid only inside it.
    package func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        defer { withExtendedLifetime(file) {} }
        return try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
    }

    /// The values as float32 under the shape that the caller's configuration demands.
    ///
    /// f32 keeps its bits, f16 and bf16 widen exactly, f64 and integers round to nearest.
    package func tensor(shape expected: [Int]) throws(CheckpointError) -> Tensor {
        guard shape == expected else {
            throw CheckpointError(.shape(expected: expected, found: shape), file: path, tensor: name)
        }
        return try tensor()
    }

    /// The values as float32 under the shape that the file gives.
    package func tensor() throws(CheckpointError) -> Tensor {
        let count = self.count
        var result = Tensor(uninitialized: shape)
        let known = withBytes { source in
            result.withUnsafeMutableBuffer { target -> Bool in
                guard let from = source.baseAddress, let to = target.baseAddress else { return true }
                switch dtype {
                case .f32: UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: count * 4)
                case .bf16: widen(from, to, count) { (bits: UInt16) in Float(bitPattern: UInt32(bits) << 16) }
                case .f16: widen(from, to, count, half)
                case .f64: widen(from, to, count) { (value: Double) in Float(value) }
                case .i64: widen(from, to, count) { (value: Int64) in Float(value) }
                case .i32: widen(from, to, count) { (value: Int32) in Float(value) }
                case .i16: widen(from, to, count) { (value: Int16) in Float(value) }
                case .i8: widen(from, to, count) { (value: Int8) in Float(value) }
                case .u64: widen(from, to, count) { (value: UInt64) in Float(value) }
                case .u32: widen(from, to, count) { (value: UInt32) in Float(value) }
                case .u16: widen(from, to, count) { (value: UInt16) in Float(value) }
                case .u8, .bool: widen(from, to, count) { (value: UInt8) in Float(value) }
                case .f8e4m3, .f8e5m2: return false
                }
                return true
            }
        }
        guard known else { throw CheckpointError(.type(dtype, wanted: "float32"), file: path, tensor: name) }
        file.letGo(range)
        return result
    }

    /// The values of an integer tensor.
    package func integers() throws(CheckpointError) -> [Int] {
        func read<Value: FixedWidthInteger>(_: Value.Type) -> [Int]? {
            withBytes { source in
                var result: [Int] = []
                result.reserveCapacity(count)
                for index in 0..<count {
                    let value = source.loadUnaligned(fromByteOffset: index * MemoryLayout<Value>.size, as: Value.self)
                    guard let integer = Int(exactly: value) else { return nil }
                    result.append(integer)
                }
                return result
            }
        }
        let values: [Int]? =
            switch dtype {
            case .i64: read(Int64.self)
            case .i32: read(Int32.self)
            case .i16: read(Int16.self)
            case .i8: read(Int8.self)
            case .u64: read(UInt64.self)
            case .u32: read(UInt32.self)
            case .u16: read(UInt16.self)
            case .u8, .bool: read(UInt8.self)
            case .f64, .f32, .f16, .bf16, .f8e4m3, .f8e5m2: nil
            }
        guard let values else { throw CheckpointError(.type(dtype, wanted: "integers"), file: path, tensor: name) }
        return values
    }
}

@inline(__always)
private func widen<Value>(
    _ from: UnsafeRawPointer, _ to: UnsafeMutablePointer<Float>, _ count: Int, _ body: (Value) -> Float
) where Value: BitwiseCopyable {
    for index in 0..<count {
        to[index] = body(from.loadUnaligned(fromByteOffset: index &* MemoryLayout<Value>.size, as: Value.self))
    }
}

/// Half precision to single without branches, so that the loop vectorises on any x86-64.
///
/// Exponent and mantissa move up by 13 bits and the product with 2^112 corrects the exponent's bias, also for
/// subnormals; what lands at 65536 or above was infinity or a NaN.
@inline(__always)
private func half(_ bits: UInt16) -> Float {
    let magnitude = Float(bitPattern: UInt32(bits & 0x7FFF) << 13) * 0x1p112
    let special: UInt32 = magnitude >= 65536 ? 0x7F80_0000 : 0
    return Float(bitPattern: magnitude.bitPattern | special | UInt32(bits & 0x8000) << 16)
}
