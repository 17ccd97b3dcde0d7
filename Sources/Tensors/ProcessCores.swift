internal import CShims
internal import Glibc
package import Plan

/// The cores that this process runs on.
package enum ProcessCores {
    /// The process cannot be kept on the cores asked for.
    package struct Refusal: Error, Equatable, CustomStringConvertible {
        let wanted: CoreList
        let allowed: CoreList?
        let code: Int32

        /// One line with what, where and the next step.
        package var description: String {
            if let allowed, !Set(allowed.cores).isSuperset(of: wanted.cores) {
                return "cores \(wanted): this process may run on \(allowed) only; give some of them"
            }
            return "cores \(wanted): the kernel refuses to keep this process there: \(String(cString: strerror(code)))"
        }
    }

    /// The cores that this process may run on and that are on line; nil when the kernel does not say.
    package static var allowed: CoreList? {
        var cores = [Int32](repeating: 0, count: CoreList.highest + 1)
        let count = abz_allowed_cores(&cores, Int32(cores.count))
        return count > 0 ? CoreList(cores.prefix(Int(count)).map { Int($0) }) : nil
    }

    /// Keeps all threads of this process on `list`, and those that they will start.
    package static func keep(on list: CoreList) throws(Refusal) {
        let allowed = allowed
        guard Set(allowed?.cores ?? list.cores).isSuperset(of: list.cores) else {
            throw Refusal(wanted: list, allowed: allowed, code: 0)
        }
        let code = abz_pin_process(list.cores.map(Int32.init), Int32(list.cores.count))
        guard code == 0 else { throw Refusal(wanted: list, allowed: allowed, code: code) }
    }
}
