import Checkpoint
import Foundation
import TestKit

/// A copy of the tiny FLUX.1-dev with changed files.
///
/// Everything else is linked. The folder goes with the value.
final class AlteredModel {
    private let url = FileManager.default.temporaryDirectory.appendingPathComponent("altered-\(UUID().uuidString)")

    /// `edits` maps a path within the model to what is replaced in that text file.
    init(_ edits: [String: (find: String, replace: String)]) throws {
        let (files, source) = (FileManager.default, URL(fileURLWithPath: try Golden("flux-dev").modelFolder.path))
        for folder in [""] + (try files.contentsOfDirectory(atPath: source.path)) {
            let from = source.appendingPathComponent(folder)
            guard try from.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true else { continue }
            let to = url.appendingPathComponent(folder)
            try files.createDirectory(at: to, withIntermediateDirectories: true)
            for file in try files.contentsOfDirectory(atPath: from.path) where folder != "" || file.hasSuffix(".json") {
                let path = folder == "" ? file : "\(folder)/\(file)"
                if let edit = edits[path] {
                    let text = try String(contentsOf: from.appendingPathComponent(file), encoding: .utf8)
                    guard text.contains(edit.find) else { throw GoldenTextMissing(path: path, text: edit.find) }
                    try Data(text.replacingOccurrences(of: edit.find, with: edit.replace).utf8)
                        .write(to: to.appendingPathComponent(file))
                } else {
                    try files.createSymbolicLink(
                        at: to.appendingPathComponent(file), withDestinationURL: from.appendingPathComponent(file))
                }
            }
        }
    }

    /// The folder, opened.
    var folder: ModelFolder {
        get throws { try ModelFolder(path: url.path) }
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    private struct GoldenTextMissing: Error {
        let path: String
        let text: String
    }
}
