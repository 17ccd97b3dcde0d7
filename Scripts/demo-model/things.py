"""What each token of a picture shows, a thing or the place, for the painter's second task (labelling.py).

    OUT/things-8x5.npz   of one aspect ratio: shares (n, 2, rows, columns) in 255ths of a token at the finest level,
                         names and colours (n, 3) as numbers in NAMES and TINTED

The third name and colour are those of the place, which has what the things leave.
It is read off the scenes by composing them once more, small: where things are does not depend on the picture's size.
"""
import multiprocessing
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from drawing import covers, sprites
from painter import TOKEN
from vocabulary import COLOURS, OBJECTS, PLACES, SHAPES

NAMES = [*OBJECTS, *SHAPES, *PLACES, None]  # None: there is no second thing
TINTED = [*COLOURS, None]  # None: its own colours
MOST = 2  # things in a picture
CELL = 4  # pixels of a cell's side in the small pictures

_worker = {}  # what each process holds


class Things:
    """What a batch of pictures shows: `shares` (B, 2, rows, columns), `names` and `colours` (B, 3)."""

    def __init__(self, shares, names, colours):
        self.shares, self.names, self.colours = shares, names, colours

    def at(self, rows):
        return Things(*(x[rows] for x in (self.shares, self.names, self.colours)))

    def to(self, device):
        return Things(*(x.to(device) for x in (self.shares, self.names, self.colours)))

    @property
    def are_two(self):
        """Whether each picture shows two things."""
        return self.names[:, 1] != NAMES.index(None)

    def on(self, level):
        """How much of each token the things and the place have at a level: (B, tokens, 3) in 0…1."""
        things = F.avg_pool2d(self.shares.float() / 255, 2 ** level).flatten(2).transpose(1, 2)
        return torch.cat([things, (1 - things.sum(-1, keepdim=True)).clamp_min(0)], -1)


def write(out, aspect, scenes, data, size):
    """Writes the file of one aspect ratio; `size` is the long side of the finest level in pixels."""
    path = _path(out, aspect)
    np.savez_compressed(path + ".new.npz", **arrays(scenes, data, size // TOKEN))
    os.replace(path + ".new.npz", path)


def arrays(scenes, data, cells, square=False):
    """What `Things` are made of, for scenes of one shape with so many cells on the long side, or squeezed to as many on both."""
    cut = sprites(os.path.join(data, "sprites.npz"), sorted({t.name for s in scenes for t in s.things if t.name in OBJECTS}))
    with multiprocessing.Pool(None, _begin, (cut, cells, square)) as pool:
        shares = np.stack(pool.map(_shares, scenes, chunksize=32))
    shown = [[(t.name, t.colour) for t in s.things] + [(None, None)] * (MOST - len(s.things)) + [(s.place, s.background)]
             for s in scenes]
    names, colours = (np.array([[known.index(pair[k]) for pair in pairs] for pairs in shown], np.int16)
                      for k, known in enumerate((NAMES, TINTED)))
    return dict(shares=shares, names=names, colours=colours)


def read(out, aspect):
    path = _path(out, aspect)
    if not os.path.exists(path):
        raise SystemExit("%s is not there: call `prepare` again" % path)
    return load(path)


def load(path):
    """The things in a file that holds `arrays`."""
    with np.load(path) as file:
        return Things(torch.from_numpy(file["shares"]), *(torch.from_numpy(file[k].astype(np.int64)) for k in ("names", "colours")))


def _path(out, aspect):
    return os.path.join(out, "things-%s.npz" % aspect)


def _begin(cut, cells, square):
    _worker.update(sprites=cut, cells=cells, square=square)


def _shares(scene):  # without torch, whose threads do not come along into these processes
    pixels = covers(scene, _worker["sprites"], _worker["cells"] * CELL)
    things, height, width = pixels.shape
    grid = (_worker["cells"], _worker["cells"]) if _worker["square"] else (width // CELL, height // CELL)
    shares = np.stack([np.asarray(Image.fromarray(p).resize(grid, Image.BOX), np.float32) for p in pixels])
    if things == MOST:  # the later one is in front
        shares[0] *= 1 - shares[1] / 255
    out = np.zeros((MOST, *shares.shape[1:]), np.uint8)
    out[:things] = np.round(shares)
    return out
