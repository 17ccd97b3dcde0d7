internal import Plan
package import Tensors

/// What crosses from block to block, and so from worker to worker.
///
/// N image tokens, T text tokens, D width of the network.
package struct Stream: Equatable, Sendable {
    /// (T, D).
    package var text: Tensor
    /// (N, D).
    package var image: Tensor
    /// (D): time, guidance and pooled text, which modulate every block.
    package var vector: Tensor
    /// (N, 3): positions of the image tokens; text tokens stand at the origin.
    package var positions: Tensor

    /// Joins the parts.
    ///
    /// - Precondition: the shapes agree.
    package init(text: Tensor, image: Tensor, vector: Tensor, positions: Tensor) {
        promise(
            text.shape.count == 2 && image.shape.count == 2 && vector.shape == [image.width]
                && text.width == image.width && positions.shape == [image.shape[0], 3],
            "text \(text.shape), image \(image.shape), vector \(vector.shape), positions \(positions.shape)")
        self.text = text
        self.image = image
        self.vector = vector
        self.positions = positions
    }
}
