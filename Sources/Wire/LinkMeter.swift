package import Plan

/// Counts what passes over links; one for a process, shared by its sockets' threads.
package final class LinkMeter: Sendable {
    private struct Link: Hashable {
        let source: String
        let target: String
    }

    private let counters = Guarded<[Link: LinkCounters]>([:])

    /// Starts at zero.
    package init() {}

    /// Adds bytes, and a message when they are its last.
    ///
    /// `format` is that of the message's hidden states, if it has any; `sendNanoseconds` the time that it waited here
    /// for the socket to take it, with its last bytes.
    package func add(
        source: String, target: String, messages: Int = 0, activationBytes: Int = 0, totalBytes: Int,
        format: WireFormat? = nil, sendNanoseconds: UInt64 = 0
    ) {
        counters.with { counters in
            let link = Link(source: source, target: target)
            var count = counters[link] ?? LinkCounters(source: source, target: target)
            count.messages &+= UInt64(messages)
            count.activationBytes &+= UInt64(activationBytes)
            count.totalBytes &+= UInt64(totalBytes)
            count.sendNanoseconds &+= sendNanoseconds
            if let format { count.hiddenBytes[format, default: 0] &+= UInt64(totalBytes) }
            counters[link] = count
        }
    }

    /// Forgets the links of peers that are not known any more, of which clusters of fleeting names have ever more.
    package func keep(where isKnown: (String) -> Bool) {
        counters.with { counters in
            counters = counters.filter { isKnown($0.key.source) && isKnown($0.key.target) }
        }
    }

    /// All links, by source then target.
    package var snapshot: [LinkCounters] {
        counters.with { Array($0.values) }.sorted { ($0.source, $0.target) < ($1.source, $1.target) }
    }
}
