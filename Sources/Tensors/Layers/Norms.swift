internal import CKernels
package import Plan

extension Compute {
    /// Normalises each row to mean 0 and variance 1, then scales and shifts each channel.
    ///
    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, variance with divisor D. `x` is (rows, D), `weight` (D) or
    /// nil for 1, `bias` (D) or nil for 0.
    package func layerNorm(_ x: Tensor, weight: Tensor? = nil, bias: Tensor? = nil, epsilon: Float) -> Tensor {
        let width = x.width
        promise(
            (weight?.count ?? width) == width && (bias?.count ?? width) == width,
            "\(x.shape), weight \(weight?.shape ?? []), bias \(bias?.shape ?? [])")
        return withPointer(weight) { weight in
            withPointer(bias) { bias in
                nonisolated(unsafe) let (weight, bias) = (weight, bias)
                return mapped(x, width: width) { x, y, rows in
                    kernels.kernels.pointee.layer_norm(x, y, weight, bias, rows.count, width, epsilon)
                }
            }
        }
    }

    /// Normalises each row without affine parameters, then modulates it: `norm(x) * (1 + scale) + shift`.
    ///
    /// `x` is (rows, D), `shift` and `scale` are (D).
    package func modulatedNorm(_ x: Tensor, shift: Tensor, scale: Tensor, epsilon: Float) -> Tensor {
        let onePlusScale = sum(scale, Tensor(repeating: 1, shape: scale.shape))
        return layerNorm(x, weight: onePlusScale, bias: shift, epsilon: epsilon)
    }

    /// The same, as an operand of layers in `format`: (rows, D).
    package func modulatedNorm(
        _ x: Tensor, shift: Tensor, scale: Tensor, epsilon: Float, format: ComputeFormat
    ) -> Operand {
        let width = x.width
        promise(shift.count == width && scale.count == width, "\(x.shape), \(shift.shape), \(scale.shape)")
        let rowCount = x.rowCount
        let onePlusScale = sum(scale, Tensor(repeating: 1, shape: scale.shape))
        return withPointer(x) { x in
            withPointer(onePlusScale) { weight in
                withPointer(shift) { bias in
                    nonisolated(unsafe) let (values, weight, bias) = (x, weight, bias)
                    return operand(rows: rowCount, depth: width, format: format) { operand, rows in
                        guard let values else { return }
                        withScratch(rows.count * width) { normed in
                            kernels.kernels.pointee.layer_norm(
                                values + rows.lowerBound * width, normed, weight, bias, rows.count, width, epsilon)
                            operand.write(normed, stride: width, rows: rows, columns: 0..<width)
                        }
                    }
                }
            }
        }
    }

    /// Divides each row by its root mean square, then scales each channel: `x / sqrt(mean(x²) + epsilon) * weight`.
    ///
    /// `x` is (..., D), so heads are normalised separately when it is (tokens, heads, headWidth); `weight` is (D).
    package func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float) -> Tensor {
        let width = x.width
        promise(weight.count == width, "\(x.shape), weight \(weight.shape)")
        return withPointer(weight) { weight in
            nonisolated(unsafe) let weight = weight
            return mapped(x, width: width) { x, y, rows in
                kernels.kernels.pointee.rms_norm(x, y, weight, rows.count, width, epsilon)
            }
        }
    }

    /// Normalises groups of channels of a picture over space: PyTorch's GroupNorm.
    ///
    /// `x` is (channels, height, width), `groups` divides the channel count, `weight` and `bias` are (channels).
    /// Mean and variance in double precision, from parts of a fixed length, so that threads do not show in the bits.
    package func groupNorm(_ x: Tensor, groups: Int, weight: Tensor, bias: Tensor, epsilon: Float) -> Tensor {
        let channels = x.shape[0]
        promise(groups > 0 && channels % groups == 0, "\(channels) channels in \(groups) groups")
        promise(weight.count == channels && bias.count == channels, "\(weight.shape) \(bias.shape) of \(x.shape)")
        guard x.count > 0 else { return x }
        let (area, span) = (x.count / channels, x.count / groups)
        let means = groupMeans(x, span: span, centers: [Double](repeating: 0, count: groups), power: 1)
        let variances = groupMeans(x, span: span, centers: means, power: 2)
        return mapped(x, width: area) { x, y, range in
            for channel in range {
                let group = channel / (channels / groups)
                let factor = Double(weight[channel]) / (variances[group] + Double(epsilon)).squareRoot()
                let offset = (channel - range.lowerBound) * area
                kernels.kernels.pointee.scaled(
                    x + offset, y + offset, area, Float(factor), Float(Double(bias[channel]) - means[group] * factor))
            }
        }
    }

    /// For each run of `span` values, the mean of `(x - center)^power`.
    private func groupMeans(_ x: Tensor, span: Int, centers: [Double], power: Int32) -> [Double] {
        let part = 1 << 15
        let parts = (span + part - 1) / part
        var sums = [Double](repeating: 0, count: centers.count * parts)
        sums.withUnsafeMutableBufferPointer { sums in
            withPointer(x) { values in
                nonisolated(unsafe) let (sums, values) = (sums, values)
                forRanges(of: sums.count, width: min(part, span)) { range in
                    for index in range {
                        let (group, first) = (index / parts, index % parts * part)
                        sums[index] = kernels.kernels.pointee.moment(
                            values.map { $0 + group * span + first }, min(part, span - first), centers[group], power)
                    }
                }
            }
        }
        return centers.indices.map { group in
            sums[group * parts..<(group + 1) * parts].reduce(0, +) / Double(span)
        }
    }
}
