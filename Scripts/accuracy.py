#!/usr/bin/env python3
"""Shows what bf16 and int8 cost in accuracy: renders prompts in every format and compares with f32.

    Scripts/accuracy.py                                       the demo model, its sample prompts, RALU
    Scripts/accuracy.py --model DIR --sampler euler --steps 8 --seeds 1 2 --keep FOLDER
    Scripts/accuracy.py --held-out --count 32 --seeds 1 2     captions that the demo model's training never saw

Prints, for each format, the means over all prompts and seeds:
  first step   cosine of the velocity, and length of its difference over that of f32's: the same noise goes in
  last step    the same, where the differences of all steps have added up
  PSNR         of the finished picture in dB with values clamped to 0...1; its median; that of the worst picture
  SSIM         structural similarity of the finished picture's greys, and that of the worst picture
  regions      of the patches that RALU refines in f32, the share that it refines, too
  time         rendering time as a multiple of f32's, in turn on the same machine
Needs nothing beyond Python's own library. --keep leaves the PNG files for the eye, and what was measured in
measures.jsonl: the same command goes on where it was stopped, and with a larger --count it renders what is missing.
What another program, model or preset made is not taken for this one's.
"""

import argparse
import array
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Scripts/demo-model"))
import renderer

FORMATS = ["f32", "bf16", "int8"]
FLAGS = ["model", "preset", "steps", "width", "height", "guidance"]
TYPES = {"F32": "f", "I64": "q", "U8": "B"}


def read(path):
    """The tensors of a safetensors file as flat arrays."""
    data = pathlib.Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            first, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = array.array(TYPES[entry["dtype"]], data[first:end])
    return tensors


def closeness(x, y):
    """Cosine of two vectors, and the length of their difference over that of y."""
    xx, yy = math.fsum(a * a for a in x), math.fsum(b * b for b in y)
    xy, dd = math.fsum(a * b for a, b in zip(x, y)), math.fsum((a - b) ** 2 for a, b in zip(x, y))
    return xy / math.sqrt(xx * yy), math.sqrt(dd / yy)


def psnr(x, y):
    def shown(value):
        return min(max((value + 1) / 2, 0.0), 1.0)

    error = math.fsum((shown(a) - shown(b)) ** 2 for a, b in zip(x, y)) / len(x)
    return 10 * math.log10(1 / error) if error > 0 else math.inf


def ssim(x, y, width, height):
    """Wang et al. 2004 on greys from 0 to 1: Gaussian window of 11 pixels, sigma 1.5, mean over the picture."""
    taps = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    p, q, r, s, t, u = (tap / sum(taps) for tap in taps[:6])

    def blurred(values):
        """Along rows, then turned; twice gives both directions."""
        for length in (width, height):
            rows = (values[first : first + length] for first in range(0, len(values), length))
            rows = [
                [
                    p * (a + k) + q * (b + j) + r * (c + i) + s * (d + h) + t * (e + g) + u * f
                    for a, b, c, d, e, f, g, h, i, j, k in zip(*(row[first:] for first in range(11)))
                ]
                for row in rows
            ]
            values = [value for column in zip(*rows) for value in column]
        return values

    def greys(image):
        planes = [image[first : first + width * height] for first in range(0, len(image), width * height)]
        shown = [[min(max((value + 1) / 2, 0.0), 1.0) for value in plane] for plane in planes]
        return [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in zip(*shown)]

    x, y = greys(x), greys(y)
    c1, c2, total = 0.01**2, 0.03**2, []
    means = [blurred(values) for values in (x, y, *([a * b for a, b in zip(*two)] for two in ((x, x), (y, y), (x, y))))]
    for mx, my, xx, yy, xy in zip(*means):
        vx, vy, cxy = xx - mx * mx, yy - my * my, xy - mx * my
        total.append((2 * mx * my + c1) * (2 * cxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2)))
    return math.fsum(total) / len(total)


def velocities(trace):
    """Those of all steps, in order: `pred0`, or `stage2.pred0` with RALU."""
    names = [name for name in trace if name.split(".")[-1].startswith("pred")]
    return [trace[name] for name in sorted(names, key=lambda n: (n.split(".")[:-1], int(n.split("pred")[-1])))]


def render(options, prompt, seed, format, stem):
    command = [options.program, "render", "-p", prompt, "--seed", str(seed), "--compute", format]
    command += ["-o", f"{stem}.png", "--trace", f"{stem}.safetensors", "--json", "--sampler", options.sampler]
    for flag in FLAGS:
        value = getattr(options, flag)
        command += [f"--{flag}", str(value)] if value is not None else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    trace = read(f"{stem}.safetensors")
    pathlib.Path(f"{stem}.safetensors").unlink()
    return trace, json.loads(done.stdout)


def held_out(count):
    """Captions of square scenes that training never sees, as in Scripts/demo-model/eval.py, of the model's objects."""
    from scene import World, captions
    from vocabulary import OBJECTS

    world = World(list(OBJECTS)[:24], aspects=[(8, 8)], seed=99)
    return [captions(world.scene(number, "held-out"), 12)[0] for number in range(count)]


def arguments():
    builds = [ROOT / ".build" / kind / "abbozzo" for kind in ("release", "debug")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=next((str(path) for path in builds if path.exists()), "abbozzo"))
    parser.add_argument("--prompts", default=str(ROOT / "configs/prompts/quickstart.txt"), help="one prompt a line")
    parser.add_argument("--held-out", action="store_true", help="captions of the demo model's world instead of a file")
    parser.add_argument("--count", type=int, default=8, help="prompts to take")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--sampler", default="ralu")
    parser.add_argument("--keep", help="folder for the pictures and measures")
    parser.add_argument("--model", default=str(renderer.DEMO))
    parser.add_argument("--preset")
    for flag in ["steps", "width", "height"]:
        parser.add_argument(f"--{flag}", type=int)
    parser.add_argument("--guidance", type=float)
    options = parser.parse_args()
    program = shutil.which(options.program)
    if program is None:
        parser.error(f"{options.program} is no program: swift build -c release --product abbozzo, or name one with --program")
    options.program = program
    presets = sorted((ROOT / "configs/presets").glob("*.yaml"))
    if options.preset and pathlib.Path(options.preset).is_file():
        presets.append(options.preset)
    options.made_by = renderer.digest(program, options.model, *presets) if options.keep else None
    if options.held_out:
        options.prompts = held_out(options.count)
    else:
        lines = pathlib.Path(options.prompts).read_text().splitlines()
        options.prompts = [line for line in lines if line.strip() and not line.startswith("#")][: options.count]
    return options


def measure(options, prompt, seed, stem):
    """Renders in all formats: what was asked, seconds, and for each format but f32 how close it came."""
    exact, found = None, {"asked": asked(options, prompt, seed), "seconds": {}}
    for format in FORMATS:
        trace, facts = render(options, prompt, seed, format, f"{stem}-{format}")
        found["seconds"][format] = facts["renderSeconds"]
        if exact is None:
            exact = trace
            continue
        steps = [closeness(velocities(trace)[step], velocities(exact)[step]) for step in (0, -1)]
        chosen = set(exact.get("selected", []))
        same = len(chosen & set(trace.get("selected", []))) / len(chosen) if chosen else math.nan
        size = [facts["metadata"]["request"][side] for side in ("width", "height")]
        likeness = ssim(trace["image"], exact["image"], *size)
        found[format] = [*steps[0], *steps[1], psnr(trace["image"], exact["image"]), likeness, same]
    return found


def asked(options, prompt, seed):
    return [prompt, seed, *(getattr(options, flag) for flag in ["sampler", *FLAGS, "made_by"])]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "measures.jsonl"
        known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
        measures = []
        for prompt in options.prompts:
            for seed in options.seeds:
                found = next((known for known in known if known["asked"] == asked(options, prompt, seed)), None)
                if found is None:
                    found = measure(options, prompt, seed, folder / f"{len(measures):03}")
                    with kept.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                measures.append(found)

    print(f"{len(options.prompts)} prompts x {len(options.seeds)} seeds, {options.sampler}, against f32\n")
    print(
        "| format | first step: cosine | difference | last step: cosine | difference | PSNR | median | worst | SSIM "
        "| worst | regions | time |"
    )
    print("| --- " * 12 + "|")
    exact = sum(found["seconds"]["f32"] for found in measures)
    for format in FORMATS[1:]:
        mean = [sum(column) / len(measures) for column in zip(*(found[format] for found in measures))]
        worst = [min(found[format][column] for found in measures) for column in (4, 5)]
        median = statistics.median(found[format][4] for found in measures)
        regions = "-" if math.isnan(mean[6]) else f"{100 * mean[6]:.1f} %"
        time = sum(found["seconds"][format] for found in measures) / exact
        print(
            f"| {format} | {mean[0]:.6f} | {mean[1]:.5f} | {mean[2]:.6f} | {mean[3]:.5f} | {mean[4]:.1f} dB "
            f"| {median:.1f} dB | {worst[0]:.1f} dB | {mean[5]:.4f} | {worst[1]:.4f} | {regions} | {time:.2f} |"
        )


if __name__ == "__main__":
    main()
