internal import CKernels
internal import Foundation
internal import Imaging
internal import Plan

/// Writes finished pictures: encoded, under a temporary name, flushed, renamed.
struct PictureWriter: Sendable {
    /// Version of the program, written into pictures.
    let version: String

    /// Returns the CRC32C of the file's bytes.
    func write(_ picture: Picture) -> Result<UInt32, WriteFailure> {
        let folder = (picture.path as NSString).deletingLastPathComponent
        guard make(folder) else {
            return .failure(WriteFailure("cannot make the folder \(folder); check its owner and the space on its disk"))
        }
        let metadata = PictureMetadata(
            request: picture.request, model: picture.pin.model.family, fingerprint: picture.pin.model.fingerprint,
            kernelClass: picture.pin.kernelClass, wireFormat: picture.wire, version: version)
        do {
            let bytes = try PNG.encode(
                rgb8: picture.rgb8, width: picture.request.width, height: picture.request.height, text: metadata.text)
            try writeAtomically(bytes, to: picture.path)
            return .success(bytes.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) })
        } catch {
            return .failure(WriteFailure("\(error)"))
        }
    }

    /// Makes a folder with those above it, and flushes what is new: a file is only as durable as its folders.
    private func make(_ folder: String) -> Bool {
        if FileManager.default.fileExists(atPath: folder) { return true }
        let parent = (folder as NSString).deletingLastPathComponent
        guard !parent.isEmpty, parent != folder, make(parent) else { return false }
        guard mkdir(folder, 0o777) == 0 || errno == EEXIST else { return false }
        let descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // Some file systems cannot flush folders and say EINVAL.
        return fsync(descriptor) == 0 || errno == EINVAL
    }

    /// Removes what a killed coordinator left half-written in a job's folder.
    static func removeLeftovers(in folder: String) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        where name.hasPrefix(temporaryPrefix) {
            try? FileManager.default.removeItem(atPath: folder + "/" + name)
        }
    }
}
