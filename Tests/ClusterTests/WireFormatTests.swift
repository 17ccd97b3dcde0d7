internal import Foundation
internal import Glibc
internal import Imaging
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

/// Hidden states in fewer bytes between real processes.
@Suite("Wire formats", .serialized, .timeLimit(.minutes(10)))
struct WireFormatTests {
    let folder = TemporaryFolder()
    private let batch = [
        "submit", "-p", "a fox in the snow", "--seed", "7", "--steps", "4", "--summary", "--json",
    ]
    private let sides = ["--width", "128", "--height", "128"]

    private struct Report: Decodable {
        struct Summary: Decodable {
            struct Link: Decodable {
                let counted: Int
                let formula: Int
            }
            let links: [Link]
        }
        let summary: Summary
    }

    @Test("a short format halves or quarters the bytes of a link, keeps the picture close, and is written into it")
    func formats() async throws {
        var pictures: [String: [UInt8]] = [:]
        var bytes: [String: Int] = [:]
        for format in ["f32", "bf16", "int8", "auto"] {
            // Of a link within one machine.
            let named = format == "auto" ? "f32" : format
            try await withProcesses { processes in
                let home = folder.path + "/" + format
                let cluster = try await TestCluster.start(processes, in: home, workers: 2, ["--wire", format])
                for name in ["a", "b"] { _ = try await cluster.worker(name, model: TestPicture.model) }
                let outcome = try await cluster.client(batch + ["--folder", "all"] + sides)
                #expect(outcome.status == .exited(0), "\(outcome.errors)")
                let links = try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8)).summary.links
                #expect(links.count == 1)
                for link in links { #expect(link.counted == link.formula) }
                bytes[format] = links.first?.counted
                let file = try #require(try cluster.pictures(in: "all").first)
                let image = try PNG.decode([UInt8](file))
                pictures[format] = image.rgb8
                let metadata = try PictureMetadata(of: image)
                #expect(metadata.wireFormat.rawValue == named)

                let path = folder.path + "/\(format).png"
                try file.write(to: URL(filePath: path))
                let verified = try await Abbozzo.run(["image", "verify", path, "--model", TestPicture.model])
                #expect(verified.status == .exited(named == "f32" ? 0 : 1), "\(verified.errors)")
                if format == "auto" {
                    _ = try await cluster.coordinator.line(containing: "a -> b: ")
                    let nodes = try await cluster.client(["nodes", "ls"])
                    let link = nodes.output.split(separator: "\n").last { $0.hasPrefix("a -> b: ") }
                    #expect(link?.hasSuffix(" ms there and back") == true, "\(nodes.output)")
                }
                if named != "f32" { #expect(verified.errorLines.last?.contains("how the layers were cut") == true) }
            }
        }
        let exact = try #require(pictures["f32"])
        let full = try #require(bytes["f32"])
        #expect(bytes["bf16"] == full / 2)
        #expect((bytes["int8"] ?? full) < full * 3 / 10)
        #expect(bytes["auto"] == full && pictures["auto"] == exact)
        for format in ["bf16", "int8"] {
            let other = try #require(pictures[format])
            #expect(other != exact, "nothing was rounded")
            let error = zip(exact, other).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) } / Double(exact.count)
            let ratio = 10 * log10(255 * 255 / error)
            print("wire \(format): \(String(format: "%.1f", ratio)) dB from f32")
            #expect(ratio > (format == "bf16" ? 35 : 25))
        }
    }

    @Test("pictures that were begun in one format are not finished in another")
    func keepsFormat() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, ["--wire", "bf16"])
            let worker = try await cluster.worker("a", model: TestPicture.model)
            let slow = ["submit", "-p", "p", "--steps", "900", "--no-wait"]
            let submitted = try await cluster.client(slow + sides)
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            let client = try await cluster.connect()
            var version: UInt64 = 0
            while case .job(let status) = try await client.request(.watch(id, version: version)),
                !status.images.contains(where: { if case .running(let step, _) = $0 { step > 0 } else { false } })
            {
                version = status.version
            }
            await client.close()
            await worker.send(SIGKILL)
            await cluster.coordinator.send(SIGTERM)
            _ = try await cluster.coordinator.outcome()
            let other = try await processes.start(
                [
                    "coordinator", "--control", "tcp://127.0.0.1:0", "--data", "tcp://127.0.0.1:0", "--client",
                    "tcp://127.0.0.1:0", "--events", "tcp://127.0.0.1:0", "--http-port", "0", "--output",
                    cluster.output,
                    "--state", folder.path + "/state",
                ])
            let outcome = try await other.outcome()
            #expect(outcome.status == .exited(1) && outcome.errorLines.last?.contains("--wire bf16") == true)
        }
    }
}
