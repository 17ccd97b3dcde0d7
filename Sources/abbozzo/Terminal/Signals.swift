internal import Dispatch
internal import Foundation

/// SIGINT and SIGTERM as a sequence; while it is alive they no longer end the process.
struct StopSignals {
    /// Each signal as it comes.
    let stream: AsyncStream<Int32>
    private let sources: [any DispatchSourceSignal]

    /// Starts to listen.
    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(8))
        self.stream = stream
        let queue = DispatchQueue(label: "signals")
        sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

    /// Calls `drain` at the first signal and `stop` at each further one, until the task is cancelled.
    func attend(drain: () async -> Void, stop: () async -> Void) async {
        var isFirst = true
        for await _ in stream {
            if isFirst { await drain() } else { await stop() }
            isFirst = false
        }
    }
}
