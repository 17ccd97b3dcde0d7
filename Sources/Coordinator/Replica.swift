internal import Plan

/// One pipeline of the plan in force, as the coordinator feeds it.
struct Replica {
    /// Its workers with blocks, first span first.
    let pipeline: [String]
    /// Who encodes for it: a worker of its own before one that serves others too.
    let encoder: String
    /// Who decodes for it.
    let decoders: [Placement]
    /// Pictures in flight that its pipeline may have to compute steps for.
    let limit: Int
    /// Pictures that it may have in flight beyond those: only while as many are being decoded, so that decodings, which
    /// are long, take no place from steps.
    var spare: Int { pipeline.count }
    /// Whether all workers that it needs have loaded.
    var isLoaded = false
    /// Steps that its first worker takes.
    var credit = CreditLine()

    /// The worker that is given steps.
    var first: String { pipeline[0] }

    /// The replicas of a plan.
    static func all(_ plan: ClusterPlan, flightsPerWorker: Int) -> [Replica] {
        plan.pipelines.enumerated().compactMap { number, pipeline in
            let serving = plan.placements.filter { $0.serves(number) }
            let encoders = serving.filter(\.encodes)
            return (encoders.first { $0.replica != nil } ?? encoders.first).map { encoder in
                Replica(
                    pipeline: pipeline.map(\.worker), encoder: encoder.worker, decoders: serving.filter(\.decodes),
                    limit: flights(pipeline.count, perWorker: flightsPerWorker))
            }
        }
    }

    /// Pictures that a pipeline of so many workers has in flight at most; its first worker keeps no more conditionings.
    static func flights(_ workers: Int, perWorker: Int) -> Int {
        min(perWorker * workers, NodeProfile.keptConditionings)
    }

    /// Whether it can work while these workers of the plan still load.
    func canWork(without missing: Set<String>) -> Bool {
        !missing.contains(encoder) && missing.isDisjoint(with: pipeline)
            && decoders.contains { !missing.contains($0.worker) }
    }
}
