internal import CKernels
package import Plan

extension Compute {
    /// Multi-head attention, `softmax(q kᵀ * scale + bias) v` for each head.
    ///
    /// `q` is (queries, heads, headWidth), `k` and `v` are (keys, heads, headWidth), the result has the shape of `q`.
    /// `scale`, above 0, is 1 / sqrt(headWidth) for most models, 1 for T5. `bias`, (heads, queries, keys), is added to the logits.
    /// With `causal` a query sees only keys at its own index and before. A query's bits depend on itself, all keys
    /// and values alone; attention.h in CKernels has the order of summation. In the formats bf16 and int8 its two
    /// products are bf16, all between and around them f32.
    package func attention(
        q: Tensor, k: Tensor, v: Tensor, scale: Float, bias: Tensor? = nil, causal: Bool = false,
        format: ComputeFormat = .f32
    ) -> Tensor {
        let (queries, heads, width, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[0])
        precondition(k.shape == [keys, heads, width] && v.shape == k.shape, "q \(q.shape) k \(k.shape) v \(v.shape)")
        precondition(bias.map { $0.shape == [heads, queries, keys] } ?? true, "bias \(bias?.shape ?? []) q \(q.shape)")
        precondition(keys > 0 || queries == 0, "\(queries) queries and no keys")
        precondition(scale > 0, "scale \(scale)")
        var y = Tensor(uninitialized: q.shape)
        guard q.count > 0 else { return y }
        timed(.attention) {
            y.withUnsafeMutableBuffer { out in
                withPointer(q) { q in
                    withPointer(bias) { bias in
                        guard let q, let out = out.baseAddress else { return }
                        // Packed keys and values of a few heads at a time, so that memory stays bounded.
                        let layout = PackedHeads(keys: keys, width: width, format: format, compute: self)
                        let group = min(max((1 << 26) / layout.bytesPerHead, 1), heads)
                        for first in stride(from: 0, to: heads, by: group) {
                            let range = first..<min(first + group, heads)
                            let packed = layout.pack(k, v, heads: range)
                            attend(
                                q, packed, layout, heads: range, of: heads, queries: queries, scale: scale, bias: bias,
                                causal: causal, into: out)
                        }
                    }
                }
            }
        }
        return y
    }

    private func attend(
        _ q: UnsafePointer<Float>, _ packed: AlignedMemory, _ layout: PackedHeads, heads: Range<Int>, of headCount: Int,
        queries: Int, scale: Float, bias: UnsafePointer<Float>?, causal: Bool, into out: UnsafeMutablePointer<Float>
    ) {
        let (block, width) = (Int(ABZ_QUERY_BLOCK), layout.width)
        let blocks = (queries + block - 1) / block
        let stride = headCount * width
        let table = kernels.kernels.pointee
        let attend = layout.format == .f32 ? table.attend : table.attend_bf16
        nonisolated(unsafe) let (q, bias, out) = (q, bias, out)
        pool.run(heads.count * blocks) { index in
            let (number, first) = (index / blocks, index % blocks * block)
            let head = heads.lowerBound + number
            let start = first * stride + head * width
            let keyPanels = packed.base + number * layout.bytesPerHead
            withScratch(block * (layout.block + 2 * layout.paddedWidth)) { scratch in
                var task = abz_attention(
                    q: q + start, q_stride: stride, first_query: first, queries: min(block, queries - first),
                    k_panels: keyPanels, v_panels: keyPanels + layout.keyBytes, v_panel_columns: layout.valueColumns,
                    keys: layout.keys, padded_keys: layout.paddedKeys, width: width, scale: scale,
                    bias: bias.map { $0 + (head * queries + first) * layout.keys }, causal: causal ? 1 : 0,
                    out: out + start, out_stride: stride, scratch: scratch)
                attend?(&task)
            }
        }
        withExtendedLifetime(packed) {}
    }
}

/// Keys and values of some heads in panels: for each head the keys, then the values.
private struct PackedHeads: Sendable {
    let keys: Int
    let width: Int
    let format: ComputeFormat
    let compute: Compute
    let multiplier: Multiplier

    init(keys: Int, width: Int, format: ComputeFormat, compute: Compute) {
        (self.keys, self.width, self.format, self.compute) = (keys, width, format, compute)
        multiplier = compute.kernels.attention(format)
    }

    /// Keys of a step of the online softmax.
    var block: Int { Int(format == .f32 ? ABZ_KEY_BLOCK : ABZ_SHORT_KEY_BLOCK) }
    var paddedKeys: Int { rounded(keys, up: 16) }
    var paddedWidth: Int { rounded(width, up: 16) }
    /// Columns of a panel of values: the width in equal parts, since a narrow last panel would take as long as a wider one.
    var valueColumns: Int {
        let most = compute.kernels.kernels.pointee.panel_columns
        let parts = (paddedWidth + most - 1) / most
        return rounded((paddedWidth + parts - 1) / parts, up: 16)
    }
    var keyBytes: Int { multiplier.bytes(columns: paddedKeys, depth: width) }
    var bytesPerHead: Int { keyBytes + multiplier.bytes(columns: paddedWidth, depth: paddedKeys) }

    func pack(_ k: Tensor, _ v: Tensor, heads: Range<Int>) -> AlignedMemory {
        let stride = k.shape[1] * width
        let blocks = (keys + block - 1) / block
        let columns = compute.kernels.kernels.pointee.panel_columns
        let packed = AlignedMemory(count: heads.count * bytesPerHead)
        withPointer(k) { k in
            withPointer(v) { v in
                guard let k, let v else { return }
                nonisolated(unsafe) let (keyRows, valueRows) = (k, v)
                compute.pool.run(heads.count * blocks) { index in
                    let (number, first) = (index / blocks, index % blocks * block)
                    let head = (heads.lowerBound + number) * width
                    let base = packed.base + number * bytesPerHead
                    let stored = min(block, paddedKeys - first)
                    for panel in Swift.stride(from: first, to: first + stored, by: columns) {
                        multiplier.kernels.pack(
                            keyRows + panel * stride + head, stride, min(columns, keys - panel), width,
                            min(columns, first + stored - panel),
                            base + multiplier.bytes(columns: panel, depth: width), nil, nil)
                    }
                    multiplier.kernels.pack_transposed(
                        valueRows + first * stride + head, stride, min(block, keys - first), stored, width,
                        valueColumns,
                        base + keyBytes + multiplier.bytes(columns: paddedWidth, depth: first))
                }
            }
        }
        return packed
    }
}
