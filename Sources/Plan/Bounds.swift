/// What a value from outside has that nothing of ours would send: `hello.model.blockCount is 0, 1...1024 is possible`.
package struct ImpossibleValue: Error, Equatable, Sendable, CustomStringConvertible {
    /// One line with the field, its value and what is possible.
    package let description: String

    init(_ description: String) { self.description = description }
}

/// A message whose values are believed after one check, where it comes in.
///
/// What a peer sends is decoded first, so that types are right, and checked here, so that sizes and counts can be added
/// and multiplied without a second thought. Counters are an exception: any number may be in them, and whoever adds them
/// up lets the sum wrap.
package protocol Bounded {
    /// Refuses what nothing of ours would send.
    func checkBounds() throws(ImpossibleValue)
}

/// The bounds themselves, far beyond what any model or machine of ours needs.
package enum Bounds {
    /// Blocks of a transformer.
    package static let blocks = 1...1024
    /// Channels of anything.
    package static let channels = 1...65_536
    /// Tokens of text.
    package static let textTokens = 1...65_536
    /// Pixels of a side.
    package static let side = 16...16_384
    /// Steps of a stage.
    package static let steps = 1_000_000
    /// Workers of a plan.
    package static let workers = 1...1024
    /// Links that a worker counts.
    package static let links = 0...4096
    /// Reasons that refusals are counted by.
    package static let reasons = 32
    /// Threads that compute.
    package static let threads = 1...4096
    /// Bytes of one name.
    package static let nameBytes = 200
    /// Bytes of one line for people.
    package static let lineBytes = 16_384

    static func check<Value: Comparable>(
        _ field: String, _ value: Value, _ range: ClosedRange<Value>
    ) throws(ImpossibleValue) {
        // Not a number lies in no range.
        guard range.contains(value) else {
            throw ImpossibleValue("\(field) is \(value), \(range) is possible")
        }
    }

    static func check(_ field: String, bytesOf text: String, upTo limit: Int) throws(ImpossibleValue) {
        try check("the length of \(field)", text.utf8.count, 0...limit)
    }

    /// A name that logs, metrics and pictures show: short, and without control characters.
    static func check(_ field: String, name: String) throws(ImpossibleValue) {
        try check(field, bytesOf: name, upTo: nameBytes)
        guard !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
            throw ImpossibleValue("\(field) has control characters")
        }
    }

    static func check(_ field: String, worker: String) throws(ImpossibleValue) {
        guard WorkerName.isValid(worker) else { throw ImpossibleValue("\(field) is no name of a worker") }
    }

    /// `tcp://HOST:PORT`, as far as can be told without resolving it.
    static func check(_ field: String, endpoint: String) throws(ImpossibleValue) {
        try check(field, bytesOf: endpoint, upTo: 300)
        guard let colon = endpoint.utf8.lastIndex(of: UInt8(ascii: ":")), endpoint.hasPrefix("tcp://"),
            UInt16(endpoint[colon...].dropFirst()) != nil, endpoint.utf8.allSatisfy({ 0x21...0x7e ~= $0 })
        else { throw ImpossibleValue("\(field) is not of the form tcp://HOST:PORT") }
    }
}

extension ControlMessage: Bounded {
    /// Refuses what nothing of ours would send.
    ///
    /// A plan is checked by whoever takes it, who can tell the coordinator what is wrong with it: `ClusterPlan.trouble`.
    package func checkBounds() throws(ImpossibleValue) {
        switch self {
        case .hello(let hello): try hello.checkBounds()
        case .welcome(let welcome): try Bounds.check("welcome.dataEndpoint", endpoint: welcome.dataEndpoint)
        case .refuse(let refusal): try Bounds.check("refuse.text", bytesOf: refusal.text, upTo: Bounds.lineBytes)
        case .loaded(let loaded):
            try Bounds.check("loaded.failure", bytesOf: loaded.failure ?? "", upTo: Bounds.lineBytes)
        case .heartbeat(let heartbeat): try heartbeat.checkBounds()
        case .fault(let fault):
            try Bounds.check("fault.text", bytesOf: fault.text, upTo: Bounds.lineBytes)
            try Bounds.check("fault.task.branch", fault.task.branch, 0...1)
        case .forget(let images): try Bounds.check("the number of pictures in forget", images.count, 0...100_000)
        case .assign, .alive, .report, .introduce, .drain, .leave: break
        }
    }
}

extension Hello: Bounded {
    /// Refuses what nothing of ours would send.
    package func checkBounds() throws(ImpossibleValue) {
        try Bounds.check("hello.name", worker: name)
        try Bounds.check("hello.build", name: build)
        try Bounds.check("hello.kernelClass", name: kernelClass)
        try Bounds.check("hello.dataEndpoint", endpoint: dataEndpoint)
        try Bounds.check("hello.threads", threads, Bounds.threads)
        try Bounds.check("hello.profile.cores", profile?.cores ?? 1, 0...65_536)
        try Bounds.check("hello.profile.bytesPerWeight", profile?.bytesPerWeight ?? 4, 0.125...16)
        try Bounds.check("hello.profile.encoderBytes", profile?.encoderBytes ?? 0, 0...1e15)
        try Bounds.check("hello.profile.instructions", name: profile?.instructions ?? "")
        try Bounds.check("hello.profile.machine", name: profile?.machine ?? "")
        guard !roles.isEmpty else { throw ImpossibleValue("hello.roles is empty") }
        try model.checkBounds()
    }
}

extension ModelFacts: Bounded {
    /// Refuses what nothing of ours would send.
    package func checkBounds() throws(ImpossibleValue) {
        try Bounds.check("model.name", name: name)
        try Bounds.check("model.family", name: family)
        try Bounds.check("model.fingerprint", name: fingerprint)
        try Bounds.check("model.blockCount", blockCount, Bounds.blocks)
        for (field, value) in [("width", width), ("contextWidth", contextWidth), ("pooledWidth", pooledWidth)] {
            try Bounds.check("model.\(field)", value, Bounds.channels)
        }
        try Bounds.check("model.maxTextLength", maxTextLength, Bounds.textTokens)
        try Bounds.check("model.maxSide", maxSide, Bounds.side)
        try Bounds.check("model.defaultSide", defaultSide, Bounds.side)
        try Bounds.check("model.scalingFactor", abs(scalingFactor), 1e-6...1e6)
        try Bounds.check("model.shiftFactor", abs(shiftFactor), 0...1e6)
        try Bounds.check("model.schedule.shift", schedule.shift, 1e-6...1e6)
        try Bounds.check("model.schedule.baseShift", abs(schedule.baseShift), 0...100)
        try Bounds.check("model.schedule.maxShift", abs(schedule.maxShift), 0...100)
        try Bounds.check("model.schedule.baseTokens", schedule.baseTokens, 0...1 << 24)
        try Bounds.check("model.schedule.maxTokens", schedule.maxTokens, schedule.baseTokens + 1...1 << 25)
        try sizes?.checkBounds()
    }
}

extension ModelSizes: Bounded {
    /// Refuses what nothing of ours would send.
    package func checkBounds() throws(ImpossibleValue) {
        try Bounds.check("model.sizes.doubleCount", doubleCount, 0...Bounds.blocks.upperBound)
        for weights in [
            doubleWeights, singleWeights, embedWeights, headWeights, encoderWeights, encoderMatrixWeights,
            decoderWeights,
        ] {
            try Bounds.check("a count of weights in model.sizes", weights, 0...1 << 44)
        }
        try Bounds.check("model.sizes.decoderValuesPerPixel", decoderValuesPerPixel, 0...1 << 20)
        try Bounds.check("model.sizes.decoderOperationsPerPixel", decoderOperationsPerPixel, 0...1e15)
    }
}

extension Heartbeat: Bounded {
    /// Refuses what nothing of ours would send; counters may hold any number.
    package func checkBounds() throws(ImpossibleValue) {
        try Bounds.check("heartbeat.block", block ?? 0, 0...Bounds.blocks.upperBound)
        try Bounds.check("heartbeat.counters.queued", counters.queued, 0...1 << 30)
        try Bounds.check("heartbeat.counters.links", counters.links.count, Bounds.links)
        try Bounds.check("heartbeat.counters.stages", counters.stages.count, 0...WorkerCounters.stagesToldApart)
        try Bounds.check("heartbeat.counters.authFailures", counters.authFailures?.count ?? 0, 0...Bounds.reasons)
        for reason in (counters.authFailures ?? [:]).keys {
            try Bounds.check("heartbeat.counters.authFailures", name: reason)
        }
        for link in counters.links {
            try Bounds.check("heartbeat.counters.links.source", name: link.source)
            try Bounds.check("heartbeat.counters.links.target", name: link.target)
        }
        try done?.checkBounds()
    }
}

extension SpanReport: Bounded {
    /// Refuses what nothing of ours would send; clocks may show any time.
    package func checkBounds() throws(ImpossibleValue) {
        try Bounds.check("the number of spans in heartbeat.done", spans.count, 0...Self.limit)
        for span in spans {
            try Bounds.check("heartbeat.done.spans.tokens", span.tokens, 0...Int(UInt32.max))
            guard span.began <= clock, span.nanoseconds <= clock - span.began else {
                throw ImpossibleValue(
                    "a span in heartbeat.done begins at \(span.began) and takes \(span.nanoseconds), but its clock shows "
                        + "\(clock)")
            }
        }
    }
}

extension ClusterPlan {
    /// What is wrong with a plan for a model of so many blocks, in one line; nil when it can be worked for.
    ///
    /// In each replica spans must follow each other from the first block to the last, replicas be numbered without a gap,
    /// and every worker be named once and have an address.
    package func trouble(blockCount: Int) -> String? {
        guard self.blockCount == blockCount else {
            return "it is for a model of \(self.blockCount) blocks, this one has \(blockCount)"
        }
        guard Bounds.workers ~= placements.count else { return "it names \(placements.count) workers" }
        var ends: [Int: Int] = [:]
        var names: Set<String> = []
        for share in placements {
            do throws(ImpossibleValue) {
                try Bounds.check("a name", worker: share.worker)
                try Bounds.check("the address of \(share.worker)", endpoint: share.endpoint)
                try Bounds.check("the replica of \(share.worker)", share.replica ?? 0, 0...Bounds.workers.upperBound)
            } catch {
                return "\(error)"
            }
            guard names.insert(share.worker).inserted else { return "\(share.worker) is in it twice" }
            guard !share.span.isEmpty else { continue }
            let next = ends[share.replica ?? 0] ?? 0
            guard share.span.lowerBound == next, share.span.upperBound <= blockCount else {
                return "\(share.worker) has blocks \(share.span), after 0..<\(next) of 0..<\(blockCount)"
            }
            ends[share.replica ?? 0] = share.span.upperBound
        }
        for replica in 0..<max(1, ends.count) {
            let end = ends[replica] ?? 0
            if end != blockCount {
                let place = ends.count > 1 ? " of replica \(replica)" : ""
                return "nobody has blocks \(end)..<\(blockCount)\(place)"
            }
        }
        return nil
    }
}

extension ClientRequest: Bounded {
    /// Refuses what nothing of ours would send; what makes no picture is refused later, with advice.
    package func checkBounds() throws(ImpossibleValue) {
        switch self {
        case .submit(let submission):
            try Bounds.check("submit.key", bytesOf: submission.key ?? "", upTo: Bounds.lineBytes)
            try Bounds.check("submit.folder", bytesOf: submission.folder ?? "", upTo: Bounds.lineBytes)
            try Bounds.check("submit.priority", submission.priority, -1_000_000...1_000_000)
            for image in submission.images {
                try Bounds.check("submit.images.preset", bytesOf: image.preset ?? "", upTo: Bounds.nameBytes)
                let numbers = image.sampler.stages
                try Bounds.check("the stages of a picture", numbers.count, 0...64)
                for number in numbers + [image.width, image.height, image.textLength] {
                    try Bounds.check("a number of a picture", number, -(1 << 30)...1 << 30)
                }
            }
        case .drain(let worker), .undrain(let worker), .forget(let worker):
            try Bounds.check("the worker", name: worker)
        case .jobsBeginning(let digits):
            guard JobID.isBeginning(digits) else {
                throw ImpossibleValue("jobsBeginning.with is not 1 to 32 hexadecimal digits")
            }
        case .jobs, .unfinished, .job, .watch, .cancel, .retry, .remove, .removeFinished, .nodes, .countedNodes, .model,
            .awaitModel, .trace:
            break
        }
    }
}
