internal import Glibc

/// Holds the state folder for one process; the kernel lets go of it when the process ends, however it ends.
final class FolderLock: Sendable {
    private let descriptor: Int32

    init(folder: String) throws(StoreError) {
        let path = folder + "/lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StoreError(.unwritable(path: path, code: errno)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw StoreError(.locked(folder: folder))
        }
        self.descriptor = descriptor
    }

    /// Lets others in; the descriptor stays open until the last user of the lock is gone.
    func release() { flock(descriptor, LOCK_UN) }

    deinit { close(descriptor) }
}

extension StoreError {
    /// The system's text of an error number.
    static func text(of code: Int32) -> String { String(cString: strerror(code)) }
}
