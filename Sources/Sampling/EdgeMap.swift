package import Plan
package import Tensors

/// Where a half-size picture has edges, and how many of them each coarse token covers.
package struct EdgeMap: Equatable, Sendable {
    /// Pixels of a coarse token's side in the half-size picture.
    package static let patch = 16

    /// Rows of pixels.
    package let rows: Int
    /// Columns of pixels.
    package let columns: Int
    /// The detector's input, row by row.
    package let gray: [UInt8]
    /// 255 on edges, else 0, row by row.
    package let edges: [UInt8]
    /// Sum of `edges` over each coarse token's 16 x 16 pixels, tokens in raster order; at most 65,280.
    package let sums: [Int]

    /// Looks for edges in a decoded half-size picture.
    package init(_ pixels: Pixels, range: RALUSettings.Gray) {
        self.init(gray: Self.gray(pixels, range: range), rows: pixels.height, columns: pixels.width)
    }

    /// Looks for edges in a gray picture.
    ///
    /// - Precondition: both sides are multiples of 16.
    package init(gray: [UInt8], rows: Int, columns: Int) {
        let patched = rows % Self.patch == 0 && columns % Self.patch == 0
        promise(patched, "\(rows) x \(columns) pixels in patches of \(Self.patch)")
        self.rows = rows
        self.columns = columns
        self.gray = gray
        edges = Canny.edges(gray, rows: rows, columns: columns)
        sums = Self.sums(edges, rows: rows, columns: columns)
    }

    /// Brightness 0...255 of a decoded picture: `0.299 R + 0.587 G + 0.114 B`, clipped to 0...1, times 255, truncated.
    ///
    /// In `official` range the decoder's -1...1 is clipped as it is, so that the darker half of all colours is black;
    /// `normalised` maps it to 0...1 first. Float32 in the order written; NaN counts as black.
    package static func gray(_ pixels: Pixels, range: RALUSettings.Gray) -> [UInt8] {
        let area = pixels.height * pixels.width
        return pixels.planes.withUnsafeBuffer { planes in
            (0..<area).map { pixel in
                var (red, green, blue) = (planes[pixel], planes[area + pixel], planes[2 * area + pixel])
                if range == .normalised {
                    red = red / 2 + 0.5
                    green = green / 2 + 0.5
                    blue = blue / 2 + 0.5
                }
                let bright: Float = (0.299 * red + 0.587 * green) + 0.114 * blue
                return bright > 0 ? UInt8(min(bright, 1) * 255) : 0
            }
        }
    }

    /// Indices, rising, of the `count` tokens with most edges.
    ///
    /// A total order, the same on every machine: sums falling, then a hash of seed and index rising, then the index.
    package func selection(_ count: Int, seed: UInt64) -> [Int] {
        let keys = sums.indices.map { Self.hash(seed: seed, index: UInt64($0)) }
        return Array(
            sums.indices.sorted { (sums[$1], keys[$0], $0) < (sums[$0], keys[$1], $1) }.prefix(count)
        ).sorted()
    }

    /// The noise that makes the official rule choose as `selection(_:seed:)` does, for whoever repeats the run elsewhere.
    ///
    /// Not normals: the tokens' ranks by the same hash, so far apart that a millionth of them still shows beside the
    /// largest sum in float32, and less than one edge pixel. That holds for up to 32,640 tokens, 5,760 x 5,760 pixels.
    package func tieNoise(seed: UInt64) -> Tensor {
        let spacing: Float = 1e6 / 128
        let keys = sums.indices.map { Self.hash(seed: seed, index: UInt64($0)) }
        var noise = Tensor(repeating: 0, shape: [sums.count])
        for (rank, index) in sums.indices.sorted(by: { (keys[$1], $1) < (keys[$0], $0) }).enumerated() {
            noise[index] = Float(rank) * spacing
        }
        return noise
    }

    /// Sums with the given noise added, a millionth of it, in float32: the official way to separate patches without edges.
    ///
    /// Float32 loses normals beside any sum that is not 0; noise as `tieNoise(seed:)` makes it shows beside every sum.
    package func noisySums(_ noise: Tensor) -> Tensor {
        promise(noise.count == sums.count, "\(noise.count) noise values for \(sums.count) tokens")
        return Tensor(zip(sums, noise.values).map { Float($0) + 1e-6 * $1 }, shape: [sums.count])
    }

    /// Indices, rising, of the `count` largest sums; of equal ones the first.
    package static func selection(_ count: Int, noisySums: Tensor) -> [Int] {
        let sums = noisySums.values
        return Array(sums.indices.sorted { (sums[$1], $0) < (sums[$0], $1) }.prefix(count)).sorted()
    }

    private static func sums(_ edges: [UInt8], rows: Int, columns: Int) -> [Int] {
        var sums = [Int](repeating: 0, count: rows / patch * (columns / patch))
        for y in 0..<rows {
            for x in 0..<columns { sums[y / patch * (columns / patch) + x / patch] += Int(edges[y * columns + x]) }
        }
        return sums
    }

    /// A well mixed number for a token.
    ///
    /// Source: the finaliser of SplitMix64, Steele et al. 2014, applied twice.
    private static func hash(seed: UInt64, index: UInt64) -> UInt64 { mixed(mixed(seed) ^ index) }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
