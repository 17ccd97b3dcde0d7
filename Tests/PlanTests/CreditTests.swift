import Plan
import Testing

struct CreditTests {
    @Test("a closed line opens with the receiver's limit and closes when it is used up")
    func lineFollowsLimit() {
        var line = CreditLine()
        #expect(!line.isOpen)
        line.raise(to: Credit(messages: 2))
        line.send()
        line.send()
        #expect(!line.isOpen)
        line.raise(to: Credit(messages: 1))
        #expect(line.limit.messages == 2, "an old credit message must not take back what a newer one granted")
        line.raise(to: Credit(messages: 3))
        #expect(line.isOpen)
    }

    @Test("a grant never lets more than two messages be waiting, computed or on their way")
    func grantKeepsSlots() {
        var grant = CreditGrant()
        var told = grant.extend(occupied: Credit())
        #expect(told && grant.limit == Credit(messages: 2))
        told = grant.extend(occupied: Credit())
        #expect(!told, "repeating grants nothing new")
        var allowed = grant.receive()
        told = grant.extend(occupied: Credit(messages: 1))
        #expect(allowed && !told)
        allowed = grant.receive()
        told = grant.extend(occupied: Credit(messages: 2))
        #expect(allowed && !told)
        allowed = grant.receive()
        #expect(!allowed, "a third message without credit is the sender's fault")
        told = grant.extend(occupied: Credit())
        #expect(told && grant.limit == Credit(messages: 5))
    }

    @Test("bytes close a line that messages would not, and the other way round")
    func lineCountsBoth() {
        var line = CreditLine()
        line.raise(to: Credit(messages: 1, bytes: 300))
        #expect(line.takes(bytes: 1000), "one of any size, since a message is granted")
        line.send(bytes: 200)
        #expect(line.takes(bytes: 100) && !line.takes(bytes: 101))
        line.send(bytes: 100)
        #expect(!line.takes(bytes: 1))
        line.raise(to: Credit(messages: 1, bytes: 250))
        #expect(!line.takes(bytes: 1), "an old credit message must not take back what a newer one granted")
        line.raise(to: Credit(messages: 3, bytes: 300))
        line.send(bytes: 5000)
        #expect(!line.takes(bytes: 1), "more sent than the limit of bytes is no room")
        line.raise(to: Credit(messages: 3, bytes: .max))
        #expect(line.takes(bytes: 1 << 40))
    }

    @Test("two of the largest fill a link, and so do as many small ones as weigh the same")
    func grantCountsBytes() {
        var grant = CreditGrant()
        _ = grant.extend(occupied: Credit())
        let large = grant.receive(bytes: 100)
        var told = grant.extend(occupied: Credit(messages: 1, bytes: 100))
        #expect(large && told && grant.limit == Credit(messages: 2, bytes: 200))
        told = grant.extend(occupied: Credit())
        #expect(told && grant.limit == Credit(messages: 3, bytes: 300))
        // Eight quarters fit where two whole ones would, although that is more than two messages.
        for number in 1...8 {
            let allowed = grant.receive(bytes: 25)
            #expect(allowed, "quarter \(number)")
            _ = grant.extend(occupied: Credit(messages: UInt32(number), bytes: UInt64(25 * number)))
            #expect(grant.limit.bytes == 300, "what is taken up here is no room")
        }
        let ninth = grant.receive(bytes: 25)
        #expect(!ninth)
    }

    /// Sizes of random messages through a link whose receiver is slow: the sender sends whenever it may.
    @Test(
        "never more than two messages, or the bytes of two of the largest so far, are with the receiver",
        arguments: 0..<50)
    func boundsBytes(seed: UInt64) {
        var random = SeededRandom(state: seed &* 0x9e37_79b9 &+ 1)
        var (line, grant) = (CreditLine(), CreditGrant())
        var (onTheWay, there): ([Int], [Int]) = ([], [])
        var (largest, most, next) = (0, 0, 1)
        for _ in 0..<2000 {
            switch random.next() % 4 {
            case 0, 1:
                if line.takes(bytes: next) {
                    line.send(bytes: next)
                    onTheWay.append(next)
                    next = [1, 16, 30, 57][Int(random.next() % 4)]
                }
            case 2:
                guard !onTheWay.isEmpty else { break }
                let bytes = onTheWay.removeFirst()
                largest = max(largest, bytes)
                let allowed = grant.receive(bytes: bytes)
                #expect(allowed)
                there.append(bytes)
            default:
                if !there.isEmpty { there.removeFirst() }
            }
            let occupied = Credit(messages: UInt32(there.count), bytes: UInt64(there.reduce(0, +)))
            if grant.extend(occupied: occupied) || random.next() % 8 == 0 { line.raise(to: grant.limit) }
            let all = there + onTheWay
            #expect(all.count <= 2 || all.reduce(0, +) <= 2 * largest)
            most = max(most, all.count)
        }
        #expect(most > 2, "small ones use the room of large ones")
    }
}

/// A small generator whose numbers a seed gives.
private struct SeededRandom {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 33
    }
}
