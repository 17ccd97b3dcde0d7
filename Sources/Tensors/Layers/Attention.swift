internal import CKernels
package import Plan

extension Compute {
    /// Multi-head attention, `softmax(q kᵀ * scale + bias) v` for each head.
    ///
    /// `q` is (queries, heads, headWidth), `k` and `v` are (keys, heads, headWidth), the result has the shape of `q`.
    /// `scale`, above 0, is 1 / sqrt(headWidth) for most models, 1 for T5. `bias`, (heads, queries, keys), is added to the logits.
    /// With `causal` a query sees only keys at its own index and before. A query's bits depend on itself, all keys
    /// and values alone; attention.h in CKernels has the order of summation. In bf16 its two products are bf16, all between
    /// and around them f32. In int8 the first one is of integers where the class has bytes and heads are not wider than 512
    /// (21 to 22 % less time than in bf16, measured on Zen 4), else as in bf16.
    package func attention(
        q: Tensor, k: Tensor, v: Tensor, scale: Float, bias: Tensor? = nil, causal: Bool = false,
        format: ComputeFormat = .f32
    ) -> Tensor {
        let (queries, heads, width, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[0])
        promise(k.shape == [keys, heads, width] && v.shape == k.shape, "q \(q.shape) k \(k.shape) v \(v.shape)")
        promise(bias.map { $0.shape == [heads, queries, keys] } ?? true, "bias \(bias?.shape ?? []) q \(q.shape)")
        promise(keys > 0 || queries == 0, "\(queries) queries and no keys")
        promise(scale > 0, "scale \(scale)")
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

    /// The formats of attention's two products, queries by keys and shares by values; one where they are the same.
    package func attentionFormats(headWidth: Int) -> [ComputeFormat] {
        let scores = PackedHeads(keys: 1, width: headWidth, format: format, compute: self).scores
        return scores == format.attention ? [scores] : [scores, format.attention]
    }

    private func attend(
        _ q: UnsafePointer<Float>, _ packed: AlignedMemory, _ layout: PackedHeads, heads: Range<Int>, of headCount: Int,
        queries: Int, scale: Float, bias: UnsafePointer<Float>?, causal: Bool, into out: UnsafeMutablePointer<Float>
    ) {
        let (block, width) = (Int(ABZ_QUERY_BLOCK), layout.width)
        let blocks = (queries + block - 1) / block
        let stride = headCount * width
        let table = kernels.kernels.pointee
        let attend =
            switch layout.scores {
            case .f32: table.attend
            case .bf16: table.attend_bf16
            case .int8: table.attend_int8
            }
        nonisolated(unsafe) let (q, bias, out) = (q, bias, out)
        pool.run(heads.count * blocks) { index in
            let (number, first) = (index / blocks, index % blocks * block)
            let head = heads.lowerBound + number
            let start = first * stride + head * width
            let keyPanels = packed.base + number * layout.bytesPerHead
            withScratch(block * (layout.block + 2 * layout.paddedWidth)) { scratch in
                var task = abz_attention(
                    q: q + start, q_stride: stride, first_query: first, queries: min(block, queries - first),
                    k_panels: keyPanels, k_scales: layout.scales(keyPanels), k_sums: layout.sums(keyPanels),
                    v_panels: keyPanels + layout.keyBytes, v_panel_columns: layout.valueColumns,
                    keys: layout.keys, padded_keys: layout.paddedKeys, width: width, scale: scale,
                    bias: bias.map { $0 + (head * queries + first) * layout.keys }, causal: causal ? 1 : 0,
                    out: out + start, out_stride: stride, scratch: scratch)
                attend?(&task)
            }
        }
        withExtendedLifetime(packed) {}
    }
}

/// Keys and values of some heads in panels: for each head the keys, of int8 their scales and sums, then the values.
private struct PackedHeads: Sendable {
    let keys: Int
    let width: Int
    /// Format of the product of queries and keys.
    let scores: ComputeFormat
    private let compute: Compute
    private let keyMultiplier: Multiplier
    private let valueMultiplier: Multiplier

    init(keys: Int, width: Int, format: ComputeFormat, compute: Compute) {
        (self.keys, self.width, self.compute) = (keys, width, compute)
        let hasBytes = compute.kernels.kernels.pointee.attend_int8 != nil && width <= Int(ABZ_INT8_STRETCH)
        scores = format == .int8 && hasBytes ? .int8 : format.attention
        keyMultiplier = compute.kernels.multiplier(scores, exactIn: .f32)
        valueMultiplier = compute.kernels.multiplier(format.attention, exactIn: .f32)
    }

    /// Keys of a step of the online softmax.
    var block: Int { Int(scores == .f32 ? ABZ_KEY_BLOCK : ABZ_SHORT_KEY_BLOCK) }
    var paddedKeys: Int { rounded(keys, up: 16) }
    var paddedWidth: Int { rounded(width, up: 16) }
    /// Columns of a panel of values: the width in equal parts, since a narrow last panel would take as long as a wider one.
    var valueColumns: Int {
        let most = compute.kernels.kernels.pointee.panel_columns
        let parts = (paddedWidth + most - 1) / most
        return rounded((paddedWidth + parts - 1) / parts, up: 16)
    }
    private var panelBytes: Int { keyMultiplier.bytes(columns: paddedKeys, depth: width) }
    var keyBytes: Int { panelBytes + (scores == .int8 ? 8 * paddedKeys : 0) }
    var bytesPerHead: Int { keyBytes + valueMultiplier.bytes(columns: paddedWidth, depth: paddedKeys) }

    /// A head's scales of int8 keys.
    func scales(_ head: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Float>? {
        scores == .int8 ? (head + panelBytes).assumingMemoryBound(to: Float.self) : nil
    }

    /// A head's sums of int8 keys.
    func sums(_ head: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Int32>? {
        scores == .int8 ? (head + panelBytes + 4 * paddedKeys).assumingMemoryBound(to: Int32.self) : nil
    }

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
                        keyMultiplier.kernels.pack(
                            keyRows + panel * stride + head, stride, min(columns, keys - panel), width,
                            min(columns, first + stored - panel),
                            base + keyMultiplier.bytes(columns: panel, depth: width),
                            scales(base).map { $0 + panel }, sums(base).map { $0 + panel })
                    }
                    valueMultiplier.kernels.pack_transposed(
                        valueRows + first * stride + head, stride, min(block, keys - first), stored, width,
                        valueColumns,
                        base + keyBytes + valueMultiplier.bytes(columns: paddedWidth, depth: first))
                }
            }
        }
        return packed
    }
}
