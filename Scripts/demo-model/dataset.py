"""Writes a data set: pictures with true captions, composed from scenes.

    OUT/pictures/000000.png …   one picture a scene
    OUT/captions.jsonl          a line each: file, captions, scene
    OUT/sprites.npz             the objects; a machine without an SVG renderer needs only this file
    OUT/NOTICE                  whose drawings they are

A run that was stopped goes on where it was: pictures whose line in captions.jsonl is still
the same are kept.
"""
import json
import multiprocessing
import os
import time
import zlib

from PIL import Image

from drawing import VERSION, draw, size_of, sprites
from scene import ASPECTS, Scene, World, captions
from vocabulary import OBJECTS, PLACES, write_notice

_worker = {}  # what each drawing process holds


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=12000, help="pictures (default %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="pixels on the longer side (default %(default)s)")
    parser.add_argument("--objects", type=int, default=len(OBJECTS), help="how many of the objects to use (default all)")
    parser.add_argument("--places", default=",".join(PLACES), help="places to use, with commas")
    parser.add_argument("--aspects", help='aspect ratios to use, such as "8:8 8:5 5:8"; default all that the size allows')
    parser.add_argument("--shapes", type=float, default=0.25, help="share of pictures of plain shapes")
    parser.add_argument("--weather", type=float, default=0.15, help="share of pictures under the sky with rain, snowfall or a rainbow")
    parser.add_argument("--coloured", type=float, default=0.3, help="share of the objects that can be recoloured which are")
    parser.add_argument("--split", choices=["train", "held-out", "all"], default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that draw")
    parser.add_argument("--sheet", metavar="PNG", help="also write a contact sheet of the first 48 pictures")


def run(a):
    os.makedirs(os.path.join(a.out, "pictures"), exist_ok=True)
    objects = list(OBJECTS)[:a.objects]
    wanted = [tuple(map(int, s.split(":"))) for s in a.aspects.split()] if a.aspects else list(ASPECTS)
    aspects = [s for s in wanted if all(side % 32 == 0 for side in size_of(s, a.size))]
    if not aspects:
        raise SystemExit("no aspect ratio has sides that are multiples of 32 at %d pixels" % a.size)
    world = World(objects, a.places.split(","), aspects, a.shapes, a.weather, a.coloured, a.seed)
    scenes = [world.scene(i, a.split) for i in range(a.count)]
    path = os.path.join(a.out, "captions.jsonl")
    lines = [json.dumps({"file": name(i), "captions": captions(scene), "scene": scene.record, "size": a.size, "drawn": VERSION})
             for i, scene in enumerate(scenes)]
    for i, line in enumerate(_lines(path)):
        if (i >= len(lines) or line != lines[i]) and os.path.exists(os.path.join(a.out, name(i))):
            os.remove(os.path.join(a.out, name(i)))
    with open(path + ".new", "w") as file:
        file.writelines(line + "\n" for line in lines)
    os.replace(path + ".new", path)
    write_notice(a.out)

    missing = [(i, s) for i, s in enumerate(scenes) if not os.path.exists(os.path.join(a.out, name(i)))]
    cut = sprites(os.path.join(a.out, "sprites.npz"), objects)
    begin = time.time()
    with multiprocessing.Pool(a.jobs, _begin, (cut, a.size, a.out)) as pool:
        for n, _ in enumerate(pool.imap_unordered(_write, missing, chunksize=8), 1):
            if n % 1000 == 0:
                print("%d of %d pictures, %.0f a second" % (n, len(missing), n / (time.time() - begin)), flush=True)
    print("%d pictures there, %d of them drawn now in %.0f s" % (a.count, len(missing), time.time() - begin))
    if a.sheet:
        sheet([Image.open(os.path.join(a.out, name(i))) for i in range(min(a.count, 48))], 8, 128).save(a.sheet)


def read(folder):
    """The lines of a data set: (file, captions, scene)."""
    with open(os.path.join(folder, "captions.jsonl")) as file:
        for line in file:
            record = json.loads(line)
            if record.get("drawn") != VERSION:
                raise SystemExit("%s was drawn by another version of this program: call `dataset` again" % folder)
            yield record["file"], record["captions"], Scene.of(record["scene"])


def digest(folder):
    """What tells a data set from others: pictures, captions and scenes are as its lines say."""
    with open(os.path.join(folder, "captions.jsonl"), "rb") as file:
        return "%08x" % zlib.crc32(file.read())


def _lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().splitlines()


def name(index):
    return "pictures/%06d.png" % index


def sheet(pictures, columns, cell):
    """A contact sheet with cells of `cell` pixels."""
    rows = -(-len(pictures) // columns)
    out = Image.new("RGB", (columns * cell, rows * cell), "white")
    for i, picture in enumerate(pictures):
        picture.thumbnail((cell, cell), Image.LANCZOS)
        out.paste(picture, (i % columns * cell + (cell - picture.width) // 2, i // columns * cell + (cell - picture.height) // 2))
    return out


def _begin(cut, size, out):
    _worker.update(sprites=cut, size=size, out=out)


def _write(job):
    index, scene = job
    path = os.path.join(_worker["out"], name(index))
    draw(scene, _worker["sprites"], _worker["size"]).save(path + ".new", format="PNG", compress_level=1)
    os.replace(path + ".new", path)
