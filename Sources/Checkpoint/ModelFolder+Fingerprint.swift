internal import Glibc

extension ModelFolder {
    /// Sixteen hexadecimal digits that two folders share when configuration, tokenizers and weights are the same.
    ///
    /// Takes in `model_index.json`, each component's `.json`, `.txt` and `.model` files whole, and of each weight file its
    /// header, its size and 256 pages spread over it (all of a file below a megabyte). It tells models apart that were
    /// mixed up; it is no defence against somebody who changes single weights on purpose.
    ///
    /// Does not depend on the machine, the folder's path, file times or files outside the listed components.
    package func fingerprint() throws(CheckpointError) -> String {
        var hash = SHA256()
        hash.update("abbozzo model 1")
        try hash.add(file: "\(path)/model_index.json", named: "model_index.json")
        for component in components where has(component) {
            let folder = path(component)
            let files = try entries(of: folder)
            for name in files where [".json", ".txt", ".model"].contains(where: name.hasSuffix) {
                try hash.add(file: "\(folder)/\(name)", named: "\(component)/\(name)")
            }
            guard files.contains(where: { $0.hasSuffix(".safetensors") }) else { continue }
            for file in try weights(component).files {
                let name = file.path.split(separator: "/").last.map(String.init) ?? file.path
                hash.update("\(component)/\(name)")
                file.withBytes { hash.sample($0, whole: file.headerBytes) }
            }
        }
        return String(hash.digest().prefix(16))
    }

    /// Names of the regular files in a folder, sorted by their bytes.
    private func entries(of folder: String) throws(CheckpointError) -> [String] {
        guard let directory = opendir(folder) else {
            throw CheckpointError(.system(call: "list", code: errno), file: folder)
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if isFile("\(folder)/\(name)") { names.append(name) }
        }
        return names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
    }
}

extension SHA256 {
    fileprivate mutating func add(file path: String, named name: String) throws(CheckpointError) {
        let bytes = try fileBytes(path, limit: smallFileLimit)
        update(name)
        withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { update($0) }
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the size, the first `whole` bytes and pages spread evenly over the rest.
    fileprivate mutating func sample(_ bytes: UnsafeRawBufferPointer, whole: Int) {
        let (page, pages) = (4096, 256)
        withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { update($0) }
        guard bytes.count - whole > page * pages else {
            update(bytes)
            return
        }
        update(UnsafeRawBufferPointer(rebasing: bytes[..<whole]))
        let last = bytes.count - page
        for index in 0..<pages {
            let start = whole + (last - whole) / (pages - 1) * index
            update(UnsafeRawBufferPointer(rebasing: bytes[start..<start + page]))
        }
        update(UnsafeRawBufferPointer(rebasing: bytes[last...]))
    }
}
