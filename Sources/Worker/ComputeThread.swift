internal import Checkpoint
internal import DiT
internal import Foundation
internal import Plan
internal import Stages
internal import Synchronization
internal import Tensors

/// The one thread that touches weights: it reads shares and computes tasks.
///
/// Steps run without a break, and so do side tasks (encode and decode) of pictures that somebody waits for. Any other
/// side task looks between its layers whether one of these came meanwhile, and computes that first, so that a decode of
/// seconds does not stop the pipeline. Not without end: a side task that gave `patience` times as long as it computed
/// itself goes on with its next layer first, so a stream of steps slows it down and cannot starve it. What is computed
/// does not depend on the order. A side task of a picture that nobody wants any more ends between two layers.
///
/// A thread of its own and not of the cooperative pool, because a task takes seconds. The loops inside are shared with
/// the threads of the model's `Compute`.
final class ComputeThread: Sendable {
    /// Time that a side task gives to steps, for each of its own.
    ///
    /// Measured with two workers of one thread, the demo model at 256x256, RALU 4x and four pictures in flight: workers
    /// compute 0.87 of the time, and 0.79 where side tasks do not give way.
    private static let patience: Nanoseconds = 4

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
        /// Side tasks in hand whose answer nobody wants: one, and another that it gives way to.
        private var abandoned: [TaskKey] = []

        func put(_ order: Order) {
            condition.lock()
            // The same task again is wanted.
            if case .compute(let item) = order { abandoned.removeAll { $0 == item.key } }
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

        /// Nobody wants the answer to a side task.
        func abandon(_ key: TaskKey) {
            condition.withLock { abandoned = abandoned.suffix(1).filter { $0 != key } + [key] }
        }

        func checkWanted(_ key: TaskKey) throws(Abandoned) {
            if condition.withLock({ abandoned.contains(key) }) { throw Abandoned() }
        }

        /// A task that may run between the layers of another, if that is what comes next; does not wait.
        func takeBetween(layersOf other: TaskKey) -> WorkItem? {
            condition.lock()
            defer { condition.unlock() }
            guard case .compute(let item) = orders.first, item.goesBetween(layersOf: other) else { return nil }
            orders.removeFirst()
            return item
        }
    }

    /// The task in hand is not wanted any more.
    private struct Abandoned: Error {}

    /// What heartbeats tell of the task in hand.
    private final class Progress: Sendable {
        /// Block in hand, or -1.
        let block = Atomic<Int>(-1)
        /// When the task in hand moved last: began, or ended a block or a layer; 0 without one.
        let moved = Atomic<UInt64>(0)
        /// When the task in hand began, or 0; with a step inside a side task, so long ago as both have computed.
        let began = Atomic<UInt64>(0)
    }

    private let inbox = Inbox()
    private let progress = Progress()

    /// Starts the thread; `report` is called on it after each `load` and each `compute`.
    ///
    /// The folder must stay what `facts` say.
    init(folder: ModelFolder, facts: ModelFacts, compute: Compute, report: @escaping @Sendable (Event) -> Void) {
        let thread = Thread { [inbox, progress] in
            let loop = Loop(
                inbox: inbox, progress: progress, folder: folder, facts: facts, compute: compute, report: report)
            loop.run()
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

    /// Ends a side task at its next layer, if it is in hand; its answer is a failure then.
    func abandon(_ key: TaskKey) { inbox.abandon(key) }

    /// Ends the thread after what it has in hand.
    func end() { inbox.put(.end) }

    /// Block in hand.
    var block: Int? {
        let block = progress.block.load(ordering: .relaxed)
        return block < 0 ? nil : block
    }

    /// Nanoseconds computed and not reported yet; 0 without a task in hand.
    var computing: Nanoseconds {
        let began = progress.began.load(ordering: .relaxed)
        return began == 0 ? 0 : monotonicNow() - began
    }

    /// Nanoseconds for which the task in hand has not moved on by a block or a layer; 0 without one.
    var standing: Nanoseconds {
        let moved = progress.moved.load(ordering: .relaxed)
        let now = monotonicNow()
        return moved == 0 ? 0 : now - min(moved, now)
    }

    /// What the thread does.
    private struct Loop {
        let inbox: Inbox
        let progress: Progress
        let folder: ModelFolder
        let facts: ModelFacts
        let compute: Compute
        let report: @Sendable (Event) -> Void

        func run() {
            var model: LoadedModel?
            while true {
                switch inbox.take() {
                case .end: return
                case .drop: model = nil
                case .load(let share):
                    model = nil
                    do {
                        let loaded = try LoadedModel(
                            folder: folder, share: share, compute: compute, fingerprint: facts.fingerprint)
                        model = loaded
                        report(.loaded(share, .success(UInt64(loaded.residentBytes))))
                    } catch {
                        report(.loaded(share, .failure(LoadFailure(text: "\(error)"))))
                    }
                case .compute(let item):
                    move()
                    if item.isWhole { whole(item, model) } else { piecemeal(item, model) }
                    progress.moved.store(0, ordering: .relaxed)
                }
            }
        }

        private func move() { progress.moved.store(monotonicNow(), ordering: .relaxed) }

        /// Computes a task without a break; `earlier` is what the side task around it has computed.
        private func whole(_ item: WorkItem, _ model: LoadedModel?, earlier: Nanoseconds = 0) {
            let began = monotonicNow()
            progress.began.store(began - earlier, ordering: .relaxed)
            let result = result(item, model) {
                move()
                try inbox.checkWanted(item.key)
            }
            let now = monotonicNow()
            progress.block.store(-1, ordering: .relaxed)
            progress.began.store(earlier == 0 ? 0 : now - earlier, ordering: .relaxed)
            report(.computed(item.key, result, elapsed: now - began))
        }

        /// Computes an encode or a decode, and what may run between its layers and comes meanwhile.
        private func piecemeal(_ item: WorkItem, _ model: LoadedModel?) {
            let began = monotonicNow()
            var given: Nanoseconds = 0
            progress.began.store(began, ordering: .relaxed)
            let result = result(item, model) {
                while true {
                    move()
                    try inbox.checkWanted(item.key)
                    let now = monotonicNow()
                    let own = now - began - given
                    guard given < ComputeThread.patience * own, let other = inbox.takeBetween(layersOf: item.key)
                    else { return }
                    whole(other, model, earlier: own)
                    given += monotonicNow() - now
                    progress.began.store(began + given, ordering: .relaxed)
                }
            }
            progress.began.store(0, ordering: .relaxed)
            report(.computed(item.key, result, elapsed: monotonicNow() - began - given, given: given))
        }

        private func result(
            _ item: WorkItem, _ model: LoadedModel?, pause: () throws -> Void
        ) -> Result<Outcome, WorkFailure> {
            do {
                guard let model else { throw WorkFailure(text: "no weights in memory") }
                return .success(try perform(item.work, model, pause: pause))
            } catch is Abandoned {
                return .failure(WorkFailure(text: "nobody wants it any more"))
            } catch let failure as WorkFailure {
                return .failure(failure)
            } catch {
                return .failure(WorkFailure(text: "\(error)"))
            }
        }

        private func perform(_ work: WorkItem.Work, _ model: LoadedModel, pause: () throws -> Void) throws -> Outcome {
            func through(_ stream: DiT.Stream) -> Outcome {
                var stream = stream
                progress.block.store(model.share.span.lowerBound, ordering: .relaxed)
                model.run(&stream) {
                    move()
                    progress.block.store($0 + 1, ordering: .relaxed)
                }
                return model.share.span.upperBound == facts.blockCount
                    ? .velocity(model.head(stream)) : .activation(stream)
            }
            switch work {
            case .encode(let prompt, let textLength):
                return .conditioning(try model.encode(prompt: prompt, textLength: textLength, pause: pause))
            case .step(let latents, let sigma, let guidance, let conditioning):
                guard let conditioning else { throw WorkFailure(text: "a step without conditioning") }
                return through(model.embed(latents, conditioning, sigma: sigma, guidance: guidance))
            case .activation(let stream): return through(stream)
            case .decode(let latent, let final):
                let pixels = try model.decode(latent, pause: pause)
                guard final else { return .planes(pixels) }
                return .picture(rgb8: pixels.rgb8(), width: pixels.width, height: pixels.height)
            }
        }
    }
}

/// Nanoseconds of the clock that timers and counters share; it does not jump.
func monotonicNow() -> Nanoseconds { DispatchTime.now().uptimeNanoseconds }
