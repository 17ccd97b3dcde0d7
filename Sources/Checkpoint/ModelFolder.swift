internal import Foundation

/// A model in the layout of diffusers: `model_index.json` and a folder for each component.
package struct ModelFolder: Sendable {
    /// Absolute path without a slash at its end.
    package let path: String
    /// Name of the folder, shown to people.
    package let name: String
    /// Class of the pipeline, `FluxPipeline`.
    package let className: String
    /// Components that the index lists and does not leave empty, sorted.
    package let components: [String]

    /// Opens a folder and reads its index.
    package init(path: String) throws(CheckpointError) {
        guard isFolder(path) else { throw CheckpointError(.noFolder, file: path) }
        let url = URL(fileURLWithPath: path).standardizedFileURL
        self.path = url.path
        name = url.lastPathComponent
        let file = "\(url.path)/model_index.json"
        guard isFile(file) else {
            throw CheckpointError(.notAModel(detail: "it has no model_index.json"), file: url.path)
        }
        let index = try decodeJSON([String: IndexEntry].self, path: file)
        guard case .text(let className)? = index["_class_name"] else {
            throw CheckpointError(.notAModel(detail: "model_index.json names no _class_name"), file: url.path)
        }
        self.className = className
        components =
            index.compactMap { key, value in
                if case .component = value, !key.hasPrefix("_") { key } else { nil }
            }.sorted()
        for component in components where component.contains("/") || component.hasPrefix(".") {
            throw CheckpointError(.notAModel(detail: "model_index.json lists \(component)"), file: url.path)
        }
    }

    /// Whether the index lists a component and its folder is there.
    package func has(_ component: String) -> Bool { components.contains(component) && isFolder(self.path(component)) }

    /// Path of a component's folder.
    package func path(_ component: String) -> String { "\(path)/\(component)" }

    /// Decodes a component's configuration: `config.json`, `scheduler_config.json` or `tokenizer_config.json`.
    package func config<T: Decodable>(_ component: String, as type: T.Type) throws(CheckpointError) -> T {
        let file =
            component == "scheduler"
            ? "scheduler_config.json" : component.hasPrefix("tokenizer") ? "tokenizer_config.json" : "config.json"
        return try decodeJSON(type, path: "\(self.path(component))/\(file)")
    }

    /// Opens a component's weights.
    package func weights(_ component: String) throws(CheckpointError) -> WeightFiles {
        guard isFolder(self.path(component)) else {
            throw CheckpointError(.notAModel(detail: "it has no folder \(component)"), file: path)
        }
        return try WeightFiles(folder: self.path(component))
    }
}

/// One value of `model_index.json`.
private enum IndexEntry: Decodable {
    case component
    case text(String)
    case other

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let pair = try? container.decode([String?].self), pair.count == 2, pair.allSatisfy({ $0 != nil }) {
            self = .component
        } else {
            self = .other
        }
    }
}
