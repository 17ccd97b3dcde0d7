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
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            return .failure(WriteFailure("cannot make the folder \(folder); check its owner and the space on its disk"))
        }
        let metadata = PictureMetadata(
            request: picture.request, model: picture.pin.model.name, fingerprint: picture.pin.model.fingerprint,
            kernelClass: picture.pin.kernelClass, version: version)
        do {
            let bytes = try PNG.encode(
                rgb8: picture.rgb8, width: picture.request.width, height: picture.request.height, text: metadata.text)
            try writeAtomically(bytes, to: picture.path)
            return .success(bytes.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) })
        } catch {
            return .failure(WriteFailure("\(error)"))
        }
    }
}
