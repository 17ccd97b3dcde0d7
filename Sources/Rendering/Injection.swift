internal import Checkpoint
internal import Foundation
package import Plan
package import Sampling
package import Tensors

/// Tensors made elsewhere that take the place of random numbers and encoders, to repeat a reference run.
package struct Injection: Sendable {
    /// Names that are taken from a file; others are left alone, so that a whole recorded run can be given.
    package static let names = InjectedNoise.names + ["prompt_embeds", "pooled"]

    /// Values of a tensor that are read at most.
    ///
    /// Shapes are checked later, when the picture is known. Latents of 16,384x16,384 pixels have so many.
    private static let mostValues = 1 << 26

    /// Noise; nil for the seed's own.
    package var noise: InjectedNoise?
    /// Output of the sequence encoder, (T, W); nil to encode the prompt.
    package var promptEmbeds: Tensor?
    /// Output of the pooled encoder, (W); nil to encode the prompt.
    package var pooled: Tensor?

    /// Nothing.
    package init() {}

    /// Picks the tensors it knows by name; a leading axis of one is dropped.
    package init(named tensors: [String: Tensor]) {
        let noise = InjectedNoise(named: tensors)
        self.noise = noise.isEmpty ? nil : noise
        promptEmbeds = tensors["prompt_embeds"].map { Self.withoutBatch($0, axes: 2) }
        pooled = tensors["pooled"].map { Self.withoutBatch($0, axes: 1) }
    }

    /// Refuses embeddings that do not fit a model, or hold values that are not numbers; noise the sampler checks.
    package func check(facts: ModelFacts) throws(RenderingError) {
        if let context = promptEmbeds {
            guard context.shape.count == 2, context.shape[0] >= 1, context.shape[0] <= facts.maxTextLength,
                context.shape[1] == facts.contextWidth
            else {
                throw RenderingError(
                    "prompt_embeds of shape \(context.shape) do not fit \(facts.name): "
                        + "1 to \(facts.maxTextLength) rows of \(facts.contextWidth) are needed")
            }
        }
        if let pooled, pooled.shape != [facts.pooledWidth] {
            throw RenderingError(
                "pooled of shape \(pooled.shape) does not fit \(facts.name): [\(facts.pooledWidth)] is needed")
        }
        for (name, tensor) in [("prompt_embeds", promptEmbeds), ("pooled", pooled)] {
            if let tensor, let index = tensor.firstNonFinite {
                throw RenderingError(
                    "cannot inject \(name): its value \(index) is \(tensor[index]); numbers are needed")
            }
        }
    }

    /// Names of all tensors that are here, in the order of `names`.
    package var held: [String] {
        let tensors: [String: Tensor?] = [
            "latents_unpacked": noise?.latentsUnpacked, "latents": noise?.latents, "noise_stage2": noise?.noiseStage2,
            "noise_stage3": noise?.noiseStage3, "tie_noise": noise?.tieNoise, "prompt_embeds": promptEmbeds,
            "pooled": pooled,
        ]
        return Self.names.filter { tensors[$0].flatMap(\.self) != nil }
    }

    /// Names of the tensors that a picture of this sampler takes from here, in the order of `names`.
    package func used(by sampler: SamplerSettings) -> [String] {
        let isEuler = if case .euler = sampler { true } else { false }
        return held.filter { name in
            switch name {
            case "latents": noise?.latentsUnpacked == nil
            case "noise_stage2", "noise_stage3", "tie_noise": !isEuler
            default: true
            }
        }
    }

    /// Reads a safetensors file.
    ///
    /// - Throws: `CheckpointError` for a damaged file, `RenderingError` for one without anything to inject.
    package init(path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), !isFolder.boolValue else {
            throw RenderingError(
                "cannot inject \(path): " + (isFolder.boolValue ? "it is a folder" : "it does not exist")
                    + "; give a safetensors file")
        }
        let file = try SafetensorsFile(path: path)
        var tensors: [String: Tensor] = [:]
        for name in Self.names where file.contains(name) {
            let stored = try file[name]
            guard stored.count <= Self.mostValues else {
                throw RenderingError(
                    "cannot inject \(name) of \(path): no picture takes \(stored.count) values, shape \(stored.shape)")
            }
            tensors[name] = try stored.tensor()
        }
        guard !tensors.isEmpty else {
            throw RenderingError(
                "\(path) holds nothing that can be injected; known names: \(Self.names.joined(separator: ", "))")
        }
        self.init(named: tensors)
    }

    private static func withoutBatch(_ tensor: Tensor, axes: Int) -> Tensor {
        tensor.shape.count == axes + 1 && tensor.shape[0] == 1
            ? tensor.reshaped(Array(tensor.shape.dropFirst())) : tensor
    }
}

/// A picture cannot be rendered as asked: one line.
package struct RenderingError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What, where and the next step.
    package let description: String

    init(_ description: String) { self.description = description }
}
