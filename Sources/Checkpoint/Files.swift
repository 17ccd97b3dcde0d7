internal import Glibc

/// A whole file mapped read-only for as long as anything refers to it.
///
/// A file that another program shortens while it is mapped ends this process with SIGBUS when the lost part is read; no
/// mapping can prevent that. Replace model files by renaming, never in place.
package final class MappedFile: @unchecked Sendable {
    /// Path it was opened by.
    package let path: String
    /// All bytes; valid while this object lives.
    let bytes: UnsafeRawBufferPointer

    /// Maps a regular file.
    package init(path: String) throws(CheckpointError) {
        let (descriptor, size) = try openRegular(path)
        defer { close(descriptor) }
        self.path = path
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw CheckpointError(.system(call: "map", code: errno), file: path)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
        guard !bytes.starts(with: Self.lfsPointer) else { throw CheckpointError(.lfsPointer, file: path) }
    }

    /// Source: git-lfs, docs/spec.md: the first line of a pointer.
    private static let lfsPointer = Array("version https://git-lfs".utf8)

    /// Takes whole pages of the bytes out of this process's memory; who reads them again gets them from the file or its cache.
    ///
    /// For bytes that were read once: a loaded checkpoint would count as this process's memory beside the packed weights.
    func letGo(_ range: Range<Int>) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let (first, end) = ((range.lowerBound + page - 1) / page * page, range.upperBound / page * page)
        guard let base = bytes.baseAddress, end > first else { return }
        // Advice only: if it fails, the pages stay until the system needs them.
        madvise(UnsafeMutableRawPointer(mutating: base + first), end - first, Int32(MADV_DONTNEED))
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }
}

/// Reads a small file whole.
///
/// - Throws: `CheckpointError` when it is absent, not a regular file or has more than `limit` bytes.
package func fileBytes(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    let file = try MappedFile(path: path)
    guard file.bytes.count <= limit else {
        throw CheckpointError(.tooLarge(bytes: file.bytes.count, limit: limit), file: path)
    }
    return Array(file.bytes)
}

/// Whether a folder is at the path, links followed.
func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Whether a regular file is at the path, links followed.
func isFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}

/// What the system says about an errno.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }

/// Opens a regular file; O_NONBLOCK so that a named pipe cannot hold us up.
private func openRegular(_ path: String) throws(CheckpointError) -> (descriptor: Int32, size: Int) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
        throw CheckpointError(errno == ENOENT ? .noFile : .system(call: "open", code: errno), file: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        close(descriptor)
        throw CheckpointError(.malformed(detail: "it is not a regular file"), file: path)
    }
    return (descriptor, Int(status.st_size))
}
