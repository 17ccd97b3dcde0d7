package import Plan
internal import Sampling

/// A named set of sampler constants, from a YAML file.
package struct Preset: Equatable, Sendable {
    /// Name shown to people: the file's name without `.yaml`.
    package let name: String
    /// The constants.
    package let sampler: SamplerSettings

    /// Joins both.
    package init(name: String, sampler: SamplerSettings) {
        self.name = name
        self.sampler = sampler
    }

    /// Finds a preset: a path when it ends in `.yaml` or `.yml` or has a slash, otherwise a name to look up.
    ///
    /// `place` is where the name was written.
    ///
    /// - Throws: `SettingsError` with the names that would work, or with the line of a fault.
    package static func named(
        _ name: String, in neighbourhood: Neighbourhood, place: PromptLine.Place = .init(file: "--preset")
    ) throws(SettingsError) -> Preset {
        guard !name.isEmpty else {
            throw SettingsError(.empty("the name of a preset is empty"), file: place.file, line: place.line)
        }
        let folders = neighbourhood.presetFolders
        if name.contains("/") || name.hasSuffix(".yaml") || name.hasSuffix(".yml") {
            let known = name.contains("/") ? [] : folders.flatMap(Neighbourhood.presetNames)
            if !Neighbourhood.isFile(name), let meant = known.first(where: { name == $0 + ".yaml" }) {
                throw SettingsError(.presetNotHere(name, meant: meant), file: place.file, line: place.line)
            }
            return try Preset(path: name)
        }
        let paths = folders.map { "\($0)/\(name).yaml" }
        if let path = paths.first(where: Neighbourhood.isFile) { return try Preset(path: path) }
        let known = Set(folders.flatMap(Neighbourhood.presetNames)).sorted()
        if !known.isEmpty {
            throw SettingsError(.unknownPreset(name, known: known), file: place.file, line: place.line)
        }
        throw SettingsError(.notFound(tried: paths), file: "preset \(name)")
    }

    /// Reads a preset file.
    package init(path: String) throws(SettingsError) {
        let last = path.split(separator: "/").last.map(String.init) ?? path
        name = last.hasSuffix(".yaml") ? String(last.dropLast(5)) : last
        sampler = try Self.sampler(YAMLFile(path: path, known: Self.keys))
    }

    /// Reads a preset's text; `file` is for errors.
    package init(name: String, text: String, file: String) throws(SettingsError) {
        self.name = name
        sampler = try Self.sampler(YAMLFile(text: text, file: file, known: Self.keys))
    }

    /// Every key of a preset file.
    package static let keys = [
        "sampler", "steps", "ends", "shifts", "z", "up_ratio", "upsampling", "idle_noise", "gray",
    ]

    private enum Kind: String, CaseIterable { case ralu, euler }

    private static func sampler(_ yaml: YAMLFile) throws(SettingsError) -> SamplerSettings {
        guard let kind = try yaml.word("sampler", as: Kind.self) else { throw yaml.missing("sampler") }
        return kind == .euler ? try euler(yaml) : .ralu(try ralu(yaml))
    }

    private static func euler(_ yaml: YAMLFile) throws(SettingsError) -> SamplerSettings {
        for key in keys where key != "sampler" && key != "steps" && yaml.has(key) {
            throw SettingsError(
                .conflict("\(key) belongs to the ralu sampler; remove it or write `sampler: ralu`"), file: yaml.file,
                line: yaml.line(of: key))
        }
        guard let steps = try yaml.int("steps", in: 1...maxSteps) else { throw yaml.missing("steps") }
        return .euler(steps: steps)
    }

    private static func ralu(_ yaml: YAMLFile) throws(SettingsError) -> RALUSettings {
        guard let steps = try yaml.ints("steps", count: 3, in: 1...maxSteps) else { throw yaml.missing("steps") }
        guard steps.reduce(0, +) <= maxSteps else {
            throw yaml.bad("steps", wanted: "a list of 3 whole numbers of at most \(maxSteps) together")
        }
        let rising = "3 rising numbers between 0 and 1, the last one exactly 1"
        guard
            let ends = try yaml.doubles(
                "ends", count: 3, wanted: rising,
                where: { $0[0] > 0 && $0[1] > $0[0] && $0[2] > $0[1] && $0[2] == 1 })
        else { throw yaml.missing("ends") }
        guard
            let shifts = try yaml.doubles(
                "shifts", count: 3, wanted: "3 numbers from 0.001 to 1000",
                where: { $0.allSatisfy { (0.001...1000).contains($0) } })
        else { throw yaml.missing("shifts") }
        guard let z = try yaml.double("z", wanted: "a number from 2 to 1000000", where: { (2...1e6).contains($0) })
        else {
            throw yaml.missing("z")
        }
        guard
            let upRatio = try yaml.double("up_ratio", wanted: "a number from 0 to 1", where: { (0...1).contains($0) })
        else { throw yaml.missing("up_ratio") }
        let settings = RALUSettings(
            steps: steps, ends: ends, shifts: shifts, z: z, upRatio: upRatio,
            upsampling: try yaml.word("upsampling", as: RALUSettings.Upsampling.self) ?? .tokenRepeat,
            idleNoise: try yaml.word("idle_noise", as: RALUSettings.IdleNoise.self),
            gray: try yaml.word("gray", as: RALUSettings.Gray.self) ?? .official)
        // Constants can be right one by one and give no schedule all the same.
        do throws(SamplingError) {
            try Sampler.check(.ralu(settings))
        } catch {
            throw SettingsError(.conflict("\(error)"), file: yaml.file, line: yaml.line(of: "ends"))
        }
        return settings
    }

    /// More steps than any schedule gains from.
    private static let maxSteps = 1000
}
