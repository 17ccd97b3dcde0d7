import CKernels
import Foundation
import Plan
import Tensors
import Testing

@Suite struct LinearTests {
    /// The promise word for word: one chain of fused multiply-adds over ascending k, the bias last.
    private func chain(_ x: Tensor, _ w: Tensor, _ b: Tensor?) -> Tensor {
        let (rows, depth, columns) = (x.shape[0], x.shape[1], w.shape[0])
        var y = Tensor(uninitialized: [rows, columns])
        for i in 0..<rows {
            for j in 0..<columns {
                var sum: Float = 0
                for k in 0..<depth { sum.addProduct(x[i * depth + k], w[j * depth + k]) }
                y[i * columns + j] = b.map { sum + $0[j] } ?? sum
            }
        }
        return y
    }

    @Test(arguments: tails)
    func `Each output is one ascending chain of fused multiply-adds`(length: Int) {
        for (rows, columns, depth) in [(length, 50, 40), (9, length, 33), (13, 70, length), (length, length, length)] {
            guard rows * columns * depth > 0 else { continue }
            let (x, w, b) = (noise([rows, depth]), noise([columns, depth], seed: 2), noise([columns], seed: 3))
            let (plain, biased) = (chain(x, w, nil), chain(x, w, b))
            for compute in equalComputes {
                #expect(Linear(weight: w, bias: nil, compute: compute)(x) == plain)
                #expect(Linear(weight: w, bias: b, compute: compute)(x) == biased)
            }
        }
    }

    @Test func `Blocks over k and many tiles change no bit`() {
        let (x, w, b) = (noise([151, 800]), noise([273, 800], seed: 2), noise([273], seed: 3))
        let expected = chain(x, w, b)
        expectEqualBits { compute in
            let y = Linear(weight: w, bias: b, compute: compute)(x)
            #expect(y == expected)
            return y
        }
    }

    @Test func `Values are near double precision`() {
        let (x, w, b) = (noise([20, 300]), noise([40, 300], seed: 2), noise([40], seed: 3))
        var expected: [Double] = []
        for i in 0..<20 {
            for j in 0..<40 {
                let terms = (0..<300).map { Double(x[i * 300 + $0]) * Double(w[j * 300 + $0]) }
                expected.append(terms.reduce(Double(b[j]), +))
            }
        }
        for name in KernelClass.supported {
            guard let kernels = KernelClass.named(name) else { continue }
            let y = Linear(weight: w, bias: b, compute: Compute(threads: 2, kernels: kernels))(x)
            expectNear(y, expected, absolute: 3e-5, name)
        }
    }

    @Test(arguments: KernelClass.supported)
    func `A row alone gives the same bits as in a batch`(name: String) throws {
        let kernels = try #require(KernelClass.named(name))
        let (x, w, b) = (noise([203, 520]), noise([300, 520], seed: 2), noise([300], seed: 3))
        let layers = [1, 2, 3].map { Linear(weight: w, bias: b, compute: Compute(threads: $0, kernels: kernels)) }
        let batch = layers[0](x)
        for layer in layers {
            #expect(layer(x) == batch)
            for rows in [0..<1, 5..<6, 95..<97, 100..<203, 202..<203] {
                #expect(layer(x.rows(rows)) == batch.rows(rows), "rows \(rows)")
            }
        }
    }

    @Test(arguments: ComputeFormat.allCases, [1616, 1617])
    func `A result past the caches has the bits of its rows by themselves`(format: ComputeFormat, columns: Int) {
        // 8 MiB and a little more; 1616 columns are not whole panels, 1617 do not begin their rows at a cache line.
        let (rows, parts) = (1301, [0..<400, 400..<401, 401..<1000, 1000..<1301])
        let (x, w, b) = (noise([rows, 24]), noise([columns, 24], seed: 2), noise([columns], seed: 3))
        for compute in equalComputes where [1, 3].contains(compute.pool.threads) {
            let layer = Linear(weight: w, bias: b, compute: compute, format: format)
            let whole = layer(x)
            for part in parts {
                #expect(layer(x.rows(part)) == whole.rows(part), "\(compute.kernels.instructions), rows \(part)")
            }
        }
    }

    @Test(arguments: fusedClasses.map(\.instructions), [0, 1] as [Int32])
    func `Sums past the caches are the same and stay in their columns`(instructions: String, onto: Int32) throws {
        let table = abz_kernels_named(instructions).pointee
        let (rows, columns, stored, depth) = (13, 77, 80, 24)
        let (x, w, before) = (noise([rows, depth]), noise([columns, depth], seed: 2), noise([rows, stored], seed: 3))
        let pack = try #require(table.f32.pack), prepare = try #require(table.f32.prepare)
        var (panels, prepared) = ([Float](repeating: .nan, count: stored * depth), [Float](repeating: 0, count: 4096))
        for first in stride(from: 0, to: stored, by: table.panel_columns) {
            let (count, width) = (min(columns - first, table.panel_columns), min(stored - first, table.panel_columns))
            w.withUnsafeBuffer { w in
                panels.withUnsafeMutableBufferPointer { panels in
                    pack(
                        w.baseAddress.map { $0 + first * depth }, depth, count, depth, width,
                        panels.baseAddress.map { $0 + first * depth }, nil, nil)
                }
            }
        }
        x.withUnsafeBuffer { prepare($0.baseAddress, depth, rows, depth, depth, &prepared, depth) }
        let results = [0, 1].map { streams in
            let c = UnsafeMutableRawPointer.allocate(byteCount: rows * stored * 4, alignment: 64)
                .bindMemory(to: Float.self, capacity: rows * stored)
            defer { c.deallocate() }
            before.withUnsafeBuffer { c.update(from: $0.baseAddress!, count: rows * stored) }
            prepared.withUnsafeBytes { a in
                panels.withUnsafeBytes { panels in
                    var product = abz_product()
                    (product.a, product.a_stride, product.rows_in_tiles) = (a.baseAddress, depth, table.rows_in_tiles)
                    (product.panels, product.panel_depth, product.depth) = (panels.baseAddress, depth, depth)
                    (product.c, product.c_stride, product.rows, product.columns) = (c, stored, rows, columns)
                    (product.onto, product.streams) = (onto, Int32(streams))
                    table.f32.product(&product)
                }
            }
            return Tensor(Array(UnsafeBufferPointer(start: c, count: rows * stored)), shape: [rows, stored])
        }
        #expect(results[0] == results[1])
        for row in 0..<rows {
            #expect((columns..<stored).allSatisfy { results[1][row * stored + $0] == before[row * stored + $0] })
            #expect(results[1][row * stored] != before[row * stored])
        }
    }

    @Test func `No rows give no rows`() {
        let layer = Linear(weight: noise([5, 3]), bias: nil, compute: Compute(threads: 2))
        #expect(layer(Tensor([], shape: [0, 3])).shape == [0, 5])
    }

    @Test func `The packed weight is no larger than the weight rounded up to 16 columns`() {
        // The C layout: a panel of 20 columns is stored 32 wide, the rest zero.
        let weight = noise([20, 3])
        var panel = [Float](repeating: .nan, count: 32 * 3)
        let pack = abz_kernels_named("portable").pointee.f32.pack
        weight.withUnsafeBuffer { pack?($0.baseAddress, 3, 20, 3, 32, &panel, nil, nil) }
        for k in 0..<3 {
            for j in 0..<32 { #expect(panel[k * 32 + j] == (j < 20 ? weight[j * 3 + k] : 0)) }
        }
    }

    @Test func `A wrong width is refused`() async {
        await #expect(processExitsWith: .failure) {
            _ = Linear(weight: Tensor(shape: [2, 3]), bias: nil, compute: Compute(threads: 1))(Tensor(shape: [1, 4]))
        }
    }
}

@Suite struct KernelClassTests {
    @Test func `All fused classes have one name and OpenBLAS another`() throws {
        #expect(Set(fusedClasses.map(\.name)) == ["f32-fma"])
        #expect(try #require(KernelClass.named("openblas")).name.hasPrefix("f32-openblas-"))
        #expect(KernelClass.named("sse9") == nil)
    }

    @Test func `The bytes of VNNI run on every processor, under the name of its class, and by name alone`() throws {
        let bytes = try #require(KernelClass.named("portable-bytes")?.computing(in: .int8))
        #expect(bytes.name == "int8-fma-3")
        if let vnni = KernelClass.named("avx512vnni") { #expect(vnni.computing(in: .int8)?.name == bytes.name) }
        #expect(String(cString: abz_kernels_best().pointee.name) != "portable-bytes")
    }

    @Test func `The environment picks the class, and a name that is none is refused with those that are`() async {
        await #expect(processExitsWith: .success) {
            setenv("ABBOZZO_KERNELS", "portable", 1)
            precondition(KernelClass.refusedWish == nil && KernelClass.current.instructions == "portable")
        }
        await #expect(processExitsWith: .success) {
            setenv("ABBOZZO_KERNELS", "sse9", 1)
            precondition(
                KernelClass.refusedWish?.hasPrefix("ABBOZZO_KERNELS is \"sse9\", but this processor runs ") == true
                    && KernelClass.refusedWish?.contains("portable, ") == true)
        }
    }

    @Test func `A ceiling is that of the class in use, not of what the processor could do besides`() {
        // (instructions, operations of a round in f32, bf16 and int8): sums, lanes, products a lane, two each.
        let vectors: [(String, [Double])] = [
            ("avx512bf16", [14 * 16 * 2, 14 * 16 * 4, 14 * 16 * 8]),
            ("avx512vnni", [14 * 16 * 2, 14 * 16 * 2, 14 * 16 * 8]),
            ("avx512", [14 * 16 * 2, 14 * 16 * 2, 14 * 16 * 4]),
            ("avx2", [12 * 8 * 2, 12 * 8 * 2, 12 * 8 * 4]),
        ]
        let portable = ["portable", "portable-bytes"].map { ($0, [12 * 4 * 2, 12 * 4 * 2, 12 * 4 * 2] as [Double]) }
        #if arch(x86_64)
            let expected = vectors + portable
        #else
            let expected = vectors.map { ($0.0, [12 * 4 * 2, 12 * 4 * 2, 12 * 4 * 2] as [Double]) } + portable
        #endif
        for (instructions, operations) in expected {
            let found = ComputeFormat.allCases.map { abz_ceiling_of(instructions, $0.rawValue).operations }
            #expect(found == operations, "\(instructions)")
        }
        for name in KernelClass.supported where name != "openblas" {
            for format in ComputeFormat.allCases {
                var sink: Float = 0
                abz_ceiling_of(name, format.rawValue).run?(1000, &sink)
                #expect(sink != 0, "\(name), \(format)")
            }
        }
    }

    @Test func `CRC32C equals the vector of RFC 3720`() {
        let digits = Array("123456789".utf8)
        #expect(abz_crc32c(0, digits, digits.count) == 0xE306_9283)
        let zeros = [UInt8](repeating: 0, count: 32)
        #expect(abz_crc32c(0, zeros, 32) == 0x8A91_36AA)
        // In pieces of all lengths, so that both the words and the single bytes are used.
        for cut in 0...9 {
            let first = abz_crc32c(0, digits, cut)
            #expect(abz_crc32c(first, Array(digits[cut...]), 9 - cut) == 0xE306_9283)
        }
    }
}
