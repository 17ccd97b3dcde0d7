internal import DiT
internal import Plan
internal import Tensors
internal import Wire

/// Hidden states on the wire: rows of text and image in the plan's format, the rest bit for bit.
extension Stream {
    /// The arrays of an activation.
    func wireTensors(_ format: WireFormat) -> [WireTensor] {
        text.wireRows(.text, .textScales, format) + image.wireRows(.image, .imageScales, format) + [
            WireTensor(.vector, vector), WireTensor(.positions, positions),
        ]
    }
}

extension Stream {
    /// Rows of text and image.
    var rows: Int { text.shape[0] + image.shape[0] }

    /// Bytes of these rows in a message: what credits count.
    func hiddenBytes(_ format: WireFormat) -> Int { rows * format.rowBytes(image.width) }
}

extension ModelFacts {
    /// Rows of the largest activation.
    var mostRows: Int { maxTokens + maxTextLength }
}

extension Message {
    /// Rows of hidden state, of any number up to `limit`.
    ///
    /// - Throws: `FrameError` when they are missing, have another format or width, or are too many or none.
    func rows(
        _ name: TensorName, _ scales: TensorName, _ format: WireFormat, width: Int, upTo limit: Int, from peer: String
    ) throws(FrameError) -> Tensor {
        let type: TensorType =
            switch format {
            case .f32: .f32
            case .bf16: .bf16
            case .int8: .i8
            }
        let rows = try tensor(name, type, dims: [nil, width], from: peer)
        guard 1...limit ~= rows.dims[0] else {
            throw FrameError(.tensor(name, "has \(rows.dims[0]) rows, 1...\(limit) needed"), peer: peer)
        }
        switch format {
        case .f32: return Tensor(rows)
        case .bf16: return Tensor(bfloat16: rows.bytes, shape: rows.dims)
        case .int8:
            let scales = try tensor(scales, dims: [rows.dims[0], WireFormat.scales(width)], from: peer)
            return Tensor(quantised: rows.bytes, scales: Tensor(scales), shape: rows.dims, group: WireFormat.group)
        }
    }
}

extension Tensor {
    fileprivate func wireRows(_ name: TensorName, _ scales: TensorName, _ format: WireFormat) -> [WireTensor] {
        switch format {
        case .f32: return [WireTensor(name, self)]
        case .bf16: return [WireTensor(name, .bf16, dims: shape, bytes: bfloat16Bytes)]
        case .int8:
            let (bytes, factors) = quantisedRows(group: WireFormat.group)
            return [WireTensor(name, .i8, dims: shape, bytes: bytes), WireTensor(scales, factors)]
        }
    }
}
