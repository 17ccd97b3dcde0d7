internal import Foundation
package import Plan

/// Everything that is needed to render a picture again, as it is written into its file.
///
/// It holds no clock, no host and no path: the same request on the same model gives the same text.
package struct PictureMetadata: Codable, Equatable, Sendable {
    /// Key of the text that web interfaces read.
    package static let parametersKey = "parameters"
    /// Key of the JSON block.
    package static let jsonKey = "abbozzo"

    /// What was asked for.
    package var request: ImageRequest
    /// Class of the model's pipeline, `FluxPipeline`: of its name only the folder knows, and copies may be named anyhow.
    package var model: String
    /// Fingerprint of its configuration and weights.
    package var fingerprint: String
    /// Kernel class that computed it; classes may differ in the last bits.
    package var kernelClass: String
    /// Number format of activations between workers.
    package var wireFormat: WireFormat
    /// Version of the program.
    package var version: String
    /// Names of the tensors that were taken from a file in place of the seed's numbers and the prompt's encoding; nil for
    /// none, and then the request alone repeats the picture.
    package var injected: [String]?

    /// Joins the fields.
    package init(
        request: ImageRequest, model: String, fingerprint: String, kernelClass: String, wireFormat: WireFormat = .f32,
        version: String, injected: [String]? = nil
    ) {
        self.request = request
        self.model = model
        self.fingerprint = fingerprint
        self.kernelClass = kernelClass
        self.wireFormat = wireFormat
        self.version = version
        self.injected = injected
    }

    /// Reads the JSON block of a decoded file.
    package init(of image: PNG.Image) throws(PNGError) {
        guard let json = image.text(Self.jsonKey) else {
            throw PNGError(text: "it has no text \"\(Self.jsonKey)\", so Abbozzo did not write it")
        }
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(json.utf8))
        } catch {
            throw PNGError(text: "its text \"\(Self.jsonKey)\" is no description of a picture")
        }
        // Anybody may have written it; steps are added up.
        let stages = request.sampler.stages
        guard stages.allSatisfy({ 1...Bounds.steps ~= $0 }) else {
            throw PNGError(text: "its text \"\(Self.jsonKey)\" has impossible steps: \(stages.prefix(4))")
        }
    }

    /// The text chunks of the file, for `PNG.encode`.
    package var text: [(key: String, value: String)] {
        [(Self.parametersKey, parameters), (Self.jsonKey, json)]
    }

    /// The prompt and a line of settings, in the form that web interfaces exchange.
    package var parameters: String {
        var lines = [request.prompt]
        if !request.negativePrompt.isEmpty { lines.append("Negative prompt: \(request.negativePrompt)") }
        var settings = [
            ("Steps", "\(request.sampler.totalSteps)"), ("Sampler", samplerName), ("CFG scale", "\(request.guidance)"),
            ("Seed", "\(request.seed)"), ("Size", "\(request.width)x\(request.height)"),
            ("Model hash", String(fingerprint.prefix(10))), ("Model", model),
        ]
        if let preset = request.preset { settings.append(("Preset", preset)) }
        settings.append(("Text length", "\(request.textLength)"))
        if let injected { settings.append(("Injected", injected.joined(separator: " "))) }
        settings.append(("Version", "Abbozzo \(version)"))
        lines.append(settings.map { "\($0.0): \(Self.quoted($0.1))" }.joined(separator: ", "))
        // Text chunks end at a NUL; the JSON block keeps it.
        return lines.joined(separator: "\n").replacing("\0", with: " ")
    }

    private var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else {
            fatalError("guidance \(request.guidance) or the sampler's constants are not finite")
        }
        return String(decoding: data, as: UTF8.self)
    }

    private var samplerName: String {
        switch request.sampler {
        case .euler: "Euler"
        case .ralu: "RALU"
        }
    }

    /// Values with a separator in them are written as JSON strings, as web interfaces do.
    private static func quoted(_ value: String) -> String {
        guard value.contains(where: { ",:\n\"".contains($0) }) else { return value }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? value
    }
}
