/// Why a model cannot be loaded here, beyond what its files say.
package struct StageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// The folder holds a pipeline of this class.
        case family(String)
        /// The folder's index leaves out a component that the pipeline needs.
        case unlisted(component: String)
        /// Two components disagree: the sizes.
        case misfit(String)
        /// The share asks for blocks that the network does not have.
        case span(Range<Int>, blockCount: Int)
        /// The decoder's answer holds values that are not numbers: where the first is.
        case notNumbers(place: String)
        /// The folder's files are not those whose fingerprint was told.
        case changed(from: String, to: String)
        /// The task needs a component that the share left out.
        case notLoaded(String)
    }

    /// What is wrong.
    package let reason: Reason
    /// Path of the model's folder.
    package let file: String

    /// Joins both.
    package init(_ reason: Reason, file: String) {
        self.reason = reason
        self.file = file
    }

    /// One line: what, where and the next step.
    package var description: String {
        switch reason {
        case .family(let name):
            return "\(file) holds a \(name), only FluxPipeline works: give a folder of FLUX.1-dev or FLUX.1-schnell"
        case .unlisted(let component):
            return "\(file)/model_index.json does not list \(component), or leaves it empty, and FLUX needs it: "
                + "give the folder of a whole model, or copy or download that file again"
        case .misfit(let sizes):
            return "components of \(file) do not belong together: \(sizes); copy or download the whole folder again"
        case .span(let span, let blockCount):
            return "\(file) has blocks 0..<\(blockCount), \(span.lowerBound)..<\(span.upperBound) were asked for: "
                + "give all processes the same model"
        case .notNumbers(let place):
            return "the picture holds values that are not numbers (first at \(place), after decoding); "
                + "check the guidance, what was injected and the weights of \(file)"
        case .changed(let before, let now):
            return "the files of \(file) are not those that this process began with (fingerprint \(before.prefix(12)), "
                + "now \(now.prefix(12))): put those back, or restart it"
        case .notLoaded(let component):
            return "this process has not loaded the \(component) of \(file): the plan gives it to another worker"
        }
    }
}
