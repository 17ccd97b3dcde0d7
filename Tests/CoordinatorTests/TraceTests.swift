@testable import Coordinator
import JobStore
import Plan
import Testing

@Suite("Traces")
struct TraceTests {
    private func trace(_ reply: ClientReply?) throws -> JobTrace {
        guard case .trace(let trace) = reply else {
            Issue.record("no trace: \(String(describing: reply))")
            throw BenchError()
        }
        return trace
    }

    /// Whether entries of one row follow each other, one picture's phases or a worker's tasks; a side task may hold steps.
    private func expectNoOverlap(_ trace: JobTrace) {
        let rows = Dictionary(grouping: trace.entries) { $0.row == 0 ? -1 - Int($0.image) : Int($0.row) }
        for (row, entries) in rows {
            let sorted = entries.sorted { ($0.began, $1.nanoseconds) < ($1.began, $0.nanoseconds) }
            for (index, one) in sorted.enumerated() {
                for next in sorted[(index + 1)...] where next.began < one.began + one.nanoseconds {
                    let isWithin = next.began + next.nanoseconds <= one.began + one.nanoseconds
                    #expect(row > 0 && isWithin && next.kind == .step, "row \(row): \(one), \(next)")
                }
            }
        }
    }

    @Test("a trace has every task of every worker at the time it took, although the workers' clocks are hours apart")
    func placesTasks() throws {
        let bench = PipelineBench(workers: 3)
        let pictures = (0..<3).map { ImageRequest.ralu("p\($0)", seed: UInt64($0)) }
        let job = try bench.submit(pictures + [.euler("q", steps: 4, side: 128)])
        #expect(bench.run { bench.done(job) == 4 })
        let trace = try trace(bench.answer(.trace(job)))
        #expect(trace.gaps.isEmpty && trace.workers.sorted() == ["w0", "w1", "w2"])
        expectNoOverlap(trace)

        let onWorkers = trace.entries.filter { $0.row > 0 }
        #expect(onWorkers.count == bench.computed.count)
        for task in bench.computed {
            let entry = try #require(
                onWorkers.first {
                    $0.kind == task.kind && $0.image == task.image.index && Int($0.step) == task.step
                        && trace.workers[Int($0.row) - 1] == task.worker
                })
            // Messages take 0.2 to 1.2 ms, and the estimate is wrong by half a round trip at most.
            let error = Double(entry.began) - Double(task.began)
            #expect(abs(error) < 1.3e6, "\(error) ns")
            #expect(abs(Double(task.ended - task.began) - Double(entry.nanoseconds)) < 1.3e6)
        }
        for image in UInt32(0)..<4 {
            let steps = image < 3 ? 5 : 4
            for worker in UInt16(1)...3 {
                let found = onWorkers.filter { $0.kind == .step && $0.image == image && $0.row == worker }
                #expect(found.map(\.step).sorted() == Array(0..<UInt16(steps)))
                #expect(found.allSatisfy { $0.tokens > 0 && $0.stage > 0 && $0.epoch == 1 })
            }
            let phases = trace.entries.filter { $0.row == 0 && $0.image == image }
            #expect(phases.count { $0.kind == .step } == steps)
            for kind in [JobTrace.Entry.Kind.encode, .picture] { #expect(phases.count { $0.kind == kind } == 1) }
            #expect(phases.count { $0.kind == .edge } == (image < 3 ? 1 : 0))
            // What the workers did lies within what the coordinator saw.
            for phase in phases where phase.kind == .step {
                let inside = onWorkers.filter { $0.kind == .step && $0.image == image && $0.step == phase.step }
                for entry in inside {
                    #expect(entry.began + 1_300_000 > phase.began)
                    #expect(entry.began + entry.nanoseconds < phase.began + phase.nanoseconds + 1_300_000)
                }
            }
        }
        #expect(trace.notes.contains { $0.text.contains("epoch 1: w0 ") })
    }

    @Test("a trace shows the wait in the queue, losses, plans and what was done again")
    func showsTrouble() throws {
        let bench = Bench()
        bench.join("a", "b")
        bench.now += 1_000_000_000
        let id = try bench.submit((0..<5).map { .euler("p\($0)", seed: UInt64($0)) })
        bench.now += 2_000_000_000
        bench.work(until: { $0.key.step == 1 })
        #expect(bench.tasks.contains { $0.key.need == .step })
        bench.handle(.disconnected(worker: "b", bootID: 1))
        bench.wait(2.5, beating: ["a"])
        bench.tasks.removeAll { $0.key.epoch == 1 }
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 5)
        #expect(bench.ask(.trace(id)) == nil)
        bench.wait(2.1, beating: ["a"])
        let trace = try trace(bench.reply)
        expectNoOverlap(trace)
        #expect(!trace.isRunning && trace.gaps.isEmpty)
        let waited = try #require(trace.entries.first { $0.kind == .queue && $0.image == 4 })
        #expect(waited.nanoseconds > 2_000_000_000)
        let texts = trace.notes.map(\.text)
        #expect(texts.contains { $0.hasPrefix("b is gone: ") })
        #expect(texts.contains { $0.hasPrefix("planning epoch 2: ") } && texts.contains("epoch 2: a 0..<6"))
        let again = trace.notes.filter { $0.text.hasPrefix("step ") && $0.text.hasSuffix(" again: lost") }
        #expect(!again.isEmpty && again.allSatisfy { $0.image != nil })
        let fault = Fault(TaskID(.step, ImageID(job: id, index: 0), step: 0, epoch: 9), text: "x", isRetriable: true)
        bench.say(.fault(fault), "a")
        #expect(bench.ask(.trace(JobID(high: 1, low: 1))) == nil)
    }

    @Test("a coordinator that never worked on a job says that it has no trace of it, and why")
    func saysThatThereIsNone() throws {
        let bench = Bench()
        let id = try bench.submit([.euler("p")])
        let waiting = bench.failure(.trace(id))
        #expect(waiting?.code == .unknown && waiting?.text.contains("none of its pictures has been begun") == true)
        let gone = bench.failure(.trace(JobID(high: 5, low: 5)))
        #expect(gone?.code == .unknown)
        #expect(gone?.text.contains("the last 32 jobs that this coordinator worked on since it started") == true)
    }

    @Test("a job that goes on after a restart has a trace that says what is missing")
    func goesOn() throws {
        let bench = Bench()
        bench.join("a")
        let id = try bench.submit([.euler("p", steps: 5), .euler("q", steps: 5)])
        bench.work(until: { $0.key.step == 3 })
        let second = Bench()
        second.store = bench.store
        second.handle(.recovered(bench.store.unfinished, pin: nil, epoch: 1))
        second.join("a")
        second.work()
        #expect(second.ask(.trace(id)) == nil)
        second.wait(2.1, beating: ["a"])
        let trace = try trace(second.reply)
        #expect(!trace.isWhole && trace.gaps.count == 1)
    }

    private static func entry(_ index: Int) -> JobTrace.Entry {
        JobTrace.Entry(kind: .step, image: UInt32(index), began: UInt64(index), nanoseconds: 1)
    }

    @Test("traces are bounded: the oldest events of a job go, then the oldest jobs, and the trace says so")
    func isBounded() throws {
        var book = TraceBook()
        func job(_ number: UInt64) -> JobID { JobID(high: 0, low: number) }
        book.open(job(0), isWhole: true, plan: nil, now: 0)
        for index in 0..<TraceBook.entries + 100 { book.note(Self.entry(index), job(0)) }
        for index in 0..<TraceBook.notes + 7 {
            book.note(String(repeating: "x", count: 1000), ImageID(job: job(0), index: 0), now: UInt64(index))
        }
        let trace = try #require(book[job(0)])
        #expect(trace.entries.count == TraceBook.entries && trace.notes.count == TraceBook.notes)
        #expect(trace.dropped == 107 && trace.entries.first == Self.entry(100))
        #expect(trace.entries.last == Self.entry(TraceBook.entries + 99))
        #expect(trace.notes.first?.time == 7 && trace.notes.allSatisfy { $0.text.count == TraceBook.noteLength })
        #expect(MemoryLayout<JobTrace.Entry>.stride <= 40)
        for number in 1...UInt64(TraceBook.jobs) { book.open(job(number), isWhole: true, plan: nil, now: 0) }
        #expect(book[job(0)] == nil && book[job(1)] != nil)
        book.note(Self.entry(0), job(0))
        #expect(!book.contains(job(0)), "nothing is kept of a job without a trace")
    }

    @Test("what a worker tells of impossible times or workers too many is not believed, and a gap is counted")
    func doubtsWorkers() throws {
        var book = TraceBook()
        let job = JobID(high: 0, low: 1)
        book.open(job, isWhole: true, plan: nil, now: 0)
        func span(_ began: UInt64, _ nanoseconds: UInt64) -> TaskSpan {
            TaskSpan(
                kind: .step, image: ImageID(job: job, index: 0), step: 0, epoch: 1, stage: 1, tokens: 4, began: began,
                nanoseconds: nanoseconds)
        }
        var clock = WorkerClock()
        let now: UInt64 = 1000
        clock.note(clock: .max, roundTrip: .max, now: now)
        clock = WorkerClock()
        // Its clock shows 2 ^ 63 more than ours; the message took 100.
        let ahead: UInt64 = 1 << 63
        clock.note(clock: ahead + 900, roundTrip: 200, now: now)
        #expect(clock.offset == Int64(bitPattern: 0 &- ahead))
        let spans = [
            span(ahead + 100, 50), span(ahead + 130, 90), span(ahead + 900, 101), span(ahead - 1, 5), span(0, 0),
            span(.max, 0),
        ]
        book.note(SpanReport(clock: ahead + 900, first: 5, spans: spans), by: "a", &clock, now: now)
        let trace = try #require(book[job])
        #expect(trace.entries.map(\.began) == [100, 150] && trace.entries.map(\.nanoseconds) == [50, 70])
        #expect(trace.untold == 0, "what it did before it joined is not missed")
        book.note(SpanReport(clock: ahead + 900, first: 11, spans: []), by: "a", &clock, now: now)
        #expect(book[job]?.untold == 0)
        book.note(SpanReport(clock: ahead + 900, first: 15, spans: []), by: "a", &clock, now: now)
        #expect(book[job]?.untold == 4)
        book.note(SpanReport(clock: ahead + 900, first: .max, spans: [span(0, 0)]), by: "a", &clock, now: now)
        #expect(book[job]?.untold == 4 + 1 << 26)
        book.note(SpanReport(clock: ahead + 900, first: 3, spans: []), by: "a", &clock, now: now)
        for index in 0..<2000 {
            var other = WorkerClock()
            book.note(SpanReport(clock: 50, spans: [span(1, 1)]), by: "w\(index)", &other, now: now)
        }
        #expect(book[job]?.workers.count == 1024)
    }

    @Test("the estimate of a clock's difference is wrong by half a round trip at most, and follows a drifting clock")
    func estimatesClocks() {
        var random = SplitMix(3)
        var clock = WorkerClock()
        for second in UInt64(0)..<2000 {
            // 50 millionths slower than ours, and seven hours ahead at first.
            let now = 1_000_000_000 * (second + 1)
            let ahead = UInt64(25_200_000_000_000) &- now / 20_000
            let (there, back) = (200_000 + random.next() % 5_000_000, 200_000 + random.next() % 5_000_000)
            clock.note(clock: now &- there &+ ahead, roundTrip: there + back, now: now)
            guard second > 20 else { continue }
            let error = clock.offset &+ Int64(bitPattern: ahead)
            #expect(abs(error) < 5_200_000, "\(error) ns")
        }
    }
}
