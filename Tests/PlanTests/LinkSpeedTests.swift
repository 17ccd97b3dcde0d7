internal import Foundation
import Plan
import Testing

@Suite("The speed of a link")
struct LinkSpeedTests {
    @Test("travels as bytes a second and seconds, whoever measured or assumed it")
    func coded() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let coded = try encoder.encode(LinkSpeed(bytesPerSecond: 12_500_000, roundTrip: 0.5))
        #expect(String(decoding: coded, as: UTF8.self) == #"{"bytesPerSecond":12500000,"roundTrip":0.5}"#)
        #expect(try JSONDecoder().decode(LinkSpeed.self, from: coded).roundTrip == 0.5)
    }

    @Test("reads in Mbit/s and milliseconds, with more digits where it is slow")
    func text() {
        #expect(LinkSpeed.gigabit.text == "936 Mbit/s, 0.3 ms there and back")
        #expect(LinkSpeed(bytesPerSecond: 2e5, roundTrip: 0.04127).text == "1.6 Mbit/s, 41.27 ms there and back")
    }
}
