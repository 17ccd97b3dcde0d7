internal import CShims
internal import CZeroMQ
internal import Dispatch
internal import Glibc
internal import Plan
internal import Synchronization

/// One thread that owns sockets, fires timers and runs the jobs of actors that live on it.
///
/// An actor whose `unownedExecutor` is `loop.asUnownedSerialExecutor()` may create sockets and timers and use them
/// without a lock: messages, timers and its own methods run one after the other on this thread. Nothing that computes
/// or blocks may run here, or heartbeats stop.
///
/// Call `stop()` when done: it closes the sockets on this thread, ends the context and joins the thread. A loop that
/// is not stopped lives as long as the process.
package final class PollLoop: SerialExecutor, @unchecked Sendable {
    /// Name of the thread; 15 characters are kept.
    package let name: String

    private struct Shared {
        var jobs: [UnownedJob] = []
        var isStopping = false
        var hasEnded = false
        var isJoined = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private struct Pending {
        let timer: LoopTimer
        var deadline: ContinuousClock.Instant
        let interval: Duration?
        let body: () -> Void
    }

    private let wake: Int32
    private let shared = Guarded(Shared())
    private let owner = Atomic<UInt>(0)
    private let thread = Atomic<UInt>(0)
    /// Runs jobs that arrive after the end, so that no task waits for ever; their sockets answer that they are closed.
    private let afterlife: DispatchQueue
    private let afterlifeKey = DispatchSpecificKey<Bool>()

    /// Threads of libzmq that move the sockets' bytes.
    let ioThreads: Int

    // Touched by the owner thread only.
    let context: UnsafeMutableRawPointer
    private var sockets: [Socket] = []
    private var gate: Gate?
    private var timers: [Pending] = []
    private var lastMonitor = 0

    /// Starts the thread, and threads of libzmq beside it that move bytes.
    ///
    /// libzmq looks names up on these: one that is slow to be found stops all sockets of its thread meanwhile (seen with
    /// libzmq 4.3.4: no heartbeat for the 4 s of a lookup), so sockets with other duties belong on other ones
    /// (`SocketOptions.ioThread`).
    ///
    /// - Throws: `WireError` when the system has no descriptor or thread left.
    package init(name: String, ioThreads: Int = 1) throws(WireError) {
        guard let context = zmq_ctx_new() else { throw .last("zmq_ctx_new") }
        let wake = abz_wake_open()
        guard wake >= 0 else {
            let error = WireError.last("eventfd")
            zmq_ctx_term(context)
            throw error
        }
        zmq_ctx_set(context, ZMQ_IO_THREADS, Int32(ioThreads))
        self.name = name
        self.ioThreads = ioThreads
        self.context = context
        self.wake = wake
        afterlife = DispatchQueue(label: name)
        afterlife.setSpecific(key: afterlifeKey, value: true)

        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<PollLoop>.fromOpaque(argument).takeRetainedValue().main()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard code == 0 else {
            Unmanaged.passUnretained(self).release()
            zmq_ctx_term(context)
            Glibc.close(wake)
            throw WireError(.system(call: "pthread_create", code: code, text: String(cString: strerror(code))))
        }
        self.thread.store(UInt(thread), ordering: .releasing)
    }

    // MARK: Executor

    /// Adds a job; it runs on the loop's thread between messages.
    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let hasEnded = shared.with { shared in
            if shared.hasEnded { return true }
            shared.jobs.append(job)
            // Under the lock, so that the counter cannot be closed, and its number be another file's, in between.
            if shared.jobs.count == 1 && !isCurrent { abz_wake_signal(wake) }
            return false
        }
        if hasEnded {
            afterlife.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
        }
    }

    /// Whether the caller is on the loop's thread.
    package var isCurrent: Bool {
        owner.load(ordering: .acquiring) == UInt(pthread_self()) || DispatchQueue.getSpecific(key: afterlifeKey) == true
    }

    /// Traps when the caller is not on the loop's thread.
    package func checkIsolated() {
        promise(isCurrent, "not on the thread of \(name)")
    }

    /// Tells the runtime whether the caller is on the loop's thread.
    package func isIsolatingCurrentContext() -> Bool? { isCurrent }

    /// Runs a closure on the loop's thread and returns its result.
    package func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await Caller(loop: self).run(body)
    }

    private actor Caller {
        let loop: PollLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
        init(loop: PollLoop) { self.loop = loop }
        func run<Result: Sendable>(_ body: @Sendable () throws -> Result) throws -> Result { try body() }
    }

    // MARK: Timers

    /// Calls `body` on the loop's thread after a while, and again after each `interval` if there is one.
    ///
    /// - Precondition: the caller is on the loop's thread.
    @discardableResult
    package func schedule(after delay: Duration, every interval: Duration? = nil, _ body: @escaping () -> Void)
        -> LoopTimer
    {
        checkIsolated()
        let timer = LoopTimer()
        timers.append(Pending(timer: timer, deadline: .now + delay, interval: interval, body: body))
        return timer
    }

    // MARK: End

    /// Closes the sockets, ends the context and joins the thread; returns when all of it is done.
    ///
    /// Not to be awaited by an actor that lives on this loop.
    package func stop() async {
        await withCheckedContinuation { continuation in
            let hasEnded = shared.with { shared in
                if shared.hasEnded { return true }
                shared.isStopping = true
                shared.waiting.append(continuation)
                abz_wake_signal(wake)
                return false
            }
            if hasEnded { continuation.resume() }
        }
        let isMine = shared.with { shared in
            defer { shared.isJoined = true }
            return !shared.isJoined
        }
        // The thread is past its last statement but one: this does not wait.
        if isMine {
            pthread_join(pthread_t(thread.load(ordering: .acquiring)), nil)
            Glibc.close(wake)
        }
    }

    // MARK: The thread

    func add(_ socket: Socket) {
        checkIsolated()
        sockets.append(socket)
    }

    /// A new name for a socket's monitor; names of closed sockets stay taken for a while.
    func monitorAddress() -> String {
        lastMonitor += 1
        return "inproc://monitor-\(lastMonitor)"
    }

    /// Lets a gate answer the handshakes of all sockets that listen with keys.
    func answerHandshakes(by gate: Gate) throws(WireError) {
        if let known = self.gate {
            promise(known === gate, "a loop has one gate")
            return
        }
        _ = try ZapSocket(self, gate)
        self.gate = gate
    }

    func remove(_ socket: Socket) { sockets.removeAll { $0 === socket } }

    private func main() {
        abz_name_thread(name)
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, nil)
        owner.store(UInt(pthread_self()), ordering: .releasing)

        while runJobs() {
            fireTimers()
            for socket in sockets where socket.isOpen { socket.pump() }
            // Nothing of ours runs between this check and the wait, so no message can slip in unnoticed.
            if sockets.contains(where: \.hasInput) { continue }
            wait()
        }

        // Who answers handshakes goes last: without it libzmq would admit everybody.
        for socket in sockets where !(socket is ZapSocket) { socket.close() }
        for socket in sockets { socket.close() }
        timers = []
        zmq_ctx_term(context)
        let (late, waiting) = shared.with { shared in
            shared.hasEnded = true
            defer {
                shared.jobs = []
                shared.waiting = []
            }
            return (shared.jobs, shared.waiting)
        }
        owner.store(0, ordering: .releasing)
        for job in late { afterlife.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) } }
        for continuation in waiting { continuation.resume() }
    }

    /// Runs what is queued; false when the loop is to end.
    private func runJobs() -> Bool {
        let (jobs, isStopping) = shared.with { shared in
            defer { shared.jobs = [] }
            return (shared.jobs, shared.isStopping)
        }
        for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
        return !isStopping || !jobs.isEmpty
    }

    private func fireTimers() {
        guard !timers.isEmpty else { return }
        let now = ContinuousClock.now
        timers.removeAll { $0.timer.isCancelled }
        let due = timers.filter { $0.deadline <= now }.sorted { $0.deadline < $1.deadline }
        timers.removeAll { $0.deadline <= now }
        for var pending in due where !pending.timer.isCancelled {
            if let interval = pending.interval {
                // Late firings are not made up for.
                pending.deadline = max(pending.deadline + interval, now)
                timers.append(pending)
            } else {
                pending.timer.cancel()
            }
            pending.body()
        }
    }

    private func wait() {
        if shared.with({ !$0.jobs.isEmpty || $0.isStopping }) { return }
        var milliseconds: Int32 = -1
        if let next = timers.lazy.filter({ !$0.timer.isCancelled }).map(\.deadline).min() {
            let left = (next - .now).components
            let rounded = left.seconds * 1000 + (left.attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
            milliseconds = Int32(clamping: max(0, rounded))
        }
        // A blocked peer wakes the loop when it reads. The short wait covers a wake-up that another peer's send used up.
        if sockets.contains(where: \.isBlocked) { milliseconds = milliseconds < 0 ? 5 : min(milliseconds, 5) }

        var waiting = [pollfd(fd: wake, events: Int16(POLLIN), revents: 0)]
        for socket in sockets {
            for descriptor in socket.descriptors {
                waiting.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
            }
        }
        guard poll(&waiting, nfds_t(waiting.count), milliseconds) > 0 else { return }
        if waiting[0].revents != 0 { abz_wake_clear(wake) }
    }
}

/// Stops a scheduled call.
package final class LoopTimer {
    private(set) var isCancelled = false

    init() {}

    /// Cancels the call, or all further ones; only on the loop's thread.
    package func cancel() { isCancelled = true }
}
