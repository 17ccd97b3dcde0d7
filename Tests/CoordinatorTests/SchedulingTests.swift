import Coordinator
import Plan
import Testing

@Suite("Scheduling")
struct SchedulingTests {
    private static func batch(_ count: Int, steps: Int = 6) -> [ImageRequest] {
        (0..<count).map { .euler("batch \($0)", seed: UInt64($0), steps: steps, side: 128) }
    }

    /// Seconds from submission to the end of one picture beside a batch that fills the cluster.
    private static func latency(workers: Int, beside batch: Int, priority: Int, isInteractive: Bool) throws -> Double {
        let bench = PipelineBench(workers: workers)
        if batch > 0 {
            _ = try bench.submit(Self.batch(batch))
            bench.run(seconds: 20.3)
        }
        let began = bench.now
        let job = try bench.submit(
            [.euler("mine", seed: 5, steps: 6, side: 128)], priority: priority, isInteractive: isInteractive)
        #expect(bench.run { bench.done(job) == 1 })
        return Double(bench.now - began) * 1e-9
    }

    @Test("an interactive picture beside a full cluster takes little longer than alone", arguments: [1, 2, 4, 8])
    func isFast(workers: Int) throws {
        let alone = try Self.latency(workers: workers, beside: 0, priority: 0, isInteractive: false)
        let interactive = try Self.latency(workers: workers, beside: 60, priority: 0, isInteractive: true)
        let preferred = try Self.latency(workers: workers, beside: 60, priority: 1, isInteractive: false)
        // Seconds on 1, 2, 4 and 8 workers alone: 6.3, 12.3, 24.3, 48.4; interactive: 7.8, 15.0, 25.5, 51.1; with a
        // higher priority, which admits it only when a batch's picture is done: 17.3, 27.2, 66.5, 141.
        #expect(interactive < 1.1 * alone + 2, "\(interactive) s, alone \(alone) s")
        #expect(preferred > 1.5 * interactive, "\(preferred) s with a higher priority alone")
    }

    @Test("while an interactive picture runs, batches have less than one step a worker under way, and lose none")
    func stepsBack() throws {
        let workers = 3
        let bench = PipelineBench(workers: workers)
        let batch = try bench.submit(Self.batch(8))
        bench.run(seconds: 12.7)
        let began = bench.now
        let mine = try bench.submit([.ralu("mine")], priority: -5, isInteractive: true)
        #expect(bench.run { bench.done(mine) == 1 })
        let steps = bench.computed.filter { $0.kind == .step }
        let ended = try #require(steps.last { $0.image.job == mine }?.ended)
        let handed = bench.handed.filter { $0.image.job == batch }
        let answered = steps.filter { $0.image.job == batch && $0.worker == "w2" }.map(\.ended)
        var fed = 0
        for (index, step) in handed.enumerated() where step.time > began && step.time < ended {
            let underWay = index + 1 - answered.count { $0 < step.time }
            #expect(underWay <= workers - 1, "\(underWay) at \(step.time)")
            fed += 1
        }
        #expect(fed > 2, "batches go on, only slower")
        #expect(bench.run { bench.done(batch) == 8 })
        let all = bench.computed.count { $0.kind == .step && $0.image.job == batch }
        #expect(all == 8 * 6 * workers, "no step was done twice")
    }

    @Test("an interactive job goes before one of higher priority, and among such the priority counts")
    func goesFirst() throws {
        let bench = Bench { $0.flightsPerWorker = 1 }
        bench.join("a")
        _ = try bench.submit([.euler("running")])
        let urgent = try bench.submit([.euler("urgent")], priority: 9)
        let low = try bench.submit([.euler("p")], isInteractive: true)
        let high = try bench.submit([.euler("q")], priority: 1, isInteractive: true)
        var order: [JobID] = []
        bench.work(until: { task in
            if task.key.need == .picture { order.append(task.key.image.job) }
            return false
        })
        #expect(order.filter { $0 != urgent && $0 != low && $0 != high }.count == 1)
        #expect(order.filter { $0 == urgent || $0 == low || $0 == high } == [low, high, urgent])
    }

    @Test("an interactive picture's encode and decode are sent, as urgent, although batches have the slots")
    func sideTasksGoFirst() throws {
        let bench = Bench { $0.flightsPerWorker = 3 }
        bench.join("a")
        let batch = try bench.submit([.euler("p"), .euler("q"), .euler("r")])
        #expect(bench.tasks.map(\.key.need) == [.encode, .encode], "the third waits for a slot")
        let mine = try bench.submit([.euler("mine", steps: 1)], isInteractive: true)
        #expect(bench.tasks.map(\.key.image.job) == [batch, batch, mine])
        #expect(bench.tasks.map(\.isUrgent) == [false, false, true])
        bench.work()

        let next = try bench.submit([.euler("p"), .euler("q"), .euler("r")])
        func answerAllButDecodes() {
            bench.work(
                { tasks in tasks.firstIndex { $0.key.need != .picture } ?? 0 }, until: { $0.key.need == .picture })
        }
        answerAllButDecodes()
        #expect(bench.tasks.map(\.key.need) == [.picture, .picture], "the third waits for a slot")
        let urgent = try bench.submit([.euler("mine", steps: 1)], isInteractive: true)
        answerAllButDecodes()
        #expect(bench.tasks.map(\.key.image.job) == [next, next, urgent])
        #expect(bench.tasks.map(\.isUrgent) == [false, false, true])
        bench.work()
        #expect(try bench.status(next).done == 3 && bench.status(urgent).done == 1)
    }

    @Test("after a job is cancelled nothing more of it is handed out, and what computes ends within one stage")
    func cancels() throws {
        let bench = PipelineBench(workers: 3)
        let job = try bench.submit(Self.batch(12))
        let other = try bench.submit(Self.batch(2))
        bench.run(seconds: 17.4)
        #expect(bench.done(other) == 0)
        let asked = bench.now
        let number = bench.ask(.cancel(job))
        #expect(bench.replies[number] == .done)
        #expect(bench.run { bench.done(other) == 2 })
        #expect(!bench.handed.contains { $0.time > asked && $0.image.job == job })
        // A message takes 1.2 ms, a stage a second.
        let message: UInt64 = 2_000_000
        let late = bench.computed.filter { $0.image.job == job && $0.ended > asked }
        let lateSteps = late.filter { $0.kind == .step }
        #expect(!lateSteps.isEmpty && lateSteps.count <= 3, "\(lateSteps.count) steps ended later")
        #expect(late.count - lateSteps.count <= 3, "side tasks: they gave way to steps")
        for task in late where task.kind != .step {
            #expect(task.began < asked + message, "\(task)")
        }
        for task in lateSteps {
            #expect(task.began < asked + message && task.ended < asked + message + 1_000_000_000, "\(task)")
        }
        #expect(bench.forgotten > 0, "steps waited at workers")
    }
}
