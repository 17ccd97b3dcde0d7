package import Plan

/// Everything a worker can be told in its file; flags of the command line override single fields.
package struct WorkerFile: Equatable, Sendable {
    /// Name in tables and plans, unique in the cluster: letters, digits, `-`, `_`, `.`; default the host's name.
    package var name: String?
    /// Folder of the model in diffusers layout; default the demo model that comes with the program.
    ///
    /// Each worker maps only the blocks that the plan gives it, so a larger model costs disk on every node, but memory
    /// only for a share of it.
    package var model: String?
    /// The coordinator's control socket; default `tcp://127.0.0.1:5790`.
    package var coordinator = "tcp://127.0.0.1:5790"
    /// Socket for the upstream neighbour, port 0 takes a free one; default `tcp://127.0.0.1:0`.
    ///
    /// On several machines give an address that the others reach, such as `tcp://10.0.0.7:5800`.
    package var bind = "tcp://127.0.0.1:0"
    /// Host told to the upstream neighbour when it differs from that of `bind`, as for a wildcard address; default none.
    package var advertise: String?
    /// Port of the metrics page over HTTP on 127.0.0.1; default 0, a free one.
    ///
    /// A fixed one is for who scrapes it: each worker of a machine needs another.
    package var httpPort = 0
    /// Threads that compute; default one for each core.
    ///
    /// More than there are cores slow everything down. The pictures do not depend on it.
    package var threads: Int?
    /// Cores that the process stays on, as in `0-7,16-23`; default all.
    ///
    /// Unless said otherwise there are as many threads. Other ones for each worker of a machine: for instance those of one socket, whose memory is then near.
    package var cores: CoreList?
    /// Number format of the transformer's matrix products: f32, bf16 or int8; default f32.
    ///
    /// All workers of a cluster need the same; bf16 halves the memory of weights that are stored in f32, int8 halves it again, and both cost a
    /// little accuracy.
    package var compute = ComputeFormat.f32
    /// Most memory to plan with, in GiB; default what the machine and its control group have, shared evenly with other
    /// workers of the machine.
    package var memoryGiB: Double?
    /// Whether it measures its speed before it joins; default `cached`, once for each model and number of threads.
    ///
    /// Measuring takes under a second for small models, and the reading of two blocks for large ones.
    package var benchmark = BenchmarkMode.cached
    /// What it offers to do: encoder, blocks, decoder; default all three.
    package var roles: [Role] = [.encoder, .blocks, .decoder]
    /// Folder of the worker's key, `NAME.key`, and of `coordinator.pub`; default the variable ABBOZZO_KEYS, else the
    /// user's or the machine's if an address is beyond loopback, and none if none is.
    package var keysFolder: String?
    /// Whether an address beyond loopback is allowed without keys; default false.
    ///
    /// Only for networks whose every host is trusted.
    package var insecureNetwork = false
    /// Severity from which the log is written; default info.
    ///
    /// The level debug costs a line for each task.
    package var logLevel = LogLevel.info
    /// How lines of the log look; default text.
    package var logFormat = LogFormat.text

    /// The defaults.
    package init() {}

    /// Every key of the file.
    package static let keys = [
        "name", "model", "coordinator", "bind", "advertise", "http_port", "threads", "cores", "compute", "memory_gib",
        "benchmark", "roles", "keys", "insecure_network", "log_level", "log_format",
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
        if let name = try yaml.text("name") {
            guard isNodeName(name) else {
                throw yaml.bad("name", wanted: "1 to 64 letters, digits, dots, dashes or underscores")
            }
            self.name = name
        }
        model = try yaml.text("model")
        coordinator = try yaml.endpoint("coordinator") ?? coordinator
        bind = try yaml.endpoint("bind") ?? bind
        advertise = try yaml.host("advertise")
        httpPort = try yaml.int("http_port", in: 0...65535) ?? httpPort
        threads = try yaml.int("threads", in: 1...1024)
        if let text = try yaml.text("cores") {
            cores = CoreList(text)
            guard cores != nil else { throw yaml.bad("cores", wanted: "numbers and ranges, as in 0-7,16-23") }
        }
        compute = try yaml.word("compute", as: ComputeFormat.self) ?? compute
        memoryGiB = try yaml.double("memory_gib", wanted: "a number of GiB above 0", where: { $0 > 0 && $0 < 1e6 })
        benchmark = try yaml.word("benchmark", as: BenchmarkMode.self) ?? benchmark
        roles = try yaml.words("roles", as: Role.self) ?? roles
        keysFolder = try yaml.text("keys")
        insecureNetwork = try yaml.bool("insecure_network") ?? insecureNetwork
        logLevel = try yaml.word("log_level", as: LogLevel.self) ?? logLevel
        logFormat = try yaml.word("log_format", as: LogFormat.self) ?? logFormat
    }
}

/// Whether a text can name a worker: it becomes a socket's routing id and a column of tables.
package func isNodeName(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count)
        && text.utf8.allSatisfy { byte in
            let scalar = Unicode.Scalar(byte)
            return scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
                || "-_.".unicodeScalars.contains(scalar)
        }
        && text != "coordinator"
}
