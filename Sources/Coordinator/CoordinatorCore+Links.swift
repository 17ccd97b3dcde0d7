internal import Logging
internal import Plan

/// Links between workers, which the coordinator knows from what workers say of them.
///
/// A worker that the coordinator hears may still be out of its neighbour's reach: a firewall, a switch, a cable between
/// two racks. What was sent over such a link is lost and nothing more comes, so the plan goes on without one of the two,
/// and tries the link again later, more and more seldom.
extension CoordinatorCore {
    /// One worker that sends to another.
    struct LinkEnds: Hashable, Comparable {
        var from: String
        var to: String

        static func < (left: LinkEnds, right: LinkEnds) -> Bool { (left.from, left.to) < (right.from, right.to) }
    }

    /// A link that carried nothing.
    struct Parting {
        /// When it was noticed last.
        var since: UInt64
        /// Until when no plan has both ends as neighbours.
        var until: UInt64
        /// How often it was noticed.
        var times: Int
    }

    /// Shortest time that a plan does without a silent link; it doubles each time, at most so often.
    private static let shortestParting: UInt64 = 60_000_000_000
    private static let doublings = 4
    /// Time after which a link that works is forgiven.
    private static let forgiveness: UInt64 = 3_600_000_000_000

    /// Replans when a worker has said for a heartbeat that its link is in trouble, and both ends are heard here.
    ///
    /// If one of them is not, it is about to be given up, or comes back and brings the link with it: no reason to send
    /// pictures on their way twice.
    mutating func watchLinks() {
        let isOver = partings.values.contains { $0.until > lastLook && $0.until <= now }
        lastLook = now
        if isOver { wantPlan(.link, "a link that was silent is tried again", isGraceful: true) }
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
                wantPlan(.link, text, isGraceful: false)
            case .silent:
                let text = "\(share.worker) does not reach \(next.worker)"
                log(.warning, "\(text), though both are heard here: check the network between them")
                part(LinkEnds(from: share.worker, to: next.worker))
                wantPlan(.link, text, isGraceful: false)
            }
            return
        }
    }

    private func isHeard(_ name: String) -> Bool {
        members[name].map { $0.isPresent && $0.life != .suspect && $0.disconnected == nil } ?? false
    }

    private mutating func part(_ ends: LinkEnds) {
        let before = partings[ends].map { now > $0.until + Self.forgiveness ? 0 : $0.times }
        let times = (before ?? 0) + 1
        let length = Self.shortestParting << UInt64(min(times - 1, Self.doublings))
        partings[ends] = Parting(since: now, until: now + length, times: times)
    }

    /// Groups of workers to plan without, the best first, so that no silent link is used.
    ///
    /// The newest link first: where a worker is out of everybody's reach, leaving it out heals the older ones too.
    func leftOut(of eligible: [Hello]) -> [Set<String>] {
        let names = Set(eligible.map(\.name))
        let silent = partings.filter {
            now < $0.value.until && names.contains($0.key.from) && names.contains($0.key.to)
        }
        let newest = silent.sorted { ($1.value.since, $0.key) < ($0.value.since, $1.key) }.map(\.key)
        guard !newest.isEmpty else { return [[]] }
        func choice(_ end: KeyPath<LinkEnds, String>) -> Set<String> {
            newest.reduce(into: []) { left, ends in
                if !left.contains(ends.from) && !left.contains(ends.to) { left.insert(ends[keyPath: end]) }
            }
        }
        return [choice(\.to), choice(\.from)]
    }

    /// Why plans do without somebody; empty when they do not.
    var partingReason: String {
        partings.filter { now < $0.value.until }.keys.sorted().map { ", and \($0.from) does not reach \($0.to)" }
            .joined()
    }
}
