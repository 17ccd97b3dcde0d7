internal import Logging
internal import Plan

/// Workers that crash again and again: each time the whole cluster plans, loads and does steps anew, twice.
///
/// After a few such runs in a row a worker that joins gets no share for a while, unless there is no plan without it.
extension CoordinatorCore {
    /// Runs of a worker that ended in the plan soon after they were first given a share.
    struct Crashes {
        /// In a row.
        var times = 0
        /// Until when it rests.
        var restsUntil: UInt64 = 0
    }

    /// Time of work after which a worker's crashes are forgotten.
    private static let longRun: UInt64 = 600_000_000_000
    /// Crashes in a row that are forgiven.
    private static let forgiven = 2
    /// The first rest; it doubles each time, at most so often.
    private static let shortestRest: UInt64 = 60_000_000_000
    private static let doublings = 4

    /// A run that was lost with a share in its hands is followed by another run.
    mutating func noteCrash(of former: Member) {
        let name = former.hello.name
        guard let since = former.worksSince, former.heard - min(former.heard, since) < Self.longRun else {
            return crashes[name] = nil
        }
        let times = (crashes[name]?.times ?? 0) + 1
        crashes[name] = Crashes(times: times)
        guard times > Self.forgiven else { return }
        let rest = Self.shortestRest << UInt64(min(times - Self.forgiven - 1, Self.doublings))
        crashes[name]?.restsUntil = now + rest
        log(
            .error,
            "\(name) has crashed \(times) times in a row soon after it was given a share: it gets none for "
                + "\(rest / 1_000_000_000) s if others can draw without it; look at its log, and at its memory")
    }

    /// Whether others are asked to do without it.
    func isResting(_ name: String) -> Bool { now < crashes[name]?.restsUntil ?? 0 }

    /// Plans with those again whose rest is over, and forgets the crashes of those that have worked for long since.
    mutating func endRests() {
        for (name, crash) in crashes.sorted(by: { $0.key < $1.key }) {
            guard let member = members[name], member.isPresent else { continue }
            if let since = member.worksSince, now - min(now, since) >= Self.longRun, !isResting(name) {
                crashes[name] = nil
            } else if crash.restsUntil > 0, crash.restsUntil <= now {
                crashes[name]?.restsUntil = 0
                guard member.isEligible, placement(of: name) == nil else { continue }
                wantPlan(.joined, "\(name) is tried again", isGraceful: true)
            }
        }
    }
}
