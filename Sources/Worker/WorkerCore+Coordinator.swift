internal import Logging
package import Plan
internal import Stages

/// What the worker and its coordinator say to each other as time passes, and what silence means.
extension WorkerCore {
    mutating func tick(_ vitals: Vitals, _ now: Nanoseconds, _ effects: inout [Effect]) {
        // Stopped meanwhile: what the coordinator said then is still to be read.
        if let lastTick, now > lastTick + Self.pause { heard = min(now, heard + (now - lastTick)) }
        lastTick = now
        if case .connecting(let attempt, let next) = life {
            if let patience = limits.unreachableAfter, now >= heard + patience {
                life = .left(
                    .unreachable(
                        "no coordinator answered at \(coordinator) for \(patience / 1_000_000_000) s: "
                            + "start one there, or give its address"))
                return
            }
            guard now >= next else { return }
            if attempt == 3 || attempt % 10 == 9 {
                effects.append(.log(.warning, "no answer from the coordinator at \(coordinator) yet; trying on"))
            }
            if mustReopen { effects.append(.reconnect) }
            mustReopen = false
            effects.append(.control(.hello(hello)))
            life = .connecting(attempt: attempt + 1, next: now + backoff(attempt))
            return
        }
        if case .leaving(let since) = life {
            if now >= since + limits.farewell { life = .left(.drained) }
            return
        }
        if now >= heard + patience { return loseCoordinator(now, &effects) }
        measureLink(now, &effects)
        if now >= heartbeatAt {
            heartbeatAt = now + heartbeatEvery
            heartbeatSent = heartbeatSent ?? now
            var beat = heartbeat(vitals, now)
            beat.done = spans.report(clock: now)
            effects.append(.control(.heartbeat(beat)))
            asked = nil
            repeatCredits(&effects)
        }
    }

    /// Silence of the coordinator that is put up with; little once the process was told to end.
    private var patience: Nanoseconds {
        guard case .draining(let draining) = life, draining.exits else {
            return max(limits.lostAfter, lostThere * 3 / 2)
        }
        return min(limits.lostAfter, max(1_000_000_000, limits.drainHeartbeats * heartbeatEvery))
    }

    /// Time between two ticks, of which there are several a second, after which this process was stopped, or its machine slept.
    private static let pause: Nanoseconds = 5_000_000_000

    /// Time between two log lines about a name that somebody else has.
    private static let logsRefusalEvery: Nanoseconds = 600_000_000_000

    /// Doubles from the shortest to the longest wait, each drawn from its upper half so that workers spread out.
    private mutating func backoff(_ attempt: Int) -> Nanoseconds {
        let full = min(limits.longestBackoff, limits.shortestBackoff << UInt64(min(attempt, 16)))
        return max(limits.shortestBackoff, full / 2 + jitter.next() % (full / 2 + 1))
    }

    /// What the worker has done, with what the shell measured.
    private func counters(_ vitals: Vitals, _ now: Nanoseconds) -> WorkerCounters {
        var counters = counters
        counters.busyNanoseconds &+= vitals.computing
        counters.upNanoseconds = now - (started ?? now)
        counters.residentBytes = vitals.residentBytes
        counters.links = vitals.links
        counters.authFailures = vitals.authFailures
        counters.queued = queue.waiting
        return counters
    }

    private func heartbeat(_ vitals: Vitals, _ now: Nanoseconds) -> Heartbeat {
        Heartbeat(
            epoch: life.epoch ?? 0, image: queue.inHand?.key.image, block: queue.inHand == nil ? nil : vitals.block,
            counters: counters(vitals, now), answering: asked,
            link: assignment == nil ? nil : nextLink.trouble(now, heartbeat: heartbeatEvery))
    }

    /// What the worker's own page shows.
    package func report(_ vitals: Vitals, now: Nanoseconds) -> WorkerReport {
        var report = WorkerReport(name: hello.name, life: life.name)
        report.epoch = life.epoch ?? 0
        report.blocks = held?.span.count ?? 0
        report.isConnected = isConnected
        report.silenceSeconds = started == nil ? 0 : Double(now - min(heard, now)) * 1e-9
        report.counters = counters(vitals, now)
        report.dropped = drops.byReason
        report.hiddenStateBytes = UInt64(hiddenRows * WireFormat.f32.rowBytes(hello.model.width))
        return report
    }

    /// Stops working for a coordinator that is silent, keeps the weights, and says hello again.
    private mutating func loseCoordinator(_ now: Nanoseconds, _ effects: inout [Effect]) {
        let silence = (now - heard) / 1_000_000_000
        effects.append(.log(.warning, "no answer from the coordinator at \(coordinator) for \(silence) s"))
        if case .draining(let draining) = life, draining.exits {
            life = .left(.drained)
            return
        }
        effects.append(.reconnect)
        isConnected = false
        introduceAgain(now, &effects)
    }

    /// The handshake failed: a worker that was never welcome gives up at once if nothing will change by waiting.
    mutating func denied(
        _ why: String, _ isTriedAgain: Bool, _ now: Nanoseconds, _ effects: inout [Effect]
    ) {
        let text = "not admitted by \(coordinator): \(why)"
        if isTriedAgain { return effects.append(.log(.warning, text + "; trying on")) }
        guard wasWelcome else {
            life = .left(.refused(Refusal(code: .key, text: text)))
            return
        }
        effects.append(.log(.warning, text + "; trying again"))
        mustReopen = true
    }

    private mutating func introduceAgain(_ now: Nanoseconds, _ effects: inout [Effect]) {
        drops.abandoned += queue.clear()
        effects.append(.closeDownstream)
        effects.append(.control(.hello(hello)))
        life = .connecting(attempt: 1, next: now + backoff(0))
    }

    // MARK: What it says

    mutating func control(_ message: ControlMessage, _ now: Nanoseconds, _ effects: inout [Effect]) {
        heard = now
        switch message {
        case .welcome(let welcome):
            wasWelcome = true
            heartbeatEvery = Nanoseconds(min(max(10, welcome.heartbeatMilliseconds), 60_000)) * 1_000_000
            heartbeatAt = now + heartbeatEvery
            lostThere = Nanoseconds(min(max(0, welcome.lostAfterMilliseconds ?? 0), 3_600_000)) * 1_000_000
            guard case .connecting = life else { return }  // the answer to a repeated hello
            effects.append(.openData(welcome.dataEndpoint))
            life = .greeted
        case .refuse(let refusal):
            switch refusal.code {
            case .name:  // perhaps an earlier run of this worker that is not given up yet
                if case .draining(let draining) = life, draining.exits {
                    life = .left(.drained)
                    return
                }
                if now >= refusalLoggedAt + Self.logsRefusalEvery || refusalLoggedAt == 0 {
                    refusalLoggedAt = now
                    effects.append(.log(.warning, "\(refusal.text); trying again"))
                }
                drops.abandoned += queue.clear()
                // The coordinator lets a waiting worker in by itself; this is for when it forgot. It has answered: that nobody
                // does is said by an attempt after this one.
                life = .connecting(attempt: 1, next: now + backoff(2))
            case .protocolVersion, .model, .malformed, .kernelClass, .key: life = .left(.refused(refusal))
            }
        case .introduce:
            switch life {
            case .connecting: return
            // It was given up there; what it was told to do holds.
            case .draining(let draining) where draining.exits: life = .left(.drained)
            case .leaving: life = .left(.drained)
            default: introduceAgain(now, &effects)
            }
        case .assign(let plan): assign(plan, now, &effects)
        case .forget(let images):
            drops.forgotten += queue.forget(Set(images))
            effects += queue.unwantedSides(life.epoch).map { .abandon($0) }
        case .alive:
            counters.roundTripNanoseconds = now - (heartbeatSent ?? now)
            heartbeatSent = nil
        case .report(let number):
            asked = number
            heartbeatAt = now
        case .drain: release(now)
        case .leave: if case .leaving = life { life = .left(.drained) }
        case .hello, .loaded, .heartbeat, .fault:
            drops.refused += 1
            effects.append(.log(.warning, "the coordinator sent a message that only workers send; ignored"))
        }
    }

    /// The connection to the coordinator: a worker that was told to end does not wait for one that is gone.
    mutating func connection(_ isUp: Bool) {
        isConnected = isUp
        guard !isUp else { return }
        switch life {
        case .draining(let draining) where draining.exits: life = .left(.drained)
        case .leaving: life = .left(.drained)
        default: break
        }
    }
}
