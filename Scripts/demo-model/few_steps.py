"""Trains the few-step variant (`few`): four steps without a guidance input, as FLUX.1-schnell is beside FLUX.1-dev.

    OUT/few.safetensors     averaged weights of a transformer that needs few steps

The teacher is the painter with guidance in it. From noise and captions alone it draws along the
schedule in many small steps. The student, told a sigma, learns to go as far in one step as the teacher in
several: a quarter of the way from noise to picture, or to its end where less is left (progressive
distillation, Salimans & Ho 2022, arXiv 2202.00512, in a single stage, along the teacher's own paths).
It begins as the teacher itself: the guidance that the teacher is told is a constant, and moves into a bias.
Only the transformer learns: text encoders and autoencoder are the teacher's, and can be shared on disk.
"""
import torch
import torch.nn.functional as F

from batches import LEVELS, Batches
from flow import load_with_guidance
from painter import Painter
from pictures import run_settings
from training import (DEVICE, NOTHING_YET, Average, Optimizers, Precision, Stage, Timer, counted, digest, rate, run_as_team,
                      team_arguments, time_arguments)

STEPS = 4  # of the student from noise to picture, evenly in sigma, as FLUX.1-schnell's schedule has them
OWN = 0.6  # chance of the first sample of a path to begin where one of the student's own steps would, not anywhere on it
STAGE = "few"


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    time_arguments(parser)
    team_arguments(parser)
    parser.add_argument("--tokens", type=int, default=36864 if DEVICE.type == "cuda" else 1536, help="tokens a batch")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, metavar="WEIGHT",
                        help="how often the levels of resolution are drawn, finest first (default 4.5 3.5 1)")
    parser.add_argument("--mixed", type=float, default=0.15, help="share of mixed-resolution batches")
    parser.add_argument("--guidance", type=float, default=3.5, help="which is built into the student (default %(default)s)")
    parser.add_argument("--smaller", type=int, default=4, metavar="STEPS",
                        help="steps of the teacher for one of the student (default %(default)s)")
    parser.add_argument("--uses", type=int, default=5, metavar="PLACES",
                        help="places on each path of the teacher where the student learns (default %(default)s)")
    parser.add_argument("--pairs", type=float, default=1.5, metavar="WEIGHT",
                        help="how often captions of two things are drawn, for one of a single thing (default %(default)s)")
    parser.add_argument("--ema", type=float, default=0.98, help="how slowly the averaged weights follow")
    parser.add_argument("--lr", type=float, default=8e-4)


def run(a):
    run_as_team(train, a)


def train(a, team):
    settings, precision, stage = run_settings(a.out), Precision(team), Stage(a.out, STAGE)
    if min(a.smaller, a.uses) < 1:
        raise SystemExit("--smaller and --uses are at least 1")
    teacher, base = load_teacher(a.out, settings)
    student = student_of(teacher, settings)
    learning = student.transformer
    before = stage.load(learning)
    if before is None:
        learning.load_state_dict(without_guidance(teacher, a.guidance))
        before = NOTHING_YET
    teacher.to(DEVICE).eval().requires_grad_(False)
    learning.to(DEVICE).train()
    average = Average(learning, a.ema)
    optimizers = Optimizers(learning, a.lr, team, precision)
    team.part_ways(before["steps"])
    batches = Batches(a.out, a.tokens, a.mixed, seed=before["steps"], weights=a.levels, pairs=a.pairs)
    timer, step, samples, total, count = Timer(a, before), 0, 0, 0.0, 0
    progress = timer.progress(step)
    while progress[0] < 1:
        batch = batches.next()
        with precision():
            text = teacher.text(batch.clip, batch.t5)
            path = teachers_path(teacher, torch.randn_like(batch.noisy), text, batch.positions, a.guidance, STEPS * a.smaller)
        places = beginnings(a.uses, a.smaller)
        for place in places:
            x, sigma, wanted = one_step(path, place, a.smaller)
            with precision():
                loss = F.mse_loss(velocity(student, x, sigma, text, batch.positions), wanted)
            (loss / len(places)).backward()
            total += loss.item()
            count += 1
        progress = optimizers.step(rate(a, step, progress[1]), timer.progress(step + 1))
        average.update(learning)
        step += 1
        samples += len(batch.sigma) * len(places) * team.count
        if team.leads and timer.due():
            print("few %5d  loss %.4f  %.1f samples/s" % (step, total / count, samples / timer.seconds), flush=True)
            total, count = 0.0, 0
            stage.save(average.weights, dict(counted(before, step, samples, timer), taught=base))
    if team.leads:
        counters = dict(counted(before, step, samples, timer), taught=base)
        stage.save(average.weights, counters)
        print("few: %s, %s" % (counters, precision.format))


def load(folder, settings):
    """The finished variant of a run, and its counters."""
    teacher, base = load_teacher(folder, settings)
    student = student_of(teacher, settings)
    counters = Stage(folder, STAGE).load(student.transformer)
    if counters is None:
        raise SystemExit("train `few` first")
    if counters.get("taught") != base:
        raise SystemExit("the painter is not the one that taught `few`: call `few` again")
    return student, counters


def load_teacher(folder, settings):
    """The painter with guidance in it, and the digest of its stage."""
    teacher = Painter(settings)
    stage, _ = load_with_guidance(folder, teacher)
    if stage is None:
        raise SystemExit("the painter has no guidance yet: call `distill`, or `dit` with --guided where this run began with a "
                         "model that had some")
    return teacher, digest(folder, stage)


def student_of(teacher, settings):
    """A painter without guidance input that has the teacher's text encoders, and a transformer of its own."""
    student = Painter(settings, takes_guidance=False)
    student.clip, student.t5 = teacher.clip, teacher.t5
    return student


@torch.no_grad()
def without_guidance(painter, guidance):
    """The weights of a transformer without guidance input that is equal to the painter's at this guidance."""
    weights, embedding = dict(painter.transformer.state_dict()), painter.transformer.time_text_embed
    told = embedding.guidance_embedder(embedding.time_proj(torch.tensor([1000.0 * guidance])))[0]
    bias = "time_text_embed.timestep_embedder.linear_2.bias"
    weights[bias] = weights[bias] + told
    return {name: w for name, w in weights.items() if "guidance_embedder" not in name}


def velocity(painter, x, sigma, text, positions, guidance=None):
    at = torch.full((len(x),), sigma, device=x.device)
    return painter(x, at, *text, positions, None if guidance is None else torch.full_like(at, guidance)).float()


@torch.no_grad()
def teachers_path(teacher, noise, text, positions, guidance, steps):
    """The latents at sigma 1, 1 - 1/steps, …, 0."""
    path = [noise]
    for n in range(steps):
        path.append(path[-1] - velocity(teacher, path[-1], 1 - n / steps, text, positions, guidance) / steps)
    return path


def beginnings(count, smaller):
    """So many different places on a path, or all if it has fewer, where a step of the student begins."""
    own = torch.arange(STEPS * smaller) % smaller == 0
    chances = OWN * own / STEPS + (1 - OWN) / len(own)
    return torch.multinomial(chances, min(count, len(own))).tolist()


def one_step(path, place, smaller):
    """(latents, sigma, velocity) of the student's step from one place to where the teacher is `smaller` steps on."""
    steps = len(path) - 1
    end = min(place + smaller, steps)
    return path[place], 1 - place / steps, (path[place] - path[end]) * (steps / (end - place))
