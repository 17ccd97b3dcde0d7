"""What captions say, which T5 learns from captions alone: `read`, before the painter, and a third task beside it.

Which of two things is on the left decides the first steps, and a caption says it far from the
things' names ("a cat to the left of a dog", "a dog to the right of a cat"). The velocity teaches
that last of all: after 290,000 pictures nothing in T5's output told left things from right ones
(a linear layer on it was right in 53 of 100). Captions cost next to nothing, compared with pictures.
So a linear layer reads T5's output for the words of each thing: where it is, what it is, its colour.

Where it is follows from two things, neither of which says anything alone: how the relation is worded,
and which thing is named first. That is an exclusive or, which gradients do not find. So
another layer reads these two off T5's first layer. And T5 must tell what stands before a word from what
stands after it, which random weights take long to: four of its heads begin by looking one way
only (painter.py). With that, at a constant rate, 100 steps of 32 captions took the spots from 53 to 95 of 100 in captions of
contents kept away from training (of two shapes, at that time, only in one order), 400 to 99 and more; without it 400 steps
left them where they were.

Neither layer is part of the model: `export` leaves them out.
"""
import copy
import os
import random

import torch
import torch.nn.functional as F

import things
from labelling import ANSWERS
from painter import Painter, turn_heads
from pictures import run_settings
from scene import World, captions
from things import NAMES, TINTED
from tokenizing import T5_PAD, T5Tokenizer
from training import DEVICE, NOTHING_YET, Stage, is_trained
from vocabulary import OBJECTS

SPOTS = ("left", "right", "upper", "lower", "alone", "alone on the left", "alone on the right")
PHRASES = ("", "to the left of", "to the right of", "above", "below", "and", "on the left and")  # between two things
MENTIONED = ("alone", "first", "second")
NOT_A_THING = -100  # of a word
NOTHING = (NOT_A_THING,) * 5


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32, help="captions a step")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--turn", action="store_true",
                        help="first turn the four heads, for a model from before they were; a new one has them")


def run(a):
    """Trains T5 on captions; what the painter knows of its output so far is kept as well as it goes."""
    settings = run_settings(a.out)
    model, stage = Painter(settings), Stage(a.out, "dit")
    before = stage.load(model)
    known = copy.deepcopy(model.t5).to(DEVICE) if before and is_trained(settings, before) else None
    if a.turn:
        turn_heads(model.t5)
    model.to(DEVICE)
    reader, reader_stage = Reader(settings["t5"]), Stage(a.out, "reader")
    reader_stage.load(reader)
    reader.to(DEVICE)
    texts, others = Captions(a.out, seed=0), Captions(a.out, seed=1, split="held-out", count=1000)
    biases = [p for name, p in model.t5.named_parameters() if "relative" in name]  # they must grow to several units
    rest = [p for name, p in model.t5.named_parameters() if "relative" not in name]
    optimizer = torch.optim.AdamW([dict(params=[*rest, *reader.parameters()], lr=a.lr), dict(params=biases, lr=20 * a.lr)],
                                  betas=(0.9, 0.98), weight_decay=0.01)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1, (k + 1) / 30) * (1 - k / a.steps))
    for step in range(1, a.steps + 1):
        ids, wanted = texts.some(a.batch)
        loss = reader.loss(model, ids, wanted)
        if known:
            with torch.no_grad():
                was = known(input_ids=ids)[0]
            loss = loss + F.mse_loss(model.t5(input_ids=ids)[0], was) / was.var()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        if step % 50 == 0 or step == a.steps:
            print("read %5d  loss %.3f; of other contents, spots right: %.3f" % (
                step, loss.item(), reader.right(model, *others.all())), flush=True)
    stage.save(model.state_dict(), before or NOTHING_YET)
    reader_stage.save(reader.state_dict(), NOTHING_YET)


class Reader(torch.nn.Module):
    """Reads the outputs of T5's first and last layer."""

    def __init__(self, width):
        super().__init__()
        self.early = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, len(PHRASES) + len(MENTIONED)))
        self.answers = torch.nn.Linear(width, len(SPOTS) + ANSWERS)
        for layer in (self.early[-1], self.answers):
            torch.nn.init.zeros_(layer.weight)  # so that at first it does not disturb what T5 knows

    def loss(self, painter, ids, wanted):
        """The cross entropy over the words of things: ids (B, T), what is wanted of each token (B, T, 5)."""
        states = painter.t5(input_ids=ids, output_hidden_states=True).hidden_states
        scores = [*self.early(states[1]).float().split([len(PHRASES), len(MENTIONED)], -1),
                  *self.answers(states[-1]).float().split([len(SPOTS), len(NAMES), len(TINTED)], -1)]
        return sum(F.cross_entropy(s.flatten(0, 1), wanted[..., k].flatten(), ignore_index=NOT_A_THING)
                   for k, s in enumerate(scores))

    @torch.no_grad()
    def right(self, painter, ids, wanted):
        """The share of things' words whose spot is read right."""
        spots, there = self.answers(painter.t5(input_ids=ids)[0])[..., :len(SPOTS)].argmax(-1), wanted[..., 0] != NOT_A_THING
        return (spots == wanted[..., 2])[there].float().mean().item()


class Captions:
    """Captions of scenes of a run's world, with what their words stand for."""

    def __init__(self, out, seed, split="train", count=20000):
        shown = {NAMES[i] for aspect in run_settings(out)["aspects"] for i in things.read(out, aspect).names.unique().tolist()}
        world = World([o for o in OBJECTS if o in shown], seed=seed)
        tokenizer, self.random = T5Tokenizer(os.path.join(out, "tokenizer_2")), random.Random(seed)
        ids, wanted = [], []
        for index in range(count // 2):  # a scene has up to four captions, two and a half on average
            scene = world.scene(index, split)
            for caption in captions(scene):
                tokens, labels = tokenizer(caption), labelled(scene, caption.split())
                if labels and sum(t != T5_PAD for t in tokens) == len(labels) + 1:  # each word is one token, and there is an end
                    ids.append(tokens)
                    wanted.append((labels + [NOTHING] * len(tokens))[:len(tokens)])
        if not ids:
            raise SystemExit("the tokenizer of %s knows no caption of its pictures" % out)
        self.ids, self.wanted = torch.tensor(ids), torch.tensor(wanted)

    def some(self, count):
        rows = torch.tensor(self.random.sample(range(len(self.ids)), min(count, len(self.ids))))
        return self.ids[rows].to(DEVICE), self.wanted[rows].to(DEVICE)

    def all(self):
        return self.ids.to(DEVICE), self.wanted.to(DEVICE)


def labelled(scene, words):
    """For each word of a caption: phrase, mention, spot, name and colour as numbers. None where the two things are alike."""
    out, spots = [NOTHING] * len(words), _spots(scene)
    own = [t.words.split() for t in scene.things]
    if len(own) == 2 and own[0] == own[1]:
        return None
    begins = [next(i for i in range(len(words)) if words[i:i + len(o)] == o) for o in own]
    if len(own) == 2 and begins[0] == begins[1]:  # "an orange" in "an orange car"
        return None
    phrase = ""
    if len(own) == 2:
        former = begins.index(min(begins))
        phrase = " ".join(words[begins[former] + len(own[former]):max(begins)])
    for thing, spot, begin, o in zip(scene.things, spots, begins, own):
        mention = "alone" if len(own) == 1 else "first" if begin == min(begins) else "second"
        out[begin:begin + len(o)] = [(PHRASES.index(phrase), MENTIONED.index(mention), SPOTS.index(spot),
                                      NAMES.index(thing.name), TINTED.index(thing.colour))] * len(o)
    return out


def _spots(scene):
    if len(scene.things) == 1:
        return [" ".join(("alone", scene.relation or "")).strip()]
    return {"left of": ("left", "right"), "right of": ("right", "left"), "above": ("upper", "lower"),
            "below": ("lower", "upper")}[scene.relation]
