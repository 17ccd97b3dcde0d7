import Plan
import Sampling
import Tensors
import Testing

private func text(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "accepted"
    } catch {
        return "\(error)"
    }
}

@Suite("What is refused")
struct CheckTests {
    private func refusal(_ request: ImageRequest) -> String {
        text { _ = try Sampler(request: request, facts: facts()) }
    }

    @Test("sizes that cannot be drawn are refused with the nearest that can")
    func sizes() {
        let wide = refusal(request(.euler(steps: 1), width: 100, height: 64))
        #expect(
            wide == "100x64 cannot be drawn: both sides must be multiples of 16 from 16 to 2048; "
                + "nearest: 96x64, 112x64")
        let ralu = refusal(request(.ralu(flux4x), width: 48, height: 64))
        #expect(ralu.hasSuffix("multiples of 32 from 32 to 2048; nearest: 32x64, 64x64"))
        #expect(refusal(request(.euler(steps: 1), width: 4096, height: 64)).hasSuffix("nearest: 2048x64"))
        #expect(refusal(request(.euler(steps: 1), width: 0, height: -64)).hasSuffix("nearest: 16x16"))
        #expect(refusal(request(.euler(steps: 1), width: .max, height: .min)).hasSuffix("nearest: 2048x16"))
        #expect(refusal(request(.euler(steps: 1), width: 16, height: 16)) == "accepted")
        #expect(refusal(request(.ralu(flux4x), width: 32, height: 32)) == "accepted")
    }

    @Test("prompts of up to 20,000 characters are taken, empty ones too; longer ones are refused")
    func prompts() {
        let euler = SamplerSettings.euler(steps: 1)
        func prompt(_ text: String) -> String { refusal(request(euler, width: 16, height: 16, prompt: text)) }
        #expect(prompt("") == "accepted")
        #expect(prompt(String(repeating: "é", count: 20_000)) == "accepted")
        #expect(
            prompt(String(repeating: "a", count: 100_000))
                == "the prompt has 100000 characters, the limit is 20000; shorten it")
        #expect(
            prompt("a" + String(repeating: "\u{301}", count: 100_000)).contains("200001 bytes, the limit is 160000"))
        var negative = request(euler, width: 16, height: 16)
        negative.negativePrompt = String(repeating: "a", count: 20_001)
        #expect(refusal(negative).hasPrefix("the negative prompt has 20001 characters"))
    }

    @Test("impossible text lengths and guidance are refused")
    func numbers() {
        var wrong = request(.euler(steps: 1))
        for length in [0, -1, 513] {
            wrong.textLength = length
            #expect(refusal(wrong) == "a text length of \(length) tokens is impossible; this model takes 1 to 512")
        }
        wrong.textLength = 512
        for guidance in [Float.nan, .infinity, -1, 3e38, 1000.5] {
            wrong.guidance = guidance
            #expect(refusal(wrong) == "a guidance of \(guidance) is impossible; it must be a number from 0 to 1000")
        }
        wrong.guidance = 0
        #expect(refusal(wrong) == "accepted")
    }

    @Test("a model's schedule whose noise levels do not fall is refused with the file to look at")
    func schedules() {
        func refusal(_ schedule: ScheduleFacts, steps: Int = 4) -> String {
            text { _ = try Sampler(request: request(.euler(steps: steps)), facts: facts(schedule)) }
        }
        #expect(refusal(ScheduleFacts(), steps: 1000) == "accepted")
        #expect(refusal(ScheduleFacts(shift: 1, dynamic: false)) == "accepted")
        for wild in [4.6e18, -4.6e18, 1e300] {
            #expect(refusal(ScheduleFacts(baseShift: wild)).contains("scheduler_config.json"), "\(wild)")
        }
        #expect(refusal(ScheduleFacts(shift: 1e20, dynamic: false)).contains("check shift in"))
    }

    @Test("impossible constants are refused with the reason")
    func constants() {
        func refusal(_ change: (inout RALUSettings) -> Void) -> String {
            var settings = flux4x
            change(&settings)
            return text { try Sampler.check(SamplerSettings.ralu(settings)) }
        }
        #expect(refusal { _ in } == "accepted")
        #expect(refusal { $0.z = 1.99 }.hasPrefix("z is 1.99"))
        #expect(refusal { $0.z = .nan }.hasPrefix("z is nan"))
        #expect(refusal { $0.ends[2] = 0.9 } == "the last of ends is 0.9, it must be 1")
        #expect(refusal { $0.ends = [0.45, 0.3, 1] }.contains("must rise"))
        #expect(refusal { $0.ends = [0.3, 1, 1] }.contains("must rise"))
        #expect(refusal { $0.ends = [0, 0.3, 1] }.contains("must rise"))
        #expect(refusal { $0.ends = [.nan, 0.3, 1] }.contains("must rise"))
        #expect(refusal { $0.ends = [0.3, 1] } == "ends has 2 values, RALU has 3 stages")
        #expect(refusal { $0.steps = [5, 0, 7] }.hasPrefix("steps is [5, 0, 7]"))
        #expect(refusal { $0.steps = [1, 1, 999] }.contains("at most 1000"))
        #expect(refusal { $0.shifts[1] = 0 }.hasPrefix("shifts"))
        #expect(refusal { $0.shifts[1] = .infinity }.hasPrefix("shifts"))
        #expect(refusal { $0.shifts = [1e300, 1, 1] }.contains("do not fall"))
        #expect(refusal { $0.upRatio = 1.01 }.hasPrefix("up_ratio is 1.01"))
        #expect(refusal { $0.upRatio = -0.1 }.hasPrefix("up_ratio"))
        #expect(refusal { $0.upRatio = .nan }.hasPrefix("up_ratio"))
        #expect(text { try Sampler.check(SamplerSettings.euler(steps: 0)) }.hasPrefix("steps is 0"))
        #expect(text { try Sampler.check(SamplerSettings.euler(steps: 1001)) }.hasPrefix("steps is 1001"))
    }

    @Test("injected tensors of another shape are refused with the one that is needed")
    func injected() {
        func refusal(_ injected: InjectedNoise) -> String {
            text { _ = try Sampler(request: request(.ralu(flux4x)), facts: facts(), injected: injected) }
        }
        let wrong = Tensor(repeating: 0, shape: [3, 5])
        #expect(
            refusal(InjectedNoise(latentsUnpacked: wrong))
                == "cannot inject latents_unpacked of shape [3, 5]: [16, 12, 16] is needed for 128x96")
        #expect(refusal(InjectedNoise(latents: wrong)).contains("[48, 64] is needed"))
        #expect(refusal(InjectedNoise(noiseStage2: wrong)).contains("[21, 64] is needed"))
        #expect(refusal(InjectedNoise(noiseStage3: wrong)).contains("[48, 64] is needed"))
        #expect(refusal(InjectedNoise(tieNoise: wrong)).contains("[12] is needed"))
        for value in [Float.nan, .infinity] {
            var values = Tensor(repeating: 0, shape: [12])
            values[7] = value
            #expect(
                refusal(InjectedNoise(tieNoise: values))
                    == "cannot inject tie_noise: its value 7 is \(value); numbers are needed")
        }
        #expect(refusal(InjectedNoise()) == "accepted")
    }
}
