import Testing

@testable import Imaging

private func picture(_ width: Int, _ height: Int) -> [UInt8] {
    (0..<3 * width * height).map { UInt8(truncatingIfNeeded: $0 &* 37 ^ $0 / 5) }
}

@Suite("PNG files")
struct PNGTests {
    @Test("decoding gives back pixels and texts", arguments: [(1, 1), (3, 2), (17, 33), (64, 64)])
    func roundTrip(width: Int, height: Int) throws {
        let rgb = picture(width, height)
        let text = [
            (key: "parameters", value: "a cat\nSteps: 4"), (key: "latin", value: "Café crème"),
            (key: "abbozzo", value: "東京の夜景 🌧️ {\"a\": 1}"), (key: "empty", value: ""),
        ]
        let image = try PNG.decode(PNG.encode(rgb8: rgb, width: width, height: height, text: text))
        #expect(image.width == width && image.height == height)
        #expect(image.rgb8 == rgb)
        #expect(image.text.map(\.key) == text.map(\.key))
        #expect(image.text.map(\.value) == text.map(\.value))
    }

    @Test("text that Latin-1 can write is plain tEXt, other text iTXt, and there is no time")
    func chunks() throws {
        let bytes = try PNG.encode(
            rgb8: picture(4, 4), width: 4, height: 4, text: [("parameters", "Café"), ("abbozzo", "東京")])
        #expect(chunkNames(bytes) == ["IHDR", "tEXt", "iTXt", "IDAT", "IEND"])
        let again = try PNG.encode(
            rgb8: picture(4, 4), width: 4, height: 4, text: [("parameters", "Café"), ("abbozzo", "東京")])
        #expect(again == bytes)
    }

    @Test("every cut and every flipped byte is an error, never a crash")
    func damage() throws {
        let bytes = try PNG.encode(
            rgb8: picture(9, 7), width: 9, height: 7, text: [("parameters", "a"), ("abbozzo", "é東")])
        for length in 0..<bytes.count - 1 {
            #expect(throws: PNGError.self) { try PNG.decode(Array(bytes.prefix(length))) }
        }
        for index in bytes.indices {
            for bit in [0x01, 0x80] as [UInt8] {
                var damaged = bytes
                damaged[index] ^= bit
                #expect(throws: PNGError.self, "byte \(index)") { try PNG.decode(damaged) }
            }
        }
        #expect(throws: PNGError.self) { try PNG.decode(Array("GIF89a....".utf8)) }
    }

    @Test("a small file that announces a huge picture is refused before anything is allocated for it")
    func hugeSize() throws {
        var bytes = try PNG.encode(rgb8: picture(1, 1), width: 1, height: 1)
        // Width and height follow the signature, and length and name of the chunk; then their check sum.
        bytes.replaceSubrange(16..<24, with: [0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00])
        bytes.replaceSubrange(29..<33, with: bigEndian(crc(bytes[12..<29])))
        #expect(throws: PNGError(text: "it has too many pixels")) { try PNG.decode(bytes) }
    }

    @Test("of a file with hundreds of texts only the first ones are kept")
    func manyTexts() throws {
        let texts = (0..<500).map { (key: "k\($0)", value: "v") }
        let image = try PNG.decode(PNG.encode(rgb8: picture(1, 1), width: 1, height: 1, text: texts))
        #expect(1...32 ~= image.text.count && image.text[0].key == "k0")
    }

    @Test("impossible pictures and texts are refused with the reason")
    func refusals() {
        #expect(throws: PNGError(text: "11 bytes are no picture of 2x2")) {
            try PNG.encode(rgb8: picture(2, 2).dropLast(), width: 2, height: 2)
        }
        #expect(throws: PNGError.self) { try PNG.encode(rgb8: [], width: 0, height: 0) }
        #expect(throws: PNGError.self) { try PNG.encode(rgb8: [], width: .max, height: .max) }
        #expect(throws: PNGError.self) {
            try PNG.encode(rgb8: picture(1, 1), width: 1, height: 1, text: [("", "empty key")])
        }
        #expect(throws: PNGError.self) {
            try PNG.encode(rgb8: picture(1, 1), width: 1, height: 1, text: [(String(repeating: "k", count: 80), "")])
        }
        #expect(throws: PNGError(text: "the text under \"a\" contains NUL")) {
            try PNG.encode(rgb8: picture(1, 1), width: 1, height: 1, text: [("a", "b\0c")])
        }
    }

    private func chunkNames(_ bytes: [UInt8]) -> [String] {
        var names: [String] = []
        var next = 8
        while next + 8 <= bytes.count {
            let length = bytes[next..<next + 4].reduce(0) { $0 << 8 | Int($1) }
            names.append(String(decoding: bytes[next + 4..<next + 8], as: UTF8.self))
            next += length + 12
        }
        return names
    }

    private func crc(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var value: UInt32 = .max
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
        }
        return ~value
    }

    private func bigEndian(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
}
