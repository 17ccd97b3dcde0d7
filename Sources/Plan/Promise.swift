/// Ends the process where a promise between our own functions is broken, and says by which numbers.
///
/// The standard library's `precondition` keeps its text to itself in optimised builds.
@inlinable
package func promise(
    _ isKept: @autoclosure () -> Bool, _ text: @autoclosure () -> String, file: StaticString = #fileID,
    line: UInt = #line
) {
    guard isKept() else { fatalError(text(), file: file, line: line) }
}
