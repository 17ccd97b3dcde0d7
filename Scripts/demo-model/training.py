"""What all training commands share: device and number format, time, averaged weights, files that travel."""
import contextlib
import json
import os
import re
import signal
import tempfile
import time
import zlib

import torch

from muon import Muon

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


# Number format ---------------------------------------------------------------

def _seconds(dtype):
    """The time of a convolution and a matrix product on the CPU, the best of many: other load may be running."""
    matrix, picture = torch.ones(256, 256, dtype=dtype), torch.ones(1, 32, 64, 64, dtype=dtype)
    kernel, best = torch.ones(32, 32, 3, 3, dtype=dtype), float("inf")
    for _ in range(25):  # the first one warms up and cannot be the best
        begin = time.perf_counter()
        for _ in range(4):
            matrix @ matrix
            torch.nn.functional.conv2d(picture, kernel, padding=1)
        best = min(best, time.perf_counter() - begin)
    return best


def number_format():
    """bfloat16 where the hardware multiplies it quickly, else float32.

    A GPU says so itself; a CPU is measured, because without bfloat16 instructions
    torch emulates it, many times slower than float32.
    """
    if DEVICE.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _seconds(torch.bfloat16) < 0.8 * _seconds(torch.float32) else torch.float32


class Precision:
    """Opens autocast in the chosen format, the same in all processes of a team; does nothing in float32."""

    def __init__(self, team=None):
        self.format = number_format()
        if team and team.count > 1:
            is_half = torch.tensor([self.format == torch.bfloat16])
            torch.distributed.broadcast(is_half, 0)
            self.format = torch.bfloat16 if is_half.item() else torch.float32

    def __call__(self):
        if self.format == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(DEVICE.type, dtype=self.format)


def memory_format():
    """The memory order in which convolutions are fastest on this device."""
    return torch.channels_last if DEVICE.type == "cuda" else torch.contiguous_format


# Time ------------------------------------------------------------------------

def time_arguments(parser, decay=0.35):
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="how long this call trains, on the wall")
    length.add_argument("--steps", type=int, help="how many steps this call trains, however long other load makes them take")
    parser.add_argument("--of", type=float, metavar="LENGTH",
                        help="length of the whole plan over all calls, in minutes or steps as this call's; the learning rate "
                             "follows it; default: this call")
    parser.add_argument("--decay", type=float, default=decay, metavar="SHARE",
                        help="the end of the plan over which the learning rate falls (default %(default)s)")
    parser.add_argument("--warm-up", type=int, default=100, metavar="STEPS",
                        help="at the start of this call, over which the learning rate rises (default %(default)s)")
    parser.add_argument("--every", type=float, default=30, metavar="SECONDS", help="time between reports and checkpoints")


class Timer:
    """The length of one call, in seconds or in steps, and its part in a plan of several calls."""

    def __init__(self, a, before):
        self.begin = self.reported = time.time()
        self.every, self.in_steps = a.every, a.steps is not None
        unit = 1 if self.in_steps else 60
        self.limit = a.steps if self.in_steps else a.minutes * unit
        self.plan = a.of * unit if a.of else self.limit
        self.before = before["steps" if self.in_steps else "seconds"] if a.of else 0

    @property
    def seconds(self):
        return time.time() - self.begin

    def progress(self, steps):
        """(share of this call, share of the plan) after so many steps of this call."""
        done = steps if self.in_steps else self.seconds
        return done / self.limit, (self.before + done) / self.plan

    def due(self):
        """Whether it is time for a report."""
        if time.time() - self.reported < self.every:
            return False
        self.reported = time.time()
        return True


def rate(a, step, progress):
    """Factor of the learning rate: up over the first steps of a call, down over the plan's end."""
    up = min(1.0, (step + 1) / (a.warm_up + 1))
    return up * min(1.0, max(0.02, (1 - progress) / a.decay if a.decay else 1.0))


# Several processes on one CPU --------------------------------------------------

def team_arguments(parser):
    parser.add_argument("--workers", type=int, default=1,
                        help="processes of one thread each that share the work (CPU only; convolutions backwards "
                             "scale badly over threads)")


def run_as_team(work, a):
    """Calls work(a, team) in each of --workers processes."""
    if a.workers < 2:
        return work(a, Team(0, 1, None))
    if DEVICE.type == "cuda":
        raise SystemExit("--workers share CPUs: on a GPU train with one")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_member, (work, a, os.path.join(folder, "meeting")), a.workers)


def _member(rank, work, a, meeting):
    # torch lets the death of the parent send it, and a process that a script started in the background ignores it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    work(a, Team(rank, a.workers, meeting))


class Team:
    """Processes that average their gradients."""

    def __init__(self, rank, count, meeting):
        self.rank, self.count = rank, count
        if count > 1:
            torch.set_num_threads(1)
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            torch.distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=count)
        torch.manual_seed(0)  # the same first weights everywhere

    @property
    def leads(self):
        return self.rank == 0

    def part_ways(self, steps):
        """From here on each process draws its own random numbers; a resumed run draws others than before."""
        torch.manual_seed(1 + steps * 64 + self.rank)

    def average(self, model, progress):
        """Averages the gradients in place; returns the progress that all agree on."""
        if self.count == 1:
            return progress
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor(progress)])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at:at + gradient.numel()].view_as(gradient))
            at += gradient.numel()
        return tuple(flat[at:].tolist())

    @torch.no_grad()
    def hand_out(self, parameters, rank):
        """Gives all processes the values that one of them has."""
        flat = torch.cat([p.flatten() for p in parameters])
        torch.distributed.broadcast(flat, rank)
        for p, values in zip(parameters, flat.split([p.numel() for p in parameters])):
            p.copy_(values.view_as(p))


# Weights -----------------------------------------------------------------------

class Average:
    """A running average of a model's weights, quick at first."""

    def __init__(self, model, decay):
        self.decay, self.updates = decay, 0
        self.weights = {name: w.detach().clone().float() for name, w in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, now = [], []
        for name, w in model.state_dict().items():
            if w.dtype.is_floating_point:
                averages.append(self.weights[name])
                now.append(w.detach().float())
        torch._foreach_lerp_(averages, now, 1 - decay)


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for everything else (embeddings, norms, modulations, heads)."""

    def __init__(self, model, learning_rate, team, precision):
        self.model, self.team, self.learning_rate = model, team, learning_rate
        self.both = _optimizers(model, learning_rate, team, precision)

    def step(self, factor, progress):
        """One step with the team's mean gradients, at a factor of the learning rate; returns the progress that all agree on."""
        progress = self.team.average(self.model, progress)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.both:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * factor
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return progress


def _optimizers(model, learning_rate, team, precision):
    inner, rest = [], []
    for name, p in model.named_parameters():
        in_block = re.search(r"blocks?\.\d|layers\.\d", name) and not re.search(r"norm\w*\.linear|relative|embed", name)
        (inner if in_block and p.ndim == 2 else rest).append(p)
    return [Muon(inner, team, precision.format, learning_rate),
            torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)]


# Files -------------------------------------------------------------------------

class Stage:
    """A stage's file: averaged weights in half precision with counters, small enough to travel.

    It holds no optimizer state: a call that goes on from it warms up anew over its first steps.
    """

    def __init__(self, folder, name):
        self.path = os.path.join(folder, name + ".safetensors")

    def counters(self):
        """What it counts, or None if the stage has not begun."""
        from safetensors import safe_open
        if not os.path.exists(self.path):
            return None
        with safe_open(self.path, "pt") as file:
            return json.loads(file.metadata()["counters"])

    def load(self, model):
        """Fills the model; returns the counters, or None if the stage has not begun."""
        from safetensors.torch import load_file
        counters = self.counters()
        if counters is None:
            return None
        weights = load_file(self.path)
        own = model.state_dict()
        for alias, name in TIED.items():
            if alias in own:
                weights[alias] = weights[name]
        model.load_state_dict({name: weights[name].to(w.dtype) for name, w in own.items()})
        return counters

    def save(self, weights, counters):
        from safetensors.torch import save_file
        half = {name: (w.half() if w.dtype.is_floating_point else w).contiguous().cpu().clone()
                for name, w in weights.items() if name not in TIED}
        save_file(half, self.path + ".new", metadata={"counters": json.dumps(counters)})
        os.replace(self.path + ".new", self.path)


def digest(folder, stage):
    """What tells a stage's weights from others: of its file."""
    with open(Stage(folder, stage).path, "rb") as file:
        return "%08x" % zlib.crc32(file.read())


TIED = {"t5.encoder.embed_tokens.weight": "t5.shared.weight"}  # alias: the name that is kept
NOTHING_YET = dict(steps=0, samples=0, seconds=0)


def is_trained(settings, counters):
    """Whether the painter of a run has seen pictures, in the run or before it; `read` alone leaves its counters at 0."""
    return counters is not None and counters["steps"] + settings.get("inherited", {}).get("dit", NOTHING_YET)["samples"] > 0


def counted(before, steps, samples, timer):
    """The counters of a stage after this call's steps."""
    return dict(steps=before["steps"] + steps, samples=before["samples"] + samples,
                seconds=round(before["seconds"] + timer.seconds))


def read_json(path):
    with open(path) as file:
        return json.load(file)


def write_json(path, value):
    with open(path + ".new", "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(path + ".new", path)
