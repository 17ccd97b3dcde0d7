/// Severity from which a daemon's log is written.
package enum LogLevel: String, CaseIterable, Sendable {
    /// Every message and decision.
    case debug
    /// Joins, plans, jobs.
    case info
    /// What needs attention soon.
    case warning
    /// What failed.
    case error
}

/// Everything a coordinator can be told in its file; flags of the command line override single fields.
package struct CoordinatorFile: Equatable, Sendable {
    /// Socket for the workers' control messages, `tcp://ADDRESS:PORT`; port 0 takes a free one.
    ///
    /// Default `tcp://127.0.0.1:5790`. An address beyond loopback lets other machines in: protect the network.
    package var control = "tcp://127.0.0.1:5790"
    /// Socket for latents and velocities; default `tcp://127.0.0.1:5791`.
    package var data = "tcp://127.0.0.1:5791"
    /// Socket for clients such as `abbozzo submit`; default `tcp://127.0.0.1:5792`.
    package var client = "tcp://127.0.0.1:5792"
    /// Socket that publishes events; default `tcp://127.0.0.1:5793`.
    package var events = "tcp://127.0.0.1:5793"
    /// Port of the metrics page over HTTP on 127.0.0.1, 0 for a free one; default 5780.
    package var httpPort = 5780
    /// Folder for finished pictures, one folder a job below it; default `pictures`.
    ///
    /// It grows with every picture: about 0.5 MB for 512x512 pixels.
    package var output = "pictures"
    /// Folder of the queue's database and the checkpoints of pictures in flight; default `state`.
    ///
    /// Best on a disk that keeps its word about fsync: a job is acknowledged only when it is there.
    package var state = "state"
    /// Workers to wait for before the first plan; default 1.
    ///
    /// A larger value delays the first picture, but saves a second loading of weights when workers start together.
    package var workers = 1
    /// Pictures in flight at once, 0 for twice the number of workers in the pipeline; default 0.
    ///
    /// More keep every worker busy; each costs its latents here (1 MiB at 1024x1024) and its conditioning on a worker.
    package var inFlight = 0
    /// Pictures that may wait in the queue; default 100,000.
    ///
    /// A larger value costs about 1 kB of disk for each picture.
    package var queueLimit = 100_000
    /// Seconds without a sign of life after which a worker counts as lost; default 10.
    ///
    /// A larger value forgives longer pauses, but delays recovery by as much.
    package var lostAfterSeconds = 10.0
    /// Times that a picture may fail on a worker before it is given up; default 3.
    package var attempts = 3
    /// Severity from which the log is written; default info.
    ///
    /// The level debug costs a line for each step of each picture.
    package var logLevel = LogLevel.info

    /// The defaults.
    package init() {}

    /// Every key of the file.
    package static let keys = [
        "control", "data", "client", "events", "http_port", "output", "state", "workers", "in_flight", "queue_limit",
        "lost_after_seconds", "attempts", "log_level",
    ]

    /// Reads a file; keys that are missing keep their defaults.
    package init(path: String) throws(SettingsError) {
        try self.init(YAMLFile(path: path, known: Self.keys))
    }

    /// Reads the text of a file; `file` is for errors.
    package init(text: String, file: String) throws(SettingsError) {
        try self.init(YAMLFile(text: text, file: file, known: Self.keys))
    }

    private init(_ yaml: YAMLFile) throws(SettingsError) {
        control = try yaml.endpoint("control") ?? control
        data = try yaml.endpoint("data") ?? data
        client = try yaml.endpoint("client") ?? client
        events = try yaml.endpoint("events") ?? events
        httpPort = try yaml.int("http_port", in: 0...65535) ?? httpPort
        output = try yaml.text("output") ?? output
        state = try yaml.text("state") ?? state
        workers = try yaml.int("workers", in: 1...1000) ?? workers
        inFlight = try yaml.int("in_flight", in: 0...10_000) ?? inFlight
        queueLimit = try yaml.int("queue_limit", in: 1...100_000_000) ?? queueLimit
        let seconds = "a number of seconds from 2 to 3600"
        lostAfterSeconds =
            try yaml.double("lost_after_seconds", wanted: seconds, where: { (2...3600).contains($0) })
            ?? lostAfterSeconds
        attempts = try yaml.int("attempts", in: 1...100) ?? attempts
        logLevel = try yaml.word("log_level", as: LogLevel.self) ?? logLevel
    }
}

extension YAMLFile {
    /// An address of the form `tcp://HOST:PORT`; nil when the key is missing.
    func endpoint(_ key: String) throws(SettingsError) -> String? {
        guard let text = try text(key) else { return nil }
        guard isEndpoint(text) else { throw bad(key, wanted: "of the form tcp://HOST:PORT") }
        return text
    }
}

/// Whether a text has the form `tcp://HOST:PORT`, PORT 0 to 65535.
package func isEndpoint(_ text: String) -> Bool {
    guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":") else { return false }
    let host = text.dropFirst("tcp://".count).prefix(upTo: colon)
    return !host.isEmpty && !host.contains(where: \.isWhitespace) && UInt16(text[text.index(after: colon)...]) != nil
}
