internal import Foundation
internal import Glibc
internal import Plan
internal import TestKit
internal import Testing
internal import Wire

/// A picture with which in hand workers die, whatever the reason: here they are killed for it.
@Suite("Poison", .serialized, .timeLimit(.minutes(10)))
struct PoisonTests {
    private let folder = TemporaryFolder()

    /// Latents of 16,384 tokens of 64 values each: a step of the poison carries them, and no other message comes near.
    private static let poisonStepBytes: UInt64 = 4 << 20

    @Test("a job that kills workers twice is set aside with the evidence; a job beside it is drawn to the last byte")
    func setAside() async throws {
        let pictures = (0..<3).map {
            TestPicture(prompt: "a fox \($0)", seed: $0, flags: TestPicture.all[$0 % 2].flags)
        }
        let alone = try await TestPicture.rendered(pictures, in: folder, threads: 2)
        let batch = try TestPicture.batch(pictures, in: folder)
        try await withProcesses { processes in
            let lan = try folder.write(Array("liveness: lan\n".utf8), name: "lan.yaml")
            let cluster = try await TestCluster.start(processes, in: folder.path, ["--config", lan])
            let first = try await cluster.worker("first", model: TestPicture.model)
            // One step takes a worker longer than the test needs to kill it.
            let poison = try await submitted(
                ["-p", "poison", "--width", "2048", "--height", "2048", "--steps", "2"], to: cluster)
            let client = try await cluster.connect()
            try await inHand(of: "first", poison, client)

            // A picture beside it is as suspect at first.
            let other = try await submitted([batch, "--folder", "batch"], to: cluster)
            var status = try await client.watched(other)
            while !status.images.contains(where: { if case .running = $0 { true } else { false } }) {
                status = try await client.watched(other, version: status.version)
            }
            await first.send(SIGKILL)
            let second = try await cluster.worker("second", model: TestPicture.model)
            try await inHand(of: "second", poison, client)
            #expect(try await client.watched(other).done == 0, "they wait for the picture under suspicion")
            await second.send(SIGKILL)
            _ = try await cluster.worker("third", model: TestPicture.model)

            var verdict = try await client.watched(poison)
            while !verdict.isFinal {
                verdict = try await client.watched(poison, version: verdict.version)
                try #require(try await bytes(to: "third", client) < Self.poisonStepBytes, "it went to a third worker")
            }
            guard case .failed(let text) = verdict.images.first else { throw RenderFailure(description: "\(verdict)") }
            #expect(text.contains("set aside, because workers die with it in hand"), "\(text)")
            for name in ["first", "second"] { #expect(text.contains("\(name) was lost at step 1 ("), "\(text)") }
            let shown = try await cluster.client(["jobs", "show", poison.description])
            #expect(shown.output.contains(text), "\(shown.output)")

            while !status.isFinal { status = try await client.watched(other, version: status.version) }
            #expect(status.done == pictures.count && status.failed == 0)
            await client.close()
            #expect(try cluster.pictures(in: "batch") == alone)
        }
    }

    /// Submits a job without waiting for it.
    private func submitted(_ arguments: [String], to cluster: TestCluster) async throws -> JobID {
        let outcome = try await cluster.client(["submit", "--no-wait"] + arguments)
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        return try #require(JobID(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    /// Waits until the coordinator has given a worker the poison's first step.
    private func inHand(of worker: String, _ poison: JobID, _ client: ClientConnection) async throws {
        var status = try await client.watched(poison)
        while try await bytes(to: worker, client) < Self.poisonStepBytes {
            try #require(!status.isFinal, "\(status)")
            status = try await client.watched(poison, version: status.version)
        }
    }

    /// What the coordinator has sent to a worker over its data socket.
    private func bytes(to worker: String, _ client: ClientConnection) async throws -> UInt64 {
        let links = try await client.nodes().links
        return links.first { $0.source == "coordinator" && $0.target == worker }?.totalBytes ?? 0
    }
}
