import Plan
import Testing

struct CreditTests {
    @Test("a closed line opens with the receiver's limit and closes when it is used up")
    func lineFollowsLimit() {
        var line = CreditLine()
        #expect(!line.isOpen)
        line.raise(to: 2)
        line.send()
        line.send()
        #expect(!line.isOpen)
        line.raise(to: 1)
        #expect(line.limit == 2, "an old credit message must not take back what a newer one granted")
        line.raise(to: 3)
        #expect(line.isOpen)
    }

    @Test("a grant never lets more than two messages be waiting, computed or on their way")
    func grantKeepsSlots() {
        var grant = CreditGrant()
        var told = grant.extend(occupied: 0)
        #expect(told && grant.limit == 2)
        told = grant.extend(occupied: 0)
        #expect(!told, "repeating grants nothing new")
        var allowed = grant.receive()
        told = grant.extend(occupied: 1)
        #expect(allowed && !told)
        allowed = grant.receive()
        told = grant.extend(occupied: 2)
        #expect(allowed && !told)
        allowed = grant.receive()
        #expect(!allowed, "a third message without credit is the sender's fault")
        told = grant.extend(occupied: 0)
        #expect(told && grant.limit == 5)
    }
}
