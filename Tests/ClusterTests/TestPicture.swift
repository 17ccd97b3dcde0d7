internal import Foundation
internal import TestKit

/// A picture as `render` and `submit` are told of it.
struct TestPicture {
    /// The tiny model of the flux-dev fixtures: five blocks.
    static let model = Fixtures.path + "/flux-dev/model"

    let prompt: String
    let seed: Int
    let flags: [String: String]

    /// 64 tokens, by RALU in 18 steps and by Euler in 4.
    static let all = [
        TestPicture(prompt: "a fox in the snow", seed: 7, flags: ["sampler": "ralu", "preset": "flux-4x"]),
        TestPicture(prompt: "three red circles", seed: 8, flags: ["sampler": "euler", "steps": "4"]),
    ]

    private static let common = ["width": "128", "height": "128", "guidance": "3.5"]

    /// Arguments of `render`.
    func render(to path: String, model: String = Self.model) -> [String] {
        var arguments = ["render", "--model", model, "-p", prompt, "--seed", "\(seed)", "-o", path]
        for (name, value) in flags.merging(Self.common, uniquingKeysWith: { $1 }).sorted(by: { $0.key < $1.key }) {
            arguments += ["--\(name)", value]
        }
        return arguments
    }

    /// A line of a .jsonl file.
    var line: String {
        var fields = ["\"prompt\": \"\(prompt)\"", "\"seed\": \(seed)"]
        for (name, value) in flags.merging(Self.common, uniquingKeysWith: { $1 }).sorted(by: { $0.key < $1.key }) {
            fields.append("\"\(name)\": " + (Double(value) == nil ? "\"\(value)\"" : value))
        }
        return "{" + fields.joined(separator: ", ") + "}"
    }

    /// Writes pictures as a .jsonl file and gives its path.
    static func batch(_ pictures: [TestPicture], in folder: TemporaryFolder) throws -> String {
        try folder.write(Array(pictures.map(\.line).joined(separator: "\n").utf8), name: "batch.jsonl")
    }

    /// Renders pictures in one process each and gives their bytes.
    static func rendered(
        _ pictures: [TestPicture], in folder: TemporaryFolder, model: String = model, threads: Int,
        _ more: [String] = []
    ) async throws -> [Data] {
        var bytes: [Data] = []
        for (index, picture) in pictures.enumerated() {
            let path = folder.path("alone-\(index).png")
            let outcome = try await Abbozzo.run(
                picture.render(to: path, model: model) + ["--threads", "\(threads)"] + more)
            guard outcome.status == .exited(0) else { throw RenderFailure(description: outcome.errors) }
            bytes.append(try Data(contentsOf: URL(filePath: path)))
        }
        return bytes
    }
}

struct RenderFailure: Error, CustomStringConvertible {
    let description: String
}
