/// SentencePiece's compiled normalisation: a trie of character sequences and what they become.
///
/// The blob is the trie's size, a darts-clone double array and the replacements as NUL-terminated texts. Applied as the
/// `tokenizers` library applies it, which is what T5's pipelines run: to each grapheme cluster of up to five bytes as a
/// whole, else to its characters one by one; the *shortest* key that begins the text decides. Source:
/// huggingface/spm_precompiled and s-yata/darts-clone.
struct CharacterMap: Sendable {
    /// Bytes of a replacement at most, since each character of a prompt may become one; the longest of Unicode's has 33.
    static let longestReplacement = 64
    /// What to say of a blob that is no map.
    static let unusable = "its character map is broken, or replaces by more than \(longestReplacement) bytes"

    private let units: [UInt32]
    private let texts: [UInt8]

    /// Splits the blob; nil when its sizes contradict each other, or a replacement is too long.
    init?(_ blob: [UInt8]) {
        guard blob.count >= 4 else { return nil }
        func word(at index: Int) -> UInt32 {
            blob.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: index, as: UInt32.self)) }
        }
        let size = Int(word(at: 0))
        guard size > 0, size % 4 == 0, size <= blob.count - 4 else { return nil }
        units = (0..<size / 4).map { word(at: 4 + 4 * $0) }
        texts = Array(blob[(4 + size)...])
        // From one NUL to the next: the trie may lead into the middle of a text, which only makes it shorter.
        var length = 0
        for byte in texts {
            length = byte == 0 ? 0 : length + 1
            guard length <= Self.longestReplacement else { return nil }
        }
    }

    /// Replaces whatever the map lists.
    func callAsFunction(_ text: String) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        var changed = false
        for cluster in text {
            let bytes = cluster.utf8
            if bytes.count < 6, let replacement = replacement(bytes) {
                result += replacement
                changed = true
                continue
            }
            for scalar in cluster.unicodeScalars {
                let bytes = UTF8.encode(scalar).map(Array.init) ?? []
                if let replacement = replacement(bytes) {
                    result += replacement
                    changed = true
                } else {
                    result += bytes
                }
            }
        }
        return changed ? String(decoding: result, as: UTF8.self) : text
    }

    /// What the shortest key that `bytes` begin with becomes.
    private func replacement(_ bytes: some Sequence<UInt8>) -> ArraySlice<UInt8>? {
        guard let root = units.first else { return nil }
        var position = Self.offset(root)
        for byte in bytes {
            if byte == 0 { return nil }
            position ^= Int(byte)
            guard units.indices.contains(position) else { return nil }
            let unit = units[position]
            guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
            position ^= Self.offset(unit)
            guard units.indices.contains(position) else { return nil }
            if unit >> 8 & 1 == 1 {
                let start = Int(units[position] & 0x7FFF_FFFF)
                guard start <= texts.count else { return nil }
                return texts[start...].prefix { $0 != 0 }
            }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 0x200) >> 6) }
}
