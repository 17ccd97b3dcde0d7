internal import ArgumentParser
internal import Foundation
internal import Imaging
internal import Plan
internal import Sampling
internal import Settings
internal import Wire

/// Hands a batch to the coordinator.
struct SubmitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "submit", abstract: "Send prompts to the coordinator and wait for the pictures.",
        discussion: """
            Prompts come from -p, any number of times, or from a file: .txt with one a line, or .jsonl with one object a \
            line (prompt, negative_prompt, seed, width, height, steps, guidance, sampler, preset). A line of .txt that \
            begins with # is a comment; a prompt that does goes into .jsonl or behind -p. A negative prompt is only kept \
            with the picture, FLUX models have no use for it. Once the job is accepted it is on the coordinator's disk and \
            goes on without this process.

            \(DemoWords.help)
            """)

    @Argument(help: ArgumentHelp("Prompts, .txt or .jsonl.", valueName: "file"))
    var file: String?

    @Option(
        name: .shortAndLong, parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A prompt; may be repeated.", valueName: "text"))
    var prompt: [String] = []

    @OptionGroup var picture: PictureOptions

    @Option(
        help: ArgumentHelp(
            "Submitting again with the same key finds the first job, unless it was removed.", valueName: "text"))
    var key: String?

    @Option(
        help: ArgumentHelp(
            "Folder below the coordinator's output folder; one that another job has or had, or that holds files, gets "
                + "a number. Default: the job's id.",
            valueName: "name"))
    var folder: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Jobs of a higher number go first; may be negative.", valueName: "n"))
    var priority = 0

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Go before all batches: while this runs only as many pictures are fed as there are workers with layers. "
                + "Default: only for a single -p prompt that is waited for and has no --priority."))
    var interactive: Bool?

    @Flag(inversion: .prefixedNo, help: "Wait for the pictures.")
    var wait = true

    @Flag(help: "Print what the batch cost, against full steps, and each node's share.")
    var summary = false

    @Option(
        help: ArgumentHelp(
            "Write all pictures on one sheet. The coordinator's output folder must have the same path on this machine.",
            valueName: "file.png"))
    var contactSheet: String?

    @OptionGroup var client: ClientOptions
    @OptionGroup var options: OutputOptions

    func validate() throws {
        if file != nil && !prompt.isEmpty { throw ValidationError("give prompts by -p or by a file, not both") }
        if !wait && (summary || contactSheet != nil) {
            throw ValidationError("--summary and --contact-sheet need to wait; leave --no-wait out")
        }
    }

    /// What `--json` prints.
    private struct Report: Encodable {
        let job: JobStatus
        let duplicate: Bool
        let summary: BatchSummary?
    }

    func run() async throws {
        let lines = try promptLines()
        if let contactSheet { try checkWritable(contactSheet) }
        var presets = Presets(in: .ofThisProcess())
        let (id, status, duplicate, report) = try await client.connected { client in
            let facts = try await servedModel(client)
            let requests = try lines.enumerated().map { index, line in
                let request = try picture.defaults.request(
                    line, index: index, facts: facts, presets: &presets)
                do { try Sampler.check(request, facts: facts) } catch {
                    let place = line.place.line.map { "\(line.place.file):\($0)" } ?? line.place.file
                    throw CommandFailure(.usage, "\(place): \(error)")
                }
                return request
            }
            noteNegativePrompts(of: requests)
            let before = summary ? try await client.countedNodes() : nil
            let (id, duplicate) = try await accept(requests, client)
            if duplicate { note("the key was used before: this is job \(id)") }
            guard wait else {
                if options.json { note("job \(id) is accepted") }
                return (id, options.json ? try await client.job(id) : nil, duplicate, nil as BatchSummary?)
            }
            if !options.json { note("job \(id); should this end early: abbozzo jobs watch \(id)") }
            let status = try await follow(id, client, quietly: options.json)
            var report: BatchSummary?
            if let before {
                // The pictures are drawn: their paths are worth more than the figures.
                do {
                    report = BatchSummary(
                        requests: requests, facts: facts, status: status, isDuplicate: duplicate, before: before,
                        after: try await client.countedNodes())
                } catch { note("no summary: \(error)") }
            }
            return (id, status, duplicate, report)
        }
        guard let status else { return say(id.description) }
        if options.json {
            try sayJSON(Report(job: status, duplicate: duplicate, summary: report))
        } else {
            for case .done(let path, _) in status.images { say(path) }
            say(status.closingText)
            if let report { say(report.lines.joined(separator: "\n")) }
        }
        guard wait else { return }
        // How the job ended says more than a sheet that could not be written.
        let sheet = Result { if let contactSheet { try writeSheet(of: status, to: contactSheet) } }
        if case .failure(let error) = sheet {
            note("no contact sheet: \((error as? CommandFailure)?.text ?? "\(error)")")
        }
        try status.throwUnlessDone()
        if case .failure = sheet {
            throw CommandFailure(.usage, "the job is done, its contact sheet could not be made")
        }
    }

    /// Hands the batch over, and says whether another command had handed over one with its key.
    ///
    /// Without an answer nobody knows whether it was accepted, so one without a key gets one, and it is handed over again for a
    /// minute: a coordinator that took it and was stopped before it said so knows it by that.
    private func accept(_ requests: [ImageRequest], _ client: Client) async throws -> (id: JobID, duplicate: Bool) {
        let submission = Submission(
            key: key ?? "once-\(UUID().uuidString)", folder: folder, images: requests, priority: priority,
            isInteractive: isInteractive)
        let limit = ContinuousClock.now + .seconds(60)
        var isFirst = true
        while true {
            do {
                guard
                    case .accepted(let id, let isKnown) = try await client.ask(
                        .submit(submission), within: client.patience + .seconds(60))
                else {
                    throw CommandFailure(.unreachable, "the coordinator's answer makes no sense; is it this version?")
                }
                return (id, isKnown && isFirst)
            } catch let error as WireError where error.mayPass {
                guard ContinuousClock.now < limit else {
                    throw CommandFailure(
                        .unreachable, "\(error); the job may be accepted all the same: look with abbozzo jobs ls")
                }
                note("\(error); asking again")
                isFirst = false
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    /// Somebody who types one prompt and waits should not wait for other people's batches; whoever gives a priority has
    /// said how urgent it is.
    private var isInteractive: Bool { interactive ?? (prompt.count == 1 && wait && priority == 0) }

    private func promptLines() throws -> [PromptLine] {
        if let file { return try PromptFile.read(path: file) }
        guard !prompt.isEmpty else {
            throw CommandFailure(.usage, "the batch is empty; give prompts by -p TEXT or by a .txt or .jsonl file")
        }
        return prompt.enumerated().map { PromptLine(prompt: $1, place: .init(file: "prompt \($0 + 1)")) }
    }

    /// The model that the cluster serves; waits up to a minute for the first worker.
    private func servedModel(_ client: Client) async throws -> ModelFacts {
        if let facts = try await client.model() { return facts }
        note("waiting for a worker to join")
        let limit = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < limit {
            if let facts = try await client.awaitedModel() { return facts }
        }
        throw CommandFailure(
            .unreachable, "no worker has joined the coordinator within 60 s; start one with abbozzo worker")
    }

    private func writeSheet(of status: JobStatus, to path: String) throws {
        let paths = status.images.compactMap { state -> String? in
            if case .done(let path, _) = state { path } else { nil }
        }
        guard !paths.isEmpty else { return }
        let cell = ContactSheet.cell(for: paths.count)
        // Scaled one by one: thousands of whole pictures are more than a client has memory for.
        let entries = try paths.map { ContactSheet.scaled(.init(try readPNG($0).image), within: cell) }
        try writeAtomically(try ContactSheet(entries, cell: cell).png(), to: path)
        if !options.json { say("contact sheet: \(path)") }
    }
}

/// Waits until a job is final and draws its progress; goes on when the coordinator comes back within a minute.
///
/// `status` is the last that is known of it.
func follow(_ id: JobID, from status: JobStatus? = nil, _ client: Client, quietly: Bool) async throws -> JobStatus {
    let clock = ContinuousClock()
    var bar = ProgressBar()
    defer { bar.clear() }
    var status = status
    var lastAnswer = clock.now
    while true {
        if let status {
            if !quietly { bar.draw(status.share, status.progressText, milestone: status.milestone) }
            if status.isFinal { return status }
        }
        do {
            if let version = status?.version {
                status = try await client.watch(id, version: version)
            } else {
                status = try await client.job(id)
            }
            lastAnswer = clock.now
        } catch let error as WireError where error.mayPass && clock.now - lastAnswer < .seconds(60) {
            if !quietly { bar.draw(status?.share ?? 0, "the coordinator does not answer", milestone: nil) }
            try await Task.sleep(for: .milliseconds(500))
        }
    }
}

extension JobStatus {
    /// Share done, with the steps of pictures under way.
    fileprivate var share: Double {
        guard total > 0 else { return 1 }
        let partial = images.reduce(0.0) { sum, state in
            if case .running(let step, let steps) = state { sum + Double(step) / Double(max(steps, 1)) } else { sum }
        }
        return (Double(done + failed + cancelled) + partial) / Double(total)
    }

    fileprivate var progressText: String {
        var text = "\(done) of \(total)"
        if failed > 0 { text += ", \(failed) failed" }
        if let waiting { text += ", waiting: \(waiting)" }
        return text
    }

    fileprivate var milestone: String { "\(progressText)" }
}
