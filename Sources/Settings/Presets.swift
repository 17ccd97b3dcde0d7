/// Presets by name, each read once: a batch of thousands names the same few, and all of its pictures get the same constants,
/// whoever edits the file meanwhile.
package struct Presets {
    private let neighbourhood: Neighbourhood
    private var known: [String: Preset] = [:]

    /// Reads none yet.
    package init(in neighbourhood: Neighbourhood) { self.neighbourhood = neighbourhood }

    /// The preset of that name; see `Preset.named(_:in:place:)`.
    mutating func named(_ name: String, place: PromptLine.Place = .init(file: "--preset")) throws(SettingsError)
        -> Preset
    {
        if let preset = known[name] { return preset }
        let preset = try Preset.named(name, in: neighbourhood, place: place)
        known[name] = preset
        return preset
    }
}
