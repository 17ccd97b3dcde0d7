import Foundation
import Plan
import Testing

@testable import Coordinator

struct PictureWriterTests {
    private let folder: Scratch
    private let writer: PictureWriter

    init() throws {
        folder = try Scratch()
        try FileManager.default.createDirectory(atPath: folder.path + "/out", withIntermediateDirectories: true)
        writer = PictureWriter(version: "test", home: folder.path + "/out")
    }

    private func write(to path: String) -> Result<UInt32, WriteFailure> {
        let request = ImageRequest.euler("p", side: 16)
        let picture = Picture(
            image: ImageID(job: JobID(high: 1, low: 1), index: 0), rgb8: Array(repeating: 7, count: 3 * 16 * 16),
            request: request, pin: ClusterPin(model: FakeModel.facts, kernelClass: "avx2"), wire: .f32, path: path)
        return writer.write(picture)
    }

    @Test("what is wrong with one picture's file or name is told from what is wrong with the disk")
    func tellsPlaceFromPicture() throws {
        let out = folder.path + "/out"
        #expect(throws: Never.self) { try write(to: out + "/p.png").get() }
        try FileManager.default.createDirectory(atPath: out + "/folder.png", withIntermediateDirectories: true)
        let cases = [
            (out + "/folder.png", "it is a folder", false),
            (out + "/" + String(repeating: "n", count: 300), "File name too long", false),
            (out + "/p.png/q.png", "Not a directory", false),
            // Nobody can make a folder there, not even root.
            ("/proc/abbozzo/p.png", "cannot make the folder /proc/abbozzo", true),
        ]
        for (path, text, isOfPlace) in cases {
            guard case .failure(let failure) = write(to: path) else {
                Issue.record("written: \(path)")
                continue
            }
            #expect(failure.text.contains(text) && failure.isOfPlace == isOfPlace, "\(failure)")
        }
    }

    @Test("a folder that took the place of the one at the start, as under a disk that was unmounted, takes no pictures")
    func waitsForItsDisk() throws {
        let out = folder.path + "/out"
        try FileManager.default.moveItem(atPath: out, toPath: folder.path + "/away")
        for isEmptyThere in [false, true] {
            if isEmptyThere { try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true) }
            guard case .failure(let failure) = write(to: out + "/job/p.png") else {
                Issue.record("written")
                return
            }
            #expect(failure.isOfPlace && failure.text.contains("mount its disk again"), "\(failure)")
            #expect(!FileManager.default.fileExists(atPath: out + "/job"))
        }
        try FileManager.default.removeItem(atPath: out)
        try FileManager.default.moveItem(atPath: folder.path + "/away", toPath: out)
        #expect(throws: Never.self) { try write(to: out + "/job/p.png").get() }
    }
}
