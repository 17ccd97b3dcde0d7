/// Names one task as the headers of its messages do: what is asked of which picture, at which step, in which epoch.
///
/// Workers are pure functions, so a name always has the same answer, and a message about another task cannot be taken
/// for one about this.
package struct TaskID: Codable, Hashable, Sendable, CustomStringConvertible {
    /// What is asked.
    package enum Kind: String, Codable, Sendable, CaseIterable {
        /// A prompt to conditioning.
        case encode
        /// Latents to a velocity, through all spans.
        case step
        /// A latent to pixels.
        case decode
    }

    /// What is asked.
    package var kind: Kind
    /// The picture.
    package var image: ImageID
    /// 0, or 1 for the unconditioned half of classifier-free guidance.
    package var branch: UInt8
    /// Network calls made before.
    package var step: UInt16
    /// Generation of the plan.
    package var epoch: Epoch

    /// Joins the fields.
    package init(_ kind: Kind, _ image: ImageID, branch: UInt8 = 0, step: UInt16, epoch: Epoch) {
        self.kind = kind
        self.image = image
        self.branch = branch
        self.step = step
        self.epoch = epoch
    }

    /// `step 3 of JOB/0 in epoch 2`.
    package var description: String { "\(kind) \(step) of \(image) in epoch \(epoch)" }
}
