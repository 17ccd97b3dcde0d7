internal import Plan
package import Tensors

/// The two layouts of a latent picture: 16 planes of (height / 8, width / 8), and tokens of one 2x2 patch each.
///
/// Value `channel * 4 + y * 2 + x` of a token is (channel, y, x) of its patch; tokens are in raster order.
package enum Packing {
    /// Channels of the latent.
    package static let channels = 16
    /// Values of a token: 16 channels of a 2x2 patch.
    package static let tokenWidth = 64

    /// Packs (16, 2 rows, 2 columns) into (rows * columns, 64).
    package static func tokens(of latent: Tensor) -> Tensor {
        promise(
            latent.shape.count == 3 && latent.shape[0] == channels && latent.shape[1] % 2 == 0
                && latent.shape[2] % 2 == 0,
            "cannot pack \(latent.shape)")
        let (rows, columns) = (latent.shape[1] / 2, latent.shape[2] / 2)
        var result = Tensor(uninitialized: [rows * columns, tokenWidth])
        latent.withUnsafeBuffer { from in
            result.withUnsafeMutableBuffer { to in
                forEachValue(rows: rows, columns: columns) { planar, packed in to[packed] = from[planar] }
            }
        }
        return result
    }

    /// Unpacks (rows * columns, 64) in raster order into (16, 2 rows, 2 columns).
    package static func latent(of tokens: Tensor, rows: Int, columns: Int) -> Tensor {
        promise(tokens.shape == [rows * columns, tokenWidth], "\(tokens.shape) as \(rows) x \(columns) tokens")
        var result = Tensor(uninitialized: [channels, 2 * rows, 2 * columns])
        tokens.withUnsafeBuffer { from in
            result.withUnsafeMutableBuffer { to in
                forEachValue(rows: rows, columns: columns) { planar, packed in to[planar] = from[packed] }
            }
        }
        return result
    }

    /// Keeps every second row and column, from the first: independent noise stays independent noise.
    package static func subsampled(_ latent: Tensor) -> Tensor {
        let (height, width) = (latent.shape[1], latent.shape[2])
        var result = Tensor(uninitialized: [latent.shape[0], height / 2, width / 2])
        latent.withUnsafeBuffer { from in
            result.withUnsafeMutableBuffer { to in
                var next = 0
                for channel in 0..<latent.shape[0] {
                    for row in 0..<height / 2 {
                        for column in 0..<width / 2 {
                            to[next] = from[(channel * height + 2 * row) * width + 2 * column]
                            next += 1
                        }
                    }
                }
            }
        }
        return result
    }

    /// What the decoder takes: `latent / scale + shift`.
    package static func decoderInput(_ latent: Tensor, scale: Float, shift: Float) -> Tensor {
        var result = latent
        result.withUnsafeMutableBuffer { values in
            for index in values.indices { values[index] = values[index] / scale + shift }
        }
        return result
    }

    /// Calls `body` with both indices of every value.
    private static func forEachValue(rows: Int, columns: Int, _ body: (_ planar: Int, _ packed: Int) -> Void) {
        for channel in 0..<channels {
            for y in 0..<2 * rows {
                for x in 0..<2 * columns {
                    let token = y / 2 * columns + x / 2
                    body(
                        (channel * 2 * rows + y) * 2 * columns + x,
                        token * tokenWidth + channel * 4 + y % 2 * 2 + x % 2)
                }
            }
        }
    }
}
