import Foundation
import Plan
import TestKit
import Testing
import Wire
import Worker

/// What a coordinator may say, however impossible, reaches the core; `ABBOZZO_FUZZ` sets how much.
@Suite("Fuzzing the worker's core") struct WorkerFuzzTests {
    private static let rounds =
        (ProcessInfo.processInfo.environment["ABBOZZO_FUZZ"].flatMap(Int.init) ?? 200_000) / 20

    @Test("nothing that the coordinator says ends the worker")
    func core() throws {
        var random = FuzzRandom(seed: 12)
        let messages: [ControlMessage] = [
            .welcome(Welcome(heartbeatMilliseconds: 1000, dataEndpoint: "tcp://there:5791")),
            .refuse(Refusal(code: .name, text: "taken")), .assign(CoreHarness.plan(2)), .alive, .introduce, .drain,
            .heartbeat(Heartbeat(epoch: 1, image: nil, block: nil, counters: WorkerCounters())),
        ]
        let bodies = try messages.map { try JSONMutator(Message($0).body) }
        var understood = 0
        var worker = CoreHarness()
        for round in 0..<Self.rounds {
            if round % 30 == 0 {
                worker = CoreHarness()
                worker.start(CoreHarness.plan(1))
            }
            let body = bodies[round % bodies.count].mutated(using: &random)
            guard let message = try? Message(.control, body: body).control(from: "coordinator") else { continue }
            understood += 1
            worker.send(.control(message))
            worker.tick(after: 0.1)
        }
        #expect(understood > Self.rounds / 20)
    }
}
