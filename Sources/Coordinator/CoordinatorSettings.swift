package import Plan

/// What the coordinator's core may be told; times are in nanoseconds of the clock that `handle` is given.
package struct CoordinatorSettings: Equatable, Sendable {
    /// Absolute folder of all pictures; each job has a folder below it.
    package var outputFolder: String
    /// Workers to wait for before the first plan.
    package var minimumWorkers = 1
    /// How the layers are cut.
    package var cut = CutRule.measured
    /// Pipelines beside each other.
    package var replicas = ReplicaRule.count(1)
    /// The link between workers on different machines.
    package var network = LinkSpeed.gigabit
    /// How hidden states travel between workers, or that the planner says so.
    package var wire = WireRule.format(.f32)
    /// The format in which pictures of the queue were begun, if any were.
    package var begunWire: WireFormat?
    /// Pictures in flight for each worker with blocks, besides those that are being decoded.
    ///
    /// Two hide the hops; more costs memory: one activation each. A pipeline has 64 at most.
    package var flightsPerWorker = 2
    /// Time between a worker's heartbeats.
    package var heartbeat: UInt64 = 1_000_000_000
    /// Time between ticks.
    package var tick: UInt64 = 200_000_000
    /// Silence after which a worker gets no new plan: three missed heartbeats.
    package var suspectAfter: UInt64 = 3_500_000_000
    /// Silence of a worker within which it is given up.
    package var lostAfter: UInt64 = 10_000_000_000
    /// Time a worker has to come back after its connection broke.
    package var disconnectGrace: UInt64 = 2_000_000_000
    /// Time to wait for more workers after one joined, so that a cluster that starts up is planned once.
    package var settle: UInt64 = 400_000_000
    /// Time without progress in one block after which a worker is given up as stuck, if five times the block's predicted
    /// time is not longer.
    ///
    /// Five times that for a worker that has shown no speed yet, ten times for tasks that have no blocks, if five times what
    /// the worker's benchmark says of them is not longer.
    package var stuckAfter: UInt64 = 30_000_000_000
    /// Time after which work that every worker denies having is sent again.
    package var resendAfter: UInt64 = 60_000_000_000
    /// Tries of one task after faults that another try may mend.
    package var tries = 3
    /// Times that a task of a picture may be sent and workers be lost with it in hand before the picture is set aside; two more
    /// where it was one worker of several each time, which may be a bad node.
    package var deathsToSetAside = 2
    /// Most pictures of one job.
    package var maxImagesPerJob = 100_000
    /// Most pictures waiting.
    package var maxQueued = 200_000
    /// Most unfinished jobs; each costs a few hundred bytes here besides its pictures.
    package var maxJobs = 50_000
    /// Most bytes of the requests of unfinished jobs, which are kept in memory.
    package var maxQueuedBytes = 256 << 20
    /// Longest wait of `watch` and of `awaitModel`.
    package var watchWait: UInt64 = 1_000_000_000
    /// Endpoint of the data socket, told to workers.
    package var dataEndpoint: String
    /// Version and build of the program, as workers tell theirs; empty where nobody says.
    package var build = ""
    /// Seconds since 1970 when the clock showed zero, at the start; `Event.clockSet` says otherwise later.
    package var wallAtZero: Double

    /// The defaults of an ordinary network.
    package init(outputFolder: String, dataEndpoint: String = "", wallAtZero: Double = 0) {
        self.outputFolder = outputFolder
        self.dataEndpoint = dataEndpoint
        self.wallAtZero = wallAtZero
    }

    /// Expects the regularity of a wired local network: three missed heartbeats within a second make a worker suspect,
    /// three seconds of silence lost.
    package mutating func expectLocalNetwork() {
        heartbeat = 300_000_000
        suspectAfter = 1_000_000_000
        lostAfter = 3_000_000_000
        disconnectGrace = 1_000_000_000
    }

    /// Gives a silent worker up after so many seconds, at least two, and suspects it before.
    ///
    /// A longer patience is one with processes: the kernel ends connections over a network that is away for 12 s, and a broken
    /// connection has its own, shorter grace.
    package mutating func giveUp(afterSeconds seconds: Double) {
        lostAfter = UInt64(max(2, seconds) * 1e9)
        suspectAfter = min(suspectAfter, lostAfter * 2 / 3)
        disconnectGrace = min(disconnectGrace, lostAfter / 3)
    }
}
