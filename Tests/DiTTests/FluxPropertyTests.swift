import Plan
import TestKit
import Tensors
import Testing

@testable import DiT

/// What must hold for any weights.
@Suite struct FluxPropertyTests {
    @Test(arguments: 1..<5, ComputeFormat.allCases)
    func `a plan cut in two gives the bytes of the uncut one`(_ cut: Int, _ format: ComputeFormat) throws {
        let whole = try Reference("flux-dev", "mixed", format: format)
        let folder = try Golden("flux-dev").modelFolder
        let count = whole.flux.parameters.blockCount
        let first = try Flux(folder: folder, span: 0..<cut, compute: compute(format, threads: 1))
        let second = try Flux(folder: folder, span: cut..<count, compute: compute(format, threads: 3))

        var stream = first.embed(whole.latents, whole.input, sigma: whole.sigma, guidance: whole.guidance)
        first.run(blocks: 0..<cut, &stream)
        second.run(blocks: cut..<count, &stream)
        #expect(second.head(stream) == whole.velocity())
        #expect(first.weightBytes + second.weightBytes == whole.flux.weightBytes)
    }

    @Test func `a span in the middle holds its blocks and nothing else`() throws {
        let whole = try Reference("flux-dev", "r0")
        let middle = try Flux(folder: Golden("flux-dev").modelFolder, span: 1..<3, compute: Compute(threads: 1))
        var (stream, expected) = (whole.embedded(), whole.embedded())
        whole.flux.run(blocks: 0..<1, &stream)
        whole.flux.run(blocks: 0..<3, &expected)
        middle.run(blocks: 1..<3, &stream)
        #expect(stream == expected)
        #expect(middle.normalisedForHead(stream) == nil)
    }

    @Test func `permuting tokens with their positions permutes the velocity`() throws {
        var reference = try Reference("flux-dev", "mixed")
        let velocity = reference.velocity()
        let count = reference.latents.count
        let order = (0..<count).map { ($0 * 29 + 7) % count }
        #expect(Set(order).count == count)
        reference.latents = Latents(
            tokens: reference.latents.tokens.gathered(order), positions: reference.latents.positions.gathered(order))
        expectClose(
            reference.velocity(), velocity.gathered(order), tolerance: try reference.golden.tolerance("mixed.out"))
    }

    @Test func `positions and guidance change the velocity`() throws {
        var reference = try Reference("flux-dev", "r0")
        let velocity = reference.velocity()
        var stream = reference.flux.embed(
            reference.latents, reference.input, sigma: reference.sigma, guidance: reference.guidance + 1)
        reference.flux.run(blocks: 0..<reference.flux.parameters.blockCount, &stream)
        #expect(largestDifference(reference.flux.head(stream), velocity) > 0.01)
        reference.latents.positions[1] += 0.5
        #expect(largestDifference(reference.velocity(), velocity) > 0.01)
    }

    @Test func `progress names each block once and in order`() throws {
        let reference = try Reference("flux-schnell", "r0")
        var (stream, seen): (Stream, [Int]) = (reference.embedded(), [])
        reference.flux.run(blocks: 1..<5, &stream) { seen.append($0) }
        #expect(seen == [1, 2, 3, 4])
    }

    @Test(arguments: ComputeFormat.allCases)
    func `the number of threads does not change a bit`(_ format: ComputeFormat) throws {
        let velocities = try [1, 2, 5].map { try Reference("flux-dev", "r1", threads: $0, format: format).velocity() }
        #expect(velocities[0] == velocities[1])
        #expect(velocities[0] == velocities[2])
    }

    @Test(arguments: [("flux-dev", "r0"), ("flux-dev", "mixed"), ("flux-schnell", "r0"), ("flux-schnell", "mixed")])
    func `shorter formats stay near f32`(_ model: String, _ run: String) throws {
        let exact = try Reference(model, run).velocity()
        for (format, cosine, distance) in [(ComputeFormat.bf16, 0.99999, 0.004), (.int8, 0.9999, 0.015)] {
            let short = try Reference(model, run, format: format).velocity()
            let closeness = Closeness(short, to: exact)
            #expect(short != exact && closeness.cosine > cosine && closeness.distance < distance, "\(format)")
        }
    }

    @Test func `shorter formats take less memory`() throws {
        let bytes = try ComputeFormat.allCases.map { try Reference("flux-dev", "r0", format: $0).flux.weightBytes }
        #expect(bytes[1] < bytes[0] && bytes[2] < bytes[1])
    }
}

/// How far a tensor is from another.
private struct Closeness {
    /// Of the angle between them.
    let cosine: Double
    /// Length of the difference over that of the other.
    let distance: Double

    init(_ x: Tensor, to y: Tensor) {
        var (xx, yy, xy, dd) = (0.0, 0.0, 0.0, 0.0)
        for (a, b) in zip(x.values, y.values) {
            let (a, b) = (Double(a), Double(b))
            (xx, yy, xy, dd) = (xx + a * a, yy + b * b, xy + a * b, dd + (a - b) * (a - b))
        }
        (cosine, distance) = (xy / (xx * yy).squareRoot(), (dd / yy).squareRoot())
    }
}
