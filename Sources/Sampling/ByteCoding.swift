internal import Tensors

/// Appends little-endian values to bytes.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ value: Double) { append(value.bitPattern) }

    mutating func append(_ value: Float) { append(value.bitPattern) }

    mutating func append(_ values: [Double]) {
        append(UInt32(values.count))
        for value in values { append(value) }
    }

    /// Rank, extents, then the values' bits.
    mutating func append(_ tensor: Tensor) {
        append(UInt8(tensor.shape.count))
        for extent in tensor.shape { append(UInt32(extent)) }
        tensor.withUnsafeBuffer { bytes.append(contentsOf: UnsafeRawBufferPointer($0)) }
    }

    mutating func append(_ tensor: Tensor?) {
        append(UInt8(tensor == nil ? 0 : 1))
        if let tensor { append(tensor) }
    }
}

/// Reads what `ByteWriter` wrote, and never past the end.
struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var next: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        next = bytes.startIndex
    }

    var isAtEnd: Bool { next == bytes.endIndex }

    private mutating func take(_ count: Int) throws(SamplingError) -> ArraySlice<UInt8> {
        guard count <= bytes.endIndex - next else { throw SamplingError(.checkpoint("it ends too early")) }
        defer { next += count }
        return bytes[next..<next + count]
    }

    mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_: T.Type) throws(SamplingError) -> T {
        try take(MemoryLayout<T>.size).reversed().reduce(0) { $0 << 8 | T($1) }
    }

    mutating func byte() throws(SamplingError) -> UInt8 { try take(1).reduce(0) { $1 | $0 } }

    mutating func int() throws(SamplingError) -> Int { Int(try integer(UInt32.self)) }

    mutating func double() throws(SamplingError) -> Double { Double(bitPattern: try integer(UInt64.self)) }

    mutating func float() throws(SamplingError) -> Float { Float(bitPattern: try integer(UInt32.self)) }

    mutating func doubles() throws(SamplingError) -> [Double] {
        let count = try int()
        // Each takes eight bytes, so a wild count fails before anything is allocated for it.
        var inner = ByteReader(try take(count * 8))
        var values: [Double] = []
        for _ in 0..<count { values.append(try inner.double()) }
        return values
    }

    /// A tensor that must have this shape.
    mutating func tensor(_ shape: [Int]) throws(SamplingError) -> Tensor {
        var found: [Int] = []
        for _ in 0..<(try byte()) { found.append(try int()) }
        guard found == shape else { throw SamplingError(.checkpoint("a tensor of \(found) in place of \(shape)")) }
        let raw = try take(shape.reduce(1, *) * MemoryLayout<Float>.size)
        var result = Tensor(uninitialized: shape)
        result.withUnsafeMutableBuffer { UnsafeMutableRawBufferPointer($0).copyBytes(from: raw) }
        return result
    }

    mutating func optionalTensor(_ shape: [Int]) throws(SamplingError) -> Tensor? {
        switch try byte() {
        case 0: nil
        case 1: try tensor(shape)
        default: throw SamplingError(.checkpoint("a flag is neither 0 nor 1"))
        }
    }
}
