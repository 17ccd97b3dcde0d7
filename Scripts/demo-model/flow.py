"""Trains the painter: `dit` by flow matching, then `distill` for a guidance input with its usual meaning.

    OUT/dit.safetensors, OUT/distill.safetensors     averaged weights
    OUT/taught-DIGEST.safetensors                    what `distill` learned from: `dit` as it was then
    OUT/head.safetensors, OUT/reader.safetensors     what answers the second and third task of `dit` (labelling.py, reading.py)

`dit` drops some captions, so that the model also knows pictures without one. Things
count more than the place around them at first (--things): that is where the painter is
weak, and most tokens show none. Weights that depend on the clean picture bias the velocity
towards it, so the plan's last quarter has even ones.
`distill` teaches a copy to give in one pass, told a guidance g in 1…5, what the
first one gives by true guidance, v0 + g (v - v0), as FLUX.1-dev was made. Where `dit` was trained
further since, the copy begins with what distillation had changed in the weights before, added to the new ones.
A painter with guidance in it already, as an exported one has, need not lose it and be distilled again: with
--guided `dit` trains it at every guidance, on pictures.
"""
import glob
import os
import shutil
from collections import Counter

import torch
import torch.nn.functional as F

from batches import LEVELS, Batches
from coarser import Coarser
from labelling import Head
from painter import HEAD, Painter
from pictures import run_settings
from reading import Captions, Reader
from training import (DEVICE, NOTHING_YET, Average, Optimizers, Precision, Stage, Timer, counted, digest, is_trained, rate,
                      run_as_team, team_arguments, time_arguments)

MOST_GUIDANCE = 5.0
USUAL_GUIDANCE = 3.5
HELPED = 0.75  # of the plan of `dit` has further tasks and weights on things, less and less; the rest of it has neither
READ = 64  # captions a step of the third task


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    time_arguments(parser)
    team_arguments(parser)
    parser.add_argument("--tokens", type=int, default=73728 if DEVICE.type == "cuda" else 4608, help="tokens a batch")
    parser.add_argument("--mixed", type=float, default=0.15, help="share of mixed-resolution batches")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, metavar="WEIGHT",
                        help="how often the levels of resolution are drawn, finest first (default 4.5 3.5 1)")
    parser.add_argument("--labels", type=float, default=0.3, metavar="WEIGHT",
                        help="of the second task (labelling.py) at the plan's beginning; it falls to 0 over three quarters of it "
                             "(dit only; default %(default)s)")
    parser.add_argument("--reading", type=float, default=0.3, metavar="WEIGHT",
                        help="of the third task (reading.py), likewise (dit only; default %(default)s)")
    parser.add_argument("--things", type=float, default=3.0, metavar="WEIGHT",
                        help="of the tokens that show a thing, where those of the place count 1, at the plan's beginning; it falls "
                             "to 1 over three quarters of it (dit only; default %(default)s)")
    parser.add_argument("--noisy", type=float, nargs="+", default=(0.3,), metavar="SHARE",
                        help="of the samples whose sigma is drawn evenly from 0.8 to 1, where what goes where is decided by the "
                             "caption alone; of the others a fifth lies there too; one for each level, finest first, the last "
                             "for all further ones (default 0.3)")
    parser.add_argument("--told", type=float, default=1.0, metavar="SIGMA",
                        help="from which on the coarser grid teaches the finest one (coarser.py), where that one is new: 0.88 for "
                             "512 pixels after 256; 1, the default: never (dit only)")
    parser.add_argument("--pairs", type=float, default=2.0, metavar="WEIGHT",
                        help="how often a picture of two things is drawn, for one of a single thing (default %(default)s)")
    parser.add_argument("--windows", type=float, default=0.0, metavar="SHARE",
                        help="of the batches of the finest level that show a window around things, of 3/8 of the picture's sides "
                             "(batches.py; default 0)")
    parser.add_argument("--guided", type=float, default=0.0, metavar="SHARE",
                        help="of the samples that are told a guidance of 1…5 and learn it from pictures, at the price of one more "
                             "pass: for a painter with guidance in it, which then needs no `distill` (dit only; default 0)")
    parser.add_argument("--drop", type=float, default=0.1, help="share of captions dropped (dit only)")
    parser.add_argument("--ema", type=float, default=0.999, help="how slowly the averaged weights follow")
    parser.add_argument("--lr", type=float, help="default 1.5e-3, for distill 3e-4")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")


def run(a):
    run_as_team(train, a)


def train(a, team):
    settings, precision, stage = run_settings(a.out), Precision(team), Stage(a.out, a.command)
    model, teacher = Painter(settings), None
    before, base = stage.load(model), None
    guided = a.guided if a.command == "dit" else 0.0
    if guided and os.path.exists(Stage(a.out, "distill").path):
        raise SystemExit("--guided does not train `distill`, which has the guidance here: leave it out, or export, and begin "
                         "a new run with that model (`prepare --from`)")
    if not 0 <= guided <= 1:
        raise SystemExit("--guided is a share, from 0 to 1")
    if not 0 <= a.windows <= 1:
        raise SystemExit("--windows is a share, from 0 to 1")
    if a.command == "distill":
        teacher = Painter(settings)
        if not is_trained(settings, Stage(a.out, "dit").load(teacher)):
            raise SystemExit("train the model first (`dit`)")
        base = digest(a.out, "dit")
        if before is None:
            model.load_state_dict(teacher.state_dict())
        elif before.get("taught") != base:
            catch_up(a.out, model, teacher, Painter(settings), before.get("taught"))
        teacher.to(DEVICE).eval().requires_grad_(False)
    before = before or NOTHING_YET
    if not teacher and team.leads and before.get("guided", False) != (guided > 0):
        print("guidance was in this painter, and fades without --guided: call `distill` afterwards" if not guided else
              "no guidance was in this painter: with --guided it learns it from nothing", flush=True)
    model.to(DEVICE).train()
    average = Average(model, a.ema)
    head, head_stage = None, Stage(a.out, "head")
    if a.labels and not teacher:
        head = Head(model, HEAD * settings["heads"])
        head_stage.load(head)
        head.to(DEVICE)
    reader, reader_stage = None, Stage(a.out, "reader")
    if a.reading and not teacher:
        reader = Reader(settings["t5"])
        reader_stage.load(reader)
        reader.to(DEVICE)
    learning = torch.nn.ModuleList(filter(None, (model, head, reader)))
    optimizers = Optimizers(learning, a.lr or (3e-4 if teacher else 1.5e-3), team, precision)
    if a.compile:  # the blocks alone: one compilation serves them all, and every size of grid
        for network in filter(None, (model, teacher)):
            network.transformer.compile_repeated_blocks(dynamic=True)
    team.part_ways(before["steps"])
    batches = Batches(a.out, a.tokens, a.mixed, 0.0 if teacher else a.drop, seed=before["steps"],
                      weights=a.levels, with_things=not teacher and (a.labels > 0 or a.things != 1), noisy=a.noisy, pairs=a.pairs,
                      windows=a.windows)
    texts = Captions(a.out, seed=before["steps"] * 64 + team.rank) if reader else None
    coarser = None if teacher else Coarser(batches, a.told)
    timer, step = Timer(a, before), 0
    progress = timer.progress(step)
    losses, counts, samples, tokens = Counter(), Counter(), 0, 0

    def save():
        total = counted(before, step, samples, timer)
        if not teacher:
            total["guided"] = guided > 0
        if base:  # first the weights that the difference is to, then the stage that names them, then out with older ones
            keep_base(a.out, base)
            total["taught"] = base
        stage.save(average.weights, total)
        if base:
            for path in set(glob.glob(Stage(a.out, "taught-*").path)) - {Stage(a.out, "taught-" + base).path}:
                os.remove(path)
        if head:
            head_stage.save(head.state_dict(), total)
        if reader:
            reader_stage.save(reader.state_dict(), total)
        return total

    while progress[0] < 1:
        batch = batches.next()
        with precision():
            if teacher:
                guidance, target = with_guidance(teacher, batch, batches.empty)
            else:
                guidance, target = plain(model, batch, coarser)
                guidance, target = guidance_from_pictures(model, batch, target, batches.empty, guided)
        with precision():  # anew: autocast keeps weights that it converted, and those converted without gradients get none
            errors = F.mse_loss(velocity(model, batch, guidance), target, reduction="none").mean(-1)
            labels = head.loss(batch) if head else torch.zeros(())
            reading = reader.loss(model, *texts.some(READ)) if reader else torch.zeros(())
        if guided:  # a guidance enlarges what cannot be learned, the picture's own part of what it is to say
            errors = errors / guidance[:, None] ** 2
        support = max(0.0, 1 - progress[1] / HELPED)
        weights = 1 + (a.things - 1) * support * batch.on_things if batches.things else torch.ones_like(errors)
        loss = errors.mean()
        ((errors * weights).sum() / weights.sum() + support * (a.labels * labels + a.reading * reading)).backward()
        progress = optimizers.step(rate(a, step, progress[1]), timer.progress(step + 1))
        average.update(model)
        step += 1
        samples += len(batch.sigma) * team.count
        tokens += batch.noisy.shape[0] * batch.noisy.shape[1] * team.count
        for kind, value in ((batch.kind, loss), ("labels", head and labels), ("reading", reader and reading)):
            if value is not None:
                losses[kind] += value.item()
                counts[kind] += 1
        if team.leads and timer.due():
            print("%s %5d  %s  %.1f samples/s, %.0f tokens/s" % (
                a.command, step, "  ".join("%s: %.4f" % (k, losses[k] / counts[k]) for k in sorted(counts)),
                samples / timer.seconds, tokens / timer.seconds), flush=True)
            losses.clear(), counts.clear()
            save()
    if team.leads:
        total = save()
        model.load_state_dict(average.weights)
        print("%s: %s, %s" % (a.command, total, precision.format))
        model.eval()
        print("unseen pictures, loss %s" % ", ".join("at guidance %g: %s" % (g, unseen_loss(model, batches, precision, g))
                                                     for g in known_guidances(teacher or guided)))


def score_arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")


def score(a):
    """Prints the loss on unseen pictures of each stage that there is."""
    settings, precision, batches = run_settings(a.out), Precision(), Batches(a.out, tokens=0)
    for name in ("dit", "distill"):
        model = Painter(settings)
        counters = Stage(a.out, name).load(model)
        if counters is None:
            continue
        model.to(DEVICE).eval()
        for guidance in known_guidances(name == "distill" or counters.get("guided")):
            print("%s: %s at guidance %g after %d steps" % (
                name, unseen_loss(model, batches, precision, guidance), guidance, counters["steps"]), flush=True)


def known_guidances(has_guidance):
    """Those at which a painter's loss is told: what it is trained at, and what people draw with."""
    return (1.0, USUAL_GUIDANCE) if has_guidance else (1.0,)


def keep_base(out, base):
    """Keeps a copy of `dit`, whose digest is `base`, for `catch_up`."""
    path = Stage(out, "taught-" + base).path
    if not os.path.exists(path):
        shutil.copyfile(Stage(out, "dit").path, path + ".new")
        if digest(out, "dit") != base:
            raise SystemExit("`dit` was trained while it was distilled: call `distill` again")
        os.replace(path + ".new", path)


@torch.no_grad()
def catch_up(out, model, teacher, old, base):
    """Adds to a distilled model what `dit` learned since it was `base`, by its digest."""
    if base is None or Stage(out, "taught-" + base).load(old) is None:
        raise SystemExit("what `distill` learned from (taught-%s.safetensors) is not in %s, so it cannot go on from another "
                         "`dit`: remove distill.safetensors to begin anew" % (base or "DIGEST", out))
    for w, was, now in zip(model.parameters(), old.parameters(), teacher.parameters()):
        w += now - was


def load_with_guidance(out, painter):
    """Fills the painter with the stage that has guidance in it: `distill`, or a `dit` that learned it; returns name and counters.

    Both are None if there is none. A `distill` that is behind `dit` ends the program.
    """
    counters = Stage(out, "distill").load(painter)
    if counters:
        if counters.get("taught") != digest(out, "dit"):
            raise SystemExit("`dit` is not the one that was distilled: call `distill` again")
        return "distill", counters
    counters = Stage(out, "dit").load(painter)
    return ("dit", counters) if counters and counters.get("guided") else (None, None)


def velocity(model, batch, guidance):
    pooled, context = model.text(batch.clip, batch.t5)
    return model(batch.noisy, batch.sigma, pooled, context, batch.positions, guidance).float()


@torch.no_grad()
def plain(model, batch, coarser):
    """A guidance of 1 for each picture and the velocity to learn there."""
    return torch.ones_like(batch.sigma), coarser.velocity(batch, lambda b: velocity(model, b, torch.ones_like(b.sigma)))


@torch.no_grad()
def with_guidance(teacher, batch, empty):
    """A guidance for each picture and the velocity that true guidance gives."""
    count, one = len(batch.sigma), torch.ones_like(batch.sigma)
    guidance = 1 + (MOST_GUIDANCE - 1) * torch.rand_like(batch.sigma)
    with_caption, without = velocity(teacher, batch, one), without_caption(teacher, batch, slice(None), empty)
    return guidance, without + guidance[:, None, None] * (with_caption - without)


@torch.no_grad()
def guidance_from_pictures(model, batch, target, empty, share):
    """A guidance for each picture, above 1 for a share of those with a caption, and the velocity to learn there.

    With u and v, what the painter says at a guidance of 1 without and with the caption, it is to say u + g (v - u) when told g.
    A picture's own velocity is v on average, so u + g (own - u) is what to learn (Chen et al. 2025, arXiv 2501.15420): no
    teacher is needed but the painter itself, for u.
    """
    guidance = torch.ones_like(batch.sigma)
    higher = (torch.rand_like(guidance) < share) & (batch.t5 != empty[1]).any(1)
    if not higher.any():
        return guidance, target
    guidance[higher] = 1 + (MOST_GUIDANCE - 1) * torch.rand_like(guidance[higher])
    without, target = without_caption(model, batch, higher, empty), target.clone()
    target[higher] = without + guidance[higher, None, None] * (target[higher] - without)
    return guidance, target


def without_caption(painter, batch, which, empty):
    """The velocity of some of a batch's pictures at a guidance of 1 with the empty caption."""
    sigma = batch.sigma[which]
    pooled, context = (of_caption.expand(len(sigma), *of_caption.shape[1:]) for of_caption in painter.text(*empty))
    return painter(batch.noisy[which], sigma, pooled, context, batch.positions, torch.ones_like(sigma)).float()


@torch.no_grad()
def unseen_loss(model, batches, precision, guidance=1.0):
    """The mean flow loss on unseen pictures by level.

    Above a guidance g of 1 that of (said + (g - 1) u) / g, which is a picture's velocity again (`guidance_from_pictures`).
    """
    sums, counts = Counter(), Counter()
    for batch in batches.unseen():
        with precision():
            said = velocity(model, batch, torch.full_like(batch.sigma, guidance))
            if guidance != 1:
                said = (said + (guidance - 1) * without_caption(model, batch, slice(None), batches.empty)) / guidance
            loss = F.mse_loss(said, batch.velocity)
        sums[batch.kind] += loss.item()
        counts[batch.kind] += 1
    return {k: round(sums[k] / counts[k], 4) for k in sums}
