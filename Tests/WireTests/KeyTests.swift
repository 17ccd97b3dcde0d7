internal import FoundationEssentials
internal import Glibc
internal import TestKit
internal import Testing

@testable internal import Wire

@Suite("Keys on disk") struct KeyTests {
    let temporary = TemporaryFolder()
    private var folder: KeyFolder { KeyFolder(temporary.path("keys")) }

    private func mode(_ path: String) -> mode_t {
        var info = stat()
        return stat(path, &info) == 0 ? info.st_mode & 0o777 : 0
    }

    @Test("a new folder holds the coordinator's key and an authorised client, secrets for the owner only")
    func create() throws {
        let made = try folder.create(client: "anna")
        #expect(made.map(\.name) == ["coordinator", "anna"])
        #expect(mode(folder.path) == 0o700 && mode(folder.authorised) == 0o700)
        #expect(mode(folder.path + "/coordinator.key") == 0o600 && mode(folder.path + "/anna.key") == 0o600)
        #expect(try folder.grants().valid.map(\.name) == ["anna"] && folder.grants().skipped.isEmpty)
        let secret = try KeyFile(secretPath: folder.path + "/anna.key")
        #expect(try KeyPair(secretKey: secret.key).publicKey == made[1].key)
        #expect(secret.text.hasPrefix("# anna client 20") && secret.text.split(separator: "\n").count == 2)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).allSatisfy { !$0.hasPrefix(".") })

        let before = try String(contentsOfFile: folder.path + "/coordinator.key", encoding: .utf8)
        let again = #expect(throws: KeyError.self) { try folder.create(client: "anna") }
        #expect(again?.reason == .exists(folder.path + "/coordinator.key"))
        #expect(try String(contentsOfFile: folder.path + "/coordinator.key", encoding: .utf8) == before)
    }

    @Test(
        "refuses names that would be paths, options or unreadable",
        arguments: [
            "", ".", "..", "../node1", "a/b", "/a", "-a", ".a", "a b", "é", "a\n", String(repeating: "a", count: 47),
        ])
    func names(name: String) throws {
        let error = #expect(throws: KeyError.self) { try folder.make(name, .worker) }
        #expect(error?.reason == .name(name) && error?.description.contains("\n") == false)
        #expect(throws: KeyError.self) { try folder.revoke(name) }
        #expect(!FileManager.default.fileExists(atPath: folder.path))
    }

    @Test("refuses a secret that others can read, with the chmod to run", arguments: [0o640, 0o604, 0o660, 0o644])
    func exposed(mode: Int) throws {
        _ = try folder.create(client: "anna")
        let path = folder.path + "/coordinator.key"
        chmod(path, mode_t(mode))
        let error = #expect(throws: KeyError.self) { try folder.forCoordinator() }
        #expect(error?.reason == .exposed(path, mode: "600"))
        #expect(error?.description.contains("chmod 600 \(path)") == true)
        chmod(path, 0o600)
        #expect(try folder.forCoordinator().gate?.count == 1)
        chmod(folder.authorised, 0o777)
        #expect(throws: KeyError(.exposed(folder.authorised, mode: "700"))) { try folder.forCoordinator() }
    }

    @Test("never puts a key in the place of another")
    func keeps() throws {
        _ = try folder.create(client: "anna")
        let first = try folder.make("node1", .worker)
        try folder.authorise(folder.path + "/node1.pub", role: .worker)
        try folder.authorise(folder.path + "/node1.pub", role: .worker)
        // The same name with another key, as of a machine that made its own.
        let other = KeyFile(name: "node1", role: .worker, key: try KeyPair.fresh().publicKey)
        let path = try temporary.write(Array(other.text.utf8), name: "node1.pub")
        #expect(throws: KeyError(.authorised(name: "node1", key: first.key))) {
            try folder.authorise(path, role: .worker)
        }
        #expect(try folder.grants().valid.first { $0.name == "node1" }?.key == first.key)
        // A public key whose secret is elsewhere.
        try temporary.write(Array("# node2 worker now\n\(other.key)\n".utf8), name: "keys/node2.pub")
        #expect(throws: KeyError(.exists(folder.path + "/node2.pub"))) { try folder.make("node2", .worker) }
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/node2.key"))
        try folder.revoke("node1")
        try folder.authorise(path, role: .worker)
        #expect(try folder.grants().valid.first { $0.name == "node1" }?.key == other.key)
    }

    @Test("refuses a folder in which others can exchange files")
    func folderOfOthers() throws {
        _ = try folder.create(client: "anna")
        chmod(folder.path, 0o777)
        #expect(throws: KeyError(.exposed(folder.path, mode: "700"))) { try folder.forCoordinator() }
        #expect(throws: KeyError(.exposed(folder.path, mode: "700"))) { try folder.forClient(user: nil) }
    }

    @Test("a folder that cannot be looked into is not said to be missing")
    func unreachable() throws {
        let file = try temporary.write([], name: "plain")
        let within = KeyFolder(file + "/keys")
        let wanted = KeyError(.system(String(cString: strerror(ENOTDIR)), path: within.path))
        #expect(throws: wanted) { try within.forClient(user: nil) }
        #expect(throws: wanted) { try within.made() }
        #expect(throws: KeyError(.system(String(cString: strerror(ENOTDIR)), path: within.path + "/node1.key"))) {
            try within.forWorker("node1")
        }
    }

    @Test("takes the coordinator's public key from its file, another file or a text")
    func serverKey() throws {
        let coordinator = try folder.create(client: "anna")[0]
        let other = try KeyPair.fresh().publicKey
        #expect(try folder.forClient(user: nil).peerKey == coordinator.key)
        #expect(try folder.forClient(user: nil, serverKey: other).peerKey == other)
        let file = try temporary.write(Array("# coordinator coordinator now\n\(other)\n".utf8), name: "c.pub")
        #expect(try folder.forClient(user: nil, serverKey: file).peerKey == other)
        #expect(throws: KeyError.self) { try folder.forClient(user: nil, serverKey: folder.path + "/anna.pub") }
    }

    @Test("of several clients' keys goes by the one that is named, or the user's own")
    func severalClients() throws {
        _ = try folder.create(client: "anna")
        #expect(try folder.forClient(user: "root").name == "anna", "the only one")
        _ = try folder.make("bert", .client)
        #expect(try folder.forClient(user: "bert").name == "bert")
        #expect(try folder.forClient(user: "bert", named: "anna").name == "anna")
        let error = try #require(throws: KeyError.self) { try folder.forClient(user: "root") }
        #expect(error.description.contains("(anna, bert); say which one with the variable ABBOZZO_CLIENT"))
        #expect(throws: KeyError.self) { try folder.forClient(user: "anna", named: "clara") }
        #expect(throws: KeyError.self) { try folder.forClient(user: "anna", named: "coordinator") }
    }

    @Test("keys are in the user's folder of settings, root's in that of the machine")
    func standard() {
        #expect(KeyFolder.standard(environment: ["HOME": "/h"], isRoot: true).path == "/etc/abbozzo/keys")
        #expect(KeyFolder.standard(environment: ["HOME": "/h"], isRoot: false).path == "/h/.config/abbozzo/keys")
        #expect(
            KeyFolder.standard(environment: ["HOME": "/h", "XDG_CONFIG_HOME": "/x"], isRoot: false).path
                == "/x/abbozzo/keys")
    }

    @Test("refuses to start when nobody is authorised")
    func nobody() throws {
        _ = try folder.create(client: "anna")
        try folder.revoke("anna")
        #expect(throws: KeyError(.nobody(folder.authorised))) { try folder.forCoordinator() }
        #expect(throws: KeyError.self) { try folder.revoke("anna") }
    }

    @Test("authorises only public keys of the role that they were made for, each under one name")
    func authorise() throws {
        _ = try folder.create(client: "anna")
        let key = try folder.make("node1", .worker)
        let path = folder.path + "/node1.pub"
        #expect(throws: KeyError(.role(path, is: .worker, wanted: .client))) {
            try folder.authorise(path, role: .client)
        }
        #expect(throws: KeyError.self) { try folder.authorise(folder.path + "/node1.key", role: .worker) }
        #expect(throws: KeyError.self) { try folder.authorise(folder.path + "/coordinator.pub", role: .coordinator) }
        try folder.authorise(path, role: .worker)
        let copy = try temporary.write(Array("# node9 worker now\n\(key.key)\n".utf8), name: "node9.pub")
        #expect(throws: KeyError(.taken(key: key.key, by: "node1"))) { try folder.authorise(copy, role: .worker) }
        try folder.revoke("node1")
        #expect(try folder.grants().valid.map(\.name) == ["anna"])
    }

    @Test(
        "skips files among the authorised keys that are none",
        arguments: [
            "", "key", "# node1 worker now\nshort\n", "# node1 painter now\n", "# node2 worker now\nKEY\n",
            "# node1 coordinator now\nKEY\n", "# ../x worker now\nKEY\n", "# node1 worker now\nKEY\nKEY\n",
        ])
    func malformed(text: String) throws {
        _ = try folder.create(client: "anna")
        let key = try KeyPair.fresh().publicKey
        try temporary.write(
            Array(text.replacing("KEY", with: key).utf8), name: "keys/authorised/node1.pub")
        #expect(try folder.grants().valid.map(\.name) == ["anna"] && folder.grants().skipped.count == 1)
        #expect(Gate(folder: folder).admit(key, to: .control) == nil)
    }

    @Test("a gate follows its folder at once, knows roles, and tells who was revoked")
    func gate() throws {
        _ = try folder.create(client: "anna")
        let gate = Gate(folder: folder)
        let key = try folder.make("node1", .worker)
        #expect(gate.admit(key.key, to: .control) == nil)
        try folder.authorise(folder.path + "/node1.pub", role: .worker)
        #expect(gate.admit(key.key, to: .control) == "node1" && gate.admit(key.key, to: .data) == "node1")
        #expect(gate.admit(key.key, to: .client) == nil && gate.admit(key.key, to: .events) == nil)
        let session = Gate.Session(name: "node1", key: key.key)
        #expect(gate.refusal(of: session, in: .control) == nil)
        #expect(gate.refusal(of: nil, in: .control) == .noKey)
        #expect(gate.takeRevoked().isEmpty)

        // Another key under the same name is another session.
        let other = try KeyPair.fresh().publicKey
        try KeyFile(name: "node1", role: .worker, key: other).write(
            to: folder.authorised + "/node1.pub", mode: 0o644, replacing: true)
        gate.refresh()
        #expect(gate.takeRevoked() == [Gate.Revocation(name: "node1", role: .worker)] && gate.takeRevoked().isEmpty)
        #expect(gate.refusal(of: session, in: .control) == .revoked && gate.admit(other, to: .data) == "node1")
        #expect(gate.admit(key.key, to: .control) == nil)
        #expect(gate.failures.filter { $0.value > 0 } == ["unknown_key": 1, "wrong_role": 2, "revoked": 1])

        // Overwritten in place, which does not change the folder: noticed when it is read anyway, as after SIGHUP.
        try Data("broken".utf8).write(to: URL(filePath: folder.authorised + "/anna.pub"))
        #expect(gate.refresh(anyway: true).count == 1 && gate.refresh(anyway: true).isEmpty, "said once")
        #expect(gate.takeRevoked() == [Gate.Revocation(name: "anna", role: .client)])

        try FileManager.default.removeItem(atPath: folder.authorised)
        gate.refresh()
        #expect(gate.count == 0, "a folder that is gone authorises nobody")
    }

    @Test("whose file the system cannot read now may connect as before, unless it is gone; it is read again")
    func keepsGrants() throws {
        _ = try folder.create(client: "anna")
        let known = ["node1", "node2"].map { KeyFile(name: $0, role: .worker, key: "the key of \($0)") }
        for file in known { try Data().write(to: URL(filePath: folder.authorised + "/\(file.name).pub")) }
        errno = EMFILE
        let error = KeyError.last(folder.authorised)
        let answer = Guarded<Result<KeyFolder.Listing, KeyError>>(.success(KeyFolder.Listing(valid: known)))
        let gate = Gate(folder: folder) { () throws(KeyError) in try answer.with { $0 }.get() }
        #expect(gate.count == 2)
        for trouble in [.failure(error), .success(KeyFolder.Listing(unread: ["node1": error, "node2": error]))]
            as [Result<KeyFolder.Listing, KeyError>]
        {
            answer.with { $0 = trouble }
            let news = gate.refresh(anyway: true)
            #expect(news.count >= 1 && news.allSatisfy { $0.contains("Too many open files") }, "\(news)")
            #expect(gate.refresh(anyway: true).isEmpty, "said once a minute")
            #expect(gate.count == 2 && gate.takeRevoked().isEmpty)
            answer.with { $0 = .success(KeyFolder.Listing(valid: known)) }
            #expect(gate.refresh(anyway: true).isEmpty && gate.count == 2)
        }
        // Only one of two can be read: the other stays, until its file is gone.
        answer.with { $0 = .success(KeyFolder.Listing(valid: [known[0]], unread: ["node2": error])) }
        gate.refresh(anyway: true)
        #expect(gate.count == 2)
        try FileManager.default.removeItem(atPath: folder.authorised + "/node2.pub")
        answer.with { $0 = .failure(error) }
        gate.refresh(anyway: true)
        #expect(gate.count == 1 && gate.takeRevoked() == [Gate.Revocation(name: "node2", role: .worker)])
        errno = EACCES
        #expect(KeyError.last("/x").mayPass == false)
    }
}

extension Gate {
    /// What a handshake does, in one call.
    fileprivate func admit(_ key: String, to domain: KeyDomain) -> String? {
        refresh()
        switch verdict(key, domain) {
        case .success(let name): return name
        case .failure(let refused):
            note(refused.why)
            return nil
        }
    }
}
