import Foundation
import Tensors
import Testing

@Suite struct NormTests {
    private func normalised(_ row: ArraySlice<Float>, epsilon: Double) -> [Double] {
        let values = row.map(Double.init)
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        return values.map { ($0 - mean) / (variance + epsilon).squareRoot() }
    }

    @Test(arguments: tails.dropFirst() + [3072])
    func `Layer norm with and without affine parameters`(width: Int) {
        let (x, w, b) = (noise([9, width], scale: 3), noise([width], seed: 2), noise([width], seed: 3))
        let plain = (0..<9).flatMap { normalised(x.values[$0 * width..<($0 + 1) * width], epsilon: 1e-5) }
        let affine = plain.enumerated().map { $1 * Double(w[$0 % width]) + Double(b[$0 % width]) }
        let modulated = plain.enumerated().map { $1 * (1 + Double(w[$0 % width])) + Double(b[$0 % width]) }
        expectEqualBits { compute in
            expectNear(compute.layerNorm(x, epsilon: 1e-5), plain, absolute: 3e-6)
            let scaled = plain.enumerated().map { $1 * Double(w[$0 % width]) }
            expectNear(compute.layerNorm(x, weight: w, epsilon: 1e-5), scaled, absolute: 3e-6)
            expectNear(compute.modulatedNorm(x, shift: b, scale: w, epsilon: 1e-5), modulated, absolute: 3e-6)
            let y = compute.layerNorm(x, weight: w, bias: b, epsilon: 1e-5)
            expectNear(y, affine, absolute: 3e-6)
            #expect(compute.layerNorm(x.rows(4..<5), weight: w, bias: b, epsilon: 1e-5) == y.rows(4..<5))
            return y
        }
    }

    @Test(arguments: tails.dropFirst())
    func `RMS norm of rows and heads`(width: Int) {
        let (x, w) = (noise([5, 3, width], scale: 0.1), noise([width], seed: 2))
        let values = x.values.map(Double.init)
        let expected = values.indices.map { i in
            let row = values[i / width * width..<(i / width + 1) * width]
            let mean = row.reduce(0) { $0 + $1 * $1 } / Double(width)
            return values[i] / (mean + 1e-6).squareRoot() * Double(w[i % width])
        }
        expectEqualBits { compute in
            let y = compute.rmsNorm(x, weight: w, epsilon: 1e-6)
            expectNear(y, expected, absolute: 2e-6)
            return y
        }
    }

    @Test(arguments: [(4, 2, 1, 1), (6, 3, 5, 7), (8, 8, 4, 4), (12, 2, 100, 131)])
    func `Group norm over channels and space`(channels: Int, groups: Int, height: Int, width: Int) {
        var x = noise([channels, height, width])
        // A mean far from zero, where single precision would lose the variance.
        x.withUnsafeMutableBuffer { for i in $0.indices { $0[i] += 10 } }
        let (w, b) = (noise([channels], seed: 2), noise([channels], seed: 3))
        let (area, span) = (height * width, channels / groups * height * width)
        let plain = (0..<groups).flatMap { normalised(x.values[$0 * span..<($0 + 1) * span], epsilon: 1e-6) }
        let expected = plain.enumerated().map { $1 * Double(w[$0 / area]) + Double(b[$0 / area]) }
        expectEqualBits { compute in
            let y = compute.groupNorm(x, groups: groups, weight: w, bias: b, epsilon: 1e-6)
            expectNear(y, expected, absolute: 3e-5)
            return y
        }
    }

    @Test func `Many rows are shared by threads without a trace`() {
        let (x, w) = (noise([3000, 100]), noise([100], seed: 2))
        expectEqualBits { $0.rmsNorm($0.layerNorm(x, epsilon: 1e-6), weight: w, epsilon: 1e-6) }
    }
}

@Suite struct ElementwiseTests {
    /// Normal values and a ramp that reaches where exponentials saturate.
    private func inputs(_ count: Int) -> Tensor {
        var x = noise([count], scale: 3)
        for i in stride(from: 0, to: count, by: 3) { x[i] = Float(i - count / 2) * 0.37 }
        return x
    }

    @Test(arguments: tails + [1000])
    func `Activations are near double precision`(count: Int) {
        let x = inputs(count)
        let doubles = x.values.map(Double.init)
        let functions: [(String, (Compute) -> Tensor, (Double) -> Double)] = [
            (
                "geluTanh", { $0.geluTanh(x) },
                { $0 / 2 * (1 + tanh((2 / .pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
            ),
            ("quickGELU", { $0.quickGELU(x) }, { $0 / (1 + exp(-1.702 * $0)) }),
            ("geluErf", { $0.geluErf(x) }, { $0 / 2 * erfc(-$0 / 2.0.squareRoot()) }),
            ("silu", { $0.silu(x) }, { $0 / (1 + exp(-$0)) }),
        ]
        for (name, fast, slow) in functions {
            expectEqualBits { compute in
                let y = fast(compute)
                expectNear(y, doubles.map(slow), absolute: 3e-7, name)
                return y
            }
        }
    }

    @Test func `Not a number stays not a number`() {
        let x = Tensor([.nan, 1, .nan], shape: [3])
        for kernels in fusedClasses {
            let compute = Compute(threads: 1, kernels: kernels)
            for y in [compute.geluTanh(x), compute.quickGELU(x), compute.geluErf(x), compute.silu(x)] {
                #expect(y[0].isNaN && !y[1].isNaN && y[2].isNaN)
            }
        }
    }

    @Test(arguments: tails + [40_000])
    func `Sums and products`(count: Int) {
        let (a, b) = (noise([count]), noise([count], seed: 2))
        expectEqualBits { compute in
            let (sum, product) = (compute.sum(a, b), compute.product(a, b))
            #expect(sum.values == zip(a.values, b.values).map(+) && product.values == zip(a.values, b.values).map(*))
            return sum
        }
    }

    @Test(arguments: tails.dropFirst())
    func `The gated sum is fused`(width: Int) {
        let (x, branch, gate) = (noise([501, width]), noise([501, width], seed: 2), noise([width], seed: 3))
        let expected = x.values.indices.map { x[$0].addingProduct(gate[$0 % width], branch[$0]) }
        expectEqualBits { compute in
            let y = compute.gatedSum(x, branch, gate: gate)
            #expect(y.values == expected)
            return y
        }
    }

    @Test(arguments: [[2], [4, 6, 6], [16, 56, 56], [4, 14, 14]], [1, 9, 300])
    func `Rotation turns pairs by position`(axes: [Int], tokens: Int) {
        var positions = noise([tokens, axes.count], scale: 20)
        positions[0] = 0.5
        let width = axes.reduce(0, +)
        let x = noise([tokens, 3, width], seed: 2)
        var expected: [Double] = []
        for token in 0..<tokens {
            var angles: [Double] = []
            for (axis, channels) in axes.enumerated() {
                for i in 0..<channels / 2 {
                    angles.append(
                        Double(positions[token * axes.count + axis]) * pow(10_000, -Double(2 * i) / Double(channels)))
                }
            }
            for head in 0..<3 {
                for (pair, angle) in angles.enumerated() {
                    let at = (token * 3 + head) * width + 2 * pair
                    let (a, b) = (Double(x[at]), Double(x[at + 1]))
                    expected += [a * cos(angle) - b * sin(angle), a * sin(angle) + b * cos(angle)]
                }
            }
        }
        let rotation = Rotation(positions: positions, axes: axes)
        expectEqualBits { compute in
            let y = compute.rotated(x, by: rotation)
            expectNear(y, expected, absolute: 2e-6)
            return y
        }
    }

    @Test(arguments: [(1, 1, 1), (2, 3, 5), (3, 64, 64)])
    func `Doubling repeats each pixel`(channels: Int, height: Int, width: Int) {
        let x = noise([channels, height, width])
        expectEqualBits { compute in
            let y = compute.doubled(x)
            #expect(y.shape == [channels, 2 * height, 2 * width])
            for row in 0..<channels * 2 * height {
                for column in 0..<2 * width {
                    #expect(y[row * 2 * width + column] == x[row / 2 * width + column / 2])
                }
            }
            return y
        }
    }
}

@Suite struct ConvolutionTests {
    /// The promise word for word: ascending (input, row, column), fused, the bias last.
    private func chain(_ x: Tensor, _ w: Tensor, _ b: Tensor) -> Tensor {
        let (inputs, height, width) = (x.shape[0], x.shape[1], x.shape[2])
        let (outputs, kernel) = (w.shape[0], w.shape[2])
        var y = Tensor(uninitialized: [outputs, height, width])
        for o in 0..<outputs {
            for row in 0..<height {
                for column in 0..<width {
                    var sum: Float = 0
                    for i in 0..<inputs {
                        for ky in 0..<kernel {
                            for kx in 0..<kernel {
                                let (sy, sx) = (row + ky - kernel / 2, column + kx - kernel / 2)
                                guard (0..<height).contains(sy) && (0..<width).contains(sx) else { continue }
                                let weight = w[((o * inputs + i) * kernel + ky) * kernel + kx]
                                sum.addProduct(x[(i * height + sy) * width + sx], weight)
                            }
                        }
                    }
                    y[(o * height + row) * width + column] = sum + b[o]
                }
            }
        }
        return y
    }

    struct Shape {
        let (inputs, outputs, kernel, height, width): (Int, Int, Int, Int, Int)
    }

    @Test(arguments: [
        Shape(inputs: 1, outputs: 1, kernel: 1, height: 1, width: 1),
        Shape(inputs: 3, outputs: 5, kernel: 3, height: 1, width: 9),
        Shape(inputs: 2, outputs: 7, kernel: 3, height: 17, width: 1),
        Shape(inputs: 5, outputs: 8, kernel: 3, height: 7, width: 8),
        Shape(inputs: 50, outputs: 17, kernel: 3, height: 15, width: 16),
        Shape(inputs: 4, outputs: 150, kernel: 1, height: 9, width: 23),
        Shape(inputs: 2, outputs: 3, kernel: 5, height: 3, width: 100),
        Shape(inputs: 3, outputs: 2, kernel: 5, height: 2, width: 2),
    ])
    func `Each pixel is one ascending chain of fused multiply-adds`(shape: Shape) throws {
        let x = noise([shape.inputs, shape.height, shape.width])
        let w = noise([shape.outputs, shape.inputs, shape.kernel, shape.kernel], seed: 2)
        let b = noise([shape.outputs], seed: 3)
        let expected = chain(x, w, b)
        expectEqualBits { compute in
            let y = Convolution(weight: w, bias: b, compute: compute)(x)
            #expect(y == expected)
            return y
        }
        let openBLAS = try #require(KernelClass.named("openblas"))
        let results = (1...3).map {
            Convolution(weight: w, bias: b, compute: Compute(threads: $0, kernels: openBLAS))(x)
        }
        expectNear(results[0], expected.values.map(Double.init), absolute: 1e-4, "openblas")
        #expect(results[1] == results[0] && results[2] == results[0])
    }
}
