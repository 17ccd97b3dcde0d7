package import Imaging
package import Tensors

/// A finished picture with everything needed to make it again.
package struct Picture: Equatable, Sendable {
    /// The decoder's output, not clamped.
    package let pixels: Pixels
    /// How it was made.
    package let metadata: PictureMetadata
    /// Network calls that it took.
    package let steps: Int
    /// Image tokens through the network, summed over calls.
    package let tokenSteps: Int

    /// The bytes of its PNG file: the same for the same request, model and kernel class.
    package func png() throws -> [UInt8] {
        try PNG.encode(
            rgb8: pixels.rgb8(), width: pixels.width, height: pixels.height, text: metadata.text)
    }
}
