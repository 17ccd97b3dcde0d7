internal import Foundation

/// The weights of one component: one safetensors file, or shards with an index.
package struct WeightFiles: Sendable {
    /// File or index that the weights were found by.
    package let path: String
    /// The files, in order of their names.
    package let files: [SafetensorsFile]
    /// Names of all tensors, sorted.
    package let names: [String]

    private let tensors: [String: StoredTensor]

    /// Opens the weights in a component's folder: `diffusion_pytorch_model` or `model`, whole or sharded.
    package init(folder: String) throws(CheckpointError) {
        let stems = ["diffusion_pytorch_model", "model"]
        for stem in stems {
            let single = "\(folder)/\(stem).safetensors"
            if isFile(single) {
                self = try Self(file: SafetensorsFile(path: single))
                return
            }
            let index = single + ".index.json"
            if isFile(index) {
                self = try Self(index: index, folder: folder)
                return
            }
        }
        throw CheckpointError(
            .noWeights(tried: stems.flatMap { ["\($0).safetensors", "\($0).safetensors.index.json"] }), file: folder)
    }

    /// Takes all tensors of one file.
    package init(file: SafetensorsFile) throws(CheckpointError) {
        path = file.path
        files = [file]
        names = file.names.sorted()
        var tensors: [String: StoredTensor] = [:]
        for name in file.names { tensors[name] = try file[name] }
        self.tensors = tensors
    }

    private init(index: String, folder: String) throws(CheckpointError) {
        struct Index: Decodable {
            enum CodingKeys: String, CodingKey { case weightMap = "weight_map" }
            var weightMap: [String: String]
        }
        let map = try decodeJSON(Index.self, path: index).weightMap
        var opened: [String: SafetensorsFile] = [:]
        for shard in Set(map.values).sorted() {
            guard !shard.isEmpty, !shard.hasPrefix("."), !shard.utf8.contains(where: { $0 == 0x2F || $0 == 0 }) else {
                throw CheckpointError(.shardOutsideFolder(shard), file: index)
            }
            opened[shard] = try SafetensorsFile(path: "\(folder)/\(shard)")
        }
        var tensors: [String: StoredTensor] = [:]
        for (name, shard) in map {
            guard let file = opened[shard], file.contains(name) else {
                throw CheckpointError(.notInShard, file: "\(folder)/\(shard)", tensor: name)
            }
            tensors[name] = try file[name]
        }
        path = index
        files = opened.keys.sorted().compactMap { opened[$0] }
        names = map.keys.sorted()
        self.tensors = tensors
    }

    /// Whether there is a tensor of this name.
    package func contains(_ name: String) -> Bool { tensors[name] != nil }

    /// The tensor of this name.
    package subscript(name: String) -> StoredTensor {
        get throws(CheckpointError) {
            guard let tensor = tensors[name] else { throw CheckpointError(.noTensor, file: path, tensor: name) }
            return tensor
        }
    }
}

/// Largest JSON or tokenizer file that is read; T5-XXL's tokenizer.json has 2.4 MB, the largest index 1.5 MB.
package let smallFileLimit = 64 << 20

/// Decodes a small JSON file.
package func decodeJSON<T: Decodable>(_ type: T.Type, path: String) throws(CheckpointError) -> T {
    let bytes = try fileBytes(path, limit: smallFileLimit)
    do {
        return try JSONDecoder().decode(type, from: Data(bytes))
    } catch let error as DecodingError {
        throw CheckpointError(.malformed(detail: oneLine(error)), file: path)
    } catch {
        throw CheckpointError(.malformed(detail: "it is not JSON"), file: path)
    }
}

private func oneLine(_ error: DecodingError) -> String {
    func place(_ context: DecodingError.Context) -> String {
        let keys = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }
        return keys.isEmpty ? "the top level" : keys.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(key.stringValue) is missing at \(place(context))"
    case .valueNotFound(_, let context): return "nothing at \(place(context)) where a value is needed"
    case .typeMismatch(let type, let context): return "\(place(context)) is not of type \(type)"
    case .dataCorrupted(let context): return "\(context.debugDescription) at \(place(context))"
    @unknown default: return "it cannot be decoded"
    }
}
