/// A generation of the cluster's plan; it only rises, and messages of an older one are dropped.
package typealias Epoch = UInt32

/// Identifies a submitted job: 16 random bytes, written as 32 hexadecimal digits.
package struct JobID: Hashable, Sendable, CustomStringConvertible, Comparable {
    /// First eight bytes.
    package let high: UInt64
    /// Last eight bytes.
    package let low: UInt64

    /// Joins two halves.
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Draws a new one.
    package init(using generator: inout some RandomNumberGenerator) {
        self.init(high: generator.next(), low: generator.next())
    }

    /// Reads 32 hexadecimal digits; nil for anything else.
    package init?(_ text: some StringProtocol) {
        guard text.utf8.count == 32, text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "f") ~= $0 }),
            let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// Whether ids may begin with a text: 1 to 32 hexadecimal digits, in lower case as ids are written.
    package static func isBeginning(_ text: String) -> Bool {
        1...32 ~= text.utf8.count
            && text.utf8.allSatisfy {
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
            }
    }

    /// 32 hexadecimal digits.
    package var description: String { Self.hex(high) + Self.hex(low) }

    /// Orders by value, so that listings are stable.
    package static func < (left: JobID, right: JobID) -> Bool { (left.high, left.low) < (right.high, right.low) }

    private static func hex(_ half: UInt64) -> String {
        let digits = String(half, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension JobID: Codable {
    /// Decodes 32 hexadecimal digits.
    ///
    /// - Throws: `DecodingError.dataCorrupted` for other text.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let id = JobID(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a job id: \(text.prefix(40))")
        }
        self = id
    }

    /// Encodes 32 hexadecimal digits.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Identifies one picture of one job.
package struct ImageID: Codable, Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The job.
    package let job: JobID
    /// Index of the picture in the job, from 0.
    package let index: UInt32

    /// Joins both.
    package init(job: JobID, index: UInt32) {
        self.job = job
        self.index = index
    }

    /// `JOB/INDEX`.
    package var description: String { "\(job)/\(index)" }

    /// Orders by job, then index.
    package static func < (left: ImageID, right: ImageID) -> Bool { (left.job, left.index) < (right.job, right.index) }
}

/// What a worker can be asked to do besides running blocks.
package enum Role: String, Codable, Hashable, Sendable, CaseIterable {
    /// Turns a prompt into conditioning.
    case encoder
    /// Runs a span of the transformer's blocks.
    case blocks
    /// Turns latents into pixels.
    case decoder
}
