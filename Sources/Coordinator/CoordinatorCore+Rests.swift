internal import Logging
internal import Plan

/// Workers that crash again and again: each time the whole cluster plans, loads and does steps anew, twice.
///
/// After a few such runs in a row a worker that joins gets no share for a while, unless there is no plan without it.
extension CoordinatorCore {
    /// Runs of a worker that ended in the plan soon after they had joined.
    struct Crashes {
        /// In a row.
        var times = 0
        /// Until when it rests.
        var restsUntil: UInt64 = 0
    }

    /// Time after which the end of a run says nothing of the next one.
    private static let shortRun: UInt64 = 600_000_000_000
    /// Crashes in a row that are forgiven.
    private static let forgiven = 2
    /// The first rest; it doubles each time, at most so often.
    private static let shortestRest: UInt64 = 60_000_000_000
    private static let doublings = 4

    /// A run that was lost with a share in its hands is followed by another run.
    mutating func noteCrash(of former: Member) {
        let name = former.hello.name
        guard former.heard - min(former.heard, former.joined) < Self.shortRun else { return crashes[name] = nil }
        let times = (crashes[name]?.times ?? 0) + 1
        crashes[name] = Crashes(times: times)
        guard times > Self.forgiven else { return }
        let rest = Self.shortestRest << UInt64(min(times - Self.forgiven - 1, Self.doublings))
        crashes[name]?.restsUntil = now + rest
        log(
            .error,
            "\(name) has crashed \(times) times in a row soon after it joined: it gets no share for "
                + "\(rest / 1_000_000_000) s if others can draw without it; look at its log, and at its memory")
    }

    /// Those of the workers that others are asked to do without.
    func resting(of eligible: [Hello]) -> Set<String> {
        Set(eligible.map(\.name).filter { now < crashes[$0]?.restsUntil ?? 0 })
    }

    /// Plans with those again whose rest is over.
    mutating func endRests() {
        let over = crashes.filter { $0.value.restsUntil > 0 && $0.value.restsUntil <= now }
        for name in over.keys.sorted() {
            crashes[name]?.restsUntil = 0
            guard members[name]?.isPresent ?? false else { continue }
            wantPlan(.joined, "\(name) is tried again", isGraceful: true)
        }
    }
}
