#!/usr/bin/env python3
"""Renders the same pictures with diffusers and with `abbozzo render`, and fails where they differ.

    python Scripts/demo-model/compare-diffusers.py                    # the demo model, a handful of pictures
    python Scripts/demo-model/compare-diffusers.py --model FOLDER --sizes 512x512 256x160 --steps 12

Abbozzo draws the noise from the seed and records it (--trace); diffusers starts from
the same noise and does everything else itself, tokenizers and encoders included. Both
compute in float32; what is compared are the 8-bit pictures.
"""
import argparse
import math
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import reference
import renderer
from measures import psnr

PROMPTS = ["a cat in a green meadow at sunset", "a yellow star above a green square on a black background",
           "a blue elephant on the left in the desert by day", "a rocket and a robot in space"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    renderer.add_arguments(parser)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "256x160"], metavar="WxH")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--seed", type=int, default=0, help="of the first picture; each further one adds 1")
    parser.add_argument("--least", type=float, default=45.0, metavar="DB", help="PSNR below which it fails (default %(default)s)")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the pictures there")
    a = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(a.threads)

    pipeline, worst, number = reference.load_pipeline(a.model), math.inf, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(a.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in a.sizes:
            width, height = map(int, size.split("x"))
            for prompt in a.prompts:
                ours, trace = folder / ("%02d-abbozzo.png" % number), Path(temporary) / "trace.safetensors"
                report = renderer.render(
                    a, prompt, ours, "--width", width, "--height", height, "--steps", a.steps, "--seed", a.seed + number,
                    "--guidance", a.guidance, "--trace", trace)
                theirs = reference.render(pipeline, prompt, load_file(trace)["latents_unpacked"], width, height, a.steps,
                                          a.guidance, report["metadata"]["request"]["textLength"])
                theirs.save(folder / ("%02d-diffusers.png" % number))
                value = psnr(np.asarray(Image.open(ours)), np.asarray(theirs))
                print("%6s dB  %s  seed %d  %s" % ("same" if value == math.inf else "%.1f" % value, size, a.seed + number, prompt),
                      flush=True)
                worst, number = min(worst, value), number + 1
    print("%d pictures of %d steps; the worst PSNR is %.1f dB, asked are %.1f" % (number, a.steps, worst, a.least))
    sys.exit(worst < a.least)


if __name__ == "__main__":
    main()
