package import Checkpoint
internal import Foundation
package import Tensors

/// One folder of reference tensors below `Tests/Fixtures`, with the manifest that says how close results must come.
package struct Golden: Sendable {
    /// Name of the folder.
    package let name: String
    /// Absolute path of the folder.
    package let path: String
    /// The prompts that rows of token ids belong to; empty where the folder has none.
    package let prompts: [String]
    private let tolerances: [String: [String: Double]]

    /// Opens a folder by its name, such as "flux-dev".
    package init(_ name: String) throws {
        self.name = name
        path = "\(Fixtures.path)/\(name)"
        let manifest = try decodeJSON(Manifest.self, path: "\(path)/manifest.json")
        tolerances = manifest.files.mapValues { $0.mapValues(\.atol) }
        let prompts = "\(path)/prompts.json"
        self.prompts =
            FileManager.default.fileExists(atPath: prompts) ? try decodeJSON([String].self, path: prompts) : []
    }

    /// Opens one file of the folder, such as "transformer.safetensors" or just "transformer".
    package func file(_ file: String) throws -> GoldenFile {
        let stem = file.hasSuffix(".safetensors") ? String(file.dropLast(".safetensors".count)) : file
        guard let tolerances = tolerances[stem] else {
            throw GoldenError(text: "\(path)/manifest.json lists no file \(stem)")
        }
        return GoldenFile(
            group: "\(name)/\(stem)", stored: try SafetensorsFile(path: "\(path)/\(stem).safetensors"),
            tolerances: tolerances)
    }

    /// The model whose results these are.
    package var modelFolder: ModelFolder {
        get throws { try ModelFolder(path: "\(path)/model") }
    }

    private struct Manifest: Decodable {
        var files: [String: [String: Entry]]
    }

    private struct Entry: Decodable {
        var atol: Double
    }
}

/// One file of reference tensors.
package struct GoldenFile: Sendable {
    /// Folder and file, the head of this file's groups in the closing table.
    package let group: String
    /// The file itself.
    package let stored: SafetensorsFile
    private let tolerances: [String: Double]

    init(group: String, stored: SafetensorsFile, tolerances: [String: Double]) {
        self.group = group
        self.stored = stored
        self.tolerances = tolerances
    }

    /// Names of all tensors, sorted.
    package var names: [String] { stored.names.sorted() }

    /// Whether the file holds a tensor of this name.
    package func contains(_ name: String) -> Bool { stored.contains(name) }

    /// A tensor as float32, under its own shape.
    package func tensor(_ name: String) throws -> Tensor { try stored[name].tensor() }

    /// One entry of a batch: slice `item` of the first axis, that axis dropped.
    package func tensor(_ name: String, item: Int) throws -> Tensor {
        let whole = try tensor(name)
        return whole.rows(item..<item + 1).reshaped(Array(whole.shape.dropFirst()))
    }

    /// Largest difference that is allowed for a tensor; 0 where values must be equal.
    package func tolerance(_ name: String) throws -> Double {
        guard let tolerance = tolerances[name] else {
            throw GoldenError(text: "the manifest of \(group) lacks \(name)")
        }
        return tolerance
    }

    /// All values of an integer tensor.
    package func ints(_ name: String) throws -> [Int] { try stored[name].integers() }

    /// One row of a matrix of integers.
    package func ints(_ name: String, row: Int) throws -> [Int] {
        let tensor = try stored[name]
        let width = tensor.shape.last ?? 1
        return Array(try tensor.integers()[row * width..<(row + 1) * width])
    }

    /// All values of a tensor of bytes.
    package func bytes(_ name: String) throws -> [UInt8] {
        let tensor = try stored[name]
        guard tensor.dtype == .u8 || tensor.dtype == .bool else {
            throw GoldenError(text: "\(name) of \(group) holds \(tensor.dtype.rawValue), not bytes")
        }
        return tensor.withBytes { Array($0) }
    }

    /// All values of a tensor in double precision; f32 widens.
    package func doubles(_ name: String) throws -> [Double] {
        let tensor = try stored[name]
        guard tensor.dtype == .f64 else { return try tensor.tensor().values.map(Double.init) }
        return tensor.withBytes { bytes in
            (0..<tensor.count).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
        }
    }

    /// Shape of a tensor.
    package func shape(_ name: String) throws -> [Int] { try stored[name].shape }
}

/// Where the fixtures and the models that ship lie in the checkout that the tests were built from.
package enum Fixtures {
    /// Root of the checkout.
    package static let root: String = {
        var url = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url.standardizedFileURL.path
    }()

    /// The folder `Tests/Fixtures`.
    package static let path = root + "/Tests/Fixtures"

    /// The model that ships, `configs/models/demo`.
    package static let demoModel = root + "/configs/models/demo"

    /// Its variant for four steps, `configs/models/demo-schnell`.
    package static let fewStepModel = root + "/configs/models/demo-schnell"
}

/// A fixture that is not as a test expects it.
package struct GoldenError: Error, CustomStringConvertible {
    let text: String

    /// What is missing, and where.
    package var description: String { text }
}
