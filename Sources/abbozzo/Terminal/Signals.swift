internal import Dispatch
internal import Foundation

/// SIGINT and SIGTERM, and SIGHUP for who wants it, as a sequence; while it is alive they no longer end the process.
struct StopSignals {
    /// Each signal as it comes.
    let stream: AsyncStream<Int32>
    private let sources: [any DispatchSourceSignal]

    /// Starts to listen.
    init(alsoHangUp: Bool = false) {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(8))
        self.stream = stream
        let queue = DispatchQueue(label: "signals")
        sources = ([SIGINT, SIGTERM] + (alsoHangUp ? [SIGHUP] : [])).map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

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
