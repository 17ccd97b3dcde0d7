import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoint

@Suite struct ModelFolderTests {
    let temporary = TemporaryFolder()

    @Test("reads the index, components and weights of the goldens' models", arguments: ["flux-dev", "flux-schnell"])
    func reads(name: String) throws {
        let folder = try Golden(name).modelFolder
        #expect(folder.className == "FluxPipeline" && folder.name == "model")
        #expect(folder.has("tokenizer_2") && !folder.has("image_encoder") && !folder.has("feature_extractor"))
        #expect(folder.components.count == 7)
        let weights = try folder.weights("transformer")
        #expect(weights.contains("x_embedder.weight") && !weights.contains("y"))
        #expect(try weights["x_embedder.weight"].tensor(shape: [64, 64]).count == 4096)
        #expect(weights.names == weights.names.sorted() && weights.names.count > 100)
    }

    @Test("a path without a model says what to give instead")
    func absent() throws {
        let error = try #require(throws: CheckpointError.self) { try ModelFolder(path: "/no/such/place") }
        #expect(error.description == "no model folder at /no/such/place: give the folder that holds model_index.json")
        #expect(throws: CheckpointError.self) { try ModelFolder(path: temporary.path) }
        for index in ["", "{", "[]", "{}", "{\"_class_name\":3}", "{\"_class_name\":\"X\",\"../a\":[\"b\",\"c\"]}"] {
            try temporary.write(Array(index.utf8), name: "model_index.json")
            #expect(throws: CheckpointError.self, "\(index)") { try ModelFolder(path: temporary.path) }
        }
        try temporary.write(Array("{}".utf8), name: "model_index.json")
        let nameless = try #require(throws: CheckpointError.self) { try ModelFolder(path: temporary.path) }
        #expect(nameless.description.contains("names no _class_name; give one as downloaded, with model_index.json"))
    }

    @Test("shards: absent ones, strangers and tensors that are not there are refused")
    func shards() throws {
        var writer = SafetensorsWriter()
        writer.add("x", Tensor([1], shape: [1]))
        try temporary.write(writer.bytes(), name: "one.safetensors")
        func open(_ map: String) throws -> WeightFiles {
            let index = "{\"metadata\":{\"total_size\":4},\"weight_map\":\(map)}"
            try temporary.write(Array(index.utf8), name: "model.safetensors.index.json")
            return try WeightFiles(folder: temporary.path)
        }
        #expect(try open("{\"x\":\"one.safetensors\"}")["x"].tensor().values == [1])
        let bad = [
            "{\"x\":\"two.safetensors\"}", "{\"y\":\"one.safetensors\"}", "{\"x\":\"../one.safetensors\"}",
            "{\"x\":\"/etc/passwd\"}", "{\"x\":\"..\"}", "{\"x\":\"\"}", "{\"x\":\"a/one.safetensors\"}", "{\"x\":3}",
            "3",
        ]
        for map in bad { #expect(throws: CheckpointError.self, "\(map)") { try open(map) } }
        #expect(throws: CheckpointError.self) { try WeightFiles(folder: temporary.path("none")) }
    }

    @Test("a configuration that lacks a field names file and field")
    func config() throws {
        struct Config: Decodable { var width: Int }
        try temporary.write(Array("{\"_class_name\":\"FluxPipeline\"}".utf8), name: "model_index.json")
        try temporary.write(Array("{\"height\":3}".utf8), name: "vae/config.json")
        let folder = try ModelFolder(path: temporary.path)
        let error = try #require(throws: CheckpointError.self) { try folder.config("vae", as: Config.self) }
        #expect(error.description.contains("vae/config.json") && error.description.contains("width is missing"))
        #expect(throws: CheckpointError.self) { try folder.config("transformer", as: Config.self) }
        for (component, file) in [
            ("scheduler", "scheduler/scheduler_config.json"), ("tokenizer_2", "tokenizer_2/tokenizer_config.json"),
        ] {
            let missing = #expect(throws: CheckpointError.self) { try folder.config(component, as: Config.self) }
            #expect(missing?.reason == .noFile && missing?.file.hasSuffix(file) == true, "\(component)")
        }
        #expect(throws: CheckpointError.self) { try folder.weights("transformer") }
    }

    @Test("the fingerprint follows contents, not places")
    func fingerprint() throws {
        let source = try Golden("flux-schnell").modelFolder
        let original = try source.fingerprint()
        #expect(original.count == 16)
        let copy = temporary.path("elsewhere")
        try FileManager.default.copyItem(atPath: source.path, toPath: copy)
        let folder = try ModelFolder(path: copy + "/")
        #expect(try folder.fingerprint() == original)
        try Data("a note".utf8).write(to: URL(fileURLWithPath: copy + "/README.md"))
        #expect(try folder.fingerprint() == original)
        // One bit of one weight in a small file, and one character of a configuration.
        let weights = copy + "/vae/diffusion_pytorch_model.safetensors"
        let present = FileManager.default.fileExists(atPath: weights)
        let target = present ? weights : try folder.weights("vae").files[0].path
        var bytes = try Data(contentsOf: URL(fileURLWithPath: target))
        bytes[bytes.count - 1] ^= 1
        try bytes.write(to: URL(fileURLWithPath: target))
        let changed = try folder.fingerprint()
        #expect(changed != original)
        let config = URL(fileURLWithPath: copy + "/vae/config.json")
        try (Data(contentsOf: config) + Data(" ".utf8)).write(to: config)
        #expect(try folder.fingerprint() != changed)
        #expect(try Golden("flux-dev").modelFolder.fingerprint() != original)
    }

    @Test("SHA-256 gives the standard's examples, in one piece or many")
    func digest() {
        func hex(_ text: String, pieces: Int = 1) -> String {
            var hash = SHA256()
            let bytes = Array(text.utf8)
            let size = max(1, bytes.count / pieces)
            for start in stride(from: 0, to: bytes.count, by: size) {
                bytes[start..<min(start + size, bytes.count)].withUnsafeBytes { hash.update($0) }
            }
            return hash.digest()
        }
        #expect(hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let long = String(repeating: "a", count: 1_000_000)
        #expect(hex(long) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        #expect(hex(long, pieces: 7777) == hex(long))
    }
}
