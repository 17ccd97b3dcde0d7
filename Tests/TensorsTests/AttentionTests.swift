import Foundation
import Tensors
import Testing

@Suite struct AttentionTests {
    /// softmax(q kᵀ scale + bias) v in double precision.
    private func reference(_ q: Tensor, _ k: Tensor, _ v: Tensor, scale: Float, bias: Tensor?, causal: Bool) -> [Double]
    {
        let (queries, heads, width, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[0])
        let (q, k, v, bias) = (q.values, k.values, v.values, bias?.values)
        var y = [Double](repeating: 0, count: q.count)
        for head in 0..<heads {
            for query in 0..<queries {
                let at = (query * heads + head) * width
                let logits = (0..<(causal ? min(query + 1, keys) : keys)).map { key in
                    var dot = 0.0
                    for c in 0..<width { dot += Double(q[at + c]) * Double(k[(key * heads + head) * width + c]) }
                    return dot * Double(scale) + Double(bias?[(head * queries + query) * keys + key] ?? 0)
                }
                let top = logits.max() ?? 0
                let total = logits.reduce(0) { $0 + exp($1 - top) }
                for (key, logit) in logits.enumerated() {
                    let share = exp(logit - top) / total
                    for c in 0..<width { y[at + c] += share * Double(v[(key * heads + head) * width + c]) }
                }
            }
        }
        return y
    }

    struct Shape: CustomTestStringConvertible {
        let (queries, keys, heads, width): (Int, Int, Int, Int)
        var bias = false
        var causal = false
        var testDescription: String {
            "\(queries) x \(keys), \(heads) x \(width)\(bias ? " bias" : "")\(causal ? " causal" : "")"
        }
    }

    @Test(arguments: [
        Shape(queries: 1, keys: 1, heads: 1, width: 1), Shape(queries: 7, keys: 15, heads: 2, width: 16),
        Shape(queries: 8, keys: 17, heads: 3, width: 7), Shape(queries: 49, keys: 100, heads: 2, width: 72),
        Shape(queries: 50, keys: 400, heads: 2, width: 32), Shape(queries: 3, keys: 800, heads: 1, width: 128),
        Shape(queries: 17, keys: 17, heads: 2, width: 64, bias: true),
        Shape(queries: 10, keys: 390, heads: 2, width: 20, bias: true),
        Shape(queries: 77, keys: 77, heads: 2, width: 16, causal: true),
        Shape(queries: 450, keys: 450, heads: 1, width: 33, bias: true, causal: true),
    ])
    func `Values are near double precision and equal in all classes and thread counts`(shape: Shape) {
        let q = noise([shape.queries, shape.heads, shape.width], seed: 1, scale: 2)
        let k = noise([shape.keys, shape.heads, shape.width], seed: 2)
        let v = noise([shape.keys, shape.heads, shape.width], seed: 3)
        let bias = shape.bias ? noise([shape.heads, shape.queries, shape.keys], seed: 4) : nil
        let scale = 1 / Float(shape.width).squareRoot()
        let expected = reference(q, k, v, scale: scale, bias: bias, causal: shape.causal)
        expectEqualBits { compute in
            let y = compute.attention(q: q, k: k, v: v, scale: scale, bias: bias, causal: shape.causal)
            expectNear(y, expected, absolute: 2e-6, compute.kernels.instructions)
            return y
        }
    }

    @Test func `A query alone gives the same bits as among others`() {
        let (q, k, v) = (noise([130, 2, 24]), noise([500, 2, 24], seed: 2), noise([500, 2, 24], seed: 3))
        for kernels in fusedClasses {
            let compute = Compute(threads: 2, kernels: kernels)
            let whole = compute.attention(q: q, k: k, v: v, scale: 0.2)
            for rows in [0..<1, 47..<49, 5..<100, 129..<130] {
                #expect(compute.attention(q: q.rows(rows), k: k, v: v, scale: 0.2) == whole.rows(rows))
            }
        }
    }

    @Test func `A causal query is not touched by keys after it`() {
        let (q, k, v) = (noise([900, 1, 8]), noise([900, 1, 8], seed: 2), noise([900, 1, 8], seed: 3))
        for kernels in fusedClasses {
            let compute = Compute(threads: 2, kernels: kernels)
            let whole = compute.attention(q: q, k: k, v: v, scale: 0.3, causal: true)
            for count in [1, 16, 383, 384, 385, 800] {
                let part = compute.attention(
                    q: q.rows(0..<count), k: k.rows(0..<count), v: v.rows(0..<count), scale: 0.3, causal: true)
                #expect(part == whole.rows(0..<count), "\(count) queries")
            }
        }
    }

    @Test func `Huge logits and masked keys stay finite`() {
        var bias = Tensor(repeating: 0, shape: [1, 5, 40])
        for key in 3..<40 { bias[2 * 40 + key] = -.infinity }
        let (q, k, v) = (noise([5, 1, 16], scale: 1000), noise([40, 1, 16], seed: 2), noise([40, 1, 16], seed: 3))
        let expected = reference(q, k, v, scale: 1, bias: bias, causal: false)
        expectEqualBits { compute in
            let y = compute.attention(q: q, k: k, v: v, scale: 1, bias: bias)
            expectNear(y, expected, absolute: 2e-3, compute.kernels.instructions)
            return y
        }
    }
}
