internal import CKernels

/// What becomes of the sums of a product: where a block of them is computed, and what is done with it while caches hold it.
///
/// Unchecked: blocks write disjoint parts of what its pointers point to, which lives as long as the call of `multiply`.
struct ProductResult: @unchecked Sendable {
    /// Where sums are computed, (rows, N); nil for memory of a block's own, which lasts until its end.
    private let sums: UnsafeMutablePointer<Float>?
    private let columns: Int
    private let end: End
    private let compute: Compute

    /// What is done with complete sums c.
    private enum End {
        /// Nothing: they are the result.
        case stay
        /// x = x + gate * c, or x + gate * (other + c), the last two operations fused: x and other are (rows, N), the gate (N).
        case gatedSum(
            x: UnsafeMutablePointer<Float>, gate: UnsafePointer<Float>, other: UnsafePointer<Float>?)
        /// The operand of the next product is GELU (tanh form) of them.
        case geluTanh(Operand)
    }

    /// Sums in `y`, (rows, columns).
    init(_ y: UnsafeMutablePointer<Float>, columns: Int, compute: Compute) {
        (sums, self.columns, end, self.compute) = (y, columns, .stay, compute)
    }

    /// Sums, added to those in `other` if there are any, times a gate onto `x`.
    init(
        gatedOnto x: UnsafeMutablePointer<Float>, gate: UnsafePointer<Float>, other: UnsafePointer<Float>?,
        columns: Int, compute: Compute
    ) {
        (sums, self.columns) = (nil, columns)
        (end, self.compute) = (.gatedSum(x: x, gate: gate, other: other), compute)
    }

    /// GELU of the sums in `operand`.
    init(geluTanhInto operand: Operand, compute: Compute) {
        (sums, columns) = (nil, operand.depth)
        (end, self.compute) = (.geluTanh(operand), compute)
    }

    /// Whether sums that one step over k completes go past the caches: those would read each line before they write it, and
    /// not hold all of a result of that size beside what it is computed from.
    ///
    /// Measured on Zen 4 with 32 MiB, one thread: 1 % of a bf16 product, 1 to 4 % of an int8 product.
    func streams(rows: Int) -> Bool {
        sums != nil && rows * columns * MemoryLayout<Float>.stride >= 8 << 20
    }

    /// Blocks begin at a multiple of this column.
    var columnStep: Int {
        if case .geluTanh(let operand) = end { operand.columnStep } else { 1 }
    }

    /// Calls `computeSums` with the block's first sum and the distance of its rows, then does what is to be done.
    func withBlock(
        _ rows: Range<Int>, _ columns: Range<Int>,
        _ computeSums: (_ y: UnsafeMutablePointer<Float>, _ stride: Int) -> Void
    ) {
        if let sums {
            let y = sums + rows.lowerBound * self.columns + columns.lowerBound
            computeSums(y, self.columns)
            finish(rows, columns, y, self.columns)
        } else {
            let memory = AlignedMemory(count: rows.count * columns.count * MemoryLayout<Float>.stride)
            let y = memory.base.bindMemory(to: Float.self, capacity: rows.count * columns.count)
            computeSums(y, columns.count)
            finish(rows, columns, y, columns.count)
            withExtendedLifetime(memory) {}
        }
    }

    private func finish(
        _ rows: Range<Int>, _ columns: Range<Int>, _ y: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let kernels = compute.kernels.kernels.pointee
        switch end {
        case .stay: break
        case .gatedSum(let x, let gate, let other):
            for row in 0..<rows.count {
                let (offset, sums) = ((rows.lowerBound + row) * self.columns + columns.lowerBound, y + row * stride)
                if let other { kernels.sum(other + offset, sums, sums, columns.count) }
                kernels.gated_sum(x + offset, sums, gate + columns.lowerBound, x + offset, 1, columns.count)
            }
        case .geluTanh(let operand):
            // A few rows at a time go through both passes while the first-level cache holds them.
            for first in Swift.stride(from: 0, to: rows.count, by: 8 * operand.tileRows) {
                let part = first..<min(first + 8 * operand.tileRows, rows.count)
                for row in part { kernels.gelu_tanh(y + row * stride, y + row * stride, columns.count) }
                operand.write(
                    y + first * stride, stride: stride,
                    rows: rows.lowerBound + part.lowerBound..<rows.lowerBound + part.upperBound, columns: columns)
            }
        }
    }
}
