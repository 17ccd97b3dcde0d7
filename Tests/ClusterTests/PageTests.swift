internal import Foundation
internal import TestKit
internal import Testing

@Suite("The page of a daemon", .timeLimit(.minutes(10)))
struct PageTests {
    @Test("comes back when more connections than the process may have files have gone")
    func descriptors() async throws {
        try await withProcesses { processes in
            let worker = try await processes.start(
                [
                    "-c", "ulimit -n 100; exec \"$0\" \"$@\"", Abbozzo.executable, "worker", "--model",
                    TestPicture.model,
                    "--benchmark", "off", "--coordinator", "tcp://127.0.0.1:1",
                ], executable: "/bin/bash")
            let line = try await worker.line(containing: "started ")
            let port = try #require(line.split(separator: ":").last.flatMap { UInt16($0) })
            var held = (0..<150).compactMap { _ in RawTCP(port: port) }
            #expect(!held.isEmpty)
            _ = try await worker.line(containing: "the page on http://127.0.0.1:\(port) ended")
            held = []
            while answer(port) != "ok\n" { try await Task.sleep(for: .milliseconds(50)) }
        }
    }

    /// What `/healthz` says; empty when nobody listens.
    private func answer(_ port: UInt16) -> String {
        guard let connection = RawTCP(port: port) else { return "" }
        connection.send(Array("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
        let text = String(decoding: connection.receiveAll(), as: UTF8.self)
        return text.split(separator: "\r\n\r\n", maxSplits: 1).last.map(String.init) ?? ""
    }
}
