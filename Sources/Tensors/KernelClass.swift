internal import CKernels
internal import COpenBLAS
internal import Glibc

/// Which arithmetic this process computes with.
///
/// Results of two processes are equal bit for bit when their classes have one name; the name is part of the workers'
/// greeting and of every picture. AVX-512, AVX2 and portable kernels are one class: each sums in the same order with
/// fused multiply-add. ARM tiles would join that class (a `class_*.c` and a line in dispatch.c of CKernels); AMX multiplies
/// bf16 and int8 only and would be a class with a name of its own. OpenBLAS sums in the order of its own kernels, which differ between processors.
package struct KernelClass: Equatable, @unchecked Sendable {
    /// Name of the bits: `f32-fma`, or `f32-openblas-` and OpenBLAS's name of the processor.
    package let name: String
    /// The instruction set in use: `avx512`, `avx2` or `portable`.
    package let instructions: String
    /// Whether dense layers and convolutions go through OpenBLAS on fixed tiles.
    package let usesOpenBLAS: Bool
    /// The C functions; immutable for the life of the process, hence the unchecked conformance.
    let kernels: UnsafePointer<abz_kernels>

    /// The class that this process uses.
    ///
    /// The environment variable `ABBOZZO_KERNELS` picks one, for comparison: `avx512`, `avx2`, `portable` or `openblas`.
    /// Traps when it names none of these or one that this processor cannot run. Unset, the fastest is taken.
    package static let current: KernelClass = {
        guard let wish = getenv("ABBOZZO_KERNELS").map({ String(cString: $0) }), !wish.isEmpty else {
            return KernelClass(abz_kernels_best())
        }
        guard let found = KernelClass.named(wish) else {
            fatalError("ABBOZZO_KERNELS=\(wish): this processor runs \(supported.joined(separator: ", "))")
        }
        return found
    }()

    /// The class called `name` in `ABBOZZO_KERNELS`; nil when there is none or this processor cannot run it.
    package static func named(_ name: String) -> KernelClass? {
        guard name == "openblas" else { return abz_kernels_named(name).map { KernelClass($0) } }
        // Its own threads would change the bits, and fight with the pool's.
        openblas_set_num_threads(1)
        let core = openblas_get_corename().map { String(cString: $0).lowercased() } ?? "unknown"
        return KernelClass(abz_kernels_best(), openBLASCore: core)
    }

    /// The names that `named` knows on this processor.
    package static let supported = ["avx512", "avx2", "portable", "openblas"].filter { named($0) != nil }

    private init(_ kernels: UnsafePointer<abz_kernels>, openBLASCore: String? = nil) {
        self.kernels = kernels
        instructions = String(cString: kernels.pointee.name)
        usesOpenBLAS = openBLASCore != nil
        name = openBLASCore.map { "f32-openblas-\($0)" } ?? "f32-fma"
    }
}
