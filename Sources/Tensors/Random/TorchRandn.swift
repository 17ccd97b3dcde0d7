internal import Glibc

/// The values of `torch.randn(count)` on the CPU in float32 after `torch.manual_seed(seed)`, shape (count).
///
/// Equal to 1e-6: PyTorch's vectorised sine and logarithm differ from ours in the last bits. From 16 values on it fills
/// the array with 24-bit uniforms and turns each run of 16 into normals; the last 16 of a count that is no multiple of 16
/// are drawn afresh. Below 16 it draws 53-bit uniforms in pairs and keeps the second normal of a pair for the next value.
/// Source: behaviour of PyTorch 2 (`normal_fill` and `normal_distribution<double>`), checked by the fixture of the tests.
package func torchRandn(seed: UInt64, count: Int) -> Tensor {
    // PyTorch's engine keeps the low word of the seed.
    var generator = MersenneTwister(seed: UInt32(truncatingIfNeeded: seed))
    var result = Tensor(uninitialized: [count])
    result.withUnsafeMutableBuffer { out in
        if count < 16 {
            fillInPairs(out, &generator)
        } else {
            fillInRuns(out, &generator)
        }
    }
    return result
}

private func fillInRuns(_ out: UnsafeMutableBufferPointer<Float>, _ generator: inout MersenneTwister) {
    func uniform() -> Float { Float(generator.word() & 0xFF_FFFF) * 0x1p-24 }
    for i in out.indices { out[i] = uniform() }
    for start in stride(from: 0, through: out.count - 16, by: 16) { turnNormal(out, from: start) }
    if out.count % 16 != 0 {
        for i in out.count - 16..<out.count { out[i] = uniform() }
        turnNormal(out, from: out.count - 16)
    }
}

/// Box-Muller on 16 uniforms: value j gives the radius, value j + 8 the angle.
private func turnNormal(_ out: UnsafeMutableBufferPointer<Float>, from start: Int) {
    // Not 2 * Float.pi: Swift rounds that towards zero, C to nearest.
    let turn = Float(2 * Double.pi)
    for j in start..<start + 8 {
        let radius = sqrtf(-2 * logf(1 - out[j]))
        let angle = turn * out[j + 8]
        out[j] = radius * cosf(angle)
        out[j + 8] = radius * sinf(angle)
    }
}

private func fillInPairs(_ out: UnsafeMutableBufferPointer<Float>, _ generator: inout MersenneTwister) {
    func uniform() -> Double { Double(generator.doubleWord() & (1 << 53 - 1)) * 0x1p-53 }
    for i in stride(from: 0, to: out.count, by: 2) {
        let turn = uniform()
        let radius = (-2 * log1p(-uniform())).squareRoot()
        out[i] = Float(radius * cos(2 * .pi * turn))
        if i + 1 < out.count { out[i + 1] = Float(radius * sin(2 * .pi * turn)) }
    }
}
