/// Pictures through a pipeline, event by event: what `plan` predicts by, and what the formula is checked against.
///
/// Plays what coordinator and workers do: pictures wait at the coordinator and go out by fewest tokens, those that waited
/// more than two cycles first; a worker computes one task at a time, steps in order of arrival and side tasks (encoding,
/// decoding) by turns with them; a side task gives way to a step after each of its layers, four times as long as it
/// computed itself; two steps may be at a worker, or more where two of the largest have room, but at the first one no more
/// than two; one whose answer waits for room at the next worker begins no other step; a picture that is being decoded takes
/// no place in flight, up to one for each worker. A message occupies the link for its bytes and arrives half a round trip
/// later. Left out: the processor time of the messages themselves, and of the coordinator.
///
/// No random numbers and no clock: equal input gives an equal result.
struct PipelineSimulation {
    /// One worker with blocks.
    struct Station {
        /// Seconds of its blocks for one call of each part.
        var partSeconds: [Double]
        /// Seconds that one call's activations occupy the link to it, for each part; not counted for the first one.
        var hopSeconds: [Double]
        /// Half a round trip.
        var wayThere: Double
    }

    /// What a picture goes through.
    enum Task: Equatable {
        /// Text encoders.
        case encode
        /// A network call of this part.
        case step(Int)
        /// This decoding of the mix.
        case decode(Int)
    }

    /// What came out.
    struct Result: Equatable {
        /// Pictures a second when the pipeline is full: step seconds computed in that time over those of one picture, since
        /// pictures end in bunches.
        var picturesPerSecond: Double
        /// Share of that time that each station computes, side tasks included.
        var busy: [Double]
        /// Seconds of the first picture, with others in flight.
        var firstPicture: Double
    }

    /// The pipeline, first blocks first.
    var stations: [Station]
    /// Seconds of encoding, and at which station; beyond the stations for a worker of its own.
    var encodeSeconds: Double
    var encoder: Int
    /// Who decodes, and seconds of each decoding there.
    var decoders: [(station: Int, seconds: [Double])]
    /// The course of each picture, and the tokens of each part.
    var course: [Task]
    var tokens: [Int]
    /// Rows of the hidden states of each part.
    var rows: [Int]
    /// Pictures in flight, those left out that are being decoded.
    var flights: Int
    /// Seconds from an answer to the next task of its picture: the sampler, and the messages.
    var turnaround: Double
    /// Pictures that begin together, when so many places are free.
    ///
    /// The coordinator admits one by one, and this shows why. Share of the time that nodes compute, FLUX with 2P pictures
    /// in flight (`CohortTests`), one by one / in groups of P / of 2P:
    ///
    /// | begin | preset | P = 4 | P = 8 | P = 16 |
    /// | --- | --- | --- | --- | --- |
    /// | together | 4x | 0.983 / 0.979 / 0.967 | 0.979 / 0.973 / 0.961 | 0.971 / 0.968 / 0.955 |
    /// | together | 7x | 0.983 / 0.967 / 0.948 | 0.976 / 0.957 / 0.939 | 0.969 / 0.949 / 0.930 |
    /// | spread | 4x | 0.983 / 0.979 / 0.967 | 0.980 / 0.973 / 0.961 | 0.991 / 0.951 / 0.955 |
    /// | spread | 7x | 0.986 / 0.967 / 0.948 | 0.997 / 0.957 / 0.939 | 0.995 / 0.955 / 0.930 |
    ///
    /// With room for two steps of any size at a worker, in place of two of the largest, one by one would be at 0.974,
    /// 0.970 and 0.963 (4x, together), and at 0.974, 0.914 and 0.901 (4x, spread).
    var cohort = 1
    /// Seconds between the beginnings of the first pictures; with none, all begin in phase.
    var stagger = 0.0

    /// Time that a side task gives to steps for each of its own, as workers do.
    private static let patience = 4.0
    /// Pieces of equal length that a side task is played in: about a decoder's convolutions.
    private static let layers = 16.0

    private struct Event: Comparable {
        enum Kind {
            /// A picture's next task may be sent.
            case ready(picture: Int)
            /// A task is at a worker.
            case arrived(picture: Int, station: Int, isStep: Bool)
            /// A worker ended what it had in hand.
            case done(station: Int)
            /// A link is free for what waits.
            case answered(picture: Int)
        }

        var time: Double
        var order: Int
        var kind: Kind

        static func < (left: Event, right: Event) -> Bool { (left.time, left.order) < (right.time, right.order) }
        static func == (left: Event, right: Event) -> Bool { left.order == right.order }
    }

    private struct Worker {
        var steps: [Int] = []
        var sides: [Int] = []
        var inHand: (picture: Int, isStep: Bool)?
        /// A side task that was begun, what is left of it, how long it has computed and how long it gave way to steps.
        var side: (picture: Int, left: Double, piece: Double, own: Double, given: Double)?
        var sideIsNext = false
        /// A step whose answer waits for the next worker.
        var held: Int?
        /// Steps that it has or that are on their way to it.
        var taken = 0
        /// Rows of their hidden states.
        var rows = 0
        var busy = 0.0
        var linkFree = 0.0
        /// Computed or given so far, in seconds.
        var given = 0.0
    }

    private struct Flight {
        var place = 0
        var since = 0.0
        var number = 0
        var began = 0.0
    }

    /// Plays `pictures` pictures; the first and the last sixth, in which the pipeline fills and drains, do not count.
    func run(pictures: Int) -> Result {
        var play = Play(self, pictures: pictures)
        return play.run()
    }

    private struct Play {
        let model: PipelineSimulation
        let pictures: Int
        var queue = Heap()
        var order = 0
        var now = 0.0
        var workers: [Worker]
        var flights: [Flight] = []
        var waiting: [Int] = []
        var ends: [Double] = []
        var started = 0
        /// Pictures in flight, and those of them that are being decoded.
        var (inFlight, decoding) = (0, 0)
        var number = 0
        var window = (start: 0.0, busy: [Double]())
        var secondsPerToken = 0.0
        /// Seconds of steps that workers have been given.
        var stepSeconds = 0.0

        init(_ model: PipelineSimulation, pictures: Int) {
            self.model = model
            self.pictures = pictures
            workers = Array(
                repeating: Worker(),
                count: max(model.stations.count, model.encoder + 1, (model.decoders.map(\.station).max() ?? 0) + 1))
        }

        mutating func run() -> Result {
            for place in 0..<min(model.flights, pictures) { begin(after: model.stagger * Double(place)) }
            var (from, to) = (0.0, 0.0)
            let first = max(1, pictures / 6)
            let last = max(first + 1, pictures - pictures / 6)
            var busy = workers.map(\.busy)
            var steps = 0.0
            while ends.count < pictures, let event = queue.pop() {
                now = event.time
                handle(event)
                if from == 0 && ends.count >= first {
                    from = now
                    busy = workers.map(\.busy)
                    steps = stepSeconds
                }
                if to == 0 && ends.count >= min(last, pictures) {
                    to = now
                    busy = zip(workers.map(\.busy), busy).map { $0 - $1 }
                    steps = stepSeconds - steps
                }
            }
            let seconds = max(to - from, 1e-12)
            let picture = model.course.reduce(0) { sum, task in
                guard case .step(let part) = task else { return sum }
                return sum + model.stations.reduce(0) { $0 + $1.partSeconds[part] }
            }
            return Result(
                picturesPerSecond: steps / max(picture, 1e-12) / seconds,
                busy: busy.prefix(model.stations.count).map { min(1, $0 / seconds) }, firstPicture: ends.first ?? 0)
        }

        mutating func begin(after delay: Double = 0) {
            flights.append(Flight(began: now))
            schedule(delay, .ready(picture: started))
            started += 1
            inFlight += 1
        }

        /// The coordinator's admission.
        mutating func admit() {
            let free = min(model.flights - (inFlight - decoding), model.flights + model.stations.count - inFlight)
            guard free >= model.cohort else { return }
            for _ in 0..<free { begin() }
        }

        func isDecoding(_ picture: Int) -> Bool {
            let place = flights[picture].place
            guard model.course.indices.contains(place), case .decode = model.course[place] else { return false }
            return true
        }

        mutating func schedule(_ delay: Double, _ kind: Event.Kind) {
            order += 1
            queue.push(Event(time: now + delay, order: order, kind: kind))
        }

        mutating func handle(_ event: Event) {
            switch event.kind {
            case .ready(let picture):
                flights[picture].since = now
                number += 1
                flights[picture].number = number
                switch model.course[flights[picture].place] {
                case .step: waiting.append(picture)
                case .encode:
                    workers[model.encoder].given += model.encodeSeconds
                    side(picture, at: model.encoder)
                case .decode(let which): decode(picture, which)
                }
            case .arrived(let picture, let station, let isStep):
                if isStep { workers[station].steps.append(picture) } else { workers[station].sides.append(picture) }
            case .done(let station): finish(station)
            case .answered(let picture):
                if isDecoding(picture) { decoding -= 1 }
                flights[picture].place += 1
                if isDecoding(picture) { decoding += 1 }
                if flights[picture].place == model.course.count {
                    ends.append(now)
                    inFlight -= 1
                } else {
                    schedule(model.turnaround, .ready(picture: picture))
                }
                admit()
            }
            dispatch()
            for station in workers.indices { pump(station) }
        }

        mutating func side(_ picture: Int, at station: Int) {
            schedule(0, .arrived(picture: picture, station: station, isStep: false))
        }

        /// Fewest decodings in hand, then least to compute so far.
        mutating func decode(_ picture: Int, _ which: Int) {
            func rank(_ decoder: (station: Int, seconds: [Double])) -> (Int, Double) {
                let worker = workers[decoder.station]
                return (worker.sides.count + (worker.side == nil ? 0 : 1), worker.given)
            }
            guard let best = model.decoders.min(by: { rank($0) < rank($1) }) else { return }
            workers[best.station].given += best.seconds[which]
            side(picture, at: best.station)
        }

        /// The coordinator's scheduler.
        mutating func dispatch() {
            while !waiting.isEmpty, workers[0].taken < 2 {
                func rank(_ picture: Int) -> (Int, Int, Int) {
                    let flight = flights[picture]
                    let tokens = if case .step(let part) = model.course[flight.place] { model.tokens[part] } else { 0 }
                    let isOverdue = secondsPerToken > 0 && now - flight.since > 2 * secondsPerToken * Double(tokens)
                    return (isOverdue ? 0 : 1, isOverdue ? 0 : tokens, flight.number)
                }
                guard let index = waiting.indices.min(by: { rank(waiting[$0]) < rank(waiting[$1]) }) else { return }
                let picture = waiting.remove(at: index)
                workers[0].taken += 1
                flights[picture].began = now
                schedule(model.stations[0].wayThere, .arrived(picture: picture, station: 0, isStep: true))
            }
        }

        func part(_ picture: Int) -> Int {
            if case .step(let part) = model.course[flights[picture].place] { part } else { 0 }
        }

        mutating func pump(_ station: Int) {
            release(station)
            guard workers[station].inHand == nil else { return }
            let stepWaits = !workers[station].steps.isEmpty && workers[station].held == nil
            if let side = workers[station].side {
                if stepWaits && side.given < PipelineSimulation.patience * side.own { return step(station) }
                return layer(station)
            }
            if !workers[station].sides.isEmpty && (workers[station].sideIsNext || !stepWaits) {
                workers[station].sideIsNext = false
                let picture = workers[station].sides.removeFirst()
                let seconds: Double =
                    switch model.course[flights[picture].place] {
                    case .encode: model.encodeSeconds
                    case .decode(let which): model.decoders.first { $0.station == station }?.seconds[which] ?? 0
                    case .step: 0
                    }
                workers[station].side = (picture, seconds, seconds / PipelineSimulation.layers, 0, 0)
                return layer(station)
            }
            if stepWaits { step(station) }
        }

        mutating func step(_ station: Int) {
            workers[station].sideIsNext = true
            let picture = workers[station].steps.removeFirst()
            let seconds = model.stations[station].partSeconds[part(picture)]
            workers[station].inHand = (picture, true)
            workers[station].side?.given += seconds
            stepSeconds += seconds
            workers[station].given += seconds
            work(station, seconds)
        }

        /// Goes on with the side task for one of its layers.
        mutating func layer(_ station: Int) {
            guard let side = workers[station].side else { return }
            let seconds = min(side.left, side.piece)
            workers[station].inHand = (side.picture, false)
            workers[station].side?.left -= seconds
            workers[station].side?.own += seconds
            work(station, seconds)
        }

        mutating func work(_ station: Int, _ seconds: Double) {
            workers[station].busy += seconds
            schedule(seconds, .done(station: station))
        }

        mutating func finish(_ station: Int) {
            guard let (picture, isStep) = workers[station].inHand else { return }
            workers[station].inHand = nil
            if !isStep {
                guard let side = workers[station].side, side.left <= 1e-3 * side.piece else { return }
                workers[station].side = nil
                return schedule(0, .answered(picture: picture))
            }
            workers[station].taken -= 1
            if station > 0 { workers[station].rows -= model.rows[part(picture)] }
            if station + 1 < model.stations.count {
                workers[station].held = picture
            } else {
                let tokens = max(1, model.tokens[part(picture)])
                let perToken = (now - flights[picture].began) / Double(tokens)
                secondsPerToken += (perToken - secondsPerToken) * (secondsPerToken == 0 ? 1 : 0.1)
                schedule(model.stations[station].wayThere, .answered(picture: picture))
            }
        }

        /// Sends a held answer on once the next worker has room for it.
        mutating func release(_ station: Int) {
            guard let picture = workers[station].held else { return }
            let rows = model.rows[part(picture)]
            guard workers[station + 1].taken < 2 || workers[station + 1].rows + rows <= 2 * (model.rows.max() ?? 0)
            else { return }
            workers[station].held = nil
            workers[station + 1].taken += 1
            workers[station + 1].rows += rows
            let next = model.stations[station + 1]
            let start = max(now, workers[station].linkFree)
            workers[station].linkFree = start + next.hopSeconds[part(picture)]
            schedule(
                workers[station].linkFree - now + next.wayThere,
                .arrived(picture: picture, station: station + 1, isStep: true))
        }
    }

    /// A queue by time.
    private struct Heap {
        private var items: [Event] = []

        mutating func push(_ event: Event) {
            items.append(event)
            var child = items.count - 1
            while child > 0, items[child] < items[(child - 1) / 2] {
                items.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        }

        mutating func pop() -> Event? {
            guard let first = items.first else { return nil }
            let last = items.removeLast()
            guard !items.isEmpty else { return first }
            items[0] = last
            var parent = 0
            while true {
                let children = [2 * parent + 1, 2 * parent + 2].filter { $0 < items.count }
                guard let least = children.min(by: { items[$0] < items[$1] }), items[least] < items[parent] else {
                    return first
                }
                items.swapAt(parent, least)
                parent = least
            }
        }
    }
}
