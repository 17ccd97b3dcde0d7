internal import CKernels

extension Compute {
    /// Multi-head attention, `softmax(q kᵀ * scale + bias) v` for each head.
    ///
    /// `q` is (queries, heads, headWidth), `k` and `v` are (keys, heads, headWidth), the result has the shape of `q`.
    /// `scale` is 1 / sqrt(headWidth) for most models, 1 for T5. `bias`, (heads, queries, keys), is added to the logits.
    /// With `causal` a query sees only keys at its own index and before. A query's bits depend on itself, all keys
    /// and values alone; f32/attention.h in CKernels has the order of summation.
    package func attention(
        q: Tensor, k: Tensor, v: Tensor, scale: Float, bias: Tensor? = nil, causal: Bool = false
    ) -> Tensor {
        let (queries, heads, width, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[0])
        precondition(k.shape == [keys, heads, width] && v.shape == k.shape, "q \(q.shape) k \(k.shape) v \(v.shape)")
        precondition(bias.map { $0.shape == [heads, queries, keys] } ?? true, "bias \(bias?.shape ?? []) q \(q.shape)")
        precondition(keys > 0 || queries == 0, "\(queries) queries and no keys")
        var y = Tensor(uninitialized: q.shape)
        guard q.count > 0 else { return y }
        y.withUnsafeMutableBuffer { out in
            withPointer(q) { q in
                withPointer(bias) { bias in
                    guard let q, let out = out.baseAddress else { return }
                    // Packed keys and values of a few heads at a time, so that memory stays bounded.
                    let heap = PackedHeads(keys: keys, width: width, compute: self)
                    let group = min(max((1 << 24) / heap.valuesPerHead, 1), heads)
                    for first in stride(from: 0, to: heads, by: group) {
                        let range = first..<min(first + group, heads)
                        let packed = heap.pack(k, v, heads: range)
                        attend(
                            q, packed, heap, heads: range, of: heads, queries: queries, scale: scale, bias: bias,
                            causal: causal, into: out)
                    }
                }
            }
        }
        return y
    }

    private func attend(
        _ q: UnsafePointer<Float>, _ packed: Tensor, _ layout: PackedHeads, heads: Range<Int>, of headCount: Int,
        queries: Int, scale: Float, bias: UnsafePointer<Float>?, causal: Bool, into out: UnsafeMutablePointer<Float>
    ) {
        let (block, width) = (Int(ABZ_QUERY_BLOCK), layout.width)
        let blocks = (queries + block - 1) / block
        let stride = headCount * width
        packed.withUnsafeBuffer { packed in
            nonisolated(unsafe) let (q, bias, out, panels) = (q, bias, out, packed.baseAddress)
            pool.run(heads.count * blocks) { index in
                let (number, first) = (index / blocks, index % blocks * block)
                let head = heads.lowerBound + number
                let start = first * stride + head * width
                let keyPanels = panels.map { $0 + number * layout.valuesPerHead }
                withScratch(block * (Int(ABZ_KEY_BLOCK) + width + layout.paddedWidth)) { scratch in
                    var task = abz_attention(
                        q: q + start, q_stride: stride, first_query: first, queries: min(block, queries - first),
                        k_panels: keyPanels, v_panels: keyPanels.map { $0 + layout.paddedKeys * width },
                        keys: layout.keys, padded_keys: layout.paddedKeys, width: width, scale: scale,
                        bias: bias.map { $0 + (head * queries + first) * layout.keys }, causal: causal ? 1 : 0,
                        out: out + start, out_stride: stride, scratch: scratch)
                    kernels.kernels.pointee.attend(&task)
                }
            }
        }
    }
}

/// Keys and values of some heads in panels: for each head the keys, then the values.
private struct PackedHeads: Sendable {
    let keys: Int
    let width: Int
    let compute: Compute

    var paddedKeys: Int { rounded(keys, up: 16) }
    var paddedWidth: Int { rounded(width, up: 16) }
    var valuesPerHead: Int { paddedKeys * (width + paddedWidth) }

    func pack(_ k: Tensor, _ v: Tensor, heads: Range<Int>) -> Tensor {
        let stride = k.shape[1] * width
        let block = Int(ABZ_KEY_BLOCK)
        let blocks = (keys + block - 1) / block
        let columns = compute.kernels.kernels.pointee.panel_columns
        var packed = Tensor(uninitialized: [heads.count, valuesPerHead])
        packed.withUnsafeMutableBuffer { packed in
            withPointer(k) { k in
                withPointer(v) { v in
                    guard let k, let v, let packed = packed.baseAddress else { return }
                    nonisolated(unsafe) let (keyRows, valueRows, target) = (k, v, packed)
                    compute.pool.run(heads.count * blocks) { index in
                        let (number, first) = (index / blocks, index % blocks * block)
                        let head = (heads.lowerBound + number) * width
                        let base = target + number * valuesPerHead
                        let stored = min(block, paddedKeys - first)
                        for panel in Swift.stride(from: first, to: first + stored, by: columns) {
                            abz_pack_panel(
                                keyRows + panel * stride + head, stride, min(columns, keys - panel), width,
                                min(columns, paddedKeys - panel), base + panel * width)
                        }
                        abz_pack_values(
                            valueRows + first * stride + head, stride, min(block, keys - first), stored, width, columns,
                            base + paddedKeys * width + first * paddedWidth)
                    }
                }
            }
        }
        return packed
    }
}
