internal import Glibc
internal import Plan

/// A row-major array of float32 values with value semantics.
///
/// Storage is shared until written (copy on write), 64-byte aligned and never resized.
package struct Tensor: Sendable {
    /// Extent of each axis, outermost first; a scalar has none.
    package private(set) var shape: [Int]
    private var storage: Storage

    /// Number of values.
    package var count: Int { storage.count }

    /// A tensor whose values are not set; every one must be written before it is read.
    package init(uninitialized shape: [Int]) {
        promise(shape.allSatisfy { $0 >= 0 }, "negative extent in \(shape)")
        self.shape = shape
        storage = Storage(count: shape.reduce(1, *))
    }

    /// A tensor filled with one value.
    package init(repeating value: Float = 0, shape: [Int]) {
        self.init(uninitialized: shape)
        storage.base.update(repeating: value, count: count)
    }

    /// A tensor of the given values in row-major order.
    ///
    /// - Precondition: the shape holds exactly `values.count` values.
    package init(_ values: [Float], shape: [Int]) {
        self.init(uninitialized: shape)
        promise(values.count == count, "\(values.count) values for shape \(shape)")
        values.withUnsafeBufferPointer { source in
            if let from = source.baseAddress { storage.base.update(from: from, count: values.count) }
        }
    }

    /// The same values under another shape, without copying.
    ///
    /// - Precondition: both shapes hold the same number of values.
    package func reshaped(_ shape: [Int]) -> Tensor {
        promise(shape.reduce(1, *) == count, "cannot reshape \(self.shape) to \(shape)")
        var result = self
        result.shape = shape
        return result
    }

    /// All values in row-major order.
    package var values: [Float] { withUnsafeBuffer { Array($0) } }

    /// Number of rows when every axis but the last is flattened.
    package var rowCount: Int { shape.dropLast().reduce(1, *) }

    /// Extent of the last axis; 1 for a scalar.
    package var width: Int { shape.last ?? 1 }

    /// Calls `body` with the values; the pointer is valid only inside it.
    package func withUnsafeBuffer<R, E: Error>(
        _ body: (UnsafeBufferPointer<Float>) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeBufferPointer(start: storage.base, count: storage.count))
    }

    /// Calls `body` with the values for writing; copies them first when they are shared.
    package mutating func withUnsafeMutableBuffer<R, E: Error>(
        _ body: (UnsafeMutableBufferPointer<Float>) throws(E) -> R
    ) throws(E) -> R {
        if !isKnownUniquelyReferenced(&storage) { storage = Storage(copying: storage) }
        return try body(UnsafeMutableBufferPointer(start: storage.base, count: storage.count))
    }

    /// Reads or writes one value by its row-major index.
    package subscript(_ index: Int) -> Float {
        get {
            promise(index >= 0 && index < count, "index \(index) of \(count) values")
            return storage.base[index]
        }
        set {
            promise(index >= 0 && index < count, "index \(index) of \(count) values")
            withUnsafeMutableBuffer { $0[index] = newValue }
        }
    }

    /// The slices `range` of the first axis, copied.
    package func rows(_ range: Range<Int>) -> Tensor {
        promise(
            !shape.isEmpty && range.lowerBound >= 0 && range.upperBound <= shape[0], "rows \(range) of \(shape)")
        let slice = shape.dropFirst().reduce(1, *)
        let result = Tensor(uninitialized: [range.count] + shape.dropFirst())
        result.storage.base.update(from: storage.base + range.lowerBound * slice, count: range.count * slice)
        return result
    }

    /// The slices from `start` to the end of the first axis, copied.
    package func rows(from start: Int) -> Tensor { rows(start..<shape[0]) }

    /// Rows of a matrix in the order of `indices`; an index may occur any number of times.
    package func gathered(_ indices: [Int]) -> Tensor {
        promise(shape.count == 2, "gather needs a matrix, not \(shape)")
        let result = Tensor(uninitialized: [indices.count, shape[1]])
        for (row, index) in indices.enumerated() {
            promise(index >= 0 && index < shape[0], "row \(index) of \(shape[0])")
            (result.storage.base + row * shape[1]).update(from: storage.base + index * shape[1], count: shape[1])
        }
        return result
    }

    /// A matrix with its two axes exchanged.
    package func transposed() -> Tensor {
        promise(shape.count == 2, "transpose needs a matrix, not \(shape)")
        let (rows, columns) = (shape[0], shape[1])
        let result = Tensor(uninitialized: [columns, rows])
        for row in 0..<rows {
            for column in 0..<columns {
                result.storage.base[column * rows + row] = storage.base[row * columns + column]
            }
        }
        return result
    }
}

/// Joins tensors along their first axis.
///
/// - Precondition: all other axes agree.
package func concatenated(_ parts: [Tensor]) -> Tensor {
    promise(!parts.isEmpty, "nothing to concatenate")
    let tail = Array(parts[0].shape.dropFirst())
    promise(parts.allSatisfy { Array($0.shape.dropFirst()) == tail }, "axes disagree: \(parts.map(\.shape))")
    var result = Tensor(uninitialized: [parts.reduce(0) { $0 + $1.shape[0] }] + tail)
    result.withUnsafeMutableBuffer { target in
        var next = target.baseAddress
        for part in parts {
            part.withUnsafeBuffer { source in
                if let from = source.baseAddress { next?.update(from: from, count: source.count) }
            }
            next = next.map { $0 + part.count }
        }
    }
    return result
}

/// Joins tensors along their first axis.
package func concatenated(_ parts: Tensor...) -> Tensor { concatenated(parts) }

extension Tensor: Equatable {
    /// True when shapes agree and all values have the same bits.
    package static func == (left: Tensor, right: Tensor) -> Bool {
        left.shape == right.shape
            && memcmp(left.storage.base, right.storage.base, left.count * MemoryLayout<Float>.stride) == 0
    }
}

/// Values owned by tensors.
private final class Storage: @unchecked Sendable {
    let base: UnsafeMutablePointer<Float>
    let count: Int
    private let memory: AlignedMemory

    init(count: Int) {
        self.count = count
        memory = AlignedMemory(count: count * MemoryLayout<Float>.stride)
        base = memory.base.bindMemory(to: Float.self, capacity: count)
    }

    convenience init(copying other: Storage) {
        self.init(count: other.count)
        base.update(from: other.base, count: other.count)
    }
}
