import Foundation
import Tensors
import Testing

@Suite struct RandomTests {
    /// Test vectors of the paper's authors (Random123, kat_vectors: philox4x32 10).
    @Test(arguments: [
        (SIMD4<UInt32>(0, 0, 0, 0), SIMD2<UInt32>(0, 0), SIMD4<UInt32>(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)),
        (
            SIMD4<UInt32>(repeating: .max), SIMD2<UInt32>(repeating: .max),
            SIMD4<UInt32>(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd)
        ),
        (
            SIMD4<UInt32>(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), SIMD2<UInt32>(0xa4093822, 0x299f31d0),
            SIMD4<UInt32>(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1)
        ),
    ])
    func `Philox gives the published words`(counter: SIMD4<UInt32>, key: SIMD2<UInt32>, expected: SIMD4<UInt32>) {
        #expect(Philox.rounds(counter: counter, key: key) == expected)
    }

    @Test func `Normals do not depend on where a draw starts`() {
        let stream = Philox(seed: 1 << 40 + 9, purpose: 3, index: 2)
        let whole = stream.normals(40).values
        for start in 0..<9 {
            #expect(stream.normals(17, from: UInt64(start)).values == Array(whole[start..<start + 17]))
        }
    }

    @Test func `Seeds, purposes and indices give different streams`() {
        let streams = [
            Philox(seed: 1, purpose: 1), Philox(seed: 2, purpose: 1), Philox(seed: 1 << 32 + 1, purpose: 1),
            Philox(seed: 1, purpose: 2), Philox(seed: 1, purpose: 1, index: 1),
        ]
        #expect(Set(streams.map { $0.normals(8).values }).count == streams.count)
    }

    @Test func `Normals have mean 0, variance 1 and tails`() {
        let values = Philox(seed: 5, purpose: 0).normals(200_000).values.map(Double.init)
        let mean = values.reduce(0, +) / 200_000
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 200_000
        let kurtosis = values.reduce(0) { $0 + pow($1 - mean, 4) } / 200_000 / (variance * variance)
        #expect(abs(mean) < 0.01 && abs(variance - 1) < 0.015 && abs(kurtosis - 3) < 0.06)
    }

    @Test func `The Mersenne twister gives the published words`() {
        // Seed 5489 is the default of C++'s std::mt19937, whose 10000th word the standard states.
        var twister = MersenneTwister(seed: 5489)
        #expect((0..<3).map { _ in twister.word() } == [3_499_211_612, 581_869_302, 3_890_346_734])
        for _ in 3..<9_999 { _ = twister.word() }
        #expect(twister.word() == 4_123_659_995)
    }

    @Test func `torchRandn equals torch`() throws {
        struct Case: Decodable {
            let seed: String
            let count: Int
            let values: [Float]
        }
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Fixtures/torch-randn/randn.json")
        let cases = try JSONDecoder().decode([Case].self, from: Data(contentsOf: file))
        #expect(cases.count == 45)
        for one in cases {
            let actual = torchRandn(seed: try #require(UInt64(one.seed)), count: one.count).values
            let worst = zip(actual, one.values).map { abs($0 - $1) }.max() ?? 0
            #expect(actual.count == one.count && worst <= 1e-6, "seed \(one.seed), count \(one.count): off by \(worst)")
        }
    }
}
