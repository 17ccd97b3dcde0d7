internal import FoundationEssentials
internal import Glibc

/// One key on disk: a comment `# NAME ROLE CREATED` and a line of 40 characters.
///
/// `NAME.pub` holds a public key and may be seen by all; `NAME.key` holds the secret key and only its owner may read it.
package struct KeyFile: Equatable, Sendable {
    /// Whose key it is.
    package var name: String
    /// What it is for.
    package var role: KeyRole
    /// When it was made, ISO 8601.
    package var created: String
    /// The 40 characters.
    package var key: String

    /// Longest name: a routing id of 64 bytes holds it and what tells a user's terminals apart.
    package static let maxName = 46
    private static let maxBytes = 1000

    /// Joins the fields.
    package init(name: String, role: KeyRole, created: String = Date.now.ISO8601Format(), key: String) {
        self.name = name
        self.role = role
        self.created = created
        self.key = key
    }

    /// What is written.
    package var text: String { "# \(name) \(role.rawValue) \(created)\n\(key)\n" }

    /// Reads a public key.
    package init(publicPath path: String) throws(KeyError) {
        try self.init(text: Self.read(path, isSecret: false), path: path)
    }

    /// Reads a secret key.
    ///
    /// - Throws: `KeyError.exposed` when anybody but the owner may read it.
    package init(secretPath path: String) throws(KeyError) {
        try self.init(text: Self.read(path, isSecret: true), path: path)
    }

    init(text: String, path: String) throws(KeyError) {
        let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
        guard lines.count == 2, lines[0].count == 4, lines[0][0] == "#", lines[1].count == 1 else {
            throw KeyError(.malformed(path, "it needs a line `# NAME ROLE CREATED` and a line with the key"))
        }
        guard let role = KeyRole(rawValue: String(lines[0][2])), KeyPair.isKey(String(lines[1][0])) else {
            throw KeyError(.malformed(path, "its role or its key makes no sense"))
        }
        try Self.check(name: String(lines[0][1]))
        self.init(name: String(lines[0][1]), role: role, created: String(lines[0][3]), key: String(lines[1][0]))
    }

    /// Refuses names that would be paths, options or unreadable.
    package static func check(name: String) throws(KeyError) {
        let allowed = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-_.".utf8.contains(byte)
            }
        }
        guard 1...maxName ~= name.utf8.count, allowed, !name.hasPrefix("."), !name.hasPrefix("-") else {
            throw KeyError(.name(name))
        }
    }

    private static func read(_ path: String, isSecret: Bool) throws(KeyError) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard file >= 0 else {
            if errno == ENOENT { throw KeyError(.missing(path, advice: "make it with abbozzo keys")) }
            throw .last(path)
        }
        defer { close(file) }
        var info = stat()
        guard fstat(file, &info) == 0 else { throw .last(path) }
        guard info.st_mode & S_IFMT == S_IFREG, info.st_size <= maxBytes else {
            throw KeyError(.malformed(path, "it is no file of at most \(maxBytes) bytes"))
        }
        // Of the open file, so that it cannot be exchanged between the check and the reading.
        if isSecret && info.st_mode & 0o077 != 0 { throw KeyError(.exposed(path, mode: "600")) }
        var bytes = [UInt8](repeating: 0, count: maxBytes)
        let count = Glibc.read(file, &bytes, bytes.count)
        guard count >= 0 else { throw .last(path) }
        guard let text = String(validating: bytes.prefix(count), as: UTF8.self) else {
            throw KeyError(.malformed(path, "it is no text"))
        }
        return text
    }

    /// Writes it complete or not at all.
    func write(to path: String, mode: mode_t, replacing: Bool = false) throws(KeyError) {
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let temporary = "\(folder)/.new-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard file >= 0 else { throw .last(path) }
        defer { unlink(temporary) }
        let bytes = Array(text.utf8)
        let isWritten = Glibc.write(file, bytes, bytes.count) == bytes.count && fsync(file) == 0
        close(file)
        guard isWritten else { throw .last(path) }
        if replacing {
            guard rename(temporary, path) == 0 else { throw .last(path) }
        } else if link(temporary, path) != 0 {
            // Unlike a rename, a link never takes the place of a key that is there.
            if errno == EEXIST { throw KeyError(.exists(path)) }
            throw .last(path)
        }
        Self.flush(folder)
    }

    /// Makes changes of a folder's entries durable; file systems that cannot are left alone.
    static func flush(_ folder: String) {
        let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        fsync(directory)
        close(directory)
    }
}

extension KeyError {
    /// The error that the system left in `errno`.
    static func last(_ path: String) -> KeyError {
        let code = errno
        var text = String(cString: strerror(code))
        if code == EACCES || code == EPERM { text += "; this process runs as user \(getuid()): check the owner" }
        return KeyError(passing.contains(code) ? .unread(text, path: path) : .system(text, path: path))
    }

    /// Errors that say nothing of the file.
    private static let passing: Set<Int32> = [EMFILE, ENFILE, ENOMEM, EIO, ESTALE, EINTR, EAGAIN, ETIMEDOUT]

    /// Whether the same may be there to read a moment later.
    var mayPass: Bool { if case .unread = reason { true } else { false } }
}
