import CKernels
import Foundation
import Plan
import Tensors
import Testing

/// What promises equal bits with this class: its instructions for a format, with 1 to 3 threads.
private func computes(_ format: ComputeFormat) -> [(compute: Compute, isFused: Bool)] {
    fusedClasses.flatMap { kernels in
        let isFused = kernels.computing(in: format)?.name.contains("-fma") == true
        return (1...3).map { (Compute(threads: $0, kernels: kernels), isFused || format == .int8) }
    }
}

@Suite struct BF16Tests {
    /// The promise of `fma` classes: one chain of fused multiply-adds of rounded values, the bias last.
    ///
    /// VDPBF16PS, by Intel's manual and on Zen 4: the same in pairs of k, of which the odd one goes first.
    private func chain(_ x: Tensor, _ w: Tensor, _ b: Tensor, oddFirst: Bool = false) -> Tensor {
        let (rows, depth, columns) = (x.shape[0], x.shape[1], w.shape[0])
        var y = Tensor(uninitialized: [rows, columns])
        for i in 0..<rows {
            for j in 0..<columns {
                var sum: Float = 0
                for place in 0..<depth {
                    let k = oddFirst && place ^ 1 < depth ? place ^ 1 : place
                    sum.addProduct(x[i * depth + k], w[j * depth + k])
                }
                y[i * columns + j] = sum + b[j]
            }
        }
        return y
    }

    @Test(arguments: [(1, 1, 1), (7, 15, 33), (8, 16, 16), (13, 17, 100), (50, 100, 801), (151, 273, 1700)])
    func `each output is one chain over values rounded to bf16`(rows: Int, columns: Int, depth: Int) {
        let (x, w, b) = (noise([rows, depth]), noise([columns, depth], seed: 2), noise([columns], seed: 3))
        let (a, c) = (rounded(x), rounded(w))
        let (fused, dot) = (chain(a, c, b), chain(a, c, b, oddFirst: true))
        for (compute, isFused) in computes(.bf16) {
            let y = Linear(weight: w, bias: b, compute: compute, format: .bf16)(x)
            #expect(y == (isFused ? fused : dot), "\(compute.kernels.instructions)")
        }
    }

    @Test func `a weight that bf16 holds exactly takes half the memory in f32 and changes no bit`() {
        let (x, w, b) = (noise([70, 801]), rounded(noise([50, 801], seed: 2)), noise([50], seed: 3))
        let expected = chain(x, w, b)
        for compute in equalComputes {
            let layer = Linear(weight: w, bias: b, compute: compute)
            #expect(layer(x) == expected, "\(compute.kernels.instructions)")
            #expect(layer.residentBytes == 64 * 802 * 2 + 64 * 4)
        }
    }

    @Test func `a weight that half precision holds exactly takes half the memory in f32 and changes no bit`() {
        // Every finite half is somewhere in these rows, which are longer than a step over k.
        let halves = (0...UInt16.max).map { Float(Float16(bitPattern: $0)) }.filter(\.isFinite)
        let (columns, depth) = (50, 1601)
        var values = Array(halves.prefix(columns * depth))
        while values.count < columns * depth { values.append(halves[values.count * 7 % halves.count]) }
        let w = Tensor(values, shape: [columns, depth])
        let (x, b) = (noise([70, depth]), noise([columns], seed: 3))
        let expected = chain(x, w, b)
        for compute in equalComputes {
            let layer = Linear(weight: w, bias: b, compute: compute)
            #expect(layer(x) == expected, "\(compute.kernels.instructions)")
            #expect(layer.residentBytes == 64 * depth * 2 + 64 * 4)
        }
    }

    @Test(arguments: [65504 + 16, 0x1p-25, 0x1.002p0, 0x1.8p-24, -0x1p17, .infinity, .nan] as [Float])
    func `one value that no 16 bits hold keeps a weight in f32`(value: Float) {
        // 1 + 2^-10 is a half, but no bf16.
        for place in [77, 5000] {
            var values = [Float](repeating: 0x1.004p0, count: 16 * 400)
            func bytes() -> Int {
                Linear(weight: Tensor(values, shape: [16, 400]), bias: nil, compute: equalComputes[0]).residentBytes
            }
            values[place] = value
            #expect(bytes() == values.count * 4)
            values[place] = 0x1p-24
            #expect(bytes() == values.count * 2)
        }
    }

    @Test func `values at the edges round as the type says`() {
        // Ties go to even, what is above the largest rounds to infinity, NaN stays NaN.
        let cases: [(Float, Float)] = [
            (Float(bitPattern: 0x3F80_8000), 1), (Float(bitPattern: 0x3F81_8000), Float(bitPattern: 0x3F82_0000)),
            (Float(bitPattern: 0x3F80_8001), Float(bitPattern: 0x3F81_0000)), (-0.0, 0),
            (.greatestFiniteMagnitude, .infinity),
        ]
        for (compute, _) in computes(.bf16) {
            for (value, nearest) in cases {
                let one = Linear(weight: Tensor([1], shape: [1, 1]), bias: nil, compute: compute, format: .bf16)
                #expect(one(Tensor([value], shape: [1, 1]))[0] == nearest, "\(value), \(compute.kernels.instructions)")
                let weighted = Linear(
                    weight: Tensor([value], shape: [1, 1]), bias: nil, compute: compute, format: .bf16)
                #expect(weighted(Tensor([1], shape: [1, 1]))[0] == nearest)
            }
            for bits in [0x7FC0_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7F80_0001] as [UInt32] {
                let one = Linear(weight: Tensor([1], shape: [1, 1]), bias: nil, compute: compute, format: .bf16)
                #expect(one(Tensor([Float(bitPattern: bits)], shape: [1, 1]))[0].isNaN)
            }
        }
    }

    @Test(arguments: [
        (7, 15, 2, 16), (49, 100, 2, 72), (50, 800, 2, 64), (3, 390, 1, 33), (60, 500, 1, 128), (9, 767, 1, 16),
        (9, 769, 1, 80),
    ])
    func `attention is near double precision and equal in all fused classes`(
        queries: Int, keys: Int, heads: Int, width: Int
    ) {
        let q = noise([queries, heads, width], seed: 1, scale: 2)
        let (k, v) = (noise([keys, heads, width], seed: 2), noise([keys, heads, width], seed: 3))
        let scale = 1 / Float(width).squareRoot()
        let exact = equalComputes[0].attention(q: rounded(q), k: rounded(k), v: rounded(v), scale: scale)
        let long = equalComputes[0].attention(q: q, k: k, v: v, scale: scale)
        var fused: Tensor?
        for (compute, isFused) in computes(.bf16) {
            let y = compute.attention(q: q, k: k, v: v, scale: scale, format: .bf16)
            // Only the shares are rounded besides: 2^-9 each, with errors of both signs.
            expectNear(y, exact.values.map(Double.init), absolute: 6e-3, compute.kernels.instructions)
            #expect(y != long)
            guard isFused else { continue }
            #expect(y == fused ?? y, "\(compute.kernels.instructions)")
            fused = y
        }
    }
}

extension BF16Tests {
    /// The multiply-add that stands for the difference up to logits of 4096 in units of the exponent, and what is beyond.
    @Test(arguments: [8, 2048, 8192, 11328, 11392, 65536] as [Float])
    func `shares beside a large maximum are right, within a block of keys and across two`(size: Float) {
        let keys = 800
        for later in [1, 790] {
            var (k, v) = (Tensor(shape: [keys, 1, 16]), Tensor(shape: [keys, 1, 16]))
            // All other keys are farther below: their shares are 0 for large logits, and counted for small ones.
            (k[0], v[0]) = (1 - 0x1p-8, 1000)
            k[later * 16] = 1
            let exponent = Double(size) / 4 * 1.4426950408889634
            let (share, other) = (exp2(-exponent * 0x1p-8), exp2(-exponent) * Double(keys - 2))
            for (compute, _) in computes(.bf16) {
                let q = Tensor([size] + [Float](repeating: 0, count: 15), shape: [1, 1, 16])
                let y = Double(compute.attention(q: q, k: k, v: v, scale: 0.25, format: .bf16)[0])
                let exact = 1000 * share / (1 + share + other)
                #expect(abs(y - exact) <= 0.01 * exact + 1e-30, "\(y) for \(exact), \(compute.kernels.instructions)")
            }
        }
    }

    @Test func `logits of any size stay finite, and the largest gets all`() {
        // Scores of 10^11: half a unit in the last place is in the thousands.
        let (q, k, v) = (noise([50, 1, 16], scale: 1e10), noise([800, 1, 16], seed: 2), noise([800, 1, 16], seed: 3))
        let exact = equalComputes[0].attention(q: rounded(q), k: rounded(k), v: rounded(v), scale: 1)
        for (compute, _) in computes(.bf16) {
            let y = compute.attention(q: q, k: k, v: v, scale: 1, format: .bf16)
            expectNear(y, exact.values.map(Double.init), absolute: 1e-6, compute.kernels.instructions)
        }
    }

    @Test func `with a causal mask a query's bits do not depend on later keys, nor on the other queries`() {
        let count = 800
        let (q, k, v) = (noise([count, 1, 24]), noise([count, 1, 24], seed: 2), noise([count, 1, 24], seed: 3))
        for kernels in fusedClasses {
            let compute = Compute(threads: 2, kernels: kernels)
            let whole = compute.attention(q: q, k: k, v: v, scale: 0.2, causal: true, format: .bf16)
            for shorter in [1, 47, 767, 768, 769] {
                let rows = 0..<shorter
                let y = compute.attention(
                    q: q.rows(rows), k: k.rows(rows), v: v.rows(rows), scale: 0.2, causal: true, format: .bf16)
                #expect(y == whole.rows(rows), "\(kernels.instructions), \(shorter) rows")
            }
        }
    }
}

@Suite struct Int8Tests {
    /// One stretch of at most 512 values in integers.
    private struct Stretch {
        let values: [Int]
        let scale: Float

        /// A row's, in `levels` steps from its least value or 0 to its greatest or 0.
        init(row: ArraySlice<Float>, levels: Float) {
            let span = row.reduce(0, max) - row.reduce(0, min)
            let (factor, magic) = (levels / span, 12_582_912 as Float)
            let isZero = span < 0x1p-100
            values = row.map { isZero ? 0 : Int(magic.addingProduct($0, factor) - magic) }
            scale = isZero ? 0 : span / levels
        }

        /// A weight's.
        init(weight: ArraySlice<Float>) {
            let top = weight.reduce(0) { max($0, abs($1)) }
            let magic: Float = 12_582_912
            values = weight.map { top < 0x1p-100 ? 0 : Int(magic.addingProduct($0, 127 / top) - magic) }
            scale = top < 0x1p-100 ? 0 : top / 127
        }
    }

    private func stretches(_ x: Tensor, _ make: (ArraySlice<Float>) -> Stretch) -> [[Stretch]] {
        let (values, width) = (x.values, x.width)
        return (0..<x.shape[0]).map { row in
            stride(from: 0, to: width, by: 512).map {
                make(values[row * width + $0..<row * width + min($0 + 512, width)])
            }
        }
    }

    /// Steps of a row's stretch: as many as 16 bits have, or 8 where instructions for bytes are used.
    private func levels(_ compute: Compute) -> Float {
        compute.kernels.computing(in: .int8)?.name.contains("-wide") == true ? 32766 : 254
    }

    /// The promise: exact sums of integers for each stretch, each rounded to float, then a chain of their scaled values.
    private func expected(_ x: Tensor, _ w: Tensor, _ b: Tensor?, levels: Float) -> Tensor {
        let (rows, columns) = (stretches(x) { Stretch(row: $0, levels: levels) }, stretches(w) { Stretch(weight: $0) })
        var y = Tensor(uninitialized: [rows.count, columns.count])
        for (i, row) in rows.enumerated() {
            for (j, column) in columns.enumerated() {
                var total: Float = 0
                for (a, c) in zip(row, column) {
                    let sum = zip(a.values, c.values).reduce(0) { $0 + $1.0 * $1.1 }
                    total.addProduct(Float(sum) * a.scale, c.scale)
                }
                y[i * columns.count + j] = b.map { total + $0[j] } ?? total
            }
        }
        return y
    }

    @Test(arguments: [(1, 1, 1), (7, 15, 33), (8, 16, 512), (13, 17, 513), (50, 100, 801), (151, 273, 3300)])
    func `sums of stretches are exact, so that classes of one name agree to the bit`(
        rows: Int, columns: Int, depth: Int
    ) {
        let (x, w, b) = (noise([rows, depth]), noise([columns, depth], seed: 2), noise([columns], seed: 3))
        var known: [Float: (plain: Tensor, biased: Tensor)] = [:]
        for (compute, _) in computes(.int8) {
            let (here, levels) = (compute.kernels.instructions, levels(compute))
            let wanted = known[levels] ?? (expected(x, w, nil, levels: levels), expected(x, w, b, levels: levels))
            known[levels] = wanted
            #expect(Linear(weight: w, bias: nil, compute: compute, format: .int8)(x) == wanted.plain, "\(here)")
            #expect(Linear(weight: w, bias: b, compute: compute, format: .int8)(x) == wanted.biased, "\(here)")
        }
    }

    @Test(arguments: [(1, 40), (20, 300), (9, 3000)])
    func `values are near double precision, each stretch within its own range`(rows: Int, depth: Int) {
        // One channel is a thousand times larger: only its own stretch may pay for it.
        var (x, w) = (noise([rows, depth]), noise([24, depth], seed: 2))
        for row in 0..<rows { x[row * depth + 3] = 1000 }
        for column in 0..<24 { w[column * depth + 3] = 0 }
        let (a, c) = (stretches(x) { Stretch(row: $0, levels: 254) }, stretches(w) { Stretch(weight: $0) })
        for (compute, _) in computes(.int8) {
            let y = Linear(weight: w, bias: nil, compute: compute, format: .int8)(x)
            for row in 0..<rows {
                for column in 0..<24 {
                    var (exact, variance) = (0.0, 0.0)
                    for k in 0..<depth {
                        let (v, u) = (Double(x[row * depth + k]), Double(w[column * depth + k]))
                        let (s, t) = (Double(a[row][k / 512].scale), Double(c[column][k / 512].scale))
                        exact += v * u
                        // Rounding is even within a step of each, times the other's size.
                        variance += (u * u * s * s + v * v * t * t) / 12
                    }
                    let (error, bound) = (abs(Double(y[row * 24 + column]) - exact), 5 * variance.squareRoot() + 1e-4)
                    #expect(error <= bound, "\(compute.kernels.instructions): \(error) of \(bound)")
                }
            }
        }
    }

    @Test func `the largest products of a stretch do not saturate`() {
        let depth = 1 << 12
        for sign in [1, -1] as [Float] {
            let (x, w) = (Tensor(repeating: sign, shape: [1, depth]), Tensor(repeating: 1, shape: [1, depth]))
            for (compute, _) in computes(.int8) {
                let y = Linear(weight: w, bias: nil, compute: compute, format: .int8)(x)
                #expect(y == expected(x, w, nil, levels: levels(compute)))
                #expect(abs(y[0] - sign * Float(depth)) < 0.01)
            }
        }
    }

    @Test func `rows of zeros give the bias and rows with NaN or infinity stay visible`() {
        var x = noise([4, 40])
        for k in 0..<40 { x[k] = 0 }
        (x[40 + 7], x[80 + 39]) = (.nan, -.infinity)
        let (w, b) = (noise([20, 40], seed: 2), noise([20], seed: 3))
        for (compute, _) in computes(.int8) {
            let last = expected(x.rows(3..<4), w, b, levels: levels(compute))
            let y = Linear(weight: w, bias: b, compute: compute, format: .int8)(x)
            #expect(y.rows(0..<1).values == b.values)
            #expect(y.rows(1..<3).values.allSatisfy { $0.isNaN })
            #expect(y.rows(3..<4) == last)
        }
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func `a weight with NaN or infinity shows in its column, in every row, and in no other`(bad: Float) {
        let (x, good, b) = (noise([9, 1400]), noise([20, 1400], seed: 2), noise([20], seed: 3))
        for (compute, _) in computes(.int8) {
            let wanted = Linear(weight: good, bias: b, compute: compute, format: .int8)(x)
            // In the first, a middle and the last, shorter stretch of 512 k.
            for (column, k) in [(0, 0), (7, 600), (19, 1399)] {
                var w = good
                w[column * 1400 + k] = bad
                let y = Linear(weight: w, bias: b, compute: compute, format: .int8)(x)
                for index in 0..<y.count {
                    let isRight = index % 20 == column ? y[index].isNaN : y[index] == wanted[index]
                    #expect(isRight, "\(compute.kernels.instructions), k \(k), index \(index): \(y[index])")
                }
            }
        }
    }
}

@Suite struct FormatTests {
    @Test(arguments: [ComputeFormat.bf16, .int8])
    func `a row alone gives the same bits as in a batch, with any threads`(_ format: ComputeFormat) {
        let (x, w, b) = (noise([203, 1700]), noise([300, 1700], seed: 2), noise([300], seed: 3))
        let (q, k) = (noise([130, 2, 24]), noise([500, 2, 24], seed: 2))
        for kernels in fusedClasses {
            let layers = [1, 2, 3].map {
                Linear(weight: w, bias: b, compute: Compute(threads: $0, kernels: kernels), format: format)
            }
            let batch = layers[0](x)
            for layer in layers {
                #expect(layer(x) == batch)
                for rows in [0..<1, 5..<6, 95..<97, 100..<203, 202..<203] {
                    #expect(layer(x.rows(rows)) == batch.rows(rows), "rows \(rows)")
                }
            }
            let compute = Compute(threads: 2, kernels: kernels)
            let whole = compute.attention(q: q, k: k, v: k, scale: 0.2, format: format)
            for rows in [0..<1, 47..<49, 5..<100, 129..<130] {
                #expect(compute.attention(q: q.rows(rows), k: k, v: k, scale: 0.2, format: format) == whole.rows(rows))
            }
        }
    }

    @Test func `bf16 halves the memory of a weight and int8 quarters it`() {
        let (w, b) = (noise([320, 600]), noise([320]))
        let bytes = ComputeFormat.allCases.map {
            Linear(weight: w, bias: b, compute: Compute(threads: 2), format: $0).residentBytes
        }
        // Of int8 also a scale of 4 bytes and a sum of 4 for each of the two stretches of 600 values.
        #expect(bytes == [320 * 600 * 4 + 1280, 320 * 600 * 2 + 1280, 320 * 600 + 1280 + 2 * 320 * 8])
    }

    @Test func `the name of a class says its format and OpenBLAS has f32 alone`() throws {
        for kernels in fusedClasses {
            for format in ComputeFormat.allCases {
                let short = try #require(kernels.computing(in: format))
                #expect(short.format == format && short.instructions == kernels.instructions)
                #expect(short.name.hasPrefix(format.rawValue + "-"))
                #expect(KernelClass.format(ofName: short.name) == format)
            }
        }
        let openBLAS = try #require(KernelClass.named("openblas"))
        #expect(openBLAS.computing(in: .f32) == openBLAS && openBLAS.computing(in: .bf16) == nil)
        #expect(KernelClass.format(ofName: "k") == nil)
    }
}
