internal import Glibc

/// Counter-based random numbers: the same key and position give the same value, whatever was drawn before.
///
/// Philox4x32 with 10 rounds. Key: the seed's two words. Counter: (block low, block high, index, purpose), so that
/// every use of an image's seed has 2^66 values of its own.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
package struct Philox: Sendable, Equatable {
    /// The image's seed.
    package let seed: UInt64
    /// What the numbers are for; each purpose of one seed is a stream of its own.
    package let purpose: UInt32
    /// Which of several streams of that purpose, for instance a stage.
    package let index: UInt32

    /// Names a stream.
    package init(seed: UInt64, purpose: UInt32, index: UInt32 = 0) {
        self.seed = seed
        self.purpose = purpose
        self.index = index
    }

    /// Four random words, the `number`-th block of the stream.
    package func block(_ number: UInt64) -> SIMD4<UInt32> {
        Philox.rounds(
            counter: SIMD4(UInt32(truncatingIfNeeded: number), UInt32(number >> 32), index, purpose),
            key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(seed >> 32)))
    }

    /// The bijection itself, with the constants of the paper's table 2.
    package static func rounds(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var (x, k) = (counter, key)
        for _ in 0..<10 {
            let left = UInt64(0xD251_1F53) * UInt64(x[0])
            let right = UInt64(0xCD9E_8D57) * UInt64(x[2])
            x = SIMD4(
                UInt32(right >> 32) ^ x[1] ^ k[0], UInt32(truncatingIfNeeded: right),
                UInt32(left >> 32) ^ x[3] ^ k[1], UInt32(truncatingIfNeeded: left))
            k = SIMD2(k[0] &+ 0x9E37_79B9, k[1] &+ 0xBB67_AE85)
        }
        return x
    }

    /// Standard normal values at positions `start ..< start + count` of the stream.
    ///
    /// Values 4b and 4b + 1 come from words 0 and 1 of block b, values 4b + 2 and 4b + 3 from words 2 and 3, by
    /// Box-Muller in double precision: `r cos t` and `r sin t` with `r = sqrt(-2 ln((w + 1) / 2^32))`, `t = 2 pi w' / 2^32`.
    package func normals(_ count: Int, from start: UInt64 = 0) -> Tensor {
        var result = Tensor(uninitialized: [count])
        result.withUnsafeMutableBuffer { out in
            var position = start
            var filled = 0
            while filled < count {
                let words = block(position / 4)
                let (low, high) = (Philox.pair(words[0], words[1]), Philox.pair(words[2], words[3]))
                let values = SIMD4(lowHalf: low, highHalf: high)
                for lane in Int(position % 4)..<4 where filled < count {
                    out[filled] = values[lane]
                    filled += 1
                    position += 1
                }
            }
        }
        return result
    }

    private static func pair(_ first: UInt32, _ second: UInt32) -> SIMD2<Float> {
        let radius = (-2 * log((Double(first) + 1) * 0x1p-32)).squareRoot()
        let angle = 2 * Double.pi * Double(second) * 0x1p-32
        return SIMD2(Float(radius * cos(angle)), Float(radius * sin(angle)))
    }
}
