package import Tensors
package import Testing

/// Fails the test unless every value is within the manifest's tolerance of the golden tensor, and enters the worst
/// difference into the closing table.
///
/// Leading axes of extent 1 (a batch of one) are ignored on both sides; beyond that shapes must agree. A failure prints
/// index, both values and the largest difference.
///
/// - Parameters:
///   - actual: what our code made.
///   - golden: the file of references.
///   - name: the tensor in that file.
///   - item: compares with this entry of the golden's first axis only.
///   - part: second half of the group in the closing table: "clip" gives "flux-dev/text clip".
///   - tolerance: instead of the manifest's, where a test can say why.
///   - sourceLocation: the caller's place.
/// - Throws: when the golden or its tolerance cannot be read.
package func expectClose(
    _ actual: Tensor, _ golden: GoldenFile, _ name: String, item: Int? = nil, part: String? = nil,
    tolerance: Double? = nil, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let expected = try item.map { try golden.tensor(name, item: $0) } ?? golden.tensor(name)
    let allowed = try tolerance ?? golden.tolerance(name)
    let group = golden.group + (part.map { " " + $0 } ?? "")
    expectClose(
        actual, expected, tolerance: allowed, label: "\(golden.group) \(name)", group: group,
        sourceLocation: sourceLocation)
}

/// Fails the test unless every value is within `tolerance` of the expected one.
///
/// - Parameters:
///   - actual: what our code made.
///   - expected: what it should be; leading axes of extent 1 are ignored on both sides.
///   - tolerance: largest difference allowed; 0 asks for equal values.
///   - label: what is compared, for the message.
///   - group: the group of the closing table to enter the result into, if any.
///   - sourceLocation: the caller's place.
package func expectClose(
    _ actual: Tensor, _ expected: Tensor, tolerance: Double, label: String = "result", group: String? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    func fail(_ text: String) { Issue.record("\(label): \(text)", sourceLocation: sourceLocation) }
    guard actual.shape.drop(while: { $0 == 1 }) == expected.shape.drop(while: { $0 == 1 }) else {
        return fail("shape \(actual.shape), golden \(expected.shape)")
    }
    guard actual.count > 0 else { return }
    let worst = worstDifference(actual, expected)
    let share = tolerance > 0 ? worst.difference / tolerance : worst.difference == 0 ? 0 : .infinity
    if let group { ClosenessLog.shared.enter(group: group, name: label, share: share) }
    guard worst.difference <= tolerance else {
        let place = coordinates(of: worst.index, in: actual.shape)
        return fail(
            "at \(place) \(actual[worst.index]) instead of \(expected[worst.index]); largest difference "
                + "\(worst.difference), allowed \(tolerance), \(worst.outside(tolerance)) of \(actual.count) outside")
    }
}

/// Fails the test unless both lists are equal, and enters the result into the closing table.
///
/// - Parameters:
///   - actual: what our code made.
///   - golden: the file of references.
///   - name: the tensor in that file.
///   - row: compares with this row of the golden matrix only.
///   - part: second half of the group in the closing table.
///   - sourceLocation: the caller's place.
/// - Throws: when the golden cannot be read.
package func expectEqual(
    _ actual: [Int], _ golden: GoldenFile, _ name: String, row: Int? = nil, part: String? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let expected = try row.map { try golden.ints(name, row: $0) } ?? golden.ints(name)
    let group = golden.group + (part.map { " " + $0 } ?? "")
    ClosenessLog.shared.enter(group: group, name: name, share: actual == expected ? 0 : .infinity)
    guard actual != expected else { return }
    let place = row.map { " row \($0)" } ?? ""
    let index = zip(actual, expected).map(!=).firstIndex(of: true)
    let detail =
        index.map { "index \($0): \(actual[$0]) instead of \(expected[$0])" }
        ?? "\(actual.count) values instead of \(expected.count)"
    Issue.record(
        "\(golden.group) \(name)\(place): \(detail)\n  \(actual)\n  \(expected)", sourceLocation: sourceLocation)
}

/// Largest difference between two tensors of one size; a NaN on either side counts as infinite.
package func largestDifference(_ left: Tensor, _ right: Tensor) -> Double { worstDifference(left, right).difference }

private struct Worst {
    var index = 0
    var difference = 0.0
    var all: [Double] = []

    func outside(_ tolerance: Double) -> Int { all.count { !($0 <= tolerance) } }
}

private func worstDifference(_ left: Tensor, _ right: Tensor) -> Worst {
    precondition(left.count == right.count, "\(left.count) values and \(right.count)")
    var worst = Worst()
    worst.all.reserveCapacity(left.count)
    left.withUnsafeBuffer { a in
        right.withUnsafeBuffer { b in
            for index in a.indices {
                let same = a[index] == b[index] || (a[index].isNaN && b[index].isNaN)
                let raw = same ? 0 : abs(Double(a[index]) - Double(b[index]))
                let difference = raw.isNaN ? .infinity : raw
                worst.all.append(difference)
                if difference > worst.difference { (worst.index, worst.difference) = (index, difference) }
            }
        }
    }
    return worst
}

private func coordinates(of index: Int, in shape: [Int]) -> [Int] {
    var rest = index
    var place: [Int] = []
    for extent in shape.reversed() {
        place.insert(rest % extent, at: 0)
        rest /= extent
    }
    return place
}
