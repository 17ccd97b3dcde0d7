import Plan
import Sampling
import TestKit
import Tensors
import Testing

private func edges(_ gray: [UInt8], _ rows: Int, _ columns: Int) -> Set<[Int]> {
    let map = Canny.edges(gray, rows: rows, columns: columns)
    return Set(map.indices.filter { map[$0] == 255 }.map { [$0 / columns, $0 % columns] })
}

private func picture(_ rows: Int, _ columns: Int, _ value: (Int, Int) -> UInt8) -> [UInt8] {
    (0..<rows * columns).map { value($0 / columns, $0 % columns) }
}

@Suite("Edge map")
struct EdgeTests {
    @Test("U16 every reference picture has exactly the reference's edges")
    func goldens() throws {
        let golden = try Golden("canny").file("canny")
        let cases = golden.names.filter { $0.hasSuffix(".gray") }.map { String($0.dropLast(5)) }
        #expect(cases.count == 14)
        for name in cases {
            let shape = try golden.shape("\(name).gray")
            let actual = Canny.edges(try golden.bytes("\(name).gray"), rows: shape[0], columns: shape[1])
            let same = try actual == golden.bytes("\(name).edges")
            ClosenessLog.shared.enter(group: golden.group, name: name, share: same ? 0 : .infinity)
            #expect(same, "\(name)")
        }
    }

    @Test("U16 a square, steps at the threshold and a disc have the known edges")
    func known() {
        let square = picture(8, 8) { (2...5).contains($0) && (2...5).contains($1) ? 200 : 0 }
        #expect(
            edges(square, 8, 8) == [
                [1, 3], [1, 4], [2, 2], [2, 5], [3, 1], [3, 5], [4, 1], [4, 5], [5, 2], [5, 3], [5, 4], [5, 5],
            ])
        for (difference, columns) in [(30, []), (50, []), (51, [15])] as [(UInt8, [Int])] {
            let step = picture(32, 32) { $1 >= 16 ? difference : 0 }
            #expect(edges(step, 32, 32) == Set((0..<32).flatMap { row in columns.map { [row, $0] } }))
        }
        let step = EdgeMap(gray: picture(32, 32) { $1 >= 16 ? 51 : 0 }, rows: 32, columns: 32)
        #expect(step.sums == [4080, 0, 4080, 0])
        let disc = EdgeMap(
            gray: picture(32, 32) { y, x in
                (2 * y - 31) * (2 * y - 31) + (2 * x - 31) * (2 * x - 31) < 400 ? 200 : 0
            }, rows: 32, columns: 32)
        #expect(disc.sums == [15 * 255, 15 * 255, 15 * 255, 15 * 255])
    }

    @Test("U16 a constant picture has no edges, and transposing transposes them")
    func invariance() {
        for value in [0, 100, 255] as [UInt8] { #expect(edges(picture(17, 33) { _, _ in value }, 17, 33) == []) }
        // Slopes that differ everywhere, so that no plateau prefers a side.
        let values = Philox(seed: 5, purpose: 9).normals(40 * 24).values
        let noisy = picture(40, 24) { y, x in UInt8(min(max(Float(y * 3 + x * 2) + 40 * values[y * 24 + x], 0), 255)) }
        let turned = picture(24, 40) { y, x in noisy[x * 24 + y] }
        let (straight, transposed) = (edges(noisy, 40, 24), edges(turned, 24, 40))
        let different = straight.symmetricDifference(transposed.map { [$0[1], $0[0]] })
        #expect(straight.count > 50 && different.count * 20 < straight.count, "\(different.count)/\(straight.count)")
    }

    @Test("U17 sums add up to the edges, and a selection has distinct tokens, the same every time")
    func selection() {
        let pixels = discs(width: 160, height: 96)
        let map = EdgeMap(pixels, range: .official)
        #expect(map.sums.count == 60)
        #expect(map.sums.reduce(0, +) == 255 * map.edges.count { $0 == 255 })
        for count in [0, 1, 18, 60] {
            let selected = map.selection(count, seed: 7)
            #expect(selected.count == count && Set(selected).count == count && selected == selected.sorted())
            #expect(EdgeMap(pixels, range: .official).selection(count, seed: 7) == selected)
            let least = selected.map { map.sums[$0] }.min() ?? .max
            let rest = Set(0..<60).subtracting(selected).map { map.sums[$0] }.max() ?? 0
            #expect(least >= rest)
        }
        let black = EdgeMap(Pixels(planes: Tensor(repeating: -1, shape: [3, 96, 160])), range: .official)
        let (seven, eight) = (black.selection(20, seed: 7), black.selection(20, seed: 8))
        #expect(Set(seven).count == 20 && seven != eight && seven != Array(0..<20))
    }

    @Test("U17 with tie noise the official float32 rule orders tokens without edges only")
    func tieNoise() {
        var gray = [UInt8](repeating: 0, count: 32 * 48)
        for row in 0..<32 { for column in 24..<48 { gray[row * 48 + column] = 255 } }
        let map = EdgeMap(gray: gray, rows: 32, columns: 48)
        #expect(map.sums == [0, 16 * 255, 0, 0, 16 * 255, 0])
        let sums = map.noisySums(Tensor([-1, -3, 2, 1, 3, 0.5], shape: [6]))
        #expect(sums[1] == 4080 && sums[4] == 4080 && sums[2] == 2e-6)
        #expect(EdgeMap.selection(3, noisySums: sums) == [1, 2, 4])
        #expect(EdgeMap.selection(1, noisySums: sums) == [1])
    }

    @Test("the tie noise of a trace makes the official rule choose as the seed does, equal sums of any size included")
    func recordedTieNoise() {
        var gray = [UInt8](repeating: 0, count: 512 * 512)
        for row in 0..<512 {
            for column in 0..<512 where row < 256 && (column / 16 % 3 == 1 || row % 2 == 0 && column < 256) {
                gray[row * 512 + column] = 255
            }
        }
        let map = EdgeMap(gray: gray, rows: 512, columns: 512)
        #expect(Set(map.sums).count < 60 && map.sums.contains(0), "hardly any ties: \(Set(map.sums))")
        for seed in [0, 7, .max] as [UInt64] {
            let sums = map.noisySums(map.tieNoise(seed: seed))
            for count in [1, 100, 307, 512, 700, 1024] {
                #expect(EdgeMap.selection(count, noisySums: sums) == map.selection(count, seed: seed), "\(count)")
            }
            #expect(zip(sums.values, map.sums).allSatisfy { $0 >= Float($1) && $0 < Float($1 + 255) })
        }
    }

    @Test("U18 official gray clips the darker half, and truncates")
    func gray() {
        func gray(_ value: Float, _ range: RALUSettings.Gray) -> UInt8 {
            EdgeMap.gray(Pixels(planes: Tensor(repeating: value, shape: [3, 1, 1])), range: range)[0]
        }
        for (value, expected) in [(-1, 0), (0, 0), (0.5, 127), (2, 255), (-7, 0), (.nan, 0), (.infinity, 255)]
            as [(Float, UInt8)]
        {
            #expect(gray(value, .official) == expected, "\(value)")
        }
        #expect(gray(1, .official) >= 254)
        #expect(gray(-1, .normalised) == 0 && gray(0, .normalised) == 127 && gray(1, .normalised) >= 254)
        // 0.299, 0.587 and 0.114 of full brightness.
        let primaries = Pixels(planes: Tensor([1, 0, 0, 0, 1, 0, 0, 0, 1], shape: [3, 1, 3]))
        #expect(EdgeMap.gray(primaries, range: .official) == [76, 149, 29])
    }
}
