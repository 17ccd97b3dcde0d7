package import Logging
package import Plan
package import Stages

/// Time of a monotonic clock.
package typealias Nanoseconds = UInt64

/// Who a data message comes from or goes to.
package enum Peer: Hashable, Sendable, CustomStringConvertible {
    /// The coordinator's data socket.
    case coordinator
    /// The worker with the span before.
    case upstream(String)
    /// The worker with the next span.
    case downstream(String)

    /// The name that counters and logs use.
    package var description: String {
        switch self {
        case .coordinator: "coordinator"
        case .upstream(let name), .downstream(let name): name
        }
    }
}

/// What happens to a worker.
package enum Event: Sendable {
    /// Some time passed; the shell sends this several times a second.
    case tick(Vitals)
    /// The coordinator spoke.
    case control(ControlMessage)
    /// The control connection to the coordinator stands, or has ended.
    case connection(isUp: Bool)
    /// The connection to the next worker stands, or has ended.
    case link(isUp: Bool)
    /// The coordinator's control socket will not have this worker; why, and whether the socket tries again by itself.
    case denied(String, isTriedAgain: Bool)
    /// A neighbour says how much it is ready to have received in an epoch; none from one that wants to send.
    case credit(from: Peer, epoch: Epoch, limit: Credit)
    /// The worker before sent a probe of the link, by its number.
    case probed(UInt32, epoch: Epoch, from: Peer)
    /// The next worker answered a probe.
    case echoed(UInt32, epoch: Epoch, from: Peer)
    /// A task arrived.
    case task(WorkItem, from: Peer)
    /// A task arrived that does not fit the model.
    case malformed(MalformedTask)
    /// The compute thread is done with a task after so much time, and as much that it gave to steps in between.
    case computed(TaskKey, Result<Outcome, WorkFailure>, elapsed: Nanoseconds, given: Nanoseconds = 0)
    /// The compute thread has read a share, so many bytes, or could not.
    case loaded(Share, Result<UInt64, LoadFailure>)
    /// The process should end when its work is done; the second time, now.
    case drain
    /// The process should end now.
    case stop
}

/// What the core wants done, in order.
package enum Effect: Sendable, Equatable {
    /// Send to the coordinator's control socket; a hello that still waits for the connection is not sent twice.
    case control(ControlMessage)
    /// Close the sockets to the coordinator, which may be half open, and open the control socket anew.
    case reconnect
    /// Open the data link to the coordinator.
    case openData(String)
    /// Let the worker with the span before connect, and no other; nil for none.
    case admit(Placement?)
    /// Have a link to this neighbour and no other; nothing to do if there is one.
    case openDownstream(String, endpoint: String, publicKey: String? = nil)
    /// Have no link to a neighbour.
    case closeDownstream
    /// Tell a peer how much it may have sent in an epoch.
    case credit(to: Peer, epoch: Epoch, limit: Credit)
    /// Send an answer.
    case answer(Answer, to: Peer)
    /// Read a share's weights on the compute thread; a `loaded` event follows.
    case load(Share)
    /// Forget the weights.
    case drop
    /// Compute on the compute thread; a `computed` event follows.
    case compute(WorkItem)
    /// End a side task between two layers, if the compute thread has it in hand; its answer is a failure then.
    case abandon(TaskKey)
    /// Write a line.
    case log(Logger.Level, String)
    /// Send a probe of so many bytes to the next worker.
    case probe(UInt32, bytes: Int, epoch: Epoch)
    /// Answer a probe of the worker before.
    case echo(UInt32, epoch: Epoch)
    /// The end.
    case exit(WorkerCore.Ending)
}

/// What the shell measures for heartbeats.
package struct Vitals: Equatable, Sendable {
    /// Resident memory, bytes.
    package var residentBytes: UInt64
    /// Block in hand.
    package var block: Int?
    /// Nanoseconds spent on the task in hand so far.
    package var computing: Nanoseconds
    /// Counters of the links.
    package var links: [LinkCounters]
    /// Connections refused for want of the right key, by reason; nil without keys.
    package var authFailures: [String: UInt64]?

    /// Joins the fields.
    package init(
        residentBytes: UInt64 = 0, block: Int? = nil, computing: Nanoseconds = 0, links: [LinkCounters] = [],
        authFailures: [String: UInt64]? = nil
    ) {
        self.residentBytes = residentBytes
        self.block = block
        self.computing = computing
        self.links = links
        self.authFailures = authFailures
    }
}

/// A message that asks for something but does not fit the model.
package struct MalformedTask: Equatable, Sendable {
    /// The task, as the header names it; nil when it names no picture.
    package var task: TaskID?
    /// The epoch it was for.
    package var epoch: Epoch
    /// Whether it took of the sender's credit.
    package var isStep: Bool
    /// Bytes of hidden states in it.
    package var bytes: Int
    /// One line with who sent what, and what was needed.
    package var text: String

    /// Joins the fields.
    package init(task: TaskID?, epoch: Epoch, isStep: Bool, bytes: Int, text: String) {
        self.task = task
        self.epoch = epoch
        self.isStep = isStep
        self.bytes = bytes
        self.text = text
    }
}

/// Why a task could not be computed.
package struct WorkFailure: Error, Equatable, Sendable {
    /// One line.
    package var text: String

    /// Wraps the line.
    package init(text: String) { self.text = text }
}

/// Why a share could not be read.
package struct LoadFailure: Error, Equatable, Sendable {
    /// One line with what, where and the next step.
    package var text: String

    /// Wraps the line.
    package init(text: String) { self.text = text }
}

/// A small generator for jitter; the seed is the worker's boot id, so that workers spread out and tests repeat.
struct SplitMix64: Sendable {
    var state: UInt64

    /// Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 16.
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
