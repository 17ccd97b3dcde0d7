"""Draws the places: one function each, in the order of the vocabulary.

All lengths are shares of the canvas: W across, H down, and U, the shorter of the
two, for things that must keep their proportions. Everything is drawn by this
program.
"""
import math
import random
from dataclasses import dataclass
from typing import Callable

import numpy as np
from PIL import Image, ImageDraw

from vocabulary import COLOURS

STEPS = 16  # of the grid that things sit on, on the long side

LIGHT = {"day": (1, 1, 1), "sunset": (0.95, 0.72, 0.66), "night": (0.36, 0.42, 0.66), None: (1, 1, 1)}
SKIES = {"day": [(62, 148, 232), (196, 232, 252)], "sunset": [(72, 52, 124), (232, 104, 92), (255, 196, 96)],
         "night": [(8, 10, 38), (36, 46, 104)]}
RAINBOW = [(228, 50, 50), (250, 150, 40), (252, 222, 70), (80, 185, 90), (60, 120, 225), (130, 70, 190)]
WINDOW_WHITE, SNOW_WHITE = (250, 246, 238), (244, 248, 252)


@dataclass
class Ground:
    """Where things stand, and what is drawn over their feet."""

    height: Callable[[float], float]  # y of the ground at x, in pixels
    shadow: bool = True
    cover: Callable[[ImageDraw.ImageDraw, float], None] | None = None  # draws what hides the feet of a thing at x


class Canvas:
    """A picture being drawn, with its sizes and its random numbers."""

    def __init__(self, width, height, scene, random_: random.Random):
        self.image = Image.new("RGB", (width, height))
        self.draw = ImageDraw.Draw(self.image)
        self.W, self.H, self.U = width, height, min(width, height)
        self.step = max(width, height) // STEPS  # pixels of a step of the grid
        self.scene, self.random = scene, random_

    def lit(self, colour, jitter=7):
        """The colour, a little off, in the light of the scene's time of day."""
        return tuple(int(min(255, max(0, c * m))) for c, m in zip(self.near(colour, jitter), LIGHT[self.scene.time]))

    def near(self, colour, jitter):
        return tuple(int(min(255, max(0, c + self.random.uniform(-jitter, jitter)))) for c in colour)

    def fill_gradient(self, stops, height=1.0):
        """Fills the picture from the top down to `height` with a gradient."""
        rows = max(2, int(self.H * height))
        y = np.linspace(0, len(stops) - 1, rows)
        i = np.minimum(y.astype(int), len(stops) - 2)
        share, stops = (y - i)[:, None], np.array(stops, np.float32)
        column = (stops[i] * (1 - share) + stops[i + 1] * share).astype(np.uint8)
        self.image.paste(Image.fromarray(np.repeat(column[:, None], self.W, 1), "RGB"), (0, 0))

    def disc(self, x, y, radius, colour):
        self.draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)

    def dots(self, count, xs, ys, radii, colour):
        """Small discs at random; `colour` is called for each."""
        r = self.random
        for _ in range(round(count * self.W * self.H / self.U ** 2)):
            self.disc(r.uniform(*xs) * self.W, r.uniform(*ys) * self.H, r.uniform(*radii) * self.U, colour())

    def band(self, base, swing, colour, waves=None):
        """Fills everything below a smooth curve around y = base; returns the curve."""
        r = self.random
        waves = waves or [(r.uniform(0.6, 1.6), r.uniform(0, 6.3), 1.0), (r.uniform(1.8, 3.2), r.uniform(0, 6.3), 0.4)]
        xs = np.linspace(0, self.W, 96)
        ys = base * self.H + sum(swing * self.H * k * np.sin(xs / self.W * 2 * math.pi * f + p) for f, p, k in waves)
        self.draw.polygon([*zip(xs.tolist(), ys.tolist()), (self.W, self.H), (0, self.H)], fill=colour)
        return lambda x: float(np.interp(x, xs, ys))

    def pine(self, x, y, height, colour, snow=None):
        for k in range(3):
            w, top = height * (0.20 + 0.09 * k), y - height + height * 0.24 * k
            self.draw.polygon([(x, top), (x - w, top + height * 0.42), (x + w, top + height * 0.42)], fill=colour)
            if snow:
                self.draw.polygon([(x, top), (x - w * 0.45, top + height * 0.19), (x + w * 0.45, top + height * 0.19)],
                                  fill=snow)
        self.draw.rectangle([x - height * 0.04, y - height * 0.12, x + height * 0.04, y], fill=(92, 62, 44))

    def cloud(self, x, y, size, colour):
        for dx, dy, k in ((-0.9, 0.1, 0.5), (-0.35, -0.18, 0.7), (0.3, -0.1, 0.62), (0.85, 0.12, 0.45)):
            self.draw.ellipse([x + (dx - k) * size, y + (dy - k) * size * 0.8, x + (dx + k) * size, y + (dy + k) * size * 0.8],
                              fill=colour)
        self.draw.rounded_rectangle([x - 1.3 * size, y, x + 1.25 * size, y + 0.42 * size], radius=0.2 * size, fill=colour)

    def across(self, count):
        """`count` for a square picture; more where the picture is wider than high."""
        return round(count * self.W / self.U)

    def line_width(self, share, least=2):
        return max(least, int(share * self.U))


def draw_place(canvas) -> Ground | None:
    """Draws the scene's place; returns its ground, None where things hang free."""
    if canvas.scene.time:
        sky(canvas)
    return PLACE_FUNCTIONS[canvas.scene.place](canvas)


def sky(c):
    r, time = c.random, c.scene.time
    c.fill_gradient([c.near(s, 8) for s in SKIES[time]], 0.8 if time == "sunset" else 1.0)
    if time == "night":
        c.dots(r.randint(30, 60), (0, 1), (0, 0.6), (0.0012, 0.004), lambda: (255, 250, 225))
        x, y, s = r.uniform(0.12, 0.88) * c.W, r.uniform(0.1, 0.2) * c.H, r.uniform(0.05, 0.075) * c.U
        c.disc(x, y, s, (248, 240, 205))
        for dx, dy, k in ((-0.3, -0.2, 0.22), (0.25, 0.3, 0.16), (0.35, -0.35, 0.12)):
            c.disc(x + dx * s, y + dy * s, k * s, (222, 212, 176))
    elif time == "sunset":
        c.disc(r.uniform(0.2, 0.8) * c.W, r.uniform(0.4, 0.5) * c.H, r.uniform(0.08, 0.12) * c.U, (255, 222, 120))
        for _ in range(c.across(r.randint(0, 2))):
            c.cloud(r.uniform(0, c.W), r.uniform(0.1, 0.3) * c.H, r.uniform(0.05, 0.09) * c.U, (214, 120, 130))
    else:
        if r.random() < 0.6:
            x = r.choice([r.uniform(0.08, 0.3), r.uniform(0.7, 0.92)]) * c.W
            c.disc(x, r.uniform(0.1, 0.2) * c.H, r.uniform(0.05, 0.08) * c.U, (255, 221, 70))
        for _ in range(c.across(r.randint(1, 3))):
            c.cloud(r.uniform(0, c.W), r.uniform(0.08, 0.3) * c.H, r.uniform(0.045, 0.085) * c.U, (255, 255, 255))
    if c.scene.weather == "rainbow":
        x, y = r.uniform(0.46, 0.54) * c.W, r.uniform(0.66, 0.68) * c.H
        radius, step = r.uniform(0.53, 0.55) * c.U, 0.026 * c.U
        for k, colour in enumerate(RAINBOW):
            s = radius - k * step
            c.draw.arc([x - s, y - s, x + s, y + s], 180, 360, fill=colour, width=int(step) + 1)


def meadow(c):
    c.band(0.60, 0.05, c.lit((120, 190, 90)))
    c.band(0.68, 0.04, c.lit((90, 170, 70)))
    ground, r = c.band(0.77, 0.02, c.lit((66, 150, 58))), c.random
    for _ in range(c.across(r.randint(8, 26))):
        x = r.uniform(0, c.W)
        y = r.uniform(ground(x) + 0.02 * c.H, c.H)
        c.disc(x, y, 0.007 * c.U, c.lit(r.choice([(250, 240, 240), (250, 210, 60), (240, 110, 150)])))
    return Ground(lambda x: ground(x) + 0.07 * c.H)


def desert(c):
    c.band(0.62, 0.05, c.lit((236, 190, 110)))
    c.band(0.70, 0.04, c.lit((226, 170, 88)))
    ground = c.band(0.79, 0.02, c.lit((214, 152, 74)))
    return Ground(lambda x: ground(x) + 0.06 * c.H)


def beach(c):
    horizon = c.random.uniform(0.54, 0.58) * c.H
    c.draw.rectangle([0, horizon, c.W, c.H], fill=c.lit((44, 140, 200)))
    c.draw.rectangle([0, horizon + 0.08 * c.H, c.W, c.H], fill=c.lit((70, 175, 215)))
    c.band(0.705, 0.012, c.lit((245, 250, 250)))
    ground = c.band(0.73, 0.012, c.lit((242, 214, 150)))
    return Ground(lambda x: ground(x) + 0.1 * c.H)


def sea(c):
    def wave():
        return [(c.across(1) * c.random.uniform(5, 7), c.random.uniform(0, 2 * math.pi), 1.0)]
    rows = []
    for k in range(4):
        colour = tuple(a + (b - a) * k / 3 for a, b in zip((80, 170, 220), (20, 84, 160)))
        rows.append(c.band(0.6 + 0.1 * k, 0.012, c.lit(colour), wave()))
    front, ((frequency, phase, _),) = c.lit((28, 100, 178)), wave()

    def height(x):
        return rows[2](x) + 0.03 * c.H

    def cover(draw, x):  # boats sink a little into the nearest wave
        xs = np.linspace(0, c.W, 96)
        ys = height(x) + 0.012 * c.H * np.sin(xs / c.W * 2 * math.pi * frequency + phase)
        draw.polygon([*zip(xs.tolist(), ys.tolist()), (c.W, c.H), (0, c.H)], fill=front)
    return Ground(height, shadow=False, cover=cover)


def snow(c):
    r = c.random
    c.band(0.60, 0.05, c.lit((206, 224, 240)))
    back = c.band(0.68, 0.03, c.lit((224, 236, 246)))
    for _ in range(c.across(r.randint(3, 7))):
        x = r.uniform(0, c.W)
        c.pine(x, back(x) + 0.03 * c.H, r.uniform(0.16, 0.28) * c.U, c.lit((44, 104, 84)), c.lit((245, 250, 255)))
    ground = c.band(0.78, 0.02, c.lit(SNOW_WHITE))
    return Ground(lambda x: ground(x) + 0.06 * c.H)


def forest(c):
    r = c.random
    c.band(0.6, 0.02, c.lit((84, 140, 100)))
    rows = ((0.68, 0.36, (74, 132, 92), 9, (60, 110, 62)), (0.75, 0.44, (48, 108, 70), 7, (70, 124, 60)))
    for y, height, colour, count, floor in rows:
        count = c.across(count)
        for k in range(count):
            c.pine((k + r.uniform(0.2, 0.8)) * c.W / count, y * c.H, height * c.U * r.uniform(0.75, 1.15), c.lit(colour))
        c.draw.rectangle([0, (y - 0.02) * c.H, c.W, c.H], fill=c.lit(floor))
    ground = c.band(0.79, 0.012, c.lit((86, 140, 66)))
    return Ground(lambda x: ground(x) + 0.06 * c.H)


def mountains(c):
    r, foot = c.random, 0.72 * c.H
    for y, count, colour in ((0.34, 3, (132, 142, 172)), (0.46, 4, (98, 108, 140))):
        count = c.across(count)
        for k in range(count):
            x, top, w = (k + r.uniform(0.1, 0.9)) * c.W / count, (y + r.uniform(-0.08, 0.06)) * c.H, r.uniform(0.2, 0.3) * c.U
            c.draw.polygon([(x, top), (x - w, foot), (x + w, foot)], fill=c.lit(colour))
            cap = 0.26  # share of the mountain that is snow
            h, w = (foot - top) * cap, w * cap
            c.draw.polygon([(x, top), (x - w, top + h), (x - w * 0.35, top + h * 0.75), (x, top + h * 1.15),
                            (x + w * 0.4, top + h * 0.72), (x + w, top + h)], fill=c.lit(SNOW_WHITE))
    ground = c.band(0.72, 0.02, c.lit((96, 152, 84)))
    return Ground(lambda x: ground(x) + 0.12 * c.H)


def city(c):
    r = c.random
    window = (206, 228, 244) if c.scene.time == "day" else (255, 226, 130)
    street = 0.76 * c.H
    for colour, heights, windows in (((150, 160, 186), (0.3, 0.46), False), ((96, 106, 138), (0.16, 0.34), True)):
        x = -0.02 * c.W
        while x < c.W:
            w, h = r.uniform(0.09, 0.16) * c.U, r.uniform(*heights) * c.H
            c.draw.rectangle([x, street - h, x + w, street + 0.02 * c.H], fill=c.lit(colour))
            for i in range(3 if windows else 0):
                for j in range(int(h / (0.05 * c.U))):
                    if r.random() < 0.75:
                        a, b = x + w * (i + 0.25) / 3, street - h + (0.018 + 0.05 * j) * c.U
                        c.draw.rectangle([a, b, a + w / 6, b + 0.024 * c.U], fill=window)
            x += w + r.uniform(0, 0.015) * c.U
    c.draw.rectangle([0, street, c.W, c.H], fill=c.lit((168, 168, 172)))
    c.draw.rectangle([0, 0.80 * c.H, c.W, c.H], fill=c.lit((82, 84, 92)))
    stripes, paint = c.across(6), c.lit((245, 240, 220))
    for k in range(stripes):
        c.draw.rectangle([(k + 0.2) * c.W / stripes, 0.90 * c.H, (k + 0.75) * c.W / stripes, 0.915 * c.H], fill=paint)
    return Ground(lambda x: 0.87 * c.H)


def space(c):
    r = c.random
    c.fill_gradient([c.near((10, 8, 34), 5), c.near((46, 20, 84), 8), c.near((14, 16, 52), 5)])
    c.dots(r.randint(60, 110), (0, 1), (0, 1), (0.001, 0.004),
           lambda: r.choice([(255, 255, 255), (255, 236, 190), (190, 215, 255)]))
    for _ in range(r.randint(1, 3)):
        x = r.choice([r.uniform(0.05, 0.25), r.uniform(0.75, 0.95)]) * c.W
        y, s = r.uniform(0.1, 0.9) * c.H, r.uniform(0.05, 0.11) * c.U
        colour = r.choice([(226, 120, 70), (90, 160, 220), (214, 180, 110), (150, 110, 200), (110, 190, 140)])
        ringed, ring = r.random() < 0.5, [x - 1.8 * s, y - 0.5 * s, x + 1.8 * s, y + 0.5 * s]
        if ringed:  # the far half, then the planet, then the near half
            c.draw.arc(ring, 180, 360, fill=(230, 210, 170), width=max(2, int(0.13 * s)))
        c.disc(x, y, s, colour)
        c.draw.chord([x - s, y - s, x + s, y + s], 20, 160, fill=tuple(int(v * 0.8) for v in colour))
        if ringed:
            c.draw.arc(ring, 0, 180, fill=(230, 210, 170), width=max(2, int(0.13 * s)))
    return None


def underwater(c):
    r = c.random
    c.fill_gradient([c.near((70, 190, 225), 8), c.near((24, 100, 180), 8), c.near((10, 50, 110), 6)])
    ground = c.band(0.86, 0.02, c.near((214, 190, 130), 6))
    for _ in range(c.across(r.randint(3, 6))):
        x = r.choice([r.uniform(0, 0.3), r.uniform(0.7, 1)]) * c.W
        h, colour = r.uniform(0.15, 0.4) * c.H, r.choice([(40, 150, 90), (30, 120, 80), (200, 80, 110)])
        c.draw.line([(x + math.sin(k * 1.1) * 0.02 * c.U, ground(x) - h * k / 8) for k in range(9)], fill=colour,
                    width=c.line_width(0.018), joint="curve")
    for _ in range(c.across(r.randint(6, 16))):
        x, y, s = r.uniform(0, c.W), r.uniform(0.05, 0.8) * c.H, r.uniform(0.005, 0.016) * c.U
        c.draw.ellipse([x - s, y - s, x + s, y + s], outline=(205, 240, 252), width=max(2, int(0.3 * s)))
    return None


def room(c):
    r = c.random
    wall = r.choice([(236, 214, 178), (176, 208, 214), (214, 190, 214), (190, 214, 176)])
    c.image.paste(c.near(wall, 8), (0, 0, c.W, c.H))
    y, floor = r.uniform(0.66, 0.72) * c.H, c.near((168, 112, 66), 8)
    c.draw.rectangle([0, y, c.W, c.H], fill=floor)
    for k in range(1, 5):
        board = y + (c.H - y) * (k / 5) ** 1.3
        c.draw.line([0, board, c.W, board], fill=tuple(int(v * 0.82) for v in floor), width=c.line_width(1 / 180))
    c.draw.rectangle([0, y - 0.02 * c.H, c.W, y + 0.005 * c.H], fill=(250, 244, 232))
    wx, wy, ws = r.choice([0.18, 0.82]) * c.W, r.uniform(0.2, 0.28) * c.H, 0.13 * c.U
    c.draw.rectangle([wx - ws, wy - ws, wx + ws, wy + ws], fill=WINDOW_WHITE)
    c.draw.rectangle([wx - 0.86 * ws, wy - 0.86 * ws, wx + 0.86 * ws, wy + 0.86 * ws], fill=(130, 196, 240))
    c.draw.line([wx, wy - ws, wx, wy + ws], fill=WINDOW_WHITE, width=max(2, int(0.1 * ws)))
    c.draw.line([wx - ws, wy, wx + ws, wy], fill=WINDOW_WHITE, width=max(2, int(0.1 * ws)))
    return Ground(lambda x: y + 0.5 * (c.H - y))


def plain(c):
    c.image.paste(COLOURS[c.scene.background], (0, 0, c.W, c.H))
    return None


def weather(c):
    """What falls: drops and flakes large enough for an autoencoder of an eighth of the side to keep them at 256 pixels.

    Rain, in long blue strokes on the grid, where snow falls in white dots.
    """
    if c.scene.weather == "rain":
        for column in range(STEPS + 1):
            for row in range(-4, STEPS, 4):
                x, y = column * c.step, (row + 2.5 * column % 4) * c.step
                c.draw.line([x, y, x - 0.4 * c.step, y + 1.8 * c.step], fill=(150, 190, 240), width=round(0.22 * c.step))
    if c.scene.weather == "snowfall":
        for column in range(STEPS + 1):
            for row in range(0, STEPS + 1, 3):
                x, y = (column + 0.3 * (row // 3 % 2)) * c.step, (row + 1.75 * column % 3) * c.step
                c.disc(x, y, (0.18, 0.26, 0.21)[column % 3] * c.step, (255, 255, 255))


PLACE_FUNCTIONS = dict(meadow=meadow, desert=desert, beach=beach, sea=sea, snow=snow, forest=forest, mountains=mountains,
                       city=city, space=space, underwater=underwater, room=room, plain=plain)
