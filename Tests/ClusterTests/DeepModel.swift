internal import Checkpoint
internal import Foundation
internal import Tensors
internal import TestKit

/// The tiny model of the flux-dev fixtures with more blocks, so that eight workers can each have some.
///
/// Everything but the transformer is linked. Blocks beyond those of the fixtures are copies of them with each weight a
/// little larger, so that no two blocks are the same and one that is missing or in the wrong place shows.
struct DeepModel {
    /// Path of the model's folder.
    let path: String
    /// Its blocks: three double ones and six single ones.
    static let blockCount = doubles + singles

    private static let (doubles, singles) = (3, 6)

    /// Writes it into a folder.
    init(in folder: TemporaryFolder) throws {
        path = folder.path("deep")
        let (files, source) = (FileManager.default, try ModelFolder(path: TestPicture.model))
        try files.createDirectory(atPath: "\(path)/transformer", withIntermediateDirectories: true)
        for name in try files.contentsOfDirectory(atPath: source.path) where name != "transformer" {
            try files.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: "\(source.path)/\(name)")
        }

        let text = try String(contentsOfFile: source.path("transformer") + "/config.json", encoding: .utf8)
        let config = text.replacing("\"num_layers\": 2", with: "\"num_layers\": \(Self.doubles)")
            .replacing("\"num_single_layers\": 3", with: "\"num_single_layers\": \(Self.singles)")
        try Data(config.utf8).write(to: URL(filePath: "\(path)/transformer/config.json"))

        let weights = try source.weights("transformer")
        var writer = SafetensorsWriter()
        for name in weights.names where !name.contains("transformer_blocks.") {
            writer.add(name, try weights[name].tensor())
        }
        for (root, known, wanted) in [
            ("transformer_blocks.", 2, Self.doubles), ("single_transformer_blocks.", 3, Self.singles),
        ] {
            for block in 0..<wanted {
                let (original, copy) = ("\(root)\(block % known).", "\(root)\(block).")
                for name in weights.names where name.hasPrefix(original) {
                    var tensor = try weights[name].tensor()
                    let factor = 1 + Float(block / known) / 32
                    tensor.withUnsafeMutableBuffer { values in
                        for index in values.indices { values[index] *= factor }
                    }
                    writer.add(copy + name.dropFirst(original.count), tensor)
                }
            }
        }
        try writer.write(to: "\(path)/transformer/diffusion_pytorch_model.safetensors")
    }
}
