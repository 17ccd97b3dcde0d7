#!/usr/bin/env python3
"""Shows what bf16 and int8 cost in accuracy: renders prompts in every format and compares with f32.

    Scripts/accuracy.py                                       the demo model, its sample prompts, RALU
    Scripts/accuracy.py --model DIR --sampler euler --steps 8 --seeds 1 2 --keep FOLDER

Prints, for each format, the means over all prompts and seeds:
  first step   cosine of the velocity, and length of its difference over that of f32's: the same noise goes in
  last step    the same, where the differences of all steps have added up
  PSNR         of the finished picture in dB with values clamped to 0...1, and that of the worst picture
  regions      of the patches that RALU refines in f32, the share that it refines, too
  time         rendering time as a multiple of f32's, in turn on the same machine
Needs nothing beyond Python's own library. --keep leaves the PNG files for the eye.
"""

import argparse
import array
import json
import math
import pathlib
import subprocess
import sys
import tempfile

FORMATS = ["f32", "bf16", "int8"]
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


def velocities(trace):
    """Those of all steps, in order: `pred0`, or `stage2.pred0` with RALU."""
    names = [name for name in trace if name.split(".")[-1].startswith("pred")]
    return [trace[name] for name in sorted(names, key=lambda n: (n.split(".")[:-1], int(n.split("pred")[-1])))]


def render(options, prompt, seed, format, stem):
    command = [options.program, "render", "-p", prompt, "--seed", str(seed), "--compute", format]
    command += ["-o", f"{stem}.png", "--trace", f"{stem}.safetensors", "--json", "--sampler", options.sampler]
    for flag in ["model", "preset", "steps", "width", "height", "guidance"]:
        value = getattr(options, flag)
        command += [f"--{flag}", str(value)] if value is not None else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    trace = read(f"{stem}.safetensors")
    pathlib.Path(f"{stem}.safetensors").unlink()
    return trace, json.loads(done.stdout)["renderSeconds"]


def arguments():
    root = pathlib.Path(__file__).resolve().parent.parent
    builds = [root / ".build" / kind / "abbozzo" for kind in ("release", "debug")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=next((str(path) for path in builds if path.exists()), "abbozzo"))
    parser.add_argument("--prompts", default=str(root / "configs/prompts/quickstart.txt"), help="one prompt a line")
    parser.add_argument("--count", type=int, default=8, help="prompts to take from the file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--sampler", default="ralu")
    parser.add_argument("--keep", help="folder for the pictures")
    for flag in ["model", "preset"]:
        parser.add_argument(f"--{flag}")
    for flag in ["steps", "width", "height"]:
        parser.add_argument(f"--{flag}", type=int)
    parser.add_argument("--guidance", type=float)
    return parser.parse_args()


def main():
    options = arguments()
    lines = pathlib.Path(options.prompts).read_text().splitlines()
    prompts = [line for line in lines if line.strip() and not line.startswith("#")][: options.count]

    rows = {format: [] for format in FORMATS[1:]}
    seconds = {format: 0.0 for format in FORMATS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for index, (prompt, seed) in enumerate((prompt, seed) for prompt in prompts for seed in options.seeds):
            exact = None
            for format in FORMATS:
                trace, time = render(options, prompt, seed, format, folder / f"{index:03}-{format}")
                seconds[format] += time
                if exact is None:
                    exact = trace
                    continue
                steps = [closeness(velocities(trace)[step], velocities(exact)[step]) for step in (0, -1)]
                chosen = set(exact.get("selected", []))
                same = len(chosen & set(trace.get("selected", []))) / len(chosen) if chosen else math.nan
                rows[format].append([*steps[0], *steps[1], psnr(trace["image"], exact["image"]), same])

    print(f"{len(prompts)} prompts x {len(options.seeds)} seeds, {options.sampler}, against f32\n")
    print("| format | first step: cosine | difference | last step: cosine | difference | PSNR | worst | regions | time |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for format, found in rows.items():
        mean = [sum(column) / len(found) for column in zip(*found)]
        worst = min(row[4] for row in found)
        regions = "-" if math.isnan(mean[5]) else f"{100 * mean[5]:.1f} %"
        print(
            f"| {format} | {mean[0]:.6f} | {mean[1]:.5f} | {mean[2]:.6f} | {mean[3]:.5f} | {mean[4]:.1f} dB "
            f"| {worst:.1f} dB | {regions} | {seconds[format] / seconds['f32']:.2f} |"
        )


if __name__ == "__main__":
    main()
