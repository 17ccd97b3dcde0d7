package import Wire

/// How one coordinator process is run.
package struct ServiceSettings: Sendable {
    /// What the core decides by; `dataEndpoint` and `wallAtZero` are set when the service starts.
    package var core: CoordinatorSettings
    /// Folder of the durable queue.
    package var stateFolder: String
    /// Where workers say hello.
    package var control = Endpoint(host: "127.0.0.1", port: 5790)
    /// Where workers send results.
    package var data = Endpoint(host: "127.0.0.1", port: 5791)
    /// Where clients ask.
    package var client = Endpoint(host: "127.0.0.1", port: 5792)
    /// Where events are published.
    package var events = Endpoint(host: "127.0.0.1", port: 5793)
    /// Host under which workers reach the data socket, when it listens on all interfaces; by default the host that
    /// they reach the control socket under.
    package var advertisedHost: String?
    /// Keys.
    package var security = Security.none
    /// Version of the program, written into pictures.
    package var version: String
    /// Called by the loop with the monotonic time, in nanoseconds, each time that it looks at the clock.
    package var onTurn: (@Sendable (UInt64) -> Void)?

    /// The defaults on this machine.
    package init(outputFolder: String, stateFolder: String, version: String) {
        core = CoordinatorSettings(outputFolder: outputFolder)
        self.stateFolder = stateFolder
        self.version = version
    }
}

/// Where a running coordinator listens, with the ports that the system chose.
package struct ServiceEndpoints: Equatable, Sendable {
    /// For workers' control.
    package var control: Endpoint
    /// For workers' results.
    package var data: Endpoint
    /// For clients.
    package var client: Endpoint
    /// For events.
    package var events: Endpoint
}

/// A coordinator that cannot start: one line with what, where and the next step.
package struct ServiceError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The line.
    package let description: String

    /// Wraps the line.
    package init(_ description: String) { self.description = description }
}
