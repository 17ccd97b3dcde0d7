import Tensors
import Testing

/// Lengths around the kernels' steps of 8 and 16.
let tails = [0, 1, 7, 8, 15, 16, 17, 100]

/// Seeded normal values, checked to vary: a constant would hide every mistake in an index.
func noise(_ shape: [Int], seed: UInt64 = 1, scale: Float = 1) -> Tensor {
    var tensor = Philox(seed: seed, purpose: 99).normals(shape.reduce(1, *)).reshaped(shape)
    tensor.withUnsafeMutableBuffer { for i in $0.indices { $0[i] *= scale } }
    #expect(tensor.count == 0 || Set(tensor.values).count > tensor.count * 9 / 10, "random values repeat")
    return tensor
}

/// The classes of this processor that promise equal bits in f32 and int8, and in bf16 where their names agree.
let fusedClasses = KernelClass.supported.filter { $0 != "openblas" }.compactMap { KernelClass.named($0) }

/// Everything that must not change a bit: each class, with 1 to 4 threads.
let equalComputes: [Compute] = fusedClasses.flatMap { kernels in
    (1...4).map { Compute(threads: $0, kernels: kernels) }
}

/// Expects values near a reference of double precision: `absolute` plus 2^-20 of the reference.
func expectNear(
    _ actual: Tensor, _ expected: [Double], absolute: Double, _ note: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(actual.count == expected.count, sourceLocation: sourceLocation)
    let values = actual.values
    for i in values.indices where !(abs(Double(values[i]) - expected[i]) <= absolute + 0x1p-20 * abs(expected[i])) {
        Issue.record("\(note) index \(i): \(values[i]), expected \(expected[i])", sourceLocation: sourceLocation)
        return
    }
}

/// The nearest bf16 number, ties to even.
func bf16(_ x: Float) -> Float {
    let u = x.bitPattern
    return Float(bitPattern: (u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF_0000)
}

/// All values as the nearest bf16 numbers.
func rounded(_ x: Tensor) -> Tensor { Tensor(x.values.map(bf16), shape: x.shape) }

/// Expects the same bits from every class and thread count.
func expectEqualBits(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (Compute) -> Tensor
) {
    let first = body(equalComputes[0])
    for compute in equalComputes.dropFirst() {
        let here = "\(compute.kernels.instructions), \(compute.pool.threads) threads"
        #expect(body(compute) == first, "\(here)", sourceLocation: sourceLocation)
    }
}
