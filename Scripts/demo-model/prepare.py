"""Turns a data set into what training reads: tokenizers, token ids, and the pictures of each aspect ratio in one file.

    OUT/settings.json           sizes of the models (the preset) and of the data
    OUT/tokenizer, tokenizer_2  learnt from the captions
    OUT/tokens.npz              ids of all captions, the empty one last; `start` is where a picture's captions begin
    OUT/pictures-8x5.npy        the pictures of one aspect ratio, and in rows-8x5.npy their numbers in the data set
    OUT/things-8x5.npz          what their tokens show (things.py)

With --from a finished model is trained further: its tokenizers, sizes and weights are
taken over (inherit.py). A run whose painter has begun keeps its tokenizers, since it knows words by their numbers.
settings.json says last of which data set the files are: without that no other command takes them.
"""
import os
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

import dataset
import inherit
import things
from painter import PRESETS
from tokenizing import ClipTokenizer, T5Tokenizer, make_tokenizers
from training import Stage, read_json, write_json


TOKENIZERS = ("tokenizer", "tokenizer_2")


def arguments(parser):
    parser.add_argument("--data", required=True, metavar="FOLDER")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    parser.add_argument("--preset", default="demo", choices=list(PRESETS), help="size of the models (default %(default)s)")
    parser.add_argument("--smallest", type=int, default=128, metavar="PIXELS",
                        help="the long side is halved for coarser levels down to this (default %(default)s)")
    parser.add_argument("--from", dest="model", metavar="FOLDER", help="a model to train further; --preset is not used then")


def run(a):
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, "settings.json")
    old, has_begun = read_json(path) if os.path.exists(path) else {}, os.path.exists(Stage(a.out, "dit").path)
    if has_begun and old:
        expect_same_beginning(a, old)
    lines, data = list(dataset.read(a.data)), dataset.digest(a.data)
    texts = [c for _, captions, _ in lines for c in captions]
    if a.model:
        inherit.check(a.model)
    if old:  # until all files are of these pictures no command takes them, and the next `prepare` keeps none
        write_json(path, {k: v for k, v in old.items() if k != "data"})
    if a.model:
        for name in TOKENIZERS:
            shutil.copytree(os.path.join(a.model, name), os.path.join(a.out, name), dirs_exist_ok=True)
        inherit.fill(a.model, a.out)
    elif not has_begun or not all(os.path.exists(os.path.join(a.out, name)) for name in TOKENIZERS):
        make_tokenizers(texts, a.out)
    clip, t5 = ClipTokenizer(os.path.join(a.out, "tokenizer")), T5Tokenizer(os.path.join(a.out, "tokenizer_2"))
    start = np.cumsum([0] + [len(captions) for _, captions, _ in lines])
    np.savez_compressed(os.path.join(a.out, "tokens.npz"), start=start, clip=np.array([clip(t) for t in [*texts, ""]], np.int16),
                        t5=np.array([t5(t) for t in [*texts, ""]], np.int16))

    rows = defaultdict(list)
    for i, (_, _, scene) in enumerate(lines):
        rows["%dx%d" % scene.aspect].append(i)
    for aspect, numbers in rows.items():
        files = [os.path.join(a.data, lines[i][0]) for i in numbers]
        _gather(files, os.path.join(a.out, "pictures-%s.npy" % aspect), keep=old.get("data") == data)
        np.save(os.path.join(a.out, "rows-%s.npy" % aspect), numbers)
    size = max(Image.open(os.path.join(a.data, lines[0][0])).size)
    sizes = [max(np.load(os.path.join(a.out, "pictures-%s.npy" % k), mmap_mode="r").shape[1:3]) for k in rows]
    assert set(sizes) == {size}, "the pictures' long sides differ: %s" % sizes
    for aspect, numbers in rows.items():
        things.write(a.out, aspect, [lines[i][2] for i in numbers], a.data, size)
    if a.model:
        shapes = dict(inherit.sizes(a.model), inherited=inherit.history(a.model))
    else:
        shapes = dict(PRESETS[a.preset], preset=a.preset)
    shapes |= {k: old[k] for k in ("shift_factor", "scaling_factor") if k in old}
    write_json(path, dict(
        shapes, clip_vocabulary=len(clip.vocabulary), t5_vocabulary=t5.tokenizer.get_vocab_size(),
        data=data, size=size, smallest=a.smallest, aspects={k: len(v) for k, v in rows.items()},
        objects=len({t.name for _, _, s in lines for t in s.things if not s.of_shapes})))
    print("%d pictures of %d pixels in %d aspect ratios, %d captions, words: CLIP %d, T5 %d" % (
        len(lines), size, len(rows), len(texts), len(clip.vocabulary), t5.tokenizer.get_vocab_size()))


def expect_same_beginning(a, settings):
    """Ends the program if a run's painter began with another preset or model than is asked for now."""
    if a.model and settings.get("inherited") != inherit.history(a.model):
        raise SystemExit("the painter in %s did not begin with %s: name another --out" % (a.out, a.model))
    if not a.model and settings.get("preset") != a.preset:
        raise SystemExit("the painter in %s began with %s: say so, or name another --out" % (
            a.out, "--preset " + settings["preset"] if "preset" in settings else "a model (--from)"))


def _gather(files, path, keep):
    """The pictures in one array on disk; with `keep` an array of the right shape that is there is kept."""
    width, height = Image.open(files[0]).size
    shape = (len(files), height, width, 3)
    if keep and os.path.exists(path) and np.load(path, mmap_mode="r").shape == shape:
        return
    out = np.lib.format.open_memmap(path + ".new", "w+", np.uint8, shape)

    def read(i):
        out[i] = np.asarray(Image.open(files[i]).convert("RGB"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, range(len(files))))
    out.flush()
    os.replace(path + ".new", path)
