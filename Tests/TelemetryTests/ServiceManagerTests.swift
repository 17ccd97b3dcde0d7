import Glibc
import Telemetry
import TestKit
import Testing

@Suite("What the service manager is told")
struct ServiceManagerTests {
    /// A datagram socket as systemd listens on.
    private final class Manager {
        let handle: Int32
        let variable: String

        init(_ variable: String) {
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
        var heard: [String] {
            var (messages, buffer) = ([String](), [UInt8](repeating: 0, count: 256))
            while true {
                let count = recv(handle, &buffer, buffer.count, 0)
                guard count >= 0 else { return messages }
                messages.append(String(decoding: buffer[..<count], as: UTF8.self))
            }
        }
    }

    @Test("ready and stopping are told under a path and under an abstract name", arguments: [false, true])
    func states(isAbstract: Bool) throws {
        let folder = TemporaryFolder()
        let manager = Manager(isAbstract ? "@abbozzo-test-\(getpid())" : folder.path + "/notify")
        let service = try #require(ServiceManager(environment: ["NOTIFY_SOCKET": manager.variable]))
        service.ready()
        service.stopping()
        #expect(manager.heard == ["READY=1", "STOPPING=1"])
        #expect(service.watchdog == nil)
        service.alive(now: 1)
        #expect(manager.heard == [], "nobody asked for signs of life")
    }

    @Test("signs of life are told four times in the watchdog's time, and not of work that stands for as long")
    func watchdog() throws {
        let folder = TemporaryFolder()
        let manager = Manager(folder.path + "/notify")
        let environment = ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "4000"]
        let service = try #require(ServiceManager(environment: environment))
        #expect(service.watchdog == 4_000_000)
        // A few at a time: the kernel keeps only ten datagrams for who does not read.
        for millisecond in 0..<20 {
            for part in 0..<10 { service.alive(now: UInt64(1_000_000_000 + millisecond * 1_000_000 + part * 100_000)) }
            #expect(manager.heard == ["WATCHDOG=1"])
        }
        service.alive(now: 2_000_000_000, standing: 3_999_999)
        #expect(manager.heard == ["WATCHDOG=1"])
        for second in 3..<10 { service.alive(now: UInt64(second) * 1_000_000_000, standing: 4_000_000) }
        #expect(manager.heard == [])
    }

    @Test("a watchdog for another process is none, and no manager is no manager")
    func others() throws {
        let folder = TemporaryFolder()
        let manager = Manager(folder.path + "/notify")
        let environment = ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "4000", "WATCHDOG_PID": "17"]
        #expect(try #require(ServiceManager(environment: environment, processID: 17)).watchdog == 4_000_000)
        #expect(try #require(ServiceManager(environment: environment, processID: 18)).watchdog == nil)
        for path in [nil, "", "relative", "@", "/" + String(repeating: "a", count: 107)] {
            #expect(ServiceManager(environment: path.map { ["NOTIFY_SOCKET": $0] } ?? [:]) == nil)
        }
        // A manager that went away stops nobody.
        let gone = try #require(ServiceManager(environment: ["NOTIFY_SOCKET": folder.path + "/gone"]))
        gone.ready()
    }
}
