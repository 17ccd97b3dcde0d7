"""A training run's pictures, by aspect ratio, and their levels of resolution."""
import os

import numpy as np

from training import read_json

UNSEEN_SHARE = 0.01  # of each aspect ratio, for held-out figures


class Shelf:
    """The pictures of one aspect ratio."""

    def __init__(self, folder, aspect):
        self.aspect = aspect
        self.pictures = np.load(os.path.join(folder, "pictures-%s.npy" % aspect), mmap_mode="r")  # (n, H, W, 3) bytes
        self.rows = np.load(os.path.join(folder, "rows-%s.npy" % aspect))  # numbers in the data set

    @property
    def seen(self):
        """How many pictures, from the first on, are trained on."""
        return len(self.pictures) - max(2, int(len(self.pictures) * UNSEEN_SHARE))


def run_settings(folder):
    path = os.path.join(folder, "settings.json")
    if not os.path.exists(path):
        raise SystemExit("%s has no settings.json: run `prepare` first" % folder)
    settings = read_json(path)
    if "data" not in settings:
        raise SystemExit("`prepare` was stopped in %s, whose files may be of two data sets: call `prepare` again" % folder)
    return settings


def shelves(folder):
    return [Shelf(folder, aspect) for aspect in run_settings(folder)["aspects"]]


def levels(settings, aspect):
    """The long sides at which pictures of an aspect ratio are trained on, finest first.

    Each is half of the one before; a level ends where a side is no multiple of 16,
    the pixels of a token, or falls below the run's smallest size.
    """
    out, side = [], settings["size"]
    while side >= settings["smallest"] and all(side * int(n) % 128 == 0 for n in aspect.split("x")):
        out.append(side)
        side //= 2
    return out
