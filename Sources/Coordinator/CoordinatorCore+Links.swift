internal import Logging
internal import Plan

/// Links between workers, which the coordinator knows from what workers say of them, and their data links to itself.
///
/// A worker that the coordinator hears may still be out of its neighbour's reach: a firewall, a switch, a cable between
/// two racks. What was sent over such a link is lost and nothing more comes, so the plan goes on without one of the two,
/// and tries the link again later, more and more seldom. So it does where a link breaks again and again before anything gets
/// through.
extension CoordinatorCore {
    /// One worker that sends to another.
    struct LinkEnds: Hashable, Comparable {
        var from: String
        var to: String

        static func < (left: LinkEnds, right: LinkEnds) -> Bool { (left.from, left.to) < (right.from, right.to) }
    }

    /// A link that carried nothing, or broke before it had.
    struct Parting {
        /// When it was noticed last.
        var since: UInt64
        /// Until when no plan has both ends as neighbours.
        var until: UInt64
        /// How often it was noticed.
        var times: Int
    }

    /// What stands for the coordinator's data socket among the ends of links; no worker may have that name.
    static let dataSocket = "coordinator"

    /// Shortest time that a plan does without a silent link; it doubles each time, at most so often.
    private static let shortestParting: UInt64 = 60_000_000_000
    private static let doublings = 4
    /// The same for the data link of a worker, which comes up or not: each try costs the whole cluster a plan.
    private static let dataDoublings = 7
    /// Breaks in a row, without any work that got through in between, after which plans do without a link.
    private static let mostFruitlessBreaks = 3
    /// Time after which a link that works is forgiven.
    private static let forgiveness: UInt64 = 3_600_000_000_000

    /// Replans when a worker has said for a heartbeat that its link is in trouble, and both ends are heard here.
    ///
    /// If one of them is not, it is about to be given up, or comes back and brings the link with it: no reason to send
    /// pictures on their way twice.
    mutating func watchLinks() {
        let isOver = partings.values.contains { $0.until > lastLook && $0.until <= now }
        lastLook = now
        if isOver { wantPlan(.link, "a link that was left out is tried again", isGraceful: true) }
        guard let plan, replan?.isGraceful ?? true else { return }
        let loaded = zip(plan.pipelines, replicas).filter(\.1.isLoaded).map(\.0)
        for (share, next) in loaded.flatMap({ zip($0, $0.dropFirst()) }) {
            guard let trouble = members[share.worker]?.linkTrouble else { continue }
            guard isHeard(share.worker), isHeard(next.worker) else {
                members[share.worker]?.linkTrouble?.since = now
                continue
            }
            guard now - trouble.since >= settings.heartbeat else { continue }
            members[share.worker]?.linkTrouble = nil
            switch trouble.kind {
            case .broken:
                let text = "the link from \(share.worker) to \(next.worker) broke"
                log(.warning, text)
                noteBreak(LinkEnds(from: share.worker, to: next.worker))
                wantPlan(.link, text, isGraceful: false)
            case .silent:
                let text = "\(share.worker) does not reach \(next.worker)"
                let endpoint = members[next.worker].map { " at \($0.hello.dataEndpoint)" } ?? ""
                log(
                    .warning,
                    "\(text)\(endpoint), though both are heard here: check that address and the network between them")
                part(LinkEnds(from: share.worker, to: next.worker))
                wantPlan(.link, text, isGraceful: false)
            }
            return
        }
    }

    /// Replans without workers that have loaded and are heard, but whose data link does not come up: neither work nor what
    /// becomes of it gets through.
    mutating func watchDataLinks() {
        guard let plan, replan?.isGraceful ?? true else { return }
        for share in plan.placements where usesDataLink(share) {
            let name = share.worker
            guard let since = members[name]?.unlinkedSince else { continue }
            guard isHeard(name) else {
                members[name]?.unlinkedSince = now
                continue
            }
            // Its first word may wait behind answers to the last plan.
            guard now - min(now, since) >= settings.stuckAfter else { continue }
            members[name]?.unlinkedSince = nil
            let text = "the data link of \(name) does not come up"
            let rest = part(LinkEnds(from: name, to: Self.dataSocket), doublings: Self.dataDoublings)
            log(
                .error,
                "\(text), though its control link works: it was told \(settings.dataEndpoint); check that address (--data, "
                    + "--advertise) and the network between them; it is tried again in \(rest / 1_000_000_000) s, or at "
                    + "once when it is started again")
            wantPlan(.link, text, isGraceful: false)
        }
    }

    /// Takes note that a link broke with work on its way; where none gets through between one time and the next, plans do
    /// without the link for a while.
    mutating func noteBreak(_ ends: LinkEnds) {
        let hadWork = flights.values.contains { flight in
            guard case .sent(let need, _) = flight.phase else { return false }
            return hands(need, flight).contains(ends.from)
        }
        guard hadWork else { return }
        fruitlessBreaks[ends, default: 0] += 1
        guard fruitlessBreaks[ends] == Self.mostFruitlessBreaks else { return }
        fruitlessBreaks[ends] = nil
        let isOurs = ends.to == Self.dataSocket
        let rest = part(ends, doublings: isOurs ? Self.dataDoublings : Self.doublings)
        log(
            .error,
            "the link from \(ends.from) to \(isOurs ? "the coordinator's data socket" : ends.to) breaks again and again before "
                + "any work gets through: look at the network between them; it is tried again in \(rest / 1_000_000_000) s"
        )
    }

    /// Work has come through: a step over the links of all of these hands, other work to the coordinator from the last.
    mutating func forgetBreaks(of hands: [String], isStep: Bool) {
        if fruitlessBreaks.isEmpty { return }
        if isStep {
            fruitlessBreaks = fruitlessBreaks.filter { !hands.contains($0.key.from) }
        } else if let last = hands.last {
            fruitlessBreaks[LinkEnds(from: last, to: Self.dataSocket)] = nil
        }
    }

    private func isHeard(_ name: String) -> Bool {
        members[name].map { $0.isPresent && $0.life != .suspect && $0.disconnected == nil } ?? false
    }

    /// Does without a link for the time that is returned.
    @discardableResult
    private mutating func part(_ ends: LinkEnds, doublings: Int = Self.doublings) -> UInt64 {
        let before = partings[ends].map { now > $0.until + Self.forgiveness ? 0 : $0.times }
        let times = (before ?? 0) + 1
        let length = Self.shortestParting << UInt64(min(times - 1, doublings))
        partings[ends] = Parting(since: now, until: now + length, times: times)
        return length
    }

    /// Groups of workers to plan without, the best first, so that no silent link is used.
    ///
    /// The newest link first: where a worker is out of everybody's reach, leaving it out heals the older ones too.
    func leftOut(of eligible: [Hello]) -> [Set<String>] {
        let names = Set(eligible.map(\.name))
        let apart = partings.filter { now < $0.value.until && names.contains($0.key.from) }
        let alone = Set(apart.keys.filter { $0.to == Self.dataSocket }.map(\.from))
        let silent = apart.filter { names.subtracting(alone).isSuperset(of: [$0.key.from, $0.key.to]) }
        let newest = silent.sorted { ($1.value.since, $0.key) < ($0.value.since, $1.key) }.map(\.key)
        guard !newest.isEmpty else { return [alone] }
        func choice(_ end: KeyPath<LinkEnds, String>) -> Set<String> {
            newest.reduce(into: alone) { left, ends in
                if !left.contains(ends.from) && !left.contains(ends.to) { left.insert(ends[keyPath: end]) }
            }
        }
        // Each is planned with while messages wait: none twice.
        return [leastLeftOut(newest, alone), choice(\.to), choice(\.from)].reduce(into: []) { groups, left in
            if !groups.contains(left) { groups.append(left) }
        }
    }

    /// Leaves out whoever occurs in most of the silent links first, of equal ones the receiving end of the newest link.
    ///
    /// One worker that reaches nobody must not cost those that it does not reach.
    private func leastLeftOut(_ newest: [LinkEnds], _ alone: Set<String>) -> Set<String> {
        var (left, open) = (alone, newest)
        while !open.isEmpty {
            let ends = open.flatMap { [$0.to, $0.from] }
            let counts = Dictionary(ends.map { ($0, 1) }, uniquingKeysWith: +)
            guard let most = counts.values.max(), let worst = ends.first(where: { counts[$0] == most }) else { break }
            left.insert(worst)
            open.removeAll { $0.to == worst || $0.from == worst }
        }
        return left
    }

    /// Why plans do without somebody; empty when they do not.
    var partingReason: String {
        partings.filter { now < $0.value.until }.keys.sorted().map { ends in
            let isOurs = ends.to == Self.dataSocket
            let target = isOurs ? "the coordinator's data socket, \(settings.dataEndpoint)" : ends.to
            return ", and \(ends.from) does not reach \(target)"
        }
        .joined()
    }
}
