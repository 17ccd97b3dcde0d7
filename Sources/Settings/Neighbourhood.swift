internal import Foundation

/// Where files that come with the program are looked for: the working folder first, then around the executable.
package struct Neighbourhood: Sendable {
    /// Absolute path of the folder the program was started in.
    package let workingFolder: String
    /// Absolute path of the executable.
    package let executable: String

    /// Joins both paths.
    package init(workingFolder: String, executable: String) {
        self.workingFolder = workingFolder
        self.executable = executable
    }

    /// Of this process.
    package static func ofThisProcess() -> Neighbourhood {
        Neighbourhood(
            workingFolder: FileManager.default.currentDirectoryPath,
            executable: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "")
    }

    /// Folders that may hold `configs`: the working folder, then up to six above the executable, which reaches out of
    /// `.build/x86_64-unknown-linux-gnu/release` to the checkout.
    private var roots: [String] {
        var roots = [workingFolder]
        var folder = executable
        for _ in 0..<6 {
            guard let slash = folder.lastIndex(of: "/") else { break }
            folder = String(folder[..<slash])
            if !folder.isEmpty, !roots.contains(folder) { roots.append(folder) }
        }
        return roots
    }

    /// Folders of presets, first one wins.
    package var presetFolders: [String] { roots.map { "\($0)/configs/presets" } + ["/etc/abbozzo/presets"] }

    /// The model that comes with the program.
    ///
    /// - Throws: `SettingsError` with the places that were tried.
    package func demoModel() throws(SettingsError) -> String {
        let paths = roots.map { "\($0)/configs/models/demo" } + ["/usr/share/abbozzo/models/demo"]
        if let path = paths.first(where: { Self.isFile("\($0)/model_index.json") }) { return path }
        throw SettingsError(.notFound(tried: paths), file: "the model that comes with the program")
    }

    /// Whether a path is a file.
    static func isFile(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
    }

    /// Names of the presets in a folder.
    static func presetNames(_ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [])
            .filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }
    }
}
