internal import Plan
internal import Testing

@Suite("Lists of cores")
struct CoreListTests {
    @Test(
        "numbers and ranges are read in any order, and written in the shortest form",
        arguments: [
            ("0", [0], "0"), ("0-3", [0, 1, 2, 3], "0-3"), ("5,0-1", [0, 1, 5], "0-1,5"), ("2,1,0", [0, 1, 2], "0-2"),
            ("7-7,1023", [7, 1023], "7,1023"),
        ] as [(String, [Int], String)])
    func reads(text: String, cores: [Int], written: String) throws {
        let list = try #require(CoreList(text))
        #expect(list.cores == cores)
        #expect(list.description == written)
    }

    @Test(
        "anything else is refused",
        arguments: [
            "", ",", "0,", "-1", "1-", "3-1", "1-2-3", "0x1", "a", " 1", "1024", "99999999999999999999", "0,0", "1-3,2",
            "+1",
        ])
    func refuses(text: String) { #expect(CoreList(text) == nil) }
}
