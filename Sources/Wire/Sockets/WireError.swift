internal import CZeroMQ

/// A socket could not do what was asked.
package struct WireError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What failed.
    package enum Reason: Equatable, Sendable {
        /// Not an endpoint that can be used.
        case endpoint(String, String)
        /// A listening address other hosts can reach, without keys.
        case insecure(String)
        /// A socket with keys of its own was told of nobody who may connect.
        case noGate
        /// The public key of the peer is not known.
        case noPeerKey(String)
        /// The other side refuses this one; why.
        case notAdmitted(endpoint: String, Denial)
        /// A call of libzmq or of the system failed.
        case system(call: String, code: Int32, text: String)
        /// No peer of that name is connected.
        case unroutable(String)
        /// The peer does not take messages as fast as they are sent.
        case queueFull(peer: String, bytes: Int, limit: Int)
        /// The socket or its loop was closed.
        case closed
        /// Nobody answers there.
        case unreachable(endpoint: String, seconds: Double)
        /// Connected, but no answer came.
        case timeout(endpoint: String, seconds: Double)
        /// The connection was lost before the answer.
        case lost(endpoint: String)
        /// What the other side sent was refused.
        case refused(FrameError)
    }

    /// What failed.
    package let reason: Reason

    /// Wraps the reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// Whether the coordinator could not be reached: exit code 3 of the command line.
    package var isUnreachable: Bool {
        switch reason {
        case .unreachable, .timeout, .lost: true
        default: false
        }
    }

    /// Whether waiting may help: nobody answers, or the handshake ends without a word, as while a coordinator opens its queue.
    package var mayPass: Bool {
        if case .notAdmitted(_, let denial) = reason { denial.isTriedAgain } else { isUnreachable }
    }

    /// Whether the other side refuses this one: exit code 4 of the command line.
    package var isRefusal: Bool { if case .notAdmitted = reason { true } else { false } }

    /// Whether another try may succeed.
    package var isRetriable: Bool {
        switch reason {
        case .unroutable, .queueFull, .unreachable, .timeout, .lost: true
        default: false
        }
    }

    /// One line with what, where and the next step.
    package var description: String {
        switch reason {
        case .endpoint(let text, let why): "\(text) is not a usable endpoint: \(why); write tcp://HOST:PORT"
        case .insecure(let endpoint):
            "refusing to listen on \(endpoint) without keys: other hosts could reach it. Make keys with "
                + "`abbozzo keys init`, `abbozzo keys new worker NAME` and `abbozzo keys authorize NAME.pub --role "
                + "worker`, copy NAME.key and coordinator.pub to the worker's machine, and start both with --keys DIR; "
                + "or listen on 127.0.0.1"
        case .noGate: "refusing to listen with keys but without a list of those who may connect"
        case .noPeerKey(let peer): "the public key of \(peer) is not known, so it cannot be told from others"
        case .notAdmitted(let endpoint, let why): "not admitted by \(endpoint): \(why)"
        case .system(let call, let code, let text): "\(call): \(text) (code \(code))"
        case .unroutable(let peer): "\(peer) is not connected"
        case .queueFull(let peer, let bytes, let limit):
            "\(peer) reads too slowly: \(bytes) bytes wait for it, at most \(limit) may"
        case .closed: "the socket is closed"
        case .unreachable(let endpoint, let seconds):
            "nobody answers at \(endpoint) within \(Self.short(seconds)) s: is the coordinator running there? (--coordinator or "
                + "ABBOZZO_COORDINATOR names another)"
        case .timeout(let endpoint, let seconds):
            "\(endpoint) is connected but gave no answer within \(Self.short(seconds)) s"
        case .lost(let endpoint): "the connection to \(endpoint) was lost before the answer"
        case .refused(let error): error.description
        }
    }

    /// The error that libzmq left in `errno`.
    static func last(_ call: String) -> WireError {
        let code = zmq_errno()
        return WireError(.system(call: call, code: code, text: String(cString: zmq_strerror(code))))
    }

    private static func short(_ seconds: Double) -> String {
        seconds == seconds.rounded() ? String(Int(seconds)) : String((seconds * 10).rounded() / 10)
    }
}
