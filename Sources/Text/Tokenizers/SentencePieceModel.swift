internal import Checkpoint

/// What `spiece.model` holds, as far as unigram tokenisation needs it.
///
/// Source: `sentencepiece_model.proto` of google/sentencepiece.
struct SentencePieceModel {
    struct Piece {
        var text: String
        var score: Float
    }

    /// Pieces by id.
    var pieces: [Piece] = []
    var unknown = 0
    var hasByteFallback = false
    /// Compiled normalisation; empty for none.
    var characterMap: [UInt8] = []

    init(path: String) throws {
        let bytes = try fileBytes(path, limit: smallFileLimit)
        func damaged(_ detail: String) -> TextError { TextError(.tokenizerFile(path: path, detail: detail)) }
        var (kind, size, parts) = (1, 0, Set<UInt64>())
        do {
            try bytes.withUnsafeBytes { buffer in
                var message = Protobuf(buffer)
                while let field = try message.next() {
                    parts.insert(field.number)
                    switch (field.number, field.value) {
                    case (1, .bytes(let piece)): try readPiece(piece)
                    case (2, .bytes(let trainer)): try readTrainer(trainer, kind: &kind, size: &size)
                    case (3, .bytes(let normaliser)): try readNormaliser(normaliser)
                    default: break
                    }
                }
            }
        } catch is Protobuf.Fault {
            throw damaged("it is no SentencePiece model, or \(Unigram.tooLarge)")
        }
        guard !pieces.isEmpty else { throw damaged("it holds no pieces") }
        // Settings follow the pieces: a file cut between two of them is a message, too.
        guard parts.isSuperset(of: [2, 3]) else { throw damaged("it ends before its settings") }
        guard pieces.count >= size else { throw damaged("it holds \(pieces.count) of \(size) pieces") }
        guard kind == 1 else {
            throw TextError(.unsupported(path: path, detail: "its model type is \(kind), only unigram (1) is read"))
        }
        guard pieces.indices.contains(unknown) else {
            throw damaged("the unknown piece is \(unknown) of \(pieces.count)")
        }
        guard pieces.allSatisfy({ $0.score.isFinite }) else { throw damaged("a piece has no finite score") }
    }

    private mutating func readPiece(_ bytes: UnsafeRawBufferPointer) throws {
        guard pieces.count < Unigram.mostPieces else { throw Protobuf.Fault() }
        var message = Protobuf(bytes)
        var piece = Piece(text: "", score: 0)
        while let field = try message.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let text)):
                guard text.count <= Unigram.longestPiece, let text = String(validating: text, as: UTF8.self) else {
                    throw Protobuf.Fault()
                }
                piece.text = text
            case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
            default: break
            }
        }
        pieces.append(piece)
    }

    private mutating func readTrainer(_ bytes: UnsafeRawBufferPointer, kind: inout Int, size: inout Int) throws {
        var message = Protobuf(bytes)
        while let field = try message.next() {
            switch (field.number, field.value) {
            case (3, .integer(let value)): kind = Int(truncatingIfNeeded: value)
            case (4, .integer(let value)): size = Int(truncatingIfNeeded: value)
            case (35, .integer(let value)): hasByteFallback = value != 0
            case (40, .integer(let value)): unknown = Int(truncatingIfNeeded: value)
            default: break
            }
        }
    }

    private mutating func readNormaliser(_ bytes: UnsafeRawBufferPointer) throws {
        var message = Protobuf(bytes)
        while let field = try message.next() {
            if case (2, .bytes(let map)) = (field.number, field.value) { characterMap = Array(map) }
        }
    }
}

/// Walks the fields of one protocol-buffers message.
private struct Protobuf {
    /// The bytes are no message.
    struct Fault: Error {}

    enum Value {
        case integer(UInt64)
        case fixed64
        case fixed32(UInt32)
        case bytes(UnsafeRawBufferPointer)
    }

    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func next() throws(Fault) -> (number: UInt64, value: Value)? {
        guard at < bytes.count else { return nil }
        let key = try varint()
        let value: Value
        switch key & 7 {
        case 0: value = .integer(try varint())
        case 1:
            _ = try take(8)
            value = .fixed64
        case 2:
            let length = try varint()
            guard length <= UInt64(bytes.count) else { throw Fault() }
            value = .bytes(try take(Int(length)))
        case 5: value = .fixed32(UInt32(littleEndian: try take(4).loadUnaligned(as: UInt32.self)))
        default: throw Fault()
        }
        return (key >> 3, value)
    }

    private mutating func take(_ count: Int) throws(Fault) -> UnsafeRawBufferPointer {
        guard count <= bytes.count - at else { throw Fault() }
        defer { at += count }
        return UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
    }

    private mutating func varint() throws(Fault) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard at < bytes.count else { throw Fault() }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw Fault()
    }
}
