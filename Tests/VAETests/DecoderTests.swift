import Checkpoint
import TestKit
import Tensors
import Testing

@testable import VAE

@Suite struct DecoderTests {
    let golden: GoldenFile
    let folder: ModelFolder

    init() throws {
        let flux = try Golden("flux-dev")
        (golden, folder) = (try flux.file("vae"), try flux.modelFolder)
    }

    @Test func `each module's output is the reference's`() throws {
        let decoder = try Decoder(folder: folder, compute: Compute(threads: 2))
        var taps: [(String, Tensor)] = []
        let image = try decoder.whole(try golden.tensor("t.z", item: 0)) { taps.append(($0, $1)) }
        #expect(taps.count == 9)
        for (name, tensor) in taps { try expectClose(tensor, golden, "t.decoder.\(name)", part: "modules") }
        try expectClose(taps[1].1, golden, "t.decoder.mid_block.attentions.0.in", part: "modules")
        try expectClose(image, golden, "t.image", part: "picture")
    }

    @Test(arguments: [1, 7, 1 << 14, 100_003])
    func `SiLU in place has the bits of SiLU, and does not change a tensor that others hold`(_ count: Int) {
        let x = Tensor((0..<count).map { Float($0 % 977) / 50 - 9 }, shape: [count])
        let expected = Compute(threads: 1).silu(x)
        for threads in [1, 3] { #expect(Compute(threads: threads).silu(inPlaceOf: x) == expected) }
    }

    @Test(arguments: ["r0", "r1"])
    func `latents become the reference's picture`(_ run: String) throws {
        let decoder = try Decoder(folder: folder, compute: Compute(threads: 2))
        let pixels = try decoder.decode(try golden.tensor("\(run).z", item: 0))
        try expectClose(pixels.planes, golden, "\(run).image", part: "picture")
    }

    @Test func `tiles are blended as in the reference`() throws {
        let tiling = Tiling(side: 8, overlap: 0.25)
        let decoder = try Decoder(folder: folder, tiling: tiling, compute: Compute(threads: 2))
        let z = try golden.tensor("tiled.z", item: 0)
        var planes = try decoder.decode(z).planes
        // The reference decodes the last two columns of the latent once more, alone: ours are those of the tile before.
        let (own, reference) = (planes, try golden.tensor("tiled.image", item: 0))
        let (height, width, end) = (planes.shape[1], planes.shape[2], 12 * 8)
        try #require(width == 14 * 8)
        for row in 0..<3 * height { for x in end..<width { planes[row * width + x] = reference[row * width + x] } }
        try expectClose(planes, golden, "tiled.image", part: "tiled")
        let last = try decoder.whole(window(of: z, rows: 6..<10, columns: 6..<14)) { _, _ in }
        // Below what is blended with the tiles above.
        var differing = 0
        for plane in 0..<3 {
            for y in 2 * 8..<last.shape[1] {
                for x in 6 * 8..<8 * 8 {
                    let whole = own[(plane * height + 6 * 8 + y) * width + 6 * 8 + x]
                    if whole != last[(plane * last.shape[1] + y) * last.shape[2] + x] { differing += 1 }
                }
            }
        }
        #expect(differing == 0)
    }

    private func window(of z: Tensor, rows: Range<Int>, columns: Range<Int>) -> Tensor {
        var part = Tensor(uninitialized: [z.shape[0], rows.count, columns.count])
        for channel in 0..<z.shape[0] {
            for (y, row) in rows.enumerated() {
                for (x, column) in columns.enumerated() {
                    part[(channel * rows.count + y) * columns.count + x] =
                        z[(channel * z.shape[1] + row) * z.shape[2] + column]
                }
            }
        }
        return part
    }

    @Test(
        "no tile is a sliver that the one before has already",
        arguments: [(8, 1), (9, 2), (14, 2), (15, 3), (20, 3), (21, 4)])
    func tileCount(_ width: Int, _ count: Int) {
        // Tiles of 8 with a step of 6: a third one needs more than 14.
        var tiles = 0
        _ = Tiling(side: 8, overlap: 0.25).decode(Tensor(repeating: 0, shape: [3, 1, width]), scale: 1) {
            tiles += 1
            return $0
        }
        #expect(tiles == count)
    }

    @Test func `a latent no larger than a tile is decoded whole`() throws {
        let compute = Compute(threads: 2)
        let z = try golden.tensor("t.z", item: 0)
        let whole = try Decoder(folder: folder, compute: compute).decode(z)
        let tiled = try Decoder(folder: folder, tiling: Tiling(side: 6, overlap: 0.5), compute: compute).decode(z)
        #expect(whole == tiled)
        #expect(Tiling.standard.side == 128)
    }

    @Test func `an overlap that is no whole number of latent pixels is refused`() async {
        await #expect(processExitsWith: .failure) { _ = Tiling(side: 6, overlap: 0.25) }
        await #expect(processExitsWith: .success) { _ = Tiling(side: 6, overlap: 0.5) }
        await #expect(processExitsWith: .failure) { _ = Tiling(side: 8, overlap: 1) }
        await #expect(processExitsWith: .failure) { _ = Tiling(side: 8, overlap: -0.25) }
    }

    @Test(arguments: [(9, 9), (13, 8), (8, 17), (22, 14), (14, 14), (10, 15)])
    func `tiles cover every pixel`(_ height: Int, _ width: Int) {
        // A decoder that repeats each pixel does not look at its surroundings: tiling must not show at all.
        var latent = Tensor(uninitialized: [3, height, width])
        for index in 0..<latent.count { latent[index] = Float(index) }
        let compute = Compute(threads: 1)
        let picture = Tiling(side: 8, overlap: 0.25).decode(latent, scale: 4) { compute.doubled(compute.doubled($0)) }
        expectClose(picture, compute.doubled(compute.doubled(latent)), tolerance: 1e-3, label: "tiled")
    }

    @Test func `the picture does not depend on the number of threads`() throws {
        let z = try golden.tensor("r1.z", item: 0)
        let pictures = try [1, 3].map { try Decoder(folder: folder, compute: Compute(threads: $0)).decode(z) }
        #expect(pictures[0] == pictures[1])
    }
}
