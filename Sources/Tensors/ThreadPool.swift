internal import CShims
internal import Glibc
internal import Plan
internal import Synchronization

/// Threads that share the iterations of a loop.
///
/// They are created once and joined when the pool goes. Any thread may call `run`, also several at once and from
/// inside a loop: a caller works on its own loop and waits only for those who already took an index of it.
package final class ThreadPool: Sendable {
    /// Number of threads that run iterations, the caller's included.
    package let threads: Int
    private let crew: Crew?

    /// Makes a pool; one thread means the caller runs everything itself.
    ///
    /// `cores` pins the pool's own threads to these cores in turn, from the second on: the caller may use the first.
    /// Leave it empty where other processes compute on the same cores: they would wait for each other while others idle.
    package init(threads: Int, cores: [Int] = []) {
        promise(threads >= 1, "a pool of \(threads) threads")
        self.threads = threads
        crew = threads > 1 ? Crew(helpers: threads - 1, cores: cores) : nil
    }

    /// Calls `body` once for each index below `count`, in any order, and returns when all are done.
    ///
    /// Iterations must write disjoint memory; which thread runs one is not defined. Indices are handed out one at a
    /// time, so uneven iterations balance.
    package func run(_ count: Int, _ body: @Sendable (Int) -> Void) {
        guard let crew, count > 1 else {
            for index in 0..<max(count, 0) { body(index) }
            return
        }
        withoutActuallyEscaping(body) { crew.run(SharedLoop(count: count, body: $0)) }
    }

    deinit { crew?.dismiss() }
}

/// One call of `run`: the indices still to be handed out and who is at it.
private final class SharedLoop: @unchecked Sendable {
    private let count: Int
    private let next = Atomic<Int>(0)
    /// Nil after the caller has returned: a helper may hold the loop for a moment longer, but not the closure.
    private var body: (@Sendable (Int) -> Void)?
    /// Helpers inside `work`; changed under the crew's mutex only.
    let helpers = Atomic<Int>(0)

    init(count: Int, body: @escaping @Sendable (Int) -> Void) {
        self.count = count
        self.body = body
    }

    var remaining: Int { max(count - next.load(ordering: .relaxed), 0) }

    /// Runs iterations until none is left to take.
    @inline(never)
    func work() {
        while true {
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < count, let body else { return }
            body(index)
        }
    }

    func forgetBody() { body = nil }
}

/// The pool's own threads and the list of loops they may join.
///
/// pthread primitives rather than `Synchronization.Mutex`: a wait needs a condition, and the thread sanitiser knows them.
/// A thread that waits polls at first: the loops of a block follow each other within microseconds. (A picture of the demo model
/// takes 5 to 17 % less time on two threads than where they sleep at once, measured on Zen 4.)
private final class Crew: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let left = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var loops: [SharedLoop] = []
    private var sleepers = 0
    private var stopping = false
    /// How many loops there have been, for helpers that poll.
    private let posted = Atomic<Int>(0)

    /// How long a thread polls before it sleeps.
    private static let patience = Duration.microseconds(60)
    private var handles: [pthread_t] = []

    /// What a thread is started with.
    private final class Helper {
        let crew: Crew
        let number: Int
        let core: Int?

        init(crew: Crew, number: Int, core: Int?) {
            self.crew = crew
            self.number = number
            self.core = core
        }
    }

    init(helpers: Int, cores: [Int]) {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
        pthread_cond_init(left, nil)
        for number in 1...helpers {
            let core = cores.isEmpty ? nil : cores[number % cores.count]
            let helper = Unmanaged.passRetained(Helper(crew: self, number: number, core: core))
            var handle = pthread_t()
            let code = pthread_create(
                &handle, nil,
                { argument in
                    if let argument { Crew.live(Unmanaged<Helper>.fromOpaque(argument).takeRetainedValue()) }
                    return nil
                }, helper.toOpaque())
            promise(
                code == 0,
                "cannot start thread \(number) of \(helpers) (error \(code)): raise the limit of threads (ulimit -u, the "
                    + "container's pids), or give fewer --threads")
            handles.append(handle)
        }
    }

    func run(_ loop: SharedLoop) {
        pthread_mutex_lock(mutex)
        loops.append(loop)
        posted.wrappingAdd(1, ordering: .releasing)
        for _ in 0..<min(loop.remaining - 1, sleepers) { pthread_cond_signal(wake) }
        pthread_mutex_unlock(mutex)

        loop.work()

        pthread_mutex_lock(mutex)
        withdraw(loop)
        if loop.helpers.load(ordering: .relaxed) > 0 {
            pthread_mutex_unlock(mutex)
            Self.poll { loop.helpers.load(ordering: .relaxed) == 0 }
            pthread_mutex_lock(mutex)
        }
        while loop.helpers.load(ordering: .relaxed) > 0 { pthread_cond_wait(left, mutex) }
        pthread_mutex_unlock(mutex)
        loop.forgetBody()
    }

    /// Ends and joins all threads; no loop may be running.
    func dismiss() {
        pthread_mutex_lock(mutex)
        stopping = true
        pthread_cond_broadcast(wake)
        pthread_mutex_unlock(mutex)
        for handle in handles { pthread_join(handle, nil) }
    }

    private static func live(_ helper: Helper) {
        abz_name_thread("math-\(helper.number)")
        if let core = helper.core {
            let code = abz_pin_thread(Int32(core))
            promise(code == 0, "cannot keep a thread on core \(core): error \(code)")
        }
        helper.crew.help()
    }

    private func help() {
        pthread_mutex_lock(mutex)
        while true {
            if loops.isEmpty && !stopping {
                let known = posted.load(ordering: .relaxed)
                pthread_mutex_unlock(mutex)
                Self.poll { posted.load(ordering: .acquiring) != known }
                pthread_mutex_lock(mutex)
            }
            while loops.isEmpty && !stopping {
                sleepers += 1
                pthread_cond_wait(wake, mutex)
                sleepers -= 1
            }
            // The newest first: an inner loop holds up the outer one.
            guard let loop = loops.last else { break }
            loop.helpers.add(1, ordering: .relaxed)
            pthread_mutex_unlock(mutex)

            loop.work()

            pthread_mutex_lock(mutex)
            withdraw(loop)
            let others = loop.helpers.subtract(1, ordering: .relaxed).newValue
            if others == 0 { pthread_cond_broadcast(left) }
        }
        pthread_mutex_unlock(mutex)
    }

    /// Returns when the condition holds, or the patience is over.
    private static func poll(_ holds: () -> Bool) {
        let end = ContinuousClock.now + patience
        repeat {
            for _ in 0..<16 {
                if holds() { return }
                abz_pause()
            }
        } while ContinuousClock.now < end
    }

    /// Takes a loop without open indices off the list; the mutex is held.
    private func withdraw(_ loop: SharedLoop) { loops.removeAll { $0 === loop } }

    deinit {
        pthread_cond_destroy(left)
        pthread_cond_destroy(wake)
        pthread_mutex_destroy(mutex)
        left.deallocate()
        wake.deallocate()
        mutex.deallocate()
    }
}
