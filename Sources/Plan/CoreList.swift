/// Cores of a machine by number, written as the kernel and taskset(1) do: `0-7,16-23`.
package struct CoreList: Equatable, Sendable, CustomStringConvertible {
    /// Ascending, at least one.
    package let cores: [Int]

    /// The highest number that the kernel's usual set of cores holds.
    package static let highest = 1023

    /// Reads numbers and ranges between commas; nil when the text is anything else, or names a core twice.
    package init?(_ text: String) {
        var cores: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
                .map { Self.number($0) }
            guard let first = ends[0], let last = ends[ends.count - 1], first <= last else { return nil }
            for core in first...last {
                guard cores.insert(core).inserted else { return nil }
            }
        }
        self.cores = cores.sorted()
    }

    /// Sorts the numbers; nil when there are none, or one is out of range or there twice.
    package init?(_ numbers: [Int]) {
        cores = numbers.sorted()
        guard let first = cores.first, let last = cores.last, first >= 0, last <= Self.highest,
            Set(cores).count == cores.count
        else { return nil }
    }

    private static func number(_ text: Substring) -> Int? {
        guard 1...4 ~= text.utf8.count, text.utf8.allSatisfy({ 0x30...0x39 ~= $0 }) else { return nil }
        return Int(text).flatMap { 0...highest ~= $0 ? $0 : nil }
    }

    /// The shortest text that is read as these cores.
    package var description: String {
        var ranges: [ClosedRange<Int>] = []
        for core in cores {
            if let last = ranges.last, last.upperBound == core - 1 {
                ranges[ranges.count - 1] = last.lowerBound...core
            } else {
                ranges.append(core...core)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }
}
