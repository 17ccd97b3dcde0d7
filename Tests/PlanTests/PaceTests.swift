import Plan
import Testing

@Suite("The pace of a cluster")
struct PaceTests {
    /// Two replicas: one worker with all blocks at 2 steps a second, two with half of them at 3; one that only decodes.
    private static var status: ClusterStatus {
        func worker(_ name: String, _ span: Range<Int>, _ replica: Int?, steps: Double) -> WorkerStatus {
            let facts = ModelFacts(
                name: "m", family: "FluxPipeline", fingerprint: "f", blockCount: 6, width: 4, contextWidth: 3,
                pooledWidth: 2, maxTextLength: 8, takesGuidance: true, scalingFactor: 1, shiftFactor: 0,
                schedule: ScheduleFacts(), maxSide: 64)
            let hello = Hello(
                name: name, bootID: 1, build: "test", model: facts, dataEndpoint: "tcp://here:1",
                threads: 1, memoryCap: 0, kernelClass: "k", roles: Set(Role.allCases))
            var placement = Placement(
                worker: name, span: span, encodes: false, decodes: span.isEmpty, endpoint: "tcp://here:1")
            placement.replica = replica
            var rates = WorkerRates()
            rates.steps = steps
            return WorkerStatus(
                hello: hello, life: .ready, placement: placement, counters: WorkerCounters(), heartbeatAge: 0,
                rates: rates)
        }
        let workers = [
            worker("a", 0..<6, 0, steps: 2), worker("b", 0..<3, 1, steps: 3), worker("c", 3..<6, 1, steps: 3),
            worker("d", 0..<0, nil, steps: 0),
        ]
        var status = ClusterStatus(
            plan: nil, workers: workers, queued: 98, inFlight: 4, imagesDone: 7, uptime: 100, links: [])
        status.stepsPerPicture = 20
        return status
    }

    @Test("a worker's pictures an hour are its steps by those of a picture; the cluster's those of the first workers")
    func rates() {
        let status = Self.status
        #expect(status.workers.map { status.picturesPerHour($0) } == [360, 540, 540, nil])
        #expect(status.picturesPerHour == 900)
        #expect(status.secondsLeft == 400, "98 that wait and 4 half done, four seconds each")
    }

    @Test("nothing is said of pace and end while nothing moves")
    func idle() {
        var status = Self.status
        for index in status.workers.indices { status.workers[index].rates.steps = 0 }
        #expect(status.picturesPerHour == 0 && status.secondsLeft == nil)
        status.stepsPerPicture = nil
        #expect(status.picturesPerHour == nil && status.secondsLeft == nil)
        #expect(status.workers.allSatisfy { status.picturesPerHour($0) == nil })
    }
}
