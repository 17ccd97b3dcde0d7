import Foundation
import Plan
import Synchronization
import Tensors
import Testing

@Suite struct ThreadPoolTests {
    @Test(arguments: [1, 2, 3, 4], [0, 1, 2, 7, 1000])
    func `Each index is run exactly once`(threads: Int, count: Int) {
        let pool = ThreadPool(threads: threads)
        let visits = Visits(count)
        pool.run(count) { visits.add($0) }
        #expect(visits.counts == [Int](repeating: 1, count: count))
    }

    @Test func `Loops inside loops finish`() {
        let pool = ThreadPool(threads: 3)
        let visits = Visits(20 * 30)
        pool.run(20) { outer in pool.run(30) { visits.add(outer * 30 + $0) } }
        #expect(visits.counts == [Int](repeating: 1, count: 600))
    }

    @Test func `Several callers share one pool`() async {
        let pool = ThreadPool(threads: 2)
        let visits = Visits(4 * 500)
        await withTaskGroup { group in
            for caller in 0..<4 {
                group.addTask { for round in 0..<5 { pool.run(100) { visits.add(caller * 500 + round * 100 + $0) } } }
            }
        }
        #expect(visits.counts == [Int](repeating: 1, count: 2000))
    }

    @Test func `Iterations run on more than one thread at a time`() {
        let pool = ThreadPool(threads: 2)
        let inside = Atomic<Int>(0)
        let met = Atomic<Bool>(false)
        pool.run(2) { _ in
            inside.add(1, ordering: .relaxed)
            let deadline = ContinuousClock.now + .seconds(10)
            while ContinuousClock.now < deadline && inside.load(ordering: .relaxed) < 2 { usleep(100) }
            if inside.load(ordering: .relaxed) == 2 { met.store(true, ordering: .relaxed) }
        }
        let together = met.load(ordering: .relaxed)
        #expect(together)
    }

    @Test func `Threads of a pool stay on cores of their own, from the second on`() throws {
        let cores = try #require(ProcessCores.allowed).cores
        // A machine of one core has no second one to tell apart.
        let second = cores.count > 1 ? cores[1] : cores[0]
        let inside = Atomic<Int>(0)
        let places = Mutex<Set<String>>([])
        ThreadPool(threads: 2, cores: cores).run(2) { _ in
            inside.add(1, ordering: .relaxed)
            let deadline = ContinuousClock.now + .seconds(10)
            while ContinuousClock.now < deadline && inside.load(ordering: .relaxed) < 2 { usleep(100) }
            places.withLock { _ = $0.insert(ProcessCores.allowed?.description ?? "") }
        }
        #expect(places.withLock { $0 } == ["\(second)", try #require(CoreList(cores)).description])
    }

    @Test func `A pool pinned to the first core works and many pools come and go`() throws {
        let first = try #require(ProcessCores.allowed?.cores.first)
        let visits = Visits(10)
        ThreadPool(threads: 3, cores: [first]).run(10) { visits.add($0) }
        #expect(visits.counts == [Int](repeating: 1, count: 10))
        for _ in 0..<200 { ThreadPool(threads: 4).run(4) { _ in } }
    }

    @Test func `A pool without threads is refused`() async {
        await #expect(processExitsWith: .failure) { _ = ThreadPool(threads: 0) }
    }
}

/// Counts visits of indices from several threads.
private final class Visits: Sendable {
    private let table: Mutex<[Int]>

    init(_ count: Int) { table = Mutex([Int](repeating: 0, count: count)) }

    func add(_ index: Int) { table.withLock { $0[index] += 1 } }

    var counts: [Int] { table.withLock { $0 } }
}
