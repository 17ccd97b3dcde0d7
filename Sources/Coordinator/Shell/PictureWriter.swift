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

    init(version: String) { self.version = version }

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

    /// Makes a job's folder durable, once for all of its pictures that come close to each other.
    private func make(_ folder: String) -> Bool {
        if folders.withLock({ $0.contains(folder) }) && FileManager.default.fileExists(atPath: folder) { return true }
        guard (try? DurableFolder.make(folder, mode: 0o777)) != nil else { return false }
        folders.withLock { known in
            known.removeAll { $0 == folder }
            known.append(folder)
            if known.count > Self.rememberedFolders { known.removeFirst() }
        }
        return true
    }

    /// Removes what a killed coordinator left half-written in a job's folder.
    static func removeLeftovers(in folder: String) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        where name.hasPrefix(temporaryPrefix) {
            try? FileManager.default.removeItem(atPath: folder + "/" + name)
        }
    }
}
