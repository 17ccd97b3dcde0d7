internal import Dispatch
internal import Glibc

/// Decides who may connect to the sockets of a process, and for how long.
///
/// A coordinator's gate follows its folder of authorised keys: it reads the folder again whenever that changed, at each
/// handshake with a key that it does not know and each `refresh()`. A worker's gate is opened by its plans. Safe from any thread.
package final class Gate: Sendable {
    /// Why a connection or a message was refused; the label of a counter.
    package enum Refusal: String, CaseIterable, Sendable {
        /// It spoke without a key.
        case noKey = "no_key"
        /// Nobody authorised the key.
        case unknownKey = "unknown_key"
        /// The key was authorised once.
        case revoked
        /// The key is not the neighbour's in the plan that this worker works for.
        case notInPlan = "not_in_plan"
        /// The key is for another kind of socket.
        case wrongRole = "wrong_role"
        /// The routing id is another's name.
        case wrongName = "wrong_name"
        /// It does not know this side's key, or broke the protocol.
        case badHandshake = "bad_handshake"
        /// It went away or fell silent before the handshake was done.
        case halfHandshake = "half_handshake"
    }

    /// Who spoke over a connection, as the handshake found it.
    struct Session: Equatable, Sendable {
        let name: String
        let key: String
    }

    private struct Grant: Equatable {
        var name: String
        var role: KeyRole
    }

    /// Somebody whose key was authorised and is not any more.
    package struct Revocation: Hashable, Sendable {
        /// Name of the key.
        package let name: String
        /// What it was for.
        package let role: KeyRole
    }

    /// Refusals of one kind since the last report.
    package struct News: Equatable, Sendable, CustomStringConvertible {
        /// Why.
        package let refusal: Refusal
        /// How many.
        package let count: UInt64
        /// The last of them, as far as it is known: a name or an address.
        package let last: String

        /// One line without secrets.
        package var description: String {
            "\(count) x \(refusal.rawValue)" + (last.isEmpty ? "" : ", the last was \(last)")
        }
    }

    /// When the folder changed last, as far as it was read.
    private struct Stamp: Equatable {
        var seconds = -1
        var nanoseconds = -1
        /// Long enough ago that another change would have another time.
        var isSettled = false
    }

    private struct State {
        var grants: [String: Grant] = [:]
        var keys: [String: String] = [:]
        var stamp = Stamp()
        var revokedKeys: Set<String> = []
        var revocations: Set<Revocation> = []
        var skipped: [String] = []
        /// What was found and not returned by `refresh` yet.
        var unsaid: [String] = []
        /// When it was last said that something cannot be read; nil while all can.
        var troubleSaid: Int?
        var failures = Dictionary(uniqueKeysWithValues: Refusal.allCases.map { ($0, UInt64(0)) })
        var reported: [Refusal: UInt64] = [:]
        var last: [Refusal: String] = [:]

        /// Takes over a new set and notes who is no longer in it.
        mutating func set(_ new: [(String, Grant)]) {
            let old = grants
            grants = Dictionary(new, uniquingKeysWith: { first, _ in first })
            keys = Dictionary(grants.map { ($0.value.name, $0.key) }, uniquingKeysWith: { first, _ in first })
            for (key, grant) in old where grants[key] != grant {
                revokedKeys.insert(key)
                revocations.insert(Revocation(name: grant.name, role: grant.role))
            }
            revokedKeys.subtract(grants.keys)
        }
    }

    /// Reads who is authorised.
    typealias Reader = @Sendable () throws(KeyError) -> KeyFolder.Listing

    private let folder: KeyFolder?
    private let read: Reader
    private let reader = DispatchQueue(label: "keys")
    private let waiting = Guarded<[@Sendable () -> Void]>([])
    private let state = Guarded(State())

    /// Admits nobody until it is opened.
    package init() {
        folder = nil
        read = { () throws(KeyError) in KeyFolder.Listing() }
    }

    /// Admits whom the folder authorises.
    package convenience init(folder: KeyFolder) {
        self.init(folder: folder) { () throws(KeyError) in try folder.grants() }
    }

    /// Admits whom `read` names when the folder has changed.
    init(folder: KeyFolder, read: @escaping Reader) {
        self.folder = folder
        self.read = read
        look()
    }

    /// Keys that may connect.
    package var count: Int { state.with { $0.grants.count } }

    /// Who may connect, for the log's first lines.
    var summary: String { folder.map { "; \(count) may connect, see \($0.authorised)" } ?? "" }

    /// The key under which a name may connect.
    package func key(of name: String) -> String? { state.with { $0.keys[name] } }

    /// Refusals so far by the label of their reason.
    package var failures: [String: UInt64] {
        state.with { state in
            Dictionary(uniqueKeysWithValues: state.failures.map { ($0.key.rawValue, $0.value) })
        }
    }

    /// Counts a refusal.
    ///
    /// Anybody who reaches the socket may cause one: nothing of what the peer wrote may be passed here.
    func note(_ refusal: Refusal, _ last: String = "") {
        state.with { state in
            state.failures[refusal, default: 0] &+= 1
            state.last[refusal] = last
        }
    }

    /// What was refused since the last call, so that a flood of refusals is a line of the log and not a flood.
    package func takeNews() -> [News] {
        state.with { state in
            defer { state.reported = state.failures }
            return Refusal.allCases.compactMap { refusal in
                let count = (state.failures[refusal] ?? 0) &- (state.reported[refusal] ?? 0)
                return count == 0 ? nil : News(refusal: refusal, count: count, last: state.last[refusal] ?? "")
            }
        }
    }

    /// Admits these workers and nobody else.
    package func open(to keys: [(name: String, key: String)]) {
        let grants = keys.map { ($0.key, Grant(name: $0.name, role: .worker)) }
        state.with { state in
            state.set(grants)
            // Who is no neighbour any more may be one again: nobody asks for those.
            (state.revokedKeys, state.revocations) = ([], [])
        }
    }

    /// Reads the folder again if it changed, or anyway; returns what it and others before it have skipped and not skipped
    /// before, one line each.
    @discardableResult
    package func refresh(anyway: Bool = false) -> [String] {
        reader.sync { look(anyway: anyway) }
        return state.with { state in
            defer { state.unsaid = [] }
            return state.unsaid
        }
    }

    /// Reads the folder on a thread of its own, which its disk may keep for long, and says when that is done; once for all who
    /// ask before it begins.
    func lookSoon(_ done: @escaping @Sendable () -> Void) {
        let isFirst = waiting.with { waiting in
            waiting.append(done)
            return waiting.count == 1
        }
        guard isFirst else { return }
        reader.async {
            let waiting = self.waiting.with { waiting in
                defer { waiting = [] }
                return waiting
            }
            self.look()
            for done in waiting { done() }
        }
    }

    /// Reads the folder again if it changed, or anyway.
    ///
    /// A file that was overwritten in place does not change the folder, and is noticed by reading anyway. Whose file the system
    /// cannot read now may connect as before as long as the file is there.
    private func look(anyway: Bool = false) {
        guard let folder else { return }
        var info = stat()
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        // A folder that cannot be read authorises nobody.
        var stamp = Stamp()
        if stat(folder.authorised, &info) == 0 {
            stamp = Stamp(seconds: info.st_mtim.tv_sec, nanoseconds: info.st_mtim.tv_nsec)
            // Times of files advance in steps of some milliseconds.
            stamp.isSettled = abs(now.tv_sec - info.st_mtim.tv_sec) > 1
        }
        guard state.with({ anyway || !$0.stamp.isSettled || $0.stamp != stamp }) else { return }
        var listing = KeyFolder.Listing()
        var trouble: [KeyError] = []
        var isFolderRead = true
        do throws(KeyError) {
            listing = try read()
            trouble = listing.unread.sorted { $0.key < $1.key }.map(\.value)
        } catch {
            trouble = [error]
            isFolderRead = false
        }
        let before = trouble.isEmpty ? [:] : state.with { $0.grants }
        let kept = before.filter { _, grant in
            (!isFolderRead || listing.unread[grant.name] != nil) && folder.isAuthorised(grant.name)
        }
        let lines = listing.skipped.map(\.description)
        state.with { state in
            state.set(listing.valid.map { ($0.key, Grant(name: $0.name, role: $0.role)) } + Array(kept))
            var news = lines.filter { !state.skipped.contains($0) }
            if isFolderRead { state.skipped = lines }
            if trouble.isEmpty {
                state.stamp = stamp
                state.troubleSaid = nil
            } else if state.troubleSaid.map({ now.tv_sec - $0 >= Self.troubleRepeats }) ?? true {
                state.troubleSaid = now.tv_sec
                news += trouble.map { "\($0); who is known by it may connect as before, and it is read again" }
            }
            state.unsaid += news
        }
    }

    /// Seconds after which it is said again that something cannot be read.
    private static let troubleRepeats = 60

    /// Whose key was taken back since the last call.
    package func takeRevoked() -> Set<Revocation> {
        state.with { state in
            defer { state.revocations = [] }
            return state.revocations
        }
    }

    /// Whether a key may connect: the name of the key, or why not.
    func verdict(_ key: String, _ domain: KeyDomain) -> Result<String, Refused> {
        state.with { state in
            guard let grant = state.grants[key] else {
                let why: Refusal =
                    domain == .link ? .notInPlan : state.revokedKeys.contains(key) ? .revoked : .unknownKey
                return .failure(Refused(why: why))
            }
            return grant.role == domain.role ? .success(grant.name) : .failure(Refused(why: .wrongRole))
        }
    }

    /// Whether a session of an earlier handshake may go on.
    func refusal(of session: Session?, in domain: KeyDomain) -> Refusal? {
        guard let session else { return .noKey }
        switch verdict(session.key, domain) {
        case .success(let name): return name == session.name ? nil : .revoked
        case .failure: return domain == .link ? .notInPlan : .revoked
        }
    }

    /// A verdict against a key.
    struct Refused: Error { let why: Refusal }
}
