internal import CShims
internal import Glibc

/// PNG files of 8-bit RGB pictures with text in them.
///
/// Encoding is a function of its arguments: no clock, and fixed compression and filters.
package enum PNG {
    /// Most pixels that are decoded: a small file must not announce a large picture.
    package static let pixelLimit = 1 << 28

    /// A decoded picture.
    package struct Image: Equatable, Sendable {
        /// Columns.
        package let width: Int
        /// Rows.
        package let height: Int
        /// Interleaved rows.
        package let rgb8: [UInt8]
        /// Text chunks in the order of the file.
        package let text: [Text]

        /// The first text under a key.
        package func text(_ key: String) -> String? { text.first { $0.key == key }?.value }
    }

    /// One text chunk.
    package struct Text: Codable, Equatable, Sendable {
        /// 1 to 79 Latin-1 characters.
        package let key: String
        /// Any text without NUL.
        package let value: String
    }

    /// Encodes interleaved RGB rows.
    ///
    /// Texts that Latin-1 can write become tEXt chunks, others iTXt, as other programs read both.
    package static func encode(
        rgb8: [UInt8], width: Int, height: Int, text: [(key: String, value: String)] = []
    ) throws(PNGError) -> [UInt8] {
        guard width >= 1, height >= 1, width <= pixelLimit / height, rgb8.count == 3 * width * height else {
            throw PNGError(text: "\(rgb8.count) bytes are no picture of \(width)x\(height)")
        }
        var chunks: [abz_png_text] = []
        defer {
            for chunk in chunks {
                free(chunk.key)
                free(chunk.text)
            }
        }
        for (key, value) in text { chunks.append(try chunk(key: key, value: value)) }
        var bytes: UnsafeMutablePointer<UInt8>?
        var length = 0
        var error = [CChar](repeating: 0, count: Int(ABZ_PNG_ERROR))
        let status = abz_png_encode(
            rgb8, UInt32(width), UInt32(height), chunks, Int32(chunks.count), &bytes, &length, &error)
        defer { free(bytes) }
        guard status == 0 else { throw PNGError(text: message(error)) }
        return Array(UnsafeBufferPointer(start: bytes, count: length))
    }

    /// Decodes a file; palettes, gray and 16 bits become 8-bit RGB, and alpha is dropped.
    package static func decode(_ bytes: [UInt8]) throws(PNGError) -> Image {
        var image = abz_png_image()
        var error = [CChar](repeating: 0, count: Int(ABZ_PNG_ERROR))
        guard abz_png_decode(bytes, bytes.count, UInt64(pixelLimit), &image, &error) == 0 else {
            throw PNGError(text: message(error))
        }
        defer { abz_png_release(&image) }
        let texts = UnsafeBufferPointer(start: image.texts, count: Int(image.text_count)).map { chunk in
            Text(key: string(chunk.key, utf8: false), value: string(chunk.text, utf8: chunk.utf8 != 0))
        }
        let (width, height) = (Int(image.width), Int(image.height))
        let rgb = UnsafeBufferPointer(start: image.rgb, count: 3 * width * height)
        return Image(width: width, height: height, rgb8: Array(rgb), text: texts)
    }

    private static func chunk(key: String, value: String) throws(PNGError) -> abz_png_text {
        guard let name = latin1(key), (1...79).contains(name.count), !name.contains(0) else {
            throw PNGError(text: "\"\(key.prefix(80))\" cannot name a text: 1 to 79 Latin-1 characters are needed")
        }
        guard !value.utf8.contains(0) else { throw PNGError(text: "the text under \"\(key)\" contains NUL") }
        let plain = latin1(value)
        return abz_png_text(key: copied(name), text: copied(plain ?? Array(value.utf8)), utf8: plain == nil ? 1 : 0)
    }

    private static func latin1(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            guard let byte = UInt8(exactly: scalar.value) else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    private static func copied(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar>? {
        (bytes + [0]).withUnsafeBytes { source in
            let copy = malloc(source.count)
            if let copy, let base = source.baseAddress { memcpy(copy, base, source.count) }
            return copy?.assumingMemoryBound(to: CChar.self)
        }
    }

    private static func string(_ text: UnsafeMutablePointer<CChar>?, utf8: Bool) -> String {
        guard let text else { return "" }
        let bytes = UnsafeBufferPointer(start: text, count: strlen(text)).map { UInt8(bitPattern: $0) }
        if utf8 { return String(decoding: bytes, as: UTF8.self) }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: bytes.map { Unicode.Scalar($0) })
        return String(result)
    }

    private static func message(_ error: [CChar]) -> String {
        String(decoding: error.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Why a PNG could not be written or read.
package struct PNGError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What libpng or the check before it said.
    package let text: String

    /// One line for people.
    package var description: String { "PNG: \(text)" }
}
