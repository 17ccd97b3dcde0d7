internal import Plan
internal import Tensors

/// Decodes large latents in overlapping tiles, so that the network's memory depends on the tile and not on the picture.
///
/// Beside one tile's activations the whole picture is held, 12 bytes a pixel, and as many for each pixel of the decoded
/// tiles, overlap included, of the row at hand and the one above it.
///
/// The tile's size is fixed, never chosen by the memory at hand: it shows in the pixels. Neighbours are blended linearly
/// over the overlap. A smaller tile takes less memory (one of 128 latent pixels about 2.5 GiB with FLUX's decoder) and
/// makes colours drift between tiles, since each is normalised on its own.
///
/// Source: diffusers `AutoencoderKL.tiled_decode`, but for its last tile where that has nothing that the one before has not: a
/// sliver, whose group norms shift its colours (measured at 256x1600 against a decode without tiles: mean error of the last 64
/// rows 6.7 levels of 255 with it, 0.7 without).
package struct Tiling: Equatable, Sendable {
    /// Side of a tile in latent pixels; latents with a longer side are tiled.
    package let side: Int
    /// Share of a tile that overlaps the next.
    package let overlap: Double

    /// Tiles of 1024 x 1024 pixels: pictures up to that size, edge maps included, are decoded whole.
    package static let standard = Tiling(side: 128, overlap: 0.25)

    /// Chooses a size.
    ///
    /// - Precondition: the overlap is at least 0 and a whole number of latent pixels, or what is kept of a tile would not
    ///   be the step to the next; and it leaves a step of at least one.
    package init(side: Int, overlap: Double) {
        let (step, blended) = (Double(side) * (1 - overlap), Double(side) * overlap)
        promise(
            blended >= 0 && step >= 1 && blended == blended.rounded() && step == step.rounded(),
            "tiles of \(side) latent pixels, overlap \(overlap): \(blended) blended and a step of \(step)")
        self.side = side
        self.overlap = overlap
    }

    /// Calls `decode` for the latent, (C, h, w), or for each tile of it, and returns (3, scale h, scale w).
    func decode(_ latent: Tensor, scale: Int, _ decode: (Tensor) throws -> Tensor) rethrows -> Tensor {
        let (height, width) = (latent.shape[1], latent.shape[2])
        guard height > side || width > side else { return try decode(latent) }
        let step = Int(Double(side) * (1 - overlap))
        let blended = Int(Double(side * scale) * overlap)
        let kept = side * scale - blended

        var picture = Tensor(uninitialized: [3, height * scale, width * scale])
        var above: [Tensor] = []
        let (tops, lefts) = (starts(height, step), starts(width, step))
        for (row, top) in tops.enumerated() {
            var tiles: [Tensor] = []
            for (column, left) in lefts.enumerated() {
                let rows = top..<min(top + side, height)
                let columns = left..<min(left + side, width)
                var tile = try decode(cropped(latent, rows, columns))
                if row > 0 { blend(above[column], over: &tile, count: blended, axis: 1) }
                if column > 0 { blend(tiles[column - 1], over: &tile, count: blended, axis: 2) }
                paste(
                    tile, into: &picture, row: row * kept, column: column * kept,
                    rows: row == tops.count - 1 ? tile.shape[1] : kept,
                    columns: column == lefts.count - 1 ? tile.shape[2] : kept)
                tiles.append(tile)
            }
            above = tiles
        }
        return picture
    }

    /// Where tiles begin on an axis: each begins inside and has more than the overlap.
    private func starts(_ length: Int, _ step: Int) -> [Int] {
        stride(from: 0, to: length, by: step).filter { $0 == 0 || length - $0 > side - step }
    }
}

/// A window of a picture, (C, h, w), copied.
private func cropped(_ x: Tensor, _ rows: Range<Int>, _ columns: Range<Int>) -> Tensor {
    let (channels, height, width) = (x.shape[0], x.shape[1], x.shape[2])
    var y = Tensor(uninitialized: [channels, rows.count, columns.count])
    y.withUnsafeMutableBuffer { out in
        x.withUnsafeBuffer { a in
            var next = 0
            for channel in 0..<channels {
                for row in rows {
                    for column in columns {
                        out[next] = a[(channel * height + row) * width + column]
                        next += 1
                    }
                }
            }
        }
    }
    return y
}

/// Fades from the last rows (axis 1) or columns (axis 2) of `first` into the first ones of `second`.
///
/// Pixel i of n becomes `first * (1 - i / n) + second * i / n`; n is `count`, or less where a tile is smaller.
private func blend(_ first: Tensor, over second: inout Tensor, count: Int, axis: Int) {
    let count = min(count, first.shape[axis], second.shape[axis])
    let (rows, columns) = (axis == 1 ? count : second.shape[1], axis == 2 ? count : second.shape[2])
    let (fromRow, fromColumn) = (
        axis == 1 ? first.shape[1] - count : 0, axis == 2 ? first.shape[2] - count : 0
    )
    let (firstShape, secondShape) = (first.shape, second.shape)
    second.withUnsafeMutableBuffer { out in
        first.withUnsafeBuffer { a in
            for channel in 0..<secondShape[0] {
                for row in 0..<rows {
                    for column in 0..<columns {
                        let share = Float(axis == 1 ? row : column) / Float(count)
                        let from = (channel * firstShape[1] + fromRow + row) * firstShape[2] + fromColumn + column
                        let to = (channel * secondShape[1] + row) * secondShape[2] + column
                        out[to] = a[from] * (1 - share) + out[to] * share
                    }
                }
            }
        }
    }
}

/// Copies the first rows and columns of a tile to their place in the picture.
private func paste(_ tile: Tensor, into picture: inout Tensor, row: Int, column: Int, rows: Int, columns: Int) {
    let (height, width) = (picture.shape[1], picture.shape[2])
    picture.withUnsafeMutableBuffer { out in
        tile.withUnsafeBuffer { a in
            for channel in 0..<tile.shape[0] {
                for y in 0..<rows {
                    let from = (channel * tile.shape[1] + y) * tile.shape[2]
                    let to = (channel * height + row + y) * width + column
                    for x in 0..<columns { out[to + x] = a[from + x] }
                }
            }
        }
    }
}
