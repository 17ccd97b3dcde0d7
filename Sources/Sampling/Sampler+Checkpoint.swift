internal import Foundation
internal import Plan
internal import Tensors

/// A sampler as bytes: little-endian, no names, a checksum at the end.
///
/// Noise levels are stored, not computed again, so that a picture goes on with the same bits on another machine.
extension Sampler {
    private static let magic: [UInt8] = Array("ABZS".utf8)
    private static let version: UInt8 = 1
    /// Beyond any picture; keeps products of sides far from overflow.
    private static let sideLimit = 1 << 16

    /// The state as bytes, about those of its tokens.
    package func checkpoint() -> [UInt8] {
        var writer = ByteWriter()
        for byte in Self.magic + [Self.version] { writer.append(byte) }
        write(recipe, &writer)
        switch phase {
        case .denoising(let stage, let step):
            writer.append(UInt8(0))
            writer.append(UInt8(stage))
            writer.append(UInt32(step))
        case .lookingForEdges(let estimate):
            writer.append(UInt8(1))
            writer.append(estimate)
        case .finished: writer.append(UInt8(2))
        }
        writer.append(latents.tokens)
        writer.append(latents.positions)
        writer.append(UInt8(injected == nil ? 0 : 1))
        if let injected {
            for tensor in [
                injected.latentsUnpacked, injected.latents, injected.noiseStage2, injected.noiseStage3,
                injected.tieNoise,
            ] {
                writer.append(tensor)
            }
        }
        writer.append(Self.checksum(writer.bytes[...]))
        return writer.bytes
    }

    /// Goes on from what `checkpoint()` gave; anything else is refused, whatever the bytes say.
    package init(checkpoint bytes: [UInt8]) throws(SamplingError) {
        func refuse(_ text: String) -> SamplingError { SamplingError(.checkpoint(text)) }
        guard bytes.count > 13, Array(bytes.prefix(4)) == Self.magic else { throw refuse("not a sampler") }
        guard bytes[4] == Self.version else { throw refuse("version \(bytes[4]), this program reads \(Self.version)") }
        let body = bytes.dropLast(8)
        var tail = ByteReader(bytes.suffix(8))
        guard try tail.integer(UInt64.self) == Self.checksum(body) else { throw refuse("its checksum is wrong") }
        var reader = ByteReader(body.dropFirst(5))
        let recipe = try Self.readRecipe(&reader)
        let tokens = recipe.tokens

        let stage: Int
        switch try reader.byte() {
        case 0:
            stage = Int(try reader.byte())
            let step = try reader.int()
            guard stage < recipe.sigmas.count, step < recipe.sigmas[stage].count - 1 else {
                throw refuse("step \(step) of stage \(stage + 1) does not exist")
            }
            phase = .denoising(stage: stage, step: step)
        case 1:
            guard recipe.ralu != nil else { throw refuse("only RALU looks for edges") }
            stage = 0
            phase = .lookingForEdges(estimate: try reader.tensor([tokens[0], Packing.tokenWidth]))
        case 2:
            stage = recipe.sigmas.count - 1
            phase = .finished
        default: throw refuse("unknown phase")
        }
        let values = try reader.tensor([tokens[stage], Packing.tokenWidth])
        let positions = try reader.tensor([tokens[stage], 3])
        guard Self.areTwicePlaces(positions, rows: recipe.rows, columns: recipe.columns) else {
            throw refuse("positions outside the picture")
        }
        latents = Latents(tokens: values, positions: positions)
        injected = try Self.readInjected(&reader, recipe)
        self.recipe = recipe
        guard reader.isAtEnd else { throw refuse("it goes on after its end") }
    }

    private func write(_ recipe: Recipe, _ writer: inout ByteWriter) {
        writer.append(UInt32(recipe.width))
        writer.append(UInt32(recipe.height))
        writer.append(recipe.seed)
        writer.append(recipe.scale)
        writer.append(recipe.shift)
        switch recipe.method {
        case .euler(let steps):
            writer.append(UInt8(0))
            writer.append(UInt32(steps))
        case .ralu(let settings):
            writer.append(UInt8(1))
            for steps in settings.steps { writer.append(UInt32(steps)) }
            for value in settings.ends + settings.shifts + [settings.z, settings.upRatio] { writer.append(value) }
            writer.append(UInt8(settings.upsampling == .tokenRepeat ? 0 : 1))
            writer.append(UInt8(settings.idleNoise == .official ? 0 : 1))
            writer.append(UInt8(settings.gray == .official ? 0 : 1))
        }
        for sigmas in recipe.sigmas { writer.append(sigmas) }
    }

    private static func readRecipe(_ reader: inout ByteReader) throws(SamplingError) -> Recipe {
        func refuse(_ text: String) -> SamplingError { SamplingError(.checkpoint(text)) }
        let (width, height) = (try reader.int(), try reader.int())
        let seed = try reader.integer(UInt64.self)
        let (scale, shift) = (try reader.float(), try reader.float())
        let method: SamplerSettings
        switch try reader.byte() {
        case 0: method = .euler(steps: try reader.int())
        case 1: method = .ralu(try readRALU(&reader))
        default: throw refuse("unknown sampler")
        }
        do { try check(method) } catch { throw refuse(error.description) }
        let multiple = if case .ralu = method { 32 } else { 16 }
        guard width >= 1, height >= 1, width <= sideLimit, height <= sideLimit, width % multiple == 0,
            height % multiple == 0
        else { throw refuse("a picture of \(width)x\(height)") }
        let steps: [Int] =
            switch method {
            case .euler(let steps): [steps]
            case .ralu(let settings): settings.steps
            }
        var sigmas: [[Double]] = []
        for count in steps {
            let nodes = try reader.doubles()
            guard nodes.count == count + 1, nodes.allSatisfy({ $0 >= 0 && $0 <= 1 }) else {
                throw refuse("noise levels that are no schedule of \(count) steps")
            }
            sigmas.append(nodes)
        }
        return Recipe(
            width: width, height: height, seed: seed, method: method, scale: scale, shift: shift, sigmas: sigmas)
    }

    private static func readRALU(_ reader: inout ByteReader) throws(SamplingError) -> RALUSettings {
        let steps = [try reader.int(), try reader.int(), try reader.int()]
        var values: [Double] = []
        for _ in 0..<8 { values.append(try reader.double()) }
        let (upsampling, idle, gray) = (try reader.byte(), try reader.byte(), try reader.byte())
        guard upsampling < 2, idle < 2, gray < 2 else { throw SamplingError(.checkpoint("unknown switches")) }
        return RALUSettings(
            steps: steps, ends: Array(values[0..<3]), shifts: Array(values[3..<6]), z: values[6], upRatio: values[7],
            upsampling: upsampling == 0 ? .tokenRepeat : .latentNearest, idleNoise: idle == 0 ? .official : .exact,
            gray: gray == 0 ? .official : .normalised)
    }

    private static func readInjected(
        _ reader: inout ByteReader, _ recipe: Recipe
    ) throws(SamplingError) -> InjectedNoise? {
        let flag = try reader.byte()
        guard flag < 2 else { throw SamplingError(.checkpoint("a flag is neither 0 nor 1")) }
        guard flag == 1 else { return nil }
        let full = recipe.rows * recipe.columns
        let middle = recipe.ralu == nil ? 0 : recipe.tokens[1]
        return InjectedNoise(
            latentsUnpacked: try reader.optionalTensor([Packing.channels, recipe.height / 8, recipe.width / 8]),
            latents: try reader.optionalTensor([full, Packing.tokenWidth]),
            noiseStage2: try reader.optionalTensor([middle, Packing.tokenWidth]),
            noiseStage3: try reader.optionalTensor([full, Packing.tokenWidth]),
            tieNoise: try reader.optionalTensor([full / 4]))
    }

    /// Whether all positions are halves inside the full-resolution grid.
    private static func areTwicePlaces(_ positions: Tensor, rows: Int, columns: Int) -> Bool {
        positions.withUnsafeBuffer { values in
            values.indices.allSatisfy { index in
                let limit = [1, Float(rows), Float(columns)][index % 3]
                let value = values[index]
                return value >= 0 && value < limit && (2 * value).rounded() == 2 * value
            }
        }
    }

    /// FNV-1a over the bytes (Fowler, Noll, Vo), 64 bits: damage in storage must not become a different picture.
    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
}

extension Sampler: Codable {
    /// Encodes the checkpoint's bytes.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(Data(checkpoint()))
    }

    /// Decodes a checkpoint's bytes; damaged ones throw a `SamplingError`.
    package init(from decoder: any Decoder) throws {
        try self.init(checkpoint: Array(try decoder.singleValueContainer().decode(Data.self)))
    }
}
