internal import CKernels
internal import COpenBLAS
internal import Plan

/// A square-kernel convolution with stride 1 and zero padding that keeps the size.
///
/// A product of the weight (outputs, K) with the matrix (K, pixels) of shifted pixels, K = inputs * k * k in the order
/// (input, row, column). That matrix is built strip by strip of 96 pixels and never exists as a whole. Each output is one
/// ascending chain of fused multiply-adds over K, the bias last, whatever the strip and the thread.
package struct Convolution: Sendable {
    /// Bytes of the weight and the bias in memory.
    package var residentBytes: Int { (weight.count + bias.count) * MemoryLayout<Float>.stride }

    private let inputs: Int
    private let outputs: Int
    private let kernel: Int
    /// The weight cut over K in steps of `depthStep`, each (outputs, step) row-major; uncut for OpenBLAS.
    private let weight: Tensor
    private let bias: Tensor
    private let compute: Compute

    private var depth: Int { inputs * kernel * kernel }

    private var depthStep: Int { compute.kernels.usesOpenBLAS ? depth : min(depth, 384) }

    /// Packs a weight, (outputs, inputs, k, k) with odd k; `bias` is (outputs).
    package init(weight: Tensor, bias: Tensor, compute: Compute) {
        let shape = weight.shape
        promise(shape.count == 4 && shape[2] == shape[3] && shape[2] % 2 == 1, "\(shape)")
        promise(bias.shape == [shape[0]], "bias \(bias.shape) of \(shape)")
        (outputs, inputs, kernel) = (shape[0], shape[1], shape[2])
        let (outputs, depth) = (outputs, inputs * kernel * kernel)
        let step = compute.kernels.usesOpenBLAS ? depth : min(depth, 384)
        var packed = Tensor(uninitialized: [outputs, depth])
        packed.withUnsafeMutableBuffer { to in
            weight.withUnsafeBuffer { from in
                var next = 0
                for k in stride(from: 0, to: depth, by: max(step, 1)) {
                    for output in 0..<outputs {
                        for i in k..<min(k + step, depth) {
                            to[next] = from[output * depth + i]
                            next += 1
                        }
                    }
                }
            }
        }
        self.weight = packed
        self.bias = bias
        self.compute = compute
    }

    /// Applies the convolution: (inputs, height, width) to (outputs, height, width).
    package func callAsFunction(_ x: Tensor) -> Tensor {
        promise(x.shape.count == 3 && x.shape[0] == inputs, "input \(x.shape), weight (\(outputs), \(inputs))")
        let (height, width) = (x.shape[1], x.shape[2])
        let strip = Int(ABZ_STRIP_PIXELS)
        var y = Tensor(uninitialized: [outputs, height, width])
        guard y.count > 0 else { return y }
        y.withUnsafeMutableBuffer { out in
            withPointer(x) { x in
                withPointer(weight) { weight in
                    withPointer(bias) { bias in
                        guard let out = out.baseAddress, let weight, let bias else { return }
                        nonisolated(unsafe) let (planes, rows, shifts, target) = (x, weight, bias, out)
                        compute.pool.run((height * width + strip - 1) / strip) { index in
                            let first = index * strip
                            let count = min(strip, height * width - first)
                            var pixels = abz_strip(
                                planes: planes, height: height, width: width, kernel: kernel, first_pixel: first,
                                count: count, padded: rounded(count, up: 16), first_k: 0, depth: 0,
                                panel_columns: compute.kernels.kernels.pointee.panel_columns)
                            if compute.kernels.usesOpenBLAS {
                                fixedTile(&pixels, rows, shifts, target + first, area: height * width)
                            } else {
                                block(&pixels, rows, shifts, target + first, area: height * width)
                            }
                        }
                    }
                }
            }
        }
        return y
    }

    /// One strip with our own kernels.
    private func block(
        _ pixels: inout abz_strip, _ weight: UnsafePointer<Float>, _ bias: UnsafePointer<Float>,
        _ out: UnsafeMutablePointer<Float>, area: Int
    ) {
        // As many outputs at a time as leave their part of the weight in the second-level cache.
        let rowStep = 144
        withScratch(depthStep * pixels.padded) { panels in
            for k in stride(from: 0, to: depth, by: depthStep) {
                (pixels.first_k, pixels.depth) = (k, min(depthStep, depth - k))
                abz_pack_pixels(&pixels, panels)
                for row in stride(from: 0, to: outputs, by: rowStep) {
                    var product = abz_product(
                        a: weight + k * outputs + row * pixels.depth, a_stride: pixels.depth, rows_in_tiles: 0,
                        panels: panels, panel_depth: pixels.depth, first_k: 0, panel_columns: 0, c: out + row * area,
                        c_stride: area,
                        rows: min(rowStep, outputs - row), columns: pixels.count, depth: pixels.depth,
                        onto: k > 0 ? 1 : 0, streams: 0, column_bias: nil,
                        row_bias: k + pixels.depth == depth ? bias + row : nil, row_scales: nil, row_zeros: nil,
                        scale_stride: 0, column_scales: nil, column_sums: nil)
                    compute.kernels.kernels.pointee.f32.product(&product)
                }
            }
        }
    }

    /// One strip with OpenBLAS: always all outputs by a full strip, so that the shape of the call is the layer's own.
    private func fixedTile(
        _ pixels: inout abz_strip, _ weight: UnsafePointer<Float>, _ bias: UnsafePointer<Float>,
        _ out: UnsafeMutablePointer<Float>, area: Int
    ) {
        let strip = Int(ABZ_STRIP_PIXELS)
        (pixels.padded, pixels.panel_columns, pixels.depth) = (strip, strip, depth)
        withScratch(strip * (depth + outputs)) { columns in
            let tile = columns + strip * depth
            abz_pack_pixels(&pixels, columns)
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(outputs), Int32(strip), Int32(depth), 1, weight,
                Int32(depth), columns, Int32(strip), 0, tile, Int32(strip))
            for output in 0..<outputs {
                for pixel in 0..<pixels.count {
                    out[output * area + pixel] = tile[output * strip + pixel] + bias[output]
                }
            }
        }
    }
}

extension Compute {
    /// Doubles height and width of (channels, height, width) by repeating each pixel.
    package func doubled(_ x: Tensor) -> Tensor {
        let (channels, height, width) = (x.shape[0], x.shape[1], x.shape[2])
        var y = Tensor(uninitialized: [channels, 2 * height, 2 * width])
        y.withUnsafeMutableBuffer { out in
            withPointer(x) { x in
                guard let x, let out = out.baseAddress else { return }
                nonisolated(unsafe) let (source, target) = (x, out)
                forRanges(of: channels * height, width: 4 * width) { rows in
                    for row in rows {
                        let first = target + row * 4 * width
                        abz_double_row(source + row * width, width, first)
                        (first + 2 * width).update(from: first, count: 2 * width)
                    }
                }
            }
        }
        return y
    }
}
