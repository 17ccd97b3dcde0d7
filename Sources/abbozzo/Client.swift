internal import Foundation
internal import Plan
internal import Wire

/// The coordinator as verbs ask it: typed answers, failures as errors.
struct Client: Sendable {
    let connection: ClientConnection
    /// Longest wait for one answer.
    let patience: Duration

    /// Sends one request; a refusal is thrown as `ClientFailure`.
    func ask(_ request: ClientRequest, within limit: Duration? = nil) async throws -> ClientReply {
        let reply = try await connection.request(request, timeout: limit ?? patience)
        if case .failure(let failure) = reply { throw failure }
        return reply
    }

    /// All jobs, newest first.
    func jobs(limit: Int) async throws -> [JobStatus] { try await list(.jobs(limit: limit)) }

    /// Jobs with pictures left: those that are being drawn, then the others in their order.
    func unfinished(limit: Int) async throws -> [JobStatus] { try await list(.unfinished(limit: limit)) }

    private func list(_ request: ClientRequest) async throws -> [JobStatus] {
        guard case .jobs(let jobs) = try await ask(request) else { throw oddAnswer("a list of jobs") }
        return jobs
    }

    /// One job.
    func job(_ id: JobID) async throws -> JobStatus {
        guard case .job(let job) = try await ask(.job(id)) else { throw oddAnswer("job") }
        return job
    }

    /// The job as soon as it differs from `version`, or after a second.
    func watch(_ id: JobID, version: UInt64) async throws -> JobStatus {
        guard case .job(let job) = try await ask(.watch(id, version: version), within: patience + .seconds(1)) else {
            throw oddAnswer("watch")
        }
        return job
    }

    /// The cluster.
    func nodes() async throws -> ClusterStatus {
        guard case .nodes(let cluster) = try await ask(.nodes) else { throw oddAnswer("nodes") }
        return cluster
    }

    /// The cluster, with counters that include everything that was done before the question.
    func countedNodes() async throws -> ClusterStatus {
        guard case .nodes(let cluster) = try await ask(.countedNodes, within: patience + .seconds(3)) else {
            throw oddAnswer("countedNodes")
        }
        return cluster
    }

    /// What became of a job's pictures, up to now.
    func trace(_ id: JobID) async throws -> JobTrace {
        guard case .trace(let trace) = try await ask(.trace(id), within: patience + .seconds(3)) else {
            throw oddAnswer("trace")
        }
        return trace
    }

    /// Facts of the served model; nil until a worker has joined.
    func model() async throws -> ModelFacts? {
        guard case .model(let facts) = try await ask(.model) else { throw oddAnswer("model") }
        return facts
    }

    /// The same as soon as a worker has joined; nil after a second without one.
    func awaitedModel() async throws -> ModelFacts? {
        guard case .model(let facts) = try await ask(.awaitModel, within: patience + .seconds(1)) else {
            throw oddAnswer("awaitModel")
        }
        return facts
    }

    /// A request whose answer is only that it is done.
    func order(_ request: ClientRequest) async throws {
        guard case .done = try await ask(request) else { throw oddAnswer("an order") }
    }

    /// Takes some of the jobs that were finished so long ago off the queue; returns how many, and whether that was all.
    func removeFinished(secondsAgo: Double) async throws -> (jobs: Int, isAll: Bool) {
        guard case .removed(let jobs, let isAll) = try await ask(.removeFinished(secondsAgo: secondsAgo)) else {
            throw oddAnswer("removeFinished")
        }
        return (jobs, isAll)
    }

    /// The finished job that a text names.
    ///
    /// - Throws: `ClientFailure` where there is none, or it has pictures left.
    func resolveFinished(_ text: String) async throws -> JobID {
        let id = try await resolve(text)
        let found = try await list(.jobsBeginning(with: id.description))
        guard let job = found.first else { return try Self.only([], for: text) }
        guard job.isFinal else {
            throw ClientFailure(
                .invalid,
                "job \(id) has pictures left; cancel it first (abbozzo jobs cancel \(id.description.prefix(12)))")
        }
        return id
    }

    /// The job that a text names: a whole id, or the beginning of exactly one.
    func resolve(_ text: String) async throws -> JobID {
        let digits = text.lowercased()
        if let id = JobID(digits) { return id }
        guard JobID.isBeginning(digits) else { return try Self.only([], for: text) }
        return try Self.only(try await list(.jobsBeginning(with: digits)).map(\.id), for: text)
    }

    /// The only one of the jobs that a text may mean.
    ///
    /// - Throws: `ClientFailure` where there is none, or there are several, of which it names some.
    static func only(_ matches: [JobID], for text: String) throws -> JobID {
        guard let first = matches.first else {
            throw ClientFailure(.unknown, "no job \(shortened(text, to: 40)); list them with abbozzo jobs ls")
        }
        guard matches.count > 1 else { return first }
        let count = matches.count < ClientRequest.mostMatches ? "\(matches.count)" : "\(matches.count) and more"
        let some = matches.prefix(3).map(\.description).joined(separator: ", ")
        throw ClientFailure(
            .unknown,
            "\(count) jobs begin with \(text): \(some)\(matches.count > 3 ? ", …" : ""); write more of the id")
    }

    private func oddAnswer(_ request: String) -> ClientFailure {
        ClientFailure(
            .unavailable, "the coordinator's answer to \(request) is of another kind; do both have the same version?")
    }
}
