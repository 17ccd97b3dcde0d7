import Checkpoint
import DiT
import Foundation
import Plan
import Stages
import TestKit
import Tensors
import Testing
import VAE

@Suite struct ModelFactsTests {
    @Test func `the facts of a dev model are those of its configurations`() throws {
        let facts = try ModelFacts(folder: Golden("flux-dev").modelFolder)
        #expect(facts.family == "FluxPipeline")
        #expect(facts.blockCount == 5)
        #expect((facts.width, facts.contextWidth, facts.pooledWidth) == (64, 48, 32))
        #expect(facts.takesGuidance)
        #expect(facts.maxTextLength == 512)
        #expect((facts.scalingFactor, facts.shiftFactor) == (0.3611, 0.1159))
        #expect(facts.schedule == ScheduleFacts())
    }

    @Test func `the facts of a schnell model say that it takes no guidance and a static schedule`() throws {
        let facts = try ModelFacts(folder: Golden("flux-schnell").modelFolder)
        #expect(!facts.takesGuidance)
        #expect(!facts.schedule.dynamic)
        #expect(facts.schedule.shift == 1)
        #expect(facts.fingerprint != (try ModelFacts(folder: Golden("flux-dev").modelFolder)).fingerprint)
    }

    @Test func `the model that ships has its text length from the tokenizer's configuration`() throws {
        let facts = try ModelFacts(folder: ModelFolder(path: Fixtures.demoModel))
        #expect(facts.name == "demo")
        #expect(facts.maxTextLength == 32)
        #expect(facts.defaultSide == 256)
    }

    @Test func `the few-step model that ships is as schnell is, and has all but the transformer of the other`() throws {
        let facts = try ModelFacts(folder: ModelFolder(path: Fixtures.fewStepModel))
        let shipped = try ModelFacts(folder: ModelFolder(path: Fixtures.demoModel))
        #expect(!facts.takesGuidance && !facts.schedule.dynamic && facts.schedule.shift == 1)
        #expect(facts.blockCount == shipped.blockCount && facts.fingerprint != shipped.fingerprint)
        for part in ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae"] {
            let link = Fixtures.fewStepModel + "/" + part
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == "../demo/" + part)
        }
    }

    @Test(arguments: [
        ("model_index.json", "FluxPipeline", "StableDiffusion3Pipeline", "only FluxPipeline works"),
        ("model_index.json", "\"T5EncoderModel\"", "null", "model_index.json does not list text_encoder_2"),
        ("model_index.json", "\"scheduler\":", "\"schedule\":", "model_index.json does not list scheduler"),
        ("transformer/config.json", "\"in_channels\": 64", "\"in_channels\": 384", "only FLUX.1-dev"),
        ("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": -1", "num_layers is -1"),
        ("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": \"two\"", "num_layers is not of type Int"),
        ("transformer/config.json", "\"joint_attention_dim\": 48", "\"joint_attention_dim\": 50", "d_model"),
        ("transformer/config.json", "    4,\n", "    5,\n", "axes_dims_rope [5, 6, 6]"),
        (
            "vae/config.json", "\"layers_per_block\": 2", "\"layers_per_block\": 9223372036854775807",
            "layers_per_block is 9223372036854775807"
        ),
        ("vae/config.json", "\"latent_channels\": 16", "\"latent_channels\": 4", "latent_channels of vae"),
        ("vae/config.json", "\"norm_num_groups\": 4", "\"norm_num_groups\": 5", "5 groups do not divide"),
        ("vae/config.json", "\"scaling_factor\": 0.3611", "\"scaling_factor\": 0", "scaling_factor is 0"),
        ("text_encoder/config.json", "\"hidden_size\": 32", "\"hidden_size\": 33", "hidden_size of text_encoder is 33"),
        ("scheduler/scheduler_config.json", "\"shift\": 3.0", "\"shift\": -3.0", "no schedule"),
        ("scheduler/scheduler_config.json", "\"base_shift\": 0.5", "\"base_shift\": 4.6e18", "base_shift 4.6e+18"),
        ("scheduler/scheduler_config.json", "\"max_shift\": 1.15", "\"max_shift\": -11", "max_shift -11.0"),
        (
            "scheduler/scheduler_config.json", "\"use_karras_sigmas\": false", "\"use_karras_sigmas\": true",
            "use_karras_sigmas is set"
        ),
    ])
    func `a configuration that cannot work is refused in one line with a next step`(
        _ file: String, _ find: String, _ replace: String, _ text: String
    ) throws {
        let model = try AlteredModel([file: (find, replace)])
        let error = try #require(throws: (any Error).self) { try ModelFacts(folder: model.folder) }
        #expect("\(error)".contains(text), "\(error)")
        #expect(!"\(error)".contains("\n"))
        #expect("\(error)".contains(" give ") || "\(error)".contains("copy or download "), "\(error)")
    }
}
