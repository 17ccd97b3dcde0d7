internal import Foundation
internal import Plan
internal import Wire

/// A coordinator's four sockets, made and bound on the loop's thread before there is a service.
final class CoordinatorSockets: @unchecked Sendable {
    /// What peers call this end.
    static let name = "coordinator"

    let control: RouterSocket
    let data: RouterSocket
    let client: RouterSocket
    let events: PublisherSocket
    /// Where they listen.
    let endpoints: ServiceEndpoints
    /// Random at each start.
    let bootID: UInt64
    /// Counts what passes the data socket.
    let meter = LinkMeter()

    /// Binds all of them; `limit` is asked how many bytes a peer may send on the data socket.
    ///
    /// They stay bound until the loop stops, also where a later one cannot be.
    init(
        _ loop: PollLoop, _ settings: ServiceSettings,
        limit: @escaping @Sendable (FrameHeader, String) -> Int?
    ) throws {
        let bootID = UInt64.random(in: 1...UInt64.max)
        let security = settings.security
        let control = try RouterSocket(
            loop, .control(name: Self.name, bootID: bootID, security: security.for(.control)))
        var dataOptions = SocketOptions(
            name: Self.name, bootID: bootID, security: security.for(.data), limit: limit, meter: meter)
        dataOptions.ioThread = 1
        let data = try RouterSocket(loop, dataOptions)
        let client = try RouterSocket(
            loop,
            .client(
                name: Self.name, bootID: bootID, accepting: .clientRequest, security: security.for(.client)))
        let events = try PublisherSocket(
            loop, .events(name: Self.name, bootID: bootID, security: security.for(.events)))
        endpoints = ServiceEndpoints(
            control: try Self.listen("control", settings.control) { (at) throws(WireError) in try control.listen(on: at)
            },
            data: try Self.listen("data", settings.data) { (at) throws(WireError) in try data.listen(on: at) },
            client: try Self.listen("client", settings.client) { (at) throws(WireError) in try client.listen(on: at) },
            events: try Self.listen("events", settings.events) { (at) throws(WireError) in try events.listen(on: at) })
        self.control = control
        self.data = data
        self.client = client
        self.events = events
        self.bootID = bootID
    }

    func cutRevoked() { for socket in [control, data, client, events] as [Socket] { socket.cutRevoked() } }

    func close() {
        control.close()
        data.close()
        client.close()
        events.close()
    }

    private static func listen(
        _ name: String, _ endpoint: Endpoint, _ bind: (Endpoint) throws(WireError) -> Endpoint
    ) throws -> Endpoint {
        do throws(WireError) {
            return try bind(endpoint)
        } catch {
            if case .system(_, EADDRINUSE, _) = error.reason {
                throw ServiceError(
                    "\(endpoint) is taken, so there can be no \(name) socket: another coordinator may be running; stop "
                        + "it or choose another port")
            }
            throw error
        }
    }
}
