internal import Plan
internal import Testing

@testable internal import Wire

@Suite struct FrameTests {
    private func header() -> FrameHeader {
        var header = FrameHeader(kind: .activation)
        header.epoch = 0x1122_3344
        header.sequence = 0x0102_0304_0506_0708
        header.image = Samples.image
        header.branch = 1
        header.step = 0x0506
        header.stage = 2
        header.hop = 3
        header.chunkIndex = 1
        header.chunkCount = 2
        header.wireType = .bf16
        header.tensorCount = 4
        header.argument = 0xa1b2_c3d4
        header.totalBytes = 0x14_0000
        header.bootID = 0x1020_3040_5060_7080
        header.bodyChecksum = 0xdead_beef
        return header
    }

    private func decode(_ bytes: [UInt8]) throws(FrameError) -> FrameHeader {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: bytes)
        return try FrameHeader(UnsafeRawBufferPointer(copy), peer: "node1")
    }

    private func reason(_ bytes: [UInt8]) -> FrameError.Reason? {
        do throws(FrameError) { _ = try decode(bytes) } catch {
            #expect(error.peer == "node1")
            return error.reason
        }
        return nil
    }

    @Test("the header's layout is these 96 bytes")
    func goldenHeader() throws {
        let expected =
            "41425a4f" + "01011301" + "44332211" + "07000000" + "0807060504030201"
            + "0807060504030201100f0e0d0c0b0a09" + "01020302" + "0605" + "0100" + "0200" + "0400" + "d4c3b2a1"
            + "0000140000000000" + "8070605040302010" + "efbeadde" + String(repeating: "00", count: 16)
        let bytes = header().encoded()
        let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(hex == expected + "ac2019ee")
        #expect(try decode(bytes) == header())
    }

    @Test("a header of every kind survives the journey", arguments: MessageKind.allCases)
    func kinds(_ kind: MessageKind) throws {
        var header = FrameHeader(kind: kind)
        header.tensorCount = kind.carriesTensors ? 1 : 0
        #expect(try decode(header.encoded()) == header)
    }

    @Test("a flipped bit anywhere in the header is noticed")
    func flippedBits() {
        let bytes = header().encoded()
        for bit in 0..<bytes.count * 8 {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(reason(changed) != nil, "bit \(bit)")
        }
    }

    @Test("a header with a correct checksum and a bad field is refused by that field")
    func badFields() {
        func changed(_ offset: Int, _ values: UInt8...) -> FrameError.Reason? {
            var bytes = header().encoded()
            for (index, value) in values.enumerated() { bytes[offset + index] = value }
            return reason(sealed(bytes))
        }
        #expect(changed(0, 0x42) == .magic(0x4f5a_4242))
        #expect(changed(4, 2, 5) == .version(major: 2, minor: 5))
        #expect(changed(5, 9) == nil, "a newer minor version is understood")
        #expect(changed(6, 200) == .kind(200))
        #expect(changed(7, 3) == nil, "urgent")
        #expect(changed(7, 5) == .field("flags", value: 5))
        #expect(changed(7, 0) == .field("image without its flag", value: 7))
        #expect(changed(7, 2) == .field("image without its flag", value: 7))
        #expect(changed(40, 2) == .field("branch", value: 2))
        #expect(changed(43, 0) == .field("wire dtype", value: 0))
        #expect(changed(46, 2) == .field("chunk index", value: 2))
        #expect(changed(48, 0) == .field("chunk count", value: 0))
        #expect(changed(48, 3) == .field("chunk count", value: 3))
        #expect(changed(50, 17) == .field("tensor count", value: 17))
        #expect(changed(50, 0) == .field("tensor count", value: 0))
        #expect(changed(51, 1) == .field("byte 51", value: 1))
        #expect(changed(80, 1) == .field("byte 80", value: 1))
        #expect(changed(63, 0xff) == .field("total bytes", value: 0xff00_0000_0014_0000))
        #expect(reason(Array(header().encoded().dropLast())) == .length(frame: "header", bytes: 95, expected: 96))
        #expect(reason(header().encoded() + [0]) == .length(frame: "header", bytes: 97, expected: 96))
        #expect(reason([]) == .length(frame: "header", bytes: 0, expected: 96))
    }

    @Test("a row of the tensor table is these 32 bytes")
    func goldenRow() {
        let tensor = WireTensor(.tokens, dims: [2, 3], floats: [1, 2, 3, 4, 5, 6])
        let hex = TensorRow.table(of: [tensor]).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(
            hex == "0400" + "01" + "02" + "02000000" + "03000000" + "0000000000000000" + "1800000000000000" + "b9045180"
        )
    }

    @Test("one-line errors name the peer and the numbers")
    func texts() {
        let error = FrameError(.tooLarge(kind: .activation, bytes: 67_108_864, limit: 29_360_128), peer: "node1")
        #expect(error.description == "node1: announced 67108864 bytes for activation, the plan allows 29360128")
        #expect(FrameError(.version(major: 2, minor: 1), peer: "b").description.contains("install the same version"))
    }
}
