internal import Glibc

extension Compute {
    /// Multi-head attention, `softmax(q kᵀ * scale + bias) v` for each head.
    ///
    /// - Parameters:
    ///   - q: (queries, heads, headWidth)
    ///   - k: (keys, heads, headWidth)
    ///   - v: (keys, heads, headWidth)
    ///   - scale: 1 / sqrt(headWidth) for most models, 1 for T5.
    ///   - bias: (heads, queries, keys) added to the logits, or nil.
    ///   - causal: whether a query sees only keys at its own index and before.
    /// - Returns: (queries, heads, headWidth)
    package func attention(
        q: Tensor, k: Tensor, v: Tensor, scale: Float, bias: Tensor? = nil, causal: Bool = false
    ) -> Tensor {
        let (queries, heads, width, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[0])
        precondition(k.shape == [keys, heads, width] && v.shape == k.shape, "q \(q.shape) k \(k.shape) v \(v.shape)")
        var y = Tensor(repeating: 0, shape: q.shape)
        y.withUnsafeMutableBuffer { out in
            for head in 0..<heads {
                for query in 0..<queries {
                    let visible = causal ? query + 1 : keys
                    var logits = [Float](repeating: 0, count: visible)
                    for key in 0..<visible {
                        var dot: Float = 0
                        for c in 0..<width {
                            dot.addProduct(q[(query * heads + head) * width + c], k[(key * heads + head) * width + c])
                        }
                        logits[key] = dot * scale + (bias?[(head * queries + query) * keys + key] ?? 0)
                    }
                    let top = logits.max() ?? 0
                    var total: Float = 0
                    for key in 0..<visible {
                        logits[key] = expf(logits[key] - top)
                        total += logits[key]
                    }
                    for key in 0..<visible {
                        for c in 0..<width {
                            out[(query * heads + head) * width + c] +=
                                logits[key] / total * v[(key * heads + head) * width + c]
                        }
                    }
                }
            }
        }
        return y
    }
}
