#!/usr/bin/env python3
"""Measures what RALU and its switches do to pictures of the demo model: one table.

    python Scripts/demo-model/eval.py --out eval --captions 64 --size 256

Captions come from scenes that training never sees (dataset.py, split "held-out"). Each
is rendered by `abbozzo render` with each setting and the same seeds; the judge reads the
pictures; settings are compared with the picture of full steps of the same seed. Note
that RALU starts from every fourth value of the noise, so its picture of a seed is another
picture: PSNR, SSIM and edge error then say how different, not how bad. With --shared-noise the
coarse noise is the full noise halved (averages of 2x2, doubled), and they say more.

Settings: full steps; for each preset RALU with each pair of switches, plain sampling with as
many steps, plain sampling at about equal cost in token-steps; full steps with products in
other formats; naive upsampling: all steps at half the size, the picture enlarged (Lanczos);
the true pictures, which show what the judge finds at best, and these through the autoencoder.

    OUT/table.md    the table
    OUT/sheet.png   a row for each of the table's, the first pictures across

Columns: share of what the captions ask, sizes aside, that the judge finds, by attribute, and where the share of
captions with all of it lies, were there more of them, with 95 % (Wilson's interval); PSNR (dB),
SSIM and edge error (grey levels) against full steps; ripple, the unrest beside edges
(measures.py); token-steps and seconds (render without loading, --jobs pictures at a time).
Pictures that are there are not rendered again, if the same program made them of the same model. OUT/abbozzo is a copy of the
executable, made at the beginning and used for all rows, whatever is built meanwhile.
"""
import argparse
import json
import math
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import measures
import renderer
from dataset import sheet
from drawing import draw, size_of, sprites
from judge import ATTRIBUTES, SHIPPED, Judge, marks, mean_marks
from scene import World, captions

PRESETS = renderer.ROOT / "configs" / "presets"
SWITCHES = ("official+token-repeat", "official+latent-nearest", "exact+token-repeat", "exact+latent-nearest")
ACROSS, CELL = 8, 192  # pictures of a row of the sheet, and their pixels


class Case:
    """One caption with one seed."""

    def __init__(self, number, scene, seed, long_side):
        self.number, self.scene, self.seed = number, scene, seed
        self.width, self.height = size_of(scene.aspect, long_side)
        stated = [c for c in captions(scene, 12) if scene.relation != "left of" or " left" in c or " right" in c]
        self.caption = stated[number % len(stated)]


class Bench:
    """Renders cases with settings and keeps what was measured."""

    def __init__(self, a, cases):
        self.a, self.cases, self.rows, self.folder = a, cases, [], Path(a.out)
        self.judge, self.facts = Judge.load(a.judge)
        self.folder.mkdir(parents=True, exist_ok=True)
        a.abbozzo = _copied(renderer.executable(a), self.folder / "abbozzo")
        self.made_by = [renderer.digest(a.abbozzo, a.model), a.jobs, a.threads]
        self.references, self.shown = [], []

    def run(self, name, options, scale=1, coarse=False, traced=False):
        """Renders all cases; `scale` 2 renders at half the size and enlarges."""
        with ThreadPoolExecutor(self.a.jobs) as pool:
            rendered = pool.map(lambda case: self._render(name, case, options, scale, coarse, traced), self.cases)
            pictures, reports = zip(*rendered)
        self.references = self.references or pictures
        self.add(name, pictures, reports)
        print("%-40s done" % name, file=sys.stderr, flush=True)
        return reports[0]["tokenSteps"]

    def add(self, name, pictures, reports=None, reference=True):
        """Measures the pictures of a setting."""
        arrays = [np.asarray(p) for p in pictures]
        self.shown += [p.copy() for p in pictures[:ACROSS]]
        full = [np.asarray(p) for p in self.references]

        def mean(values):
            return sum(values) / len(pictures)
        row = dict(name=name, marks=mean_marks([marks(c.scene, r) for c, r in zip(self.cases, self.judge.read(pictures))]),
                   ripple=mean(map(measures.ripple, arrays)))
        if reference:
            # PSNR of all pixels together: pictures without any error count too.
            row.update(psnr=measures.psnr(*(np.concatenate([p.ravel() for p in some]) for some in (arrays, full))),
                       ssim=mean(map(measures.ssim, arrays, full)), edge_error=mean(map(measures.edge_error, arrays, full)))
        if reports:
            row.update(tokenSteps=mean(r["tokenSteps"] for r in reports), seconds=mean(r["renderSeconds"] for r in reports))
        self.rows.append(row)

    def _render(self, name, case, options, scale, coarse, traced):
        path = self.folder / ("%s%s-%03d.png" % (name.replace(" ", "-"), "-shared" if self.a.shared_noise else "", case.number))
        facts, noise = path.with_suffix(".json"), self.folder / ("noise-%03d.safetensors" % case.number)
        options = [*options, "--seed", case.seed, "--guidance", self.a.guidance,
                   "--width", case.width // scale, "--height", case.height // scale]
        presets = [renderer.digest(o) for o in options if str(o).endswith(".yaml")]
        asked = [case.caption, *self.made_by, *presets, *map(str, options)]
        if not (facts.exists() and json.loads(facts.read_text())["asked"] == asked):
            if traced and self.a.shared_noise:
                options += ["--trace", noise]
            elif coarse and self.a.shared_noise:
                halved = 2 * torch.nn.functional.avg_pool2d(load_file(noise)["latents_unpacked"], 2)
                if scale == 1:  # RALU takes noise of the full size and keeps one value of four
                    halved = halved.repeat_interleave(2, -1).repeat_interleave(2, -2)
                shared = self.folder / ("shared-%03d-%d.safetensors" % (case.number, scale))
                save_file({"latents_unpacked": halved.contiguous()}, shared)
                options += ["--inject", shared]
            report = renderer.render(self.a, case.caption, path, *options)
            facts.write_text(json.dumps(dict(report, asked=asked)))
        picture = Image.open(path).convert("RGB")
        return picture.resize((case.width, case.height), Image.LANCZOS), json.loads(facts.read_text())

    def table(self):
        columns = [k for k in ATTRIBUTES if any(k in r["marks"] for r in self.rows)]
        counts = self.rows[0]["marks"]
        lines = [["setting", *("%s (%d)" % (k, counts[k][1]) for k in columns), "95 %", "PSNR", "SSIM", "edge", "ripple",
                  "token-steps", "s"]]
        for r in self.rows:
            def cell(key, form):
                return "–" if r.get(key) is None else "same" if r[key] == math.inf else form % r[key]
            lines.append([r["name"], *("%.2f" % r["marks"][k][0] for k in columns), "%.2f–%.2f" % interval(*r["marks"]["all"]),
                          cell("psnr", "%.1f"), cell("ssim", "%.3f"), cell("edge_error", "%.2f"), cell("ripple", "%.2f"),
                          cell("tokenSteps", "%.0f"), cell("seconds", "%.1f")])
        lines.insert(1, ["---"] * len(lines[0]))
        return "\n".join("| %s |" % " | ".join(line) for line in lines)


def _copied(executable, path):
    """A copy of the executable, which needs nothing beside it where model and presets are given by their paths."""
    shutil.copy(executable, "%s.new" % path)
    os.replace("%s.new" % path, path)
    return str(path)


def interval(share, count, z=1.96):
    """Wilson's interval of a share that was found in so many cases."""
    middle, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


@torch.no_grad()
def through_autoencoder(model, pictures):
    """What a model's autoencoder makes of pictures: encoded and decoded again."""
    from diffusers import AutoencoderKL
    autoencoder = AutoencoderKL.from_pretrained(Path(model) / "vae", torch_dtype=torch.float32).eval()
    for picture in pictures:
        x = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        y = autoencoder.decode(autoencoder.encode(x).latent_dist.mode()).sample[0]
        yield Image.fromarray(((y + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0).numpy())


def preset_with(name, idle_noise, upsampling, folder):
    """A copy of a preset with other switches; returns its file and its number of steps."""
    lines = [line for line in (PRESETS / (name + ".yaml")).read_text().splitlines()
             if not line.startswith(("upsampling:", "idle_noise:", "#"))]
    path = Path(folder) / ("%s-%s-%s.yaml" % (name, idle_noise, upsampling))
    path.write_text("\n".join([*lines, "upsampling: " + upsampling, "idle_noise: " + idle_noise, ""]))
    steps = next(line for line in lines if line.startswith("steps:"))
    return path, sum(map(int, steps.split("[")[1].split("]")[0].split(",")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    renderer.add_arguments(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="pictures, table.md and sheet.png go there")
    parser.add_argument("--judge", default=SHIPPED, metavar="FILE")
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--world", type=int, default=99, metavar="SEED",
                        help="which captions are drawn: what was chosen by some is measured on others (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="pictures of each caption")
    parser.add_argument("--size", type=int, default=256, help="pixels on the longer side")
    parser.add_argument("--aspects", default="8:8", help='aspect ratios, such as "8:8 8:5"')
    parser.add_argument("--full-steps", type=int, default=50, help="steps of the reference (default %(default)s)")
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--presets", nargs="*", default=["flux-4x", "flux-5x", "flux-7x"])
    parser.add_argument("--switches", nargs="+", default=SWITCHES, metavar="IDLE_NOISE+UPSAMPLING", help="default: all four")
    parser.add_argument("--formats", nargs="*", default=["bf16", "int8"], help="of products, beside f32 (default: bf16 int8)")
    parser.add_argument("--jobs", type=int, default=1, help="pictures rendered at a time (default %(default)s)")
    parser.add_argument("--shared-noise", action="store_true", help="start RALU from the full noise, halved")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)

    objects = Judge.load(a.judge)[0].objects
    world = World(objects, aspects=[tuple(map(int, s.split(":"))) for s in a.aspects.split()], seed=a.world)
    scenes = [world.scene(i, "held-out") for i in range(a.captions)]
    cases = [Case(n, scenes[n // a.seeds], seed=n, long_side=a.size) for n in range(a.captions * a.seeds)]
    bench, full = Bench(a, cases), a.full_steps
    cut = sprites(str(bench.folder / "sprites.npz"), objects)  # before hours of rendering: it may have to be made

    one = bench.run("full, %d steps" % full, ["--steps", full], traced=True) // full  # token-steps of a full step
    plain = {full}

    def run_plain(steps):
        if steps not in plain:
            plain.add(steps)
            bench.run("plain, %d steps" % steps, ["--steps", steps])
    for preset in a.presets:
        cost = 0
        for switches in a.switches:
            path, steps = preset_with(preset, *switches.split("+"), bench.folder)
            cost = bench.run("%s %s" % (preset, switches), ["--preset", path], coarse=True)
        run_plain(steps)
        run_plain(max(1, round(cost / one)))
    for compute in a.formats:
        bench.run("full, %d steps, %s" % (full, compute), ["--steps", full, "--compute", compute])
    bench.run("half size, %d steps, enlarged" % full, ["--steps", full], scale=2, coarse=True)
    composed = [draw(c.scene, cut, a.size) for c in cases]
    bench.add("composed, through the autoencoder", list(through_autoencoder(a.model, composed)), reference=False)
    bench.add("composed pictures", composed, reference=False)

    ceiling = "  ".join("%s %.3f" % item for item in bench.facts.get("ceiling", {}).items())
    head = "%d pictures of world %d, %d pixels, guidance %s%s; %d at a time, %d threads each\n" % (
        len(cases), a.world, a.size, a.guidance, ", shared noise" if a.shared_noise else "", a.jobs, a.threads)
    head += "judge on %s composed pictures it has not seen: %s\n" % (bench.facts.get("judged", "no"), ceiling or "not scored")
    (bench.folder / "table.md").write_text(head + "\n" + bench.table() + "\n")
    print(head + "\n" + bench.table())
    sheet(bench.shown, min(ACROSS, len(cases)), CELL).save(bench.folder / "sheet.png")


if __name__ == "__main__":
    main()
