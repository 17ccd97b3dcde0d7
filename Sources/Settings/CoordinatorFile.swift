package import Plan

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

/// How lines of a daemon's log look.
package enum LogFormat: String, CaseIterable, Sendable {
    /// For people: time, severity, message and values.
    case text
    /// For collectors: a JSON object a line.
    case json
}

/// How regular the network between coordinator and workers is.
package enum Liveness: String, CaseIterable, Sendable {
    /// A heartbeat each second; lost after ten seconds of silence.
    case standard
    /// For wired local networks: a heartbeat each 0.3 s; lost after three seconds of silence.
    case lan
}

/// Everything a coordinator can be told in its file; flags of the command line override single fields.
package struct CoordinatorFile: Equatable, Sendable {
    /// Socket for the workers' control messages, `tcp://ADDRESS:PORT`; port 0 takes a free one.
    ///
    /// Default `tcp://127.0.0.1:5790`. An address beyond loopback needs `keys`.
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
    /// How the layers are cut over the workers: `measured` (default) by the times that workers measured and their memory,
    /// `even`, or a list of blocks for each worker in order of name, used while exactly so many are here.
    ///
    /// The pictures do not depend on it. A larger share costs its worker memory and time.
    package var cut = CutRule.measured
    /// Pipelines beside each other, each with all of the model: a number, fewer while there are too few workers or too
    /// little memory for that, or `auto` for what gives most pictures an hour by measured times; default 1.
    ///
    /// More replicas draw more where a worker can hold the whole model, but each takes the model's memory once more.
    package var replicas = ReplicaRule.count(1)
    /// Speed of the network between machines in Mbit/s; default 936, what TCP leaves of Gigabit Ethernet.
    ///
    /// A smaller value makes the planner avoid links that would hold the pictures up.
    package var networkMbit = NodesFile.gigabit
    /// How hidden states travel between workers: `f32` (default) exactly, `bf16` in half the bytes, `int8` in a quarter, or
    /// `auto`, by measured links.
    ///
    /// With the short formats pictures depend on the cut, a little; they say so in their file.
    package var wire = WireRule.format(.f32)
    /// Pictures in flight for each worker with blocks, besides those that are being decoded; default 2, which hides the
    /// hops between workers.
    ///
    /// More costs one activation in a worker's memory and the picture's latents here (1 MiB at 1024x1024).
    package var flightsPerWorker = 2
    /// Pictures that may wait in the queue; default 200,000.
    ///
    /// A larger value costs about 1 kB of disk for each picture.
    package var queueLimit = 200_000
    /// Unfinished jobs that the queue takes; default 50,000.
    ///
    /// A larger value costs a few hundred bytes of memory for each job.
    package var jobLimit = 50_000
    /// MiB of memory that the requests of unfinished jobs may take; default 256.
    package var queueMiB = 256
    /// Times of heartbeats, and of giving a silent worker up; default standard.
    ///
    /// With lan a lost worker is noticed in three seconds, but a pause of that length looks like a loss.
    package var liveness = Liveness.standard
    /// Seconds without a sign of life after which a worker counts as lost; default what `liveness` says: 10, or 3 for lan.
    ///
    /// A larger value forgives longer pauses, but delays recovery by as much.
    package var lostAfterSeconds: Double?
    /// Tries of one task after faults that another try may mend; default 3.
    ///
    /// More costs time on a picture that cannot work.
    package var attempts = 3
    /// Host under which workers reach the data socket when it listens on all interfaces; default the host that they reach
    /// the control socket under.
    package var advertise: String?
    /// Folder of the coordinator's key and of who is authorised, made by `abbozzo keys init`; default the variable
    /// ABBOZZO_KEYS, else the user's or the machine's if an address is beyond loopback, and none if none is.
    ///
    /// With keys every connection is encrypted, which costs about 2 seconds of a core for each GB.
    package var keysFolder: String?
    /// Whether addresses beyond loopback are allowed without keys; default false.
    ///
    /// Only for networks whose every host is trusted: whoever reaches the sockets can submit, cancel and join.
    package var insecureNetwork = false
    /// Severity from which the log is written; default info.
    ///
    /// The level debug costs a line for each step of each picture.
    package var logLevel = LogLevel.info
    /// How lines of the log look; default text.
    package var logFormat = LogFormat.text

    /// The defaults.
    package init() {}

    /// Every key of the file.
    package static let keys = [
        "control", "data", "client", "events", "http_port", "output", "state", "workers", "cut", "replicas",
        "network_mbit", "wire", "flights_per_worker", "queue_limit", "job_limit", "queue_mib", "liveness",
        "lost_after_seconds",
        "attempts", "advertise", "keys", "insecure_network", "log_level", "log_format",
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
        cut = try yaml.cut("cut") ?? cut
        replicas = try yaml.replicas("replicas") ?? replicas
        networkMbit =
            try yaml.double("network_mbit", wanted: "a number of Mbit/s from 0.1", where: { (0.1...1e9).contains($0) })
            ?? networkMbit
        wire = try yaml.wire("wire") ?? wire
        flightsPerWorker = try yaml.int("flights_per_worker", in: 1...64) ?? flightsPerWorker
        queueLimit = try yaml.int("queue_limit", in: 1...100_000_000) ?? queueLimit
        jobLimit = try yaml.int("job_limit", in: 1...10_000_000) ?? jobLimit
        queueMiB = try yaml.int("queue_mib", in: 1...1_000_000) ?? queueMiB
        liveness = try yaml.word("liveness", as: Liveness.self) ?? liveness
        let seconds = "a number of seconds from 2 to 3600"
        lostAfterSeconds =
            try yaml.double("lost_after_seconds", wanted: seconds, where: { (2...3600).contains($0) })
        attempts = try yaml.int("attempts", in: 1...100) ?? attempts
        advertise = try yaml.host("advertise")
        keysFolder = try yaml.text("keys")
        insecureNetwork = try yaml.bool("insecure_network") ?? insecureNetwork
        logLevel = try yaml.word("log_level", as: LogLevel.self) ?? logLevel
        logFormat = try yaml.word("log_format", as: LogFormat.self) ?? logFormat
    }
}

extension YAMLFile {
    /// `measured`, `even` or a list of blocks; nil when the key is missing.
    func cut(_ key: String) throws(SettingsError) -> CutRule? {
        // Not a text: a list, or nothing.
        guard let word = try? text(key) else { return try ints(key, in: CutRule.counts).map { .counts($0) } }
        switch word {
        case "measured": return .measured
        case "even": return .even
        default:
            let most = CutRule.counts.upperBound
            throw bad(key, wanted: "measured, even or a list of whole numbers from 1 to \(most)")
        }
    }

    /// `auto` or a number of replicas; nil when the key is missing.
    func replicas(_ key: String) throws(SettingsError) -> ReplicaRule? {
        if (try? text(key)) == "auto" { return .auto }
        do throws(SettingsError) {
            return try int(key, in: ReplicaRule.counts).map { .count($0) }
        } catch {
            throw bad(key, wanted: "auto or a whole number from 1 to \(ReplicaRule.counts.upperBound)")
        }
    }

    /// A wire format or `auto`; nil when the key is missing.
    func wire(_ key: String) throws(SettingsError) -> WireRule? {
        guard let word = try text(key) else { return nil }
        guard let rule = WireRule(word) else {
            throw bad(key, wanted: "one of \(WireRule.words.joined(separator: ", "))")
        }
        return rule
    }

    /// An address of the form `tcp://HOST:PORT`; nil when the key is missing.
    func endpoint(_ key: String) throws(SettingsError) -> String? {
        guard let text = try text(key) else { return nil }
        guard isEndpoint(text) else { throw bad(key, wanted: "of the form tcp://HOST:PORT") }
        return text
    }
}

extension YAMLFile {
    /// A host without a port; nil when the key is missing.
    func host(_ key: String) throws(SettingsError) -> String? {
        guard let text = try text(key) else { return nil }
        guard isHost(text) else { throw bad(key, wanted: "a host name or an address, without tcp:// and port") }
        return text
    }
}

/// Whether a text is a host name, an IPv4 address or an IPv6 address without brackets.
package func isHost(_ text: String) -> Bool {
    let colons = text.utf8.count { $0 == UInt8(ascii: ":") }
    return 1...253 ~= text.utf8.count && colons != 1
        && text.unicodeScalars.allSatisfy { scalar in
            switch scalar {
            case "0"..."9", "a"..."f", "A"..."F", ".": true
            case "g"..."z", "G"..."Z", "-", "_": colons == 0
            default: scalar == ":"
            }
        }
}

/// Whether a text has the form `tcp://HOST:PORT`, PORT 0 to 65535.
package func isEndpoint(_ text: String) -> Bool {
    let rest = text.dropFirst("tcp://".count)
    guard text.hasPrefix("tcp://"), let colon = rest.lastIndex(of: ":") else { return false }
    let host = rest[..<colon]
    return !host.isEmpty && !host.contains(where: \.isWhitespace) && UInt16(rest[rest.index(after: colon)...]) != nil
}
