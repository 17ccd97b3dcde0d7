extension Compute {
    /// Normalises each row to mean 0 and variance 1, then scales and shifts each channel.
    ///
    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, variance with divisor D.
    ///
    /// - Parameters:
    ///   - x: (rows, D)
    ///   - weight: (D) or nil for 1.
    ///   - bias: (D) or nil for 0.
    package func layerNorm(_ x: Tensor, weight: Tensor? = nil, bias: Tensor? = nil, epsilon: Float) -> Tensor {
        mapRows(x) { row in
            let count = Float(row.count)
            var sum: Float = 0
            for value in row { sum += value }
            let mean = sum / count
            var squares: Float = 0
            for value in row { squares += (value - mean) * (value - mean) }
            let factor = 1 / (squares / count + epsilon).squareRoot()
            for i in row.indices { row[i] = (row[i] - mean) * factor * (weight?[i] ?? 1) + (bias?[i] ?? 0) }
        }
    }

    /// Normalises each row without affine parameters, then modulates it: `norm(x) * (1 + scale) + shift`.
    ///
    /// - Parameters:
    ///   - x: (rows, D)
    ///   - scale: (D)
    ///   - shift: (D)
    package func modulatedNorm(_ x: Tensor, shift: Tensor, scale: Tensor, epsilon: Float) -> Tensor {
        var onePlusScale = scale
        onePlusScale.withUnsafeMutableBuffer { for i in $0.indices { $0[i] += 1 } }
        return layerNorm(x, weight: onePlusScale, bias: shift, epsilon: epsilon)
    }

    /// Divides each row by its root mean square, then scales each channel: `x / sqrt(mean(x²) + epsilon) * weight`.
    ///
    /// - Parameters:
    ///   - x: (..., D): heads are normalised separately when the tensor is (tokens, heads, headWidth).
    ///   - weight: (D)
    package func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float) -> Tensor {
        mapRows(x) { row in
            var squares: Float = 0
            for value in row { squares += value * value }
            let factor = 1 / (squares / Float(row.count) + epsilon).squareRoot()
            for i in row.indices { row[i] = row[i] * factor * weight[i] }
        }
    }

    /// Normalises groups of channels of a picture over space: PyTorch's GroupNorm.
    ///
    /// - Parameters:
    ///   - x: (channels, height, width)
    ///   - groups: a divisor of the channel count.
    ///   - weight: (channels)
    ///   - bias: (channels)
    package func groupNorm(_ x: Tensor, groups: Int, weight: Tensor, bias: Tensor, epsilon: Float) -> Tensor {
        let channels = x.shape[0]
        precondition(channels % groups == 0, "\(channels) channels in \(groups) groups")
        let area = x.count / channels
        let span = channels / groups * area
        var y = x
        y.withUnsafeMutableBuffer { buffer in
            for group in 0..<groups {
                let part = UnsafeMutableBufferPointer(rebasing: buffer[group * span..<(group + 1) * span])
                var sum = 0.0
                for value in part { sum += Double(value) }
                let mean = sum / Double(span)
                var squares = 0.0
                for value in part { squares += (Double(value) - mean) * (Double(value) - mean) }
                let factor = 1 / (squares / Double(span) + Double(epsilon)).squareRoot()
                for i in 0..<span {
                    let channel = group * (channels / groups) + i / area
                    part[i] = Float((Double(part[i]) - mean) * factor) * weight[channel] + bias[channel]
                }
            }
        }
        return y
    }

    private func mapRows(_ x: Tensor, _ body: (UnsafeMutableBufferPointer<Float>) -> Void) -> Tensor {
        var y = x
        let width = x.width
        y.withUnsafeMutableBuffer { buffer in
            for row in 0..<x.rowCount {
                body(UnsafeMutableBufferPointer(rebasing: buffer[row * width..<(row + 1) * width]))
            }
        }
        return y
    }
}
