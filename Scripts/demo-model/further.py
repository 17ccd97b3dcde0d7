"""Trains a finished model further, from its folder to a new one, in one command.

    FOLDER/data     pictures, other ones for each model that it begins with
    FOLDER/run      the training run (prepare --from)
    FOLDER/model    what comes out

Every step is one of the other commands, printed as it is called; a call that was
stopped goes on when repeated, with what time is given to it. The autoencoder is left as it is,
since the painter knows its latents. The minutes go to the painter, its guidance included where it
has some, as the shipped model has; else a share of them goes to distilling it. Pictures and latents
are made before and take longer.
Whether the new model is better is for eval.py and for eyes to say.
"""
import os
import subprocess
import sys
from pathlib import Path

import inherit
from training import DEVICE, read_json

GUIDED = 0.7  # of the samples


def arguments(parser):
    parser.add_argument("--model", required=True, metavar="FOLDER", help="the model to begin with; it stays as it is")
    parser.add_argument("--folder", required=True, metavar="FOLDER", help="work there")
    parser.add_argument("--minutes", type=float, required=True, help="how long to train, once pictures and latents are there")
    parser.add_argument("--distill", type=float, metavar="SHARE",
                        help="of the minutes; above 0 `dit` trains without guidance, which is distilled anew, and 1 leaves the "
                             "painter as it is (default 0; for a model without guidance 0.2)")
    parser.add_argument("--count", type=int, default=5000, help="pictures (default %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="pixels on their longer side (default %(default)s)")
    parser.add_argument("--smallest", type=int, default=128, metavar="PIXELS", help="of the coarsest level (default %(default)s)")
    parser.add_argument("--objects", type=int, default=24, help="how many of the objects (default %(default)s)")
    parser.add_argument("--aspects", default="8:8", help="aspect ratios (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1 if DEVICE.type == "cuda" else os.cpu_count(),
                        help="processes that train (default: one on a GPU, else one for each core)")
    parser.add_argument("--tokens", type=int, default=73728 if DEVICE.type == "cuda" else 3072,
                        help="tokens of a batch in each of them (default %(default)s)")


def run(a):
    inherit.check(a.model)
    data, out, model = (os.path.join(a.folder, n) for n in ("data", "run", "model"))
    has_guidance = inherit.has_guidance(a.model)
    distill = a.distill if a.distill is not None else 0 if has_guidance else 0.2
    seed = 1 + inherit.history(a.model)["dit"]["samples"]
    _call("dataset", "--out", data, "--count", a.count, "--size", a.size, "--objects", a.objects, "--aspects", a.aspects,
          "--seed", seed)
    _call("prepare", "--data", data, "--out", out, "--from", a.model, "--smallest", a.smallest)
    _call("encode", "--out", out)
    _call("score", "--out", out)
    _call("read", "--out", out)
    how = ["--workers", a.workers, "--tokens", a.tokens]
    guided = ["--guided", GUIDED] if has_guidance and distill == 0 else []
    for stage, minutes, more in (("dit", (1 - distill) * a.minutes, guided), ("distill", distill * a.minutes, [])):
        if minutes > 0:
            _call(stage, "--out", out, "--minutes", minutes, *how, *more)
    _call("score", "--out", out)
    side = read_json(os.path.join(a.model, "vae", "config.json"))["sample_size"]
    _call("export", "--out", out, "--model", model, "--side", side, *(["--undistilled"] if distill == 0 else []))


def _call(*words):
    print("$ " + " ".join(map(str, words)), flush=True)
    subprocess.run([sys.executable, str(Path(__file__).parent), *map(str, words)], check=True)
