internal import CKernels
internal import COpenBLAS

/// A weight in the order that the kernels read it, and the products with it.
///
/// N columns of the result, K summed over, M rows. `abz_product` in CKernels.h describes the panels; for OpenBLAS the
/// rows stay as they are, padded with zero rows to whole tiles.
struct PackedMatrix: Sendable {
    let columns: Int
    let depth: Int
    private let storage: Tensor
    private let compute: Compute

    /// Packs (N, K).
    init(_ weight: Tensor, compute: Compute) {
        (columns, depth) = (weight.shape[0], weight.shape[1])
        self.compute = compute
        let (columns, depth) = (columns, depth)
        let openBLAS = compute.kernels.usesOpenBLAS
        let width = openBLAS ? 1 : compute.kernels.kernels.pointee.panel_columns
        let stored = rounded(columns, up: openBLAS ? FixedTile.columns : 16)
        var packed = Tensor(uninitialized: [stored, depth])
        weight.withUnsafeBuffer { from in
            packed.withUnsafeMutableBuffer { to in
                guard let rows = from.baseAddress, let packed = to.baseAddress else { return }
                if openBLAS {
                    packed.update(from: rows, count: from.count)
                    (packed + from.count).update(repeating: 0, count: to.count - from.count)
                    return
                }
                nonisolated(unsafe) let (source, target) = (rows, packed)
                compute.pool.run((stored + width - 1) / width) { panel in
                    let first = panel * width
                    abz_pack_panel(
                        source + first * depth, depth, min(columns - first, width), depth, min(stored - first, width),
                        target + first * depth)
                }
            }
        }
        storage = packed
    }

    /// y = x Wᵀ + bias for `rows` rows of x, (rows, K), and y, (rows, N).
    func multiply(
        _ x: UnsafePointer<Float>, rows: Int, bias: UnsafePointer<Float>?, into y: UnsafeMutablePointer<Float>
    ) {
        storage.withUnsafeBuffer { weight in
            guard let base = weight.baseAddress, rows > 0 else { return }
            let blocks = Blocks(rows: rows, columns: columns, depth: depth, compute: compute)
            nonisolated(unsafe) let (x, bias, y, panels) = (x, bias, y, base)
            let work = { @Sendable (index: Int) in
                let (part, columns) = blocks[index]
                if compute.kernels.usesOpenBLAS {
                    fixedTile(x, part, columns, panels, bias, y)
                } else {
                    block(x, part, columns, panels, bias, y)
                }
            }
            if blocks.areSmall {
                for index in 0..<blocks.count { work(index) }
            } else {
                compute.pool.run(blocks.count, work)
            }
        }
    }

    /// One block of y with our own kernels, over k in steps whose part of x fits the second-level cache.
    private func block(
        _ x: UnsafePointer<Float>, _ rows: Range<Int>, _ columns: Range<Int>, _ panels: UnsafePointer<Float>,
        _ bias: UnsafePointer<Float>?, _ y: UnsafeMutablePointer<Float>
    ) {
        let step = Blocks.depthStep(depth)
        let from = x + rows.lowerBound * depth
        withScratch(step < depth ? rows.count * step : 0) { copy in
            for k in stride(from: 0, to: depth, by: step) {
                let count = min(step, depth - k)
                if step < depth {
                    // Rows far apart would compete for a few cache sets.
                    for row in 0..<rows.count {
                        (copy + row * count).update(from: from + row * depth + k, count: count)
                    }
                }
                var product = abz_product(
                    a: step < depth ? UnsafePointer(copy) : from, a_stride: count,
                    panels: panels + columns.lowerBound * depth, panel_depth: depth, first_k: k,
                    c: y + rows.lowerBound * self.columns + columns.lowerBound, c_stride: self.columns,
                    rows: rows.count, columns: columns.count, depth: count, onto: k > 0 ? 1 : 0,
                    column_bias: k + count == depth ? bias.map { $0 + columns.lowerBound } : nil, row_bias: nil)
                compute.kernels.kernels.pointee.product(&product)
            }
        }
    }

    /// One tile of y with OpenBLAS: always the same shape, padded with zeros, so that its bits never depend on the call.
    private func fixedTile(
        _ x: UnsafePointer<Float>, _ rows: Range<Int>, _ columns: Range<Int>, _ weight: UnsafePointer<Float>,
        _ bias: UnsafePointer<Float>?, _ y: UnsafeMutablePointer<Float>
    ) {
        withScratch(FixedTile.rows * (depth + FixedTile.columns)) { padded in
            let tile = padded + FixedTile.rows * depth
            padded.update(from: x + rows.lowerBound * depth, count: rows.count * depth)
            (padded + rows.count * depth).update(repeating: 0, count: (FixedTile.rows - rows.count) * depth)
            // The transposed tile, (columns, rows).
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, Int32(FixedTile.columns), Int32(FixedTile.rows), Int32(depth),
                1,
                weight + columns.lowerBound * depth, Int32(depth), padded, Int32(depth), 0, tile, Int32(FixedTile.rows))
            for row in 0..<rows.count {
                let out = y + (rows.lowerBound + row) * self.columns + columns.lowerBound
                for column in 0..<columns.count {
                    out[column] = tile[column * FixedTile.rows + row] + (bias?[columns.lowerBound + column] ?? 0)
                }
            }
        }
    }
}

/// The tile that OpenBLAS is given.
///
/// Within a larger tile its Zen kernels sum a row differently by the row's place (measured: from the seventh row of 96 on);
/// with 16 rows on the side that it calls N, all places give the same bits.
enum FixedTile {
    static let rows = 16
    static let columns = 128
}

/// How a product is cut for threads and caches; the cut does not touch the bits.
struct Blocks: Sendable {
    private let rows: Int
    private let columns: Int
    private var rowStep: Int
    private var columnStep: Int
    /// True when waking threads would take longer than the work.
    let areSmall: Bool

    /// Measured on Zen 3 with 512 KiB of second-level cache: 144 x 384 values of x and a panel at a time.
    init(rows: Int, columns: Int, depth: Int, compute: Compute) {
        self.rows = rows
        self.columns = columns
        areSmall = rows * columns * depth < 1 << 20
        if compute.kernels.usesOpenBLAS {
            (rowStep, columnStep) = (FixedTile.rows, FixedTile.columns)
            return
        }
        let tile = compute.kernels.kernels.pointee.tile_rows
        let panel = compute.kernels.kernels.pointee.panel_columns
        rowStep = 144 / tile * tile
        columnStep = 256 / panel * panel
        // A few blocks a thread, so that all finish at about one time.
        let wanted = compute.pool.threads > 1 ? 4 * compute.pool.threads : 1
        while count < wanted && columnStep > 2 * panel { columnStep = rounded(columnStep / 2, up: panel) }
        while count < wanted && rowStep > 2 * tile { rowStep = rounded(rowStep / 2, up: tile) }
    }

    var count: Int { rowBlocks * ((columns + columnStep - 1) / columnStep) }

    private var rowBlocks: Int { (rows + rowStep - 1) / rowStep }

    /// Rows and columns of a block; neighbours share their columns, so that a weight is read from memory once.
    subscript(_ index: Int) -> (rows: Range<Int>, columns: Range<Int>) {
        let row = index % rowBlocks * rowStep
        let column = index / rowBlocks * columnStep
        return (row..<min(row + rowStep, rows), column..<min(column + columnStep, columns))
    }

    /// Values of k a block takes at a time: all of them, or as many as keep a panel in the first-level cache.
    static func depthStep(_ depth: Int) -> Int { depth <= 512 ? depth : 384 }
}

/// Memory for `count` values that lives as long as the call of `body`.
func withScratch<R>(_ count: Int, _ body: (UnsafeMutablePointer<Float>) -> R) -> R {
    withUnsafeTemporaryAllocation(byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64) { raw in
        body(raw.assumingMemoryBound(to: Float.self).baseAddress.unsafelyUnwrapped)
    }
}

/// The least multiple of `step` that is at least `value`.
func rounded(_ value: Int, up step: Int) -> Int { (value + step - 1) / step * step }
