/// Which arithmetic this process computes with.
///
/// Results of two processes are equal bit for bit when their classes have one name; the name is part of the workers'
/// greeting and of every picture.
package struct KernelClass: Sendable, Equatable {
    /// Name of the bits: `f32-fma` for all kernels that sum in our order with fused multiply-add.
    package let name: String

    /// The class that this process uses.
    package static let current = KernelClass(name: "f32-fma")
}
