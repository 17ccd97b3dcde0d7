@testable import Coordinator
import Plan
import Stages
import TestKit
import Testing

@Suite("Planner")
struct PlannerTests {
    @Test("the search finds what trying everything finds, with and without memory limits", arguments: 0..<300)
    func equalsBruteForce(seed: Int) throws {
        var random = SplitMix(UInt64(seed) &* 7919 &+ 1)
        let count = random.int(1...4)
        let blocks = random.int(1...6)
        let isTight = seed % 2 == 1
        let nodes = (0..<count).map { index in
            NodeCosts.random("n\(index)", blocks: blocks, isTight: isTight, random: &random)
        }
        let encoder = random.int(0...count - 1)
        let decoders = Set((0..<random.int(1...2)).map { _ in random.int(0...count - 1) }).sorted()
        let search = CutSearch(nodes: nodes, encoder: encoder, decoders: decoders)
        let best = Self.bruteForce(search, blocks: blocks)
        let found = search.anyOrder()
        let level = found.map { search.level($0.spans) } ?? 0
        #expect(found.map(\.bottleneck) == best.map { max($0, level) }, "seed \(seed)")
        guard let found else { return }
        #expect(found.spans.map(\.span).reduce(0) { $1.lowerBound == $0 ? $1.upperBound : -1 } == blocks)
        #expect(found.spans.allSatisfy { search.fits($0.node, $0.span) })
        let real =
            found.spans.map { search.cost($0.node, $0.span) } + ([encoder] + decoders).map { search.load($0, 0..<0) }
            + [search.level(found.spans)]
        #expect(abs((real.max() ?? 0) - found.bottleneck) <= 1e-9 * found.bottleneck)
    }

    /// Every order of every subset of the nodes with every cut.
    private static func bruteForce(_ search: CutSearch, blocks: Int) -> Double? {
        var best: Double?
        func go(_ used: [Int], _ start: Int, _ worst: Double) {
            if start == blocks {
                var worst = worst
                for node in search.nodes.indices where !used.contains(node) {
                    guard search.fits(node, 0..<0) else { return }
                    worst = max(worst, search.load(node, 0..<0))
                }
                best = min(best ?? .infinity, worst)
                return
            }
            for node in search.nodes.indices where !used.contains(node) {
                for end in start + 1...blocks where search.fits(node, start..<end) {
                    go(used + [node], end, max(worst, search.cost(node, start..<end)))
                }
            }
        }
        go([], 0, 0)
        return best
    }

    @Test("nobody is given more than the usable share of his memory, whatever the cluster", arguments: 0..<200)
    func keepsCaps(seed: Int) throws {
        var random = SplitMix(UInt64(seed) &* 104_729 &+ 5)
        let input = PlanningInput.random(&random, memory: 1e9...9e9)
        let plan: CutPlan
        do {
            plan = try Planner.plan(input)
        } catch {
            #expect(error.description.contains("more RAM on"), "\(error)")
            return
        }
        let nodes = try #require(Planner.costs(input))
        for node in nodes {
            let blocks = plan.spans.first { $0.node == node.name }?.blocks ?? 0..<0
            var bytes = blocks.reduce(0) { $0 + node.blockBytes[$1] }
            if !blocks.isEmpty { bytes += node.workspaceBytes }
            if plan.encoder == node.name { bytes += node.encoderBytes }
            if plan.decoders.contains(node.name) { bytes += node.decoderBytes }
            #expect(bytes <= node.usableBytes)
            #expect(node.usableBytes <= 0.8 * (input.nodes.first { $0.name == node.name }?.memory ?? 0))
        }
        #expect(plan.spans.flatMap { Array($0.blocks) } == Array(0..<input.model.blockCount))
    }

    @Test("equal input gives an equal plan, in whatever order the workers are listed", arguments: 0..<30)
    func isReproducible(seed: Int) throws {
        var random = SplitMix(UInt64(seed) &+ 77)
        let input = PlanningInput.random(&random, memory: 20e9...40e9)
        var nodes = input.nodes
        for index in nodes.indices { nodes.swapAt(index, random.int(0...index)) }
        let other = PlanningInput(model: input.model, nodes: nodes, mix: input.mix)
        #expect(try Planner.plan(input) == Planner.plan(other))
    }

    @Test("from the worst cut it converges at once and then stays, although times are measured anew with noise")
    func converges() throws {
        var random = SplitMix(4)
        let speeds: [String: Double] = ["a": 4e11, "b": 2e11, "c": 1e11, "d": 1e11]
        func input(_ random: inout SplitMix) -> PlanningInput {
            PlanningInput(
                model: .flux,
                nodes: speeds.map { name, speed in
                    PlanningNode(name: name, memory: 64e9, speed: .rate(speed * random.double(0.97...1.03)))
                }, mix: .usual(.flux))
        }
        var plan = CutPlan(
            spans: [
                .init(node: "d", blocks: 0..<54), .init(node: "a", blocks: 54..<55),
                .init(node: "b", blocks: 55..<56), .init(node: "c", blocks: 56..<57),
            ],
            encoder: "d", decoders: ["d"])
        var changes: [Int] = []
        for round in 0..<60 {
            let input = input(&random)
            let next = try Planner.plan(input)
            if !Planner.keeps(plan, over: next, input) {
                changes.append(round)
                plan = next
            }
        }
        #expect(changes == [0])
        var exact = PlanningInput(model: .flux, nodes: [], mix: .usual(.flux))
        exact.nodes = speeds.sorted { $0.key < $1.key }.map { .init(name: $0, memory: 64e9, speed: .rate($1)) }
        let (kept, best) = (
            try #require(Planner.bottleneck(plan, exact)), try #require(Planner.bottleneck(Planner.plan(exact), exact))
        )
        #expect(kept < best * 1.1)
    }

    @Test("speeds of 4 : 2 : 1 : 1 get layers in that proportion, and much more speed than the equal cut")
    func followsSpeed() throws {
        let nodes = [("a", 4e11), ("b", 2e11), ("c", 1e11), ("d", 1e11)].map {
            PlanningNode(name: $0, memory: 64e9, speed: .rate($1))
        }
        var input = PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux))
        let plan = try Planner.plan(input)
        input.rule = .even
        let even = try Planner.plan(input)
        input.rule = .measured
        let gain = try #require(Planner.gain(of: plan, over: even, input))
        #expect(gain > 0.8)
        let nodeCosts = try #require(Planner.costs(input))
        // No cut can be faster than all nodes busy all the time.
        let bound = 1 / nodeCosts.reduce(0) { $0 + 1 / $1.blockSeconds.reduce(0, +) }
        #expect(try #require(Planner.bottleneck(plan, input)) < bound * 1.1)
    }

    @Test("a worker of unknown speed that only encodes is taken to be as fast as the others, and spoils no cut")
    func unknownEncoder() throws {
        let costs = MeasuredCosts.ofBlocks(seconds: 0.5)
        for speed in [nil, PlanningNode.Speed.measured(MeasuredCosts())] {
            var nodes = ["b", "c", "d", "e"].map {
                PlanningNode(name: $0, roles: [.blocks, .decoder], memory: 64e9, speed: .measured(costs))
            }
            // By its name in front of all of them.
            nodes.append(PlanningNode(name: "a", roles: [.encoder], memory: 64e9, speed: speed))
            let input = PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux))
            let plan = try Planner.plan(input)
            #expect(plan.encoder == "a" && plan.spans.count == 4)
            #expect(plan.spans.allSatisfy { (10...18).contains($0.blocks.count) }, "\(plan.spans.map(\.blocks))")
            // One more is worth it.
            var more = input
            more.nodes.append(PlanningNode(name: "f", roles: [.blocks], memory: 64e9, speed: .measured(costs)))
            #expect(try #require(Planner.gain(of: try Planner.plan(more), over: plan, more)) > 0.15)
        }
    }

    @Test("what does not fit is refused with how much is missing where; one byte more than that fits")
    func failsClosed() throws {
        func input(_ bytes: Double) -> PlanningInput {
            PlanningInput(
                model: .flux,
                nodes: [
                    PlanningNode(name: "big", memory: bytes, speed: .rate(1e11)),
                    PlanningNode(name: "small", memory: 16e9, speed: .rate(1e11)),
                ], mix: .usual(.flux))
        }
        let error = #expect(throws: PlanningFailure.self) { try Planner.plan(input(40e9)) }
        let text = try #require(error?.description)
        let missing = try #require(text.firstMatch(of: /needs ([0-9.]+) GB more RAM on big, which has 40.0 GB/))
        let bytes = try #require(Double(missing.1)) * 1e9
        _ = try Planner.plan(input(40e9 + bytes))
        #expect(throws: PlanningFailure.self) { try Planner.plan(input(40e9 + bytes * 0.95)) }
    }

    @Test("nothing measured: an even cut by name, unless memory forbids it")
    func withoutMeasurement() throws {
        func input(_ memory: [Double]) -> PlanningInput {
            PlanningInput(
                model: .flux,
                nodes: zip(["a", "b", "c"], memory).map { PlanningNode(name: $0, memory: $1, speed: nil) },
                mix: .usual(.flux))
        }
        let even = try Planner.plan(input([128e9, 128e9, 128e9]))
        #expect(
            even.spans.map(\.blocks) == [0..<19, 19..<38, 38..<57] && even.encoder == "a" && even.decoders == ["c"])
        // Nineteen double blocks of 1.36 GB do not fit beside the encoders.
        let uneven = try Planner.plan(input([30e9, 128e9, 128e9]))
        #expect(uneven != even && Planner.shortage(uneven, input([30e9, 128e9, 128e9])) == nil)
        var forced = input([30e9, 128e9, 128e9])
        forced.rule = .even
        #expect(throws: PlanningFailure.self) { try Planner.plan(forced) }
    }

    @Test("a slow link makes one fast worker do everything rather than share")
    func avoidsSlowLinks() throws {
        func plan(_ bytesPerSecond: Double) throws -> CutPlan {
            let link = LinkSpeed(bytesPerSecond: bytesPerSecond, roundTrip: 0.01)
            let nodes = ["a", "b"].map { PlanningNode(name: $0, memory: 200e9, speed: .rate(1e12), link: link) }
            return try Planner.plan(PlanningInput(model: .flux, nodes: nodes, mix: .usual(.flux)))
        }
        #expect(try plan(100e6).spans.count == 2)
        #expect(try plan(0.5e6).spans.count == 1)
    }

    @Test("where decoding is a large part of a picture, all workers take part in it; where it is not, one does")
    func sharesDecoding() throws {
        func decoders(_ operations: Double) throws -> [String] {
            var model = ModelFacts.flux
            model.sizes?.decoderOperationsPerPixel = operations
            let nodes = [("a", 2e12), ("b", 1e12), ("c", 1e12)].map {
                PlanningNode(name: $0, memory: 512e9, speed: .rate($1))
            }
            return try Planner.plan(PlanningInput(model: model, nodes: nodes, mix: .usual(model))).decoders
        }
        #expect(try decoders(2.4e6).count == 1)
        #expect(try decoders(2.4e9) == ["a", "b", "c"])
    }

    @Test("decodings fill up those who have least to do, and reach who has more only then")
    func levels() {
        #expect(CutSearch.level([0, 0], [2, 2]) == 1 && CutSearch.level([0], [3]) == 3)
        #expect(CutSearch.level([4, 1], [2, 2]) == 3, "all of it to the second")
        #expect(CutSearch.level([2, 1], [2, 2]) == 2.5)
        #expect(CutSearch.level([1, 1, 10], [1, 1, 1]) == 1.5, "the busy one is given none")
        #expect(CutSearch.level([5, 7], [0, 0]) == 5)
        var random = SplitMix(7)
        for _ in 0..<200 {
            let loads = (0..<random.int(1...6)).map { _ in Double(random.int(0...100)) }
            let alone = loads.map { _ in Double(random.int(1...50)) }
            let level = CutSearch.level(loads, alone)
            let done = zip(loads, alone).reduce(0.0) { $0 + max(0, level - $1.0) / $1.1 }
            #expect(abs(done - 1) < 1e-9, "\(loads), \(alone): \(level)")
        }
    }

    @Test("workers of one machine share its memory, unless they were given parts of it")
    func sharesMemory() {
        func hello(_ name: String, _ machine: String, shares: Bool) -> Hello {
            var hello = FakeModel.hello(name)
            hello.memoryCap = 1000
            hello.profile = NodeProfile(cores: 1, instructions: "avx2", machine: machine, sharesMemory: shares)
            return hello
        }
        let nodes = PlanningNode.nodes(
            [
                hello("a", "m", shares: true), hello("b", "m", shares: true), hello("c", "m", shares: false),
                hello("d", "other", shares: true),
            ], network: .gigabit)
        #expect(nodes.map(\.memory) == [500, 500, 1000, 1000])
    }

    @Test("a worker that did not measure its speed still says what weights take; from its benchmark it knows better")
    func weightsOfUnmeasured() {
        var hello = Self.hello("a", 0.1)
        func bytes() -> Double? { PlanningNode.nodes([hello], network: .gigabit).first?.bytesPerWeight }
        hello.profile?.costs?.bytesPerWeight = 1.1
        hello.profile?.bytesPerWeight = 2
        #expect(bytes() == 1.1)
        hello.profile?.costs = nil
        #expect(bytes() == 2)
        hello.profile?.bytesPerWeight = nil
        #expect(bytes() == 4)
    }

    @Test(
        "encoders are planned with what loading them takes, also where the transformer is in bytes",
        arguments: ["flux-dev", "flux-schnell"], ComputeFormat.allCases)
    func encoderMemory(model: String, format: ComputeFormat) throws {
        let folder = try Golden(model).modelFolder
        let facts = try ModelFacts(folder: folder)
        let node = PlanningNode(
            name: "n", memory: 1e9, speed: .rate(1e9),
            bytesPerWeight: try #require(try transformerBytesPerWeight(of: folder, in: format)))
        let costs = NodeCosts(
            node, model: facts, sizes: try #require(facts.sizes), mix: .usual(facts), bytesPerValue: 4)
        let loaded = try weightMemory(of: folder, in: format, components: ["text_encoder", "text_encoder_2"])
        #expect(abs(costs.encoderBytes / Double(loaded) - 1) < 0.05, "\(costs.encoderBytes) of \(loaded)")
        #expect(try encoderBytes(of: folder, in: format) == Double(loaded))
    }

    @Test("what a worker says of its encoders is planned with: a 32-bit T5 beside a 16-bit transformer")
    func encodersAsTold() throws {
        let facts = ModelFacts.flux
        var hello = Self.hello("a", 0.1)
        hello.profile?.costs?.bytesPerWeight = 2
        func planned() throws -> Double? {
            try PlanningNode.nodes([hello], network: .gigabit).first.map {
                NodeCosts(
                    $0, model: facts, sizes: try #require(facts.sizes), mix: .usual(facts), bytesPerValue: 4
                ).encoderBytes
            }
        }
        #expect(abs((try planned() ?? 0) / 10.1e9 - 1) < 0.01)
        hello.profile?.encoderBytes = 19.6e9
        #expect(try planned() == 19.6e9)
    }

    @Test("the first block is planned with the conditionings that its worker keeps: half a gigabyte for FLUX.1-dev")
    func conditioningsOfFlux() throws {
        let facts = ModelFacts.flux
        let sizes = try #require(facts.sizes)
        let node = PlanningNode(name: "n", memory: 1e9, speed: .rate(1e9), bytesPerWeight: 2)
        let bytes = NodeCosts(node, model: facts, sizes: sizes, mix: .usual(facts), bytesPerValue: 4).blockBytes
        #expect(abs(bytes[0] - bytes[1] - 2 * Double(sizes.embedWeights) - 64 * 512 * 4096 * 4) < 1e6)
    }

    @Test("FLUX.1-dev's encoders are planned with 10 GB in int8, as in bf16", arguments: [1.29, 1.34, 2, 2.55])
    func encodersOfFlux(bytesPerWeight: Double) throws {
        let facts = ModelFacts.flux
        let node = PlanningNode(name: "n", memory: 1e9, speed: .rate(1e9), bytesPerWeight: bytesPerWeight)
        let costs = NodeCosts(
            node, model: facts, sizes: try #require(facts.sizes), mix: .usual(facts), bytesPerValue: 4)
        #expect(abs(costs.encoderBytes / 10.1e9 - 1) < 0.01)
    }

    /// A worker that measured so many seconds for a block.
    static func hello(_ name: String, _ seconds: Double, decode: Double = 0.01) -> Hello {
        var hello = FakeModel.hello(name)
        var costs = MeasuredCosts()
        for path in [\MeasuredCosts.double, \.single] {
            costs[keyPath: path] = CostCurve([.init(size: 20, seconds: seconds)])
        }
        for path in [\MeasuredCosts.embed, \.head, \.encode] {
            costs[keyPath: path] = CostCurve([.init(size: 20, seconds: seconds / 100)])
        }
        costs.decode = CostCurve([.init(size: 1024, seconds: seconds * decode)])
        hello.profile = NodeProfile(
            cores: 1, instructions: "avx2", machine: name, sharesMemory: false, costs: costs)
        hello.model.sizes = ModelSizes(
            doubleCount: 2, doubleWeights: 10, singleWeights: 10, embedWeights: 1, headWeights: 1,
            encoderWeights: 1, encoderMatrixWeights: 1, decoderWeights: 1, decoderOperationsPerPixel: 1,
            decoderValuesPerPixel: 1)
        return hello
    }

    @Test("several decoders share the pictures, each answers for its own only, and one that is lost is replaced")
    func decodesEverywhere() throws {
        let bench = Bench()
        bench.join([Self.hello("a", 0.1, decode: 1000), Self.hello("b", 0.1, decode: 1000)])
        #expect(bench.core.plan?.placements.filter(\.decodes).map(\.worker) == ["a", "b"])
        let requests = (0..<4).map { ImageRequest.ralu("p\($0)", seed: UInt64($0)) }
        let id = try bench.submit(requests)
        var given: [String: Int] = [:]
        bench.work(until: { task in
            if task.key.need == .edge || task.key.need == .picture { given[task.worker, default: 0] += 1 }
            return task.key.need == .picture
        })
        let task = try #require(bench.tasks.first { $0.key.need == .picture })
        bench.handle(.result(bench.output(of: task), task.key, from: task.worker == "a" ? "b" : "a"))
        #expect(try bench.status(id).done == 0, "the other decoder was not asked")
        let lost = task.worker
        bench.handle(.disconnected(worker: lost, bootID: 1))
        bench.wait(2.5, beating: [lost == "a" ? "b" : "a"])
        #expect(bench.core.work == WorkBook(), "spans are others now")
        bench.tasks.removeAll { $0.key.epoch == 1 }
        bench.load()
        bench.work()
        #expect(try bench.status(id).done == 4)
        for request in requests {
            #expect(bench.files.values.contains(try FakeModel.render(request)))
        }
        #expect(given["a"] ?? 0 > 0 && given["b"] ?? 0 > 0)
    }

    @Test("decodings go to the worker whose blocks leave it more time, not to each in turn")
    func decodingsFillUp() throws {
        /// Small pictures are decoded in so many seconds, and large ones, which plans are made for, in many.
        func decodings(_ seconds: Double) throws -> [String: Int] {
            let bench = Bench()
            // Three blocks each, which take the second one 1.3 times as long.
            let workers = [("a", 0.1), ("b", 0.13)].map { name, block in
                var hello = Self.hello(name, block)
                hello.profile?.costs?.decode = CostCurve([
                    .init(size: 1024, seconds: seconds / 4), .init(size: 4096, seconds: seconds),
                    .init(size: 1 << 20, seconds: 20_000),
                ])
                return hello
            }
            bench.join(workers)
            let plan = try #require(bench.core.plan)
            #expect(plan.pipeline.map(\.span.count) == [3, 3] && plan.placements.allSatisfy(\.decodes))
            _ = try bench.submit((0..<20).map { ImageRequest.ralu("p\($0)", seed: UInt64($0)) })
            var given: [String: Int] = [:]
            bench.work(until: { task in
                if task.key.need == .edge || task.key.need == .picture { given[task.worker, default: 0] += 1 }
                return false
            })
            return given
        }
        // Beside decodings of 40 seconds the steps are nothing: each gets half. The second worker's steps of a picture
        // take some 0.3 seconds more; shorter decodings go to it only while the first one has another in hand.
        let (long, short) = (try decodings(40), try decodings(0.6))
        #expect(long == ["a": 20, "b": 20])
        #expect(short["a"] ?? 0 >= 26 && short.values.reduce(0, +) == 40, "\(short)")
    }

    @Test("what a worker was given adds up, and a lead is forgotten that decodings cannot make up for soon")
    func workBook() {
        var book = WorkBook()
        book.give("a", 3)
        book.give("b", 1)
        book.give("b", 1.5)
        #expect(book.given("a") == 3 && book.given("b") == 2.5 && book.given("c") == 0)
        book.giveDecoding("b", 2, others: ["a"])
        #expect(book.given("b") == 4.5 && book.given("a") == 3)
        book.give("a", 1000)
        book.giveDecoding("b", 2, others: ["a"])
        #expect(book.given("b") == 6.5 && book.given("a") == 6.5 + 8 * 2)
        var asked = 0
        func seconds(_ tokens: Int) -> Double? {
            book.call("a", tokens: tokens, text: 8) {
                asked += 1
                return tokens == 7 ? nil : Double(tokens)
            }
        }
        #expect(seconds(5) == 5 && seconds(5) == 5 && seconds(7) == nil && seconds(7) == nil && asked == 2)
    }

    @Test("a worker that joins a measured cluster is planned in only where that is worth it")
    func joinsWhenWorthIt() throws {
        let bench = Bench()
        bench.join([Self.hello("a", 0.1), Self.hello("b", 0.05)])
        let first = try #require(bench.core.plan)
        #expect(first.pipeline.map(\.span.count).sorted() == [2, 4])
        #expect(first.pipeline.first { $0.span.count == 4 }?.worker == "b")
        // Hundred times slower: it would have to take a block, and gains nothing.
        bench.join([Self.hello("slow", 10)])
        #expect(bench.core.plan == first)
        bench.join([Self.hello("c", 0.05)])
        let second = try #require(bench.core.plan)
        #expect(second.epoch == first.epoch + 1 && second.pipeline.count == 3)
        #expect(!second.pipeline.contains { $0.worker == "slow" })
    }
}

extension ModelFacts {
    /// FLUX.1-dev.
    static let flux = ModelFacts(
        name: "flux", family: "FluxPipeline", fingerprint: "f", blockCount: 57, width: 3072, contextWidth: 4096,
        pooledWidth: 768, maxTextLength: 512, takesGuidance: true, scalingFactor: 0.3611, shiftFactor: 0.1159,
        schedule: ScheduleFacts(),
        sizes: ModelSizes(
            doubleCount: 19, doubleWeights: 339_831_296, singleWeights: 141_594_880, embedWeights: 54_000_000,
            headWeights: 19_000_000, encoderWeights: 4_885_000_000, encoderMatrixWeights: 4_750_000_000,
            decoderWeights: 49_545_475, decoderOperationsPerPixel: 2.4e6, decoderValuesPerPixel: 1024))
}

extension MeasuredCosts {
    /// Both kinds of block at FLUX's size of 1024x1024 pixels, and a decoder; encoders as large as FLUX's are not measured.
    fileprivate static func ofBlocks(seconds: Double) -> MeasuredCosts {
        var costs = MeasuredCosts()
        costs.double.samples = [.init(size: 4608, seconds: seconds)]
        costs.single.samples = [.init(size: 4608, seconds: seconds)]
        costs.decode.samples = [.init(size: 1 << 20, seconds: seconds)]
        return costs
    }
}

extension PlanningInput {
    /// One to six nodes and a model of a few blocks.
    static func random(_ random: inout SplitMix, memory: ClosedRange<Double>) -> PlanningInput {
        var model = ModelFacts.flux
        model.blockCount = random.int(2...12)
        model.sizes?.doubleCount = random.int(0...model.blockCount)
        model.sizes?.encoderWeights = 200_000_000
        model.sizes?.encoderMatrixWeights = 200_000_000
        let nodes = (0..<random.int(1...6)).map { index in
            PlanningNode(
                name: "n\(index)", memory: random.double(memory), speed: .rate(random.double(1e10...1e12)),
                bytesPerWeight: [4, 2, 1][random.int(0...2)])
        }
        return PlanningInput(model: model, nodes: nodes, mix: .usual(model))
    }
}

extension NodeCosts {
    static func random(_ name: String, blocks: Int, isTight: Bool, random: inout SplitMix) -> NodeCosts {
        let seconds = (0..<blocks).map { _ in random.double(0.1...2) }
        return NodeCosts(
            name: name, roles: random.int(0...5) == 0 ? [.encoder, .decoder] : Set(Role.allCases),
            partSeconds: [seconds], blockSeconds: seconds, encodeSeconds: random.double(0...1), decodingSeconds: [],
            decodeSeconds: random.double(0...2), blockBytes: (0..<blocks).map { _ in random.double(1...3) },
            workspaceBytes: random.double(0...1), encoderBytes: random.double(0...4),
            decoderBytes: random.double(0...4), usableBytes: isTight ? random.double(2...9) : 1e9, hopSeconds: [],
            wayThere: 0, linkSeconds: random.int(0...1) == 0 ? 0 : random.double(0...3))
    }
}

extension SplitMix {
    mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(next() % UInt64(range.count))
    }

    mutating func double(_ range: ClosedRange<Double>) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * Double(next() >> 11) * 0x1p-53
    }
}
