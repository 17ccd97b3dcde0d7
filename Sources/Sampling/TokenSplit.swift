package import Plan
package import Tensors

/// Tokens and positions that became four where there was one, in the order the stages want them.
package enum TokenSplit {
    /// Splits the tokens `selected` (rising indices) on entering stage 2.
    ///
    /// The order of the result is the others, rising, then the children, parents rising: not raster order. Positions
    /// stay in coarse units: children sit at halves, the others at the corner of their cell.
    package static func refined(
        _ latents: Latents, selected: [Int], upsampling: RALUSettings.Upsampling
    ) -> Latents {
        let chosen = Set(selected)
        let kept = (0..<latents.count).filter { !chosen.contains($0) }
        let children = split(latents, parents: selected, upsampling: upsampling)
        return Latents(
            tokens: concatenated(latents.tokens.gathered(kept), children.tokens),
            positions: concatenated(latents.positions.gathered(kept), children.positions))
    }

    /// Splits the first `coarse` tokens on entering stage 3, children first, and doubles all positions.
    ///
    /// Positions are whole numbers afterwards, but the order is still not raster order: noise is injected before sorting.
    package static func completed(
        _ latents: Latents, coarse: Int, upsampling: RALUSettings.Upsampling
    ) -> Latents {
        let children = split(latents, parents: Array(0..<coarse), upsampling: upsampling)
        var positions = concatenated(children.positions, latents.positions.rows(from: coarse))
        positions.withUnsafeMutableBuffer { values in
            for index in values.indices { values[index] *= 2 }
        }
        return Latents(tokens: concatenated(children.tokens, latents.tokens.rows(from: coarse)), positions: positions)
    }

    /// Puts tokens into raster order: by row, then by column.
    package static func rasterSorted(_ latents: Latents) -> Latents {
        let places = latents.positions.values
        let order = (0..<latents.count).sorted {
            (places[$0 * 3 + 1], places[$0 * 3 + 2], $0) < (places[$1 * 3 + 1], places[$1 * 3 + 2], $1)
        }
        return Latents(tokens: latents.tokens.gathered(order), positions: latents.positions.gathered(order))
    }

    /// Four consecutive children for each parent: upper left, upper right, lower left, lower right.
    private static func split(_ latents: Latents, parents: [Int], upsampling: RALUSettings.Upsampling) -> Latents {
        let four = parents.flatMap { [$0, $0, $0, $0] }
        var positions = latents.positions.gathered(four)
        positions.withUnsafeMutableBuffer { values in
            for child in four.indices {
                values[child * 3 + 1] += child % 4 < 2 ? 0 : 0.5
                values[child * 3 + 2] += child % 2 == 0 ? 0 : 0.5
            }
        }
        var tokens = latents.tokens.gathered(four)
        if upsampling == .latentNearest {
            // Child (dy, dx) shows the parent's latent pixel (dy, dx) in all four of its own.
            tokens.withUnsafeMutableBuffer { values in
                for child in four.indices {
                    for channel in 0..<Packing.channels {
                        let base = child * Packing.tokenWidth + channel * 4
                        let value = values[base + child % 4]
                        for pixel in 0..<4 { values[base + pixel] = value }
                    }
                }
            }
        }
        return Latents(tokens: tokens, positions: positions)
    }
}
