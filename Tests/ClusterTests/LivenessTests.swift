internal import Foundation
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

/// Who is alive, who only seems so, and who may have a name: with real processes.
@Suite("Liveness", .serialized, .timeLimit(.minutes(10)))
struct LivenessTests {
    private let folder = TemporaryFolder()
    private let small = ["--width", "64", "--height", "64", "--text-length", "16", "--steps", "2"]

    @Test("of two workers of one name the first stays; the second is refused, and let in at once when the first dies")
    func twins() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let first = try await cluster.worker("a", model: TestPicture.model)
            var outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let second = try await cluster.worker("a", model: TestPicture.model)
            _ = try await second.line(containing: "is here already and alive")
            outcome = try await cluster.client(["submit", "-p", "two"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")

            let client = try await cluster.connect()
            let before = try await nodes(client)
            #expect(before.plan?.epoch == 1, "the second one disturbed the first")
            #expect(before.workers.count == 1 && before.workers.first?.life == .ready)
            let run = before.workers.first?.hello.bootID
            let clock = ContinuousClock()
            let killed = clock.now
            await first.send(SIGKILL)
            while try await nodes(client).workers.first?.hello.bootID == run {
                // As long as a worker that only fell silent would lock it out.
                try #require(clock.now - killed < .seconds(10), "still locked out")
                try await Task.sleep(for: .milliseconds(20))
            }
            outcome = try await cluster.client(["submit", "-p", "three"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            await client.close()
        }
    }

    @Test("a worker that is told to end when its coordinator is gone ends by itself")
    func endsAlone() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: TestPicture.model)
            let outcome = try await cluster.client(["submit", "-p", "one"] + small)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            await cluster.coordinator.send(SIGKILL)
            _ = try await cluster.coordinator.outcome()
            await worker.send(SIGTERM)
            #expect(try await worker.outcome().status == .exited(0))
        }
    }

    @Test("a daemon that crashes is gone at once")
    func crashes() async throws {
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: folder.path)
            let worker = try await cluster.worker("a", model: TestPicture.model)
            _ = try await cluster.coordinator.line(containing: "a joined")
            for process in [worker, cluster.coordinator] {
                await process.send(SIGABRT)
                #expect(try await process.outcome(within: .seconds(60)).status == .signaled(SIGABRT))
            }
        }
    }

    private func nodes(_ client: ClientConnection) async throws -> ClusterStatus {
        guard case .nodes(let status) = try await client.request(.nodes) else {
            throw RenderFailure(description: "no nodes")
        }
        return status
    }
}
