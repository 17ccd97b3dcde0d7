"""Takes an exported model up again, so that training adds up over runs (`prepare --from MODEL`).

A folder that `export` wrote holds all that further training needs: the tokenizers, the
sizes of the models, the weights, and in training.json how long each stage was trained.
The weights become the stages `vae` and `dit` of the new run. Where guidance had been
distilled into them they are the distilled ones: told a guidance of 1 they give the
plain velocity, which is what `dit` trains, and with --guided it trains the others, too.

Counters begin anew with the run, since the learning rate follows them; what was
trained before stands in settings.json as `inherited`, and `export` adds it.
"""
import os

from safetensors.torch import load_file

from training import NOTHING_YET, Stage, read_json

HISTORY = "training.json"
STAGES = ("vae", "dit", "distill")


def check(model):
    """Ends the program if the model is one that a run cannot begin with."""
    if not read_json(os.path.join(model, "transformer", "config.json"))["guidance_embeds"]:
        raise SystemExit("%s takes no guidance: go on from the model that it was made of" % model)


def sizes(model):
    """The settings of a run that shape the networks, read off a model folder."""
    def config(part):
        return read_json(os.path.join(model, part, "config.json"))
    vae, transformer, t5, clip = (config(p) for p in ("vae", "transformer", "text_encoder_2", "text_encoder"))
    return dict(
        vae=vae["block_out_channels"], shift_factor=vae["shift_factor"], scaling_factor=vae["scaling_factor"],
        heads=transformer["num_attention_heads"], double=transformer["num_layers"], single=transformer["num_single_layers"],
        t5=t5["d_model"], t5_layers=t5["num_layers"], clip=clip["hidden_size"], clip_layers=clip["num_hidden_layers"])


def history(model):
    """The counters of each stage that made a model; what its folder does not say counts as 0."""
    path = os.path.join(model, HISTORY)
    known = read_json(path) if os.path.exists(path) else {}
    return {stage: {**NOTHING_YET, **known.get(stage, {})} for stage in STAGES}


def has_guidance(model):
    """Whether the painter of a model gives guidance in one pass.

    Older models say only how long guidance was distilled, which is in them unless `dit` went on without it.
    """
    known = history(model)
    return known["dit"].get("guided", known["distill"]["steps"] > 0)


def fill(model, out):
    """Writes the model's weights as the stages `vae` and `dit` of a run; a stage that is there is kept."""
    painter = {}
    for part, name in (("transformer", "transformer"), ("text_encoder", "clip"), ("text_encoder_2", "t5")):
        painter |= {"%s.%s" % (name, k): w for k, w in weights(model, part).items()}
    for name, values, more in (("vae", weights(model, "vae"), {}), ("dit", painter, {"guided": has_guidance(model)})):
        stage = Stage(out, name)
        if not os.path.exists(stage.path):
            stage.save(values, NOTHING_YET | more)


def weights(model, part):
    """The weights of a part of a model folder, by the names that training has for them."""
    file = "model" if part.startswith("text") else "diffusion_pytorch_model"
    values = load_file(os.path.join(model, part, file + ".safetensors"))
    if part == "text_encoder":  # transformers 5 leaves the prefix out
        values = {"text_model." + k.removeprefix("text_model."): w for k, w in values.items()}
    return values


def added(before, now):
    """The counters of a stage over several runs."""
    return {k: before[k] + now[k] for k in NOTHING_YET}
