internal import Plan

/// The picture while it is being denoised: tokens with positions, never a grid.
///
/// N tokens. In the middle stage of RALU some are coarse and some fine, and they are not in raster order.
package struct Latents: Codable, Equatable, Sendable {
    /// (N, 64): one packed 2x2 patch of 16 latent channels each, index `channel * 4 + y * 2 + x`.
    package var tokens: Tensor
    /// (N, 3): (0, row, column) in units of one token of the stage's grid; halves are allowed.
    package var positions: Tensor

    /// Joins tokens and their positions.
    ///
    /// - Precondition: as many positions as tokens.
    package init(tokens: Tensor, positions: Tensor) {
        promise(
            tokens.shape.count == 2 && positions.shape == [tokens.shape[0], 3],
            "tokens \(tokens.shape), positions \(positions.shape)")
        self.tokens = tokens
        self.positions = positions
    }

    /// Number of tokens.
    package var count: Int { tokens.shape[0] }

    /// Positions of a raster of `rows` x `columns` tokens: (0, y, x), x fastest.
    package static func grid(rows: Int, columns: Int) -> Tensor {
        var positions = Tensor(repeating: 0, shape: [rows * columns, 3])
        positions.withUnsafeMutableBuffer { buffer in
            for row in 0..<rows {
                for column in 0..<columns {
                    buffer[(row * columns + column) * 3 + 1] = Float(row)
                    buffer[(row * columns + column) * 3 + 2] = Float(column)
                }
            }
        }
        return positions
    }
}
