import Foundation
import Tensors
import Testing

/// Rows of numbers in fewer bytes.
struct ShortRowsTests {
    /// Rows of typical size 1 with an outlier channel of 300, as hidden states have them.
    private static func states(rows: Int, columns: Int) -> Tensor {
        var state: UInt64 = 9
        func next() -> Float {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) / Float(1 << 23) - 1
        }
        let values = (0..<rows * columns).map { $0 % columns == 5 ? 300 * next() : next() }
        return Tensor(values, shape: [rows, columns])
    }

    @Test("bfloat16 rounds to the nearest, ties to even, and keeps what it can hold bit for bit")
    func bfloat16() {
        let cases: [(Float, Float)] = [
            (0, 0), (-0.0, -0.0), (1, 1), (-2.5, -2.5), (1.00390625, 1), (1.01171875, 1.015625),
            (3.38e38, 3.3762e38), (3.4028235e38, .infinity), (-.infinity, -.infinity),
        ]
        for (value, expected) in cases {
            let back = Tensor(bfloat16: Tensor([value], shape: [1]).bfloat16Bytes, shape: [1])[0]
            let isClose = abs(back - expected) <= abs(expected) * 1e-4
            #expect((isClose || back == expected) && back.sign == expected.sign, "\(value) became \(back)")
        }
        let odd = Float(bitPattern: 0x7f80_0001)
        let bad = Tensor(bfloat16: Tensor([odd, .nan], shape: [2]).bfloat16Bytes, shape: [2]).values
        #expect(bad.count { $0.isNaN } == 2)
        let states = Self.states(rows: 7, columns: 33)
        let once = Tensor(bfloat16: states.bfloat16Bytes, shape: [7, 33])
        #expect(Tensor(bfloat16: once.bfloat16Bytes, shape: [7, 33]) == once, "what is bfloat16 already is kept")
        for (value, back) in zip(states.values, once.values) { #expect(abs(value - back) <= abs(value) / 256) }
    }

    @Test(
        "bytes are off by half a scale at most, and an outlier harms its own group only",
        arguments: [1, 128, 200, 256] as [Int])
    func int8(columns: Int) {
        let states = Self.states(rows: 5, columns: columns)
        let (bytes, scales) = states.quantisedRows(group: 128)
        #expect(bytes.count == 5 * columns && scales.shape == [5, (columns + 127) / 128])
        let back = Tensor(quantised: bytes, scales: scales, shape: [5, columns], group: 128)
        for row in 0..<5 {
            for column in 0..<columns {
                let index = row * columns + column
                let scale = scales.values[row * scales.shape[1] + column / 128]
                #expect(abs(states.values[index] - back.values[index]) <= scale * 0.5001)
                if column >= 128 { #expect(scale <= 1.0 / 127) }
            }
        }
    }

    @Test("zeros stay zeros; what is not finite comes back as no number, its group alone")
    func edges() {
        let zeros = Tensor(repeating: 0, shape: [2, 130])
        let (bytes, scales) = zeros.quantisedRows(group: 128)
        #expect(Tensor(quantised: bytes, scales: scales, shape: [2, 130], group: 128) == zeros)
        for bad in [Float.nan, .infinity, -.infinity] {
            var values = [Float](repeating: 1, count: 260)
            values[3] = bad
            let tensor = Tensor(values, shape: [1, 260])
            let (bytes, scales) = tensor.quantisedRows(group: 128)
            let back = Tensor(quantised: bytes, scales: scales, shape: [1, 260], group: 128).values
            #expect(back[..<128].count { $0.isNaN } == 128 && back[128...].count { abs($0 - 1) < 1e-6 } == 132)
        }
        // Smaller than any scale can be.
        let smallest = Float.leastNonzeroMagnitude
        let tiny = Tensor([7 * smallest, -7 * smallest], shape: [1, 2])
        let (few, scale) = tiny.quantisedRows(group: 128)
        let back = Tensor(quantised: few, scales: scale, shape: [1, 2], group: 128)
        #expect(back.values.allSatisfy { abs($0) <= 70 * smallest })
    }
}
