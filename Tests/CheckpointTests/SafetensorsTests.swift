import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoint

@Suite struct SafetensorsTests {
    let folder = TemporaryFolder()

    @Test("what the writer wrote is read back, under any name")
    func roundTrip() throws {
        var writer = SafetensorsWriter(metadata: ["made by": "a \"test\"\n"])
        let floats = Tensor([1, -2.5, .infinity, 0, .leastNonzeroMagnitude, 3], shape: [2, 3])
        writer.add("a", floats)
        writer.add("naïve \"ключ\"\\\t", integers: [Int.min, 0, Int.max], shape: [3])
        writer.add("bytes", bytes: [0, 7, 255], shape: [3, 1])
        writer.add("empty", Tensor(repeating: 0, shape: [0, 4]))
        writer.add("scalar", Tensor([4.5], shape: []))
        let path = folder.path("a.safetensors")
        try writer.write(to: path)
        let file = try SafetensorsFile(path: path)
        #expect(try file["a"].tensor(shape: [2, 3]) == floats)
        #expect(try file["naïve \"ключ\"\\\t"].integers() == [Int.min, 0, Int.max])
        #expect(try file["bytes"].withBytes { Array($0) } == [0, 7, 255])
        #expect(try file["empty"].tensor(shape: [0, 4]).count == 0)
        #expect(try file["scalar"].tensor().values == [4.5])
        #expect(file.metadata == ["made by": "a \"test\"\n"])
        #expect(file.headerBytes % 8 == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["a.safetensors"])
    }

    @Test("a tensor that was read is no more in this process's memory, and is the same when it is read again")
    func letGo() throws {
        var writer = SafetensorsWriter()
        let values = Tensor((0..<1 << 21).map(Float.init), shape: [1 << 21])
        writer.add("a", values)
        let name = "read-once.safetensors"
        let path = folder.path(name)
        try writer.write(to: path)
        let file = try SafetensorsFile(path: path)
        /// Kilobytes of the file that are mapped in.
        func resident() throws -> Int {
            let handle = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
            let maps = String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self)
            let parts = maps.components(separatedBy: "/" + name + "\n")
            try #require(parts.count == 2, "\(name) is mapped \(parts.count - 1) times")
            let part = parts[1]
            let line = try #require(part.split(separator: "\n").first { $0.hasPrefix("Rss:") })
            return try #require(Int(line.split(separator: " ")[1]))
        }
        // Reading its bytes, as another program's view of the file would.
        let sum = try file["a"].withBytes { $0.reduce(0) { $0 &+ Int($1) } }
        #expect(sum > 0)
        #expect(try resident() > 8000)
        #expect(try file["a"].tensor() == values)
        let left = try resident()
        #expect(left < 100, "\(left) kB")
        #expect(try file["a"].tensor() == values)
    }

    @Test("the order in which arrays are added does not change the file")
    func order() {
        var (first, second) = (SafetensorsWriter(), SafetensorsWriter())
        first.add("x", Tensor([1], shape: [1]))
        first.add("y", bytes: [1], shape: [1])
        second.add("y", bytes: [1], shape: [1])
        second.add("x", Tensor([1], shape: [1]))
        #expect(first.bytes() == second.bytes())
    }

    @Test("a file that cannot be written leaves nothing behind and says why")
    func unwritable() {
        let path = folder.path("no such folder/a.safetensors")
        #expect(throws: CheckpointError(.system(call: "create", code: ENOENT), file: path)) {
            try SafetensorsWriter().write(to: path)
        }
    }

    @Test("every type widens to float32")
    func widening() throws {
        func read(_ type: String, _ count: Int, _ bytes: [UInt8]) throws -> [Float] {
            let header = "{\"x\":{\"dtype\":\"\(type)\",\"shape\":[\(count)],\"data_offsets\":[0,\(bytes.count)]}}"
            return try SafetensorsFile(path: folder.write(file(header, bytes)))["x"].tensor().values
        }
        func little(_ values: some Sequence<some FixedWidthInteger>) -> [UInt8] {
            values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } }
        }
        #expect(try read("BF16", 2, little([UInt16(0x3FC0), 0xFF80])) == [1.5, -.infinity])
        #expect(try read("F64", 2, little([1.25, -3e9].map(\.bitPattern))) == [1.25, -3e9])
        #expect(try read("I64", 2, little([Int64(-5), 1 << 40])) == [-5, 1_099_511_627_776])
        #expect(try read("I32", 2, little([Int32(-5), 7])) == [-5, 7])
        #expect(try read("I16", 2, little([Int16(-5), 7])) == [-5, 7])
        #expect(try read("I8", 2, [0xFB, 7]) == [-5, 7])
        #expect(try read("U64", 1, little([UInt64.max])) == [Float(UInt64.max)])
        #expect(try read("U32", 1, little([UInt32.max])) == [Float(UInt32.max)])
        #expect(try read("U16", 1, little([UInt16.max])) == [65535])
        #expect(try read("U8", 2, [255, 1]) == [255, 1])
        #expect(try read("BOOL", 2, [0, 1]) == [0, 1])
        #expect(throws: CheckpointError.self) { try read("F8_E4M3", 2, [0, 1]) }
        // All half-precision values, against the compiler's own conversion; NaNs stay NaNs.
        let halves = try read("F16", 65536, little((0..<65536).map { UInt16($0) }))
        for (bits, value) in halves.enumerated() {
            let expected = Float(Float16(bitPattern: UInt16(bits)))
            #expect(value.bitPattern == expected.bitPattern || value.isNaN && expected.isNaN, "\(bits)")
        }
    }

    @Test("a wrong shape or an absent tensor is named")
    func wrongTensor() throws {
        var writer = SafetensorsWriter()
        writer.add("x", Tensor([1, 2], shape: [2]))
        let path = try folder.write(writer.bytes())
        let file = try SafetensorsFile(path: path)
        #expect(throws: CheckpointError(.shape(expected: [1, 2], found: [2]), file: path, tensor: "x")) {
            try file["x"].tensor(shape: [1, 2])
        }
        #expect(throws: CheckpointError(.noTensor, file: path, tensor: "y")) { try file["y"] }
        #expect(throws: CheckpointError(.type(.f32, wanted: "integers"), file: path, tensor: "x")) {
            try file["x"].integers()
        }
    }

    /// Headers that must be refused, each for four bytes of values unless it says otherwise.
    static let broken: [(String, String)] = [
        ("nothing", ""), ("no object", "[]"), ("half an object", "{"), ("text after it", "{}x"),
        ("a gap at the end", "{}"),
        ("an unknown type", entry("\"F31\"", "[1]", "[0,4]")),
        ("a number for a type", entry("3", "[1]", "[0,4]")),
        ("a negative extent", entry("\"F32\"", "[-1]", "[0,4]")),
        ("a fraction", entry("\"F32\"", "[1.0]", "[0,4]")),
        ("an exponent", entry("\"F32\"", "[1e0]", "[0,4]")),
        ("a leading zero", entry("\"F32\"", "[01]", "[0,4]")),
        ("a shape beyond 64 bits", entry("\"F32\"", "[99999999999999999999]", "[0,4]")),
        ("a product beyond 64 bits", entry("\"F32\"", "[4294967296,4294967296,4294967296]", "[0,4]")),
        ("a product of 2^64 plus 4", entry("\"U8\"", "[4,4611686018427387905]", "[0,4]")),
        (
            "an extent that nobody can add to beside an empty one",
            #"{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
                + #""y":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[4,4]}}"#
        ),
        ("an escape sequence in a field", #"{"x":{"a\u001b[2J\nb":1}}"#),
        ("too many axes", entry("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]")),
        ("too few bytes", entry("\"F32\"", "[2]", "[0,4]")),
        ("too many bytes", entry("\"U8\"", "[3]", "[0,4]")),
        ("offsets past the end", entry("\"F32\"", "[2]", "[0,8]")),
        ("offsets far past the end", entry("\"F32\"", "[1]", "[9223372036854775803,9223372036854775807]")),
        ("offsets in reverse", entry("\"F32\"", "[1]", "[4,0]")),
        ("one offset", entry("\"F32\"", "[1]", "[0]")),
        ("three offsets", entry("\"F32\"", "[1]", "[0,4,4]")),
        ("no offsets", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}"),
        ("a field twice", "{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"),
        ("a field too many", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"y\":\"z\"}}"),
        ("a name twice", "{\"x\":\(body(0, 2)),\"x\":\(body(2, 4))}"),
        ("an overlap", "{\"x\":\(body(0, 3)),\"y\":\(body(2, 4))}"),
        ("the same bytes twice", "{\"x\":\(body(0, 4)),\"y\":\(body(0, 4))}"),
        ("a gap in the middle", "{\"x\":\(body(0, 1)),\"y\":\(body(2, 4))}"),
        ("a gap at the start", "{\"x\":\(body(1, 4))}"),
        ("metadata of numbers", "{\"__metadata__\":{\"a\":1},\"x\":\(body(0, 4))}"),
        ("a list of metadata", "{\"__metadata__\":[],\"x\":\(body(0, 4))}"),
        ("half a surrogate", "{\"\\ud800\":\(body(0, 4))}"), ("a bad escape", "{\"\\q\":\(body(0, 4))}"),
        ("an open string", "{\"x"), ("a raw newline in a name", "{\"a\nb\":\(body(0, 4))}"),
    ]

    @Test("refuses a header with", arguments: broken.map(\.0))
    func refuses(name: String) throws {
        let header = try #require(Self.broken.first { $0.0 == name }).1
        let path = try folder.write(file(header, [1, 2, 3, 4]))
        let error = try #require(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
        #expect(error.file == path)
        #expect(!error.description.contains("\n") && error.description.hasPrefix(path))
        #expect(!error.description.contains("\u{1B}"))
    }

    @Test("refuses lengths that the file does not have, without allocating them")
    func lengths() throws {
        for length in [5, 1_000, UInt64(SafetensorsFile.headerLimit) + 1, 1 << 40, 1 << 63, .max] {
            let bytes = withUnsafeBytes(of: length.littleEndian) { Array($0) } + Array("{}".utf8)
            let path = try folder.write(bytes)
            #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
        }
        for count in 0..<8 {
            let path = try folder.write([UInt8](repeating: 0, count: count))
            #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
        }
    }

    @Test("refuses names that are not UTF-8, folders and absent files")
    func notText() throws {
        var bytes = file("{\"xy\":\(Self.body(0, 4))}", [1, 2, 3, 4])
        bytes[10] = 0xFF
        let path = try folder.write(bytes)
        #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
        #expect(throws: CheckpointError.self) { try SafetensorsFile(path: folder.path) }
        #expect(throws: CheckpointError(.noFile, file: folder.path("none"))) {
            try SafetensorsFile(path: folder.path("none"))
        }
    }

    @Test("a file cut anywhere is refused")
    func truncated() throws {
        var writer = SafetensorsWriter()
        writer.add("x", Tensor([1, 2, 3], shape: [3]))
        let whole = writer.bytes()
        for count in 0..<whole.count {
            let path = try folder.write(Array(whole[..<count]))
            #expect(throws: CheckpointError.self, "\(count) bytes") { try SafetensorsFile(path: path) }
        }
    }

    @Test("any mutation of a header is refused or read, never a trap")
    func mutations() throws {
        let good = Array(
            ("{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"BF16\",\"shape\":[4,8],\"data_offsets\":[0,64]},"
                + "\"b\\u00e9\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[64,72]}}   ").utf8)
        let values = (0..<72).map { UInt8($0) }
        var random = SystemRandomNumberGenerator()
        let alphabet = Array("{}[],:\"\\u0123456789-.eE \nBFI1632x\u{0}\u{FF}".utf8)
        var accepted = 0
        for round in 0..<20_000 {
            var header = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                guard let place = header.indices.randomElement(using: &random),
                    let other = header.indices.randomElement(using: &random)
                else { continue }
                switch Int.random(in: 0..<5, using: &random) {
                case 0: header[place] = alphabet.randomElement(using: &random) ?? 0
                case 1: header[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                case 2: header.remove(at: place)
                case 3: header.insert(alphabet.randomElement(using: &random) ?? 0, at: place)
                default: header.replaceSubrange(min(place, other)..<max(place, other), with: [])
                }
            }
            let read = header.withUnsafeBytes { try? SafetensorsHeader(json: $0, dataBytes: values.count) }
            // Some of those that pass, and a few others, also as files whose tensors are read.
            guard round % (read == nil ? 50 : 5) == 0 else { continue }
            let path = try folder.write(file(String(decoding: header, as: UTF8.self), values))
            guard let opened = try? SafetensorsFile(path: path) else { continue }
            accepted += 1
            for name in opened.names {
                _ = try? opened[name].tensor()
                _ = try? opened[name].integers()
            }
        }
        #expect(accepted > 0)
    }

    private static func entry(_ type: String, _ shape: String, _ offsets: String) -> String {
        "{\"x\":{\"dtype\":\(type),\"shape\":\(shape),\"data_offsets\":\(offsets)}}"
    }

    private static func body(_ from: Int, _ to: Int) -> String {
        "{\"dtype\":\"U8\",\"shape\":[\(to - from)],\"data_offsets\":[\(from),\(to)]}"
    }

    private func file(_ header: String, _ values: [UInt8]) -> [UInt8] {
        let text = Array(header.utf8)
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text + values
    }
}
