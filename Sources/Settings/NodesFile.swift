package import Plan

/// Nodes that are only thought of, for `abbozzo plan`.
package struct NodesFile: Equatable, Sendable {
    /// Some nodes of one kind.
    package struct Node: Equatable, Sendable {
        /// Name; numbered from 1 when there are several.
        package var name: String
        /// How many; default 1.
        package var count = 1
        /// Speed in units of 10^9 operations a second, a multiply-add being two; or none, and `speed` says it.
        package var gflops: Double?
        /// Speed as a multiple of this machine's, which is measured for that; default 1.
        package var speed = 1.0
        /// Memory of each in GiB.
        package var memoryGiB: Double
        /// Link in Mbit/s; default that of the whole file.
        package var networkMbit = NodesFile.gigabit
        /// Milliseconds to another node and back; default 0.3.
        package var roundTripMilliseconds = 0.3
        /// Roles; default all.
        package var roles: [Role] = [.encoder, .blocks, .decoder]
    }

    /// Link in Mbit/s where nobody says another: what TCP leaves of Gigabit Ethernet.
    package static let gigabit = 936.0

    /// The nodes.
    package var nodes: [Node]

    private static let keys = ["nodes"]
    private static let nodeKeys = [
        "name", "count", "gflops", "speed", "memory_gib", "network_mbit", "round_trip_ms", "roles",
    ]

    /// Reads a file; `networkMbit` is the link of nodes that do not say their own.
    package init(path: String, networkMbit: Double = NodesFile.gigabit) throws(SettingsError) {
        try self.init(YAMLFile(path: path, known: Self.keys), networkMbit)
    }

    /// Reads the text of a file; `file` is for errors.
    package init(text: String, file: String, networkMbit: Double = NodesFile.gigabit) throws(SettingsError) {
        try self.init(YAMLFile(text: text, file: file, known: Self.keys), networkMbit)
    }

    private init(_ yaml: YAMLFile, _ networkMbit: Double) throws(SettingsError) {
        guard let items = try yaml.mappings("nodes", known: Self.nodeKeys) else { throw yaml.missing("nodes") }
        nodes = []
        for item in items {
            guard let name = try item.text("name") else { throw item.missing("name") }
            guard isNodeName(name) else {
                throw item.bad("name", wanted: "1 to 64 letters, digits, dots, dashes or underscores")
            }
            func positiveNumber(_ key: String) throws(SettingsError) -> Double? {
                try item.double(key, wanted: "a number from 1e-6 to 1e12", where: { (1e-6...1e12).contains($0) })
            }
            guard let memory = try positiveNumber("memory_gib") else { throw item.missing("memory_gib") }
            var node = Node(name: name, memoryGiB: memory)
            node.count = try item.int("count", in: 1...1000) ?? node.count
            node.gflops = try positiveNumber("gflops")
            if let speed = try positiveNumber("speed") {
                guard node.gflops == nil else {
                    throw SettingsError(
                        .conflict("give gflops or speed, not both"), file: item.file, line: item.line(of: "speed"))
                }
                node.speed = speed
            }
            node.networkMbit = try positiveNumber("network_mbit") ?? networkMbit
            node.roundTripMilliseconds = try positiveNumber("round_trip_ms") ?? node.roundTripMilliseconds
            node.roles = try item.words("roles", as: Role.self) ?? node.roles
            nodes.append(node)
        }
        let names = nodes.flatMap(\.names)
        if let twice = Dictionary(grouping: names, by: \.self).first(where: { $1.count > 1 })?.key {
            throw SettingsError(
                .conflict("the name \(twice) occurs twice"), file: yaml.file, line: yaml.line(of: "nodes"))
        }
        guard names.count <= 1000 else {
            throw SettingsError(.conflict("\(names.count) nodes, at most 1000 can be planned"), file: yaml.file)
        }
    }
}

extension NodesFile.Node {
    /// The name of each: `node`, or `node1`, `node2` and so on, with as many digits as the last one has.
    package var names: [String] {
        guard count > 1 else { return [name] }
        let width = String(count).count
        return (1...count).map { number in
            let digits = String(number)
            return name + String(repeating: "0", count: width - digits.count) + digits
        }
    }
}
