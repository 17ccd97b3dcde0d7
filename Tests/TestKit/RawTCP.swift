internal import Glibc
internal import Synchronization

/// A TCP connection to this machine below all protocols, for peers that misbehave.
package final class RawTCP: Sendable {
    private let descriptor: Int32

    /// Connects; nil when nobody listens there.
    package init?(port: UInt16) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(port)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
    }

    init(accepted: Int32) { descriptor = accepted }

    deinit { close(descriptor) }

    /// Sends all bytes; false when the far side is gone.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// The next bytes; nothing at the end.
    package func receive() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
            count = max(0, recv(descriptor, buffer.baseAddress, buffer.count, 0))
        }
    }

    /// Ends both directions, so that a thread that reads returns.
    package func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    /// All bytes up to the end.
    package func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let bytes = receive()
            if bytes.isEmpty { return all }
            all += bytes
        }
    }
}

/// Passes one connection on to a port of this machine, and keeps what the dialling side said.
package final class RecordingRelay: Sendable {
    /// Where to dial.
    package let port: UInt16
    private let listener: Int32
    private let said = Mutex<[UInt8]>([])

    /// Listens; nil when the system has no port left.
    package init?(to target: UInt16) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 1) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        guard isBound else {
            close(listener)
            return nil
        }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        inBackground {
            let accepted = accept(listener, nil, nil)
            guard accepted >= 0, let far = RawTCP(port: target) else { return }
            let near = RawTCP(accepted: accepted)
            inBackground {
                while case let bytes = far.receive(), !bytes.isEmpty, near.send(bytes) {}
                near.end()
            }
            while case let bytes = near.receive(), !bytes.isEmpty {
                self.said.withLock { $0 += bytes }
                guard far.send(bytes) else { break }
            }
            far.end()
        }
    }

    deinit { close(listener) }

    /// What the dialling side said so far.
    package var recorded: [UInt8] { said.withLock { $0 } }
}

private func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}

/// Runs what blocks on a thread of its own.
private func inBackground(_ body: @escaping @Sendable () -> Void) {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    precondition(code == 0, "no thread: \(code)")
    pthread_detach(thread)
}
