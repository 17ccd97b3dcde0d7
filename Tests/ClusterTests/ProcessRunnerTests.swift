internal import Glibc
internal import TestKit
internal import Testing

@Suite("The process runner", .timeLimit(.minutes(10)))
struct ProcessRunnerTests {
    private let shell = "/bin/sh"

    @Test("captures both streams and the exit code")
    func captures() async throws {
        try await withProcesses { processes in
            let process = try await processes.start(
                ["-c", "echo out; echo err >&2; echo $WORD; exit 3"], executable: shell, environment: ["WORD": "kept"])
            let outcome = try await process.outcome()
            #expect(outcome.status == .exited(3))
            #expect(outcome.output == "out\nkept\n")
            #expect(outcome.errorLines == ["err"])
        }
    }

    @Test("takes a line as an event, then kills")
    func lineThenKill() async throws {
        try await withProcesses { processes in
            let process = try await processes.start(["-c", "echo ready 17; exec sleep 60"], executable: shell)
            let line = try await process.line(containing: "ready")
            #expect(line == "ready 17")
            await process.send(SIGKILL)
            let outcome = try await process.outcome()
            #expect(outcome.status == .signaled(SIGKILL))
        }
    }

    @Test("says so when a process ends before the line, and when time runs out")
    func endsEarly() async throws {
        try await withProcesses { processes in
            let short = try await processes.start(["-c", "echo other"], executable: shell)
            await #expect(throws: ProcessFailure.self) { try await short.line(containing: "ready") }
            let long = try await processes.start(["-c", "exec sleep 60"], executable: shell)
            await #expect(throws: ProcessFailure.self) {
                try await long.line(containing: "ready", within: .milliseconds(50))
            }
            await #expect(throws: ProcessFailure.self) { try await long.outcome(within: .milliseconds(50)) }
            let pid = await long.pid
            #expect(pid == nil)
        }
    }
}
