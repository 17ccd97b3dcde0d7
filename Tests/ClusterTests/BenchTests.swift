internal import Foundation
internal import TestKit
internal import Testing

@Suite("abbozzo bench", .timeLimit(.minutes(10)))
struct BenchTests {
    /// The parts of a line that are looked at.
    private struct Line: Decodable {
        let bench: String
        let shape: String
        let threads: Int
        let runs: Int
        let minimumSeconds: Double
        let medianSeconds: Double
        let rate: Double?
        let ceiling: Double?
        let share: Double?
        let ceilingFormat: String?
        let peakBytes: Int
    }

    @Test(
        "prints a line for each shape with times, rate and share of the ceiling",
        arguments: [
            (["gemm", "--heads", "4", "--head-width", "32", "--rows", "33,64"], 6),
            (["gemm", "--shape", "48,96", "--rows", "8,9", "--shape", "100,17"], 4),
            (["attention", "--heads", "2", "--head-width", "32", "--rows", "64"], 1),
            (
                [
                    "block", "--heads", "2", "--head-width", "32", "--rows", "40,64", "--text", "8", "--double-blocks",
                    "2",
                ], 4
            ),
            (["vae", "--model", TestPicture.model, "--sides", "32,64"], 2),
        ])
    func lines(_ arguments: [String], count: Int) async throws {
        let outcome = try await Abbozzo.run(["bench"] + arguments + ["--threads", "1", "--seconds", "0"])
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        let lines = try outcome.output.split(separator: "\n").map {
            try JSONDecoder().decode(Line.self, from: Data($0.utf8))
        }
        #expect(lines.count == count)
        for line in lines {
            #expect(line.bench == arguments[0] && line.threads == 1 && line.runs >= 3)
            // The program takes tens of MiB; in the kernel's KiB that is a number below 2^20.
            #expect(1 << 20..<1 << 40 ~= line.peakBytes)
            #expect(line.minimumSeconds > 0 && line.minimumSeconds <= line.medianSeconds)
            let (rate, ceiling) = (try #require(line.rate), try #require(line.ceiling))
            #expect(line.share == rate / ceiling)
        }
        #expect(Set(lines.map(\.shape)).count == count)
        if arguments.contains("--shape") {
            let shapes = ["8 rows, 48 to 96", "9 rows, 48 to 96", "8 rows, 100 to 17", "9 rows, 100 to 17"]
            #expect(lines.map(\.shape) == shapes)
        }
    }

    @Test(
        "the ceiling is that of the formats which the products are in, whatever the blocks'",
        arguments: [
            ("portable", ["gemm", "--heads", "1", "--head-width", "16", "--rows", "4"], "int8"),
            ("portable", ["attention", "--heads", "1", "--head-width", "72", "--rows", "4"], "bf16"),
            ("portable-bytes", ["attention", "--heads", "1", "--head-width", "72", "--rows", "4"], "int8+bf16"),
            ("portable", ["vae", "--model", TestPicture.model, "--sides", "32"], "f32"),
        ])
    func ceilingFormat(kernels: String, _ arguments: [String], format: String) async throws {
        let outcome = try await Abbozzo.run(
            ["bench"] + arguments + ["--compute", "int8", "--threads", "1", "--seconds", "0"],
            environment: ["ABBOZZO_KERNELS": kernels])
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        let lines = try outcome.output.split(separator: "\n").map {
            try JSONDecoder().decode(Line.self, from: Data($0.utf8))
        }
        #expect(!lines.isEmpty && lines.allSatisfy { $0.ceilingFormat == format })
    }

    @Test("ceilings and whole pictures have lines of their own, and impossible sizes are refused")
    func others() async throws {
        let ceilings = try await Abbozzo.run(["bench", "ceilings", "--threads", "1", "--seconds", "0"])
        #expect(ceilings.status == .exited(0) && ceilings.output.contains("copy 256 MiB"), "\(ceilings.errors)")
        let image = try await Abbozzo.run(
            [
                "bench", "image", "--model", TestPicture.model, "--width", "32", "--height", "32", "--steps", "2",
                "--seconds", "0",
            ])
        #expect(image.status == .exited(0) && image.output.contains("32x32, euler, 2 steps"), "\(image.errors)")
        for wrong in [
            ["gemm", "--rows", "0"], ["gemm", "--shape", "3072"], ["gemm", "--shape", "0,16"],
            ["gemm", "--shape", "16,70000"], ["gemm", "--shape", "65536,65536"], ["gemm", "--shape", "16,16,16"],
            ["vae", "--sides", "33"], ["block", "--rows", "8"], ["gemm", "--compute", "f8"],
        ] {
            let outcome = try await Abbozzo.run(["bench"] + wrong)
            #expect(outcome.status == .exited(1) && outcome.errors.hasPrefix("error: "))
        }
    }
}
