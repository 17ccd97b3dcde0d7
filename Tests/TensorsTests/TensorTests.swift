import Foundation
import Tensors
import Testing

@Suite struct TensorTests {
    @Test func `A copy is not changed by writing to the original`() {
        var original = noise([3, 4])
        let copy = original
        let before = original.values
        original[5] = 100
        original.withUnsafeMutableBuffer { $0[0] = -100 }
        #expect(copy.values == before)
        #expect(original[5] == 100 && original[0] == -100 && original[1] == before[1])
        var reshaped = copy.reshaped([12])
        reshaped[2] = 7
        #expect(copy.values == before && reshaped[2] == 7)
    }

    @Test(arguments: [[], [0], [1], [7], [3, 0, 2], [2, 3, 4]])
    func `Coding gives back the same bits`(shape: [Int]) throws {
        var tensor = noise(shape)
        if tensor.count > 2 { (tensor[0], tensor[1], tensor[2]) = (.nan, -.zero, .leastNonzeroMagnitude) }
        let data = try JSONEncoder().encode(tensor)
        let decoded = try JSONDecoder().decode(Tensor.self, from: data)
        #expect(decoded == tensor && decoded.shape == shape)
    }

    @Test(arguments: [
        #"{"shape": [2], "littleEndian": "AAAA"}"#, #"{"shape": [-1, -1], "littleEndian": "AAAAAA=="}"#,
        #"{"shape": [4611686018427387904, 4], "littleEndian": ""}"#,
        #"{"shape": [1000000000], "littleEndian": "AAAAAA=="}"#,
        #"{"shape": [1], "littleEndian": "AAAAAAAAAAA="}"#,
    ])
    func `Decoding refuses bytes that do not fill the shape`(text: String) {
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(Tensor.self, from: Data(text.utf8)) }
    }

    @Test func `Equality means equal bits and equal shapes`() {
        let zeros = Tensor(shape: [2, 3])
        #expect(zeros == Tensor(repeating: 0, shape: [2, 3]) && zeros != Tensor(shape: [3, 2]))
        #expect(Tensor([0], shape: [1]) != Tensor([-0.0], shape: [1]))
        #expect(Tensor([.nan], shape: [1]) == Tensor([.nan], shape: [1]))
    }

    @Test func `Rows, gathering and concatenation copy the right rows`() {
        let x = noise([5, 2, 3])
        #expect(x.rows(1..<3).values == Array(x.values[6..<18]) && x.rows(1..<3).shape == [2, 2, 3])
        #expect(x.rows(from: 4).values == Array(x.values[24...]) && x.rows(2..<2).count == 0)
        #expect(concatenated(x.rows(0..<2), x.rows(2..<2), x.rows(from: 2)) == x)
        let matrix = x.reshaped([5, 6])
        let gathered = matrix.gathered([4, 0, 4])
        #expect(gathered == concatenated(matrix.rows(4..<5), matrix.rows(0..<1), matrix.rows(4..<5)))
        #expect(x.rowCount == 10 && x.width == 3 && Tensor(shape: []).count == 1)
    }

    @Test(arguments: [(1, 1), (7, 3), (16, 17), (100, 8)])
    func `Transposing exchanges the axes`(rows: Int, columns: Int) {
        let x = noise([rows, columns])
        let y = x.transposed()
        #expect(y.shape == [columns, rows])
        for row in 0..<rows {
            for column in 0..<columns { #expect(y[column * rows + row] == x[row * columns + column]) }
        }
        #expect(y.transposed() == x)
    }

    @Test func `Broken promises stop the process`() async {
        await #expect(processExitsWith: .failure) { _ = Tensor([1, 2, 3], shape: [2]) }
        await #expect(processExitsWith: .failure) { _ = Tensor(shape: [2, 2]).rows(1..<3) }
        await #expect(processExitsWith: .failure) { _ = Tensor(shape: [2, 2]).gathered([2]) }
        await #expect(processExitsWith: .failure) { _ = Tensor(shape: [2, 2]).reshaped([5]) }
        await #expect(processExitsWith: .failure) { _ = Tensor(shape: [2])[2] }
    }

    @Test func `Positions of a grid run row by row`() {
        let grid = Latents.grid(rows: 2, columns: 3)
        #expect(grid.values == [0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 1, 0, 1, 2])
    }

    @Test func `Pixels round half to even and clamp`() {
        // 255 (x / 2 + 0.5) = 0.5, 1.5 and 2.5 are exactly between two values.
        let levels: [Float] = [-2, 0.5 / 127.5 - 1, 1.5 / 127.5 - 1, 2.5 / 127.5 - 1, 1, 3]
        let planes = Tensor(levels + levels.reversed() + levels, shape: [3, 2, 3])
        let bytes = Pixels(planes: planes).rgb8()
        for (pixel, level) in levels.enumerated() {
            let unit = min(max(level / 2 + 0.5, 0), 1)
            let expected = UInt8((unit * 255).rounded(.toNearestOrEven))
            #expect(bytes[pixel * 3] == expected && bytes[pixel * 3 + 2] == expected)
            #expect(bytes[(5 - pixel) * 3 + 1] == expected)
        }
        #expect(bytes[0] == 0 && bytes[4 * 3] == 255 && bytes[5 * 3] == 255)
    }

    @Test func `Pixels of any value have bytes, and NaN is black`() {
        let levels: [Float] = [.nan, .infinity, -.infinity, 3e38, -3e38, .signalingNaN]
        let planes = Tensor(levels + levels + levels, shape: [3, 2, 3])
        let bytes = Pixels(planes: planes).rgb8()
        #expect((0..<6).map { bytes[$0 * 3] } == [0, 255, 0, 255, 0, 0])
        #expect(Pixels(planes: planes).place(of: 6 + 5) == "row 2, column 3")
    }

    @Test(arguments: [0, 1, 7, 4095, 4096, 4097, 10_000]) func `The first value that is no number is found`(
        count: Int
    ) {
        var tensor = Tensor(repeating: -3e38, shape: [count])
        #expect(tensor.firstNonFinite == nil)
        for (index, value) in [(count - 1, Float.infinity), (count / 2, -.infinity), (0, .nan)] where count > 0 {
            tensor[index] = value
            #expect(tensor.firstNonFinite == index)
        }
    }
}
