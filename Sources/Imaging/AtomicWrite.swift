internal import Glibc
internal import Synchronization

/// Writes a file so that it is there complete or not at all, also after a crash or loss of power.
///
/// A new file beside it is written, flushed to the disk and renamed over it; then the folder is flushed. Renaming would
/// take the place of whatever is there, so anything but a regular file is refused: see `checkFile`.
package func writeAtomically(_ bytes: [UInt8], to path: String) throws(FileError) {
    try checkFile(path)
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "./"
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
    // A folder that may be written into and not be read: the file is there, only not safe from a loss of power.
    if directory < 0 && errno == EACCES { return }
    guard directory >= 0 else { throw FileError(action: "open", path: folder, code: errno) }
    defer { close(directory) }
    // Some file systems cannot flush folders and say EINVAL.
    guard fsync(directory) == 0 || errno == EINVAL else { throw FileError(action: "flush", path: folder, code: errno) }
}

/// Refuses a path that `writeAtomically` could not write to: for a look before hours of work.
///
/// The folder must be there and allow new files; where the path names something, it must be a regular file. Links are
/// refused, not followed: a link in an output folder may have been put there by somebody else.
package func checkWritable(_ path: String) throws(FileError) {
    try checkFile(path)
    let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    var status = stat()
    guard stat(folder, &status) == 0 else {
        throw errno == ENOENT
            ? FileError(action: "write", path: path, .noFolder(folder))
            : FileError(action: "look into", path: folder, code: errno)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        throw FileError(action: "write", path: path, .noFolder(folder))
    }
    guard access(folder, W_OK | X_OK) == 0 else { throw FileError(action: "write into", path: folder, code: errno) }
}

/// Refuses what is no regular file, and names that cannot be one.
private func checkFile(_ path: String) throws(FileError) {
    guard !path.isEmpty else { throw FileError(action: "write", path: "\"\"", code: ENOENT) }
    guard !path.hasSuffix("/") else {
        throw FileError(action: "write", path: path, .notRegular("a folder"))
    }
    var status = stat()
    guard lstat(path, &status) == 0 else {
        // What the folder has to say comes when the file is made.
        guard errno == ENOENT else { throw FileError(action: "write", path: path, code: errno) }
        return
    }
    let kind: String
    switch status.st_mode & S_IFMT {
    case S_IFREG: return
    case S_IFDIR: kind = "a folder"
    case S_IFLNK: kind = "a link"
    case S_IFIFO: kind = "a named pipe"
    case S_IFSOCK: kind = "a socket"
    default: kind = "a device"
    }
    throw FileError(action: "write", path: path, .notRegular(kind))
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
    /// What stood in the way.
    package enum Reason: Equatable, Sendable {
        /// The system's error number.
        case system(Int32)
        /// Something else is at the path: what.
        case notRegular(String)
        /// There is no such folder.
        case noFolder(String)
    }

    /// What was tried.
    package let action: String
    /// The file or folder.
    package let path: String
    /// What stood in the way.
    package let reason: Reason

    /// Joins the parts.
    package init(action: String, path: String, _ reason: Reason) {
        self.action = action
        self.path = path
        self.reason = reason
    }

    /// A system's error.
    package init(action: String, path: String, code: Int32) { self.init(action: action, path: path, .system(code)) }

    /// One line for people.
    package var description: String {
        switch reason {
        case .system(let code): "cannot \(action) \(path): \(String(cString: strerror(code)))"
        case .notRegular(let kind): "cannot \(action) \(path): it is \(kind); give the name of a file"
        case .noFolder(let folder): "cannot \(action) \(path): there is no folder \(folder); make it first"
        }
    }
}
