internal import CKernels
internal import COpenBLAS
internal import Glibc
package import Plan

/// Which arithmetic this process computes with.
///
/// Results of two processes are equal bit for bit when their classes have one name; the name is part of the workers' greeting
/// and of every picture. It is the number format, how sums round, and a number where other versions rounded otherwise:
///
/// - `fma`: ascending chains of fused multiply-adds, the same in all instruction sets.
/// - `dot`: with VDPBF16PS, whose rounding is the processor's. Only bf16 products and the softmax between them use it: those of
///   the formats bf16 and int8 (in whose attention values are bf16) on processors that have it.
/// - `wide`: of int8 where no instruction multiplies bytes. Weights are 8-bit integers as everywhere, but what they are
///   multiplied by has 16 bits, which costs nothing there and leaves out half of the rounding.
/// - `openblas-` and OpenBLAS's name of the processor: the order of its kernels, which differ between processors. Only f32.
///
/// ARM tiles would join `fma` (a `class_*.c` and a line in dispatch.c of CKernels); AMX tiles would be a class with a name of its own.
package struct KernelClass: Equatable, @unchecked Sendable {
    /// Name of the bits, such as `f32-fma`.
    package let name: String
    /// The instruction set in use: `avx512bf16`, `avx512vnni`, `avx512`, `avx2`, `portable` or `portable-bytes`.
    package let instructions: String
    /// The number format of the transformer's blocks.
    package let format: ComputeFormat
    /// Whether dense layers and convolutions go through OpenBLAS on fixed tiles.
    package let usesOpenBLAS: Bool
    /// The C functions; immutable for the life of the process, hence the unchecked conformance.
    let kernels: UnsafePointer<abz_kernels>

    /// The class that this process uses for f32.
    ///
    /// The environment variable `ABBOZZO_KERNELS` picks one, for comparison: a name of `instructions`, or `openblas`.
    /// Unset, the fastest is taken.
    ///
    /// - Precondition: `refusedWish` is nil.
    package static let current: KernelClass = {
        guard let wish else { return KernelClass(abz_kernels_best()) }
        guard let found = KernelClass.named(wish) else { fatalError(refusedWish ?? wish) }
        return found
    }()

    /// What is wrong where `ABBOZZO_KERNELS` names no class, or one that this processor cannot run, else nil.
    package static let refusedWish: String? = wish.flatMap { wish in
        guard KernelClass.named(wish) == nil else { return nil }
        return "ABBOZZO_KERNELS is \(wish.prefix(80).debugDescription), but this processor runs "
            + supported.joined(separator: ", ")
    }

    private static let wish = getenv("ABBOZZO_KERNELS").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }

    /// The class called `name` in `ABBOZZO_KERNELS`, for f32; nil when there is none or this processor cannot run it.
    package static func named(_ name: String) -> KernelClass? {
        guard name == "openblas" else { return abz_kernels_named(name).map { KernelClass($0) } }
        // Its own threads would change the bits, and fight with the pool's.
        openblas_set_num_threads(1)
        let core = openblas_get_corename().map { String(cString: $0).lowercased() } ?? "unknown"
        return KernelClass(abz_kernels_best(), openBLASCore: core)
    }

    /// The names that `named` knows on this processor.
    package static let supported = [
        "avx512bf16", "avx512vnni", "avx512", "avx2", "portable", "portable-bytes", "openblas",
    ].filter { named($0) != nil }

    /// The same instructions for another number format; nil when they cannot: OpenBLAS has f32 only.
    package func computing(in format: ComputeFormat) -> KernelClass? {
        guard format != self.format else { return self }
        return usesOpenBLAS ? nil : KernelClass(kernels, format: format)
    }

    /// The number format of the class with the given name; nil when it is no such name.
    package static func format(ofName name: String) -> ComputeFormat? {
        name.split(separator: "-").first.flatMap { ComputeFormat(rawValue: String($0)) }
    }

    /// Raised whenever a version of the program changes the bits of a format's classes.
    ///
    /// 2 of bf16 and int8: the softmax of bf16's attention. 3 of int8: a scale for 512 k, not 256; scores of
    /// attention in bytes.
    private static func generation(of format: ComputeFormat) -> String {
        switch format {
        case .f32: ""
        case .bf16: "-2"
        case .int8: "-3"
        }
    }

    private init(_ kernels: UnsafePointer<abz_kernels>, format: ComputeFormat = .f32, openBLASCore: String? = nil) {
        self.kernels = kernels
        self.format = format
        instructions = String(cString: kernels.pointee.name)
        usesOpenBLAS = openBLASCore != nil
        let isWide = format == .int8 && kernels.pointee.int8_levels > 255
        let rounding = isWide ? "wide" : format != .f32 && kernels.pointee.bf16_dot != 0 ? "dot" : "fma"
        name = format.rawValue + "-" + (openBLASCore.map { "openblas-\($0)" } ?? rounding) + Self.generation(of: format)
    }
}
