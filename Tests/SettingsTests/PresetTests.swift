internal import Foundation
internal import Plan
internal import Sampling
internal import Settings
internal import TestKit
internal import Testing

@Suite("Preset files")
struct PresetTests {
    private let good = """
        sampler: ralu
        steps: [5, 6, 7]
        ends: [0.3, 0.45, 1.0]
        shifts: [5.019, 2.589, 2.226]
        z: 6.317
        up_ratio: 0.3
        """

    /// The good preset with one line replaced.
    private func changed(_ key: String, to line: String) -> String {
        good.split(separator: "\n").map { $0.hasPrefix(key + ":") ? line : String($0) }.joined(separator: "\n")
    }

    private func problem(_ text: String) -> SettingsError? {
        #expect(throws: SettingsError.self) { try Preset(name: "p", text: text, file: "p.yaml") }
    }

    @Test("reads every key, and takes the official switches when they are missing")
    func reads() throws {
        let preset = try Preset(name: "p", text: good, file: "p.yaml")
        let expected = RALUSettings(
            steps: [5, 6, 7], ends: [0.3, 0.45, 1], shifts: [5.019, 2.589, 2.226], z: 6.317, upRatio: 0.3)
        #expect(preset.sampler == .ralu(expected))
        let other = try Preset(
            name: "p", text: good + "\nupsampling: latent-nearest\nidle_noise: exact\ngray: normalised\n",
            file: "p.yaml")
        var changed = expected
        (changed.upsampling, changed.idleNoise, changed.gray) = (.latentNearest, .exact, .normalised)
        #expect(other.sampler == .ralu(changed))
        let euler = try Preset(name: "p", text: "sampler: euler\nsteps: 28\n", file: "p.yaml")
        #expect(euler.sampler == .euler(steps: 28))
    }

    @Test("refuses unknown keys with the line and the nearest known key")
    func unknownKey() throws {
        let error = try #require(problem(good + "\nup_ration: 0.2\n"))
        #expect(error.line == 7)
        #expect(error.description.hasPrefix("p.yaml:7: unknown key up_ration; did you mean up_ratio?"))
    }

    @Test(
        "refuses impossible values with the line",
        arguments: [
            ("sampler", "sampler: dpm", 1), ("steps", "steps: [5, 6]", 2), ("steps", "steps: [5, 0, 7]", 2),
            ("steps", "steps: [5, 6.5, 7]", 2), ("steps", "steps: [500, 500, 500]", 2), ("steps", "steps: 18", 2),
            ("steps", "steps: [1, 2, 5000]", 2),
            ("ends", "ends: [0.3, 0.45, 0.9]", 3), ("ends", "ends: [0.5, 0.45, 1.0]", 3),
            ("ends", "ends: [0, 0.45, 1.0]", 3), ("ends", "ends: [0.3, .nan, 1.0]", 3),
            ("shifts", "shifts: [5.0, -2.5, 2.2]", 4), ("shifts", "shifts: [5.0, .inf, 2.2]", 4),
            ("shifts", "shifts: [5.0, 1.0e+9, 2.2]", 4), ("z", "z: 1.0e+7", 5), ("z", "z: 1.9", 5), ("z", "z: much", 5),
            ("z", "z: .nan", 5), ("up_ratio", "up_ratio: 1.5", 6),
            ("z", "z: 3\nz: 4", 5), ("z", "z:", 5),
        ])
    func impossible(key: String, line: String, at number: Int) throws {
        let error = try #require(problem(changed(key, to: line)))
        #expect(error.line == number, "\(error)")
        #expect(!error.description.contains("\n"))
        #expect(error.description.hasPrefix("p.yaml:\(number): "))
    }

    @Test("what aliases make of a short file is not written out to say that it is wrong", .timeLimit(.minutes(1)))
    func aliases() throws {
        let lists = (1...40).map { level in
            "  - &a\(level) [" + [String](repeating: "*a\(level - 1)", count: 10).joined(separator: ", ") + "]"
        }
        let text = "sampler: ralu\nsteps:\n  - &a0 [1]\n" + lists.joined(separator: "\n") + "\n"
        let error = try #require(problem(text))
        #expect(error.description.hasPrefix("p.yaml:2: steps is [a list, a list, "), "\(error)")
        #expect(error.description.count < 200)
    }

    @Test("characters that a terminal obeys do not come out of a value")
    func controls() throws {
        let error = try #require(problem(changed("z", to: #"z: "a\e[2Jb""#)))
        #expect(error.description.hasPrefix("p.yaml:5: z is a [2Jb, but must be"), "\(error)")
    }

    @Test("a pipe is refused as what it is")
    func pipe() throws {
        let folder = TemporaryFolder()
        #expect(mkfifo(folder.path("p.yaml"), 0o600) == 0)
        let error = #expect(throws: SettingsError.self) { try Preset(path: folder.path("p.yaml")) }
        #expect(error?.description.contains("it is a pipe or a device") == true)
    }

    @Test("refuses a file without a needed key, one that is no mapping, and RALU's keys for euler")
    func missing() throws {
        #expect(try #require(problem("sampler: ralu\nsteps: [1, 2, 3]\n")).reason == .missingKey("ends"))
        #expect(try #require(problem("")).reason == .missingKey("sampler"))
        #expect(try #require(problem("- a\n- b\n")).line == 1)
        #expect(try #require(problem("sampler: euler\nsteps: 4\nz: 3\n")).line == 3)
        #expect(try #require(problem(good + "\nz2: [")).line != nil)
    }

    @Test("every preset that ships can be sampled, and is found by name")
    func shipped() throws {
        let place = Neighbourhood(workingFolder: Fixtures.root, executable: "")
        let names = try FileManager.default.contentsOfDirectory(atPath: Fixtures.root + "/configs/presets")
            .filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }
        #expect(names.count >= 6)
        for name in names {
            let preset = try Preset.named(name, in: place)
            #expect(preset.name == name)
            try Sampler.check(preset.sampler)
        }
        #expect(try Preset.named("flux-7x", in: place).sampler.totalSteps == 10)
    }

    @Test("an executable below .build finds the presets and the model of its checkout")
    func neighbourhood() throws {
        let place = Neighbourhood(
            workingFolder: "/nowhere", executable: Fixtures.root + "/.build/x86_64-unknown-linux-gnu/release/abbozzo")
        #expect(try Preset.named("flux-4x", in: place).name == "flux-4x")
        #expect(try place.demoModel() == Fixtures.demoModel)
        let error = #expect(throws: SettingsError.self) { try Preset.named("flux-9x", in: place) }
        #expect(error?.description.contains("flux-5x") == true)
        let lost = Neighbourhood(workingFolder: "/nowhere", executable: "/nowhere/abbozzo")
        #expect(throws: SettingsError.self) { try lost.demoModel() }
        let file = #expect(throws: SettingsError.self) { try Preset.named("./none.yaml", in: place) }
        #expect(file?.description == "./none.yaml does not exist")
    }
}
