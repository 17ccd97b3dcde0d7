"""Noisy latents with their captions: whole grids of each level of resolution, RALU's mixed grids, windows of the finest grid.

A window is trained on at its place in the whole picture and under its noise, with the picture's caption (patch-wise training,
Wang et al. 2023, arXiv 2304.12526). It has a seventh of the tokens, and things fill more of it.
"""
import math
import os
import random

import numpy as np
import torch
import torch.nn.functional as F

import things
from painter import grid, pack, shift
from pictures import levels, run_settings, shelves
from tokenizing import TEXT_LENGTH
from training import DEVICE

LEVELS = (4.5, 3.5, 1.0)  # how often the levels are drawn, finest first
NOISY = 0.8  # sigma from which on little can be seen of a picture
FINE_SHARES = (0.25, 0.5, 1.0)  # of a mixed grid's cells: RALU's second stage, and its third, which is all fine
WINDOW = 3, 8  # the share of a picture's sides that a window has
JITTER = 3  # tokens by which a window may miss the middle of the thing that it is laid around, at most


class Batch:
    """What the painter is trained on in one step."""

    def __init__(self, kind, clean, positions, noise, sigma, clip, t5, things=None, shares=None, coarser=None):
        self.kind, self.positions, self.noise, self.sigma, self.clip, self.t5 = kind, positions, noise, sigma, clip, t5
        self.things, self.shares = things, shares  # what the pictures show, and each one's share of each token
        self.coarser = coarser  # of a whole grid of the finest level: the clean latents (B, 16, h, w) of the next one
        s = sigma[:, None, None]
        self.noisy, self.velocity = (1 - s) * clean + s * noise, noise - clean

    @property
    def on_things(self):
        """How much of each token (B, tokens) shows things, not the place."""
        return 1 - self.shares[..., -1]


class Batches:
    """Draws batches; all pictures of one have one aspect ratio and one kind of grid.

    The seed decides the kinds, torch's random numbers all else: processes of a team with one seed work on grids of one kind at a
    time, so that none waits for another whose grid is larger.
    """

    def __init__(self, folder, tokens, mixed=0.0, drop=0.0, seed=0, weights=LEVELS, with_things=False, noisy=(0.0,), pairs=1.0,
                 windows=0.0):
        settings = run_settings(folder)
        if "scaling_factor" not in settings:
            raise SystemExit("encode the pictures first (`encode`)")
        ids = np.load(os.path.join(folder, "tokens.npz"))
        self.start = torch.from_numpy(ids["start"])
        self.clip, self.t5 = (torch.from_numpy(ids[k].astype(np.int64)) for k in ("clip", "t5"))
        self.tokens, self.mixed, self.drop, self.weights, self.noisy, self.windows = tokens, mixed, drop, weights, noisy, windows
        self.random = random.Random(seed)
        needed = with_things or pairs != 1 or windows > 0
        self.shown = {aspect: things.read(folder, aspect) for aspect in settings["aspects"]} if needed else {}
        self.chances = {aspect: torch.where(t.are_two, pairs, 1.0) for aspect, t in self.shown.items()}
        self.things = self.shown if with_things else {}
        self.shelves = []
        for shelf in shelves(folder):
            path, sides = os.path.join(folder, "latents-%s.pt" % shelf.aspect), levels(settings, shelf.aspect)
            encoded = torch.load(path) if os.path.exists(path) else {}
            if (encoded.get("data"), encoded.get("sides")) != (settings["data"], sides):
                raise SystemExit("%s is not of the pictures that were prepared last: call `encode`" % path)
            scaled = [((z.float() - settings["shift_factor"]) * settings["scaling_factor"]).half().to(DEVICE)
                      for z in encoded["levels"]]
            self.shelves.append((shelf, torch.from_numpy(shelf.rows), scaled, sides))

    @property
    def empty(self):
        """The ids of the empty caption."""
        return self.clip[-1:].to(DEVICE), self.t5[-1:].to(DEVICE)

    def next(self):
        shelf, rows, latents, sides = self.random.choices(self.shelves, [s[0].seen for s in self.shelves])[0]
        level = self.random.choices(range(len(sides)), self.weights[:len(sides)])[0]
        mixes = len(sides) > 1 and self.random.random() < self.mixed
        if mixes:
            level = min(level, len(sides) - 2)
        fine, window = latents[level], None
        chances = self.chances.get(shelf.aspect, torch.ones(shelf.seen))[:shelf.seen]
        if self.windows > 0 and level == 0 and not mixes and self.random.random() < self.windows:
            window, chances = window_around_things(self.shown[shelf.aspect].shares[:shelf.seen], chances)
        size = fine.shape[2] * fine.shape[3] // 4 if window is None else len(window)
        count = max(1, self.tokens // (size + TEXT_LENGTH))
        at = torch.multinomial(chances, count, replacement=True)
        kind, clean, shown, shares, coarser = str(sides[level]), fine[at.to(DEVICE)].float(), None, None, None
        if self.things:
            shown = self.things[shelf.aspect].at(at).to(DEVICE)
            shares = shown.on(level)
        if mixes:
            kind = "%d+%d" % (sides[level], sides[level + 1])
            mix, positions = self.mixed_grid(clean)
            clean = mix(pack(clean), pack(latents[level + 1][at.to(DEVICE)].float()))
            shares = mix(shares, shown.on(level + 1)) if shown else None
        else:
            clean, positions = whole_grid(clean)
            coarser = latents[1][at.to(DEVICE)].float() if level == 0 and len(sides) > 1 and window is None else None
        sigma = torch.sigmoid(torch.randn(count) + shift(clean.shape[1]))
        sigma = torch.where(torch.rand(count) < 0.1, torch.rand(count), sigma)
        share = self.noisy[min(level, len(self.noisy) - 1)] if window is None else 0.0
        sigma = torch.where(torch.rand(count) < share, NOISY + (1 - NOISY) * torch.rand(count), sigma).to(DEVICE)
        if window is not None:
            kind += " window"
            clean, positions, shares = (None if x is None else x[..., window, :] for x in (clean, positions, shares))
        return Batch(kind, clean, positions, torch.randn_like(clean), sigma, *self._captions(rows[at]), shown, shares, coarser)

    def unseen(self, count=64):
        """Batches of pictures that are never trained on, at each level, with the same noise every time."""
        generator = torch.Generator().manual_seed(7)
        for shelf, rows, latents, sides in self.shelves:
            at = torch.arange(shelf.seen, len(rows))[:max(1, count // len(self.shelves))]
            for z, side in zip(latents, sides):
                clean, positions = whole_grid(z[at.to(DEVICE)].float())
                for sigma in (0.15, 0.4, 0.65, 0.9):
                    noise = torch.randn(clean.shape, generator=generator).to(DEVICE)
                    k = self.start[rows[at]]
                    yield Batch(str(side), clean, positions, noise, torch.full((len(at),), sigma, device=DEVICE),
                                self.clip[k].to(DEVICE), self.t5[k].to(DEVICE))

    def _captions(self, rows):
        low, high = self.start[rows], self.start[rows + 1]
        k = low + (torch.rand(len(rows)) * (high - low)).long()
        k[torch.rand(len(rows)) < self.drop] = len(self.clip) - 1
        return self.clip[k].to(DEVICE), self.t5[k].to(DEVICE)

    def mixed_grid(self, fine):
        """Coarse tokens, of which some cells, those with most detail, hold 2x2 fine tokens half a step apart.

        From latents (B, 16, h, w): what mixes tokens of their grid with those of one half as fine, and the positions.
        """
        rows, columns = fine.shape[2] // 4, fine.shape[3] // 4
        detail = (fine - F.interpolate(F.avg_pool2d(fine, 2), scale_factor=2)).abs().mean((0, 1))
        score = F.avg_pool2d(detail[None, None], 4).flatten() * (1 + torch.rand(rows * columns, device=fine.device))
        refined = torch.zeros(rows * columns, dtype=torch.bool, device=fine.device)
        refined[score.topk(int(rows * columns * self.random.choice(FINE_SHARES))).indices] = True
        children = refined.view(rows, columns).repeat_interleave(2, 0).repeat_interleave(2, 1).flatten()
        positions = torch.cat([grid(rows, columns, device=fine.device)[~refined],
                               grid(2 * rows, 2 * columns, 0.5, fine.device)[children]])
        return lambda fine, coarse: torch.cat([coarse[:, ~refined], fine[:, children]], 1), positions


def whole_grid(latents):
    """Tokens and positions of latents (B, 16, h, w)."""
    return pack(latents), grid(latents.shape[2] // 2, latents.shape[3] // 2, device=latents.device)


def window_around_things(shares, chances):
    """The numbers of the tokens in a window around a thing of some picture, and what it makes of the pictures' chances.

    shares (n, 2, rows, columns): those that things have of all pictures' tokens. The window is the same for all pictures of a
    batch: the more of a picture's things lies in it, the likelier the picture is drawn. Where no picture shows a thing there
    is no window, but None.
    """
    sides, of_all = shares.shape[2:], shares.sum((1, 2, 3), dtype=torch.float32)
    if not (of_all * chances).any():
        return None, chances
    shown = [thing.float() for thing in shares[torch.multinomial(chances * (of_all > 0), 1).item()] if thing.any()]
    thing, slices = shown[torch.randint(len(shown), ()).item()], []
    for axis, side in enumerate(sides):
        length = window_side(side)
        middle = (thing.sum(1 - axis) * (torch.arange(side) + 0.5)).sum().item() / thing.sum().item()
        jitter = min(JITTER, (length - 1) // 2)
        begin = round(middle - length / 2) + torch.randint(-jitter, jitter + 1, ()).item()
        begin = min(max(0, begin), side - length)
        slices.append(slice(begin, begin + length))
    inside = shares[:, :, slices[0], slices[1]].sum((1, 2, 3), dtype=torch.float32)
    weighted = chances * inside / of_all.clamp_min(1)
    tokens = torch.arange(math.prod(sides)).view(sides)[slices[0], slices[1]].flatten()
    return tokens, weighted if weighted.any() else chances  # a thing may have a hole where its middle is


def window_side(tokens):
    """The side of a window on a side of so many tokens."""
    return max(1, tokens * WINDOW[0] // WINDOW[1])
