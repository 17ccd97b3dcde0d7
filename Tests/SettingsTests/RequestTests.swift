internal import Plan
internal import Settings
internal import TestKit
internal import Testing

@Suite("Requests from prompts, flags and models")
struct RequestTests {
    private let place = Neighbourhood(workingFolder: Fixtures.root, executable: "")
    private let dev = ModelFacts(
        name: "dev", family: "FluxPipeline", fingerprint: "", blockCount: 6, width: 64, contextWidth: 48,
        pooledWidth: 32, maxTextLength: 512, takesGuidance: true, scalingFactor: 1, shiftFactor: 0,
        schedule: ScheduleFacts(), defaultSide: 256)
    private var schnell: ModelFacts {
        var facts = dev
        facts.takesGuidance = false
        return facts
    }

    private func request(
        _ defaults: RequestDefaults = RequestDefaults(), index: Int = 0, facts: ModelFacts? = nil,
        _ change: (inout PromptLine) -> Void = { _ in }
    ) throws -> ImageRequest {
        var line = PromptLine(prompt: "a", place: .init(file: "p.jsonl", line: 4))
        change(&line)
        var presets = Presets(in: place)
        return try defaults.request(line, index: index, facts: facts ?? dev, presets: &presets)
    }

    @Test("what nobody says comes from the model")
    func fromModel() throws {
        let guided = try request()
        #expect(guided.width == 256 && guided.height == 256 && guided.guidance == 3.5 && guided.textLength == 512)
        #expect(guided.sampler == .euler(steps: 28) && guided.preset == nil && guided.seed == 0)
        let distilled = try request(facts: schnell)
        #expect(distilled.sampler == .euler(steps: 4) && distilled.guidance == 0 && distilled.textLength == 256)
        let preset = try request { $0.sampler = "ralu" }.preset
        #expect(preset == "flux-4x")
        let distilledPreset = try request(facts: schnell) { $0.sampler = "ralu" }.preset
        #expect(distilledPreset == "schnell-4")
    }

    @Test("a line wins over the flags, and each picture of a batch has its own seed")
    func lineWins() throws {
        var flags = RequestDefaults()
        (flags.seed, flags.width, flags.preset, flags.negativePrompt) = (40, 512, "flux-7x", "x")
        let plain = try request(flags, index: 2)
        #expect(plain.seed == 42 && plain.width == 512 && plain.preset == "flux-7x" && plain.negativePrompt == "x")
        let own = try request(flags, index: 2) {
            ($0.seed, $0.width, $0.steps, $0.negativePrompt) = (7, 128, 3, "y")
        }
        #expect(own.seed == 7 && own.width == 128 && own.sampler == .euler(steps: 3) && own.negativePrompt == "y")
        let ralu = try request(flags) { $0.sampler = "ralu" }
        #expect(ralu.preset == "flux-7x")
        let other = try request(flags) { $0.sampler = "euler" }
        #expect(other.sampler == .euler(steps: 28) && other.preset == nil)
        (flags.preset, flags.steps) = (nil, 10)
        let euler = try request(flags) { $0.sampler = "euler" }
        #expect(euler.sampler == .euler(steps: 10))
    }

    @Test("refuses samplers that exclude each other, with the place of the line")
    func conflicts() throws {
        let changes: [(inout PromptLine) -> Void] = [
            { $0.sampler = "dpm" }, { ($0.sampler, $0.preset) = ("euler", "flux-4x") },
            { ($0.sampler, $0.steps) = ("ralu", 4) },
        ]
        for change in changes {
            let error = #expect(throws: SettingsError.self) { try request { line in change(&line) } }
            #expect(error?.description.hasPrefix("p.jsonl:4: ") == true)
        }
        #expect(throws: SettingsError.self) { try request { $0.preset = "none" } }
    }
}
