internal import Plan

/// Names of folders and files below the output folder.
enum OutputNames {
    /// Longest name of one folder, bytes.
    static let folderLimit = 100
    /// Longest slug, bytes.
    static let slugLimit = 40

    /// A client's folder name as it is used; nil for one that could leave the output folder or surprise a shell.
    ///
    /// One or more simple names (letters, digits, `.`, `_`, `-`, space; not starting with a dot or space) with `/`
    /// between them.
    static func folder(_ name: String) -> String? {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...4).contains(parts.count), parts.allSatisfy(isSimple) else { return nil }
        return parts.joined(separator: "/")
    }

    private static func isSimple(_ part: Substring) -> Bool {
        guard let first = part.utf8.first, part.utf8.count <= folderLimit else { return false }
        return first != UInt8(ascii: ".") && first != UInt8(ascii: " ") && part.utf8.last != UInt8(ascii: " ")
            && part.unicodeScalars.allSatisfy { scalar in
                scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "._- ".unicodeScalars.contains(scalar)
            }
    }

    /// `0007-a-red-square-42.png`: place in the job, the prompt's first words, the seed.
    static func file(index: UInt32, request: ImageRequest) -> String {
        let digits = String(index)
        let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        return "\(padded)-\(slug(request.prompt))-\(request.seed).png"
    }

    /// Lower-case ASCII letters and digits of a prompt, runs of anything else as one hyphen.
    static func slug(_ prompt: String) -> String {
        var slug = ""
        for scalar in prompt.unicodeScalars {
            if slug.utf8.count >= slugLimit { break }
            if scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)) {
                slug += scalar.properties.lowercaseMapping
            } else if !slug.isEmpty && slug.last != "-" {
                slug += "-"
            }
        }
        if slug.last == "-" { slug.removeLast() }
        return slug.isEmpty ? "picture" : slug
    }
}
