internal import Glibc

/// A datagram socket as a service manager listens on, under a path or an abstract name that begins with `@`.
package final class NotifySocket: Sendable {
    /// What a daemon finds in `NOTIFY_SOCKET`.
    package let variable: String
    private let handle: Int32

    /// Listens.
    package init(_ variable: String) {
        self.variable = variable
        handle = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(variable.utf8)
        withUnsafeMutableBytes(of: &name.sun_path) { path in
            path.copyBytes(from: bytes)
            if bytes.first == UInt8(ascii: "@") { path[0] = 0 }
        }
        let length = MemoryLayout<sa_family_t>.size + bytes.count + (variable.first == "@" ? 0 : 1)
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(handle, $0, socklen_t(length)) }
        }
        precondition(result == 0, "cannot bind \(variable): errno \(errno)")
    }

    deinit { close(handle) }

    /// Everything that came since.
    package var heard: [String] {
        var (messages, buffer) = ([String](), [UInt8](repeating: 0, count: 256))
        while true {
            let count = recv(handle, &buffer, buffer.count, 0)
            guard count >= 0 else { return messages }
            messages.append(String(decoding: buffer[..<count], as: UTF8.self))
        }
    }
}
