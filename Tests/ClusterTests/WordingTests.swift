internal import ArgumentParser
internal import Plan
internal import Testing
internal import Wire

@testable internal import abbozzo

/// What verbs say is what has happened.
@Suite("What verbs say")
struct WordingTests {
    private func job(_ done: Int, failed: Int = 0, cancelled: Int = 0) -> JobStatus {
        JobStatus(
            id: JobID(high: 1, low: 2), version: 1, submitted: 0, finished: nil, folder: "/out", images: [], total: 8,
            done: done, failed: failed, cancelled: cancelled, waiting: nil, tokenSteps: 0)
    }

    @Test("nodes ls tells what draws nothing, who was refused, and builds that differ")
    func bystanders() {
        var status = NarrowTests.status
        status.build = "test"
        #expect(status.idleLines.isEmpty && status.refusedLines.isEmpty && status.buildsLine == nil)
        status.workers[1].placement = nil
        status.workers[1].idle = WorkerStatus.Idle(.loadFailure, "it cannot load its share: no file")
        #expect(status.idleLines == ["node1 draws nothing: it cannot load its share: no file"])
        #expect(status.workers.map(\.stateText) == ["ready", "cannot load", "ready"])
        var refused = RefusedWorker(name: "x", code: .kernelClass, text: "give all one --compute", times: 1)
        refused.secondsAgo = 125
        status.refused = [refused]
        #expect(status.refusedLines == ["refused x 2 min 05 s ago: give all one --compute"])
        status.refused?[0].times = 12
        #expect(status.refusedLines == ["refused x 2 min 05 s ago, 12 times: give all one --compute"])
        status.workers[2].hello.build = "older"
        #expect(status.buildsLine == "builds differ: older on node2; test on the coordinator, node0, node1")
        status.workers[2].life = .lost
        #expect(status.buildsLine == nil)
        #expect([0, 0.0135, 0.25].map(rateText) == ["0.00", "0.0135", "0.25"])
        #expect(["/a/b-c.pub", "a b", "it's", ""].map(shellQuoted) == ["/a/b-c.pub", "'a b'", "'it'\\''s'", "''"])
    }

    @Test("a drain says whether the worker still works, has nothing, or is off, and an undrain whether it is there")
    func drains() {
        var status = NarrowTests.status
        #expect(status.drainText("node1") == "node1 is draining")
        #expect(status.undrainText("node1") == "node1 may take part again")
        status.workers[1].placement = nil
        #expect(status.drainText("node1") == "node1 is drained")
        status.workers[1].life = .lost
        for name in ["node1", "node9"] {
            #expect(status.drainText(name) == "\(name) is off; it stays out when it comes back")
            #expect(status.undrainText(name) == "\(name) is off; it takes part when it comes back")
        }
        #expect(status.workers.map(\.stateText) == ["ready", "lost", "ready"])
        status.workers[1].isDrained = true
        #expect(status.workers[1].stateText == "drained, off")
        status.workers[1].life = .draining
        #expect(status.workers[1].stateText == "drained", "it has no layers left")
    }

    @Test("a cancel and a retry that found nothing to do say so")
    func nothingToDo() {
        let cut = job(3, cancelled: 5)
        #expect(cut.cancelText(before: job(3)) == "cancelled job \(cut.id): 3 of 8 pictures done")
        #expect(cut.cancelText(before: cut) == "nothing left to cancel: job \(cut.id), cancelled, 3 of 8 pictures done")
        let over = job(8)
        #expect(over.cancelText(before: job(7)) == "nothing left to cancel: job \(cut.id), done, 8 of 8 pictures done")
        #expect(job(3).retryText(before: cut) == "queued again: job \(cut.id), 5 pictures to go")
        for state in [over, job(3)] {
            let text = state.retryText(before: state)
            #expect(text == "nothing to try again: of job \(cut.id) no picture has failed or was cancelled")
        }
    }

    @Test(
        "an age is a whole number with a unit",
        arguments: [("45s", 45.0), ("30m", 1800), ("12h", 43200), ("90d", 7_776_000)])
    func ages(text: String, seconds: Double) throws {
        #expect(try Age(text: text).seconds == seconds)
    }

    @Test("what is no age is refused", arguments: ["", "d", "90", "-1d", "1.5h", "90 d", "9w", "99999999999d"])
    func noAges(text: String) {
        #expect(throws: ValidationError.self) { try Age(text: text) }
    }

    @Test("the beginning of an id that several jobs have names some of them")
    func ambiguous() throws {
        let ids = (0..<12).map { JobID(high: 0xabcd_ef01_2345_6789, low: $0) }
        #expect(try Client.only([ids[3]], for: "abcd") == ids[3])
        func failure(_ count: Int) -> String? {
            let error = #expect(throws: ClientFailure.self) { try Client.only(Array(ids.prefix(count)), for: "abcd") }
            return error?.text
        }
        #expect(failure(0) == "no job abcd; list them with abbozzo jobs ls")
        #expect(failure(2) == "2 jobs begin with abcd: \(ids[0]), \(ids[1]); write more of the id")
        let many = failure(10)
        #expect(many?.hasPrefix("10 and more jobs begin with abcd: \(ids[0]), \(ids[1]), \(ids[2]), …;") == true)
    }

    /// The lines of a batch of two pictures, the cluster before and after which is as `change` leaves it.
    private func summary(
        isDuplicate: Bool = false, _ change: (inout ClusterStatus, inout ClusterStatus) -> Void = { _, _ in }
    ) -> [String] {
        var before = NarrowTests.status
        (before.queued, before.inFlight, before.imagesDone) = (0, 0, 5)
        before.plan = ClusterPlan(epoch: 1, placements: [], blockCount: 57)
        var after = before
        (after.uptime, after.imagesDone) = (before.uptime + 10, 7)
        var link = LinkCounters(source: "node0", target: "node1")
        (link.activationBytes, link.totalBytes) = (1000, 1100)
        after.workers[0].counters.links = [link]
        change(&before, &after)
        let request = ImageRequest(
            prompt: "p", seed: 1, width: 64, height: 64, guidance: 3.5, textLength: 8, sampler: .euler(steps: 2))
        let job = JobStatus(
            id: JobID(high: 1, low: 2), version: 1, submitted: 0, finished: 10, folder: "/out", images: [], total: 2,
            done: 2, failed: 0, cancelled: 0, waiting: nil, tokenSteps: 64)
        return BatchSummary(
            requests: [request, request], facts: before.workers[0].hello.model, status: job, isDuplicate: isDuplicate,
            before: before, after: after
        ).lines
    }

    @Test("a summary says so where other jobs had work at the same time, and compares no link with its formula then")
    func others() {
        let note = "other jobs ran meanwhile: links and nodes count theirs, too"
        func link(_ lines: [String]) -> String? { lines.first { $0.hasPrefix("  node0 -> node1") } }
        let alone = summary()
        #expect(!alone.contains(note) && link(alone)?.contains(" %") == true)
        #expect(alone.contains { $0.hasPrefix("pictures      2 in 10.0 s from submission on, 720 an hour") })
        let shared = [
            summary { before, _ in before.queued = 3 }, summary { before, _ in before.inFlight = 1 },
            summary { _, after in after.queued = 3 }, summary { _, after in after.inFlight = 1 },
            summary { _, after in after.imagesDone = 8 },
            // The coordinator started again and has drawn three since.
            summary { before, after in (before.uptime, after.uptime, after.imagesDone) = (500, 9, 3) },
        ]
        for lines in shared {
            #expect(lines.contains(note))
            #expect(link(lines)?.contains(" for this batch; all bytes") == true && link(lines)?.contains(" %") == false)
        }
        // What is in flight before is the batch itself.
        #expect(!summary(isDuplicate: true) { before, _ in before.inFlight = 1 }.contains(note))
    }

    @Test("the live table keeps the last answer while the coordinator is away, and says for how long")
    func silence() async throws {
        let now = ContinuousClock.now
        var table = LiveTable(NarrowTests.status, at: now)
        let frame = NarrowTests.status.frame(within: 80)
        #expect(table.lines(within: 80, at: now + .seconds(9)) == frame)
        try table.renew { throw WireError(.lost(endpoint: "tcp://h:1")) }
        let lost = "the connection to tcp://h:1 was lost before the answer"
        #expect(table.lines(within: 80, at: now + .seconds(9)) == ["no answer for 9 s: \(lost)"] + frame)
        try table.renew { throw WireError(.unreachable(endpoint: "tcp://h:1", seconds: 5)) }
        let first = table.lines(within: 80, at: now + .seconds(75)).first
        #expect(first?.hasPrefix("no answer for 1 min 15 s: nobody answers at tcp://h:1") == true)
        var later = NarrowTests.status
        later.queued = 3
        let answer = later
        try table.renew { answer }
        #expect(table.lines(within: 80) == later.frame(within: 80))
        do {
            try table.renew { throw WireError(.closed) }
            Issue.record("there is nothing to wait for")
        } catch {
            #expect(error as? WireError == WireError(.closed))
        }
    }
}
