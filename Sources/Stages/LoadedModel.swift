package import Checkpoint
package import DiT
package import Plan
package import Tensors
internal import Text
internal import VAE

/// What one process holds of a model.
package struct Share: Codable, Equatable, Sendable {
    /// Whether it encodes prompts.
    package var encodes: Bool
    /// Blocks of the transformer that it runs; empty for none.
    package var span: Range<Int>
    /// Whether it decodes latents.
    package var decodes: Bool

    /// Joins the parts.
    package init(encodes: Bool, span: Range<Int>, decodes: Bool) {
        self.encodes = encodes
        self.span = span
        self.decodes = decodes
    }

    /// Everything, for a process that works alone.
    package static func everything(of facts: ModelFacts) -> Share {
        Share(encodes: true, span: 0..<facts.blockCount, decodes: true)
    }

    /// The text encoders and nothing else.
    package static let encoders = Share(encodes: true, span: 0..<0, decodes: false)

    /// Everything but the text encoders.
    package static func allButEncoders(of facts: ModelFacts) -> Share {
        Share(encodes: false, span: 0..<facts.blockCount, decodes: true)
    }
}

/// The weights of one share, ready to run: pure functions of weights and input.
///
/// Only what the share asks for is read. Calls that need another component are a mistake of the caller and trap, except
/// for `encode`, whose input comes from people.
package struct LoadedModel: Sendable {
    /// What was asked for.
    package let share: Share
    /// Bytes of the weights in memory.
    package let residentBytes: Int

    private let folder: ModelFolder
    private let text: TextEncoders?
    private let flux: Flux?
    private let decoder: Decoder?

    /// Reads a share of a model.
    ///
    /// With a `fingerprint` the folder must have it, also when all is read: a process reads anew for each share that it is
    /// given, and its files may have been replaced meanwhile.
    ///
    /// - Throws: `StageError`, `CheckpointError` or `TextError`, each with a text of one line.
    package init(folder: ModelFolder, share: Share, compute: Compute, fingerprint: String? = nil) throws {
        try ModelFacts.checkComponents(of: folder)
        func expectUnchanged() throws {
            guard let fingerprint else { return }
            let now = try folder.fingerprint()
            guard now == fingerprint else { throw StageError(.changed(from: fingerprint, to: now), file: folder.path) }
        }
        try expectUnchanged()
        let parameters = try Flux.Parameters(folder: folder)
        guard share.span.lowerBound >= 0, share.span.upperBound <= parameters.blockCount else {
            throw StageError(.span(share.span, blockCount: parameters.blockCount), file: folder.path)
        }
        text = share.encodes ? try TextEncoders(folder: folder, compute: compute) : nil
        flux =
            share.span.isEmpty
            ? nil
            : try Flux(
                parameters: parameters, weights: folder.weights("transformer"), span: share.span, compute: compute)
        decoder = share.decodes ? try Decoder(folder: folder, compute: compute) : nil
        try expectUnchanged()
        (self.folder, self.share) = (folder, share)
        residentBytes = (text?.residentBytes ?? 0) + (flux?.weightBytes ?? 0) + (decoder?.weightBytes ?? 0)
    }

    /// Encodes a prompt for the network; `textLength` is the number of rows of the sequence, padding included.
    ///
    /// `pause` is called between layers, where no thread computes: other work may run there, on this model too, and
    /// what it throws ends the encoding.
    ///
    /// - Throws: `StageError` when the share left the encoders out, `TextError` when the prompt or the length is out of
    ///   range.
    package func encode(prompt: String, textLength: Int, pause: () throws -> Void = {}) throws -> Conditioning {
        guard let text else { throw StageError(.notLoaded("text encoders"), file: folder.path) }
        return try text.encode(prompt: prompt, textLength: textLength, pause: pause)
    }

    /// Starts a forward pass; block 0 must be in the span.
    package func embed(_ latents: Latents, _ conditioning: Conditioning, sigma: Float, guidance: Float) -> Stream {
        transformer.embed(latents, conditioning, sigma: sigma, guidance: guidance)
    }

    /// Runs all blocks of the span; `onBlock` is told each index when that block is done.
    package func run(_ stream: inout Stream, onBlock: (Int) -> Void = { _ in }) {
        transformer.run(blocks: share.span, &stream, onBlock: onBlock)
    }

    /// Ends a forward pass: the velocity of each image token, (N, 64); the last block must be in the span.
    package func head(_ stream: Stream) -> Tensor { transformer.head(stream) }

    /// Turns a latent, (16, h, w) after scaling and shifting, into a picture of 8 h x 8 w pixels.
    ///
    /// `pause` is called between convolutions, where no thread computes: other work may run there, on this model too,
    /// and what it throws ends the decoding.
    ///
    /// - Throws: `StageError` when the picture holds values that are not numbers: nobody should see it.
    package func decode(_ latent: Tensor, pause: () throws -> Void = {}) throws -> Pixels {
        guard let decoder else { fatalError("no decoder in the share \(share)") }
        let pixels = try decoder.decode(latent, pause: pause)
        if let index = pixels.planes.firstNonFinite {
            throw StageError(.notNumbers(place: pixels.place(of: index)), file: folder.path)
        }
        return pixels
    }

    private var transformer: Flux {
        guard let flux else { fatalError("no blocks in the share \(share)") }
        return flux
    }
}
