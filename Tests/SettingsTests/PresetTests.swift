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

    @Test("a preset that does not name its idle noise has the exact one where z is below 4")
    func idleNoise() throws {
        let usual: [(String, RALUSettings.IdleNoise)] = [
            ("2", .exact), ("3.99", .exact), ("4", .official), ("6.3", .official),
        ]
        for (z, noise) in usual {
            let preset = try Preset(name: "p", text: changed("z", to: "z: \(z)"), file: "p.yaml")
            guard case .ralu(let settings) = preset.sampler else {
                Issue.record("\(preset)")
                continue
            }
            #expect(settings.idleNoise == noise, "z \(z)")
        }
        let named = try Preset(name: "p", text: changed("z", to: "z: 2\nidle_noise: official"), file: "p.yaml")
        let official = RALUSettings(
            steps: [5, 6, 7], ends: [0.3, 0.45, 1], shifts: [5.019, 2.589, 2.226], z: 2, upRatio: 0.3,
            idleNoise: .official)
        #expect(named.sampler == .ralu(official))
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

    /// A preset that ships, as the table of constants has it (spec of sampling, 2.9).
    struct Shipped: CustomTestStringConvertible {
        let name: String
        let settings: RALUSettings
        /// Noise levels at which stages 2 and 3 begin: those of the golden schedules (2.10), or `Z (1 - e) / (Z (1 - e) + e)`.
        let starts: [Double]
        /// Jensen-Shannon distance, and the model's shift that it is for.
        let distance: Double
        let originalShift: Double

        var testDescription: String { name }

        init(
            _ name: String, _ steps: [Int], _ ends: [Double], _ shifts: [Double], z: Double, upRatio: Double,
            _ idleNoise: RALUSettings.IdleNoise, starts: [Double], distance: Double, originalShift: Double = 3
        ) {
            self.name = name
            settings = RALUSettings(
                steps: steps, ends: ends, shifts: shifts, z: z, upRatio: upRatio, idleNoise: idleNoise)
            (self.starts, self.distance, self.originalShift) = (starts, distance, originalShift)
        }
    }

    // schnell's are with a shift of 1 for the stages of one step, which it has no effect on; the table's 0.0267 for four
    // steps is with shifts that it does not print.
    static let shipped = [
        Shipped(
            "flux-3x", [8, 9, 11], [0.3, 0.45, 1], [4.897, 2.566, 2.300], z: 5.882, upRatio: 0.3, .official,
            starts: [0.932087, 0.877887], distance: 0.0155),
        Shipped(
            "flux-4x", [5, 6, 7], [0.3, 0.45, 1], [5.019, 2.589, 2.226], z: 6.317, upRatio: 0.3, .official,
            starts: [0.936466, 0.885331], distance: 0.0175),
        Shipped(
            "flux-5x", [4, 5, 6], [0.3, 0.45, 1], [5.12, 2.64, 2.25], z: 7.516, upRatio: 0.2, .official,
            starts: [0.946058, 0.901834], distance: 0.0163),
        Shipped(
            "flux-7x", [2, 3, 5], [0.2, 0.3, 1], [8.141, 2.856, 2.193], z: 6.261, upRatio: 0.1, .official,
            starts: [0.961603, 0.935934], distance: 0.0266),
        Shipped(
            "schnell-4", [1, 1, 2], [0.3, 0.45, 1], [1, 1, 0.864], z: 2, upRatio: 0.3, .exact,
            starts: [0.823529, 0.709677], distance: 0.0287, originalShift: 1),
        Shipped(
            "schnell-5", [1, 1, 3], [0.3, 0.45, 1], [1, 1, 1.125], z: 5.619, upRatio: 0.3, .exact,
            starts: [0.929133, 0.872898], distance: 0.0133, originalShift: 1),
        Shipped(
            "hyper-flux-8", [2, 3, 3], [0.3, 0.45, 1], [5.258, 2.698, 1.958], z: 9.273, upRatio: 0.3, .exact,
            starts: [0.955825, 0.918921], distance: 0.0237),
        Shipped(
            "hyper-flux-16", [4, 5, 7], [0.3, 0.45, 1], [5.173, 2.686, 2.417], z: 11.27, upRatio: 0.3, .exact,
            starts: [0.963365, 0.932316], distance: 0.0112),
    ]

    @Test("a preset that ships has the constants, the noise levels and the distance of the table", arguments: shipped)
    func constants(known: Shipped) throws {
        let preset = try Preset.named(known.name, in: Neighbourhood(workingFolder: Fixtures.root, executable: ""))
        #expect(preset == Preset(name: known.name, sampler: .ralu(known.settings)))
        guard case .ralu(let settings) = preset.sampler else { return }
        let stages = Schedule.ralu(settings)
        #expect(stages.map { $0.count - 1 } == known.settings.steps)
        for (stage, start) in zip(stages.dropFirst(), known.starts) { #expect(abs(stage[0] - start) < 1e-5) }
        let matching = TimestepMatching(
            steps: settings.steps, ends: settings.ends, originalShift: known.originalShift)
        let distance = matching.distance(shifts: settings.shifts, z: settings.z)
        #expect(abs(distance - known.distance) < 2e-4, "\(distance)")
        let readme = try String(contentsOfFile: Fixtures.root + "/configs/presets/README.md", encoding: .utf8)
        #expect(readme.contains("| \(known.name) | \(known.distance) |"))
    }

    @Test("every preset that ships can be sampled, is found by name, and is one of the table's")
    func shippedNames() throws {
        let place = Neighbourhood(workingFolder: Fixtures.root, executable: "")
        let names = try FileManager.default.contentsOfDirectory(atPath: Fixtures.root + "/configs/presets")
            .filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }
        #expect(names.sorted() == Self.shipped.map(\.name).sorted())
        for name in names {
            let preset = try Preset.named(name, in: place)
            #expect(preset.name == name)
            try Sampler.check(preset.sampler)
        }
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
