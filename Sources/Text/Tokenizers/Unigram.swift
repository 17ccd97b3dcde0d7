/// Splits words into the pieces with the highest sum of log-probabilities.
///
/// Kudo 2018, with the rules of the `tokenizers` library: a character without a piece of its own costs the lowest score
/// less 10, and neighbouring unknown characters become one token.
struct Unigram: Sendable {
    /// Most pieces that a file may hold, and bytes of a piece: what is made of a byte takes some 50 of memory.
    static let mostPieces = 1 << 20
    static let longestPiece = 512
    /// What to say of a file that holds more.
    static let tooLarge = "it has more than \(mostPieces) pieces, or one longer than \(longestPiece) bytes"

    /// Number of pieces.
    let count: Int

    private let scores: [Double]
    private let unknown: Int
    private let unknownScore: Double
    private let byteIDs: [Int]?
    private let trie: Trie

    /// - Parameters:
    ///   - pieces: texts and scores by id; of equal texts the last counts.
    ///   - unknown: the id for what has no piece.
    ///   - byteFallback: whether unknown characters become their bytes' pieces, `<0x00>` to `<0xFF>`.
    init(pieces: [(text: String, score: Double)], unknown: Int, byteFallback: Bool) {
        count = pieces.count
        scores = pieces.map(\.score)
        self.unknown = unknown
        unknownScore = (scores.min() ?? 0) - 10
        var trie = Trie()
        var ids: [String: Int] = [:]
        for (id, piece) in pieces.enumerated() {
            trie.insert(piece.text.utf8, id: id)
            if byteFallback { ids[piece.text] = id }
        }
        self.trie = trie
        let bytes = (0..<256).compactMap { byte in
            ids["<0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true) + ">"]
        }
        byteIDs = byteFallback && bytes.count == 256 ? bytes : nil
    }

    /// Appends the ids of one word, given as UTF-8; time is linear in the word for a given vocabulary.
    func encode(_ word: ArraySlice<UInt8>, into result: inout [Int]) {
        let start = word.startIndex
        let size = word.count
        var best = [Step](repeating: Step(), count: size + 1)
        best[0].score = 0
        var at = 0
        while at < size {
            let here = best[at].score
            let width = Self.width(word[start + at], left: size - at)
            var hasSingle = false
            trie.prefixes(word, from: start + at) { length, id in
                let score = scores[id] + here
                let step = best[at + length]
                if step.from < 0 || score > step.score { best[at + length] = Step(from: at, id: id, score: score) }
                if length == width { hasSingle = true }
            }
            if !hasSingle {
                let score = unknownScore + here
                let step = best[at + width]
                if step.from < 0 || score > step.score {
                    best[at + width] = Step(from: at, id: unknown, score: score)
                }
            }
            at += width
        }
        var steps: [(range: Range<Int>, id: Int)] = []
        at = size
        while at > 0 {
            let step = best[at]
            if step.id == unknown, let last = steps.last, last.id == unknown {
                steps[steps.count - 1].range = step.from..<last.range.upperBound
            } else {
                steps.append((step.from..<at, step.id))
            }
            at = step.from
        }
        for step in steps.reversed() {
            if step.id == unknown, let byteIDs {
                result += word[start + step.range.lowerBound..<start + step.range.upperBound].map { byteIDs[Int($0)] }
            } else {
                result.append(step.id)
            }
        }
    }

    /// The best way to reach a place: from where, with which piece.
    private struct Step {
        var from = -1
        var id = 0
        var score = 0.0
    }

    /// Bytes of the character that starts with a byte.
    private static func width(_ lead: UInt8, left: Int) -> Int {
        let width = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        return min(width, left)
    }
}

/// A trie of byte strings: children in a hash table keyed by node and byte.
private struct Trie: Sendable {
    private var children: [UInt64: Int] = [:]
    private var ids: [Int] = [-1]

    mutating func insert(_ bytes: some Sequence<UInt8>, id: Int) {
        var node = 0
        for byte in bytes {
            let key = UInt64(node) << 8 | UInt64(byte)
            if let child = children[key] {
                node = child
            } else {
                ids.append(-1)
                children[key] = ids.count - 1
                node = ids.count - 1
            }
        }
        if node > 0 { ids[node] = id }
    }

    /// Calls `body` with length and id of each entry that the bytes begin with, shortest first.
    func prefixes(_ bytes: ArraySlice<UInt8>, from start: Int, _ body: (Int, Int) -> Void) {
        var node = 0
        for index in start..<bytes.endIndex {
            guard let child = children[UInt64(node) << 8 | UInt64(bytes[index])] else { return }
            node = child
            if ids[node] >= 0 { body(index - start + 1, ids[node]) }
        }
    }
}
