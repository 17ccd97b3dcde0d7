/// Keys that cannot be read, made or used.
package struct KeyError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// Not a name that a key can have.
        case name(String)
        /// There is no such file; the next step.
        case missing(String, advice: String)
        /// There is such a file already.
        case exists(String)
        /// Others than the owner can read a secret, or change who is authorised: the path, and its right mode.
        case exposed(String, mode: String)
        /// The file is no key file.
        case malformed(String, String)
        /// The key is made for another role than it is used in.
        case role(String, is: KeyRole, wanted: KeyRole)
        /// Another name has the same key.
        case taken(key: String, by: String)
        /// The name is authorised with another key.
        case authorised(name: String, key: String)
        /// Nobody may connect: the folder.
        case nobody(String)
        /// Several secrets fit; their names.
        case ambiguous([String], folder: String)
        /// The system refused.
        case system(String, path: String)
        /// The system could not do it now, for lack of descriptors or memory or because a disk or a server did not answer.
        case unread(String, path: String)
    }

    /// What is wrong.
    package let reason: Reason

    /// Wraps the reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// One line with what, where and the next step.
    package var description: String {
        switch reason {
        case .name(let name):
            "\(name.debugDescription.prefix(80)) cannot name a key: use 1 to \(KeyFile.maxName) letters, digits, dots, "
                + "dashes or underscores, not beginning with a dot"
        case .missing(let path, let advice): "\(path) does not exist; \(advice)"
        case .exists(let path):
            "\(path) exists already and is left as it is; go on with it, or choose another name or folder (whoever trusts this key would "
                + "no longer be let in if it were removed)"
        case .exposed(let path, let mode):
            "refusing \(path): others than its owner have access to it; run chmod \(mode) \(path)"
        case .malformed(let path, let why): "\(path) is no key file: \(why)"
        case .role(let path, let role, let wanted):
            "\(path) is the key of a \(role.rawValue), a \(wanted.rawValue)'s is needed here"
        case .taken(let key, let name):
            "the key \(key.prefix(8))… is authorised for \(name) already; make a new one with abbozzo keys new"
        case .authorised(let name, let key):
            "\(name) is authorised already, with the key \(key.prefix(8))…; run abbozzo keys revoke \(name) first"
        case .nobody(let folder):
            "\(folder) authorises nobody, so nobody could connect; run abbozzo keys authorize FILE.pub --role worker|client"
        case .ambiguous(let names, let folder):
            "\(folder) has the secrets of several clients (\(names.joined(separator: ", "))); say which one with the variable ABBOZZO_CLIENT"
        case .system(let text, let path), .unread(let text, let path): "\(path): \(text)"
        }
    }
}
