#!/usr/bin/env python3
"""The judge: a small network that reads a picture back into the record of a scene.

    python Scripts/demo-model dataset --out judge-train --size 256 --split all --seed 11 --objects 24 --count 24000
    python Scripts/demo-model dataset --out judge-test  --size 256 --split all --seed 12 --objects 24 --count 1200
    python Scripts/demo-model/judge.py train --data judge-train --judge FILE --minutes 10 --of 60   # again until done
    python Scripts/demo-model/judge.py score --data judge-test --judge FILE --write                 # its ceiling, kept in it

FILE is a judge's own: one that is there is trained further, and counts on from its steps and minutes. The judge that
ships, judge.safetensors beside this program, is only read, by `score` and eval.py where no other is named.

It is trained on composed pictures only, never on a model's. What it reads right on composed pictures it has not seen is
the ceiling of every accuracy counted with it, but for chance, so that figure travels in its file. Pictures of any shape
are squeezed to 256x256; of that size training keeps a copy of the data set beside it, 0.2 MB a picture.
"""
import argparse
import json
import os
import random
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import dataset
import things
from labelling import ANSWERS, label_loss
from training import DEVICE, NOTHING_YET, Average, Precision, Timer, counted, rate, time_arguments
from vocabulary import COLOURS, OBJECTS, PLACES, SHAPES, TIMES, WEATHER

SIDE = 256
CELLS = 8  # of a side of the picture
CELL_ANSWERS = [*things.NAMES, *things.TINTED]
SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "judge.safetensors")
ALONE, ALONE_LEFT, ALONE_RIGHT, BESIDE, STACKED = "alone", "alone left", "alone right", "beside", "stacked"
OF_TWO = (BESIDE, STACKED)
NONE = "none"
NO_ANSWER = -1
WEATHERED = 4  # one in so many pictures of a batch is chosen from those with rain, snowfall or a rainbow, one in 13 of all
WHOLE = ("place", "time", "weather", "background", "arrangement")  # read off the whole picture, the other questions off a thing
ATTRIBUTES = ("place", "time", "weather", "background", "object", "shape", "colour", "relation", "all")


def questions(objects):
    """What is read off a picture: question -> possible answers."""
    names = [*objects, *SHAPES]
    return {
        "place": [*PLACES], "time": [NONE, *TIMES], "weather": [NONE, *WEATHER], "background": [NONE, *COLOURS],
        "arrangement": [ALONE, ALONE_LEFT, ALONE_RIGHT, BESIDE, STACKED],
        # the left or upper thing, then the other one if there is one; "none" is an object's own colour
        "first": names, "first colour": [NONE, *COLOURS], "second": names, "second colour": [NONE, *COLOURS],
    }


def answers(scene):
    """The true answers for a scene."""
    things, arrangement = list(scene.things), ALONE
    if len(things) == 2:
        arrangement = BESIDE if scene.relation in ("left of", "right of") else STACKED
        if reversed_(scene):
            things.reverse()
    elif scene.relation:
        arrangement = ALONE_LEFT if scene.relation == "on the left" else ALONE_RIGHT
    first, second = things[0], things[1] if len(things) == 2 else None
    return {
        "place": scene.place, "time": scene.time or NONE, "weather": scene.weather or NONE,
        "background": scene.background or NONE, "arrangement": arrangement,
        "first": first.name, "first colour": first.colour or NONE,
        "second": second.name if second else NONE, "second colour": second.colour or NONE if second else NONE,
    }


def reversed_(scene):
    """Whether the second thing of a scene is the left or upper one."""
    return scene.relation in ("right of", "below")


def mirrored(given):
    """The answers for the picture seen in a mirror."""
    given = dict(given)
    swap = {ALONE_LEFT: ALONE_RIGHT, ALONE_RIGHT: ALONE_LEFT}
    given["arrangement"] = swap.get(given["arrangement"], given["arrangement"])
    if given["arrangement"] == BESIDE:
        for a, b in (("first", "second"), ("first colour", "second colour")):
            given[a], given[b] = given[b], given[a]
    return given


def marks(scene, read):
    """What the caption of a scene asks and the picture shows, by attribute: 1, 0, or a share of two things.

    An object, shape or colour counts if either thing in the picture is read as it. A relation counts if the things
    are arranged so and, told apart by name and colour, stand in the asked order.
    """
    true, seen = answers(scene), [(read["first"], read["first colour"]), (read["second"], read["second colour"])]
    out = {"place": float(read["place"] == scene.place)}
    if scene.time:
        out["time"] = float(read["time"] == scene.time)
    if scene.weather:
        out["weather"] = float(read["weather"] == scene.weather)
    if scene.background:
        out["background"] = float(read["background"] == scene.background)
    out["shape" if scene.of_shapes else "object"] = _share([t.name in [n for n, _ in seen] for t in scene.things])
    colours = [t.colour in [c for _, c in seen] for t in scene.things if t.colour]
    if colours:
        out["colour"] = _share(colours)
    if len(scene.things) == 2:
        def likeness(order):
            return sum(a == b for mine, theirs in zip(order, seen) for a, b in zip(mine, theirs))
        asked = [(true["first"], true["first colour"]), (true["second"], true["second colour"])]
        same, swapped = likeness(asked), likeness(asked[::-1])
        out["relation"] = float(read["arrangement"] == true["arrangement"]
                                and (same > swapped or asked[0] == asked[1]))
    elif scene.relation:
        out["relation"] = float(read["arrangement"] == true["arrangement"])
    out["all"] = float(all(v == 1 for v in out.values()))
    return out


def _share(values):
    return sum(values) / len(values)


def mean_marks(list_of_marks):
    """The mean of each attribute over the pictures that ask for it, and how many do."""
    got = defaultdict(list)
    for m in list_of_marks:
        for k, v in m.items():
            got[k].append(v)
    return {k: (sum(got[k]) / len(got[k]), len(got[k])) for k in ATTRIBUTES if k in got}


class Judge(nn.Module):
    """Convolutions to 8x8 cells, then what is read off the whole and what is read off each thing; 0.75 M parameters.

    A cell belongs to the first thing, to the second or to the place. A thing's name and colour are read off the mean of
    its cells, by the same layers wherever it is. While the judge learns it is told whose each cell is, and what is in it
    (labelling.py).
    """

    def __init__(self, objects):
        super().__init__()
        self.objects, self.questions = list(objects), questions(objects)

        def step(a, b, stride):
            return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        self.eye = nn.Sequential(  # (B, 3, 256, 256)
            step(3, 16, 2), step(16, 24, 2), step(24, 48, 2),  # (B, 48, 32, 32)
            step(48, 96, 2), step(96, 96, 1), step(96, 144, 2),  # (B, 144, 8, 8)
            step(144, 128, 1), nn.Conv2d(128, 96, 1), nn.ReLU())  # (B, 96, 8, 8)
        self.thought = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(1536, 160), nn.ReLU())
        self.mouth = nn.Linear(160, sum(len(self.questions[q]) for q in WHOLE))
        self.owners = nn.Sequential(nn.Conv2d(96 + 160, 96, 1), nn.ReLU(), nn.Conv2d(96, 3, 1))
        self.thing = nn.Sequential(nn.Linear(96, 160), nn.ReLU(), nn.Dropout(0.1),
                                   nn.Linear(160, len(self.questions["first"]) + len(self.questions["first colour"])))
        self.cells = nn.Conv2d(96, ANSWERS, 1)

    def forward(self, pictures):
        """(B, 3, 256, 256) in -1…1 to the scores of each question's answers."""
        return self.answered(self.eye(pictures))[0]

    def answered(self, seen):
        """(B, 96, 8, 8) of the eye to the scores of each question's answers, and of each cell's owners (B, 3, 8, 8)."""
        thought = self.thought(seen)
        scores = dict(zip(WHOLE, self.mouth(thought).split([len(self.questions[q]) for q in WHOLE], 1)))
        owners = self.owners(torch.cat([seen, thought[:, :, None, None].expand(-1, -1, CELLS, CELLS)], 1))
        shares = owners.softmax(1)[:, :2].flatten(2)  # (B, 2, 64)
        shares = shares / (shares.sum(2, keepdim=True) + 1e-3)
        read = self.thing(shares @ seen.flatten(2).transpose(1, 2))  # (B, 2, names and colours)
        for k, which in enumerate(("first", "second")):
            scores |= zip((which, which + " colour"),
                          read[:, k].split([len(self.questions[q]) for q in ("first", "first colour")], 1))
        return scores, owners

    def labelled(self, seen):
        """(B, 96, 8, 8) of the eye to scores (B, 64, ANSWERS) of what each cell shows."""
        return self.cells(seen).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def read(self, images):
        """What the pictures (PIL images) show: a list of answers."""
        self.eval()
        out = []
        for i in range(0, len(images), 64):
            x = torch.from_numpy(np.stack([squeezed(im) for im in images[i:i + 64]])).to(DEVICE)
            scores = {q: s.argmax(1).tolist() for q, s in self(as_input(x)).items()}
            out += [{q: self.questions[q][s[k]] for q, s in scores.items()} for k in range(len(x))]
        for read in out:
            if read["arrangement"] not in OF_TWO:
                read["second"] = read["second colour"] = NONE
        return out

    def save(self, path, weights, facts):
        from safetensors.torch import save_file
        weights = {k: w.half() if w.dtype.is_floating_point else w for k, w in weights.items()}
        save_file({k: w.contiguous().cpu() for k, w in weights.items()}, path + ".new",
                  metadata={"facts": json.dumps(dict(facts, objects=self.objects, cells=CELL_ANSWERS))})
        os.replace(path + ".new", path)

    @classmethod
    def load(cls, path):
        """(judge, facts) from a file."""
        from safetensors import safe_open
        if not os.path.exists(path):
            raise SystemExit("there is no judge in %s: train one with judge.py, or name its file with --judge" % path)
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            judge = cls(facts["objects"])
            weights = {k: file.get_tensor(k) for k in file.keys()}
        if {k: w.shape for k, w in weights.items() if not k.startswith("cells.")} != {
                k: w.shape for k, w in judge.state_dict().items() if not k.startswith("cells.")}:
            raise SystemExit("%s holds a judge of another shape: train one with judge.py into another file" % path)
        if facts.get("cells") != CELL_ANSWERS:  # they grow with the vocabulary; only training needs them
            weights |= {k: w for k, w in judge.state_dict().items() if k.startswith("cells.")}
        judge.load_state_dict(weights)
        return judge.to(DEVICE), facts


def squeezed(image):
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.BICUBIC))


def as_input(pictures):
    """(B, 256, 256, 3) bytes to (B, 3, 256, 256) in -1…1."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def cached(folder, lines):
    """All pictures of a data set, squeezed, in one file beside it."""
    path = os.path.join(folder, "squeezed-%d-%s.npy" % (SIDE, dataset.digest(folder)))
    if not os.path.exists(path):
        out = np.lib.format.open_memmap(path + ".new", "w+", np.uint8, (len(lines), SIDE, SIDE, 3))
        for i, (file, _, _) in enumerate(lines):
            out[i] = squeezed(Image.open(os.path.join(folder, file)))
        out.flush()
        os.replace(path + ".new", path)
    return np.load(path, mmap_mode="r")


def shown(folder, lines):
    """What the cells of all pictures of a data set show, kept beside it."""
    path = os.path.join(folder, "things-%d-%s.npz" % (CELLS, dataset.digest(folder)))
    if not os.path.exists(path):
        np.savez_compressed(path + ".new.npz", **things.arrays([s for _, _, s in lines], folder, CELLS, square=True))
        os.replace(path + ".new.npz", path)
    return things.load(path)


def worn(x, random_):
    """The pictures moved a little, blurred, noisy and off in colour, as a model's are."""
    dy, dx = random_.randrange(-10, 11), random_.randrange(-10, 11)
    x = F.pad(x, (10, 10, 10, 10), "replicate")[:, :, 10 + dy:10 + dy + SIDE, 10 + dx:10 + dx + SIDE]
    if random_.random() < 0.5:
        small = random_.randrange(SIDE // 2, SIDE)
        x = F.interpolate(F.interpolate(x, (small, small), mode="area"), (SIDE, SIDE), mode="bilinear")
    n = len(x)
    x = x * (1 + 0.12 * torch.randn(n, 1, 1, 1, device=x.device)) + 0.06 * torch.randn(n, 3, 1, 1, device=x.device)
    return (x + 0.08 * random_.random() * torch.randn_like(x)).clamp(-1, 1)


def owner_loss(scores, here, swap):
    """The cross entropy of whose each cell is: scores (B, 3, 8, 8), whether each picture's second thing comes first (B)."""
    wanted = here.on(0).transpose(1, 2)  # (B, 3, 64)
    wanted = torch.where(swap.to(wanted.device)[:, None, None], wanted[:, [1, 0, 2]], wanted)
    return -(F.log_softmax(scores.flatten(2), 1) * wanted).sum(1).mean()


def objects_in(lines):
    """The names of all objects that a data set shows."""
    return {t.name for _, _, s in lines for t in s.things if not s.of_shapes}


def expect_known(a, judge, lines):
    """Ends the program if the data set shows objects that the judge has no word for."""
    unknown = sorted(objects_in(lines) - set(judge.objects))
    if unknown:
        raise SystemExit("%s shows objects that the judge in %s does not know (%s): draw another data set with fewer --objects, "
                         "or train a new judge into another file (--judge)" % (a.data, a.judge, ", ".join(unknown)))


def train(a):
    random_ = random.Random(a.seed)
    torch.manual_seed(a.seed)
    lines = list(dataset.read(a.data))
    names = objects_in(lines)
    judge, facts = Judge([o for o in OBJECTS if o in names]).to(DEVICE), dict(NOTHING_YET)
    if os.path.exists(a.judge):
        judge, facts = Judge.load(a.judge)
        expect_known(a, judge, lines)
        random_.seed(a.seed + facts["steps"])
        torch.manual_seed(a.seed + facts["steps"])
    pictures, in_cells = cached(a.data, lines), shown(a.data, lines)
    numbers = {q: {answer: i for i, answer in enumerate(v)} for q, v in judge.questions.items()}

    def labels(given):
        unasked = () if given["arrangement"] in OF_TWO else ("second", "second colour")
        return [NO_ANSWER if q in unasked else numbers[q][given[q]] for q in judge.questions]
    plain = torch.tensor([labels(answers(s)) for _, _, s in lines])
    turned = torch.tensor([labels(mirrored(answers(s))) for _, _, s in lines])
    swapped = torch.tensor([reversed_(s) for _, _, s in lines])
    weathered = [i for i, (_, _, s) in enumerate(lines) if s.weather]
    beside = torch.tensor([answers(s)["arrangement"] == BESIDE for _, _, s in lines])

    judge.eye.to(memory_format=torch.channels_last)  # twice as fast on a CPU with bfloat16
    average, precision = Average(judge, 0.99), Precision()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=a.lr, weight_decay=0.02)
    timer, step, losses, progress = Timer(a, facts), 0, [], (0, 0)
    while progress[0] < 1:
        judge.train()
        for group in optimizer.param_groups:
            group["lr"] = a.lr * rate(a, step, progress[1])
        most = min(a.batch, len(lines))
        some = random_.sample(weathered, min(most // WEATHERED, len(weathered)))
        others = [i for i in random_.sample(range(len(lines)), most) if i not in some]
        rows = sorted(some + others[:most - len(some)])
        x = as_input(torch.from_numpy(pictures[rows]).to(DEVICE))
        wanted, here, swap = plain[rows], in_cells.at(rows).to(DEVICE), swapped[rows]
        if random_.random() < 0.5:
            x, wanted, here.shares, swap = x.flip(3), turned[rows], here.shares.flip(3), swap ^ beside[rows]
        with precision():
            seen = judge.eye(worn(x, random_).to(memory_format=torch.channels_last))
        seen = seen.float().contiguous()
        scores, owners = judge.answered(seen)
        loss = sum(F.cross_entropy(scores[q], wanted[:, k].to(DEVICE), ignore_index=NO_ANSWER, reduction="sum")
                   for k, q in enumerate(judge.questions)) / len(rows)
        loss = loss + a.labels * (label_loss(judge.labelled(seen), here, here.on(0)) + owner_loss(owners, here, swap))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update(judge)
        step += 1
        losses.append(loss.item())
        progress = timer.progress(step)
        if timer.due() or progress[0] >= 1:
            total = counted(facts, step, step * len(rows), timer)  # without the ceiling, which was that of the weights before
            judge.save(a.judge, average.weights, total)
            print("judge %d steps, loss %.3f, %.0f pictures/s" % (
                total["steps"], sum(losses) / len(losses), step * len(rows) / timer.seconds), flush=True)
            losses = []


def score(a):
    """Prints the marks that true pictures get: the ceiling."""
    judge, facts = Judge.load(a.judge)
    lines = list(dataset.read(a.data))
    expect_known(a, judge, lines)
    images = [Image.fromarray(p) for p in cached(a.data, lines)]
    read = judge.read(images)
    single = {q: _share([r[q] == answers(s)[q] for (_, _, s), r in zip(lines, read)]) for q in judge.questions}
    ceiling = mean_marks([marks(s, r) for (_, _, s), r in zip(lines, read)])
    print("each question: " + "  ".join("%s %.3f" % item for item in single.items()))
    print("as a caption's marks: " + "  ".join("%s %.3f (%d)" % (k, v, n) for k, (v, n) in ceiling.items()))
    if a.write:
        facts.update(ceiling={k: round(v, 4) for k, (v, _) in ceiling.items()}, judged=len(lines))
        judge.save(a.judge, judge.state_dict(), facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("train", train), ("score", score)):
        sub = commands.add_parser(name)
        sub.add_argument("--data", required=True, help="a folder made by the dataset command")
        sub.set_defaults(run=run)
        if name == "train":
            sub.add_argument("--judge", required=True, metavar="FILE",
                             help="the judge's file; one that is there is trained further")
            time_arguments(sub, decay=0.6)
            sub.add_argument("--batch", type=int, default=64)
            sub.add_argument("--lr", type=float, default=2e-3)
            sub.add_argument("--labels", type=float, default=15.0, metavar="WEIGHT",
                             help="of what the cells show beside the questions (default %(default)s)")
            sub.add_argument("--seed", type=int, default=1)
        else:
            sub.add_argument("--judge", metavar="FILE", help="the judge's file; default: the one that ships")
            sub.add_argument("--write", action="store_true", help="keep the figures in the file that --judge names")
    a = parser.parse_args()
    if a.command == "score":
        if a.write and not a.judge:
            parser.error("--write needs --judge FILE: without it the judge that ships is read, and stays as it is")
        a.judge = a.judge or SHIPPED
    a.run(a)


if __name__ == "__main__":
    main()
