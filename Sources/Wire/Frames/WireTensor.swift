internal import CKernels
internal import Plan

/// How the values of a tensor travel.
package enum TensorType: UInt8, Sendable, CaseIterable {
    /// IEEE 754 single precision, little-endian.
    case f32 = 1
    /// The upper half of an f32.
    case bf16 = 2
    /// Signed bytes; their scales are a tensor of their own.
    case i8 = 3
    /// Bytes: text or pixels.
    case u8 = 4

    /// Bytes of one value.
    package var size: Int {
        switch self {
        case .f32: 4
        case .bf16: 2
        case .i8, .u8: 1
        }
    }
}

/// Names of tensors on the wire.
package enum TensorName: UInt16, Sendable, CaseIterable {
    /// Prompt as UTF-8, (bytes).
    case prompt = 1
    /// Sequence encoder's output, (T, W).
    case context = 2
    /// Pooled encoder's output, (W).
    case pooled = 3
    /// Latent tokens, (N, 64).
    case tokens = 4
    /// Positions of tokens, (N, 3).
    case positions = 5
    /// (sigma, guidance).
    case scalars = 6
    /// Text rows of the stream, (T, D).
    case text = 7
    /// Image rows of the stream, (N, D).
    case image = 8
    /// Modulation vector, (D).
    case vector = 9
    /// Velocity of latent tokens, (N, 64).
    case velocity = 10
    /// Decoder input, (16, h, w).
    case latent = 11
    /// Decoded picture, (3, H, W).
    case planes = 12
    /// Decoded picture, (H, W, 3) bytes.
    case rgb = 13
    /// Scales of `text` in signed bytes, (T, groups).
    case textScales = 14
    /// Scales of `image` in signed bytes, (N, groups).
    case imageScales = 15

    /// Whether it is hidden state, the part of an activation that the cost model counts.
    package var isHiddenState: Bool {
        switch self {
        case .text, .image, .textScales, .imageScales: true
        default: false
        }
    }
}

/// One array on the wire.
package struct WireTensor: Equatable, Sendable {
    /// Bytes of a row of the tensor table.
    package static let rowBytes = 32
    /// Most axes.
    package static let maxRank = 4

    /// What it is.
    package let name: TensorName
    /// How its values are stored in `bytes`.
    package let type: TensorType
    /// Extent of each axis, outermost first; at least one axis, an extent may be zero.
    package let dims: [Int]
    /// The values, little-endian, row-major.
    package private(set) var bytes: [UInt8]

    /// Joins the parts.
    ///
    /// - Precondition: one to four axes whose product times the value's size is `bytes.count`.
    package init(_ name: TensorName, _ type: TensorType, dims: [Int], bytes: [UInt8]) {
        promise(
            Self.byteCount(type, dims) == bytes.count, "\(name) \(dims) of \(type) with \(bytes.count) bytes")
        self.name = name
        self.type = type
        self.dims = dims
        self.bytes = bytes
    }

    /// Copies values from memory.
    package init(_ name: TensorName, _ type: TensorType, dims: [Int], copying source: UnsafeRawBufferPointer) {
        self.init(name, type, dims: dims, bytes: Array(source))
    }

    /// Copies single-precision values.
    package init(_ name: TensorName, dims: [Int], floats: [Float]) {
        self.init(name, .f32, dims: dims, bytes: floats.withUnsafeBytes { Array($0) })
    }

    /// Text as bytes.
    package init(_ name: TensorName, text: String) {
        let bytes = Array(text.utf8)
        self.init(name, .u8, dims: [bytes.count], bytes: bytes)
    }

    /// The single-precision values.
    ///
    /// - Precondition: the type is `f32`.
    package var floats: [Float] {
        promise(type == .f32, "\(name) holds \(type), not f32")
        return bytes.withUnsafeBytes { source in
            [Float](unsafeUninitializedCapacity: source.count / 4) { buffer, count in
                UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
                count = source.count / 4
            }
        }
    }

    /// The bytes as UTF-8 text; nil when they are not.
    package var text: String? { String(validating: bytes, as: UTF8.self) }

    /// Bytes that values of this type and shape take; nil for a bad rank, a negative extent or an overflow.
    static func byteCount(_ type: TensorType, _ dims: [Int]) -> Int? {
        guard 1...maxRank ~= dims.count else { return nil }
        var total = type.size
        for extent in dims {
            guard extent >= 0, extent <= Int(UInt32.max) else { return nil }
            let (product, overflow) = total.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            total = product
        }
        return total
    }
}

/// A row of the tensor table: name u16, type u8, rank u8, four extents u32, byte length u64, CRC32C u32.
struct TensorRow: Equatable {
    var name: TensorName
    var type: TensorType
    var dims: [Int]
    var byteCount: Int
    var checksum: UInt32

    init(_ tensor: WireTensor) {
        name = tensor.name
        type = tensor.type
        dims = tensor.dims
        byteCount = tensor.bytes.count
        checksum = tensor.bytes.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) }
    }

    func encode(into buffer: UnsafeMutableRawBufferPointer) {
        buffer.put(name.rawValue, at: 0)
        buffer[2] = type.rawValue
        buffer[3] = UInt8(dims.count)
        for axis in 0..<WireTensor.maxRank {
            buffer.put(axis < dims.count ? UInt32(dims[axis]) : 0, at: 4 + 4 * axis)
        }
        buffer.put(UInt64(byteCount), at: 20)
        buffer.put(checksum, at: 28)
    }

    init(_ bytes: UnsafeRawBufferPointer, row: Int, peer: String) throws(FrameError) {
        func refuse(_ why: String) -> FrameError { FrameError(.table(row: row, why), peer: peer) }
        guard let name = TensorName(rawValue: bytes.get(at: 0)) else { throw refuse("unknown name") }
        guard let type = TensorType(rawValue: bytes[2]) else { throw refuse("unknown type \(bytes[2])") }
        let rank = Int(bytes[3])
        guard 1...WireTensor.maxRank ~= rank else { throw refuse("rank \(rank)") }
        var dims: [Int] = []
        for axis in 0..<WireTensor.maxRank {
            let extent: UInt32 = bytes.get(at: 4 + 4 * axis)
            if axis < rank {
                dims.append(Int(extent))
            } else if extent != 0 {
                throw refuse("an extent behind its rank")
            }
        }
        let length: UInt64 = bytes.get(at: 20)
        guard let byteCount = WireTensor.byteCount(type, dims) else { throw refuse("its extents overflow") }
        guard length == UInt64(byteCount) else { throw refuse("\(length) bytes for shape \(dims) of \(type)") }
        self.name = name
        self.type = type
        self.dims = dims
        self.byteCount = byteCount
        checksum = bytes.get(at: 28)
    }

    /// The table of a message.
    static func table(of tensors: [WireTensor]) -> [UInt8] {
        var table = [UInt8](repeating: 0, count: tensors.count * WireTensor.rowBytes)
        table.withUnsafeMutableBytes { buffer in
            for (index, tensor) in tensors.enumerated() {
                let start = index * WireTensor.rowBytes
                TensorRow(tensor).encode(into: .init(rebasing: buffer[start..<start + WireTensor.rowBytes]))
            }
        }
        return table
    }

    /// Reads a table whose length is `count` rows; names must differ and lengths sum to `totalBytes`.
    static func rows(
        _ bytes: UnsafeRawBufferPointer, count: Int, totalBytes: UInt64, peer: String
    ) throws(FrameError) -> [TensorRow] {
        guard bytes.count == count * WireTensor.rowBytes else {
            throw FrameError(
                .length(frame: "table", bytes: bytes.count, expected: count * WireTensor.rowBytes), peer: peer)
        }
        var rows: [TensorRow] = []
        var sum: UInt64 = 0
        for index in 0..<count {
            let start = index * WireTensor.rowBytes
            let row = try TensorRow(
                .init(rebasing: bytes[start..<start + WireTensor.rowBytes]), row: index, peer: peer)
            if rows.contains(where: { $0.name == row.name }) {
                throw FrameError(.table(row: index, "\(row.name) twice"), peer: peer)
            }
            let (next, overflow) = sum.addingReportingOverflow(UInt64(row.byteCount))
            guard !overflow, next <= totalBytes else {
                throw FrameError(.table(row: index, "more bytes than the header's \(totalBytes)"), peer: peer)
            }
            sum = next
            rows.append(row)
        }
        guard sum == totalBytes else {
            throw FrameError(.table(row: count, "\(sum) bytes, the header says \(totalBytes)"), peer: peer)
        }
        return rows
    }
}
