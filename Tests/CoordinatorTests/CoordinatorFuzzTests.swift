import Coordinator
import Foundation
import Plan
import TestKit
import Testing
import Wire

/// What an authorised peer may say, however impossible, reaches the core; `ABBOZZO_FUZZ` sets how much.
@Suite("Fuzzing the coordinator's core") struct CoordinatorFuzzTests {
    private static let rounds =
        (ProcessInfo.processInfo.environment["ABBOZZO_FUZZ"].flatMap(Int.init) ?? 200_000) / 20

    @Test("nothing that a worker or a client says ends the coordinator")
    func core() throws {
        var random = FuzzRandom(seed: 11)
        let hello = FakeModel.hello("w1")
        let image = ImageID(job: JobID(high: 0, low: 1), index: 0)
        var heartbeat = Heartbeat(epoch: 1, image: image, block: 1, counters: WorkerCounters())
        heartbeat.counters.links = [LinkCounters(source: "a", target: "b")]
        heartbeat.counters.authFailures = ["no_key": 1]
        let span = TaskSpan(
            kind: .step, image: image, step: 1, epoch: 1, stage: 1, tokens: 4, began: 1_000_000, nanoseconds: 500_000)
        heartbeat.done = SpanReport(clock: 2_000_000, first: 3, spans: [span, span])
        let controls: [ControlMessage] = [
            .hello(hello), .heartbeat(heartbeat), .loaded(Loaded(epoch: 1, residentBytes: 5)),
            .fault(Fault(TaskID(.step, image, step: 3, epoch: 1), text: "no", isRetriable: true)), .drain, .leave,
        ]
        let request = ImageRequest(
            prompt: "a house", seed: 1, width: 64, height: 64, guidance: 3.5, textLength: 8, sampler: .euler(steps: 2))
        let requests: [ClientRequest] = [
            .submit(Submission(key: "k", folder: "f", images: [request, request], priority: 1)), .jobs(limit: 5),
            .job(image.job), .watch(image.job, version: 1), .cancel(image.job), .retry(image.job), .nodes,
            .drain(worker: "w1"), .undrain(worker: "w1"), .forget(worker: "w1"), .unfinished(limit: 5),
            .jobsBeginning(with: "00"), .model, .awaitModel, .trace(image.job), .remove(image.job),
            .removeFinished(secondsAgo: 5),
        ]
        let controlBodies = try controls.map { try JSONMutator(Message($0).body) }
        let requestBodies = try requests.map { try JSONMutator(Message($0, number: 1).body) }
        var understood = 0
        var bench = Bench()
        for round in 0..<Self.rounds {
            if round % 100 == 0 {
                bench = Bench()
                bench.join("w1", "w2")
                bench.handle(.client(requests[0], ClientTicket(client: "c", number: 1), fresh: image.job))
            }
            if round % 2 == 0 {
                let body = controlBodies[round / 2 % controlBodies.count].mutated(using: &random)
                guard let message = try? Message(.control, body: body).control(from: "w1") else { continue }
                understood += 1
                bench.handle(.control(message, from: Bool.random(using: &random) ? "w1" : "w2", bootID: hello.bootID))
            } else {
                let body = requestBodies[round / 2 % requestBodies.count].mutated(using: &random)
                guard let message = try? Message(.clientRequest, body: body).clientRequest(from: "c") else { continue }
                understood += 1
                let number = UInt64(round)
                bench.handle(
                    .client(
                        message, ClientTicket(client: "c", number: number), fresh: JobID(high: 1, low: number)))
            }
            bench.now += 50_000_000
            bench.handle(.tick)
        }
        #expect(understood > Self.rounds / 20)
    }
}
