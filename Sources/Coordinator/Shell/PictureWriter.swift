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
                    "no disk is mounted on \(mount) any more; mount it again, or start the coordinator again if pictures are "
                        + "to go to \(home) without it", isOfPlace: true))
        }
        if let code = make(folder) {
            return .failure(
                WriteFailure(
                    "cannot make the folder \(folder) (\(String(cString: strerror(code)))); check its owner and the space "
                        + "on its disk", isOfPlace: Self.isOfPlace(code)))
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
            var isOfPlace = false
            if case .system(let code) = error.reason { isOfPlace = Self.isOfPlace(code) }
            return .failure(WriteFailure("\(error)", isOfPlace: isOfPlace))
        } catch {
            return .failure(WriteFailure("\(error)", isOfPlace: false))
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
    private static func isMountPoint(_ folder: String) -> Bool {
        var (own, above) = (stat(), stat())
        let parent = (folder as NSString).deletingLastPathComponent
        guard stat(folder, &own) == 0, stat(parent, &above) == 0 else { return false }
        return own.st_dev != above.st_dev
    }

    /// Whether a system's error is of the disk or the folder, so that it passes when somebody makes room or mends it, and
    /// would hit other pictures too; what is left is of one name or one file.
    private static func isOfPlace(_ code: Int32) -> Bool {
        ![ENAMETOOLONG, ENOTDIR, EISDIR, EEXIST, ELOOP, EINVAL, EILSEQ, EFBIG].contains(code)
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
