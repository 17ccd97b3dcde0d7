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

    private func write(to path: String, by other: PictureWriter? = nil) -> Result<UInt32, WriteFailure> {
        let request = ImageRequest.euler("p", side: 16)
        let picture = Picture(
            image: ImageID(job: JobID(high: 1, low: 1), index: 0), rgb8: Array(repeating: 7, count: 3 * 16 * 16),
            request: request, pin: ClusterPin(model: FakeModel.facts, kernelClass: "avx2"), wire: .f32, path: path)
        return (other ?? writer).write(picture)
    }

    @Test("what is wrong with one picture's file or name is told from what is wrong with the disk")
    func tellsPlaceFromPicture() throws {
        let out = folder.path + "/out"
        #expect(throws: Never.self) { try write(to: out + "/p.png").get() }
        try FileManager.default.createDirectory(atPath: out + "/folder.png", withIntermediateDirectories: true)
        let cases: [(String, String, WriteFailure.Reach)] = [
            (out + "/folder.png", "it is a folder", .picture),
            (out + "/" + String(repeating: "n", count: 300), "File name too long", .picture),
            (out + "/p.png/q.png", "Not a directory", .picture),
            // Nobody can make a folder there, not even root.
            ("/proc/abbozzo/p.png", "cannot make the folder /proc/abbozzo", .folder),
        ]
        for (path, text, reach) in cases {
            guard case .failure(let failure) = write(to: path) else {
                Issue.record("written: \(path)")
                continue
            }
            #expect(failure.text.contains(text) && failure.reach == reach, "\(failure)")
        }
    }

    @Test("the folder under a disk that was unmounted takes no pictures")
    func waitsForItsDisk() throws {
        let out = folder.path + "/out"
        // No disk is mounted there, as after an unmounting.
        let unmounted = PictureWriter(version: "test", home: out, mount: out)
        guard case .failure(let failure) = write(to: out + "/job/p.png", by: unmounted) else {
            Issue.record("written")
            return
        }
        #expect(
            failure.reach == .output && failure.text.contains("no disk is mounted on \(out) any more"), "\(failure)")
        #expect(!FileManager.default.fileExists(atPath: out + "/job"))
        // What a job of before says of another folder holds.
        #expect(throws: Never.self) { try write(to: folder.path + "/old/p.png", by: unmounted).get() }
        let mounted = PictureWriter(version: "test", home: out, mount: "/proc")
        #expect(throws: Never.self) { try write(to: out + "/job/p.png", by: mounted).get() }
        #expect(PictureWriter.mountPoint(of: "/proc/self/task") == "/proc" && PictureWriter.mountPoint(of: "/") == nil)
    }

    @Test("a folder that was removed is made again")
    func makesFolderAgain() throws {
        let out = folder.path + "/out"
        #expect(throws: Never.self) { try write(to: out + "/job/p.png").get() }
        try FileManager.default.removeItem(atPath: out)
        #expect(throws: Never.self) { try write(to: out + "/job/p.png").get() }
    }
}
