import CKernels
import Foundation
import Plan
import Tensors
import Testing

/// Attention in int8: scores of bytes where the class has them, else of bf16.
@Suite struct ByteAttentionTests {
    private func hasBytes(_ compute: Compute) -> Bool {
        compute.kernels.computing(in: .int8)?.name.contains("-wide") == false
    }

    private var computes: [Compute] {
        fusedClasses.flatMap { kernels in (1...3).map { Compute(threads: $0, kernels: kernels) } }
    }

    /// What the bytes of each head of each row stand for: 127 steps either way of its largest value.
    private func inBytes(_ x: Tensor) -> Tensor {
        var y = x
        let width = x.shape[2]
        for first in stride(from: 0, to: x.count, by: width) {
            let top = x.values[first..<first + width].reduce(0) { max($0, abs($1)) }
            guard top >= 0x1p-100 else { continue }
            let magic: Float = 12_582_912
            for index in first..<first + width {
                y[index] = (magic.addingProduct(x[index], 127 / top) - magic) * (top / 127)
            }
        }
        return y
    }

    @Test(arguments: [
        (7, 15, 2, 16), (49, 100, 2, 72), (50, 800, 2, 64), (3, 390, 1, 33), (60, 500, 1, 128), (9, 767, 1, 16),
        (9, 769, 1, 80), (5, 100, 1, 512),
    ])
    func `it is near double precision of the integers, and classes of one name agree to the bit`(
        queries: Int, keys: Int, heads: Int, width: Int
    ) throws {
        let q = noise([queries, heads, width], seed: 1, scale: 2)
        let (k, v) = (noise([keys, heads, width], seed: 2), noise([keys, heads, width], seed: 3))
        let bias = noise([heads, queries, keys], seed: 4)
        let scale = 1 / Float(width).squareRoot()
        let (bytesOfQ, bytesOfK, shortV) = (inBytes(q), inBytes(k), rounded(v))
        for (bias, causal) in [(nil, false), (bias, false), (nil, true)] {
            let exact = equalComputes[0].attention(
                q: bytesOfQ, k: bytesOfK, v: shortV, scale: scale, bias: bias, causal: causal)
            var known: [String: Tensor] = [:]
            for compute in computes where hasBytes(compute) {
                let y = compute.attention(q: q, k: k, v: v, scale: scale, bias: bias, causal: causal, format: .int8)
                // Only the shares are rounded besides: 2^-9 each, with errors of both signs.
                expectNear(y, exact.values.map(Double.init), absolute: 6e-3, compute.kernels.instructions)
                let name = try #require(compute.kernels.computing(in: .int8)?.name)
                #expect(y == known[name] ?? y, "\(compute.kernels.instructions)")
                known[name] = y
            }
            #expect(!known.isEmpty)
        }
    }

    @Test func `without bytes, and with wider heads, it is that of bf16`() {
        for compute in computes {
            for width in [64, 513] where width == 513 || !hasBytes(compute) {
                let (q, k) = (noise([20, 1, width], seed: 1), noise([90, 1, width], seed: 2))
                let (bytes, short) = (
                    compute.attention(q: q, k: k, v: k, scale: 0.1, format: .int8),
                    compute.attention(q: q, k: k, v: k, scale: 0.1, format: .bf16)
                )
                #expect(bytes == short, "\(compute.kernels.instructions)")
            }
        }
    }

    @Test func `queries and keys of zeros see all keys alike, and what is not finite stays visible`() {
        let (queries, keys, width) = (12, 50, 24)
        let (q, k) = (noise([queries, 1, width], seed: 1), noise([keys, 1, width], seed: 2))
        let v = rounded(noise([keys, 1, width], seed: 3))
        let mean = (0..<width).map { c in (0..<keys).reduce(0) { $0 + Double(v[$1 * width + c]) } / Double(keys) }
        for compute in computes {
            func attend(_ q: Tensor, _ k: Tensor) -> Tensor {
                compute.attention(q: q, k: k, v: v, scale: 0.3, format: .int8)
            }
            let whole = attend(q, k)
            var zeros = q
            for c in 0..<width { zeros[5 * width + c] = 0 }
            let y = attend(zeros, k)
            expectNear(y.rows(5..<6), mean, absolute: 1e-5, compute.kernels.instructions)
            #expect(y.rows(0..<5) == whole.rows(0..<5) && y.rows(6..<queries) == whole.rows(6..<queries))
            let alike = attend(q, Tensor(shape: k.shape))
            expectNear(alike.rows(3..<4), mean, absolute: 1e-5, compute.kernels.instructions)
            for bad in [Float.nan, .infinity, -.infinity] {
                var (oneQuery, oneKey) = (q, k)
                oneQuery[7 * width + 3] = bad
                let rows = attend(oneQuery, k)
                #expect(rows.rows(7..<8).values.allSatisfy { $0.isNaN }, "\(bad), \(compute.kernels.instructions)")
                #expect(rows.rows(0..<7) == whole.rows(0..<7) && rows.rows(8..<queries) == whole.rows(8..<queries))
                oneKey[20 * width + 1] = .nan
                #expect(attend(q, oneKey).values.allSatisfy { $0.isNaN }, "\(compute.kernels.instructions)")
            }
        }
    }
}
