"""Runs every command at toy size, end to end: data, training, export, diffusers, and `abbozzo render` if it is built.

The model it makes has seen a few hundred blurred crops: it draws noise. What is tested
is that every piece runs, resumes and fits the next one. Minutes on one core.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIXELS = 64


def arguments(parser):
    parser.add_argument("--seconds", type=float, default=6, help="length of each training call (default %(default)s)")
    parser.add_argument("--folder", help="work there and keep it; default a temporary folder")
    parser.add_argument("--abbozzo", metavar="FILE", help="the executable; default the newest build of this checkout")


def run(a):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(a.folder or temporary)
        data, out, model, judged = (str(folder / n) for n in ("data", "run", "model", "judge.safetensors"))
        minutes = ["--minutes", a.seconds / 60, "--every", a.seconds / 2]

        def command(*words):
            _call(HERE, *words)
        small = ["--objects", 6, "--size", PIXELS, "--jobs", 1]
        command("dataset", "--out", data, "--count", 20, *small)
        command("dataset", "--out", data, "--count", 60, *small)  # goes on
        _expect(len(os.listdir(folder / "data" / "pictures")) == 60, "60 pictures")
        command("prepare", "--data", data, "--out", out, "--preset", "toy", "--smallest", 32)
        command("vae", "--out", out, "--batch", 4, "--crop", 32, *minutes)
        command("vae", "--out", out, "--batch", 4, "--crop", 32, *minutes, "--workers", 2)  # goes on, as two processes
        command("encode", "--out", out)
        command("encode", "--out", out)  # keeps what is there
        command("read", "--out", out, "--steps", 5)
        command("dit", "--out", out, "--tokens", 256, "--mixed", 0.4, "--told", 0.5, *minutes, "--of", 3 * a.seconds / 60)
        first = _counters(folder / "run" / "dit.safetensors")
        command("dit", "--out", out, "--tokens", 256, *minutes, "--of", 3 * a.seconds / 60)  # goes on
        second = _counters(folder / "run" / "dit.safetensors")
        _expect(second["steps"] > first["steps"], "more steps after the second call")
        command("dit", "--out", out, "--tokens", 256, "--labels", 0, "--workers", 2, "--steps", 3, "--decay", 1)
        third = _counters(folder / "run" / "dit.safetensors")
        _expect(third["steps"] == second["steps"] + 3, "three steps more after the third call")
        _check_coarser(out)
        command("distill", "--out", out, "--tokens", 256, *minutes)
        _check_catching_up(command, out, model)
        third = _counters(folder / "run" / "dit.safetensors")
        command("words", "--objects", 6)
        command("score", "--out", out)
        (folder / "prompts.txt").write_text("a red car in the desert\n")
        command("sample", "--out", out, "--prompts", folder / "prompts.txt", "--true-guidance", "--steps", 2, "--sheet",
                folder / "sheet.png")
        command("export", "--out", out, "--model", model)
        _expect(_told(out) == [937.5, 3500.0], "sigma and guidance to arrive unrounded in bfloat16")
        few = str(folder / "model-few")
        command("few", "--out", out, "--tokens", 256, "--steps", 2, "--workers", 2)
        command("few", "--out", out, "--tokens", 256, "--steps", 3, "--smaller", 1)  # goes on
        _expect(_counters(folder / "run" / "few.safetensors")["steps"] == 5, "three steps more after the second call of `few`")
        command("sample", "--out", out, "--stage", "few", "--prompts", folder / "prompts.txt", "--sheet", folder / "sheet.png")
        command("export", "--out", out, "--model", few, "--few", "--share", model)
        shared = [part for part in os.listdir(few) if (folder / "model-few" / part).is_symlink()]
        _expect(sorted(shared) == ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae"], "five shared parts")
        before = _contents(model, "vae")
        command("export", "--out", out, "--model", few, "--few", "--dtype", "f16")
        _expect(_contents(model, "vae") == before != _contents(few, "vae"), "a part of its own, and the shared one as it was")

        again, model_again = str(folder / "run-again"), str(folder / "model-again")
        command("prepare", "--data", data, "--out", again, "--from", model, "--smallest", 32)
        command("encode", "--out", again)
        command("export", "--out", again, "--model", model_again)  # untrained: the same weights
        for part in ("transformer", "text_encoder", "text_encoder_2", "vae", "tokenizer", "tokenizer_2"):
            _expect(_contents(model, part) == _contents(model_again, part), "the same %s again" % part)
        command("read", "--out", again, "--turn", "--steps", 5)
        command("dit", "--out", again, "--tokens", 256, "--levels", 1, 2, *minutes)
        more = _counters(folder / "run-again" / "dit.safetensors")
        command("export", "--out", again, "--model", model_again, "--side", 32)
        trained = json.loads((folder / "model-again" / "training.json").read_text())["dit"]
        _expect(trained["samples"] == third["samples"] + more["samples"], "training.json to add up")
        command("further", "--model", model_again, "--folder", folder / "further", "--count", 60, "--size", PIXELS, "--smallest",
                32, "--objects", 6, "--workers", 1, "--tokens", 256, "--minutes", 2 * a.seconds / 60)
        further = json.loads((folder / "further" / "model" / "training.json").read_text())["dit"]
        _expect(further["samples"] > trained["samples"], "more samples after `further`")
        side = json.loads((folder / "further" / "model" / "vae" / "config.json").read_text())["sample_size"]
        _expect(side == 32 and (folder / "further" / "model" / "NOTICE").exists(), "the side of the model before, and a notice")

        judge = HERE / "judge.py"
        _call(judge, "train", "--data", data, "--judge", judged, "--batch", 8, *minutes)
        _call(judge, "train", "--data", data, "--judge", judged, "--batch", 8, *minutes)  # goes on
        _call(judge, "score", "--data", data, "--judge", judged, "--write")
        which = ["--abbozzo", a.abbozzo] if a.abbozzo else []
        if which or any((HERE.parents[1] / ".build" / kind / "abbozzo").exists() for kind in ("release", "debug")):
            _call(HERE / "compare-diffusers.py", "--model", model, "--sizes", "64x64", "64x32", "--steps", 3, *which)
            _call(HERE / "compare-diffusers.py", "--model", few, "--sizes", "64x64", "--steps", 4, *which)
            _call(HERE / "eval.py", "--model", model, "--judge", judged, "--captions", 2, "--size", PIXELS,
                  "--full-steps", 4, "--presets", "flux-7x", "--out", folder / "eval", *which)
            _call(HERE / "eval.py", "--model", model, "--judge", judged, "--captions", 2, "--size", PIXELS, "--aspects", "8:8 8:4",
                  "--full-steps", 4, "--presets", "flux-7x", "--switches", "exact+token-repeat", "--formats", "int8", "--jobs", 2,
                  "--shared-noise", "--out", folder / "eval", *which)
        else:
            print("abbozzo is not built: its part was left out")
    print("selftest passed")


def _call(script, *words):
    print("$ " + " ".join([Path(script).name, *map(str, words)]), flush=True)
    subprocess.run([sys.executable, str(script), *map(str, words)], check=True)


def _contents(model, part):
    """The files of one part of a model."""
    return {path.name: path.read_bytes() for path in Path(model, part).iterdir()}


def _counters(path):
    from safetensors import safe_open
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["counters"])


def _check_coarser(out):
    """A painter that knows the coarser picture passes it on, and nothing else: the fine part stays what it was."""
    import torch
    import torch.nn.functional as F
    from batches import Batches
    from coarser import Coarser
    from painter import unpack
    batches, shown = Batches(out, 4096, noisy=(1.0,), weights=(1, 0)), []
    coarser, batch = Coarser(batches, 0.8), batches.next()

    def knows(coarse):
        shown.append(coarse)
        return coarse.velocity
    told = coarser.velocity(batch, knows)
    height, width = (2 * side for side in batch.coarser.shape[2:])
    own, told = (unpack(v, height, width) for v in (batch.velocity, told))
    _expect(0.8 < shown[0].noise.std() < 1.2, "noise of variance 1 on the coarser grid")
    sigma = batch.sigma[:, None, None, None]
    same = F.avg_pool2d(unpack(batch.noisy, height, width), 2) / (1 - sigma / 2)  # as if halved latents were those of the halved
    seen = unpack(shown[0].noisy, height // 2, width // 2)
    _expect(F.mse_loss(seen, same) < 0.1 * same.var(), "the coarser picture under the same noise")
    _expect(not torch.equal(told, own), "something to be told")
    fine = [v - F.interpolate(F.avg_pool2d(v, 2), scale_factor=2) for v in (own, told)]
    _expect(torch.allclose(*fine, atol=1e-4), "the fine part as it was")
    coarse = [F.avg_pool2d(v, 2) for v in (own, told)]
    _expect(F.mse_loss(*coarse) < 0.6 * coarse[0].var(), "the coarse part as the coarser picture has it")  # 0.4 at toy size


def _check_catching_up(command, out, model):
    """What `dit` learned since it was distilled is added to what distillation had changed; till then nothing is exported."""
    from safetensors.torch import load_file

    def weights(stage):
        return {k: w.float() for k, w in load_file(os.path.join(out, stage + ".safetensors")).items() if w.is_floating_point()}
    before = weights("dit"), weights("distill")
    command("dit", "--out", out, "--tokens", 256, "--steps", 3, "--lr", 0.01, "--warm-up", 1)
    for stage in ("few", "export"):
        words = ["few", "--out", out, "--steps", "1"] if stage == "few" else ["export", "--out", out, "--model", model]
        refused = subprocess.run([sys.executable, str(HERE), *words], capture_output=True, text=True)
        _expect("call `distill` again" in refused.stderr and "Traceback" not in refused.stderr, "%s to refuse what is behind" % stage)
    command("distill", "--out", out, "--tokens", 256, "--steps", 1, "--lr", 1e-9)
    after = weights("dit"), weights("distill")
    moved = max((after[0][k] - before[0][k]).abs().max() for k in after[0])
    apart = max(((after[1][k] - before[1][k]) - (after[0][k] - before[0][k])).abs().max() for k in after[0])
    _expect(apart < 0.1 * moved, "the distilled model to have moved as `dit` did")
    _expect(len([name for name in os.listdir(out) if name.startswith("taught-")]) == 1, "one taught file")


def _told(out):
    """What a painter's embedding is told of sigma 0.9375 and guidance 3.5 under bfloat16."""
    import torch
    from painter import Painter, grid
    from pictures import run_settings
    painter, seen = Painter(run_settings(out)), []
    painter.transformer.time_text_embed.time_proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].item()))
    words = torch.ones(1, 8, dtype=torch.long)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        painter(torch.zeros(1, 4, 64), torch.tensor([0.9375]), *painter.text(words, words), grid(2, 2), torch.tensor([3.5]))
    return seen


def _expect(condition, what):
    if not condition:
        raise SystemExit("selftest failed: expected " + what)
