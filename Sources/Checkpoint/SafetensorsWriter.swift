internal import Glibc
internal import Plan
package import Tensors

/// Collects arrays and writes them as one safetensors file.
///
/// Tensors are laid out by falling size of a value, then by name, so that every one is aligned and the same arrays give
/// the same bytes whatever the order they were added in.
package struct SafetensorsWriter: Sendable {
    private struct Entry {
        var type: ElementType
        var shape: [Int]
        var bytes: [UInt8]
    }

    /// Free text for `__metadata__`.
    package var metadata: [String: String]
    private var entries: [String: Entry] = [:]

    /// Starts an empty file.
    package init(metadata: [String: String] = [:]) { self.metadata = metadata }

    /// Adds float32 values; a second tensor of one name replaces the first.
    package mutating func add(_ name: String, _ tensor: Tensor) {
        entries[name] = Entry(
            type: .f32, shape: tensor.shape, bytes: tensor.withUnsafeBuffer { Array(UnsafeRawBufferPointer($0)) })
    }

    /// Adds 64-bit integers.
    ///
    /// - Precondition: the shape holds exactly `values.count` values.
    package mutating func add(_ name: String, integers values: [Int], shape: [Int]) {
        promise(shape.reduce(1, *) == values.count, "\(values.count) integers for shape \(shape)")
        let bytes = values.map { Int64($0) }.withUnsafeBytes { Array($0) }
        entries[name] = Entry(type: .i64, shape: shape, bytes: bytes)
    }

    /// Adds bytes.
    ///
    /// - Precondition: the shape holds exactly `values.count` values.
    package mutating func add(_ name: String, bytes values: [UInt8], shape: [Int]) {
        promise(shape.reduce(1, *) == values.count, "\(values.count) bytes for shape \(shape)")
        entries[name] = Entry(type: .u8, shape: shape, bytes: values)
    }

    /// All bytes of the file.
    package func bytes() -> [UInt8] {
        let ordered = entries.sorted { ($1.value.type.size, $0.key) < ($0.value.type.size, $1.key) }
        var parts: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(quoted($0.value))" }
            parts.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var offset = 0
        for (name, entry) in ordered {
            let shape = entry.shape.map(String.init).joined(separator: ",")
            let end = offset + entry.bytes.count
            parts.append(
                "\(quoted(name)):{\"dtype\":\"\(entry.type.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        var header = Array("{\(parts.joined(separator: ","))}".utf8)
        header += Array(repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        var result: [UInt8] = []
        result.reserveCapacity(8 + header.count + offset)
        withUnsafeBytes(of: UInt64(header.count).littleEndian) { result += $0 }
        result += header
        for (_, entry) in ordered { result += entry.bytes }
        return result
    }

    /// Writes the file under a temporary name in the same folder, syncs it and renames it into place.
    package func write(to path: String) throws(CheckpointError) {
        func fail(_ call: String) -> CheckpointError { CheckpointError(.system(call: call, code: errno), file: path) }
        let temporary = "\(path).\(getpid()).\(UInt32.random(in: 0...UInt32.max)).tmp"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw fail("create") }
        var isWhole = false
        defer { if !isWhole { unlink(temporary) } }
        do {
            defer { close(descriptor) }
            let contents = bytes()
            var done = 0
            while done < contents.count {
                let count = contents[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw fail("write") }
                done += count
            }
            guard fsync(descriptor) == 0 else { throw fail("sync") }
        }
        guard rename(temporary, path) == 0 else { throw fail("rename into") }
        isWhole = true
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let directory = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw fail("sync the folder of") }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw fail("sync the folder of") }
    }
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case _ where scalar.value < 32:
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
