internal import Glibc

/// Large blocks that nobody uses, for whoever wants one of their size next.
///
/// The system clears memory before it gives it away, which took a tenth of a step at FLUX's width (measured by `perf` on Zen 4).
/// What is kept stays under `limit`; the oldest goes first. All weights and activations come through here, so
/// a process holds at most `limit` more than it uses.
final class SpareMemory: @unchecked Sendable {
    /// That of the process.
    static let shared = SpareMemory(limit: 256 << 20)

    /// Bytes kept at most: a step of FLUX at 1024x1024 lets go of blocks of 57 MB, one after the other.
    private let limit: Int
    /// Smaller blocks the allocator itself keeps.
    private static let smallest = 1 << 17

    private struct Block {
        let base: UnsafeMutableRawPointer
        let size: Int
    }

    /// pthread's rather than `Synchronization.Mutex`: the thread sanitiser knows it.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    /// The oldest first.
    private var blocks: [Block] = []
    private var bytes = 0

    init(limit: Int) {
        self.limit = limit
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        for block in blocks { free(block.base) }
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// A block of exactly this size, or nil.
    func take(_ size: Int) -> UnsafeMutableRawPointer? {
        guard size >= Self.smallest else { return nil }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        guard let index = blocks.lastIndex(where: { $0.size == size }) else { return nil }
        bytes -= size
        return blocks.remove(at: index).base
    }

    /// Keeps a block, or frees it and older ones.
    func give(_ base: UnsafeMutableRawPointer, _ size: Int) {
        guard size >= Self.smallest, size <= limit else { return free(base) }
        pthread_mutex_lock(mutex)
        blocks.append(Block(base: base, size: size))
        bytes += size
        var surplus: [Block] = []
        while bytes > limit {
            surplus.append(blocks.removeFirst())
            bytes -= surplus[surplus.count - 1].size
        }
        pthread_mutex_unlock(mutex)
        for block in surplus { free(block.base) }
    }
}
