internal import Foundation

/// What this process may use of its machine, as the kernel tells it.
package struct Machine: Equatable, Sendable {
    /// Cores of its affinity.
    package let cores: Int
    /// Bytes of memory: the machine's, or less where a control group allows less.
    package let memory: UInt64
    /// The same for all processes that share that memory.
    package let identity: String
    /// The control group's quotas of processor time, for instance `50000 100000`; empty without one.
    package let quota: String
    /// Processors that the tightest quota leaves, which may be less than one; nil without a quota.
    package var allowance: Double? {
        quota.split(separator: ",").compactMap { pair in
            let parts = pair.split(separator: " ").compactMap { Double($0) }
            return parts.count == 2 && parts[1] > 0 ? parts[0] / parts[1] : nil
        }.min()
    }

    /// Looks at this process, below `root` in tests.
    ///
    /// Source: cgroups(7): `/proc/self/cgroup` names the group of each hierarchy; `memory.max` and `cpu.max` (version 2),
    /// `memory.limit_in_bytes` and `cpu.cfs_quota_us` (version 1) bound it and everything below it.
    package static func current(root: String = "") -> Machine {
        let groups = lines(root + "/proc/self/cgroup").compactMap { line -> (controllers: [Substring], path: String)? in
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            return parts.count == 3 ? (parts[1].split(separator: ","), String(parts[2])) : nil
        }
        func path(of controller: Substring) -> String? { groups.first { $0.controllers.contains(controller) }?.path }
        let unified = groups.first { $0.controllers.isEmpty }?.path ?? "/"

        let total = physicalMemory(root)
        var limit = (bytes: total, group: "")
        func consider(_ folder: String, _ file: String) {
            if let bytes = word(folder + file).flatMap({ UInt64($0) }), bytes < limit.bytes {
                limit = (bytes, folder)
            }
        }
        for group in ancestors(unified) { consider(root + "/sys/fs/cgroup" + group, "/memory.max") }
        if let group = path(of: "memory") {
            for group in ancestors(group) { consider(root + "/sys/fs/cgroup/memory" + group, "/memory.limit_in_bytes") }
        }

        var quotas = ancestors(unified).compactMap { lines(root + "/sys/fs/cgroup" + $0 + "/cpu.max").first }
        quotas = quotas.filter { !$0.hasPrefix("max") }
        for group in path(of: "cpu").map(ancestors) ?? [] {
            let folder = root + "/sys/fs/cgroup/cpu" + group
            if let quota = word(folder + "/cpu.cfs_quota_us").flatMap({ Int($0) }), quota > 0 {
                quotas.append("\(quota) \(word(folder + "/cpu.cfs_period_us") ?? "")")
            }
        }
        let boot = word(root + "/proc/sys/kernel/random/boot_id") ?? ProcessInfo.processInfo.hostName
        return Machine(
            cores: max(1, ProcessInfo.processInfo.activeProcessorCount), memory: limit.bytes,
            // Containers of one kernel have their own limits, under paths that may be the same.
            identity: limit.group.isEmpty ? boot : "\(boot) \(ProcessInfo.processInfo.hostName) \(limit.group)",
            quota: quotas.joined(separator: ", "))
    }

    private static func physicalMemory(_ root: String) -> UInt64 {
        let line = lines(root + "/proc/meminfo").first { $0.hasPrefix("MemTotal:") }
        let kilobytes = line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }
        return kilobytes.map { $0 * 1024 } ?? ProcessInfo.processInfo.physicalMemory
    }

    /// A group and all above it: `/a/b`, `/a` and the empty path of the root.
    private static func ancestors(_ group: String) -> [String] {
        var result: [String] = []
        var parts = group.split(separator: "/")
        while !parts.isEmpty {
            result.append("/" + parts.joined(separator: "/"))
            parts.removeLast()
        }
        return result + [""]
    }

    private static func lines(_ path: String) -> [String] {
        // Files of /proc have no size that could be read first.
        guard let file = FileHandle(forReadingAtPath: path), let data = try? file.read(upToCount: 1 << 16) else {
            return []
        }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    private static func word(_ path: String) -> String? {
        lines(path).first?.trimmingCharacters(in: .whitespaces)
    }
}
