internal import ArgumentParser
internal import Foundation
internal import Plan

/// The durable queue.
struct JobsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jobs", abstract: "List, follow, cancel, retry and remove jobs.",
        subcommands: [List.self, Show.self, Watch.self, Cancel.self, Retry.self, Remove.self],
        defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List jobs, newest first.")
        @Option(parsing: .unconditional, help: ArgumentHelp("At most so many, up to 1000.", valueName: "n"))
        var limit = 50
        @Flag(help: "Only jobs with pictures left: those that are being drawn, then the others in their order.")
        var unfinished = false
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func validate() throws {
            try require(limit, in: 1...1000, "--limit")
        }

        func run() async throws {
            let jobs = try await client.connected { client in
                try await unfinished ? client.unfinished(limit: limit) : client.jobs(limit: limit)
            }
            if options.json { return try sayJSON(jobs) }
            var table = Table(["JOB", "STATE", "DONE", "FAILED", "SUBMITTED", "FOLDER"])
            for job in jobs {
                table.add([
                    String(job.id.description.prefix(12)), job.stateText, "\(job.done)/\(job.total)", "\(job.failed)",
                    dateText(job.submitted), job.folder,
                ])
            }
            let nothing = "no \(unfinished ? "unfinished " : "")jobs; submit one with abbozzo submit"
            say(jobs.isEmpty ? nothing : table.lines.joined(separator: "\n"))
        }
    }

    /// The job that a verb is about, and how to get at it.
    struct ChosenJob: ParsableArguments {
        @Argument(help: "Job, or the beginning of its id.") var job: String
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        /// Opens a connection and finds the job.
        func connected<Result>(_ body: (Client, JobID) async throws -> Result) async throws -> Result {
            try await client.connected { client in try await body(client, client.resolve(job)) }
        }

        /// Has something done to the job and says how it stood before and stands then.
        func order(_ request: (JobID) -> ClientRequest) async throws -> (before: JobStatus, after: JobStatus) {
            try await connected { client, id in
                let before = try await client.job(id)
                try await client.order(request(id))
                return (before: before, after: try await client.job(id))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "show", abstract: "Show a job and its pictures.")
        @OptionGroup var chosen: ChosenJob

        func run() async throws {
            let job = try await chosen.connected { client, id in try await client.job(id) }
            if chosen.options.json { return try sayJSON(job) }
            say("job        \(job.id)")
            say("state      \(job.stateText)")
            say("submitted  \(dateText(job.submitted))")
            if let finished = job.finished { say("took       \(durationText(finished - job.submitted))") }
            say("folder     \(job.folder)")
            var table = Table(["PICTURE", "STATE", "DETAIL"])
            for (index, image) in job.images.enumerated() {
                table.add(["\(index + 1)", image.stateText, image.detailText])
            }
            say(table.lines.joined(separator: "\n"))
        }
    }

    struct Watch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "watch", abstract: "Follow a job until all its pictures are done, failed or cancelled.")
        @OptionGroup var chosen: ChosenJob

        func run() async throws {
            let status = try await chosen.connected { client, id in
                // Asked once: whoever watches a job where nobody answers is to hear so at once.
                try await follow(id, from: client.job(id), client, quietly: chosen.options.json)
            }
            try chosen.options.json ? sayJSON(status) : say(status.closingText)
            try status.throwUnlessDone()
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "cancel", abstract: "Stop a job; finished pictures stay.")
        @OptionGroup var chosen: ChosenJob

        func run() async throws {
            let (before, status) = try await chosen.order { .cancel($0) }
            try chosen.options.json ? sayJSON(status) : say(status.cancelText(before: before))
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "retry", abstract: "Queue a job's failed and cancelled pictures again.")
        @OptionGroup var chosen: ChosenJob

        func run() async throws {
            let (before, status) = try await chosen.order { .retry($0) }
            try chosen.options.json ? sayJSON(status) : say(status.retryText(before: before))
        }
    }
}

extension JobStatus {
    /// One or two words.
    var stateText: String {
        if isFinal {
            if done == total { return "done" }
            if failed == 0 { return "cancelled" }
            return done == 0 ? "failed" : "partly failed"
        }
        return waiting.map { "waiting: \($0)" } ?? (done > 0 || tokenSteps > 0 ? "running" : "queued")
    }

    /// What a cancel did to a job that stood so before.
    func cancelText(before: JobStatus) -> String {
        let share = "\(done) of \(countText(total, "picture")) done"
        guard cancelled > before.cancelled else { return "nothing left to cancel: job \(id), \(stateText), \(share)" }
        return "cancelled job \(id): \(share)"
    }

    /// What a retry did to a job that stood so before.
    func retryText(before: JobStatus) -> String {
        guard before.failed + before.cancelled > 0 else {
            return "nothing to try again: of job \(id) no picture has failed or was cancelled"
        }
        return "queued again: job \(id), \(countText(total - done, "picture")) to go"
    }

    /// A line for the end.
    var closingText: String {
        var parts = ["\(done) done"]
        if failed > 0 { parts.append("\(failed) failed") }
        if cancelled > 0 { parts.append("\(cancelled) cancelled") }
        let time = finished.map { " in \(durationText($0 - submitted))" } ?? ""
        return "job \(id): \(parts.joined(separator: ", "))\(time), in \(folder)"
    }

    /// Throws the failure that the exit code stands for, with the first picture's reason.
    func throwUnlessDone() throws {
        guard done < total else { return }
        let first = images.enumerated().lazy.compactMap { index, state -> String? in
            if case .failed(let text) = state { "picture \(index + 1): \(text)" } else { nil }
        }.first
        let reason = first ?? "cancelled by a client"
        throw CommandFailure(
            done == 0 ? .failed : .partial,
            "\(total - done) of \(total) pictures failed or were cancelled; \(reason); "
                + "try again with abbozzo jobs retry \(id.description.prefix(12))")
    }
}

extension ImageState {
    /// One word.
    var stateText: String {
        switch self {
        case .queued: "queued"
        case .running: "running"
        case .done: "done"
        case .failed: "failed"
        case .cancelled: "cancelled"
        }
    }

    /// What there is to say.
    var detailText: String {
        switch self {
        case .queued, .cancelled: ""
        case .running(let step, let total): "step \(step) of \(total)"
        case .done(let path, _): path
        case .failed(let text): text
        }
    }
}

/// Date and time of day in local time.
private func dateText(_ seconds: Double) -> String {
    let formatter = DateFormatter()
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
    formatter.locale = Locale(identifier: "en_US_POSIX")
    return formatter.string(from: Date(timeIntervalSince1970: seconds))
}
