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

    /// The cores that the kernel lets this process run on; nil when it does not say.
    ///
    /// Source: proc_pid_status(5), `Cpus_allowed_list`.
    package static var allowed: CoreList? {
        guard let file = fopen("/proc/self/status", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 4096)
        while fgets(&line, Int32(line.count), file) != nil {
            let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            let parts = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
            if parts.count == 2, parts[0] == "Cpus_allowed_list:" { return CoreList(String(parts[1])) }
        }
        return nil
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
