/// A safetensors file, mapped and checked.
///
/// Eight bytes of header length, a JSON header, then the values. Nothing in the file is trusted: lengths, shapes and
/// offsets are checked when it is opened, so that reading a tensor later cannot leave the mapping.
package struct SafetensorsFile: Sendable {
    /// Longest header that is read, as in the reference implementation.
    package static let headerLimit = 100_000_000

    /// Path it was opened by.
    package let path: String
    /// Free text that the writer left in `__metadata__`.
    package let metadata: [String: String]
    /// Names of all tensors in the order of the header.
    package let names: [String]
    /// Bytes from the start of the file to the first value.
    package let headerBytes: Int

    private let file: MappedFile
    private let tensors: [String: StoredTensor]

    /// Opens a file and checks all that its header says.
    package init(path: String) throws(CheckpointError) {
        let file = try MappedFile(path: path)
        let bytes = file.bytes
        func malformed(_ detail: String, tensor: String? = nil) -> CheckpointError {
            CheckpointError(.malformed(detail: detail), file: path, tensor: tensor)
        }
        guard bytes.count >= 8 else { throw malformed("\(bytes.count) bytes are too few for a safetensors file") }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.headerLimit) else {
            throw malformed("a header of \(length) bytes is announced, at most \(Self.headerLimit) are allowed")
        }
        guard Int(length) <= bytes.count - 8 else {
            throw malformed("a header of \(length) bytes is announced, the file has \(bytes.count)")
        }
        headerBytes = 8 + Int(length)
        let header: SafetensorsHeader
        do {
            header = try SafetensorsHeader(
                json: UnsafeRawBufferPointer(rebasing: bytes[8..<headerBytes]), dataBytes: bytes.count - headerBytes)
        } catch {
            throw malformed(error.detail, tensor: error.tensor)
        }
        self.path = path
        self.file = file
        metadata = header.metadata
        names = header.entries.map(\.name)
        var tensors: [String: StoredTensor] = [:]
        for entry in header.entries {
            tensors[entry.name] = StoredTensor(
                name: entry.name, type: entry.type, shape: entry.shape, file: file,
                bytes: entry.offsets.lowerBound + headerBytes..<entry.offsets.upperBound + headerBytes)
        }
        self.tensors = tensors
    }

    /// Whether a tensor of this name is in the file.
    package func contains(_ name: String) -> Bool { tensors[name] != nil }

    /// The tensor of this name.
    package subscript(name: String) -> StoredTensor {
        get throws(CheckpointError) {
            guard let tensor = tensors[name] else { throw CheckpointError(.noTensor, file: path, tensor: name) }
            return tensor
        }
    }

    /// Calls `body` with all bytes of the file; the pointer is valid only inside it.
    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(file) { try body(file.bytes) }
    }
}
