internal import ArgumentParser
internal import Foundation
internal import Wire

/// Keys of the cluster.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Make keys, and say who may connect.",
        discussion: """
            On the coordinator's machine: abbozzo keys init, then for each worker abbozzo keys new worker NAME and \
            abbozzo keys authorize NAME.pub --role worker. Copy NAME.key and coordinator.pub to a folder of the worker's \
            machine, mode 700. Every verb finds the folder in ~/.config/abbozzo/keys (root: /etc/abbozzo/keys), or where \
            --keys or ABBOZZO_KEYS says. A running coordinator follows authorize and revoke at once.
            """,
        subcommands: [Initialize.self, New.self, Authorize.self, Revoke.self, List.self])

    struct FolderOptions: ParsableArguments {
        @OptionGroup var keys: KeysOptions
        @OptionGroup var output: OutputOptions

        func validate() throws {
            if case .some(.none) = keys.named() { throw ValidationError("keys are in a folder; none names no folder") }
        }

        var folder: KeyFolder { (keys.named() ?? nil) ?? KeysOptions.standard }
        /// The flag that names the folder again, for the next command.
        var flag: String { keys.keys == nil ? "" : " --keys \(shellQuoted(folder.path))" }
    }

    struct Initialize: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "init", abstract: "Make the coordinator's key, and an authorised client key for this user.")
        @OptionGroup var options: FolderOptions

        func run() throws {
            let folder = options.folder
            let user = (try? KeyFile.check(name: userName)) == nil || userName == "coordinator" ? "client" : userName
            let files = try folder.create(client: user)
            if options.output.json { return try sayJSON(Report(folder, files, [])) }
            say("\(folder.path): keys of the coordinator and of client \(user), who is authorised")
            say("next: abbozzo keys new worker NAME\(options.flag)")
        }
    }

    struct New: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "new", abstract: "Make a key for a worker or a client; it is not authorised yet.")
        @Argument(help: "worker or client.") var role: KeyRole
        @Argument(help: "Name of the worker or the user.") var name: String
        @OptionGroup var options: FolderOptions

        func validate() throws {
            if role == .coordinator { throw ValidationError("the coordinator's key is made by abbozzo keys init") }
        }

        func run() throws {
            let folder = options.folder
            let file = try folder.make(name, role)
            if options.output.json { return try sayJSON(Report(folder, [file], [])) }
            say("\(folder.path)/\(name).key (secret) and \(folder.path)/\(name).pub")
            say(
                "next: abbozzo keys authorize \(shellQuoted("\(folder.path)/\(name).pub")) --role \(role.rawValue)\(options.flag)"
            )
        }
    }

    struct Authorize: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "authorize", abstract: "Let the holder of a public key connect.")
        @Argument(help: ArgumentHelp("The public key.", valueName: "file.pub")) var file: String
        @Option(help: "worker or client; must be what the key was made for.") var role: KeyRole
        @OptionGroup var options: FolderOptions

        func run() throws {
            let file = try options.folder.authorise(absolute(file), role: role)
            if options.output.json { return try sayJSON(Report(options.folder, [], [file])) }
            say("\(file.name) may connect as a \(role.rawValue)")
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke",
            abstract: "Let a worker or client connect no more; a running coordinator ends its connections.")
        @Argument(help: "Name of the worker or the user.") var name: String
        @OptionGroup var options: FolderOptions

        func run() throws {
            try options.folder.revoke(name)
            try options.output.json ? sayJSON(["revoked": name]) : say("\(name) may connect no more")
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the public keys here and who is authorised.")
        @OptionGroup var options: FolderOptions

        func run() throws {
            let folder = options.folder
            let made = try folder.made()
            let listing = try folder.grants()
            let authorised = listing.valid
            if options.output.json { return try sayJSON(Report(folder, made, authorised)) }
            var table = Table(["NAME", "ROLE", "AUTHORISED", "CREATED", "PUBLIC KEY"])
            for file in made where !authorised.contains(where: { $0.key == file.key }) {
                table.add([
                    file.name, file.role.rawValue, file.role == .coordinator ? "-" : "no", file.created, file.key,
                ])
            }
            for file in authorised { table.add([file.name, file.role.rawValue, "yes", file.created, file.key]) }
            say(table.lines.joined(separator: "\n"))
            for error in listing.skipped + listing.unread.values { note("skipped: \(error)") }
        }
    }

    /// What `--json` prints.
    private struct Report: Encodable {
        struct Key: Encodable {
            let name: String
            let role: KeyRole
            let created: String
            let publicKey: String
        }
        let folder: String
        let keys: [Key]
        let authorised: [Key]

        init(_ folder: KeyFolder, _ keys: [KeyFile], _ authorised: [KeyFile]) {
            func shown(_ files: [KeyFile]) -> [Key] {
                files.map { Key(name: $0.name, role: $0.role, created: $0.created, publicKey: $0.key) }
            }
            self.folder = folder.path
            self.keys = shown(keys)
            self.authorised = shown(authorised)
        }
    }
}

extension KeyRole: ExpressibleByArgument {
    /// The coordinator's own key has no role to choose.
    static var allValueStrings: [String] { [KeyRole.worker, .client].map(\.rawValue) }
}
