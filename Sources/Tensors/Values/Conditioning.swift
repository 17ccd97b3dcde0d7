/// What the network is told about a prompt.
package struct Conditioning: Codable, Equatable, Sendable {
    /// (T, width of the sequence encoder): one row a text token, padding included.
    package var context: Tensor
    /// (width of the pooled encoder).
    package var pooled: Tensor

    /// Joins the outputs of the two encoders.
    package init(context: Tensor, pooled: Tensor) {
        self.context = context
        self.pooled = pooled
    }
}
