internal import CKernels
internal import Plan

/// The C functions that multiply by one kind of weight; immutable, hence the unchecked conformance.
struct Multiplier: @unchecked Sendable {
    /// The table's entry.
    let kernels: abz_multiplier
    /// Whether rows go in as integers, with a scale and a zero for each stretch.
    let takesIntegers: Bool

    /// K rounded up to whole groups.
    func padded(_ depth: Int) -> Int { rounded(depth, up: kernels.group) }

    /// Bytes of panels of `columns`, a multiple of 16, and `depth`.
    func bytes(columns: Int, depth: Int) -> Int { columns * padded(depth) * kernels.panel_bytes }
}

/// The shortest floats that hold a weight exactly.
enum WeightFloats: Equatable {
    case bf16, f16, f32
}

extension KernelClass {
    /// How a weight of this format is multiplied.
    ///
    /// In f32 a weight that 16 bits hold exactly, as most published ones are, is stored so: the same bits at half the memory.
    func multiplier(_ format: ComputeFormat, exactIn floats: WeightFloats) -> Multiplier {
        let table = kernels.pointee
        return switch format {
        case .f32:
            switch floats {
            case .bf16: Multiplier(kernels: table.bf16_weight, takesIntegers: false)
            case .f16: Multiplier(kernels: table.f16_weight, takesIntegers: false)
            case .f32: Multiplier(kernels: table.f32, takesIntegers: false)
            }
        case .bf16: Multiplier(kernels: table.bf16, takesIntegers: false)
        case .int8: Multiplier(kernels: table.int8, takesIntegers: true)
        }
    }
}
