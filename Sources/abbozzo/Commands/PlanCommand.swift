internal import ArgumentParser
internal import Checkpoint
internal import Coordinator
internal import Foundation
internal import Logging
internal import Plan
internal import Sampling
internal import Settings
internal import Stages
internal import Tensors
internal import Worker

/// A dry run of the planner.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Say how a model would be cut and what that would give; changes nothing.",
        discussion: """
            For the workers of a running coordinator, or with --nodes for nodes that need not exist. Predicts pictures an \
            hour by a formula and by an event simulation, with a backlog of pictures like the one that the flags describe.
            """)

    @Option(
        help: ArgumentHelp("YAML list of nodes, see configs/nodes.yaml, instead of a coordinator's.", valueName: "file")
    )
    var nodes: String?

    @Option(help: ArgumentHelp("Model folder for --nodes. Default: the demo model.", valueName: "dir"))
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Number format of the workers for --nodes: f32, bf16 or int8. The rates in the file should be those of this "
                + "format. Default: f32.", valueName: "format"))
    var compute: ComputeFormat?

    @Option(
        help: ArgumentHelp(
            "How layers are cut, as the coordinator's --cut; what a running one has, it does not ask.",
            valueName: "measured|even|n,n,…"),
        transform: cutRule)
    var cut: CutRule = .measured

    @Option(
        help: ArgumentHelp(
            "Pipelines beside each other, as the coordinator's --replicas. Default: as many as the plan in force has, "
                + "else 1.", valueName: "n|auto"),
        transform: replicaRule)
    var replicas: ReplicaRule?

    @Option(
        help: ArgumentHelp(
            "How hidden states travel, as the coordinator's --wire. Default: as in the plan in force, else f32.",
            valueName: "f32|bf16|int8|auto"),
        transform: wireRule)
    var wire: WireRule?

    @Option(
        help: ArgumentHelp(
            "Pictures in flight for each worker, besides those that are being decoded, as the coordinator's "
                + "flights_per_worker; what a running one has, it does not ask.", valueName: "n"))
    var flightsPerWorker = 2

    @Option(
        help: ArgumentHelp(
            "Network between machines: of a coordinator's workers, whose links count as they were measured if this is not "
                + "given; with --nodes, of those that have no network_mbit of their own. Default: 936, Gigabit.",
            valueName: "Mbit/s"))
    var networkMbit: Double?

    @Option(
        help: ArgumentHelp(
            "Also simulate pipelines of so many workers with this plan's stage times.", valueName: "n,n,…"),
        transform: numbers)
    var scale: [Int]?

    @OptionGroup var picture: PictureOptions
    @OptionGroup var client: ClientOptions
    @OptionGroup var options: OutputOptions

    func validate() throws {
        guard nodes != nil || model == nil && compute == nil else {
            throw ValidationError("--model and --compute are for --nodes: a coordinator's workers have their own")
        }
        guard 1...64 ~= flightsPerWorker else {
            throw ValidationError("--flights-per-worker is \(flightsPerWorker), but must be from 1 to 64")
        }
        if let networkMbit, !(0.1...1e9).contains(networkMbit) {
            throw ValidationError("--network-mbit is \(networkMbit), but must be from 0.1")
        }
    }

    /// What `--json` prints.
    private struct Report: Encodable {
        struct Scaled: Encodable {
            let workers: Int
            /// Pictures as a share of what the workers would draw without bubbles.
            let efficiency: Double
        }

        let model: String
        let picture: String
        let cut: String
        let wire: WireFormat
        let isMeasured: Bool
        let forecast: Forecast?
        let present: Forecast?
        let replicas: ReplicaAdvice?
        let scaled: [Scaled]
    }

    func run() async throws {
        var (input, present, request, inForce) = try await question()
        var format = inForce ?? .f32
        if case .format(let asked) = wire { format = asked }
        input.bytesPerValue = format.bytesPerValue(width: input.model.width)
        let plan: ReplicatedPlan
        do {
            plan = try Planner.plan(input, replicas: replicas ?? .count(present?.replicas.count ?? 1))
        } catch {
            throw CommandFailure(.usage, "\(error)")
        }
        if let misfit = cut.misfit(plan.replicas.map { $0.spans.map(\.blocks.count) }) {
            throw CommandFailure(.usage, "--cut \(misfit)")
        }
        if wire == .auto {
            format = WireChoice.best(plan, input)
            input.bytesPerValue = format.bytesPerValue(width: input.model.width)
        }
        let forecast = Forecast(plan, input, flightsPerWorker: flightsPerWorker)
        let advice = ReplicaAdvice.best(input, flightsPerWorker: flightsPerWorker)
        let scaled = (scale ?? []).compactMap { workers in
            Forecast.efficiency(plan.replicas[0], input, workers: workers, flightsPerWorker: flightsPerWorker).map {
                Report.Scaled(workers: workers, efficiency: $0)
            }
        }
        let report = Report(
            model: input.model.name, picture: text(request),
            cut: plan.replicas.map { cut in
                cut.spans.map { "\($0.node) \($0.blocks.lowerBound)-\($0.blocks.upperBound - 1)" }
                    .joined(separator: ", ")
            }.joined(separator: " | "), wire: format,
            isMeasured: Planner.isMeasured(input), forecast: forecast,
            present: present.flatMap { $0 == plan ? nil : Forecast($0, input, flightsPerWorker: flightsPerWorker) },
            replicas: advice.flatMap { $0.picturesPerHour > (forecast?.picturesPerHour ?? 0) * 1.02 ? $0 : nil },
            scaled: scaled)
        if options.json { return try sayJSON(report) }
        for line in lines(report) { say(line) }
    }

    private func lines(_ report: Report) -> [String] {
        var lines = ["\(report.model), \(report.picture)"]
        guard let forecast = report.forecast else {
            return lines + [report.cut, "no speed is known of some worker: start it with --benchmark cached"]
        }
        let hasReplicas = (forecast.replicas ?? 1) > 1
        var table = Table(
            ["NODE", "BLOCKS"] + (hasReplicas ? ["REPLICA"] : []) + [
                "ALSO", "SECONDS A PICTURE", "BUSY", "MEMORY", "OF USABLE",
            ])
        for node in forecast.nodes {
            let also = [node.encodes ? "encodes" : nil, node.decodes ? "decodes" : nil].compactMap(\.self)
            let replica = hasReplicas ? [node.replica.map(String.init) ?? "all"] : []
            let blocks = node.endBlock > node.firstBlock ? "\(node.firstBlock)-\(node.endBlock - 1)" : "-"
            table.add(
                [node.name, blocks] + replica + [
                    also.isEmpty ? "-" : also.joined(separator: ","), String(format: "%.3f", node.secondsPerPicture),
                    percentText(node.busy), bytesText(node.memoryBytes), bytesText(node.usableBytes),
                ])
        }
        lines += [""] + table.lines + [""]
        lines.append(
            "\(perHour(forecast.picturesPerHour)) pictures an hour with \(forecast.flights) in flight (formula "
                + "\(perHour(forecast.formulaPerHour))); one picture alone takes \(durationText(forecast.latencySeconds))"
        )
        lines.append("bubble \(percentText(forecast.bubble)); slowest place: \(forecast.bottleneck)")
        if forecast.links > 0 {
            let links = forecast.links == 1 ? "the link" : "each of \(forecast.links) links"
            lines.append(
                "\(bytesText(forecast.bytesPerLink)) of activations a picture over \(links), in \(report.wire.rawValue)"
            )
        }
        if let present = report.present {
            let gain = forecast.picturesPerHour / present.picturesPerHour - 1
            lines.append(
                "the plan in force is another one: \(perHour(present.picturesPerHour)) pictures an hour, this one "
                    + String(format: "%+.0f %%", gain * 100))
        }
        if let advice = report.replicas {
            let groups = advice.groups.map { $0.joined(separator: "+") }.joined(separator: ", ")
            let gain = advice.picturesPerHour / forecast.picturesPerHour - 1
            lines.append(
                "\(advice.groups.count) pipelines beside each other would be faster: \(perHour(advice.picturesPerHour)) "
                    + String(format: "(%+.0f %%)", gain * 100)
                    + " with --replicas \(advice.groups.count): \(shortened(groups, to: 300))")
        }
        for scaled in report.scaled {
            lines.append(
                "\(scaled.workers) workers with these stage times, simulated: \(ratioText(scaled.efficiency)) of "
                    + "\(scaled.workers) times one")
        }
        return lines
    }

    private func perHour(_ rate: Double) -> String { String(format: rate < 100 ? "%.2f" : "%.0f", rate) }

    private func text(_ request: ImageRequest) -> String {
        "\(request.width)x\(request.height), \(request.preset ?? request.sampler.name), "
            + "\(request.sampler.totalSteps) steps, text of \(request.textLength) tokens"
    }

    /// What is to be planned, the plan in force, the picture, and how hidden states travel now.
    private func question() async throws -> (PlanningInput, ReplicatedPlan?, ImageRequest, WireFormat?) {
        func request(_ facts: ModelFacts) throws -> ImageRequest {
            var presets = Presets(in: .ofThisProcess())
            let request = try picture.defaults.request(
                PromptLine(prompt: "", place: .init(file: "the command line")), index: 0, facts: facts,
                presets: &presets)
            try Sampler.check(request, facts: facts)
            return request
        }
        if let nodes {
            let compute = compute ?? .f32
            let file = try NodesFile(path: nodes, networkMbit: networkMbit ?? NodesFile.gigabit)
            let folder = try modelFolder(model)
            let facts = try ModelFacts(folder: folder)
            let request = try request(facts)
            let costs = file.nodes.contains { $0.gflops == nil } ? try ownCosts(folder, facts, compute) : nil
            let bytesPerWeight = try transformerBytesPerWeight(of: folder, in: compute) ?? 4
            let encoderBytes = try encoderBytes(of: folder, in: compute)
            let all = file.nodes.flatMap { node in
                node.names.map {
                    PlanningNode($0, node, own: costs, bytesPerWeight: bytesPerWeight, encoderBytes: encoderBytes)
                }
            }
            return (PlanningInput(model: facts, nodes: all, mix: PictureMix([request]), rule: cut), nil, request, nil)
        }
        let status = try await client.connected { try await $0.nodes() }
        let workers = status.workers.filter { [.joined, .loading, .ready].contains($0.life) }
        guard let facts = workers.first?.hello.model else {
            let drained = status.workers.filter { $0.isDrained == true && $0.life != .lost }.map(\.hello.name)
            throw CommandFailure(
                .usage,
                drained.isEmpty
                    ? "no worker is there; start one, or give --nodes FILE"
                    : "all workers there are drained (\(drained.joined(separator: ", "))); let one back in with abbozzo nodes "
                        + "undrain NAME, or give --nodes FILE")
        }
        let request = try request(facts)
        var network = LinkSpeed.gigabit
        if let networkMbit { network.bytesPerSecond = networkMbit * 1e6 / 8 }
        let paces = workers.compactMap { worker in worker.pace.map { (worker.hello.name, $0) } }
        var nodes = PlanningNode.nodes(
            workers.map(\.hello), network: network, paces: Dictionary(paces, uniquingKeysWith: { $1 }))
        if networkMbit == nil {
            // As the coordinator measured them, in the pipeline in force.
            nodes = nodes.withLinks(
                workers.compactMap { worker in
                    worker.link.map { (ends: [worker.hello.name, $0.target], speed: $0.speed) }
                })
        }
        let input = PlanningInput(model: facts, nodes: nodes, mix: PictureMix([request]), rule: cut)
        return (input, status.plan.flatMap { ReplicatedPlan($0) }, request, status.plan?.wire)
    }

    /// This machine's speed, as a worker with all cores would measure it.
    private func ownCosts(
        _ folder: ModelFolder, _ facts: ModelFacts, _ compute: ComputeFormat
    ) throws -> MeasuredCosts {
        let logger = Logger(label: "plan") { _ in SwiftLogNoOpLogHandler() }
        let benchmark = Benchmark(mode: .cached, build: programBuild())
        let costs = benchmark.costs(
            folder: folder, facts: facts, roles: Set(Role.allCases),
            compute: Compute(threads: availableCores, kernels: try kernelClass(compute)), log: logger)
        guard let costs else {
            throw CommandFailure(.usage, "the speed of this machine could not be measured; give gflops for each node")
        }
        return costs
    }
}

extension PlanningNode {
    /// One node of a file; `own` is what this machine measured.
    fileprivate init(
        _ name: String, _ node: NodesFile.Node, own: MeasuredCosts?, bytesPerWeight: Double, encoderBytes: Double
    ) {
        let speed: Speed? =
            if let gflops = node.gflops { .rate(gflops * 1e9) } else { own.map { .measured($0.faster(node.speed)) } }
        self.init(
            name: name, roles: Set(node.roles), memory: node.memoryGiB * 1_073_741_824, speed: speed,
            bytesPerWeight: bytesPerWeight, encoderBytes: encoderBytes,
            link: LinkSpeed(bytesPerSecond: node.networkMbit * 1e6 / 8, roundTrip: node.roundTripMilliseconds / 1000))
    }
}

/// Reads `4,8,16`.
private func numbers(_ text: String) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
        guard let number = Int(word), 1...256 ~= number else {
            throw ValidationError(
                "--scale is \(text.prefix(60)), but must be numbers of workers up to 256, as in 4,8,16,64")
        }
        return number
    }
}
