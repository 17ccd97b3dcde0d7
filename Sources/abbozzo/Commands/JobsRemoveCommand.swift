internal import ArgumentParser
internal import Plan

extension JobsCommand {
    /// Takes finished jobs off the queue.
    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Take finished jobs off the list; their pictures stay.",
            discussion: """
                Nothing else removes them: a coordinator that draws for years wants abbozzo jobs rm --older-than 90d once a \
                day. What was removed cannot be tried again, and its key may be used for other pictures.
                """)
        @Argument(help: "Jobs, or the beginnings of their ids.") var jobs: [String] = []
        @Option(
            parsing: .unconditional,
            help: ArgumentHelp(
                "Also all that were finished so long ago: a number with s, m, h or d.", valueName: "age"),
            transform: Age.init(text:))
        var olderThan: Age?
        @OptionGroup var client: ClientOptions
        @OptionGroup var options: OutputOptions

        func validate() throws {
            guard !jobs.isEmpty || olderThan != nil else {
                throw ValidationError("name jobs, or an age with --older-than, such as 90d")
            }
        }

        func run() async throws {
            var count = 0
            do {
                try await client.connected { client in
                    // All are looked up first: a slip in the third name is to remove nothing.
                    var chosen: [JobID] = []
                    for job in jobs {
                        let id = try await client.resolveFinished(job)
                        if !chosen.contains(id) { chosen.append(id) }
                    }
                    for id in chosen {
                        try await client.order(.remove(id))
                        count += 1
                    }
                    guard let olderThan else { return }
                    var isAll = false
                    while !isAll {
                        let more = try await client.removeFinished(secondsAgo: olderThan.seconds)
                        count += more.jobs
                        isAll = more.isAll
                    }
                }
            } catch {
                if count > 0 { note("removed \(countText(count, "job")) before this happened:") }
                throw error
            }
            try options.json ? sayJSON(["removed": count]) : say("removed \(countText(count, "job"))")
        }
    }
}

/// A length of time as people write it: 45s, 30m, 12h, 90d.
struct Age {
    /// The time in seconds.
    let seconds: Double

    /// Reads a text.
    ///
    /// - Throws: `ValidationError` where it is none.
    init(text: String) throws {
        let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = Int32(text.dropLast()), number >= 0 else {
            throw ValidationError(
                "\(shortened(text, to: 40)) is no age: write a whole number with s, m, h or d, such as 90d")
        }
        seconds = Double(number) * unit
    }
}
