import Testing

@testable import Wire

@Suite("The inbox")
struct InboxTests {
    @Test("an empty box wakes its reader once, who takes all that waits, the oldest first")
    func wakes() {
        let wakes = Guarded(0)
        let inbox = Inbox<Int> { wakes.with { $0 += 1 } }
        inbox.put([1])
        inbox.put([2, 3])
        #expect(wakes.with { $0 } == 1)
        #expect(inbox.takeAll() == [1, 2, 3])
        #expect(inbox.takeAll().isEmpty)
        inbox.put([4])
        #expect(wakes.with { $0 } == 2 && inbox.takeAll() == [4])
    }

    /// A reader as the services are: an actor that is told by a task.
    private actor Reader {
        private var inbox: Inbox<(source: Int, number: Int)>?
        private var numbers: [Int: [Int]] = [:]
        private var ended: CheckedContinuation<[Int: [Int]], Never>?
        private let count: Int

        init(count: Int) { self.count = count }

        func open() -> Inbox<(source: Int, number: Int)> {
            let inbox = Inbox<(source: Int, number: Int)> { Task { await self.take() } }
            self.inbox = inbox
            return inbox
        }

        private func take() {
            for event in inbox?.takeAll() ?? [] { numbers[event.source, default: []].append(event.number) }
            end()
        }

        private func end() {
            guard numbers.values.reduce(0, { $0 + $1.count }) == count else { return }
            ended?.resume(returning: numbers)
            ended = nil
        }

        func all() async -> [Int: [Int]] {
            await withCheckedContinuation {
                ended = $0
                end()
            }
        }
    }

    @Test("an actor gets the events of each thread in their order, and every one", .timeLimit(.minutes(1)))
    func order() async {
        let reader = Reader(count: 3 * 2000)
        let inbox = await reader.open()
        await withTaskGroup { group in
            for source in 0..<3 {
                group.addTask { for number in 0..<2000 { inbox.put([(source, number)]) } }
            }
        }
        let numbers = await reader.all()
        #expect(numbers.count == 3)
        for source in 0..<3 { #expect(numbers[source] == Array(0..<2000)) }
    }
}
