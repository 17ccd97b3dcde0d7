internal import CKernels
internal import COpenBLAS
internal import Plan

/// A weight in the order that the kernels read it, and the products with it.
///
/// N columns of the result, K summed over, M rows. `abz_product` in CKernels.h describes the panels; for OpenBLAS the
/// rows stay as they are, padded with zero rows to whole tiles.
struct PackedMatrix: Sendable {
    let columns: Int
    let depth: Int
    private let panels: AlignedMemory
    /// Nil for OpenBLAS.
    private let multiplier: Multiplier?
    /// (N) and padding, or none.
    private let bias: Tensor?
    /// Of int8: for each stretch of K of each column the scale, and the sum of its integers.
    private let scales: Tensor
    private let sums: [Int32]
    private let compute: Compute

    /// Bytes in memory.
    var residentBytes: Int {
        panels.count + ((bias?.count ?? 0) + scales.count) * MemoryLayout<Float>.stride
            + sums.count * MemoryLayout<Int32>.stride
    }

    /// Packs (N, K) with a bias of N values or none.
    init(_ weight: Tensor, bias: Tensor?, compute: Compute, format: ComputeFormat) {
        (columns, depth) = (weight.shape[0], weight.shape[1])
        self.compute = compute
        let stored = rounded(columns, up: compute.kernels.usesOpenBLAS ? FixedTile.columns : 16)
        self.bias = bias.map { bias in
            concatenated(bias, Tensor(shape: [stored - bias.count]))
        }
        guard !compute.kernels.usesOpenBLAS else {
            promise(format == .f32, "OpenBLAS multiplies f32, not \(format)")
            multiplier = nil
            (scales, sums) = (Tensor(shape: [0]), [])
            panels = AlignedMemory(count: stored * depth * MemoryLayout<Float>.stride)
            let to = panels.base.bindMemory(to: Float.self, capacity: stored * depth)
            withPointer(weight) { if let from = $0 { to.update(from: from, count: weight.count) } }
            (to + weight.count).update(repeating: 0, count: stored * depth - weight.count)
            return
        }
        let multiplier = compute.kernels.multiplier(format, exactIn: format == .f32 ? weight.shortestFloats : .f32)
        self.multiplier = multiplier
        let panels = AlignedMemory(count: multiplier.bytes(columns: stored, depth: depth))
        var scales = Tensor(shape: [multiplier.takesIntegers ? stored * stretchCount(of: depth) : 0])
        var sums = [Int32](repeating: 0, count: scales.count)
        scales.withUnsafeMutableBuffer { scales in
            sums.withUnsafeMutableBufferPointer { sums in
                let target = (panels: panels.base, scales: scales.baseAddress, sums: sums.baseAddress)
                pack(weight, multiplier, stored: stored, compute, into: target)
            }
        }
        (self.panels, self.scales, self.sums) = (panels, scales, sums)
    }

    /// y = x Wᵀ + bias, in blocks that `result` makes a place for and gets back complete.
    func multiply(_ x: Operand, _ result: ProductResult) {
        let rows = x.rows
        promise(x.depth == depth, "rows of \(x.depth) values, weight (\(columns), \(depth))")
        promise(
            x.kernels.instructions == compute.kernels.instructions
                && x.kernels.usesOpenBLAS == compute.kernels.usesOpenBLAS,
            "rows for \(x.kernels.name) \(x.kernels.instructions), weight for \(compute.kernels.name) "
                + "\(compute.kernels.instructions)")
        guard rows > 0, columns > 0 else { return }
        let blocks = Blocks(
            rows: rows, columns: columns, depth: depth, multiplier, columnMultiple: result.columnStep, compute: compute)
        let streams = result.streams(rows: rows)
        let work = { @Sendable (index: Int) in
            let (rows, columns) = blocks[index]
            result.withBlock(rows, columns) { y, stride in
                if let multiplier {
                    block(x, rows, columns, multiplier, y, stride, streams: streams)
                } else {
                    x.withBlock(row: rows.lowerBound, k: 0) { left in
                        let values = left.values.assumingMemoryBound(to: Float.self)
                        fixedTile(values, rows.count, columns, y, stride)
                    }
                }
            }
        }
        compute.timed(.product) {
            if blocks.areSmall {
                for index in 0..<blocks.count { work(index) }
            } else {
                compute.pool.run(blocks.count, work)
            }
        }
    }

    /// One block of y with our own kernels, in steps over k of whose panels the caches hold a part.
    private func block(
        _ x: Operand, _ rows: Range<Int>, _ columns: Range<Int>, _ multiplier: Multiplier,
        _ y: UnsafeMutablePointer<Float>, _ yStride: Int, streams: Bool
    ) {
        let kernels = multiplier.kernels
        let stretches = stretchCount(of: depth)
        for k in stride(from: 0, to: max(depth, 1), by: kernels.depth_step) {
            let count = min(kernels.depth_step, depth - k)
            let isLast = k + count == depth
            x.withBlock(row: rows.lowerBound, k: k) { left in
                scales.withUnsafeBuffer { scales in
                    sums.withUnsafeBufferPointer { sums in
                        withPointer(bias) { bias in
                            var product = abz_product(
                                a: left.values, a_stride: left.stride, rows_in_tiles: left.inTiles ? 1 : 0,
                                panels: panels.base + multiplier.bytes(columns: columns.lowerBound, depth: depth),
                                panel_depth: multiplier.padded(depth), first_k: k, panel_columns: 0, c: y,
                                c_stride: yStride,
                                rows: rows.count, columns: columns.count, depth: multiplier.padded(count),
                                onto: k > 0 ? 1 : 0, streams: streams && isLast && k == 0 ? 1 : 0,
                                column_bias: isLast ? bias.map { $0 + columns.lowerBound } : nil, row_bias: nil,
                                row_scales: left.scales, row_zeros: left.zeros, scale_stride: left.scaleStride,
                                column_scales: scales.baseAddress.map { $0 + columns.lowerBound * stretches },
                                column_sums: sums.baseAddress.map { $0 + columns.lowerBound * stretches })
                            kernels.product(&product)
                        }
                    }
                }
            }
        }
    }

    /// One tile of y with OpenBLAS: always the same shape, padded with zeros, so that its bits never depend on the call.
    private func fixedTile(
        _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Range<Int>, _ y: UnsafeMutablePointer<Float>, _ yStride: Int
    ) {
        let weight = panels.base.assumingMemoryBound(to: Float.self)
        withScratch(FixedTile.rows * (depth + FixedTile.columns)) { padded in
            let tile = padded + FixedTile.rows * depth
            padded.update(from: x, count: rows * depth)
            (padded + rows * depth).update(repeating: 0, count: (FixedTile.rows - rows) * depth)
            // The transposed tile, (columns, rows).
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, Int32(FixedTile.columns), Int32(FixedTile.rows), Int32(depth),
                1,
                weight + columns.lowerBound * depth, Int32(depth), padded, Int32(depth), 0, tile, Int32(FixedTile.rows))
            for row in 0..<rows {
                let out = y + row * yStride
                for column in 0..<columns.count {
                    let shift = bias.map { $0[columns.lowerBound + column] } ?? 0
                    out[column] = tile[column * FixedTile.rows + row] + shift
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
    /// Whether neighbours share their rows, or their columns.
    private var sharesRows = false
    /// True when waking threads would take longer than the work.
    let areSmall: Bool

    /// Most bytes of a block's rows where it has more than `fewestRows` of them, so that they stay in the last cache.
    ///
    /// Measured on Zen 4 with 32 MiB, 2 threads, int8: 4608 rows of 15360 values take 545 ms in blocks of 312 rows, 565 ms in
    /// blocks of 1536.
    private static let mostRowBytes = 1536 * 3072
    private static let fewestRows = 256

    /// Blocks of whole panels and tiles, their first columns a multiple of `columnMultiple`.
    init(
        rows: Int, columns: Int, depth: Int, _ multiplier: Multiplier?, columnMultiple: Int, compute: Compute
    ) {
        self.rows = rows
        self.columns = columns
        areSmall = rows * columns * depth < 1 << 20
        guard let kernels = multiplier?.kernels else {
            (rowStep, columnStep) = (FixedTile.rows, FixedTile.columns)
            return
        }
        let table = compute.kernels.kernels.pointee
        let panel = leastCommonMultiple(table.panel_columns, columnMultiple)
        let tile = table.tile_rows
        let fitting = rounded(Self.mostRowBytes / max(depth * kernels.row_bytes, 1), up: tile)
        rowStep = min(table.block_rows, max(fitting, rounded(Self.fewestRows, up: tile)))
        columnStep = rounded(table.block_columns, up: panel)
        // A dozen blocks a thread, so that all finish at about one time, even where one is slower.
        let wanted = compute.pool.threads > 1 ? 12 * compute.pool.threads : 1
        while count < wanted && columnStep > panel { columnStep = rounded(columnStep / 2, up: panel) }
        while count < wanted && rowStep > 8 * tile { rowStep = rounded(rowStep / 2, up: tile) }
        // One side is read once, the other again for each block of the first: that with fewer bytes in all. (The same
        // product with 3072 values a row: 322 ms instead of 341.)
        sharesRows = columns * kernels.panel_bytes * rowBlocks < rows * kernels.row_bytes * columnBlocks
    }

    var count: Int { rowBlocks * columnBlocks }

    private var rowBlocks: Int { (rows + rowStep - 1) / rowStep }
    private var columnBlocks: Int { (columns + columnStep - 1) / columnStep }

    /// Rows and columns of a block.
    subscript(_ index: Int) -> (rows: Range<Int>, columns: Range<Int>) {
        let row = (sharesRows ? index / columnBlocks : index % rowBlocks) * rowStep
        let column = (sharesRows ? index % columnBlocks : index / rowBlocks) * columnStep
        return (row..<min(row + rowStep, rows), column..<min(column + columnStep, columns))
    }
}

/// The least number that both divide.
private func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
    var (x, y) = (a, b)
    while y != 0 { (x, y) = (y, x % y) }
    return a / x * b
}

/// How many parts of K have a scale of their own in int8.
func stretchCount(of depth: Int) -> Int { (depth + Int(ABZ_INT8_STRETCH) - 1) / Int(ABZ_INT8_STRETCH) }

/// Packs (N, K) panel by panel; `stored` is N rounded up.
private func pack(
    _ weight: Tensor, _ multiplier: Multiplier, stored: Int, _ compute: Compute,
    into target: (
        panels: UnsafeMutableRawPointer, scales: UnsafeMutablePointer<Float>?, sums: UnsafeMutablePointer<Int32>?
    )
) {
    let (columns, depth) = (weight.shape[0], weight.shape[1])
    let width = compute.kernels.kernels.pointee.panel_columns
    withPointer(weight) { values in
        guard let values else { return }
        nonisolated(unsafe) let (rows, target) = (values, target)
        compute.pool.run((stored + width - 1) / width) { panel in
            let first = panel * width
            multiplier.kernels.pack(
                rows + first * depth, depth, min(columns - first, width), depth, min(stored - first, width),
                target.panels + multiplier.bytes(columns: first, depth: depth),
                target.scales.map { $0 + first * stretchCount(of: depth) },
                target.sums.map { $0 + first * stretchCount(of: depth) })
        }
    }
}

extension Tensor {
    /// The shortest floats that lose nothing of any value.
    fileprivate var shortestFloats: WeightFloats {
        if !loses({ $0.bitPattern & 0xFFFF }) { return .bf16 }
        return loses(\.bitsLostInHalf) ? .f32 : .f16
    }

    /// Whether `lost` has a bit for any value.
    private func loses(_ lost: (Float) -> UInt32) -> Bool {
        withUnsafeBuffer { values in
            for start in stride(from: 0, to: values.count, by: 4096) {
                var bits: UInt32 = 0
                for index in start..<min(start + 4096, values.count) { bits |= lost(values[index]) }
                if bits != 0 { return true }
            }
            return false
        }
    }
}

extension Float {
    /// Not 0 where half precision does not hold the value, or it is not finite.
    fileprivate var bitsLostInHalf: UInt32 {
        let size = bitPattern & 0x7FFF_FFFF
        // From 2^-14 to 65504 a half is a float without its last 13 bits; below, a multiple of 2^-24, as are all floats
        // from 1/2 to 1.
        let small = Float(bitPattern: size < 0x3880_0000 ? size : 0)
        let lostOfSmall: UInt32 = (small + 0.5) - 0.5 == small ? 0 : 1
        let lostOfOther = size < 0x3880_0000 ? 0 : size & 0x1FFF
        return lostOfSmall | lostOfOther | (size > 0x477F_E000 ? 1 : 0)
    }
}

/// Memory for `count` values that lives as long as the call of `body`.
func withScratch<R>(_ count: Int, _ body: (UnsafeMutablePointer<Float>) -> R) -> R {
    withBytes(count * MemoryLayout<Float>.stride) { body($0.bindMemory(to: Float.self, capacity: count)) }
}

/// Aligned memory for `count` bytes that lives as long as the call of `body`.
func withBytes<R>(_ count: Int, _ body: (UnsafeMutableRawPointer) -> R) -> R {
    withUnsafeTemporaryAllocation(byteCount: max(count, 1), alignment: 64) { raw in
        body(raw.baseAddress.unsafelyUnwrapped)
    }
}

/// The least multiple of `step` that is at least `value`.
func rounded(_ value: Int, up step: Int) -> Int { (value + step - 1) / step * step }
