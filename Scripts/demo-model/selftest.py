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
        _check_held_out()
        _check_weather()
        _check_windows()
        _check_digest()

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
        _check_decoder_alone(command, out, minutes)
        command("read", "--out", out, "--steps", 5)
        command("dit", "--out", out, "--tokens", 256, "--mixed", 0.4, "--told", 0.5, *minutes, "--of", 3 * a.seconds / 60)
        first = _counters(folder / "run" / "dit.safetensors")
        command("dit", "--out", out, "--tokens", 256, *minutes, "--of", 3 * a.seconds / 60)  # goes on
        second = _counters(folder / "run" / "dit.safetensors")
        _expect(second["steps"] > first["steps"], "more steps after the second call")
        command("dit", "--out", out, "--tokens", 256, "--labels", 0, "--windows", 0.5, "--workers", 2, "--steps", 3,
                "--decay", 1)
        third = _counters(folder / "run" / "dit.safetensors")
        _expect(third["steps"] == second["steps"] + 3, "three steps more after the third call")
        _refuses("--preset toy", "prepare", "--data", data, "--out", out, "--smallest", 32)
        before, fewer = (_contents(out, "tokenizer_2"), _scaling(out)), str(folder / "fewer")
        command("dataset", "--out", fewer, "--count", 40, *small, "--seed", 2)
        for pictures in (fewer, data):
            command("prepare", "--data", pictures, "--out", out, "--preset", "toy", "--smallest", 32)
            _refuses("call `encode`", "score", "--out", out)
            command("encode", "--out", out)
            _expect((_contents(out, "tokenizer_2"), _scaling(out)) == before, "what a painter knows of words and latents to be kept")
        _check_stopped_prepare(command, data, out, str(folder / "broken"))
        _expect((_contents(out, "tokenizer_2"), _scaling(out)) == before, "the same beyond a `prepare` that was stopped")
        _check_batches_of_windows(out)
        _check_muon()
        _check_coarser(out)
        _check_guidance_from_pictures(out)
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
        _expect(_contents(few, "vae") == before, "a link to lead to the part that is shared")
        command("export", "--out", out, "--model", few, "--few", "--dtype", "f16")
        _expect(_contents(model, "vae") == before != _contents(few, "vae"), "a part of its own, and the shared one as it was")

        again, model_again = str(folder / "run-again"), str(folder / "model-again")
        command("prepare", "--data", data, "--out", again, "--from", model, "--smallest", 32)
        command("encode", "--out", again)
        command("export", "--out", again, "--model", model_again)  # untrained: the same weights
        for part in ("transformer", "text_encoder", "text_encoder_2", "vae", "tokenizer", "tokenizer_2"):
            _expect(_contents(model, part) == _contents(model_again, part), "the same %s again" % part)
        command("export", "--out", again, "--model", model_again, "--mean", model)
        _expect(_contents(model, "transformer") == _contents(model_again, "transformer"), "a mean of equal weights to be those")
        command("read", "--out", again, "--turn", "--steps", 5)
        command("dit", "--out", again, "--tokens", 256, "--levels", 1, 2, *minutes)
        _refuses("call `distill`", "few", "--out", again, "--steps", 1)
        command("dit", "--out", again, "--tokens", 256, "--guided", 0.7, "--steps", 3, "--workers", 2)
        more = _counters(folder / "run-again" / "dit.safetensors")
        command("few", "--out", again, "--tokens", 256, "--steps", 1)  # taught by `dit`, which has guidance in it
        command("export", "--out", again, "--model", model_again, "--side", 32)
        command("export", "--out", again, "--model", str(folder / "few-again"), "--few", "--share", model_again)
        command("export", "--out", again, "--model", str(folder / "mean"), "--mean", model)
        _expect_between(str(folder / "mean"), model, model_again)
        _check_replacing(command, again, folder, model)
        _expect(json.loads((folder / "model-again" / "training.json").read_text())["dit"]["guided"], "guidance to be told of")
        _refuses("did not begin with", "prepare", "--data", data, "--out", again, "--from", model_again, "--smallest", 32)
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
        _refuses("required: --judge", "train", "--data", "nowhere", "--steps", 1, script=judge)
        _refuses("needs --judge", "score", "--data", "nowhere", "--write", script=judge)
        command("dataset", "--out", folder / "unknown", "--count", 12, *small, "--objects", 12)
        for words in (["train", "--steps", 1], ["score"]):
            _refuses("does not know", *words, "--data", folder / "unknown", "--judge", judged, script=judge)
        which = ["--abbozzo", a.abbozzo] if a.abbozzo else []
        if which or any((HERE.parents[1] / ".build" / kind / "abbozzo").exists() for kind in ("release", "debug")):
            _call(HERE / "compare-diffusers.py", "--model", model, "--sizes", "64x64", "64x32", "--steps", 3, *which)
            _call(HERE / "compare-diffusers.py", "--model", few, "--sizes", "64x64", "--steps", 4, *which)
            _call(HERE / "eval.py", "--model", model, "--judge", judged, "--captions", 2, "--size", PIXELS,
                  "--full-steps", 4, "--presets", "flux-7x", "--out", folder / "eval", *which)
            _call(HERE / "eval.py", "--model", model, "--judge", judged, "--captions", 2, "--size", PIXELS, "--aspects", "8:8 8:4",
                  "--full-steps", 4, "--presets", "flux-7x", "--switches", "exact+token-repeat", "--formats", "int8", "--jobs", 2,
                  "--shared-noise", "--out", folder / "eval", *which)
            _expect(os.access(folder / "eval" / "abbozzo", os.X_OK), "a copy of the executable")
        else:
            print("abbozzo is not built: its part was left out")
    print("selftest passed")


def _call(script, *words):
    print("$ " + " ".join([Path(script).name, *map(str, words)]), flush=True)
    subprocess.run([sys.executable, str(script), *map(str, words)], check=True)


def _refuses(why, *words, script=HERE):
    """A command ends and says why."""
    refused = subprocess.run([sys.executable, str(script), *map(str, words)], capture_output=True, text=True)
    _expect(refused.returncode != 0 and why in refused.stderr and "Traceback" not in refused.stderr,
            "%s to be refused: %s" % (" ".join(map(str, words)), why))


def _contents(model, part):
    """The files of one part of a model."""
    return {path.name: path.read_bytes() for path in Path(model, part).iterdir()}


def _expect_between(mean, one, other):
    """A model's weights are halfway between two others'."""
    import torch
    import inherit
    for part in ("transformer", "text_encoder", "text_encoder_2"):
        a, b, c = (inherit.weights(folder, part) for folder in (mean, one, other))
        _expect(any(not torch.equal(b[k], c[k]) for k in b), "other weights of the %s after training" % part)
        _expect(all(torch.allclose(2 * a[k].float(), b[k].float() + c[k].float(), rtol=0.02, atol=1e-3) for k in b),
                "the mean of the %s" % part)


def _scaling(out):
    """How a run's latents are scaled."""
    from pictures import run_settings
    return [run_settings(out)[key] for key in ("shift_factor", "scaling_factor")]


def _counters(path):
    from safetensors import safe_open
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["counters"])


def _check_held_out():
    """A content is kept away from training or not, whichever of two things its scene names first; which are is as it was."""
    from dataclasses import replace
    from scene import Scene, Thing, World
    from vocabulary import OBJECTS, OPPOSITE
    pairs = [scene for scene in map(World(shapes=1).scene, range(200)) if scene.relation]
    _expect({scene.relation for scene in pairs} == set(OPPOSITE), "all relations")
    for scene in pairs:
        turned = replace(scene, relation=OPPOSITE[scene.relation], things=scene.things[::-1])
        _expect(turned.held_out == scene.held_out, "one content in %s and its turned scene" % scene)
    for relation, held_out in (("left of", ["tractor"]), ("below", ["car", "butterfly", "turtle", "snail"])):
        scenes = {name: Scene(0, (8, 8), "desert", [Thing(n, None, 0.5, None, 0.35) for n in ("cat", name)], relation=relation)
                  for name in list(OBJECTS)[:40]}
        _expect([name for name, scene in scenes.items() if scene.held_out] == held_out, "the same contents as ever")


def _check_weather():
    """Weather changes the place and no thing in it; weather and colours come as often as is asked for."""
    from dataclasses import replace
    import numpy as np
    from drawing import covers, draw
    from scene import Scene, Thing, World
    from vocabulary import OBJECTS, WEATHER
    sprites = {"balloon": np.full((60, 60, 4), (200, 30, 30, 255), np.uint8)}
    dry = Scene(3, (8, 8), "meadow", [Thing("balloon", None, 0.5, 0.4, 0.44)], time="day")
    rows, columns = (covers(dry, sprites, 128)[0] == 255).nonzero()
    inside = slice(rows.min() + 3, rows.max() - 2), slice(columns.min() + 3, columns.max() - 2)  # as far as LANCZOS blends
    before = np.asarray(draw(dry, sprites, 128))
    for weather in WEATHER:
        changed = (np.asarray(draw(replace(dry, weather=weather), sprites, 128)) != before).any(2)
        _expect(changed.mean() > 0.02, "%s to be seen" % weather)
        _expect(changed[inside].size > 2000 and not changed[inside].any(), "no %s in front of things" % weather)
    for share in (0.0, 1.0):
        scenes = [scene for scene in map(World(shapes=0, weather=share).scene, range(100)) if scene.time]
        _expect({scene.weather is not None for scene in scenes} == {share == 1}, "weather in a share of %g" % share)
        things = [(t, scene) for scene in map(World(shapes=0, coloured=share).scene, range(100)) for t in scene.things]
        _expect({t.colour is not None for t, scene in things if OBJECTS[t.name].tintable and not scene.background}
                == {share == 1}, "colours in a share of %g" % share)


def _check_digest():
    """What tells models apart counts files in linked folders, too, and no words about the model."""
    import renderer
    with tempfile.TemporaryDirectory() as folder:
        shared, model = Path(folder, "shared"), Path(folder, "model")
        shared.mkdir()
        model.mkdir()
        (model / "vae").symlink_to(shared)
        digests = []
        for name, text in (("vae/weights.safetensors", "1"), ("vae/weights.safetensors", "2"), ("README.md", "words")):
            (model / name).write_text(text)
            digests.append(renderer.digest(model))
        _expect(digests[0] != digests[1], "another digest with other weights in a linked folder")
        _expect(digests[1] == digests[2], "the same digest with other words")


def _check_windows():
    """A window lies around a thing and makes pictures likelier that show much of theirs there; without things there is none."""
    import torch
    from batches import window_around_things
    shares = torch.zeros(4, 2, 32, 20, dtype=torch.uint8)
    tokens, chances = window_around_things(shares, torch.ones(4))
    _expect(tokens is None and torch.equal(chances, torch.ones(4)), "no window where there are no things")
    shares[1, 0, 3:6, 2:5] = 255  # the only thing of one picture
    shares[2, 0, 3:6, 2:5], shares[2, 1, 25:31, 10:16] = 255, 255  # one thing there, a larger one elsewhere
    for _ in range(20):
        tokens, chances = window_around_things(shares, torch.ones(4))
        _expect(len(tokens) == 12 * 7, "3/8 of both sides")
        rows, columns = tokens // 20, tokens % 20
        _expect(rows.unique().tolist() == list(range(rows[0], rows[0] + 12)), "neighbouring rows")
        _expect(columns.unique().tolist() == list(range(columns[0], columns[0] + 7)), "neighbouring columns")
        seen = shares.flatten(2)[:, :, tokens].float().sum((1, 2)) / shares.float().sum((1, 2, 3)).clamp_min(1)
        _expect(seen.any() and torch.allclose(chances, seen), "chances as much of things as the window has")


def _check_batches_of_windows(out):
    """Tokens, positions and shares of a window are those of one place of a picture, which shows a thing there."""
    import random
    import batches as module
    from batches import LEVELS, Batches, whole_grid
    usual, module.WINDOW = module.WINDOW, (3, 4)  # of a toy picture's four tokens 3/8 are only one
    batches = Batches(out, 2048, weights=(1, 0), with_things=True, windows=1.0)
    for _ in range(6):
        batch = batches.next()
        _expect("window" in batch.kind and batch.coarser is None, "a window without a coarser picture")
        clean, found = batch.noisy - batch.sigma[:, None, None] * batch.velocity, set()
        for shelf, _, latents, _ in batches.shelves:
            tokens, positions = whole_grid(latents[0].float())
            where = [(positions == p).all(1).nonzero().flatten().tolist() for p in batch.positions]
            if all(where):
                where = sum(where, [])
                shares = batches.shown[shelf.aspect].on(0)[:, where].to(clean.device)
                for k, (picture, share) in enumerate(zip(clean, batch.shares)):
                    same = (tokens[:, where] - picture).abs().amax((1, 2)) < 1e-3
                    if (same & (shares == share).all(2).all(1))[:shelf.seen].any():
                        found.add(k)
        _expect(len(found) == len(clean), "tokens, positions and shares of one place of a picture")
        _expect(1 < len(batch.positions) < 16 and batch.on_things.any(1).all(), "things in each window")
    module.WINDOW = usual
    batches, drawn = Batches(out, 512), random.Random(0)
    for _ in range(8):
        batches.next()
        *_, sides = drawn.choices(batches.shelves, [shelf.seen for shelf, *_ in batches.shelves])[0]
        drawn.choices(range(len(sides)), LEVELS[:len(sides)])
        if len(sides) > 1:
            drawn.random()
    _expect(batches.random.getstate() == drawn.getstate(), "no random number for windows that nobody asked for")


def _check_decoder_alone(command, out, minutes):
    """A decoder that is trained alone changes; the encoder does not, and its latents are kept."""
    import torch
    from safetensors.torch import load_file
    stage, latents = Path(out, "vae.safetensors"), sorted(Path(out).glob("latents-*.pt"))
    before, written = load_file(stage), [path.stat().st_mtime_ns for path in latents]
    command("vae", "--out", out, "--batch", 4, "--crop", 32, *minutes, "--decoder")
    command("encode", "--out", out)
    after = load_file(stage)
    changed = {name.split(".")[0] for name, w in before.items() if not torch.equal(w, after[name])}
    _expect(changed == {"decoder"}, "the decoder alone to change, not %s" % changed)
    _expect(latents and written == [path.stat().st_mtime_ns for path in latents], "the latents to be kept")


def _check_stopped_prepare(command, data, out, broken):
    """A `prepare` that was stopped leaves a run that no command takes; called again it has the pictures that were asked for."""
    import shutil
    import numpy as np
    from PIL import Image
    import dataset
    from pictures import run_settings, shelves
    shutil.copytree(data, broken)
    path = Path(broken, "captions.jsonl")
    path.write_text(path.read_text().replace("\n", " \n", 1))  # another data set, by its digest
    for picture in Path(broken, "pictures").iterdir():
        Image.new("RGB", Image.open(picture).size).save(picture)
    first, *_, last = shelves(out)
    files = [file for file, _, _ in dataset.read(data)]
    os.remove(Path(broken, files[last.rows[-1]]))  # so that the first aspect ratio's pictures are replaced and the last one's not
    stopped = subprocess.run([sys.executable, str(HERE), *map(str, (
        "prepare", "--data", broken, "--out", out, "--preset", "toy", "--smallest", 32))], capture_output=True)
    _expect(stopped.returncode != 0 and first.aspect != last.aspect, "`prepare` to end without a picture")
    for words in (["encode"], ["dit", "--steps", 1], ["export", "--model", os.path.join(out, "nothing")]):
        _refuses("call `prepare` again", words[0], "--out", out, *words[1:])
    command("prepare", "--data", data, "--out", out, "--preset", "toy", "--smallest", 32)
    for shelf in shelves(out):
        for picture, row in zip(shelf.pictures, shelf.rows):
            _expect(np.array_equal(picture, np.asarray(Image.open(Path(data, files[row])).convert("RGB"))), "the right pictures")
    _expect(run_settings(out)["data"] == dataset.digest(data), "the right digest")


def _check_replacing(command, out, folder, other):
    """An export keeps README.md and nothing else of the model before; one that is stopped keeps all of that."""
    place, variant = folder / "replaced", folder / "few-again"
    before = os.readlink(variant / "vae")
    _refuses("is not that of this run", "export", "--out", out, "--model", variant, "--few", "--share", other)
    _expect(os.readlink(variant / "vae") == before, "a refused export to leave the model before")
    _refuses("no export wrote", "export", "--out", out, "--model", folder)
    command("export", "--out", out, "--model", place)
    (place / "README.md").write_text("card")
    (place / "vae" / "more.json").write_text("{}")
    os.rename(place, folder / "replaced.export-old")  # as if it had been stopped between two renamings
    command("export", "--out", out, "--model", place)
    _expect((place / "README.md").read_text() == "card", "the README.md that lay there, also after an export that was stopped")
    _expect(not (place / "vae" / "more.json").exists(), "nothing else of the model before")
    _expect(not [name for name in os.listdir(folder) if ".export-" in name], "nothing beside the model")


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


def _check_muon():
    """Steps are those of PyTorch's Muon, to the bit in the one format that it knows."""
    import torch
    from muon import Muon
    from training import Team
    for dtype, tolerance in ((torch.bfloat16, 0), (torch.float32, 0.03)):
        for shape in ((32, 48), (48, 32)):
            start, gradients = torch.randn(shape), torch.randn(3, *shape)
            ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
            optimizers = (Muon([ours], Team(0, 1, None), dtype, 0.01),
                          torch.optim.Muon([theirs], lr=0.01, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
            for gradient in gradients:
                ours.grad, theirs.grad = gradient.clone(), gradient.clone()
                for optimizer in optimizers:
                    optimizer.step()
            apart = ((ours - theirs).norm() / (theirs - start).norm()).item()
            _expect(apart <= tolerance, "PyTorch's steps in %s, not %.3f apart" % (dtype, apart))


def _check_guidance_from_pictures(out):
    """Told a guidance, a painter learns a picture's velocity further away from what it says without a caption."""
    import contextlib
    import torch
    from batches import Batches
    from flow import MOST_GUIDANCE, guidance_from_pictures, unseen_loss

    class Same(torch.nn.Module):
        """A painter that says 0.25 without a caption, and with one what it is to learn of the batch."""

        def text(self, clip, t5):
            return (t5 != batches.empty[1]).any(1, keepdim=True).float(), torch.zeros(len(t5), 4, 8)

        def forward(self, x, sigma, with_caption, context, positions, guidance):
            _expect(with_caption.all() or (len(with_caption) == len(x) and (guidance == 1).all()), "a guidance of 1 for each picture")
            away = guidance[:, None, None] * (batch.velocity - 0.25) if with_caption.all() else torch.zeros_like(x)
            return 0.25 + away
    batches = Batches(out, 8192, drop=0.5)
    batch = batches.next()
    dropped = (batch.t5 == batches.empty[1]).all(1)
    guidance, told = guidance_from_pictures(Same(), batch, batch.velocity, batches.empty, 1.0)
    _expect(dropped.any() and (guidance[dropped] == 1).all() and torch.equal(told[dropped], batch.velocity[dropped]),
            "pictures without a caption as they are")
    _expect((guidance[~dropped] > 1).all() and (guidance <= MOST_GUIDANCE).all(), "guidance above 1 for all with a caption")
    _expect(torch.allclose(told, 0.25 + guidance[:, None, None] * (batch.velocity - 0.25), atol=1e-5), "what guidance is to give")
    guidance, told = guidance_from_pictures(Same(), batch, batch.velocity, batches.empty, 0.0)
    _expect((guidance == 1).all() and torch.equal(told, batch.velocity), "nothing else without a share of guided pictures")
    batches.drop = 0.0
    batch = batches.next()
    batches.unseen = lambda: [batch]
    for guidance in (1.0, 3.5):
        lost, = unseen_loss(Same(), batches, contextlib.nullcontext, guidance).values()
        _expect(lost < 1e-6, "no loss at guidance %g where all was learned, not %g" % (guidance, lost))


def _check_catching_up(command, out, model):
    """What `dit` learned since it was distilled is added to what distillation had changed; till then nothing is exported."""
    from safetensors.torch import load_file

    def weights(stage):
        return {k: w.float() for k, w in load_file(os.path.join(out, stage + ".safetensors")).items() if w.is_floating_point()}
    before = weights("dit"), weights("distill")
    command("dit", "--out", out, "--tokens", 256, "--steps", 3, "--lr", 0.01, "--warm-up", 1)
    for words in (["few", "--out", out, "--steps", 1], ["export", "--out", out, "--model", model]):
        _refuses("call `distill` again", *words)
    _refuses("begin a new run", "dit", "--out", out, "--guided", 0.5, "--steps", 1)
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
