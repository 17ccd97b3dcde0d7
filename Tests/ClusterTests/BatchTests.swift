internal import Foundation
internal import Imaging
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

/// Whole batches through the real executable over TCP.
@Suite("Batches", .serialized, .timeLimit(.minutes(10)))
struct BatchTests {
    let folder = TemporaryFolder()
    let tiny = Fixtures.path + "/flux-dev/model"
    private let small = ["--width", "64", "--height", "64", "--text-length", "16"]

    /// What `submit --json` prints, as far as these tests look.
    private struct Report: Decodable {
        struct Summary: Decodable {
            struct Link: Decodable {
                let counted: Int
                let formula: Int
            }
            struct Node: Decodable {
                let name: String
                let images: Int
                let steps: Int
            }
            struct Ratio: Decodable {
                let batch: Int
                let ofSameSteps: Double
                let ofUsualSteps: Double
            }
            let countedTokenSteps: Int
            let tokenSteps: Ratio
            let links: [Link]
            let nodes: [Node]
        }
        let job: JobStatus
        let duplicate: Bool
        let summary: Summary?
    }

    private func report(_ outcome: ProcessOutcome) throws -> Report {
        try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8))
    }

    @Test("submit waits, counts what crossed each link, makes a sheet, and finds its job again by key")
    func whole() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path, workers: 2)
            for name in ["a", "b"] { _ = try await cluster.worker(name, model: tiny) }
            let file = folder.path + "/batch.jsonl"
            let lines = """
                {"prompt": "a red heart", "preset": "flux-7x", "seed": 5}
                {"prompt": "", "steps": 2}
                {"prompt": "café № 5", "steps": 2, "width": 96, "guidance": 1.5}
                """
            try Data(lines.utf8).write(to: URL(filePath: file))
            let arguments = ["submit", file, "--key", "once", "--json", "--summary"] + small
            let outcome = try await cluster.client(arguments + ["--contact-sheet", folder.path + "/sheet.png"])
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let first = try report(outcome)
            #expect(first.job.done == 3 && first.job.isFinal && !first.duplicate)

            // 64x64 is 16 tokens; flux-7x refines none of 4 coarse ones at this size.
            let summary = try #require(first.summary)
            let expected = (2 + 3) * 4 + 5 * 16 + 2 * 16 + 2 * 24
            #expect(summary.tokenSteps.batch == expected && summary.countedTokenSteps == expected)
            #expect(abs(summary.tokenSteps.ofUsualSteps - Double(expected) / Double(28 * (16 + 16 + 24))) < 1e-9)
            #expect(summary.links.count == 1)
            for link in summary.links { #expect(link.counted == link.formula && link.counted > 0) }
            #expect(summary.nodes.map(\.name) == ["a", "b"])
            #expect(summary.nodes.map(\.steps) == [14, 14])
            #expect(summary.nodes.reduce(0) { $0 + $1.images } == 3)

            for case .done(let path, _) in first.job.images {
                let verified = try await Abbozzo.run(["image", "verify", path, "--model", tiny])
                #expect(verified.status == .exited(0), "\(verified.errors)")
            }
            let sheet = [UInt8](try Data(contentsOf: URL(filePath: folder.path + "/sheet.png")))
            #expect(try PNG.decode(sheet).width > 64)
            let again = try report(try await cluster.client(arguments))
            #expect(again.duplicate && again.job.id == first.job.id)

            let listed = try await cluster.client(["jobs", "ls"])
            #expect(listed.output.contains(first.job.id.description.prefix(12)) && listed.output.contains("3/3"))
            let shown = try await cluster.client(["jobs", "show", String(first.job.id.description.prefix(6))])
            #expect(shown.status == .exited(0) && shown.output.contains(".png"))
            let nodes = try await cluster.client(["nodes", "ls", "--json"])
            let status = try JSONDecoder().decode(ClusterStatus.self, from: Data(nodes.output.utf8))
            #expect(status.workers.map(\.hello.name) == ["a", "b"] && status.imagesDone == 3)
            let top = try await cluster.client(["top"])
            #expect(top.status == .exited(0) && top.output.contains("IMAGES/H"))
        }
    }

    @Test("a batch that comes before the first worker waits for it, and says so")
    func beforeWorkers() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let submit = try await processes.start(
                [
                    "submit", "-p", "a", "--steps", "1", "--negative-prompt", "b", "--coordinator",
                    cluster.endpoints["client"] ?? "",
                ] + small)
            _ = try await submit.line(containing: "waiting for a worker to join")
            _ = try await cluster.worker("a", model: tiny)
            _ = try await submit.line(containing: "negative prompts are only kept with the pictures")
            let outcome = try await submit.outcome()
            #expect(outcome.status == .exited(0) && outcome.output.contains("1 done"), "\(outcome)")
        }
    }

    @Test("a batch with one impossible picture is refused with its line, before anything is queued")
    func impossiblePicture() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            _ = try await cluster.worker("a", model: tiny)
            let file = folder.path + "/batch.jsonl"
            for (line, words) in [
                ("{\"prompt\": \"b\", \"width\": 100}", "96x64"),
                ("{\"prompt\": \"\(String(repeating: "x", count: 100_000))\"}", "100000 characters"),
            ] {
                try Data("{\"prompt\": \"a\"}\n\(line)\n".utf8).write(to: URL(filePath: file))
                let outcome = try await cluster.client(["submit", file, "--steps", "1"] + small)
                #expect(outcome.status == .exited(1))
                let error = try #require(outcome.errorLines.last)
                #expect(error.contains("batch.jsonl:2: ") && error.contains(words), "\(error)")
            }
            let jobs = try await cluster.client(["jobs", "ls", "--json"])
            #expect(try JSONDecoder().decode([JobStatus].self, from: Data(jobs.output.utf8)).isEmpty)
            let unknown = try await cluster.client(["jobs", "show", "0123456789abcdef0123456789abcdef"])
            #expect(unknown.status == .exited(1) && unknown.errorLines.count == 1)
            let drain = try await cluster.client(["nodes", "drain", "nobody"])
            #expect(drain.status == .exited(1) && drain.errorLines.count == 1)
        }
    }

    @Test("a worker with another model is refused with exit code 4, and the cluster goes on")
    func otherModel() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            _ = try await cluster.worker("a", model: tiny)
            let first = try await cluster.client(["submit", "-p", "a", "--steps", "1"] + small)
            #expect(first.status == .exited(0), "\(first.errors)")
            let other = try await cluster.worker("b", model: Fixtures.path + "/flux-schnell/model")
            let outcome = try await other.outcome()
            #expect(outcome.status == .exited(4))
            let errors = outcome.errorLines.filter { $0.hasPrefix("error: ") }
            #expect(errors.count == 1 && errors[0].contains("model"), "\(outcome.errors)")
            let second = try await cluster.client(["submit", "-p", "a", "--steps", "1"] + small)
            #expect(second.status == .exited(0), "\(second.errors)")
        }
    }

    @Test("a worker that was drained is so while it is off, too, and is forgotten only then")
    func drainAndForget() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: tiny)
            _ = try await worker.line(containing: "started ")
            _ = try await cluster.coordinator.line(containing: "a joined")
            func said(_ arguments: [String]) async throws -> String {
                let outcome = try await cluster.client(["nodes"] + arguments)
                #expect(outcome.status == .exited(0), "\(outcome.errors)")
                return outcome.output
            }
            #expect(try await said(["drain", "a"]).hasPrefix("a is drain"))
            let refused = try await cluster.client(["nodes", "forget", "a"])
            #expect(refused.status == .exited(1) && refused.errors.contains("a is here (draining)"), "\(refused)")
            await worker.send(SIGTERM)
            _ = try await worker.outcome()
            let client = try await cluster.connect()
            while try await client.nodes().workers.first?.life != .lost {
                try await Task.sleep(for: .milliseconds(20))
            }
            await client.close()
            #expect(try await said(["ls"]).contains("drained, off"))
            #expect(try await said(["drain", "a"]) == "a is off; it stays out when it comes back\n")
            #expect(try await said(["forget", "a"]) == "a is off the list\n")
            #expect(try await said(["ls"]).contains("no workers"))
        }
    }

    @Test("cancelled pictures make the batch's exit code, retry brings them back, and a drained worker leaves")
    func cancelAndRetry() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: tiny)
            let steps = ["--steps", "900"]
            let queued = try await cluster.client(
                ["submit", "--no-wait"] + (0..<8).flatMap { ["-p", "\($0)"] } + steps + small)
            #expect(queued.status == .exited(0), "\(queued.errors)")
            let id = queued.output.split(separator: "\n").last.map(String.init) ?? ""
            #expect(JobID(id) != nil)
            let cancelled = try await cluster.client(["jobs", "cancel", id])
            #expect(cancelled.status == .exited(0) && cancelled.output.hasPrefix("cancelled job \(id): "))
            let watched = try await cluster.client(["jobs", "watch", id])
            #expect(watched.status == .exited(2) || watched.status == .exited(5), "\(watched.errors)")
            #expect(watched.errorLines.last?.contains("jobs retry") == true)
            let shown = try await cluster.client(["jobs", "show", id, "--json"])
            let status = try JSONDecoder().decode(JobStatus.self, from: Data(shown.output.utf8))
            let listed = try await cluster.client(["jobs", "ls", "--json"])
            #expect(listed.output.contains("\"cancelled\" : \(status.cancelled)"), "\(listed.output)")
            #expect(listed.output.contains("\"queued\" : 0") && !listed.output.contains("\"images\""))
            #expect(status.isFinal && status.done < 8)
            let written = (try? FileManager.default.contentsOfDirectory(atPath: status.folder)) ?? []
            #expect(written.count == status.done, "\(written)")
            let nothing = try await cluster.client(["jobs", "cancel", String(id.prefix(12))])
            #expect(nothing.status == .exited(0) && nothing.output.hasPrefix("nothing left to cancel: job \(id)"))
            let none = try await cluster.client(["jobs", "ls", "--unfinished"])
            #expect(none.status == .exited(0) && none.output.hasPrefix("no unfinished jobs"), "\(none)")
            #expect(try await cluster.client(["jobs", "retry", id]).status == .exited(0))
            let unfinished = try await cluster.client(["jobs", "ls", "--unfinished"])
            #expect(unfinished.output.contains(id.prefix(12)), "\(unfinished)")
            let tooSoon = try await cluster.client(["jobs", "rm", id])
            #expect(tooSoon.status == .exited(1) && tooSoon.errors.contains("has pictures left"), "\(tooSoon)")
            #expect(try await cluster.client(["jobs", "cancel", id]).status == .exited(0))
            let kept = try await cluster.client(["jobs", "rm", "--older-than", "1d"])
            #expect(kept.status == .exited(0) && kept.output == "removed 0 jobs\n", "\(kept)")
            for wrong in ["0123abcd", String(id.dropLast()) + (id.hasSuffix("0") ? "1" : "0")] {
                let unsure = try await cluster.client(["jobs", "rm", id, wrong])
                #expect(unsure.status == .exited(1) && unsure.errors.contains("no job \(wrong)"), "\(unsure)")
            }
            let drawn = try await cluster.client(["submit", "--json", "-p", "drawn", "--steps", "1"] + small)
            #expect(drawn.status == .exited(0), "\(drawn)")
            let removed = try await cluster.client(["jobs", "rm", String(id.prefix(12)), id, "--older-than", "0s"])
            #expect(removed.status == .exited(0) && removed.output == "removed 2 jobs\n", "\(removed)")
            #expect(try await cluster.client(["jobs", "ls"]).output.hasPrefix("no jobs"))
            let output = try FileManager.default.subpathsOfDirectory(
                atPath: URL(filePath: status.folder).deletingLastPathComponent().path)
            #expect(output.filter { $0.hasSuffix(".png") }.count > status.done, "pictures stay")

            await worker.send(SIGTERM)
            #expect(try await worker.outcome().status == .exited(0))
            await cluster.coordinator.send(SIGTERM)
            #expect(try await cluster.coordinator.outcome().status == .exited(0))
        }
    }
}
