internal import Glibc
internal import Synchronization

/// Writes a file so that it is there complete or not at all, also after a crash or loss of power.
///
/// A new file beside it is written, flushed to the disk and renamed over it; then the folder is flushed.
package func writeAtomically(_ bytes: [UInt8], to path: String) throws(FileError) {
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "./"
    let name = path.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init) ?? ""
    guard !name.isEmpty else { throw FileError(action: "write", path: path, code: EISDIR) }
    let (file, temporary) = try openTemporary(folder: folder, path: path)
    do throws(FileError) {
        defer { close(file) }
        try writeAll(bytes, file, path)
        guard fsync(file) == 0 else { throw FileError(action: "write", path: path, code: errno) }
        guard rename(temporary, path) == 0 else { throw FileError(action: "write", path: path, code: errno) }
    } catch {
        unlink(temporary)
        throw error
    }
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw FileError(action: "open", path: folder, code: errno) }
    defer { close(directory) }
    // Some file systems cannot flush folders and say EINVAL.
    guard fsync(directory) == 0 || errno == EINVAL else { throw FileError(action: "flush", path: folder, code: errno) }
}

/// How the names of files begin that are not complete yet; what a killed process leaves may be removed.
package let temporaryPrefix = ".abbozzo-"

private let temporaries = Atomic<Int>(0)

/// Creates a file of its own in the folder, under the process's mask; mkstemp would make it private.
private func openTemporary(folder: String, path: String) throws(FileError) -> (file: Int32, name: String) {
    while true {
        // Short, so that names up to the file system's limit of 255 bytes still work.
        let number = temporaries.wrappingAdd(1, ordering: .relaxed).newValue
        let name = "\(folder)\(temporaryPrefix)\(getpid())-\(number)"
        let file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        if file >= 0 { return (file, name) }
        // One that a killed process of the same number left behind.
        guard errno == EEXIST else { throw FileError(action: "write", path: path, code: errno) }
    }
}

private func writeAll(_ bytes: [UInt8], _ file: Int32, _ path: String) throws(FileError) {
    var written = 0
    while written < bytes.count {
        let count = bytes.withUnsafeBytes { write(file, $0.baseAddress.map { $0 + written }, $0.count - written) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw FileError(action: "write", path: path, code: errno) }
        written += count
    }
}

/// A file that could not be written.
package struct FileError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried.
    package let action: String
    /// The file or folder.
    package let path: String
    /// The system's error number.
    package let code: Int32

    /// One line for people.
    package var description: String { "cannot \(action) \(path): \(String(cString: strerror(code)))" }
}
