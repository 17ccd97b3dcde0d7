/// The generator MT19937 that PyTorch's CPU generator is built on.
///
/// Only for numbers that must equal PyTorch's; everything of ours uses `Philox`.
/// Source: Matsumoto and Nishimura 1998; initialisation of their 2002 revision (`init_genrand`).
package struct MersenneTwister: Sendable {
    private static let size = 624
    private static let middle = 397
    private var state: [UInt32]
    private var next = MersenneTwister.size

    /// Fills the state from one word.
    package init(seed: UInt32) {
        state = [UInt32](repeating: seed, count: Self.size)
        for i in 1..<Self.size {
            state[i] = 1_812_433_253 &* (state[i - 1] ^ (state[i - 1] >> 30)) &+ UInt32(i)
        }
    }

    /// The next 32 random bits.
    package mutating func word() -> UInt32 {
        if next == Self.size { twist() }
        var y = state[next]
        next += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C_5680
        y ^= (y << 15) & 0xEFC6_0000
        return y ^ (y >> 18)
    }

    /// The next 64 random bits: the first word drawn is the upper half.
    package mutating func doubleWord() -> UInt64 {
        let upper = UInt64(word())
        return upper << 32 | UInt64(word())
    }

    private mutating func twist() {
        for i in 0..<Self.size {
            let y = (state[i] & 0x8000_0000) | (state[(i + 1) % Self.size] & 0x7FFF_FFFF)
            state[i] = state[(i + Self.middle) % Self.size] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        next = 0
    }
}
