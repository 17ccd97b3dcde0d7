package import Checkpoint
internal import Foundation
package import Logging
package import Plan
internal import Stages
package import Tensors

/// The worker's measurement of its own speed, which is taken once and kept on disk.
package struct Benchmark: Sendable {
    /// What a measurement depends on; it is good for nothing else.
    struct Key: Codable, Equatable {
        var kernelClass: String
        var instructions: String
        var threads: Int
        var model: String
        var roles: [Role]
        var version: String
        /// Homes of several machines may be one shared disk.
        var host: String
        var quota: String
        /// Eight threads on four cores of two threads each are not eight on eight.
        var cores: String
    }

    /// A file of the folder.
    private struct Entry: Codable {
        var key: Key
        var costs: MeasuredCosts
    }

    /// What to do.
    package let mode: BenchmarkMode
    /// Folder of the measurements; nil keeps none.
    package let folder: String?
    /// What the process may use.
    package let machine: Machine
    /// The program: another build may have other kernels.
    package let build: String

    /// Joins the fields.
    package init(
        mode: BenchmarkMode, folder: String? = Benchmark.defaultFolder, machine: Machine = .current(),
        build: String = programVersion
    ) {
        self.mode = mode
        self.folder = folder
        self.machine = machine
        self.build = build
    }

    /// Where measurements are kept: systemd's `CACHE_DIRECTORY`, else `abbozzo` in `XDG_CACHE_HOME` or `~/.cache`.
    package static var defaultFolder: String? {
        let environment = ProcessInfo.processInfo.environment
        if let folder = environment["CACHE_DIRECTORY"]?.split(separator: ":").first { return String(folder) }
        if let folder = environment["XDG_CACHE_HOME"], folder.hasPrefix("/") { return folder + "/abbozzo" }
        return environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 + "/.cache/abbozzo" : nil }
    }

    /// The costs of a model on this machine; nil when they are not wanted or cannot be had, which is logged.
    ///
    /// Blocks for as long as measuring takes: not for the cooperative pool.
    package func costs(
        folder model: ModelFolder, facts: ModelFacts, roles: Set<Role>, compute: Compute, log: Logger
    ) -> MeasuredCosts? {
        guard mode != .off else { return nil }
        let key = Key(
            kernelClass: compute.kernels.name, instructions: compute.kernels.instructions,
            threads: compute.pool.threads, model: facts.fingerprint, roles: Role.allCases.filter(roles.contains),
            version: build, host: ProcessInfo.processInfo.hostName, quota: machine.quota,
            cores: ProcessCores.allowed?.description ?? "")
        if mode == .cached, let costs = load(key) {
            log.debug("speed as measured before, in \(path(key) ?? "")")
            return costs
        }
        let start = ContinuousClock.now
        do {
            let threads = Double(compute.pool.threads)
            let costs = try MeasuredCosts.measured(
                folder: model, facts: facts, roles: roles, compute: compute,
                throttle: max(1, machine.allowance.map { threads / $0 } ?? 1))
            log.info(
                "measured the speed of \(facts.name) on \(compute.pool.threads) threads in \(ContinuousClock.now - start)"
            )
            save(Entry(key: key, costs: costs), log)
            return costs
        } catch {
            log.warning("the speed could not be measured, so the plan goes without it: \(error)")
            return nil
        }
    }

    /// The file of a key: its name is a hash, its content says whose it is.
    func path(_ key: Key) -> String? {
        let text = [
            key.kernelClass, key.instructions, "\(key.threads)", key.model,
            key.roles.map(\.rawValue).joined(separator: ","), key.version, key.host, key.quota, key.cores,
        ].joined(separator: "\n")
        // FNV-1a, 64 bits: only for the name.
        let hash = text.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
        return folder.map { "\($0)/speed-\(String(hash, radix: 16)).json" }
    }

    private func load(_ key: Key) -> MeasuredCosts? {
        guard let path = path(key), let data = FileManager.default.contents(atPath: path), data.count < 1 << 20,
            let entry = try? JSONDecoder().decode(Entry.self, from: data), entry.key == key, entry.costs.isSane
        else { return nil }
        return entry.costs
    }

    /// Under a temporary name, then renamed: a reader sees all of a measurement or none.
    private func save(_ entry: Entry, _ log: Logger) {
        guard let folder, let path = path(entry.key) else { return }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(entry).write(to: URL(filePath: path), options: .atomic)
        } catch {
            log.info("the measured speed could not be kept in \(folder): the next start measures again")
        }
    }
}
