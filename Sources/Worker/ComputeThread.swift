internal import Checkpoint
internal import DiT
internal import Foundation
internal import Plan
internal import Stages
internal import Synchronization
internal import Tensors

/// The one thread that touches weights: it reads shares and computes tasks, one after the other.
///
/// A thread of its own and not of the cooperative pool, because a task takes seconds. The loops inside are shared with
/// the threads of the model's `Compute`.
final class ComputeThread: Sendable {
    private enum Order: Sendable {
        case load(Share)
        case drop
        case compute(WorkItem)
        case end
    }

    /// Orders not begun; the condition guards them.
    private final class Inbox: @unchecked Sendable {
        private let condition = NSCondition()
        private var orders: [Order] = []

        func put(_ order: Order) {
            condition.lock()
            orders.append(order)
            condition.signal()
            condition.unlock()
        }

        func take() -> Order {
            condition.lock()
            while orders.isEmpty { condition.wait() }
            defer { condition.unlock() }
            return orders.removeFirst()
        }
    }

    /// What heartbeats tell of the task in hand.
    private final class Progress: Sendable {
        /// Block in hand, or -1.
        let block = Atomic<Int>(-1)
        /// When the task in hand began, or 0.
        let began = Atomic<UInt64>(0)
    }

    private let inbox = Inbox()
    private let progress = Progress()

    /// Starts the thread; `report` is called on it after each `load` and each `compute`.
    init(folder: ModelFolder, blockCount: Int, compute: Compute, report: @escaping @Sendable (Event) -> Void) {
        let thread = Thread { [inbox, progress] in
            Self.serve(inbox, progress, folder: folder, blockCount: blockCount, compute: compute, report: report)
        }
        thread.name = "compute"
        thread.stackSize = 8 << 20
        thread.start()
    }

    /// Reads a share, in place of what was read before.
    func load(_ share: Share) { inbox.put(.load(share)) }

    /// Forgets the weights.
    func drop() { inbox.put(.drop) }

    /// Computes a task.
    func compute(_ item: WorkItem) { inbox.put(.compute(item)) }

    /// Ends the thread after what it has in hand.
    func end() { inbox.put(.end) }

    /// Block in hand.
    var block: Int? {
        let block = progress.block.load(ordering: .relaxed)
        return block < 0 ? nil : block
    }

    /// Nanoseconds since the task in hand began; 0 without one.
    var computing: Nanoseconds {
        let began = progress.began.load(ordering: .relaxed)
        return began == 0 ? 0 : monotonicNow() - began
    }

    private static func serve(
        _ inbox: Inbox, _ progress: Progress, folder: ModelFolder, blockCount: Int, compute: Compute,
        report: @Sendable (Event) -> Void
    ) {
        var model: LoadedModel?
        while true {
            switch inbox.take() {
            case .end: return
            case .drop: model = nil
            case .load(let share):
                model = nil
                do {
                    let loaded = try LoadedModel(folder: folder, share: share, compute: compute)
                    model = loaded
                    report(.loaded(share, .success(UInt64(loaded.residentBytes))))
                } catch {
                    report(.loaded(share, .failure(LoadFailure(text: "\(error)"))))
                }
            case .compute(let item):
                let began = monotonicNow()
                progress.began.store(began, ordering: .relaxed)
                let result: Result<Outcome, WorkFailure>
                do {
                    guard let model else { throw WorkFailure(text: "no weights in memory") }
                    result = .success(
                        try perform(item.work, model, isLast: model.share.span.upperBound == blockCount) {
                            progress.block.store($0, ordering: .relaxed)
                        })
                } catch let failure as WorkFailure {
                    result = .failure(failure)
                } catch {
                    result = .failure(WorkFailure(text: "\(error)"))
                }
                progress.began.store(0, ordering: .relaxed)
                progress.block.store(-1, ordering: .relaxed)
                report(.computed(item.key, result, elapsed: monotonicNow() - began))
            }
        }
    }

    private static func perform(
        _ work: WorkItem.Work, _ model: LoadedModel, isLast: Bool, onBlock: (Int) -> Void
    ) throws -> Outcome {
        func through(_ stream: DiT.Stream) -> Outcome {
            var stream = stream
            onBlock(model.share.span.lowerBound)
            model.run(&stream) { onBlock($0 + 1) }
            return isLast ? .velocity(model.head(stream)) : .activation(stream)
        }
        switch work {
        case .encode(let prompt, let textLength):
            return .conditioning(try model.encode(prompt: prompt, textLength: textLength))
        case .step(let latents, let sigma, let guidance, let conditioning):
            guard let conditioning else { throw WorkFailure(text: "a step without conditioning") }
            return through(model.embed(latents, conditioning, sigma: sigma, guidance: guidance))
        case .activation(let stream): return through(stream)
        case .decode(let latent, let final):
            let pixels = try model.decode(latent)
            guard final else { return .planes(pixels) }
            return .picture(rgb8: pixels.rgb8(), width: pixels.width, height: pixels.height)
        }
    }
}

/// Nanoseconds of the clock that timers and counters share; it does not jump.
func monotonicNow() -> Nanoseconds { DispatchTime.now().uptimeNanoseconds }
