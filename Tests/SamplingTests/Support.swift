import Plan
import Sampling
import Tensors
import Testing

/// The constants that were published, or derived by the same recipe, with the noise levels and coefficients they imply.
struct KnownPreset: CustomTestStringConvertible, Sendable {
    let name: String
    let settings: RALUSettings
    /// Jensen-Shannon distance, and the model's shift it was reached with.
    let distance: Double
    let originalShift: Double
    let kappa: Double
    /// Signal and noise factors on entering stages 2 and 3.
    let transitions: [[Double]]
    let sigmas: [[Double]]

    var testDescription: String { name }

    static let all: [KnownPreset] = [
        KnownPreset(
            name: "flux-4x", settings: ralu([5, 6, 7], [0.3, 0.45, 1], [5.019, 2.589, 2.226], 6.317, 0.3),
            distance: 0.0175, originalShift: 3, kappa: -0.0128602,
            transitions: [[0.211779, 0.936466], [0.254819, 0.885331]],
            sigmas: [
                [1, 0.969459, 0.930371, 0.878565, 0.806629, 0.7],
                [0.936466, 0.892494, 0.842563, 0.785372, 0.719215, 0.641804, 0.55],
                [0.885331, 0.815674, 0.734741, 0.639555, 0.525985, 0.388137, 0.217294, 0],
            ]),
        KnownPreset(
            name: "flux-5x", settings: ralu([4, 5, 6], [0.3, 0.45, 1], [5.12, 2.64, 2.25], 7.516, 0.2),
            distance: 0.0163, originalShift: 3, kappa: -0.0090119,
            transitions: [[0.179807, 0.946058], [0.218148, 0.901834]],
            sigmas: [
                [1, 0.961079, 0.907293, 0.828113, 0.7], [0.946058, 0.892442, 0.829403, 0.754216, 0.662995, 0.55],
                [0.901834, 0.820001, 0.721761, 0.601631, 0.451377, 0.258042, 0],
            ]),
        KnownPreset(
            name: "flux-7x", settings: ralu([2, 3, 5], [0.2, 0.3, 1], [8.141, 2.856, 2.193], 6.261, 0.1),
            distance: 0.0266, originalShift: 3, kappa: -0.0130977,
            transitions: [[0.191983, 0.961603], [0.213552, 0.935934]],
            sigmas: [
                [1, 0.94166, 0.8], [0.961603, 0.894637, 0.810091, 0.7],
                [0.935934, 0.833637, 0.705178, 0.539048, 0.315832, 0],
            ]),
        KnownPreset(
            name: "sd3-2x", settings: ralu([5, 6, 9], [0.2, 0.3, 1], [6.21, 2.23, 1.97], 4.131, 0.3),
            distance: 0.0367, originalShift: 3, kappa: -0.0312530,
            transitions: [[0.285325, 0.942935], [0.313315, 0.906005]],
            sigmas: [
                [1, 0.978185, 0.950775, 0.915302, 0.867594, 0.8],
                [0.942935, 0.910088, 0.874665, 0.836348, 0.794768, 0.749491, 0.7],
                [
                    0.906005, 0.847338, 0.782215, 0.709509, 0.627812, 0.535347, 0.429836, 0.308308, 0.166816, 0,
                ],
            ]),
        KnownPreset(
            name: "sd3-3x", settings: ralu([3, 3, 6], [0.25, 0.3, 1], [6.40, 2.60, 2.23], 6.262, 0.2),
            distance: 0.0214, originalShift: 3, kappa: -0.0130923,
            transitions: [[0.202156, 0.949461], [0.213512, 0.935946]],
            sigmas: [
                [1, 0.95614, 0.885057, 0.75], [0.949461, 0.882734, 0.801381, 0.7],
                [0.935946, 0.85338, 0.753653, 0.630793, 0.475698, 0.273764, 0],
            ]),
        KnownPreset(
            name: "schnell-4", settings: ralu([1, 1, 2], [0.3, 0.45, 1], [1, 1, 0.864], 2, 0.3, .exact),
            distance: 0.0287, originalShift: 1, kappa: -0.2495,
            transitions: [[0.588235, 0.823529], [0.645161, 0.709677]],
            sigmas: [[1, 0.7], [0.823529, 0.55], [0.709677, 0.336068, 0]]),
        // Its shifts of the stages of one step, which no schedule shows, are those of a row with twice the steps: the spec's
        // Hyper-FLUX-8 A.
        KnownPreset(
            name: "sd35lt-4", settings: ralu([1, 1, 2], [0.3, 0.45, 1], [4.603, 2.277, 2.612], 38.48, 0.3, .exact),
            distance: 0.0058, originalShift: 3, kappa: -0.0003374,
            transitions: [[0.036714, 0.988986], [0.046264, 0.979181]],
            sigmas: [[1, 0.7], [0.988986, 0.55], [0.979181, 0.701572, 0]]),
    ]

    private static func ralu(
        _ steps: [Int], _ ends: [Double], _ shifts: [Double], _ z: Double, _ upRatio: Double,
        _ idle: RALUSettings.IdleNoise = .official
    ) -> RALUSettings {
        RALUSettings(steps: steps, ends: ends, shifts: shifts, z: z, upRatio: upRatio, idleNoise: idle)
    }
}

let flux4x = KnownPreset.all[0].settings

/// Facts of a model like FLUX.1-dev; only its schedule, scale and limits matter here.
func facts(_ schedule: ScheduleFacts = ScheduleFacts(), scale: Float = 0.3611, shift: Float = 0.1159) -> ModelFacts {
    ModelFacts(
        name: "tiny", family: "FluxPipeline", fingerprint: "f", blockCount: 5, width: 64, contextWidth: 48,
        pooledWidth: 32, maxTextLength: 512, takesGuidance: true, scalingFactor: scale, shiftFactor: shift,
        schedule: schedule)
}

func request(
    _ sampler: SamplerSettings, width: Int = 128, height: Int = 96, seed: UInt64 = 7, prompt: String = "a cat"
) -> ImageRequest {
    ImageRequest(
        prompt: prompt, seed: seed, width: width, height: height, guidance: 3.5, textLength: 64, sampler: sampler)
}

/// A picture with edges in it: bright discs on black.
func discs(width: Int, height: Int) -> Pixels {
    var planes = Tensor(repeating: -1, shape: [3, height, width])
    for y in 0..<height {
        for x in 0..<width {
            let (dy, dx) = (y % 48 - 20, x % 40 - 16)
            if dy * dy + dx * dx < 90 {
                for channel in 0..<3 { planes[(channel * height + y) * width + x] = 0.8 }
            }
        }
    }
    return Pixels(planes: planes)
}

/// A stand-in for the network: smooth, nonlinear, and dependent on position and noise level.
func fakeVelocity(_ latents: Latents, sigma: Float) -> Tensor {
    var result = latents.tokens
    for index in 0..<result.count {
        let place = latents.positions[index / 64 * 3 + 1] + 2 * latents.positions[index / 64 * 3 + 2]
        let x = result[index]
        result[index] = x / (1 + x * x) + sigma * 0.25 - 0.01 * place
    }
    return result
}

/// Runs a sampler to its end with the stand-in; `each` sees it before every answer.
func run(_ start: Sampler, trace: Trace? = nil, each: (inout Sampler) throws -> Void) throws -> Tensor {
    var sampler = start
    while true {
        try each(&sampler)
        switch sampler.demand {
        case .velocity(let latents, let sigma, _, _):
            try sampler.supply(velocity: fakeVelocity(latents, sigma: sigma), trace: trace)
        case .decode(let latent):
            try sampler.supply(decoded: discs(width: 8 * latent.shape[2], height: 8 * latent.shape[1]), trace: trace)
        case .finished(let latent): return latent
        }
    }
}

func run(_ start: Sampler, trace: Trace? = nil) throws -> Tensor { try run(start, trace: trace) { _ in } }
