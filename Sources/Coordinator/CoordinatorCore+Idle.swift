internal import Logging
internal import Plan

/// Workers that do nothing for the cluster, and why: those that were refused, and those without a share of the plan.
extension CoordinatorCore {
    /// A name that was refused, as it is remembered.
    struct Refused {
        var status: RefusedWorker
        /// When it was refused last, and when that was logged last.
        var (at, logged): (UInt64, UInt64)
    }

    /// Names that are remembered; whoever may connect may say any.
    private static let mostRefused = 32
    /// Time for which a refusal is told of.
    private static let refusalsLast: UInt64 = 3_600_000_000_000
    /// Time between two log lines of one name that is refused for the same reason again and again.
    private static let logsRefusalEvery: UInt64 = 600_000_000_000

    /// Tells a worker that it may not join, and remembers that for those who ask.
    mutating func refuse(_ name: String, _ bootID: UInt64, _ code: Refusal.Code, _ text: String) {
        send(.refuse(Refusal(code: code, text: text)), name, bootID: bootID)
        refusals[code.rawValue, default: 0] += 1
        let known = refused[name]
        var entry = Refused(
            status: RefusedWorker(name: name, code: code, text: text, times: (known?.status.times ?? 0) + 1),
            at: now, logged: now)
        if let known, known.status.text == text, now - known.logged < Self.logsRefusalEvery {
            entry.logged = known.logged
        } else {
            log(.warning, "refused \(name): \(text)")
        }
        refused[name] = entry
        guard refused.count > Self.mostRefused else { return }
        let oldest = refused.min { ($0.value.at, $0.key) < ($1.value.at, $1.key) }
        if let oldest { refused[oldest.key] = nil }
    }

    /// Names that were refused in the last hour and have not joined since, the last one first.
    var refusedWorkers: [RefusedWorker] {
        refused.values.filter { now - $0.at < Self.refusalsLast }.sorted {
            ($1.at, $0.status.name) < ($0.at, $1.status.name)
        }
        .map { entry in
            var status = entry.status
            status.secondsAgo = Double(now - entry.at) * 1e-9
            return status
        }
    }

    /// Why a worker that is here has no share of the plan; nil if it has one, there is no plan, or its life says enough.
    func idle(_ name: String, _ member: Member) -> WorkerStatus.Idle? {
        func seconds(until time: UInt64) -> UInt64 { (max(time, now) - now) / 1_000_000_000 }
        guard member.isPresent, member.life != .suspect, member.disconnected == nil, !member.isDrained,
            !member.isLeaving,
            placement(of: name) == nil
        else { return nil }
        if let failure = member.loadFailure {
            return .init(
                .loadFailure,
                "it cannot load its share: \(failure); tried again in \(seconds(until: member.loadsAgain)) s")
        }
        if member.isStalled {
            return .init(.stalled, "it loaded nothing for long: look at the disk that its model is on")
        }
        // It may be given a share in a moment.
        guard plan != nil, replan == nil else { return nil }
        if let crash = crashes[name], now < crash.restsUntil {
            return .init(
                .crashes,
                "it has crashed \(crash.times) times in a row; tried again in \(seconds(until: crash.restsUntil)) s")
        }
        let apart = partings.filter { now < $0.value.until && ($0.key.from == name || $0.key.to == name) }
        if let (ends, parting) = apart.min(by: { $0.key < $1.key }) {
            let target = ends.to == Self.dataSocket ? "the coordinator's data socket" : ends.to
            return .init(
                .link, "\(ends.from) does not reach \(target); tried again in \(seconds(until: parting.until)) s")
        }
        return .init(.spare, "the plan gains too little by it")
    }
}
