import Checkpoint
import Foundation
import Logging
import Plan
import Stages
import TestKit
import Tensors
import Testing
import Worker

@Suite("The worker's measurement")
struct BenchmarkTests {
    private let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("it is taken once for each thread count and model, and again when the file is damaged or not wanted")
    func caches() throws {
        let folder = TemporaryFolder()
        let model = try Golden("flux-dev").modelFolder
        let facts = try ModelFacts(folder: model)
        func costs(_ mode: BenchmarkMode, threads: Int = 1, _ facts: ModelFacts) -> MeasuredCosts? {
            Benchmark(mode: mode, folder: folder.path("cache")).costs(
                folder: model, facts: facts, roles: Set(Role.allCases), compute: Compute(threads: threads), log: log)
        }
        func files() -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: folder.path("cache")).sorted()) ?? []
        }
        #expect(costs(.off, facts) == nil && files().isEmpty)
        let first = try #require(costs(.cached, facts))
        #expect(costs(.cached, facts) == first, "times are never the same twice")
        #expect(files().count == 1)
        #expect(costs(.fresh, facts) != first && files().count == 1)
        _ = costs(.cached, threads: 2, facts)
        var other = facts
        other.fingerprint = "other"
        _ = costs(.cached, other)
        #expect(files().count == 3 && files().allSatisfy { $0.hasPrefix("speed-") && $0.hasSuffix(".json") })
        let again = try #require(costs(.cached, facts))
        for file in files() { try folder.write(Array("{\"half".utf8), name: "cache/" + file) }
        let repaired = try #require(costs(.cached, facts))
        #expect(repaired != again && costs(.cached, facts) == repaired)
    }

    @Test("a folder that cannot be written costs the cache, not the measurement")
    func readOnly() throws {
        let folder = TemporaryFolder()
        let file = try folder.write([], name: "file")
        let model = try Golden("flux-dev").modelFolder
        let costs = Benchmark(mode: .cached, folder: file + "/below").costs(
            folder: model, facts: try ModelFacts(folder: model), roles: [.blocks], compute: Compute(threads: 1),
            log: log)
        #expect(costs != nil)
    }

    @Test("memory and processor time are what the control groups of either version leave")
    func controlGroups() throws {
        func machine(_ files: [String: String]) throws -> Machine {
            let root = TemporaryFolder()
            try root.write(Array("MemTotal:       16000 kB\nMemFree: 1 kB\n".utf8), name: "proc/meminfo")
            try root.write(Array("b00t\n".utf8), name: "proc/sys/kernel/random/boot_id")
            for (name, text) in files { try root.write(Array(text.utf8), name: name) }
            return Machine.current(root: root.path)
        }
        let free = try machine(["proc/self/cgroup": "0::/user\n", "sys/fs/cgroup/user/memory.max": "max\n"])
        #expect(free.memory == 16_384_000 && free.identity == "b00t" && free.quota == "")
        let second = try machine([
            "proc/self/cgroup": "0::/system/abbozzo\n", "sys/fs/cgroup/system/memory.max": "1000000\n",
            "sys/fs/cgroup/system/abbozzo/memory.max": "9000000\n",
            "sys/fs/cgroup/system/abbozzo/cpu.max": "50000 100000\n",
        ])
        #expect(second.memory == 1_000_000 && second.identity.contains("/system") && second.quota == "50000 100000")
        #expect(second.allowance == 0.5 && free.allowance == nil)
        let first = try machine([
            "proc/self/cgroup": "4:memory:/a\n1:cpu,cpuacct:/b\n0::/\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2000000\n",
            "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": "25000\n", "sys/fs/cgroup/cpu/b/cpu.cfs_period_us": "100000\n",
        ])
        #expect(first.memory == 2_000_000 && first.quota == "25000 100000")
        let here = Machine.current()
        #expect(here.cores >= 1 && here.memory > 1 << 20)
    }
}
