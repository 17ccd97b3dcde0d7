import Plan
import Settings
import TestKit
import Testing

@Suite("Files of nodes")
struct NodesFileTests {
    @Test("the sample can be read; numbers are put behind the names of several")
    func sample() throws {
        let file = try NodesFile(path: Fixtures.root + "/configs/nodes.yaml")
        #expect(file.nodes.flatMap(\.names) == ["rack1", "rack2", "rack3", "rack4", "old1", "old2"])
        #expect(file.nodes[0].gflops == 900 && file.nodes[0].memoryGiB == 64 && file.nodes[0].networkMbit == 936)
        #expect(file.nodes[1].networkMbit == 94 && file.nodes[1].roles == [.blocks, .decoder])
        let ten = try NodesFile(text: "nodes: [{name: n, count: 10, memory_gib: 1}]", file: "n.yaml")
        #expect(ten.nodes[0].names.first == "n01" && ten.nodes[0].names.last == "n10" && ten.nodes[0].speed == 1)
    }

    @Test("nodes that say nothing of their link have the one that all have")
    func commonLink() throws {
        let text = "nodes: [{name: a, memory_gib: 1}, {name: b, memory_gib: 1, network_mbit: 94}]"
        #expect(try NodesFile(text: text, file: "n.yaml", networkMbit: 10).nodes.map(\.networkMbit) == [10, 94])
        #expect(try NodesFile(text: text, file: "n.yaml").nodes.map(\.networkMbit) == [936, 94])
    }

    @Test(
        "refuses what cannot be, in one line",
        arguments: [
            "", "nodes: []", "nodes: 3", "nodes: [a]", "nodes: [{name: a}]", "nodes: [{memory_gib: 3}]",
            "nodes: [{name: a, memory_gib: 0}]", "nodes: [{name: a, memory_gib: 1, gflops: 1e-15}]",
            "nodes: [{name: a, memory_gib: 1, speed: 1e-300}]",
            "nodes: [{name: a, memory_gib: 1, gflops: 1, speed: 1}]",
            "nodes: [{name: a, memory_gib: 1, colour: red}]", "nodes: [{name: a b, memory_gib: 1}]",
            "nodes: [{name: a, memory_gib: 1}, {name: a, memory_gib: 1}]", "node: []",
            "nodes: [{name: a, memory_gib: 1, count: 999}, {name: b, memory_gib: 1, count: 999}]",
        ])
    func refuses(text: String) {
        let error = #expect(throws: SettingsError.self) { try NodesFile(text: text, file: "n.yaml") }
        #expect(error?.description.contains("\n") == false && error?.description.contains("n.yaml") == true)
    }
}
