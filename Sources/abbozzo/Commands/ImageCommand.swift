internal import ArgumentParser
internal import Checkpoint
internal import Foundation
internal import Imaging
internal import Plan
internal import Rendering
internal import Sampling
internal import Stages
internal import Tensors

/// What a picture's file says about itself.
struct ImageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Read a picture's parameters, or render it again and compare.",
        subcommands: [Info.self, Verify.self])

    struct Info: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "info", abstract: "Print how a picture was made.")
        @Argument(help: "PNG file that Abbozzo wrote.") var file: String
        @OptionGroup var options: OutputOptions

        func run() async throws {
            let (_, image, metadata) = try readPicture(file)
            if options.json { return try sayJSON(metadata) }
            say("\(file): \(image.width)x\(image.height)")
            say(metadata.parameters)
            say(
                "Kernels: \(metadata.kernelClass), wire: \(metadata.wireFormat.rawValue), "
                    + "fingerprint: \(metadata.fingerprint)")
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Render a picture again from its own parameters and compare the bytes.",
            discussion: """
                Ends with 0 when every byte agrees, with 2 when not, and with 1 when it cannot be rendered again: another \
                model, or tensors that were injected and are not given. The text chunks are compared too, so a picture of \
                another version differs even where its pixels agree.
                """)
        @Argument(help: "PNG file that Abbozzo wrote.") var file: String
        @Option(help: ArgumentHelp("Model folder in diffusers layout. Default: the demo model.", valueName: "dir"))
        var model: String?
        @Option(
            help: ArgumentHelp(
                "The file that was injected, for a picture that says so.", valueName: "file.safetensors"))
        var inject: String?
        @OptionGroup var threads: ThreadOptions
        @OptionGroup var options: OutputOptions

        private struct Report: Encodable {
            let file: String
            let identical: Bool
            let differentValues: Int
            let largestDifference: Int
        }

        func run() async throws {
            let (bytes, image, metadata) = try readPicture(file)
            let drawn = metadata.request
            guard drawn.width == image.width && drawn.height == image.height else {
                throw CommandFailure(
                    .failed,
                    "\(file) is \(image.width)x\(image.height), but its parameters draw \(drawn.width)x\(drawn.height): "
                        + "it was cropped or scaled")
            }
            guard metadata.wireFormat.isExact else {
                throw CommandFailure(
                    .usage,
                    "\(file) was made with hidden states in \(metadata.wireFormat.rawValue) between workers and depends on "
                        + "how the layers were cut: it cannot be made again here")
            }
            if let injected = metadata.injected, inject == nil {
                throw CommandFailure(
                    .usage,
                    "\(file) cannot be repeated from its parameters: it was made with injected tensors "
                        + "(\(injected.joined(separator: ", "))); give their file with --inject")
            }
            let injection = try inject.map { try Injection(path: $0) } ?? Injection()
            let folder = try modelFolder(model)
            let facts = try ModelFacts(folder: folder)
            guard facts.fingerprint == metadata.fingerprint else {
                throw CommandFailure(
                    .usage,
                    "\(file) was made with another model (\(metadata.model), fingerprint "
                        + "\(metadata.fingerprint.prefix(12))) than that in \(folder.path) (fingerprint "
                        + "\(facts.fingerprint.prefix(12))); give its folder with --model")
            }
            try injection.check(facts: facts)
            do { try Sampler.check(drawn, facts: facts) } catch { throw CommandFailure(.usage, "\(file): \(error)") }
            let format = KernelClass.format(ofName: metadata.kernelClass) ?? .f32
            let kernels = try kernelClass(format)
            let (again, _) = try Renderer.renderOnce(
                drawn, folder: folder, facts: facts,
                compute: Compute(threads: threads.count, kernels: kernels), injecting: injection)
            let isSame = try again.png() == bytes
            let pixels = again.pixels.rgb8()
            let differences = zip(pixels, image.rgb8).map { abs(Int($0) - Int($1)) }
            let report = Report(
                file: file, identical: isSame, differentValues: differences.count { $0 > 0 },
                largestDifference: differences.max() ?? 0)
            if options.json { try sayJSON(report) }
            guard isSame else {
                let difference =
                    metadata.kernelClass == kernels.name
                    ? "" : "; it was made with kernels \(metadata.kernelClass), these are \(kernels.name)"
                throw CommandFailure(
                    .failed,
                    report.differentValues == 0
                        ? "\(file) has the right pixels, but its file differs: another version or program wrote it"
                        : "\(file) differs in \(report.differentValues) of \(pixels.count) values, by at most "
                            + "\(report.largestDifference) levels\(difference)")
            }
            if !options.json { say("\(file): every byte agrees") }
        }
    }
}

/// A file's bytes, its pixels and how it was made.
func readPicture(_ path: String) throws -> (bytes: [UInt8], image: PNG.Image, metadata: PictureMetadata) {
    let (bytes, image) = try readPNG(path)
    do {
        return (bytes, image, try PictureMetadata(of: image))
    } catch {
        throw CommandFailure(.usage, "\(path): \(error)")
    }
}

/// A PNG file's bytes and pixels.
func readPNG(_ path: String) throws -> (bytes: [UInt8], image: PNG.Image) {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
        throw CommandFailure(.usage, "\(path) does not exist on this machine")
    }
    guard !isFolder.boolValue else { throw CommandFailure(.usage, "\(path) is a folder; give the name of a file") }
    // Refuses pipes and devices, of which the end may never come.
    let bytes = try fileBytes(path, limit: 1 << 30)
    do {
        return (bytes, try PNG.decode(bytes))
    } catch {
        throw CommandFailure(.usage, "\(path): \(error)")
    }
}
