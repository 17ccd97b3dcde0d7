/// Where a socket listens or connects: `tcp://HOST:PORT`, IPv6 hosts in brackets.
package struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    /// Name or address; `*` for all interfaces when listening.
    package let host: String
    /// Port; 0 to let the system choose when listening.
    package let port: UInt16

    /// Joins both.
    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `tcp://HOST:PORT`; `*` as the port means 0.
    package init(_ text: String) throws(WireError) {
        func refuse(_ why: String) -> WireError { WireError(.endpoint(String(text.prefix(100)), why)) }
        guard text.hasPrefix("tcp://") else { throw refuse("it does not begin with tcp://") }
        let rest = text.dropFirst(6)
        guard let colon = rest.lastIndex(of: ":") else { throw refuse("it has no port") }
        var host = rest[..<colon]
        if host.hasPrefix("[") && host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw refuse("brackets are for IPv6 addresses") }
        } else if host.contains(":") {
            throw refuse("IPv6 addresses need brackets")
        }
        let allowed = host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: ".-_:*".utf8.contains(byte)
            }
        }
        guard !host.isEmpty, host.utf8.count <= 253, allowed, !host.contains("*") || host == "*" else {
            throw refuse("its host is empty or has characters that hosts cannot have")
        }
        let digits = rest[rest.index(after: colon)...]
        guard let port = digits == "*" ? 0 : UInt16(digits) else { throw refuse("its port is not 0...65535") }
        self.init(host: String(host), port: port)
    }

    /// Whether only this machine can reach it.
    package var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// Whether it listens on every interface, so that others need a real address in its place.
    package var isWildcard: Bool { host == "*" || host == "0.0.0.0" || host == "::" }

    /// The same port on another host, to tell others where a wildcard can be reached.
    package func at(host: String) -> Endpoint { Endpoint(host: host, port: port) }

    /// `tcp://HOST:PORT`.
    package var description: String { "tcp://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    /// What libzmq takes for binding.
    var bindText: String { "tcp://\(host.contains(":") ? "[\(host)]" : host):\(port == 0 ? "*" : String(port))" }
}
