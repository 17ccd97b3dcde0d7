internal import Foundation
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing

/// The coordinator killed without warning while a batch runs.
@Suite("Coordinator killed", .serialized, .timeLimit(.minutes(10)))
struct CoordinatorKillTests {
    let folder = TemporaryFolder()
    private let tiny = Fixtures.path + "/flux-dev/model"

    private struct Report: Decodable {
        let job: JobStatus
    }

    /// Kills to make; `ABBOZZO_KILLS=200` for the long run.
    private static let kills = ProcessInfo.processInfo.environment["ABBOZZO_KILLS"].flatMap(Int.init) ?? 6

    @Test("a batch goes on after every kill: no picture lost or doubled, each with the bytes of a quiet run")
    func killsAndGoesOn() async throws {
        try await withProcesses { processes in
            var cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: tiny)
            let prompts = (0..<2 * Self.kills).flatMap { ["-p", "picture \($0)"] }
            let arguments = ["--width", "128", "--height", "128", "--text-length", "16", "--steps", "8", "--json"]
            let quiet = try await cluster.client(
                ["submit", "--folder", "quiet", "--summary"] + prompts + arguments, limit: .seconds(170))
            #expect(quiet.status == .exited(0), "\(quiet.errors)")

            let submitted = try await cluster.client(
                ["submit", "--folder", "killed", "--key", "k", "--no-wait"] + prompts + arguments)
            #expect(submitted.status == .exited(0), "\(submitted.errors)")
            var hits = 0
            for kill in 0..<Self.kills {
                try await Task.sleep(for: .milliseconds(150 + 97 * (kill % 7)))
                await cluster.coordinator.send(SIGKILL)
                _ = try await cluster.coordinator.outcome()
                cluster = try await cluster.again(in: folder.path)
                let said = await cluster.coordinator.outputSoFar + cluster.coordinator.errorsSoFar
                if said.contains("go on from the queue") { hits += 1 }
            }
            #expect(hits >= Self.kills * 2 / 3, "only \(hits) kills met an unfinished batch: make it longer")
            // The same key finds the job of before the kills, and waits for it.
            let waited: ProcessOutcome
            do {
                waited = try await cluster.client(
                    ["submit", "--folder", "killed", "--key", "k"] + prompts + arguments, limit: .seconds(170))
            } catch {
                let (coordinator, worker) = (await cluster.coordinator.errorsSoFar, await worker.errorsSoFar)
                Issue.record("the coordinator's log:\n\(coordinator)\nthe worker's:\n\(worker.suffix(4000))")
                throw error
            }
            #expect(waited.status == .exited(0), "\(waited.errors)")
            let job = try JSONDecoder().decode(Report.self, from: Data(waited.output.utf8)).job
            #expect(job.done == 2 * Self.kills)

            let names = try FileManager.default.contentsOfDirectory(atPath: cluster.output + "/killed").sorted()
            #expect(names == (try FileManager.default.contentsOfDirectory(atPath: cluster.output + "/quiet").sorted()))
            #expect(names.count == 2 * Self.kills)
            for name in names {
                let killed = try Data(contentsOf: URL(filePath: cluster.output + "/killed/" + name))
                #expect(killed == (try Data(contentsOf: URL(filePath: cluster.output + "/quiet/" + name))), "\(name)")
            }
        }
    }
}
