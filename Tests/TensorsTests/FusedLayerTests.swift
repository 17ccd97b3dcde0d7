import Foundation
import Plan
import Testing

@testable import Tensors

/// Every class and format on 1 and 3 threads.
private let computes: [(compute: Compute, format: ComputeFormat)] = KernelClass.supported.compactMap {
    KernelClass.named($0)
}
.flatMap { kernels in
    ComputeFormat.allCases.filter { kernels.computing(in: $0) != nil }.flatMap { format in
        [1, 3].map { (Compute(threads: $0, kernels: kernels), format) }
    }
}

private func name(_ compute: Compute, _ format: ComputeFormat) -> Comment {
    "\(format) \(compute.kernels.instructions), \(compute.pool.threads) threads"
}

@Suite struct FusedLayerTests {
    @Test(arguments: [(1, 1, 1, 1), (5, 33, 40, 17), (203, 300, 700, 50), (97, 1601, 72, 16), (35, 64, 1700, 16)])
    func `a layer and GELU in one give what they give one after the other`(
        rows: Int, depth: Int, hidden: Int, columns: Int
    ) {
        let x = noise([rows, depth])
        let (w, b) = (noise([hidden, depth], seed: 2, scale: 0.2), noise([hidden], seed: 3))
        let v = noise([columns, hidden], seed: 4)
        for (compute, format) in computes {
            let up = Linear(weight: w, bias: b, compute: compute, format: format)
            let down = Linear(weight: v, bias: nil, compute: compute, format: format)
            let expected = down(compute.geluTanh(up(x)))
            #expect(
                down(up.geluTanh(compute.operand(x, format: format), format: format)) == expected, name(compute, format)
            )
        }
    }

    @Test func `a gated sum onto a stream gives what layer and sum give`() {
        let (x, stream, gate) = (noise([131, 90]), noise([131, 100], seed: 2), noise([100], seed: 3))
        let (w, b) = (noise([100, 90], seed: 4), noise([100], seed: 5))
        for (compute, format) in computes {
            let layer = Linear(weight: w, bias: b, compute: compute, format: format)
            let expected = compute.gatedSum(stream, layer(x), gate: gate)
            var y = stream
            layer.addGated(compute.operand(x, format: format), to: &y, gate: gate)
            #expect(y == expected, name(compute, format))
            let other = noise([131, 100], seed: 6)
            var z = stream
            layer.addGated(compute.operand(x, format: format), and: other, to: &z, gate: gate)
            #expect(z == compute.gatedSum(stream, compute.sum(other, layer(x)), gate: gate), name(compute, format))
        }
    }

    @Test func `an operand of some rows, of a norm, or written into a larger result changes no bit`() {
        let (x, w, b) = (noise([140, 600]), noise([50, 600], seed: 2), noise([50], seed: 3))
        let (shift, scale) = (noise([600], seed: 4), noise([600], seed: 5))
        for (compute, format) in computes {
            let layer = Linear(weight: w, bias: b, compute: compute, format: format)
            let all = layer(x)
            #expect(
                layer(compute.operand(x, rows: 37..<111, format: format)) == all.rows(37..<111), name(compute, format))
            let normed = compute.modulatedNorm(x, shift: shift, scale: scale, epsilon: 1e-6)
            #expect(
                layer(compute.modulatedNorm(x, shift: shift, scale: scale, epsilon: 1e-6, format: format))
                    == layer(normed),
                name(compute, format))
            var joined = Tensor(repeating: 7, shape: [150, 5, 10])
            layer.write(compute.operand(x, format: format), into: &joined, from: 10)
            #expect(joined.rows(0..<10).values.allSatisfy { $0 == 7 } && joined.rows(10..<150).values == all.values)
        }
    }

    @Test func `norm and rotation in one pass, each part with its weight, give what they give one after the other`() {
        let x = noise([70, 3, 24])
        let weights = [noise([24], seed: 2), noise([24], seed: 3)]
        let rotation = Rotation(positions: noise([70, 3], seed: 4, scale: 20), axes: [8, 8, 8])
        for compute in equalComputes {
            let parts = [0..<20, 20..<70]
            let expected = compute.rotated(
                concatenated(zip(parts, weights).map { compute.rmsNorm(x.rows($0), weight: $1, epsilon: 1e-6) }),
                by: rotation)
            var y = x
            compute.normaliseAndRotate(&y, parts: Array(zip(parts, weights)), by: rotation, epsilon: 1e-6)
            #expect(y == expected, "\(compute.kernels.instructions)")
        }
    }
}

@Suite struct SpareMemoryTests {
    private func block(_ size: Int) -> UnsafeMutableRawPointer { .allocate(byteCount: size, alignment: 64) }

    @Test func `a block is given again for its size only, and the oldest goes when there are too many`() {
        let spare = SpareMemory(limit: 1 << 20)
        let blocks = [1 << 18, 1 << 19, 1 << 18].map { (block($0), $0) }
        for (base, size) in blocks { spare.give(base, size) }
        #expect(spare.take(1 << 17) == nil)
        #expect(spare.take(1 << 19) == blocks[1].0)
        #expect(spare.take(1 << 19) == nil)
        // Of two of one size the one that was used last, which caches may still hold.
        #expect(spare.take(1 << 18) == blocks[2].0)
        spare.give(blocks[1].0, 1 << 19)
        spare.give(blocks[2].0, 1 << 18)
        // 1 MiB is kept; 128 KiB more are too much, and the first one is the oldest.
        spare.give(block(1 << 17), 1 << 17)
        #expect(spare.take(1 << 18) == blocks[2].0)
        #expect(spare.take(1 << 18) == nil)
        free(blocks[2].0)
    }

    @Test func `what is small or larger than all that may be kept is not kept`() {
        let spare = SpareMemory(limit: 1 << 20)
        for size in [1 << 16, 1 << 21] {
            spare.give(block(size), size)
            #expect(spare.take(size) == nil)
        }
    }
}
