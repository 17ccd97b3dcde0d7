internal import FlyingFox
internal import FlyingSocks
internal import FoundationEssentials
internal import Glibc
package import Logging
package import Plan
package import Telemetry

/// A small HTTP face of a daemon, for monitoring on the same host.
///
/// `GET /metrics` is Prometheus text, `GET /healthz` says that the process answers; a coordinator's `GET /api/nodes` is
/// the cluster's status as JSON, a worker's `GET /api/worker` its own. It takes no bodies and changes nothing. It listens
/// on loopback only: it has neither keys nor protection against half-sent requests, which a reverse proxy or a tunnel in
/// front has.
package actor Gateway {
    /// Where it listens; port 0 lets the system choose.
    package nonisolated let host: String

    private let answers: Answers
    private let log: Logger?
    private var server: HTTPServer
    private var running: Task<Void, Never>?
    private var isStopping = false
    private var failure: String?
    private let requestedPort: UInt16

    /// Prepares the server of a coordinator.
    ///
    /// - Throws: `GatewayError` when `host` is not an address of loopback.
    package init(
        host: String = "127.0.0.1", port: UInt16, registry: MetricsRegistry? = nil, log: Logger? = nil,
        status: @escaping @Sendable () async -> ClusterStatus
    ) throws(GatewayError) {
        let answers = Answers(pages: [
            "/metrics": {
                .metrics(await status()) { exposition, status in
                    exposition.write(status)
                    registry?.write(to: &exposition)
                }
            },
            "/api/nodes": { try .json(await status()) },
        ])
        try self.init(host: host, port: port, answers: answers, log: log)
    }

    /// Prepares the server of a worker.
    ///
    /// - Throws: `GatewayError` when `host` is not an address of loopback.
    package init(
        host: String = "127.0.0.1", port: UInt16, log: Logger? = nil,
        report: @escaping @Sendable () async -> WorkerReport
    ) throws(GatewayError) {
        let answers = Answers(pages: [
            "/metrics": { .metrics(await report()) { $0.write($1) } },
            "/api/worker": { try .json(await report()) },
        ])
        try self.init(host: host, port: port, answers: answers, log: log)
    }

    private init(host: String, port: UInt16, answers: Answers, log: Logger?) throws(GatewayError) {
        guard Self.isLoopback(host) else { throw GatewayError(.notLoopback(host)) }
        self.host = host
        requestedPort = port
        (self.answers, self.log) = (answers, log)
        do { server = try Self.server(host, port, answers) } catch { throw GatewayError(.notLoopback(host)) }
    }

    private static func server(_ host: String, _ port: UInt16, _ answers: Answers) throws -> HTTPServer {
        let address: sockaddr_in = try .inet(ip4: host == "localhost" ? "127.0.0.1" : host, port: port)
        let configuration = HTTPServer.Configuration(address: address, timeout: 15, logger: .disabled)
        return HTTPServer(config: configuration, handler: answers)
    }

    /// Starts to listen and returns the port.
    ///
    /// - Throws: `GatewayError` when the port is taken.
    package func start() async throws -> UInt16 {
        let server = server
        // Ends when the server listens, or is cancelled when the server ends without.
        let listening = Task { try await server.waitUntilListening(timeout: 60) }
        let first = Task {
            do { try await server.run() } catch { self.ended(error) }
            listening.cancel()
        }
        _ = await listening.result
        guard case .ip4(_, let port) = await server.listeningAddress else {
            throw GatewayError(.listen(host: host, port: requestedPort, failure ?? "the server ended"))
        }
        running = Task {
            await first.value
            await self.serveAgain(port)
        }
        return port
    }

    /// Stops listening and waits until the connections are closed.
    package func stop() async {
        isStopping = true
        await server.stop(timeout: 1)
        running?.cancel()
        await running?.value
        running = nil
    }

    /// Listens anew after a server ended by itself, as it does when a connection finds no file descriptor left.
    private func serveAgain(_ port: UInt16) async {
        var rest = Duration.seconds(1)
        while !isStopping {
            let why = failure ?? "the server ended"
            log?.warning("the page on http://\(host):\(port) ended: \(why); it begins anew in \(rest)")
            try? await Task.sleep(for: rest)
            guard !isStopping, let next = try? Self.server(host, port, answers) else { continue }
            (server, failure) = (next, nil)
            let began = ContinuousClock.now
            do { try await next.run() } catch { ended(error) }
            // Each server that ends leaves a descriptor or three open (FlyingFox 0.27.1), so failures become rare.
            rest = began.duration(to: .now) > Self.longestRest ? .seconds(1) : min(rest * 2, Self.longestRest)
        }
    }

    private static let longestRest = Duration.seconds(60)

    private func ended(_ error: any Error) { failure = (error as? any LocalizedError)?.errorDescription ?? "\(error)" }

    private static func isLoopback(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return host == "localhost" || parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}

/// Why the gateway does not run.
package struct GatewayError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// Other hosts could reach the address.
        case notLoopback(String)
        /// The system refused.
        case listen(host: String, port: UInt16, String)
    }

    /// What is wrong.
    package let reason: Reason

    init(_ reason: Reason) { self.reason = reason }

    /// One line with what, where and the next step.
    package var description: String {
        switch reason {
        case .notLoopback(let host):
            "metrics are served on 127.0.0.1 only, not on \(host.prefix(100)): put a reverse proxy or an SSH tunnel in "
                + "front (ssh -L 5780:127.0.0.1:5780 HOST) to read them from elsewhere"
        case .listen(let host, let port, let why):
            "cannot serve metrics on \(host):\(port): \(why); choose another port"
        }
    }
}

/// What a path shows.
private struct Page {
    let type: String
    let body: Data

    static func text(_ body: String) -> Page { Page(type: "text/plain; charset=utf-8", body: Data(body.utf8)) }

    static func metrics<Value>(_ value: Value, _ write: (inout Exposition, Value) -> Void) -> Page {
        var exposition = Exposition()
        write(&exposition, value)
        return Page(type: Exposition.contentType, body: Data(exposition.text.utf8))
    }

    static func json(_ value: some Encodable) throws -> Page {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Page(type: "application/json", body: try encoder.encode(value))
    }
}

/// Answers requests; keeps nothing between them.
private struct Answers: HTTPHandler {
    /// By path, besides `/healthz`.
    let pages: [String: @Sendable () async throws -> Page]

    func handleRequest(_ request: HTTPRequest) async throws -> HTTPResponse {
        guard request.method == .GET || request.method == HTTPMethod("HEAD") else {
            return response(.methodNotAllowed, .text("only GET is answered\n"), [HTTPHeader("Allow"): "GET, HEAD"])
        }
        let length = request.headers[.contentLength].map { Int($0) ?? -1 } ?? 0
        guard length == 0, request.headers[HTTPHeader("Transfer-Encoding")] == nil else {
            return response(.badRequest, .text("requests carry no body here\n"), [.connection: "close"])
        }
        let isHead = request.method != .GET
        if request.path == "/healthz" { return response(.ok, .text("ok\n"), isHead: isHead) }
        guard let page = pages[request.path] else {
            let paths = (pages.keys + ["/healthz"]).sorted().joined(separator: ", ")
            return response(.notFound, .text("these are here: \(paths)\n"), isHead: isHead)
        }
        return response(.ok, try await page(), isHead: isHead)
    }

    /// The answer; one to HEAD has the fields of the page and leaves it out.
    private func response(
        _ code: HTTPStatusCode, _ page: Page, _ fields: HTTPHeaders = [:], isHead: Bool = false
    ) -> HTTPResponse {
        var fields = fields
        if isHead { fields[.contentLength] = String(page.body.count) }
        fields[.contentType] = page.type
        fields[HTTPHeader("Cache-Control")] = "no-store"
        fields[HTTPHeader("X-Content-Type-Options")] = "nosniff"
        return HTTPResponse(statusCode: code, headers: fields, body: isHead ? Data() : page.body)
    }
}
