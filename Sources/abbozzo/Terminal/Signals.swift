internal import Dispatch
internal import Foundation
internal import Synchronization

/// SIGINT and SIGTERM, and SIGHUP for who wants it, as a sequence.
///
/// Until `handOver` the first one that asks the process to stop ends it: a start that measures a machine or opens a large
/// queue takes minutes, in which there is nobody yet to stop as one should, and nothing yet to be lost. After it the third one
/// does: who stops may wait for a disk that does not answer.
struct StopSignals {
    /// Each signal as it comes.
    let stream: AsyncStream<Int32>
    private let sources: [any DispatchSourceSignal]
    private let isHandedOver: Flag
    private static let patience = 2

    /// Starts to listen.
    init(alsoHangUp: Bool = false) {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(8))
        self.stream = stream
        let isHandedOver = Flag()
        self.isHandedOver = isHandedOver
        let queue = DispatchQueue(label: "signals")
        let asked = Counter()
        sources = ([SIGINT, SIGTERM] + (alsoHangUp ? [SIGHUP] : [])).map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler {
                if number != SIGHUP {
                    guard isHandedOver.value.load(ordering: .relaxed) else { end(by: number) }
                    if asked.value.wrappingAdd(1, ordering: .relaxed).oldValue >= Self.patience { end(by: number) }
                }
                continuation.yield(number)
            }
            source.resume()
            return source
        }
    }

    /// From now on there is a service that stops by itself: signals go to who attends, and wait for that.
    func handOver() { isHandedOver.value.store(true, ordering: .relaxed) }

    /// Calls `drain` at the first signal and `stop` at each further one, until the task is cancelled; `hangUp` at SIGHUP.
    func attend(
        drain: () async -> Void, stop: () async -> Void, hangUp: () async -> Void = {}
    ) async {
        var isFirst = true
        for await signal in stream {
            if signal == SIGHUP {
                await hangUp()
                continue
            }
            if isFirst { await drain() } else { await stop() }
            isFirst = false
        }
    }
}

private final class Counter: Sendable {
    let value = Atomic(0)
}

private final class Flag: Sendable {
    let value = Atomic(false)
}

/// Ends the process as the signal would have.
func end(by number: Int32) -> Never {
    signal(number, SIG_DFL)
    kill(getpid(), number)
    // The first process of a container is not ended by a signal's default; the code is that of shells.
    _exit(128 + number)
}

/// Lets a daemon open as many files as the administrator allows: strangers at the door take one each.
func allowManyFiles() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

/// Lets a daemon that crashes end at once, so that its supervisor starts it again and its peers see it go.
///
/// The runtime's backtracer would hold the process: it waits for each thread to answer its signal, which libzmq's threads
/// block, and was seen to stay for minutes afterwards. It stays on for who sets `SWIFT_BACKTRACE`.
func endAtOnceOnCrash() {
    guard ProcessInfo.processInfo.environment["SWIFT_BACKTRACE"] == nil else { return }
    for number in [SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] { signal(number, SIG_DFL) }
}
