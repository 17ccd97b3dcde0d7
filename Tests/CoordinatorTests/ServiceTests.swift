import Coordinator
import Foundation
import Imaging
import Logging
import Plan
import Testing
import Wire

/// The service with real sockets, store and files; the worker is played.
@Suite(.timeLimit(.minutes(10)))
struct ServiceTests {
    private static func settings(_ folder: String) throws -> ServiceSettings {
        var settings = ServiceSettings(
            outputFolder: folder + "/out", stateFolder: folder + "/state", version: "test")
        settings.core.settle = 50_000_000
        for path in [\ServiceSettings.control, \.data, \.client, \.events] {
            settings[keyPath: path] = try Endpoint("tcp://127.0.0.1:0")
        }
        return settings
    }

    private static func quiet() -> Logger {
        var log = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        log.logLevel = .critical
        return log
    }

    private static func whenFinal(_ id: JobID, _ client: ClientConnection) async throws -> JobStatus {
        var version: UInt64 = 0
        while true {
            guard case .job(let status) = try await client.request(.watch(id, version: version)) else {
                throw BenchError()
            }
            if status.isFinal { return status }
            version = status.version
        }
    }

    @Test("a batch that a client submits over TCP becomes files that hold the pixels and the request")
    func wholeWay() async throws {
        let folder = try Scratch()
        let service = try await CoordinatorService.start(try Self.settings(folder.path), log: Self.quiet())
        let peer = try FakePeer("a", boot: 1, service.endpoints)
        try await peer.start()
        let client = try await ClientConnection.connect(to: service.endpoints.client)
        let requests = [ImageRequest.ralu("a red square", seed: 4), .euler("a blue disc", seed: 5)]
        guard case .accepted(let id, false) = try await client.request(.submit(Submission(images: requests))) else {
            throw BenchError()
        }
        let status = try await Self.whenFinal(id, client)
        #expect(status.done == 2)
        for (state, request) in zip(status.images, requests) {
            guard case .done(let path, _) = state else { throw BenchError() }
            let image = try PNG.decode([UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
            #expect(image.rgb8 == (try FakeModel.render(request)))
            #expect(try PictureMetadata(of: image).request == request)
        }
        guard case .nodes(let nodes) = try await client.request(.nodes) else { throw BenchError() }
        #expect(nodes.imagesDone == 2 && nodes.workers.map(\.hello.name) == ["a"])
        #expect(nodes.links.contains { $0.source == "coordinator" && $0.target == "a" && $0.totalBytes > 0 })
        #expect(nodes.links.contains { $0.source == "a" && $0.target == "coordinator" && $0.messages > 0 })
        await client.close()
        await peer.stop()
        await service.drain()
        await service.run()
    }

    @Test("a coordinator that stops in the middle goes on where it was when it is started again")
    func restarts() async throws {
        let folder = try Scratch()
        let settings = try Self.settings(folder.path)
        let first = try await CoordinatorService.start(settings, log: Self.quiet())
        let early = try FakePeer("a", boot: 1, first.endpoints)
        try await early.start()
        let requests = (0..<30).map { ImageRequest.euler("p\($0)", seed: UInt64($0), steps: 6) }
        guard case .accepted(let id, _) = await first.request(.submit(Submission(images: requests))) else {
            throw BenchError()
        }
        while await early.answered < 40 { try await Task.sleep(for: .milliseconds(5)) }
        await first.drain()
        await first.run()
        await early.stop()

        let second = try await CoordinatorService.start(settings, log: Self.quiet())
        let late = try FakePeer("a", boot: 2, second.endpoints)
        try await late.start()
        let client = try await ClientConnection.connect(to: second.endpoints.client)
        let status = try await Self.whenFinal(id, client)
        #expect(status.done == 30)
        for (state, request) in zip(status.images, requests) {
            guard case .done(let path, _) = state else { throw BenchError() }
            let image = try PNG.decode([UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
            #expect(image.rgb8 == (try FakeModel.render(request)))
        }
        let total = await late.answered
        #expect(total < 30 * 8, "the second run began again from nothing")
        await client.close()
        await late.stop()
        await second.stop()
        await second.run()
    }

    @Test("a coordinator that is started again knows who is drained")
    func remembersDrained() async throws {
        let folder = try Scratch()
        let settings = try Self.settings(folder.path)
        func life(_ service: CoordinatorService) async -> WorkerStatus.Life? {
            guard case .nodes(let nodes) = await service.request(.nodes) else { return nil }
            return nodes.workers.first?.life
        }
        for boot in [1, 2] as [UInt64] {
            let service = try await CoordinatorService.start(settings, log: Self.quiet())
            let peer = try FakePeer("a", boot: boot, service.endpoints)
            try await peer.start()
            while await life(service) == nil { try await Task.sleep(for: .milliseconds(5)) }
            if boot == 1 { #expect(await service.request(.drain(worker: "a")) == .done) }
            #expect(await life(service) == .draining)
            await peer.stop()
            await service.stop()
            await service.run()
        }
    }

    @Test("a worker with another model is refused over TCP")
    func refusesOtherModel() async throws {
        let folder = try Scratch()
        let service = try await CoordinatorService.start(try Self.settings(folder.path), log: Self.quiet())
        let good = try FakePeer("a", boot: 1, service.endpoints)
        try await good.start()
        while case .model(nil) = await service.request(.awaitModel) {}
        let bad = try FakePeer("b", boot: 2, service.endpoints)
        try await bad.start(fingerprint: "beef")
        while await bad.refusals.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        #expect(await bad.refusals.first?.code == .model)
        await good.stop()
        await bad.stop()
        await service.stop()
        await service.run()
    }

    @Test("a port that is taken, and a state folder in use, are one-line errors")
    func namesWhatIsTaken() async throws {
        let folder = try Scratch()
        let service = try await CoordinatorService.start(try Self.settings(folder.path), log: Self.quiet())
        var other = try Self.settings(folder.path)
        var refusal = await Self.failure(other)
        #expect(refusal.contains("in use by another coordinator"))
        other.stateFolder = folder.path + "/state2"
        other.control = service.endpoints.control
        refusal = await Self.failure(other)
        #expect(refusal.contains("is taken") && refusal.contains("control"))
        await service.stop()
        await service.run()
    }

    private static func failure(_ settings: ServiceSettings) async -> String {
        do {
            let service = try await CoordinatorService.start(settings, log: quiet())
            await service.stop()
            await service.run()
            return "it started"
        } catch {
            return "\(error)"
        }
    }
}

/// A folder that goes when the test ends.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/abbozzo-coordinator-\(UInt64.random(in: 0...(.max)))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
