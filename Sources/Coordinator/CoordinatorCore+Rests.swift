internal import Logging
internal import Plan

/// Workers that crash again and again, or cannot load: each time the whole cluster plans, loads and does steps anew, twice.
///
/// After a few crashes in a row a worker that joins gets no share for a while, unless there is no plan without it; one that could
/// not load gets none in any case.
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
    static let forgivenCrashes = 2
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
        guard times > Self.forgivenCrashes else { return }
        let rest = Self.shortestRest << UInt64(min(times - Self.forgivenCrashes - 1, Self.doublings))
        crashes[name]?.restsUntil = now + rest
        log(
            .error,
            "\(name) has crashed \(times) times in a row soon after it was given a share: it gets none for "
                + "\(rest / 1_000_000_000) s if others can draw without it; look at its log, and at its memory")
    }

    /// Rests of a worker that cannot load double so often: each try costs the whole cluster a plan.
    private static let loadDoublings = 7

    /// A worker could not load its share: it gets none for the time that is returned, longer each time in a row.
    ///
    /// Its disk may be away, and come back.
    mutating func noteLoadFailure(of name: String, _ failure: String) -> UInt64 {
        let tries = (members[name]?.loadTries ?? 0) + 1
        let rest = Self.shortestRest << UInt64(min(tries - 1, Self.loadDoublings))
        members[name]?.loadFailure = failure
        members[name]?.loadTries = tries
        members[name]?.loadsAgain = now + rest
        return rest
    }

    /// Whether others are asked to do without it.
    func isResting(_ name: String) -> Bool { now < crashes[name]?.restsUntil ?? 0 }

    /// Plans with those again whose rest is over, and forgets the crashes of those that have worked for long since.
    mutating func endRests() {
        for (name, member) in members.sorted(by: { $0.key < $1.key })
        where member.isPresent && member.loadFailure != nil && member.loadsAgain <= now {
            members[name]?.loadFailure = nil
            wantPlan(with: name, .joined, "\(name) may load now what it could not")
        }
        for (name, crash) in crashes.sorted(by: { $0.key < $1.key }) {
            guard let member = members[name], member.isPresent else { continue }
            if let since = member.worksSince, now - min(now, since) >= Self.longRun, !isResting(name) {
                crashes[name] = nil
            } else if crash.restsUntil > 0, crash.restsUntil <= now {
                crashes[name]?.restsUntil = 0
                guard placement(of: name) == nil else { continue }
                wantPlan(with: name, .joined, "\(name) is tried again")
            }
        }
    }
}
