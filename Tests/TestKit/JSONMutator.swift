internal import Foundation

/// Changes JSON the way a broken or hostile peer might: most of it keeps its form and says something impossible.
package struct JSONMutator: Sendable {
    private enum Kind {
        case mark
        case text
        case value
    }

    private let tokens: [(kind: Kind, bytes: [UInt8])]

    private static let values = [
        "0", "1", "-1", "255", "256", "65535", "65536", "4294967295", "4294967296", "9223372036854775807",
        "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1e-320", "1e308", "1e999", "0.5", "-0",
        "null", "true", "\"\"", "\"x\"", "[]", "{}", "[[]]", "[1,0]", "[-9223372036854775808,9223372036854775807]",
    ].map { Array($0.utf8) }
    private static let texts = [
        "\"\"", "\"coordinator\"", "\"../../x\"", "\"a\\u0000b\"", "\"\\ud800\"", "\"tcp://*:0\"", "\"\\n\\u001b[2J\"",
        "null", "7", "\"" + String(repeating: "a", count: 3000) + "\"", "{}",
    ].map { Array($0.utf8) }
    private static let marks = ["{", "}", "[", "]", ",", ":", ""].map { Array($0.utf8) }

    /// Takes a body apart, its fields in order of name, so that the same seed makes the same changes in every run.
    package init(_ body: [UInt8]) throws {
        let value = try JSONSerialization.jsonObject(with: Data(body), options: [.fragmentsAllowed])
        let body = try [UInt8](
            JSONSerialization.data(withJSONObject: value, options: [.sortedKeys, .fragmentsAllowed]))
        var tokens: [(kind: Kind, bytes: [UInt8])] = []
        var index = 0
        while index < body.count {
            let start = index
            index += 1
            if body[start] == UInt8(ascii: "\"") {
                while index < body.count, body[index] != UInt8(ascii: "\"") {
                    index += body[index] == UInt8(ascii: "\\") ? 2 : 1
                }
                index = min(body.count, index + 1)
                tokens.append((.text, Array(body[start..<index])))
            } else if "{}[],:".utf8.contains(body[start]) {
                tokens.append((.mark, [body[start]]))
            } else {
                while index < body.count, !"{}[],:\"".utf8.contains(body[index]) { index += 1 }
                tokens.append((.value, Array(body[start..<index])))
            }
        }
        precondition(!tokens.isEmpty, "an empty body")
        self.tokens = tokens
    }

    /// The body with one to three changes.
    package func mutated(using random: inout some RandomNumberGenerator) -> [UInt8] {
        var tokens = tokens
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let index = Int.random(in: 0..<tokens.count, using: &random)
            let pool: [[UInt8]]
            switch tokens[index].kind {
            case .mark:
                // Rarely: form that is lost ends the test of what the fields mean.
                guard Int.random(in: 0..<8, using: &random) == 0 else { continue }
                pool = Self.marks
            case .text: pool = Int.random(in: 0..<3, using: &random) == 0 ? Self.values : Self.texts
            case .value: pool = Self.values
            }
            switch Int.random(in: 0..<10, using: &random) {
            case 0 where tokens.count > 1: tokens.remove(at: index)
            case 1: tokens.insert(tokens[index], at: index)
            case 2: tokens[index].bytes = tokens[Int.random(in: 0..<tokens.count, using: &random)].bytes
            case 3 where !tokens[index].bytes.isEmpty:
                let offset = Int.random(in: 0..<tokens[index].bytes.count, using: &random)
                tokens[index].bytes[offset] = UInt8.random(in: 0...255, using: &random)
            default: tokens[index].bytes = pool[Int.random(in: 0..<pool.count, using: &random)]
            }
        }
        return tokens.flatMap(\.bytes)
    }
}

/// SplitMix64: the same numbers on every run.
package struct FuzzRandom: RandomNumberGenerator {
    private var state: UInt64

    /// Starts from a seed.
    package init(seed: UInt64) { state = seed }

    /// The next number.
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
