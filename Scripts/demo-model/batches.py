"""Noisy latents with their captions: whole grids of each level of resolution, and RALU's mixed grids."""
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

    def __init__(self, folder, tokens, mixed=0.0, drop=0.0, seed=0, weights=LEVELS, with_things=False, noisy=(0.0,), pairs=1.0):
        settings = run_settings(folder)
        if "scaling_factor" not in settings:
            raise SystemExit("encode the pictures first (`encode`)")
        ids = np.load(os.path.join(folder, "tokens.npz"))
        self.start = torch.from_numpy(ids["start"])
        self.clip, self.t5 = (torch.from_numpy(ids[k].astype(np.int64)) for k in ("clip", "t5"))
        self.tokens, self.mixed, self.drop, self.weights, self.noisy = tokens, mixed, drop, weights, noisy
        self.random = random.Random(seed)
        shown = {aspect: things.read(folder, aspect) for aspect in settings["aspects"]} if with_things or pairs != 1 else {}
        self.chances = {aspect: torch.where(t.are_two, pairs, 1.0) for aspect, t in shown.items()}
        self.things = shown if with_things else {}
        self.shelves = []
        for shelf in shelves(folder):
            latents = torch.load(os.path.join(folder, "latents-%s.pt" % shelf.aspect))["levels"]
            scaled = [((z.float() - settings["shift_factor"]) * settings["scaling_factor"]).half().to(DEVICE) for z in latents]
            self.shelves.append((shelf, torch.from_numpy(shelf.rows), scaled, levels(settings, shelf.aspect)))

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
        fine = latents[level]
        size = fine.shape[2] * fine.shape[3] // 4
        count = max(1, self.tokens // (size + TEXT_LENGTH))
        chances = self.chances.get(shelf.aspect, torch.ones(shelf.seen))[:shelf.seen]
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
            coarser = latents[1][at.to(DEVICE)].float() if level == 0 and len(sides) > 1 else None
        sigma = torch.sigmoid(torch.randn(count) + shift(clean.shape[1]))
        sigma = torch.where(torch.rand(count) < 0.1, torch.rand(count), sigma)
        share = self.noisy[min(level, len(self.noisy) - 1)]
        sigma = torch.where(torch.rand(count) < share, NOISY + (1 - NOISY) * torch.rand(count), sigma).to(DEVICE)
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
