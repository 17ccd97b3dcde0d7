internal import Plan

/// Counters on demand: heartbeats bring them once a second, too late for whoever asks what a job has cost.
extension CoordinatorCore {
    /// A client that waits until workers have reported.
    struct Census {
        var client: ClientTicket
        /// The job whose trace it wants; nil for the counters.
        var job: JobID?
        /// The number that a report for it carries.
        var number: UInt64
        var missing: Set<String>
        var deadline: UInt64
    }

    /// Longest wait for reports; a worker reports between two messages, whatever it computes.
    static let censusWait: UInt64 = 2_000_000_000

    mutating func count(_ client: ClientTicket, for job: JobID? = nil) {
        lastNumber += 1
        let names = members.values.filter { $0.isPresent && $0.life != .suspect }.map(\.hello.name)
        for name in names.sorted() { send(.report(lastNumber), name) }
        censuses.append(
            Census(client: client, job: job, number: lastNumber, missing: Set(names), deadline: now + Self.censusWait))
        endCensuses()
    }

    /// A worker reported, or is gone.
    mutating func counted(_ name: String, _ number: UInt64 = .max) {
        for index in censuses.indices where number >= censuses[index].number { censuses[index].missing.remove(name) }
        endCensuses()
    }

    /// Answers the clients that have waited enough.
    mutating func endCensuses() {
        for census in censuses where census.missing.isEmpty || census.deadline <= now {
            reply(census.job.map(traceReply) ?? .nodes(clusterStatus()), census.client)
        }
        censuses.removeAll { $0.missing.isEmpty || $0.deadline <= now }
    }
}
