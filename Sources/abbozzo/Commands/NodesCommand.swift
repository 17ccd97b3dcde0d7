internal import ArgumentParser
internal import Foundation
internal import Plan

/// The workers.
struct NodesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes", abstract: "List workers, drain them, let them back in, forget those that are gone.",
        subcommands: [List.self, Drain.self, Undrain.self, Forget.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List workers with what they hold and have done.")
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func run() async throws {
            let cluster = try await client.connected { try await $0.nodes() }
            if options.json { return try sayJSON(cluster) }
            say(cluster.headline)
            if cluster.workers.isEmpty {
                say("no workers; start one with abbozzo worker --coordinator tcp://HOST:5790")
            } else {
                say((cluster.totals.lines + cluster.measuredLinks + cluster.idleLines).joined(separator: "\n"))
            }
            if let line = cluster.buildsLine { say(line) }
            for line in cluster.refusedLines { say(line) }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "drain",
            abstract: "Take a worker out of the plan once its work in hand is done.",
            discussion: """
                It stays out, also when it or the coordinator starts again, until abbozzo nodes undrain. One that is off \
                stays out when it comes back.
                """)
        @Argument(help: "Name of the worker.") var worker: String
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func run() async throws {
            let cluster = try await client.connected { client in
                try await client.order(.drain(worker: worker))
                return try await client.nodes()
            }
            try options.json ? sayJSON(["drained": worker]) : say(cluster.drainText(worker))
        }
    }

    struct Undrain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "undrain", abstract: "Let a drained worker back in.")
        @Argument(help: "Name of the worker.") var worker: String
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func run() async throws {
            let cluster = try await client.connected { client in
                try await client.order(.undrain(worker: worker))
                return try await client.nodes()
            }
            try options.json ? sayJSON(["undrained": worker]) : say(cluster.undrainText(worker))
        }
    }

    struct Forget: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "forget", abstract: "Take a worker that is gone off the list.",
            discussion: """
                That it was drained is forgotten, too: should it come back, it takes part. One that is connected is refused.
                """)
        @Argument(help: "Name of the worker.") var worker: String
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func run() async throws {
            try await client.connected { try await $0.order(.forget(worker: worker)) }
            try options.json ? sayJSON(["forgotten": worker]) : say("\(worker) is off the list")
        }
    }
}

extension ClusterStatus {
    /// What it means for a worker that it was drained, by how it stands after that.
    func drainText(_ name: String) -> String {
        guard let worker = present(name) else { return "\(name) is off; it stays out when it comes back" }
        return worker.placement == nil ? "\(name) is drained" : "\(name) is draining"
    }

    /// The same of one that was let back in.
    func undrainText(_ name: String) -> String {
        present(name) == nil ? "\(name) is off; it takes part when it comes back" : "\(name) may take part again"
    }

    private func present(_ name: String) -> WorkerStatus? {
        workers.first { $0.hello.name == name && $0.life != .lost }
    }
}

extension ClusterStatus {
    /// One line about the whole.
    var headline: String {
        let plan =
            plan.map { plan in
                let replicas = plan.pipelines.count > 1 ? " in \(plan.pipelines.count) replicas" : ""
                let format = plan.wire.isExact ? "" : ", \(plan.wire.rawValue) between workers"
                return "plan \(plan.epoch) over \(plan.pipeline.count) workers\(replicas)\(format)"
            } ?? "no plan yet"
        return "\(plan); \(inFlight) pictures in flight, \(queued) queued, \(imagesDone) done; "
            + "up \(durationText(uptime))"
    }

    /// A line for each link that was measured.
    fileprivate var measuredLinks: [String] {
        workers.compactMap { worker in
            worker.link.map { "\(worker.hello.name) -> \($0.target): \($0.speed.text)" }
        }
    }

    /// A line for each worker that has no share of the plan although it is here.
    var idleLines: [String] {
        workers.compactMap { worker in worker.idle.map { "\(worker.hello.name) draws nothing: \($0.text)" } }
    }

    /// Who runs another build than others do; nil where all run the same.
    var buildsLine: String? {
        var names: [String: [String]] = [:]
        if let build, !build.isEmpty { names[build] = ["the coordinator"] }
        for worker in workers where worker.life != .lost {
            names[worker.hello.build, default: []].append(worker.hello.name)
        }
        guard names.count > 1 else { return nil }
        return "builds differ: "
            + names.sorted { $0.key < $1.key }.map { "\($0) on \(shortened($1.joined(separator: ", "), to: 200))" }
            .joined(separator: "; ")
    }

    /// A line for each worker that was refused lately.
    var refusedLines: [String] {
        (refused ?? []).map { worker in
            let often = worker.times > 1 ? ", \(worker.times) times" : ""
            return "refused \(worker.name) \(durationText(worker.secondsAgo)) ago\(often): \(worker.text)"
        }
    }

    /// What each worker holds and has done since it started.
    var totals: Table {
        var table = Table([
            "NODE", "STATE", "REPLICA", "BLOCKS", "ALSO", "THREADS", "MEMORY", "IMAGES", "STEPS", "TOKENS", "BUSY",
            "SENT",
            "RECEIVED",
        ])
        for worker in workers {
            let counters = worker.counters
            table.add([
                worker.hello.name, worker.stateText, worker.replicaText, worker.blocksText, worker.alsoText,
                "\(worker.hello.threads)",
                bytesText(Double(counters.residentBytes)), grouped(counters.images), grouped(counters.steps),
                grouped(counters.tokens), percentText(counters.busyShare),
                bytesText(Double(counters.bytes(from: worker.hello.name))),
                bytesText(Double(counters.bytes(to: worker.hello.name))),
            ])
        }
        return table
    }
}

extension WorkerStatus {
    /// Where it is in its life; nobody misses one that was drained.
    var stateText: String {
        guard isDrained == true else {
            return switch idle?.code {
            case .loadFailure: "cannot load"
            case .stalled: "stalled"
            case .crashes: "resting"
            case .link: "no link"
            case .spare: "spare"
            case nil: life.rawValue
            }
        }
        return life == .lost ? "drained, off" : placement == nil ? "drained" : life.rawValue
    }

    /// The pipeline that it works for, from 0; `all` for a worker that encodes or decodes for all of them.
    var replicaText: String {
        guard let placement else { return "-" }
        return placement.replica.map(String.init) ?? (placement.span.isEmpty ? "all" : "0")
    }

    /// Its span of blocks, `0-18`.
    var blocksText: String {
        guard let span = placement?.span, let last = span.last else { return "-" }
        return "\(span.lowerBound)-\(last)"
    }

    /// What it does besides.
    var alsoText: String {
        var parts: [String] = []
        if placement?.encodes == true { parts.append("encodes") }
        if placement?.decodes == true { parts.append("decodes") }
        return parts.isEmpty ? "-" : parts.joined(separator: ",")
    }
}

extension WorkerCounters {
    /// Share of its life spent computing.
    var busyShare: Double { upNanoseconds == 0 ? 0 : Double(busyNanoseconds) / Double(upNanoseconds) }

    /// All bytes that this worker sent.
    func bytes(from name: String) -> UInt64 {
        links.reduce(0) { $0 &+ ($1.source == name ? $1.totalBytes : 0) }
    }

    /// All bytes that this worker received.
    func bytes(to name: String) -> UInt64 {
        links.reduce(0) { $0 &+ ($1.target == name ? $1.totalBytes : 0) }
    }
}
