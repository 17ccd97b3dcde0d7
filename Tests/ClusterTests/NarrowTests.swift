internal import Plan
internal import Testing

@testable internal import abbozzo

/// What a live table leaves out where the terminal is narrow.
@Suite("Narrow terminals")
struct NarrowTests {
    static var status: ClusterStatus {
        let facts = ModelFacts(
            name: "m", family: "FluxPipeline", fingerprint: "f", blockCount: 57, width: 4, contextWidth: 3,
            pooledWidth: 2, maxTextLength: 8, takesGuidance: true, scalingFactor: 1, shiftFactor: 0,
            schedule: ScheduleFacts(), maxSide: 64)
        let workers = (0..<3).map { index in
            var counters = WorkerCounters()
            counters.images = 12_345
            counters.residentBytes = 24_500_000_000
            var rates = WorkerRates()
            (rates.steps, rates.tokens, rates.busy) = (12.34, 12_345, 0.98)
            (rates.sent, rates.received) = (112e6, 112e6)
            var placement = Placement(
                worker: "node\(index)", span: index * 19..<(index + 1) * 19, encodes: false, decodes: false,
                endpoint: "tcp://here:1")
            placement.replica = 0
            return WorkerStatus(
                hello: Hello(
                    name: "node\(index)", bootID: 1, build: "test", model: facts, dataEndpoint: "tcp://here:1",
                    threads: 1, memoryCap: 0, kernelClass: "k", roles: Set(Role.allCases)),
                life: .ready, placement: placement, counters: counters, heartbeatAge: 0, rates: rates)
        }
        var status = ClusterStatus(
            plan: nil, workers: workers, queued: 10_000, inFlight: 6, imagesDone: 123, uptime: 12_000, links: [])
        status.stepsPerPicture = 28
        return status
    }

    private func columns(_ frame: [String]) -> [Substring] {
        frame.first { $0.hasPrefix("NODE") }?.split(separator: " ") ?? []
    }

    @Test("whole columns go, the least needed first, and no line is wider than the terminal", arguments: 50...130)
    func fits(width: Int) {
        let frame = Self.status.frame(within: width)
        #expect(frame.allSatisfy { $0.count <= width }, "\(frame.joined(separator: "\n"))")
        let all = columns(Self.status.frame(within: nil))
        let left = columns(frame)
        #expect(all.count == 12 && all.filter(left.contains) == left, "whole columns, in their order")
        #expect(["NODE", "STATE", "IMAGES/H", "BUSY"].allSatisfy { left.contains($0) })
        let rows = frame.filter { $0.hasPrefix("node") }
        #expect(rows.count == 3 && rows.allSatisfy { $0.contains("98 %") })
    }

    @Test("eighty columns have room for what a node does, its links and its queue")
    func eighty() {
        #expect(
            columns(Self.status.frame(within: 80)) == [
                "NODE", "STATE", "BLOCKS", "IMAGES/H", "STEPS/S", "BUSY", "OUT/S", "QUEUE", "MEMORY",
            ])
    }

    @Test("text is broken between its parts")
    func wraps() {
        #expect(wrapped("one two; three; four", within: 20) == ["one two; three; four"])
        #expect(wrapped("one two; three; four", within: 19) == ["one two; three;", "four"])
        #expect(wrapped("one two; three; four", within: 5) == ["one two;", "three;", "four"])
    }
}
