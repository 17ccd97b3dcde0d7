internal import Checkpoint
internal import Foundation

/// Byte-level pair merging with an end-of-word mark, as CLIP has it.
///
/// A word starts as its UTF-8 bytes, the last one marked. The pair of neighbours with the lowest rank is merged wherever
/// it occurs, from left to right, until no pair has a rank.
struct BytePairs: Sendable {
    private struct Merge {
        var rank: Int
        var symbol: Int
    }

    /// Rank and result of a pair of symbols, keyed by both.
    private let merges: [UInt64: Merge]
    /// Symbol of each byte, and of each byte at the end of a word.
    private let inner: [Int]
    private let last: [Int]
    /// Token id of each symbol.
    private let ids: [Int]

    /// Prepares a vocabulary and its merges.
    ///
    /// - Parameters:
    ///   - vocabulary: token ids by the token's spelling in `letters(ofBytes)`.
    ///   - pairs: merges by falling priority; those beyond 48,894 are left out, as the reference cuts its file.
    ///   - unknown: id of symbols that the vocabulary lacks.
    init(vocabulary: [String: Int], merges pairs: [(left: String, right: String)], unknown: Int) {
        var symbols: [String: Int] = [:]
        var ids: [Int] = []
        func symbol(_ spelling: String) -> Int {
            if let known = symbols[spelling] { return known }
            symbols[spelling] = ids.count
            ids.append(vocabulary[spelling] ?? unknown)
            return ids.count - 1
        }
        let letters = Self.letters
        inner = letters.map { symbol(String($0)) }
        last = letters.map { symbol(String($0) + "</w>") }
        var merges: [UInt64: Merge] = [:]
        for (rank, (left, right)) in pairs.prefix(Self.most).enumerated() {
            merges[Self.key(symbol(left), symbol(right))] = Merge(rank: rank, symbol: symbol(left + right))
        }
        self.merges = merges
        self.ids = ids
    }

    /// Why merges do not belong to a vocabulary, or are cut short; nil where nothing speaks against it.
    ///
    /// The vocabulary is made of 512 letters, what the merges make and special tokens, to which some may have been added.
    static func misfit(_ vocabulary: [String: Int], _ merges: [(left: String, right: String)]) -> String? {
        let used = merges.prefix(most)
        if let odd = used.first(where: { vocabulary[$0.left + $0.right] == nil }) {
            return
                "its merge of \(odd.left.prefix(20)) and \(odd.right.prefix(20)) makes no token of the vocabulary: they belong to "
                + "different tokenizers"
        }
        let (made, tokens) = (2 * letters.count + used.count, vocabulary.count)
        guard tokens > made + max(16, made / 100) else { return nil }
        return
            "\(used.count) merges and \(2 * letters.count) letters do not make \(tokens) tokens: it is cut short, or of another "
            + "tokenizer"
    }

    /// 49152 tokens less 256 bytes less 2 special ones.
    private static let most = 49152 - 256 - 2

    /// Reads `merges.txt`: one merge a line by falling priority; the first line is a comment.
    ///
    /// - Throws: `TextError` when a line is no pair, or there is none.
    static func merges(path: String) throws -> [(left: String, right: String)] {
        let text = String(decoding: try fileBytes(path, limit: smallFileLimit), as: UTF8.self)
        // To Swift the two ends of a line that Windows writes are one character.
        let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }.dropFirst()
        var merges: [(left: String, right: String)] = []
        for (rank, line) in lines.prefix(most).enumerated() {
            let parts = line.split { $0.isWhitespace }
            if parts.isEmpty && lines.dropFirst(rank).allSatisfy({ $0.allSatisfy(\.isWhitespace) }) { break }
            guard parts.count == 2 else {
                throw TextError(
                    .tokenizerFile(path: path, detail: "line \(rank + 2) has \(parts.count) words instead of 2"))
            }
            merges.append((String(parts[0]), String(parts[1])))
        }
        guard !merges.isEmpty else { throw TextError(.tokenizerFile(path: path, detail: "it holds no merges")) }
        return merges
    }

    /// Appends the token ids of one word.
    ///
    /// Takes time n log n in the length of the word: a queue of candidate pairs over a linked list, where the textbook
    /// loop is quadratic for a prompt without spaces.
    func encode(_ word: [UInt8], into result: inout [Int]) {
        guard let final = word.last else { return }
        var symbols = word.dropLast().map { inner[Int($0)] }
        symbols.append(last[Int(final)])
        let count = symbols.count
        var next = Array(1...count)
        var previous = Array(-1..<count - 1)
        var queue = Heap()
        func candidate(_ left: Int) -> Candidate? {
            let right = next[left]
            guard right < count, let merge = merges[Self.key(symbols[left], symbols[right])] else { return nil }
            return Candidate(
                rank: merge.rank, place: left, left: symbols[left], right: symbols[right], merged: merge.symbol)
        }
        for place in 0..<count - 1 {
            if let candidate = candidate(place) { queue.push(candidate) }
        }
        var created: [Candidate] = []
        while let rank = queue.first?.rank {
            // All places of one pair before any pair that these merges make, even if that had a lower rank.
            while let best = queue.first, best.rank == rank {
                queue.pop()
                let left = best.place
                let right = next[left]
                guard symbols[left] == best.left, right < count, symbols[right] == best.right else { continue }
                symbols[left] = best.merged
                symbols[right] = -1
                next[left] = next[right]
                if next[right] < count { previous[next[right]] = left }
                if let pair = candidate(left) { created.append(pair) }
                if previous[left] >= 0, let pair = candidate(previous[left]) { created.append(pair) }
            }
            for pair in created { queue.push(pair) }
            created.removeAll(keepingCapacity: true)
        }
        var place = 0
        while place < count {
            result.append(ids[symbols[place]])
            place = next[place]
        }
    }

    /// A printable letter for each byte: bytes that print as themselves in Latin-1, the others from U+0100 on.
    static let letters: [Unicode.Scalar] = {
        var spare: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            let prints = 0x21...0x7E ~= byte || 0xA1...0xAC ~= byte || 0xAE...0xFF ~= byte
            let value = prints ? byte : spare
            if !prints { spare += 1 }
            return Unicode.Scalar(value) ?? "?"
        }
    }()

    private static func key(_ left: Int, _ right: Int) -> UInt64 { UInt64(left) << 32 | UInt64(right) }
}

/// A pair of neighbours that may be merged, if both are still what they were.
private struct Candidate {
    var rank: Int
    var place: Int
    var left: Int
    var right: Int
    var merged: Int

    func isBefore(_ other: Candidate) -> Bool { (rank, place) < (other.rank, other.place) }
}

/// A binary heap, lowest rank and then leftmost place first.
private struct Heap {
    private var items: [Candidate] = []

    var first: Candidate? { items.first }

    mutating func push(_ item: Candidate) {
        items.append(item)
        var child = items.count - 1
        while child > 0, items[child].isBefore(items[(child - 1) / 2]) {
            items.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() {
        items.swapAt(0, items.count - 1)
        items.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < items.count {
                if items[child].isBefore(items[least]) { least = child }
            }
            if least == parent { return }
            items.swapAt(parent, least)
            parent = least
        }
    }
}
