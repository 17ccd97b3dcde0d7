internal import Foundation
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

/// Long runs, short by default: `ABBOZZO_SOAK=1000` pictures with `ABBOZZO_SOAK_INTERVAL=20` seconds between kills, and
/// `ABBOZZO_STUCK=600` seconds with a worker that stands still.
@Suite("Endurance", .serialized, .timeLimit(.minutes(120)))
struct EnduranceTests {
    let folder = TemporaryFolder()

    private static func setting(_ name: String, _ standard: Double) -> Double {
        ProcessInfo.processInfo.environment[name].flatMap(Double.init) ?? standard
    }

    /// What a process holds.
    private struct Holdings {
        /// Resident bytes.
        let memory: Int
        let threads: Int
        let descriptors: Int

        init(_ process: ChildProcess) async throws {
            let pid = try #require(await process.pid, "it has ended")
            let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            func field(_ name: String) throws -> Int {
                let line = status.split(separator: "\n").first { $0.hasPrefix(name + ":") }
                return try #require(line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
            }
            memory = try field("VmRSS") * 1024
            threads = try field("Threads")
            descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
        }

        /// Whether this is not more than before, but for buffers that fill up once and connections that come and go.
        func expectNoGrowth(since before: Holdings, _ name: String) {
            let words = "\(name): \(before) became \(self)"
            #expect(memory <= before.memory * 5 / 4 + 64 << 20, "\(words)")
            #expect(threads <= before.threads + 2, "\(words)")
            #expect(descriptors <= before.descriptors + 8, "\(words)")
        }
    }

    @Test("a long batch with random kills: every picture has the bytes of a quiet run, and nothing grows")
    func soak() async throws {
        let count = Int(Self.setting("ABBOZZO_SOAK", 12))
        let interval = Self.setting("ABBOZZO_SOAK_INTERVAL", 2.5)
        var chance = SplitMix(state: 20_261_121)
        let lines = (0..<count).map { index in
            TestPicture(
                prompt: "a fox \(index)", seed: index, flags: TestPicture.all[index % 3 == 0 ? 1 : 0].flags
            ).line
        }
        let batch = try folder.write(Array(lines.joined(separator: "\n").utf8), name: "batch.jsonl")
        try await withProcesses { processes in
            var cluster = try await TestCluster.start(
                processes, in: folder.path, workers: 3, ["--config", try quickToGiveUp()])
            var workers: [String: ChildProcess] = [:]
            for name in ["a", "b", "c"] { workers[name] = try await cluster.worker(name, model: TestPicture.model) }
            let patience = Duration.seconds(60 + count)
            let quiet = try await cluster.client(["submit", batch, "--folder", "quiet"], limit: patience)
            #expect(quiet.status == .exited(0), "\(quiet.errors)")

            let submitted = try await cluster.client(["submit", batch, "--folder", "killed", "--no-wait"])
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            let witness = try #require(workers["c"])
            var kills = 0
            var early: (coordinator: Holdings, witness: Holdings)?
            while true {
                try await Task.sleep(for: .seconds(interval))
                let done = try await progress(id, cluster)
                if done.isFinal { break }
                // The coordinator dies in the first half only, so that the second one shows whether it grows.
                let isLate = done.done * 2 > count
                if isLate && early == nil {
                    early = (try await Holdings(cluster.coordinator), try await Holdings(witness))
                }
                let victim = ["a", "b", "coordinator"][Int(chance.next() % (isLate ? 2 : 3))]
                kills += 1
                if victim == "coordinator" {
                    await cluster.coordinator.send(SIGKILL)
                    _ = try await cluster.coordinator.outcome()
                    cluster = try await cluster.again(in: folder.path, workers: 3, ["--config", try quickToGiveUp()])
                } else {
                    await workers[victim]?.send(SIGKILL)
                    _ = try await workers[victim]?.outcome()
                    workers[victim] = try await cluster.worker(victim, model: TestPicture.model)
                }
            }
            let job = try await progress(id, cluster)
            #expect(job.done == count && job.failed == 0, "\(job)")
            #expect(kills > 0, "the batch was over before the first kill")
            #expect(try cluster.pictures(in: "killed") == cluster.pictures(in: "quiet"))
            let names = try FileManager.default.subpathsOfDirectory(atPath: cluster.output)
            let strays = Set(names).subtracting(["quiet", "killed"]).filter {
                !$0.hasSuffix(".png") || $0.contains("/.")
            }
            #expect(strays.isEmpty, "left behind: \(strays)")
            if let early {
                try await Holdings(cluster.coordinator).expectNoGrowth(since: early.coordinator, "coordinator")
                try await Holdings(witness).expectNoGrowth(since: early.witness, "witness")
            }
            print("soak: \(count) pictures, \(kills) kills")
        }
    }

    @Test("a worker that stands still makes nobody's memory grow, and the batch goes on when it does")
    func stuckConsumer() async throws {
        let seconds = Self.setting("ABBOZZO_STUCK", 4)
        try await withProcesses { processes in
            // Silence is forgiven for longer than the worker stands still.
            let patient = try folder.write(
                Array("lost_after_seconds: \(Int(seconds) + 180)\n".utf8), name: "patient.yaml")
            let cluster = try await TestCluster.start(
                processes, in: folder.path, workers: 3, ["--config", patient, "--flights-per-worker", "8"])
            var workers: [String: ChildProcess] = [:]
            for name in ["a", "b", "c"] { workers[name] = try await cluster.worker(name, model: TestPicture.model) }
            let prompts = (0..<40).flatMap { ["-p", "picture \($0)"] }
            let flags = ["--width", "128", "--height", "128", "--steps", "4"]
            let submitted = try await cluster.client(["submit", "--folder", "all", "--no-wait"] + prompts + flags)
            let id = try #require(JobID(submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)))
            let client = try await cluster.connect()
            var version: UInt64 = 0
            while case .job(let status) = try await client.request(.watch(id, version: version)), status.done < 2 {
                version = status.version
            }
            await client.close()
            let stuck = try #require(workers["b"])
            await stuck.send(SIGSTOP)
            // Once what was under way has run up against the worker that takes nothing, however slow the machine is.
            var done = -1
            while case let now = try await progress(id, cluster).done, now != done {
                done = now
                try await Task.sleep(for: .seconds(3))
            }
            let others = [cluster.coordinator, try #require(workers["a"]), try #require(workers["c"])]
            var before: [Holdings] = []
            for process in others { before.append(try await Holdings(process)) }
            try await Task.sleep(for: .seconds(seconds))
            #expect(try await progress(id, cluster).done == done, "the pipeline runs through this worker")
            for (index, process) in others.enumerated() {
                let now = try await Holdings(process)
                #expect(now.memory <= before[index].memory + 16 << 20, "\(before[index]) became \(now)")
                #expect(now.descriptors <= before[index].descriptors + 2)
            }
            await stuck.send(SIGCONT)
            let waited = try await cluster.client(["jobs", "watch", id.description], limit: .seconds(120))
            #expect(waited.status == .exited(0), "\(waited.errors)")
        }
    }

    /// Settings of a coordinator that plans around a dead worker within seconds.
    private func quickToGiveUp() throws -> String {
        try folder.write(Array("lost_after_seconds: 3\n".utf8), name: "quick.yaml")
    }

    /// The job's state now.
    private func progress(_ id: JobID, _ cluster: TestCluster) async throws -> JobStatus {
        let client = try await cluster.connect()
        let reply = try await client.request(.job(id))
        await client.close()
        guard case .job(let status) = reply else { throw RenderFailure(description: "\(reply)") }
        return status
    }
}

/// Numbers that repeat from run to run.
private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
