"""Draws a sheet with a stage of a run as it is, before anything is exported.

With --true-guidance the picture is steered by two passes, with and without caption,
at guidance 1 each: what distillation aims at. Compare the two to see what it is worth,
and whether it has arrived.
"""
import math
import os

import torch

import few_steps
from autoencoder import draw_rows, new_autoencoder
from painter import Painter, grid, shift, unpack
from pictures import run_settings
from tokenizing import ClipTokenizer, T5Tokenizer
from training import DEVICE, Precision, Stage, is_trained


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the training run")
    parser.add_argument("--stage", default="dit", choices=["dit", "distill", few_steps.STAGE])
    parser.add_argument("--prompts", required=True, metavar="FILE", help="a prompt a line; lines with # are left out")
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each prompt (default %(default)s)")
    parser.add_argument("--size", type=int, help="pixels of both sides; default: the run's")
    parser.add_argument("--steps", type=int, help="default 28, of `few` 4")
    parser.add_argument("--guidance", type=float, default=1.0, help="`few` takes none (default %(default)s)")
    parser.add_argument("--true-guidance", action="store_true")
    parser.add_argument("--sheet", required=True, metavar="PNG")


@torch.no_grad()
def run(a):
    settings, precision = run_settings(a.out), Precision()
    with open(a.prompts) as file:
        prompts = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    vae, painter, is_few = new_autoencoder(settings), Painter(settings), a.stage == few_steps.STAGE
    if is_few and a.true_guidance:
        raise SystemExit("`few` has its guidance built in")
    a.steps = a.steps or (few_steps.STEPS if is_few else 28)
    if is_few:
        painter, _ = few_steps.load(a.out, settings)
    elif not is_trained(settings, Stage(a.out, a.stage).load(painter)):
        raise SystemExit("train `%s` first" % a.stage)
    if Stage(a.out, "vae").load(vae) is None:
        raise SystemExit("train `vae` first")
    vae.to(DEVICE).eval(), painter.to(DEVICE).eval()
    rows = []
    for seed in range(a.seeds):
        with precision():
            latents = sampled(painter, a, encoded(a.out, prompts), encoded(a.out, [""]), seed, (a.size or settings["size"]) // 16)
            pictures = vae.decode(latents / settings["scaling_factor"] + settings["shift_factor"]).sample
        rows.append(list(pictures.float().cpu()))
    draw_rows(rows, a.sheet)


def encoded(out, texts):
    """The ids of texts for both encoders."""
    tokenizers = (ClipTokenizer(os.path.join(out, "tokenizer")), T5Tokenizer(os.path.join(out, "tokenizer_2")))
    return [torch.tensor([t(text) for text in texts], device=DEVICE) for t in tokenizers]


def sampled(painter, a, captions, empty, seed, side):
    """Latents (B, 16, 2 side, 2 side) by Euler steps over FLUX's schedule, which is even for few steps."""
    count = len(captions[0])
    x = torch.randn(count, side * side, 64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    positions, is_few = grid(side, side, device=DEVICE), a.stage == few_steps.STAGE
    factor = 1 if is_few else math.exp(shift(side * side))
    sigmas = [factor / (factor + a.steps / n - 1) for n in range(a.steps, 0, -1)] + [0.0]
    pooled, context = painter.text(*captions)
    no_pooled, no_context = painter.text(*empty)
    guidance = None if is_few else torch.full((count,), 1.0 if a.true_guidance else a.guidance, device=DEVICE)
    for now, then in zip(sigmas, sigmas[1:]):
        sigma = torch.full((count,), now, device=DEVICE)
        v = painter(x, sigma, pooled, context, positions, guidance).float()
        if a.true_guidance:
            without = painter(x, sigma, no_pooled.expand(count, -1), no_context.expand(count, -1, -1), positions, guidance).float()
            v = without + a.guidance * (v - without)
        x = x + (then - now) * v
    return unpack(x, 2 * side, 2 * side)
