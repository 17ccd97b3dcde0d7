internal import Foundation
import Plan
import Testing

@Suite("A job as JSON")
struct JobStatusTests {
    private static let images: [ImageState] = [
        .done(path: "/out/1.png", checksum: 7), .running(step: 3, of: 28), .running(step: 0, of: 28), .queued,
        .failed("no room"), .cancelled,
    ]

    private static var job: JobStatus {
        var job = JobStatus(
            id: JobID(high: 1, low: 2), version: 9, submitted: 5, finished: nil, folder: "/out", images: images,
            total: 6, done: 1, failed: 1, cancelled: 1, waiting: "for a worker", tokenSteps: 640)
        job.running = 2
        return job
    }

    private func object(_ value: some Encodable) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: JSONEncoder().encode(value)) as? [String: Any])
    }

    @Test("a picture is one flat object that says its state and what belongs to it")
    func pictures() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let expected = [
            #"{"checksum":7,"path":"/out/1.png","state":"done"}"#, #"{"state":"running","step":3,"steps":28}"#,
            #"{"state":"running","step":0,"steps":28}"#, #"{"state":"queued"}"#,
            #"{"error":"no room","state":"failed"}"#, #"{"state":"cancelled"}"#,
        ]
        for (state, text) in zip(Self.images, expected) {
            let coded = try encoder.encode(state)
            #expect(String(decoding: coded, as: UTF8.self) == text)
            #expect(try JSONDecoder().decode(ImageState.self, from: coded) == state)
        }
        for wrong in [#"{"state":"lost"}"#, #"{"state":"done","path":"/a"}"#, #"{}"#, #"{"queued":{}}"#] {
            #expect(throws: DecodingError.self) { try JSONDecoder().decode(ImageState.self, from: Data(wrong.utf8)) }
        }
    }

    @Test("a job counts its pictures by state, also where it does not list them")
    func counts() throws {
        var job = Self.job
        for hasImages in [true, false] {
            if !hasImages { job.images = [] }
            let object = try object(job)
            for (state, count) in [("queued", 1), ("running", 2), ("done", 1), ("failed", 1), ("cancelled", 1)] {
                #expect(object[state] as? Int == count, "\(state)")
            }
            #expect(object["total"] as? Int == 6 && (object["images"] as? [Any])?.count == (hasImages ? 6 : nil))
            let again = try JSONDecoder().decode(JobStatus.self, from: JSONEncoder().encode(job))
            #expect(again == job)
        }
    }
}
