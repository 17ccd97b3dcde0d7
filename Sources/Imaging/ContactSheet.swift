internal import Plan

/// Many pictures on one: a grid of thumbnails in the order given.
package struct ContactSheet: Sendable {
    /// One picture of the sheet.
    package struct Entry: Sendable {
        /// Interleaved RGB rows.
        package let rgb8: [UInt8]
        /// Columns.
        package let width: Int
        /// Rows.
        package let height: Int

        /// Wraps a picture.
        ///
        /// - Precondition: three bytes a pixel, and at least one pixel.
        package init(rgb8: [UInt8], width: Int, height: Int) {
            promise(
                width > 0 && height > 0 && rgb8.count == 3 * width * height, "\(rgb8.count) bytes, \(width)x\(height)")
            self.rgb8 = rgb8
            self.width = width
            self.height = height
        }

        /// Wraps a decoded file.
        package init(_ image: PNG.Image) { self.init(rgb8: image.rgb8, width: image.width, height: image.height) }
    }

    /// Columns of the sheet in pixels.
    package let width: Int
    /// Rows of the sheet in pixels.
    package let height: Int
    /// Interleaved RGB rows.
    package private(set) var rgb8: [UInt8]

    /// Pixels of a cell for so many pictures: 256, or fewer where the sheet would be larger than 8,192 pixels on a side.
    package static func cell(for count: Int) -> Int {
        let across = max(Int(Double(count).squareRoot().rounded(.up)), 1)
        return min(256, max(8192 / across - 8, 8))
    }

    /// Lays pictures out, row by row, in squares of `cell` pixels with `gap` pixels between them.
    ///
    /// `columns` is chosen so that the sheet is about square unless given. Pictures keep their shape, are centred, and are
    /// scaled down by averaging boxes, never up.
    package init(_ entries: [Entry], columns: Int? = nil, cell: Int = 256, gap: Int = 8, background: UInt8 = 32) {
        promise(cell > 0 && gap >= 0, "cells of \(cell) pixels, gaps of \(gap)")
        let across = max(columns ?? Int(Double(entries.count).squareRoot().rounded(.up)), 1)
        let down = max((entries.count + across - 1) / across, 1)
        width = across * cell + (across + 1) * gap
        height = down * cell + (down + 1) * gap
        rgb8 = [UInt8](repeating: background, count: 3 * width * height)
        for (index, entry) in entries.enumerated() {
            let small = Self.scaled(entry, within: cell)
            let left = gap + index % across * (cell + gap) + (cell - small.width) / 2
            let top = gap + index / across * (cell + gap) + (cell - small.height) / 2
            for row in 0..<small.height {
                let target = 3 * ((top + row) * width + left)
                let source = 3 * row * small.width
                rgb8.replaceSubrange(
                    target..<target + 3 * small.width, with: small.rgb8[source..<source + 3 * small.width])
            }
        }
    }

    /// The sheet as a PNG file.
    package func png() throws(PNGError) -> [UInt8] { try PNG.encode(rgb8: rgb8, width: width, height: height) }

    /// Scales a picture down until both sides are at most `limit`: each pixel is the mean of the box it covers.
    package static func scaled(_ entry: Entry, within limit: Int) -> Entry {
        let longer = max(entry.width, entry.height)
        guard longer > limit else { return entry }
        let (width, height) = (max(entry.width * limit / longer, 1), max(entry.height * limit / longer, 1))
        var result = [UInt8](repeating: 0, count: 3 * width * height)
        for y in 0..<height {
            let rows = y * entry.height / height..<(y + 1) * entry.height / height
            for x in 0..<width {
                let columns = x * entry.width / width..<(x + 1) * entry.width / width
                let area = rows.count * columns.count
                for channel in 0..<3 {
                    var sum = 0
                    for row in rows {
                        for column in columns { sum += Int(entry.rgb8[3 * (row * entry.width + column) + channel]) }
                    }
                    result[3 * (y * width + x) + channel] = UInt8((sum + area / 2) / area)
                }
            }
        }
        return Entry(rgb8: result, width: width, height: height)
    }
}
