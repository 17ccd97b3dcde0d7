/// What a safetensors file says about one tensor.
struct TensorEntry: Equatable {
    var name: String
    var type: ElementType
    var shape: [Int]
    /// Bytes, counted from the end of the header.
    var offsets: Range<Int>
}

/// A parsed header: entries in file order.
struct SafetensorsHeader {
    var entries: [TensorEntry]
    var metadata: [String: String]

    /// Parses and checks a header against the number of bytes that follow it.
    ///
    /// The tensors must fill those bytes without overlap or gap, as the format demands. Allocates in proportion to the
    /// header's own length only.
    init(json: UnsafeRawBufferPointer, dataBytes: Int) throws(HeaderFault) {
        var cursor = JSONCursor(json)
        entries = []
        metadata = [:]
        var names: Set<String> = []
        var sawMetadata = false
        try cursor.object { (name, cursor) throws(HeaderFault) in
            if name == "__metadata__" {
                guard !sawMetadata else { throw HeaderFault("__metadata__ twice") }
                sawMetadata = true
                try cursor.object { (key, cursor) throws(HeaderFault) in metadata[key] = try cursor.string() }
                return
            }
            guard names.insert(name).inserted else { throw HeaderFault("the name occurs twice", tensor: name) }
            entries.append(try Self.entry(name, &cursor, dataBytes: dataBytes))
        }
        try cursor.end()
        try Self.checkTiling(entries, dataBytes: dataBytes)
    }

    private static func entry(
        _ name: String, _ cursor: inout JSONCursor, dataBytes: Int
    ) throws(HeaderFault) -> TensorEntry {
        var type: ElementType?
        var shape: [Int]?
        var offsets: [Int]?
        do {
            try cursor.object { (key, cursor) throws(HeaderFault) in
                switch key {
                case "dtype" where type == nil:
                    let text = try cursor.string()
                    type = ElementType(rawValue: text)
                    if type == nil { throw HeaderFault("unknown type of values \(text.prefix(20))") }
                case "shape" where shape == nil: shape = try cursor.integers(atMost: 8)
                case "data_offsets" where offsets == nil: offsets = try cursor.integers(atMost: 2)
                default: throw HeaderFault("unexpected field \(key.prefix(20))")
                }
            }
        } catch {
            throw HeaderFault(error.detail, tensor: name)
        }
        guard let type, let shape, let offsets, offsets.count == 2 else {
            throw HeaderFault("dtype, shape or data_offsets is missing", tensor: name)
        }
        guard offsets[0] <= offsets[1], offsets[1] <= dataBytes else {
            throw HeaderFault("bytes \(offsets[0]) to \(offsets[1]) of \(dataBytes)", tensor: name)
        }
        var bytes = type.size
        for extent in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
            // Beside an extent of 0 any other one passes as a number of bytes.
            guard !overflow, extent <= 1 << 40 else { throw HeaderFault("shape \(shape) is too large", tensor: name) }
            bytes = product
        }
        guard bytes == offsets[1] - offsets[0] else {
            throw HeaderFault("\(offsets[1] - offsets[0]) bytes for \(shape) of \(type.rawValue)", tensor: name)
        }
        return TensorEntry(name: name, type: type, shape: shape, offsets: offsets[0]..<offsets[1])
    }

    private static func checkTiling(_ entries: [TensorEntry], dataBytes: Int) throws(HeaderFault) {
        let ordered = entries.sorted {
            ($0.offsets.lowerBound, $0.offsets.upperBound) < ($1.offsets.lowerBound, $1.offsets.upperBound)
        }
        var next = 0
        for entry in ordered {
            guard entry.offsets.lowerBound == next else {
                let kind = entry.offsets.lowerBound < next ? "overlaps its neighbour" : "leaves a gap before it"
                throw HeaderFault("byte \(entry.offsets.lowerBound) \(kind), which ends at \(next)", tensor: entry.name)
            }
            next = entry.offsets.upperBound
        }
        guard next == dataBytes else { throw HeaderFault("tensors end at byte \(next), the file at \(dataBytes)") }
    }
}

/// What is wrong with a header, and in which tensor.
struct HeaderFault: Error, Equatable {
    var detail: String
    var tensor: String?

    init(_ detail: String, tensor: String? = nil) {
        self.detail = detail
        self.tensor = tensor
    }
}

/// Reads the JSON that a safetensors header may hold: objects, strings and lists of natural numbers.
///
/// Foundation's parser would build a tree first, take duplicate keys silently and turn large numbers into doubles.
struct JSONCursor {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Reads an object; `body` must consume the value of each key.
    mutating func object(
        _ body: (String, inout JSONCursor) throws(HeaderFault) -> Void
    ) throws(HeaderFault) {
        try expect("{")
        if accept("}") { return }
        repeat {
            let key = try string()
            try expect(":")
            try body(key, &self)
        } while accept(",")
        try expect("}")
    }

    /// Reads a list of natural numbers.
    mutating func integers(atMost limit: Int) throws(HeaderFault) -> [Int] {
        try expect("[")
        var result: [Int] = []
        if accept("]") { return result }
        repeat {
            guard result.count < limit else { throw HeaderFault("more than \(limit) numbers in a list") }
            result.append(try integer())
        } while accept(",")
        try expect("]")
        return result
    }

    /// Reads a string with escapes; it must be UTF-8.
    mutating func string() throws(HeaderFault) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw HeaderFault("text before byte \(at) of the header is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<32: throw HeaderFault("control character at byte \(at - 1) of the header")
            default: text.append(byte)
            }
        }
        throw HeaderFault("the header ends inside a string")
    }

    /// Accepts only white space up to the end.
    mutating func end() throws(HeaderFault) {
        skipSpace()
        guard at == bytes.count else { throw HeaderFault("unexpected text at byte \(at) of the header") }
    }

    private mutating func integer() throws(HeaderFault) -> Int {
        skipSpace()
        let start = at
        var value = 0
        while at < bytes.count, case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[at] {
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(Int(bytes[at] - UInt8(ascii: "0")))
            guard !overflow, !carry else { throw HeaderFault("number at byte \(start) of the header is too large") }
            value = sum
            at += 1
        }
        guard at > start, at == start + 1 || bytes[start] != UInt8(ascii: "0") else {
            throw HeaderFault("no natural number at byte \(start) of the header")
        }
        return value
    }

    private mutating func escape(into text: inout [UInt8]) throws(HeaderFault) {
        guard at < bytes.count else { throw HeaderFault("the header ends inside a string") }
        let byte = bytes[at]
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "u"):
            var value = try hex4()
            if 0xD800...0xDBFF ~= value, at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"),
                bytes[at + 1] == UInt8(ascii: "u")
            {
                at += 2
                let low = try hex4()
                guard 0xDC00...0xDFFF ~= low else { throw HeaderFault("broken escape at byte \(at) of the header") }
                value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(value) else {
                throw HeaderFault("broken escape at byte \(at) of the header")
            }
            text.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
        default: throw HeaderFault("broken escape at byte \(at) of the header")
        }
    }

    private mutating func hex4() throws(HeaderFault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard at < bytes.count, let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue else {
                throw HeaderFault("broken escape at byte \(at) of the header")
            }
            value = value << 4 | UInt32(digit)
            at += 1
        }
        return value
    }

    private mutating func skipSpace() {
        while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
    }

    private mutating func accept(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws(HeaderFault) {
        guard accept(character) else { throw HeaderFault("'\(character)' expected at byte \(at) of the header") }
    }
}
