internal import Checkpoint
internal import Foundation
internal import Imaging
internal import Plan
internal import TestKit
internal import Tensors
internal import Testing

/// Bad input through the real executable: one line with the next step, the right exit code, nothing half-written.
@Suite("The command line", .timeLimit(.minutes(10)))
struct CommandTests {
    let folder = TemporaryFolder()
    let tiny = Fixtures.path + "/flux-dev/model"

    /// Runs `abbozzo` in the test's folder and expects one line of error with these words.
    @discardableResult
    private func refused(
        _ arguments: [String], code: Int32 = 1, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let outcome = try await Abbozzo.run(arguments, in: folder.path)
        #expect(outcome.status == .exited(code), "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errorLines.count == 1, "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors.hasPrefix("error: "), "\(outcome.errors)", sourceLocation: sourceLocation)
        for word in words {
            #expect(outcome.errors.contains(word), "\(word) in: \(outcome.errors)", sourceLocation: sourceLocation)
        }
        #expect(outcome.errors.count < 600, sourceLocation: sourceLocation)
        return outcome.errors
    }

    private func files() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    /// A copy of the tiny model by links, with one file replaced.
    private func altered(_ path: String, _ contents: Data) throws -> String {
        let copy = folder.path + "/model"
        let manager = FileManager.default
        for component in try manager.contentsOfDirectory(atPath: tiny) {
            var isFolder: ObjCBool = false
            _ = manager.fileExists(atPath: "\(tiny)/\(component)", isDirectory: &isFolder)
            let names = isFolder.boolValue ? try manager.contentsOfDirectory(atPath: "\(tiny)/\(component)") : []
            try manager.createDirectory(
                atPath: isFolder.boolValue ? "\(copy)/\(component)" : copy, withIntermediateDirectories: true)
            for file in isFolder.boolValue ? names.map({ "\(component)/\($0)" }) : [component] {
                if file == path {
                    try contents.write(to: URL(filePath: "\(copy)/\(file)"))
                } else {
                    try manager.createSymbolicLink(
                        atPath: "\(copy)/\(file)", withDestinationPath: "\(tiny)/\(file)")
                }
            }
        }
        return copy
    }

    @Test("help and version end well, and name every verb")
    func help() async throws {
        let help = try await Abbozzo.run(["--help"])
        #expect(help.status == .exited(0) && help.errors.isEmpty)
        for verb in ["render", "coordinator", "worker", "submit", "jobs", "nodes", "top", "image", "model", "keys"] {
            #expect(help.output.contains("\n  \(verb) "), "\(verb)")
            let own = try await Abbozzo.run([verb, "--help"])
            #expect(own.status == .exited(0) && own.output.contains("USAGE: abbozzo \(verb)"))
        }
        let version = try await Abbozzo.run(["--version"])
        #expect(version.output == programVersion + "\n")
    }

    @Test("the help names the words that the demo model knows, as its card does", arguments: ["render", "submit"])
    func vocabulary(verb: String) async throws {
        let output = try await Abbozzo.run([verb, "--help"]).output
        let help = output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let card = try String(contentsOfFile: Fixtures.demoModel + "/README.md", encoding: .utf8)
        let groups = card.components(separatedBy: "\n").filter { $0.hasPrefix("- **") }
            .map { $0.dropFirst(4).replacing("**:", with: ":") }
        #expect(groups.count == 8)
        for words in groups { #expect(help.contains(words)) }
    }

    @Test("a command line that makes no sense is a usage error")
    func usage() async throws {
        try await refused(["paint"], "there is no verb paint", "render", "--help")
        try await refused(["--paint"], "Unknown option '--paint'", "see abbozzo --help")
        try await refused(["render"], "--prompt", "see abbozzo render --help")
        try await refused(["submit", "a.txt", "--sed", "4"], "'--sed'", "see abbozzo submit --help")
        try await refused(["jobs", "ls", "--limit", "0"], "--limit is 0", "see abbozzo jobs ls --help")
        try await refused(["jobs", "paint"], "see abbozzo jobs --help")
        try await refused(["render", "-p", "a", "--compute", "f16"], "f32")
        try await refused(["render", "-p", "a", "--threads", "0"], "--threads", "1 to 1024")
        try await refused(["submit", "a.txt", "-p", "a"], "not both")
        try await refused(["worker", "--roles", "painter"], "encoder,blocks,decoder")
    }

    @Test("values may begin with a dash: numbers below their range say so, texts are taken")
    func dashes() async throws {
        let render = ["render", "--model", tiny, "--width", "64", "--height", "64", "-o", folder.path + "/out.png"]
        try await refused(render + ["-p", "a", "--guidance", "-1"], "guidance of -1.0", "from 0 to 1000")
        try await refused(render + ["-p", "a", "--guidance", "3e38"], "guidance of 3e+38", "from 0 to 1000")
        try await refused(render + ["-p", "a", "--seed", "-5"], "'-5'", "whole number from 0 to 18446744073709551615")
        try await refused(render + ["-p", "a", "--seed", "1.5"], "'1.5'", "whole number from 0")
        try await refused(render + ["-p", "a", "--steps", "-3"], "steps is -3", "at least 1")
        try await refused(render + ["-p", "a", "--width", "-64"], "-64x64", "multiples of 16")
        try await refused(render + ["-p", "a", "--text-length", "-1"], "-1 tokens")
        try await refused(render + ["-p", "a", "--threads", "-1"], "--threads is -1", "1 to 1024")
        try await refused(["coordinator", "--workers", "-1"], "--workers is -1", "1 to 1000")
        try await refused(["jobs", "ls", "--limit", "-1"], "--limit is -1", "1 to 1000")
        try await refused(["nodes", "ls", "--timeout", "-1"], "--timeout is -1.0")
        #expect(try files().isEmpty)
        let outcome = try await Abbozzo.run(
            render + ["-p", "-5 degrees", "--negative-prompt", "-a", "--steps", "1", "--text-length", "8", "--json"])
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        #expect(outcome.output.contains("\"prompt\" : \"-5 degrees\""))
        #expect(outcome.output.contains("\"negativePrompt\" : \"-a\""))
        #expect(outcome.errorLines.filter { $0.hasPrefix("negative prompts are only kept") }.count == 1)
    }

    @Test("what is no regular file stays what it is, and outputs are looked at before the work")
    func irregularOutputs() async throws {
        let render = ["render", "-p", "a", "--model", tiny, "--width", "64", "--height", "64", "--steps", "1"]
        #expect(mkfifo(folder.path + "/pipe", 0o600) == 0)
        try FileManager.default.createSymbolicLink(
            atPath: folder.path + "/link.png", withDestinationPath: folder.path + "/target.png")
        // The model does not exist: whoever names it has looked at the outputs too late.
        let late = render.map { $0 == tiny ? "/nowhere" : $0 }
        try await refused(late + ["-o", "pipe"], "pipe: it is a named pipe")
        try await refused(late + ["-o", "link.png"], "link.png: it is a link")
        try await refused(late + ["-o", "a.png", "--trace", "pipe"], "pipe: it is a named pipe")
        try await refused(late + ["-o", "a", "--trace", "a"], "--output and --trace both name a")
        try await refused(late + ["-o", "a", "--trace", "./a"], "--output and --trace both name a")
        try await refused(late + ["-o", "a", "--trace", folder.path + "/a"], "both name a")
        try await refused(late + ["-o", "a.png", "--trace", "none/a"], "there is no folder none")
        try await refused(["submit", "-p", "a", "--contact-sheet", "pipe"], "pipe: it is a named pipe")
        #expect(try files() == ["link.png", "pipe"])
    }

    @Test("a picture of injected tensors says so, and is verified with their file only")
    func injectedPicture() async throws {
        let render = [
            "render", "-p", "a", "--model", tiny, "--width", "64", "--height", "64", "--steps", "1", "--text-length",
            "8",
        ]
        let plain = try await Abbozzo.run(render + ["-o", "a.png", "--trace", "t.safetensors"], in: folder.path)
        #expect(plain.status == .exited(0), "\(plain.errors)")
        let again = try await Abbozzo.run(
            render + ["-o", "b.png", "--seed", "9", "--inject", "t.safetensors", "--json"], in: folder.path)
        #expect(again.status == .exited(0), "\(again.errors)")
        #expect(again.output.contains("\"injected\" : ["))
        let info = try await Abbozzo.run(["image", "info", "b.png"], in: folder.path)
        #expect(info.output.contains("Injected: latents_unpacked prompt_embeds pooled"), "\(info.output)")
        let verify = ["image", "verify", "--model", tiny]
        try await refused(verify + ["b.png"], "injected", "latents_unpacked, prompt_embeds, pooled", "--inject")
        let repeated = try await Abbozzo.run(verify + ["b.png", "--inject", "t.safetensors"], in: folder.path)
        #expect(repeated.status == .exited(0), "\(repeated.errors)")
        #expect(try await Abbozzo.run(verify + ["a.png"], in: folder.path).status == .exited(0))
    }

    @Test("injected values that are not numbers, and those that overflow, fail the picture with the place")
    func notNumbers() async throws {
        let render = [
            "render", "-p", "a", "--model", tiny, "--width", "64", "--height", "64", "--steps", "2", "--text-length",
            "8", "-o", "out.png", "--inject", "n.safetensors",
        ]
        for (value, words) in [
            (Float.nan, "cannot inject latents: its value 9 is nan"), (3e38, "after step 1 of 2"),
        ] {
            var latents = Tensor(repeating: value.isNaN ? 0 : value, shape: [16, 64])
            latents[9] = value
            var writer = SafetensorsWriter()
            writer.add("latents", latents)
            try Data(writer.bytes()).write(to: URL(filePath: folder.path + "/n.safetensors"))
            try await refused(render, words)
        }
        #expect(try files() == ["n.safetensors"])
    }

    @Test("tensors that the sampler has no use for are not passed over in silence")
    func unusedTensors() async throws {
        let render = ["render", "-p", "a", "--model", tiny, "--width", "64", "--height", "64", "-o", "out.png"]
        var writer = SafetensorsWriter()
        writer.add("noise_stage2", Tensor(repeating: 0, shape: [3, 64]))
        try Data(writer.bytes()).write(to: URL(filePath: folder.path + "/n.safetensors"))
        let inject = ["--inject", "n.safetensors"]
        try await refused(
            render + ["--steps", "1"] + inject, "n.safetensors holds only noise_stage2", "euler", "--preset")
        try await refused(
            render + ["--preset", "schnell-4"] + inject, "noise_stage2 of shape [3, 64]: [",
            "for 64x64 with up_ratio 0.3")
        writer.add("latents", Tensor(repeating: 0, shape: [16, 64]))
        try Data(writer.bytes()).write(to: URL(filePath: folder.path + "/n.safetensors"))
        let outcome = try await Abbozzo.run(render + ["--steps", "1"] + inject, in: folder.path)
        #expect(outcome.status == .exited(0) && outcome.errors.contains("not used of n.safetensors: noise_stage2"))
    }

    @Test("what a picture's file says is looked at before anything is drawn, and printed as it is")
    func picturesOfOthers() async throws {
        let render = [
            "render", "-p", "a", "--model", tiny, "--width", "64", "--height", "64", "--steps", "1", "-o", "a.png",
        ]
        #expect(try await Abbozzo.run(render, in: folder.path).status == .exited(0))
        let file = URL(filePath: folder.path + "/a.png")
        var metadata = try PictureMetadata(of: try PNG.decode([UInt8](Data(contentsOf: file))))
        func write(_ name: String) throws {
            let bytes = try PNG.encode(
                rgb8: Array(repeating: 9, count: 3 * 16 * 16), width: 16, height: 16, text: metadata.text)
            try Data(bytes).write(to: URL(filePath: "\(folder.path)/\(name)"))
        }
        try write("small.png")
        let verify = ["image", "verify", "--model"]
        try await refused(
            verify + ["/nowhere", "small.png"], code: 2, "small.png is 16x16", "64x64", "cropped or scaled")
        (metadata.request.width, metadata.request.height) = (16, 16)
        metadata.request.sampler = .euler(steps: 5000)
        metadata.request.prompt = "one\u{85}two\u{7F}"
        try write("wild.png")
        try await refused(verify + [tiny, "wild.png"], "wild.png: steps is 5000")
        let info = try await Abbozzo.run(["image", "info", "wild.png", "--json"], in: folder.path)
        let read = try JSONDecoder().decode(PictureMetadata.self, from: Data(info.output.utf8))
        #expect(read == metadata, "\(info.output)")
        #expect(mkfifo(folder.path + "/pipe", 0o600) == 0)
        try await refused(["image", "info", "pipe"], "pipe")
        try await refused(["image", "info", "/dev/zero"], "/dev/zero")
    }

    @Test("a model is inspected as far as that goes without its weights, and copied from where its links lead")
    func modelFolders() async throws {
        let made = ["model", "random", "new", "--heads", "3", "--double-blocks", "1", "--single-blocks", "1"]
        let linked = try altered("model_index.json", Data(contentsOf: URL(filePath: "\(tiny)/model_index.json")))
        let outcome = try await Abbozzo.run(made + ["--from", linked], in: folder.path)
        #expect(outcome.status == .exited(0), "\(outcome.errors)")
        for file in try FileManager.default.subpathsOfDirectory(atPath: folder.path + "/new") {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder.path)/new/\(file)")
            #expect(attributes[.type] as? FileAttributeType != .typeSymbolicLink, "\(file)")
        }
        try FileManager.default.removeItem(atPath: linked)
        let inspect = try await Abbozzo.run(["model", "inspect", "new"], in: folder.path)
        #expect(inspect.status == .exited(0), "\(inspect.errors)")
        try FileManager.default.removeItem(atPath: "\(folder.path)/new/tokenizer/vocab.json")
        try await refused(["model", "inspect", "new"], "tokenizer", "vocab.json")
        // As bitsandbytes writes them: the weights' scales lie beside them.
        let file = "text_encoder/model.safetensors"
        let name = "text_model.encoder.layers.0.mlp.fc1.weight"
        let header = "{\"\(name)\":{\"dtype\":\"I8\",\"shape\":[2,4],\"data_offsets\":[0,8]}}"
        var bytes = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + Array(header.utf8)
        bytes += Array(repeating: 1, count: 8)
        try await refused(
            ["model", "inspect", try altered(file, Data(bytes))], name, "holds I8 values", "f32, f16 or bf16")
    }

    @Test("embeddings that do not fit are refused before weights are read")
    func embeddingsThatDoNotFit() async throws {
        var writer = SafetensorsWriter()
        writer.add("prompt_embeds", Tensor(repeating: 0, shape: [8, 47]))
        try Data(writer.bytes()).write(to: URL(filePath: folder.path + "/e.safetensors"))
        // Its weights do not fit its configuration: whoever reads them first says so.
        let config = "text_encoder/config.json"
        let text = try String(contentsOfFile: "\(tiny)/\(config)", encoding: .utf8)
        let wrong = text.replacing("\"num_hidden_layers\": 3", with: "\"num_hidden_layers\": 4")
        #expect(wrong != text)
        let render = ["render", "-p", "a", "--model", try altered(config, Data(wrong.utf8)), "--steps", "1"]
        try await refused(render, "text_encoder")
        try await refused(render + ["--inject", "e.safetensors"], "prompt_embeds of shape [8, 47] do not fit")
    }

    @Test("an unknown model folder, a damaged file and weights of another shape name the file")
    func badModels() async throws {
        let render = ["render", "-p", "a", "--width", "64", "--height", "64", "--steps", "1", "-o", "out.png"]
        try await refused(render + ["--model", "/nowhere/flux"], "/nowhere/flux", "model_index.json")
        let file = "text_encoder/model.safetensors"
        let whole = try Data(contentsOf: URL(filePath: "\(tiny)/\(file)"))
        try await refused(render + ["--model", try altered(file, whole.prefix(whole.count / 2))], file)
        try FileManager.default.removeItem(atPath: folder.path + "/model")
        let config = "transformer/config.json"
        let text = try String(contentsOfFile: "\(tiny)/\(config)", encoding: .utf8)
        let wrong = text.replacing("\"num_attention_heads\": 4", with: "\"num_attention_heads\": 3")
        #expect(wrong != text)
        try await refused(render + ["--model", try altered(config, Data(wrong.utf8))], "safetensors", "shape")
        #expect(try files() == ["model"])
    }

    @Test("what is only not implemented is named, and nobody is told to download it again")
    func unsupported() async throws {
        let config = try String(contentsOfFile: tiny + "/text_encoder/config.json", encoding: .utf8)
        let model = try altered(
            "text_encoder/config.json", Data(config.replacing("quick_gelu", with: "gelu_new").utf8))
        try await refused(
            ["render", "--model", model, "-p", "x", "-o", "x.png"],
            "text_encoder/config.json cannot be used: hidden_act is gelu_new, only quick_gelu and gelu are known")
        #expect(try files() == ["model"])
    }

    @Test("a daemon whose log is read by programs says so, too, why it ended", arguments: ["worker", "coordinator"])
    func endInJSON(verb: String) async throws {
        struct Line: Decodable { let level, message: String }
        let missing = ["worker": ["--model", "nowhere"], "coordinator": ["--control", "tcp://203.0.113.1:5790"]]
        let outcome = try await Abbozzo.run(
            [verb, "--log-format", "json", "--http-port", "0"] + (missing[verb] ?? []), in: folder.path)
        #expect(outcome.status == .exited(1))
        let lines = try outcome.errorLines.map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
        #expect(lines.last?.level == "error" && lines.last?.message.isEmpty == false, "\(outcome.errors)")
    }

    @Test("the next command is one that a shell takes")
    func quotes() async throws {
        let keys = folder.path + "/it's here"
        for arguments in [["init"], ["new", "worker", "n1"]] {
            let outcome = try await Abbozzo.run(["keys"] + arguments + ["--keys", keys], in: folder.path)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            #expect(outcome.output.contains("--keys '\(folder.path)/it'\\''s here'"), "\(outcome.output)")
        }
    }

    @Test("a cut that does not fit the workers is refused with the numbers")
    func misfittingCut() async throws {
        let nodes = "nodes:\n  - { name: a, gflops: 50, memory_gib: 8 }\n  - { name: b, gflops: 100, memory_gib: 8 }\n"
        try Data(nodes.utf8).write(to: URL(filePath: folder.path + "/nodes.yaml"))
        let plan = ["plan", "--nodes", "nodes.yaml", "--model", tiny, "--cut"]
        for cut in ["1,9", "1,1,1"] {
            try await refused(plan + [cut], "--cut \(cut) is for ", "but a pipeline has 2 and")
        }
    }

    @Test("a random model is inspected and drawn with, is the same each time, and never replaces what is there")
    func randomModel() async throws {
        func make(_ name: String, _ format: String) async throws {
            let outcome = try await Abbozzo.run(
                [
                    "model", "random", name, "--heads", "3", "--head-width", "32", "--double-blocks", "1",
                    "--single-blocks", "2", "--format", format,
                ], in: folder.path)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
        }
        var resident: [String: Int] = [:]
        for (format, bytes) in [("bf16", 2), ("f16", 2), ("f32", 4)] {
            try await make(format, format)
            let inspect = try await Abbozzo.run(["model", "inspect", format, "--json"], in: folder.path)
            #expect(inspect.status == .exited(0), "\(inspect.errors)")
            let report = try JSONDecoder().decode(Inspected.self, from: Data(inspect.output.utf8))
            let transformer = try #require(report.components.first { $0.name == "transformer" })
            #expect(transformer.types == [format.uppercased()])
            #expect(transformer.bytes == bytes * transformer.parameters)
            resident[format] = report.residentBytes["f32"]
            #expect(report.facts.width == 96 && report.facts.blockCount == 3 && report.facts.takesGuidance)
            let render = [
                "render", "-p", "a red fox", "--model", format, "--width", "64", "--height", "64", "--steps", "2",
                "-o", format + ".png",
            ]
            let outcome = try await Abbozzo.run(render, in: folder.path)
            #expect(outcome.status == .exited(0), "\(outcome.errors)")
            let picture = try PNG.decode([UInt8](Data(contentsOf: URL(filePath: "\(folder.path)/\(format).png"))))
            #expect(Set(picture.rgb8).count > 32, "a picture and no plain colour")
        }
        #expect(resident["f16"] == resident["bf16"])
        #expect(try #require(resident["f16"]) < #require(resident["f32"]))
        try await make("again", "bf16")
        let file = "transformer/diffusion_pytorch_model.safetensors"
        #expect(
            try Data(contentsOf: URL(filePath: "\(folder.path)/again/\(file)"))
                == Data(contentsOf: URL(filePath: "\(folder.path)/bf16/\(file)")))
        let sizes = ["--heads", "3", "--double-blocks", "1", "--single-blocks", "0"]
        try await refused(["model", "random", "again/"] + sizes, "again", "there already")
        try await refused(["model", "random", "new"] + sizes + ["--head-width", "33"], "--head-width", "even")
        try await refused(
            ["model", "random", "new", "--heads", "1", "--double-blocks", "0", "--single-blocks", "0"],
            "at least one block")
        try await refused(["model", "random", "new", "--from", "/nowhere"] + sizes, "/nowhere")
        #expect(try files() == ["again", "bf16", "bf16.png", "f16", "f16.png", "f32", "f32.png"])
    }

    /// What `model inspect --json` tells.
    private struct Inspected: Decodable {
        struct Component: Decodable {
            let name: String
            let parameters: Int
            let bytes: Int
            let types: [String]
        }

        let facts: ModelFacts
        let components: [Component]
        let residentBytes: [String: Int]
    }

    @Test("sizes that cannot be drawn are refused with sizes that can")
    func sizes() async throws {
        let render = ["render", "-p", "a", "--model", tiny, "-o", "out.png"]
        try await refused(render + ["--width", "100", "--height", "100", "--steps", "1"], "96x96", "112x112")
        try await refused(render + ["--width", "48", "--height", "48", "--preset", "flux-4x"], "32x32", "64x64")
        try await refused(render + ["--width", "0"], "multiples of 16")
        try await refused(render + ["--width", "1048576", "--height", "1048576"], "2048")
        try await refused(render + ["--width", "9223372036854775807"], "multiples of 16")
        try await refused(render + ["--steps", "0"], "steps")
        try await refused(render + ["--guidance", "nan"], "guidance")
        try await refused(render + ["--text-length", "100000"], "512")
        #expect(try files().isEmpty)
    }

    @Test("a prompt of 100,000 characters is refused, by render and by a prompt file")
    func longPrompt() async throws {
        let prompt = String(repeating: "red car ", count: 12_500)
        try await refused(["render", "-p", prompt, "--model", tiny, "-o", "out.png"], "100000 characters", "20000")
        #expect(try files().isEmpty)
    }

    @Test("presets and outputs that cannot work are refused before any work")
    func presetsAndOutputs() async throws {
        try Data("sampler: ralu\nsteps: [5, 6, 7]\nends: [0.3, 0.45, 0.9]\n".utf8)
            .write(to: URL(filePath: folder.path + "/p.yaml"))
        let render = ["render", "-p", "a", "--model", tiny]
        try await refused(render + ["--preset", "p.yaml"], "p.yaml:3: ends", "the last one exactly 1")
        try await refused(render + ["--preset", "flux4x"], "no preset flux4x; did you mean flux-4x?", "schnell-4")
        try await refused(render + ["--inject", "none"], "cannot inject none: it does not exist")
        try await refused(render + ["--inject", "."], "it is a folder")
        try await refused(["image", "info", "."], "is a folder")
        try await refused(render + ["--preset", folder.path], "is a folder")
        try await refused(render + ["--sampler", "dpm"], "euler or ralu")
        try await refused(render + ["-o", "no/such/folder/a.png"], "no/such/folder")
        try await refused(render + ["-o", "."], "is a folder")
        try await refused(render + ["--inject", "p.yaml"], "p.yaml")
        try await refused(["image", "info", "p.yaml"], "p.yaml", "PNG")
        try await refused(["image", "info", "none.png"], "none.png does not exist")
        try await refused(["worker", "--name", "coordinator", "--model", tiny], "but not \"coordinator\"")
        try await refused(["worker", "--config", "p.yaml"], "p.yaml:1: unknown key sampler")
        #expect(try files() == ["p.yaml"])
    }

    @Test("a batch without prompts and faulty prompt files are refused without a coordinator")
    func emptyBatch() async throws {
        try await refused(["submit"], "the batch is empty")
        try Data("# nothing\n\n".utf8).write(to: URL(filePath: folder.path + "/empty.txt"))
        try await refused(["submit", "empty.txt"], "empty.txt", "no prompt")
        try Data("{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n".utf8).write(to: URL(filePath: folder.path + "/b.jsonl"))
        try await refused(["submit", "b.jsonl"], "b.jsonl:2: unknown key promt; did you mean prompt?")
        try await refused(["submit", "none.txt"], "none.txt does not exist")
    }

    @Test("nobody at the coordinator's address is exit code 3")
    func unreachable() async throws {
        let nobody = ["--coordinator", "tcp://127.0.0.1:1", "--timeout", "0.3"]
        try await refused(["submit", "-p", "a"] + nobody, code: 3, "127.0.0.1:1", "running")
        for verb in [["jobs", "ls"], ["nodes", "ls"], ["top", "--once"]] {
            try await refused(verb + nobody, code: 3, "127.0.0.1:1")
        }
        try await refused(["nodes", "ls", "--coordinator", "localhost"], code: 1, "tcp://HOST:PORT")
        let worker = try await Abbozzo.run(
            ["worker", "--coordinator", "tcp://127.0.0.1:1", "--model", tiny, "--name", "w", "--give-up-after", "0.3"])
        #expect(worker.status == .exited(3))
        #expect(worker.errorLines.last?.hasPrefix("error: ") == true)
    }

    @Test("listening beyond loopback without keys, taken ports and folders are refused, and no folder is made")
    func listening() async throws {
        let path = folder.path
        let outcome = try await Abbozzo.run(
            ["coordinator", "--control", "tcp://0.0.0.0:0", "--output", path + "/p", "--state", path + "/s"])
        #expect(outcome.status == .exited(1))
        #expect(outcome.errorLines.last?.contains("abbozzo keys init") == true, "\(outcome.errors)")
        #expect(try files().isEmpty)
        try await withProcesses { processes in
            let cluster = try await TestCluster.start(processes, in: path)
            let left = try files()
            try Data().write(to: URL(filePath: path + "/state/file"))
            let any = "tcp://127.0.0.1:0"
            let taken = cluster.endpoints["events"] ?? ""
            let http = String(cluster.endpoints["http"]?.split(separator: ":").last ?? "")
            for (events, port, output, state, words) in [
                (taken, "0", "/p", "/other", "\(taken) is taken"), (any, http, "/p", "/other", "127.0.0.1:\(http)"),
                (any, "0", "/p/q", "/state", "/state"), (any, "0", "/state/file/p", "/other", "output folder"),
            ] {
                let second = try await Abbozzo.run([
                    "coordinator", "--control", any, "--data", any, "--client", any, "--events", events,
                    "--http-port", port, "--output", path + output, "--state", path + state,
                ])
                #expect(second.status == .exited(1))
                let error = second.errorLines.last ?? ""
                #expect(error.hasPrefix("error: ") && error.contains(words), "\(second.errors)")
                #expect(try files() == left, "\(words)")
            }
        }
    }
}
