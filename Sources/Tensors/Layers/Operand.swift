internal import CKernels
package import Plan

/// Rows as matrix products of one number format read them: rounded, or quantised, and in the kernels' order.
///
/// Made once, they serve all products that read the same rows. M rows of K values. What a row becomes depends on that row alone.
package struct Operand: Sendable {
    /// M.
    package let rows: Int
    /// K.
    package let depth: Int
    /// The number format of the layers that may read it.
    package let format: ComputeFormat

    private let layout: OperandLayout
    /// Rows that lie in a tensor as kernels read them are not copied.
    private let owner: Owner
    /// Of int8: for each row and each stretch of K the scale, and the zero.
    private let factors: AlignedMemory?

    private enum Owner: Sendable {
        case own(AlignedMemory)
        case tensor(Tensor, firstRow: Int)
    }

    /// Rows that `write` fills; all of them must be before any product reads them.
    init(rows: Int, depth: Int, format: ComputeFormat, kernels: KernelClass) {
        (self.rows, self.depth, self.format) = (rows, depth, format)
        layout = OperandLayout(depth: depth, format: format, kernels: kernels)
        owner = .own(AlignedMemory(count: layout.bytes(rows: rows)))
        factors =
            layout.takesIntegers
            ? AlignedMemory(count: 2 * rows * stretchCount(of: depth) * MemoryLayout<Float>.stride) : nil
    }

    /// Some rows of a tensor, without a copy; nil when kernels do not read them as they are.
    init?(viewing x: Tensor, rows: Range<Int>, format: ComputeFormat, kernels: KernelClass) {
        layout = OperandLayout(depth: x.width, format: format, kernels: kernels)
        guard layout.isPlain else { return nil }
        (self.rows, depth, self.format) = (rows.count, x.width, format)
        owner = .tensor(x, firstRow: rows.lowerBound)
        factors = nil
    }

    /// What a block of rows is to a product: the fields of `abz_product` on the left side.
    struct Block {
        let values: UnsafeRawPointer
        let stride: Int
        let inTiles: Bool
        let scales: UnsafePointer<Float>?
        let zeros: UnsafePointer<Float>?
        let scaleStride: Int
    }

    /// Calls `body` with the rows from `row` on, and their values from `k` on.
    ///
    /// - Precondition: `row` begins a tile, `k` a stretch.
    func withBlock(row: Int, k: Int, _ body: (Block) -> Void) {
        let stretches = stretchCount(of: depth)
        let offset = layout.offset(row: row, k: k)
        func call(_ base: UnsafeRawPointer) {
            let scales = factors?.base.assumingMemoryBound(to: Float.self)
            let first = row * stretches + k / Int(ABZ_INT8_STRETCH)
            body(
                Block(
                    values: base + offset, stride: layout.stride, inTiles: layout.tileRows > 1,
                    scales: scales.map { UnsafePointer($0 + first) },
                    zeros: scales.map { UnsafePointer($0 + rows * stretches + first) }, scaleStride: stretches))
        }
        switch owner {
        case .own(let memory): call(UnsafeRawPointer(memory.base))
        case .tensor(let x, let firstRow):
            withPointer(x) { if let base = $0 { call(UnsafeRawPointer(base + firstRow * depth)) } }
        }
    }

    /// Converts values of the rows from `row` on, a range of their columns; several threads may write different ones.
    ///
    /// `values` are (rows, columns), `stride` from row to row.
    ///
    /// - Precondition: the rows begin at a tile and end at one or with the last; the columns begin at a multiple of
    ///   `columnStep`.
    func write(_ values: UnsafePointer<Float>, stride: Int, rows range: Range<Int>, columns: Range<Int>) {
        guard case .own(let memory) = owner else { fatalError("these rows are a tensor's") }
        let target = memory.base + layout.offset(row: range.lowerBound, k: columns.lowerBound)
        let kernels = layout.kernels.kernels.pointee
        guard !layout.isPlain else {
            let to = target.assumingMemoryBound(to: Float.self)
            for row in 0..<range.count {
                (to + row * depth).update(from: values + row * stride, count: columns.count)
            }
            return
        }
        guard let factors else {
            let padded = columns.upperBound == depth ? layout.stride - columns.lowerBound : columns.count
            layout.multiplier.kernels.prepare(
                values, stride, range.count, columns.count, padded, target, layout.stride)
            return
        }
        let stretches = stretchCount(of: depth)
        let scales = factors.base.assumingMemoryBound(to: Float.self)
        for row in 0..<range.count {
            let first = (range.lowerBound + row) * stretches + columns.lowerBound / Int(ABZ_INT8_STRETCH)
            kernels.quantise(
                values + row * stride, columns.count,
                target + row * layout.stride * layout.multiplier.kernels.row_bytes,
                scales + first, scales + rows * stretches + first)
        }
    }

    /// The class whose layout it has; only its products may read it.
    var kernels: KernelClass { layout.kernels }

    /// Rows that are converted together.
    var tileRows: Int { layout.tileRows }

    /// Columns that are converted together; the last ones may be fewer.
    var columnStep: Int { layout.takesIntegers ? Int(ABZ_INT8_STRETCH) : 2 }
}

/// Where the values of an operand lie.
private struct OperandLayout: Sendable {
    let kernels: KernelClass
    let multiplier: Multiplier
    /// Values from row to row: K, up to a whole group.
    let stride: Int
    /// Rows of a tile, or 1 where rows lie one after the other.
    let tileRows: Int
    /// Whether a tensor's rows are just so.
    let isPlain: Bool
    var takesIntegers: Bool { multiplier.takesIntegers }

    /// A short row in f32 stays as it is, since tiles would cost more than they save: as long as a step over k of AVX2.
    private static let shortDepth = 512

    init(depth: Int, format: ComputeFormat, kernels: KernelClass) {
        self.kernels = kernels
        // In f32 a weight may be stored as bf16, whose panels hold pairs of k.
        multiplier = kernels.multiplier(format, exactIn: kernels.usesOpenBLAS ? .f32 : .bf16)
        stride = kernels.usesOpenBLAS ? depth : multiplier.padded(depth)
        let table = kernels.kernels.pointee
        let hasTiles = table.rows_in_tiles != 0 && !multiplier.takesIntegers && !kernels.usesOpenBLAS
        let staysPlain = format == .f32 && depth <= Self.shortDepth && stride == depth
        tileRows = hasTiles && !staysPlain ? table.tile_rows : 1
        isPlain = format == .f32 && tileRows == 1 && stride == depth
    }

    func bytes(rows: Int) -> Int { rounded(rows, up: tileRows) * stride * multiplier.kernels.row_bytes }

    /// Bytes before a value.
    func offset(row: Int, k: Int) -> Int {
        promise(row % tileRows == 0, "row \(row) is inside a tile of \(tileRows)")
        return (row * stride + k * tileRows) * multiplier.kernels.row_bytes
    }
}

extension Compute {
    /// Prepares rows of a tensor for products in `format`: those of `rows`, or all; x is (..., K).
    package func operand(_ x: Tensor, rows range: Range<Int>? = nil, format: ComputeFormat) -> Operand {
        let range = range ?? 0..<x.rowCount
        promise(range.lowerBound >= 0 && range.upperBound <= x.rowCount, "rows \(range) of \(x.shape)")
        if let view = Operand(viewing: x, rows: range, format: format, kernels: kernels) { return view }
        return withPointer(x) { values in
            nonisolated(unsafe) let values = values.map { $0 + range.lowerBound * x.width }
            return operand(rows: range.count, depth: x.width, format: format) { operand, rows in
                guard let values else { return }
                operand.write(
                    values + rows.lowerBound * operand.depth, stride: operand.depth, rows: rows,
                    columns: 0..<operand.depth)
            }
        }
    }

    /// An operand whose rows `body` writes, range by range, several at once.
    func operand(
        rows: Int, depth: Int, format: ComputeFormat, _ body: @Sendable (_ operand: Operand, _ rows: Range<Int>) -> Void
    ) -> Operand {
        let operand = Operand(rows: rows, depth: depth, format: format, kernels: kernels)
        let tile = operand.tileRows
        forRanges(of: (rows + tile - 1) / tile, width: depth * tile) { tiles in
            body(operand, tiles.lowerBound * tile..<min(tiles.upperBound * tile, rows))
        }
        return operand
    }
}
