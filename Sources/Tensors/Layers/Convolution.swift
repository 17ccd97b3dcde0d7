/// A square-kernel convolution with stride 1 and zero padding that keeps the size.
package struct Convolution: Sendable {
    private let weight: Tensor
    private let bias: Tensor
    private let compute: Compute

    /// Packs a weight.
    ///
    /// - Parameters:
    ///   - weight: (outputs, inputs, k, k) with odd k.
    ///   - bias: (outputs)
    package init(weight: Tensor, bias: Tensor, compute: Compute) {
        precondition(weight.shape.count == 4 && weight.shape[2] == weight.shape[3] && weight.shape[2] % 2 == 1, "\(weight.shape)")
        self.weight = weight
        self.bias = bias
        self.compute = compute
    }

    /// Applies the convolution.
    ///
    /// - Parameter x: (inputs, height, width)
    /// - Returns: (outputs, height, width)
    package func callAsFunction(_ x: Tensor) -> Tensor {
        let (inputs, height, width) = (x.shape[0], x.shape[1], x.shape[2])
        let (outputs, kernel) = (weight.shape[0], weight.shape[2])
        precondition(weight.shape[1] == inputs, "input \(x.shape), weight \(weight.shape)")
        var y = Tensor(uninitialized: [outputs, height, width])
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { a in
                weight.withUnsafeBuffer { w in
                    for o in 0..<outputs {
                        for row in 0..<height {
                            for column in 0..<width {
                                var sum: Float = 0
                                for i in 0..<inputs {
                                    for ky in 0..<kernel {
                                        let sy = row + ky - kernel / 2
                                        guard sy >= 0 && sy < height else { continue }
                                        for kx in 0..<kernel {
                                            let sx = column + kx - kernel / 2
                                            guard sx >= 0 && sx < width else { continue }
                                            sum.addProduct(
                                                a[(i * height + sy) * width + sx], w[((o * inputs + i) * kernel + ky) * kernel + kx])
                                        }
                                    }
                                }
                                out[(o * height + row) * width + column] = sum + bias[o]
                            }
                        }
                    }
                }
            }
        }
        return y
    }
}

extension Compute {
    /// Doubles height and width by repeating each pixel.
    ///
    /// - Parameter x: (channels, height, width)
    package func doubled(_ x: Tensor) -> Tensor {
        let (channels, height, width) = (x.shape[0], x.shape[1], x.shape[2])
        var y = Tensor(uninitialized: [channels, 2 * height, 2 * width])
        y.withUnsafeMutableBuffer { out in
            x.withUnsafeBuffer { a in
                for row in 0..<channels * 2 * height {
                    for column in 0..<2 * width { out[row * 2 * width + column] = a[row / 2 * width + column / 2] }
                }
            }
        }
        return y
    }
}
