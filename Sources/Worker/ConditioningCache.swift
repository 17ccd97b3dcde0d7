internal import Plan
internal import Tensors

/// The conditioning of the pictures that were here last, so that it crosses the wire once and not with every step.
///
/// Independent of epochs: a prompt's conditioning does not depend on who holds which blocks.
struct ConditioningCache {
    struct Key: Hashable {
        var image: ImageID
        var branch: UInt8
    }

    /// Most entries kept; the one used longest ago goes first.
    let capacity: Int
    private var entries: [Key: (conditioning: Conditioning, used: UInt64)] = [:]
    private var clock: UInt64 = 0

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { entries.count }

    /// Finds an entry and marks it as used now.
    mutating func find(_ key: Key) -> Conditioning? {
        guard let found = entries[key] else { return nil }
        store(found.conditioning, for: key)
        return found.conditioning
    }

    mutating func store(_ conditioning: Conditioning, for key: Key) {
        clock += 1
        entries[key] = (conditioning, clock)
        guard entries.count > capacity else { return }
        if let oldest = entries.min(by: { $0.value.used < $1.value.used }) { entries[oldest.key] = nil }
    }
}
