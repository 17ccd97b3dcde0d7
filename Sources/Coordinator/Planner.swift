internal import Plan

/// Places a model on workers, reproducibly: everything goes by name.
enum Planner {
    /// Gives each worker its share; nil with the reason when a role is missing.
    ///
    /// The encoder is the first worker that offers it, the decoder the last one; blocks are cut evenly over all that
    /// offer them, unless `cut` says how many each gets: one number for each of them, in order of name, that together
    /// make `blockCount`. A cut that does not fit those who are here is left aside, so that a lost worker stops nothing.
    static func placements(
        _ workers: [Hello], blockCount: Int, cut: [Int] = []
    ) -> (placements: [Placement]?, missing: String?) {
        let workers = workers.sorted { $0.name < $1.name }
        for role in [Role.encoder, .blocks, .decoder] where !workers.contains(where: { $0.roles.contains(role) }) {
            return (nil, "no worker offers role \(role.rawValue)")
        }
        let encoder = workers.first { $0.roles.contains(.encoder) }?.name
        let decoder = workers.last { $0.roles.contains(.decoder) }?.name
        let pipeline = workers.filter { $0.roles.contains(.blocks) }.prefix(blockCount)
        let isCut = cut.count == pipeline.count && cut.allSatisfy { $0 > 0 } && cut.reduce(0, +) == blockCount
        let spans =
            isCut
            ? cut.indices.map { place in
                let start = cut[..<place].reduce(0, +)
                return start..<start + cut[place]
            } : ClusterPlan.evenSpans(blockCount: blockCount, workers: pipeline.count)
        var spanOf: [String: Range<Int>] = [:]
        for (worker, span) in zip(pipeline, spans) { spanOf[worker.name] = span }
        let placed = workers.map { worker in
            Placement(
                worker: worker.name, span: spanOf[worker.name] ?? 0..<0, encodes: worker.name == encoder,
                decodes: worker.name == decoder, endpoint: worker.dataEndpoint)
        }.filter { !$0.span.isEmpty || $0.encodes || $0.decodes }
        return (placed.filter { !$0.span.isEmpty } + placed.filter { $0.span.isEmpty }, nil)
    }
}
