internal import FoundationEssentials
internal import Glibc

/// A folder of keys: `coordinator.key`, `coordinator.pub`, `NAME.key` and `NAME.pub` of others, and `authorised/`, whose
/// `NAME.pub` say who may connect to the coordinator.
///
/// A worker needs its own `NAME.key` and `coordinator.pub` of it, a client likewise.
package struct KeyFolder: Equatable, Sendable {
    /// Path of the folder.
    package let path: String

    /// Names a folder that may not exist yet.
    package init(_ path: String) { self.path = path }

    private static let coordinator = "coordinator"
    /// Folder of the public keys that may connect.
    package var authorised: String { "\(path)/authorised" }

    private func secretPath(_ name: String) -> String { "\(path)/\(name).key" }
    private func publicPath(_ name: String) -> String { "\(path)/\(name).pub" }
    private func authorisedPath(_ name: String) -> String { "\(authorised)/\(name).pub" }

    // MARK: Verbs

    /// Makes the folder, the coordinator's key and an authorised key for one client.
    package func create(client: String) throws -> [KeyFile] {
        try KeyFile.check(name: client)
        try makePrivate(path)
        try makePrivate(authorised)
        let coordinator = try make(Self.coordinator, .coordinator)
        let user = try make(client, .client)
        try authorise(publicPath(client), role: .client)
        return [coordinator, user]
    }

    /// Makes `NAME.key` and `NAME.pub`; returns the public one.
    package func make(_ name: String, _ role: KeyRole) throws -> KeyFile {
        try KeyFile.check(name: name)
        guard (role == .coordinator) == (name == Self.coordinator) else { throw KeyError(.name(name)) }
        try makePrivate(path)
        // A public key without its secret is another machine's: it is not to be replaced either.
        for file in [secretPath(name), publicPath(name)] where access(file, F_OK) == 0 {
            throw KeyError(.exists(file))
        }
        let pair = try KeyPair.fresh()
        var file = KeyFile(name: name, role: role, key: pair.secretKey)
        try file.write(to: secretPath(name), mode: 0o600)
        file.key = pair.publicKey
        try file.write(to: publicPath(name), mode: 0o644)
        return file
    }

    /// Lets the holder of a public key connect.
    @discardableResult
    package func authorise(_ file: String, role: KeyRole) throws(KeyError) -> KeyFile {
        let key = try KeyFile(publicPath: file)
        guard key.role == role else { throw KeyError(.role(file, is: key.role, wanted: role)) }
        guard role != .coordinator, key.name != Self.coordinator else { throw KeyError(.name(key.name)) }
        // A secret under the name of a public file would be told to all.
        guard file.hasSuffix(".pub") else { throw KeyError(.malformed(file, "a public key's file ends in .pub")) }
        try makePrivate(authorised)
        if let owner = try grants().valid.first(where: { $0.key == key.key && $0.name != key.name }) {
            throw KeyError(.taken(key: key.key, by: owner.name))
        }
        let path = authorisedPath(key.name)
        if let known = try? KeyFile(publicPath: path) {
            guard known.key == key.key, known.role == key.role else {
                throw KeyError(.authorised(name: key.name, key: known.key))
            }
            return known
        }
        try key.write(to: path, mode: 0o644)
        return key
    }

    /// Lets the holder of a name connect no more; a running coordinator notices within a second.
    package func revoke(_ name: String) throws(KeyError) {
        try KeyFile.check(name: name)
        guard unlink(authorisedPath(name)) == 0 else {
            guard errno == ENOENT else { throw .last(authorisedPath(name)) }
            throw KeyError(.missing(authorisedPath(name), advice: "list who is authorised with abbozzo keys ls"))
        }
        KeyFile.flush(authorised)
    }

    /// Public keys of this folder, by name.
    package func made() throws(KeyError) -> [KeyFile] {
        try Self.expect(path, R_OK | X_OK, advice: "make it with abbozzo keys init, or name another with --keys")
        return try Self.publicKeys(in: path).valid
    }

    /// The public keys of a folder.
    package struct Listing: Equatable, Sendable {
        /// Those that can be used, by name.
        package var valid: [KeyFile] = []
        /// Why others are left out: they are no keys of their names.
        package var skipped: [KeyError] = []
        /// Files that the system could not read now, by name: they may be keys.
        package var unread: [String: KeyError] = [:]
    }

    /// Who may connect.
    ///
    /// - Throws: `KeyError.unread` when the system could not look into the folder now.
    package func grants() throws(KeyError) -> Listing {
        var listing = try Self.publicKeys(in: authorised)
        var names: [String: String] = [:]
        let files = listing.valid
        listing.valid = []
        for file in files {
            if file.role == .coordinator {
                listing.skipped.append(KeyError(.role(authorisedPath(file.name), is: file.role, wanted: .worker)))
            } else if let owner = names.updateValue(names[file.key] ?? file.name, forKey: file.key) {
                listing.skipped.append(KeyError(.taken(key: file.key, by: owner)))
            } else {
                listing.valid.append(file)
            }
        }
        return listing
    }

    /// Whether a name's file is there, for one that could not be read: a key that was revoked is gone.
    func isAuthorised(_ name: String) -> Bool {
        var info = stat()
        return lstat(authorisedPath(name), &info) == 0 || errno != ENOENT
    }

    // MARK: For sockets

    /// Where keys are when nobody says otherwise: of this user, and of the machine for its administrator.
    package static func standard(environment: [String: String], isRoot: Bool) -> KeyFolder {
        if let settings = environment["XDG_CONFIG_HOME"], settings.hasPrefix("/") {
            return KeyFolder(settings + "/abbozzo/keys")
        }
        let home = environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? ""
        return KeyFolder(isRoot ? "/etc/abbozzo/keys" : home + "/.config/abbozzo/keys")
    }

    /// Whether there is such a folder that this process may look into.
    package var exists: Bool { access(path, X_OK) == 0 }

    /// Whether there is a client's secret.
    package var hasClient: Bool { !clients.isEmpty }

    /// Names of the clients whose secrets are here.
    private var clients: [String] {
        ((try? Self.entries(of: path, ending: ".key")) ?? []).filter { name in
            if let file = try? KeyFile(publicPath: secretPath(name)) { file.role == .client } else { false }
        }
    }

    /// The coordinator's key and who may connect.
    ///
    /// - Throws: `KeyError` also when nobody may, or others can change who may.
    package func forCoordinator() throws -> Security {
        let identity = try secret(Self.coordinator, .coordinator, "make it with abbozzo keys init")
        var info = stat()
        guard stat(authorised, &info) == 0 else {
            throw KeyError(.missing(authorised, advice: "make it with abbozzo keys init, or name another with --keys"))
        }
        guard info.st_mode & 0o022 == 0 else { throw KeyError(.exposed(authorised, mode: "700")) }
        let listing = try grants()
        let gate = Gate(folder: self)
        guard gate.count > 0 else { throw listing.unread.values.first ?? KeyError(.nobody(authorised)) }
        return Security(identity: identity, gate: gate)
    }

    /// A worker's key, the coordinator's public one, and a gate that its plans will open.
    ///
    /// `serverKey` is the coordinator's public key, as 40 characters or a file; nil for `coordinator.pub`.
    package func forWorker(_ name: String, serverKey: String? = nil) throws -> Security {
        try KeyFile.check(name: name)
        let identity = try secret(
            name, .worker, "make it with abbozzo keys new worker \(name), authorise it at the coordinator, copy it here"
        )
        return Security(identity: identity, peerKey: try coordinatorKey(serverKey), gate: Gate())
    }

    /// The key of the client `named`; else of the only one here, or of the user among several; and the coordinator's public one.
    ///
    /// `serverKey` is the coordinator's public key, as 40 characters or a file; nil for `coordinator.pub`.
    package func forClient(user: String?, named: String? = nil, serverKey: String? = nil) throws -> Security {
        try Self.expect(path, R_OK | X_OK, advice: Self.clientAdvice)
        let names = clients
        guard let name = named ?? (names.count == 1 ? names[0] : names.first { $0 == user }) else {
            if names.isEmpty {
                throw KeyError(.missing("\(path)/NAME.key of a client", advice: Self.clientAdvice))
            }
            throw KeyError(.ambiguous(names, folder: path))
        }
        let identity = try secret(name, .client, "make it with abbozzo keys new client \(name)")
        return Security(name: name, identity: identity, peerKey: try coordinatorKey(serverKey))
    }

    private static let clientAdvice =
        "copy NAME.key and coordinator.pub from the coordinator's machine (there abbozzo keys new client NAME and "
        + "abbozzo keys authorize NAME.pub --role client make the first, and abbozzo keys init those of a new cluster), or "
        + "name another folder with --keys"

    private func secret(_ name: String, _ role: KeyRole, _ advice: String) throws -> KeyPair {
        let path = secretPath(name)
        try Self.expect(path, F_OK, advice: advice)
        try checkFolder()
        let file = try KeyFile(secretPath: path)
        guard file.role == role, file.name == name else { throw KeyError(.role(path, is: file.role, wanted: role)) }
        return try KeyPair(secretKey: file.key)
    }

    private func coordinatorKey(_ given: String?) throws(KeyError) -> String {
        if let given, KeyPair.isKey(given) { return given }
        if given == nil { try checkFolder() }
        let path = given ?? publicPath(Self.coordinator)
        try Self.expect(path, F_OK, advice: "copy coordinator.pub from the coordinator's folder of keys")
        let file = try KeyFile(publicPath: path)
        guard file.role == .coordinator else { throw KeyError(.role(path, is: file.role, wanted: .coordinator)) }
        return file.key
    }

    // MARK: Files

    /// Refuses a path that is not there, with what to do about it, or that this process may not use in this `mode`.
    private static func expect(_ path: String, _ mode: Int32, advice: String) throws(KeyError) {
        guard access(path, mode) != 0 else { return }
        throw errno == ENOENT ? KeyError(.missing(path, advice: advice)) : .last(path)
    }

    /// Refuses a folder in which others can exchange files.
    private func checkFolder() throws(KeyError) {
        var info = stat()
        guard stat(path, &info) == 0 else { throw .last(path) }
        guard info.st_mode & 0o022 == 0 else { throw KeyError(.exposed(path, mode: "700")) }
    }

    private func makePrivate(_ path: String) throws(KeyError) {
        let above = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
        if !above.isEmpty, access(above, F_OK) != 0 {
            do { try FileManager.default.createDirectory(atPath: above, withIntermediateDirectories: true) } catch {
                throw KeyError(.system("its parent folder cannot be made", path: path))
            }
        }
        guard mkdir(path, 0o700) != 0 else { return }
        guard errno == EEXIST else { throw .last(path) }
        var info = stat()
        guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else {
            throw KeyError(.system("it is no folder", path: path))
        }
        guard info.st_mode & 0o022 == 0 else { throw KeyError(.exposed(path, mode: "700")) }
    }

    private static func publicKeys(in folder: String) throws(KeyError) -> Listing {
        var listing = Listing()
        for name in try entries(of: folder, ending: ".pub") {
            let path = "\(folder)/\(name).pub"
            do throws(KeyError) {
                let file = try KeyFile(publicPath: path)
                guard file.name == name else { throw KeyError(.malformed(path, "it names \(file.name)")) }
                listing.valid.append(file)
            } catch {
                if error.mayPass { listing.unread[name] = error } else { listing.skipped.append(error) }
            }
        }
        return listing
    }

    /// Names without the ending, sorted; none in a folder that is not there, or that this user may not read.
    ///
    /// - Throws: `KeyError.unread` when the system could not read it now.
    private static func entries(of folder: String, ending: String) throws(KeyError) -> [String] {
        guard let stream = opendir(folder) else {
            let error = KeyError.last(folder)
            guard error.mayPass else { return [] }
            throw error
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(ending) && !name.hasPrefix(".") { names.append(String(name.dropLast(ending.count))) }
        }
        guard errno == 0 else { throw .last(folder) }
        return names.sorted()
    }
}
