internal import Foundation
internal import Glibc

/// Folders that survive a power cut: what is in a file is only as durable as the entries of the folders above it.
package enum DurableFolder {
    /// Makes a folder with those that are missing above it, and flushes the folders that they are entered in.
    ///
    /// Where the folder is there already its parent is flushed all the same: who made it may have been killed before.
    /// `mode` is that of new folders, as the process's mask leaves it.
    ///
    /// - Throws: `StoreError.Reason.unwritable`.
    package static func make(_ path: String, mode: UInt32) throws(StoreError) {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        let parent = self.parent(of: trimmed)
        if mkdir(trimmed, mode) != 0 {
            switch errno {
            case EEXIST: break
            case ENOENT where parent != trimmed:
                try make(parent, mode: mode)
                guard mkdir(trimmed, mode) == 0 || errno == EEXIST else { throw unwritable(trimmed) }
            default: throw unwritable(trimmed)
            }
        }
        var status = stat()
        guard stat(trimmed, &status) == 0 else { throw unwritable(trimmed) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw StoreError(.unwritable(path: trimmed, code: ENOTDIR))
        }
        try flush(parent)
    }

    /// Of a folder and those beside it whose names are its own with a dash and a number, the ones that hold files.
    ///
    /// Folders in a folder, and what is hidden, are none; where nothing can be read there is nothing.
    package static func occupied(like path: String) -> Set<String> {
        let parent = parent(of: path)
        let name = path.dropFirst(parent == "/" ? 1 : parent.count + 1)
        let like = names(in: parent).filter { other in
            guard other.hasPrefix(name) else { return false }
            let rest = other.dropFirst(name.count)
            return rest.isEmpty || rest.first == "-" && rest.count > 1 && rest.dropFirst().allSatisfy(\.isNumber)
        }
        return Set(like.map { parent == "/" ? "/" + $0 : parent + "/" + $0 }.filter(holdsFiles))
    }

    private static func holdsFiles(_ path: String) -> Bool {
        names(in: path).contains { name in
            var status = stat()
            guard !name.hasPrefix("."), lstat(path + "/" + name, &status) == 0 else { return false }
            return status.st_mode & S_IFMT != S_IFDIR
        }
    }

    private static func names(in path: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func flush(_ folder: String) throws(StoreError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        // A folder that may be passed through and not be read: it is not ours, and was there before.
        if descriptor < 0 && errno == EACCES { return }
        guard descriptor >= 0 else { throw unwritable(folder) }
        defer { close(descriptor) }
        // Some file systems cannot flush folders and say EINVAL.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw unwritable(folder) }
    }

    private static func unwritable(_ path: String) -> StoreError { StoreError(.unwritable(path: path, code: errno)) }
}
