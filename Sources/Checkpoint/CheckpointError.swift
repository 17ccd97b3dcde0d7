/// Why a model folder or one of its files cannot be used.
package struct CheckpointError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong, with the numbers.
    package enum Reason: Equatable, Sendable {
        /// There is no folder at the path.
        case noFolder
        /// The folder lacks `model_index.json` or this cannot be a diffusers model.
        case notAModel(detail: String)
        /// The folder has no weights under any of these names.
        case noWeights(tried: [String])
        /// Git fetched what stands for the file, not the file.
        case lfsPointer
        /// The file does not exist.
        case noFile
        /// The system refused: what was tried, and errno.
        case system(call: String, code: Int32)
        /// The file is larger than anything of its kind.
        case tooLarge(bytes: Int, limit: Int)
        /// The contents break the format.
        case malformed(detail: String)
        /// The index names a shard that is no plain file name of its own folder.
        case shardOutsideFolder(String)
        /// The index promises a tensor that its shard does not hold.
        case notInShard
        /// The configuration asks for a network that this program does not have.
        case configuration(detail: String)
        /// The file has no tensor of this name.
        case noTensor
        /// The tensor has another shape than the configuration asks for.
        case shape(expected: [Int], found: [Int])
        /// Values of this type cannot become what was asked for.
        case type(ElementType, wanted: String)
    }

    /// What is wrong.
    package let reason: Reason
    /// Path of the file or folder.
    package let file: String
    /// Name of the tensor, where the fault lies with one.
    package let tensor: String?

    /// Joins the parts.
    package init(_ reason: Reason, file: String, tensor: String? = nil) {
        self.reason = reason
        self.file = file
        self.tensor = tensor
    }

    /// One line: what, where and the next step.
    package var description: String {
        let name = tensor.map { "tensor \(printable($0))" } ?? "a tensor"
        switch reason {
        case .noFolder:
            return "no model folder at \(file): give the folder that holds model_index.json"
        case .notAModel(let detail):
            return
                "\(file) is not a diffusers model folder: \(printable(detail, atMost: 400)); "
                + "give one as downloaded, with model_index.json and a folder for each component"
        case .noWeights(let tried):
            return
                "no weights in \(file): looked for \(tried.joined(separator: ", ")); copy or download it again, without a variant "
                + "such as fp16, in safetensors"
        case .lfsPointer:
            return
                "\(file) is only a pointer of Git LFS: run git lfs pull in the model's folder, or download the file itself"
        case .noFile:
            return "\(file) is missing: the model folder is incomplete, copy or download it again"
        case .system(let call, let code):
            return "cannot \(call) \(file): \(systemMessage(code)) (errno \(code))"
        case .tooLarge(let bytes, let limit):
            return "\(file) has \(bytes) bytes, at most \(limit) are read: it is not the file its name says"
        case .malformed(let detail):
            let place = tensor.map { ", tensor \(printable($0))" } ?? ""
            return "\(file)\(place) is damaged: \(printable(detail, atMost: 400)); copy or download it again"
        case .shardOutsideFolder(let shard):
            return
                "\(file) names the shard \(printable(shard)), which is not a file of the same folder: "
                + "copy or download it again"
        case .notInShard:
            return "\(file) does not hold \(name) although the index says so: copy or download it again"
        case .configuration(let detail):
            return
                "\(file) cannot be used: \(printable(detail, atMost: 400)); "
                + "copy or download it again, or give another model"
        case .noTensor:
            return "\(file) has no \(name): the weights belong to another model or are incomplete"
        case .shape(let expected, let found):
            return
                "\(name) of \(file) has shape \(found), the configuration asks for \(expected): "
                + "weights and config.json are of different models; copy or download both again"
        case .type(let type, let wanted):
            return
                "\(name) of \(file) holds \(type.rawValue) values, which cannot be read as \(wanted): "
                + "give a checkpoint in f32, f16 or bf16"
        }
    }
}

/// A text from a file, made safe for one line of a log.
private func printable(_ text: String, atMost limit: Int = 120) -> String {
    let short = text.count > limit ? text.prefix(limit - 3) + "..." : text[...]
    return String(String.UnicodeScalarView(short.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : $0 }))
}
