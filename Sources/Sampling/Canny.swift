internal import Plan

/// The edge detector of OpenCV with thresholds 100 and 200, aperture 3 and the L1 norm, without its blur.
///
/// Exact: every pixel equals `cv2.Canny(image, 100, 200)`. Source: Canny 1986; the integer rules of OpenCV 4 and 5 as
/// observed (direction test in 15-bit fixed point, borders, the sides on which ties win).
package enum Canny {
    private static let low: Int32 = 100
    private static let high: Int32 = 200
    /// tan(22.5 degrees) in 15-bit fixed point.
    private static let tangent: Int32 = 13573

    /// Marks edges with 255 in an 8-bit picture of (rows, columns), everything else with 0.
    package static func edges(_ gray: [UInt8], rows: Int, columns: Int) -> [UInt8] {
        promise(gray.count == rows * columns, "\(gray.count) pixels for \(rows) x \(columns)")
        guard rows > 0, columns > 0 else { return [] }
        let gradient = Gradient(gray, rows: rows, columns: columns)
        var edges = [UInt8](repeating: 0, count: gray.count)
        var weak = [Bool](repeating: false, count: gray.count)
        var open: [Int] = []
        for y in 0..<rows {
            for x in 0..<columns where gradient.isRidge(y, x) {
                let pixel = y * columns + x
                if gradient.magnitude(y, x) > high {
                    edges[pixel] = 255
                    open.append(pixel)
                } else {
                    weak[pixel] = true
                }
            }
        }
        // Weak pixels count if a chain of them leads to a strong one.
        while let pixel = open.popLast() {
            let (y, x) = (pixel / columns, pixel % columns)
            for ny in max(y - 1, 0)...min(y + 1, rows - 1) {
                for nx in max(x - 1, 0)...min(x + 1, columns - 1) where weak[ny * columns + nx] {
                    weak[ny * columns + nx] = false
                    edges[ny * columns + nx] = 255
                    open.append(ny * columns + nx)
                }
            }
        }
        return edges
    }

    /// Sobel derivatives with replicated borders, and their L1 magnitude, 0 outside the picture.
    private struct Gradient {
        let rows: Int
        let columns: Int
        private var dx: [Int32]
        private var dy: [Int32]
        /// With a border of one pixel of zeros on every side.
        private var padded: [Int32]

        init(_ gray: [UInt8], rows: Int, columns: Int) {
            self.rows = rows
            self.columns = columns
            dx = [Int32](repeating: 0, count: gray.count)
            dy = dx
            padded = [Int32](repeating: 0, count: (rows + 2) * (columns + 2))
            for y in 0..<rows {
                let above = max(y - 1, 0) * columns
                let here = y * columns
                let below = min(y + 1, rows - 1) * columns
                for x in 0..<columns {
                    let (left, right) = (max(x - 1, 0), min(x + 1, columns - 1))
                    func at(_ row: Int, _ column: Int) -> Int32 { Int32(gray[row + column]) }
                    let gx =
                        (at(above, right) - at(above, left)) + 2 * (at(here, right) - at(here, left))
                        + (at(below, right) - at(below, left))
                    let gy =
                        (at(below, left) - at(above, left)) + 2 * (at(below, x) - at(above, x))
                        + (at(below, right) - at(above, right))
                    dx[here + x] = gx
                    dy[here + x] = gy
                    padded[(y + 1) * (columns + 2) + x + 1] = abs(gx) + abs(gy)
                }
            }
        }

        func magnitude(_ y: Int, _ x: Int) -> Int32 { padded[(y + 1) * (columns + 2) + x + 1] }

        /// Whether the magnitude exceeds the low threshold and is a maximum along the gradient.
        ///
        /// On a plateau the left or upper pixel wins.
        func isRidge(_ y: Int, _ x: Int) -> Bool {
            let m = magnitude(y, x)
            guard m > Canny.low else { return false }
            let (gx, gy) = (dx[y * columns + x], dy[y * columns + x])
            let (ax, ay) = (abs(gx), abs(gy) << 15)
            let shallow = ax * Canny.tangent
            if ay < shallow { return m > magnitude(y, x - 1) && m >= magnitude(y, x + 1) }
            // tan(67.5 degrees) = tan(22.5 degrees) + 2.
            if ay > shallow + ax << 16 { return m > magnitude(y - 1, x) && m >= magnitude(y + 1, x) }
            let side = gx ^ gy < 0 ? -1 : 1
            return m > magnitude(y - 1, x - side) && m > magnitude(y + 1, x + side)
        }
    }
}
