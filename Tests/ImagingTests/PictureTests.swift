import Foundation
import Plan
import Testing

@testable import Imaging

@Suite("What a picture's file says")
struct PictureMetadataTests {
    private func metadata(_ prompt: String, negative: String = "") -> PictureMetadata {
        PictureMetadata(
            request: ImageRequest(
                prompt: prompt, negativePrompt: negative, seed: .max, width: 128, height: 96, guidance: 3.5,
                textLength: 64,
                sampler: .ralu(
                    RALUSettings(
                        steps: [5, 6, 7], ends: [0.3, 0.45, 1], shifts: [5.019, 2.589, 2.226], z: 6.317, upRatio: 0.3)),
                preset: "flux-4x"),
            model: "demo", fingerprint: "0123456789abcdef", kernelClass: "avx2-f32", version: "0.1.0")
    }

    @Test("parameters are written as web interfaces write them")
    func parameters() {
        #expect(
            metadata("a cat", negative: "a dog").parameters == """
                a cat
                Negative prompt: a dog
                Steps: 18, Sampler: RALU, CFG scale: 3.5, Seed: 18446744073709551615, Size: 128x96, \
                Model hash: 0123456789, Model: demo, Preset: flux-4x, Text length: 64, Version: Abbozzo 0.1.0
                """)
        #expect(!metadata("a cat").text.contains { $0.value.contains("njected") })
        var injected = metadata("a cat")
        injected.injected = ["latents", "pooled"]
        #expect(injected.parameters.contains("Text length: 64, Injected: latents pooled, Version"))
        var quoted = metadata("a cat")
        quoted.model = "a, b: \"c\""
        #expect(quoted.parameters.contains(#"Model: "a, b: \"c\"", "#))
    }

    @Test("the request comes back from the file, whatever the prompt")
    func again() throws {
        for prompt in ["", "é", "東京\n🌧️", "a\0b", "\\\"/"] {
            let written = metadata(prompt)
            let file = try PNG.encode(rgb8: [1, 2, 3], width: 1, height: 1, text: written.text)
            #expect(try PictureMetadata(of: PNG.decode(file)) == written)
            #expect(try PNG.encode(rgb8: [1, 2, 3], width: 1, height: 1, text: metadata(prompt).text) == file)
        }
    }

    @Test("files of other programs are refused in one line")
    func foreign() throws {
        let plain = try PNG.decode(PNG.encode(rgb8: [1, 2, 3], width: 1, height: 1))
        #expect(throws: PNGError.self) { try PictureMetadata(of: plain) }
        let wrong = try PNG.decode(PNG.encode(rgb8: [1, 2, 3], width: 1, height: 1, text: [("abbozzo", "{}")]))
        #expect(throws: PNGError.self) { try PictureMetadata(of: wrong) }
        // Steps that nobody can add up.
        let text = metadata("a").text.map { ($0.key, $0.value.replacing("[5,6,7]", with: "[\(Int.max),6,7]")) }
        let huge = try PNG.decode(PNG.encode(rgb8: [1, 2, 3], width: 1, height: 1, text: text))
        let error = #expect(throws: PNGError.self) { try PictureMetadata(of: huge) }
        #expect(error.map { "\($0)" }?.contains("impossible steps") == true)
    }
}

@Suite("Contact sheets")
struct ContactSheetTests {
    private func flat(_ value: UInt8, _ width: Int, _ height: Int) -> ContactSheet.Entry {
        ContactSheet.Entry(rgb8: [UInt8](repeating: value, count: 3 * width * height), width: width, height: height)
    }

    @Test("pictures lie in rows, centred in their cells")
    func layout() {
        let sheet = ContactSheet(
            [flat(10, 8, 8), flat(20, 4, 4), flat(30, 16, 8)], columns: 2, cell: 8, gap: 2, background: 0)
        #expect(sheet.width == 22 && sheet.height == 22)
        func at(_ x: Int, _ y: Int) -> UInt8 { sheet.rgb8[3 * (y * sheet.width + x)] }
        #expect(at(0, 0) == 0 && at(2, 2) == 10 && at(9, 9) == 10 && at(10, 9) == 0)
        #expect(at(13, 3) == 0 && at(14, 4) == 20 && at(17, 7) == 20 && at(18, 7) == 0)
        #expect(at(2, 13) == 0 && at(2, 14) == 30 && at(9, 17) == 30 && at(9, 18) == 0)
        #expect(ContactSheet([]).rgb8.count == 3 * ContactSheet([]).width * ContactSheet([]).height)
    }

    @Test("scaling down averages boxes and keeps the shape")
    func scaling() {
        let entry = ContactSheet.Entry(
            rgb8: [0, 0, 0, 100, 0, 0, 10, 0, 0, 30, 0, 0, 50, 0, 0, 50, 0, 0, 20, 0, 0, 40, 0, 0], width: 4, height: 2)
        let small = ContactSheet.scaled(entry, within: 2)
        #expect(small.width == 2 && small.height == 1)
        #expect(small.rgb8 == [50, 0, 0, 25, 0, 0])
        #expect(ContactSheet.scaled(flat(7, 1000, 3), within: 10).height == 1)
        #expect(Set(ContactSheet.scaled(flat(7, 100, 33), within: 10).rgb8) == [7])
    }

    @Test("a sheet of many pictures has smaller cells and stays a picture that can be written")
    func manyPictures() {
        #expect(ContactSheet.cell(for: 0) == 256 && ContactSheet.cell(for: 961) == 256)
        for count in [962, 3845, 10_000, 100_000] {
            let (cell, across) = (ContactSheet.cell(for: count), Int(Double(count).squareRoot().rounded(.up)))
            #expect(cell >= 17 && across * (cell + 8) <= 8192, "\(count)")
        }
    }

    @Test("a sheet is a PNG file of its size")
    func png() throws {
        let sheet = ContactSheet([flat(9, 5, 5)], cell: 4, gap: 1)
        let image = try PNG.decode(sheet.png())
        #expect(image.rgb8 == sheet.rgb8 && image.width == sheet.width)
    }
}

@Suite("Atomic writes")
struct AtomicWriteTests {
    private func folder() throws -> String {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("abbozzo-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    @Test("a file is replaced whole, and nothing else is left in the folder")
    func replace() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/" + String(repeating: "n", count: 255)
        try writeAtomically([1, 2, 3], to: path)
        try writeAtomically([], to: path)
        try writeAtomically([UInt8](repeating: 7, count: 1 << 20), to: path)
        #expect(FileManager.default.contents(atPath: path) == Data(repeating: 7, count: 1 << 20))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
    }

    @Test("what is no regular file is refused and stays what it is")
    func irregular() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let manager = FileManager.default
        #expect(mkfifo(folder + "/pipe", 0o600) == 0)
        try Data([1]).write(to: URL(filePath: folder + "/file"))
        try manager.createSymbolicLink(atPath: folder + "/link", withDestinationPath: folder + "/file")
        try manager.createSymbolicLink(atPath: folder + "/broken", withDestinationPath: folder + "/nothing")
        try manager.createDirectory(atPath: folder + "/folder", withIntermediateDirectories: false)
        for (name, kind) in [
            ("pipe", "a named pipe"), ("link", "a link"), ("broken", "a link"), ("folder", "a folder"),
            ("folder/", "a folder"),
        ] {
            let error = FileError(action: "write", path: "\(folder)/\(name)", .notRegular(kind))
            #expect(throws: error) { try writeAtomically([2], to: "\(folder)/\(name)") }
            #expect(throws: error) { try checkWritable("\(folder)/\(name)") }
        }
        var status = stat()
        #expect(lstat(folder + "/pipe", &status) == 0 && status.st_mode & S_IFMT == S_IFIFO)
        #expect(try manager.destinationOfSymbolicLink(atPath: folder + "/link") == folder + "/file")
        #expect(manager.contents(atPath: folder + "/file") == Data([1]))
        #expect(try manager.contentsOfDirectory(atPath: folder).count == 5)
    }

    @Test("a look before the work finds what writing would")
    func check() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data([1]).write(to: URL(filePath: folder + "/file"))
        try checkWritable(folder + "/file")
        try checkWritable(folder + "/new")
        try checkWritable("new")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["file"])
        let none = folder + "/none/a.png"
        #expect(throws: FileError(action: "write", path: none, .noFolder(folder + "/none"))) { try checkWritable(none) }
        #expect(throws: FileError(action: "write", path: folder + "/file/a.png", code: ENOTDIR)) {
            try checkWritable(folder + "/file/a.png")
        }
        #expect(throws: FileError.self) { try checkWritable("") }
        let long = folder + "/" + String(repeating: "n", count: 256)
        #expect(throws: FileError(action: "write", path: long, code: ENAMETOOLONG)) { try checkWritable(long) }
    }

    @Test("a folder that may be written into and not be read takes files", .enabled(if: geteuid() != 0))
    func writeOnly() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(chmod(folder, 0o300) == 0)
        try checkWritable(folder + "/a")
        try writeAtomically([1, 2], to: folder + "/a")
        #expect(chmod(folder, 0o700) == 0)
        #expect(FileManager.default.contents(atPath: folder + "/a") == Data([1, 2]))
    }

    @Test("a failure names the file and leaves nothing")
    func failure() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder + "/taken/full", withIntermediateDirectories: true)
        #expect(throws: FileError.self) { try writeAtomically([1], to: folder + "/taken") }
        #expect(throws: FileError(action: "write", path: folder + "/none/a.png", code: ENOENT)) {
            try writeAtomically([1], to: folder + "/none/a.png")
        }
        #expect(throws: FileError.self) { try writeAtomically([1], to: folder + "/") }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["taken"])
    }
}
