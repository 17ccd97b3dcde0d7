internal import CKernels
internal import Foundation
internal import Imaging
internal import JobStore
internal import Plan
internal import Synchronization

/// Writes finished pictures: encoded, under a temporary name, flushed, renamed.
final class PictureWriter: Sendable {
    /// Version of the program, written into pictures.
    private let version: String
    /// The last folders that are known to be durable.
    private let folders = Mutex<[String]>([])
    private static let rememberedFolders = 8
    /// The folder of all jobs' folders.
    private let home: String
    /// Where its disk was mounted at the start; nil on the root's.
    private let mount: String?

    /// `home` is there already.
    convenience init(version: String, home: String) {
        self.init(version: version, home: home, mount: Self.mountPoint(of: home))
    }

    init(version: String, home: String, mount: String?) {
        self.version = version
        self.home = home
        self.mount = mount
    }

    /// Returns the CRC32C of the file's bytes.
    func write(_ picture: Picture) -> Result<UInt32, WriteFailure> {
        let folder = (picture.path as NSString).deletingLastPathComponent
        // The folder under a disk that was unmounted would take pictures that nobody finds.
        if let mount, picture.path.hasPrefix(home + "/"), !Self.isMountPoint(mount) {
            return .failure(
                WriteFailure(
                    "no disk is mounted on \(mount) any more, where the one of the output folder \(home) was; mount it again",
                    .output))
        }
        if let code = make(folder) {
            return .failure(
                WriteFailure(
                    "cannot make the folder \(folder) (\(String(cString: strerror(code)))); check its owner and the space "
                        + "on its disk", reach(code, folder)))
        }
        let metadata = PictureMetadata(
            request: picture.request, model: picture.pin.model.family, fingerprint: picture.pin.model.fingerprint,
            kernelClass: picture.pin.kernelClass, wireFormat: picture.wire, version: version)
        do {
            let bytes = try PNG.encode(
                rgb8: picture.rgb8, width: picture.request.width, height: picture.request.height, text: metadata.text)
            try writeAtomically(bytes, to: picture.path)
            return .success(bytes.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) })
        } catch let error as FileError {
            guard case .system(let code) = error.reason else { return .failure(WriteFailure("\(error)", .picture)) }
            return .failure(WriteFailure("\(error)", reach(code, folder)))
        } catch {
            return .failure(WriteFailure("\(error)", .picture))
        }
    }

    /// The folder on the way from the root to `path` on which the disk of `path` is mounted; nil for the root's own.
    static func mountPoint(of path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        var folder = String(cString: real)
        while folder != "/" {
            if isMountPoint(folder) { return folder }
            folder = (folder as NSString).deletingLastPathComponent
        }
        return nil
    }

    /// Whether a folder is there, and on another device than the one above it.
    ///
    /// The device itself may have another number when it is mounted again.
    static func isMountPoint(_ folder: String) -> Bool {
        var (own, above) = (stat(), stat())
        let parent = (folder as NSString).deletingLastPathComponent
        guard stat(folder, &own) == 0, stat(parent, &above) == 0 else { return false }
        return own.st_dev != above.st_dev
    }

    /// What a system's error in writing to a folder is of: one name or one file, that folder, or all pictures, which is so where
    /// the output folder cannot be written either, or is on the disk that gave the error.
    private func reach(_ code: Int32, _ folder: String) -> WriteFailure.Reach {
        switch code {
        case ENAMETOOLONG, ENOTDIR, EISDIR, EEXIST, ELOOP, EINVAL, EILSEQ, EFBIG: return .picture
        default: break
        }
        if access(home, W_OK | X_OK) != 0 { return .output }
        // These are of a folder, wherever it is; what is left is of a disk.
        if [EACCES, EPERM, EROFS, ENOENT].contains(code) { return .folder }
        return Self.device(of: folder) == Self.device(of: home) ? .output : .folder
    }

    /// The device of a folder, or of the nearest one above it that is there; nil for one that cannot be asked.
    private static func device(of folder: String) -> dev_t? {
        var (path, status) = (folder, stat())
        while stat(path, &status) != 0 {
            // Of a disk that does not answer the folder above it says nothing.
            guard [ENOENT, ENOTDIR].contains(errno), path != "/" && !path.isEmpty else { return nil }
            path = (path as NSString).deletingLastPathComponent
        }
        return status.st_dev
    }

    /// Makes a job's folder durable, once for all of its pictures that come close to each other; the system's error if it
    /// cannot be made.
    private func make(_ folder: String) -> Int32? {
        if folders.withLock({ $0.contains(folder) }) && FileManager.default.fileExists(atPath: folder) { return nil }
        do throws(StoreError) {
            try DurableFolder.make(folder, mode: 0o777)
        } catch {
            guard case .unwritable(_, let code) = error.reason else { return EIO }
            return code
        }
        folders.withLock { known in
            known.removeAll { $0 == folder }
            known.append(folder)
            if known.count > Self.rememberedFolders { known.removeFirst() }
        }
        return nil
    }

    /// Removes what a killed coordinator left half-written in a job's folder.
    static func removeLeftovers(in folder: String) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        where name.hasPrefix(temporaryPrefix) {
            try? FileManager.default.removeItem(atPath: folder + "/" + name)
        }
    }
}
