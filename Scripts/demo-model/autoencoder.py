"""The autoencoder: trains it (`vae`) and encodes all pictures with it (`encode`).

    OUT/vae.safetensors         averaged weights
    OUT/vae.png                 unseen pictures above their reconstructions
    OUT/latents-8x5.pt          latents of one aspect ratio at each level of resolution

It is diffusers' AutoencoderKL with 16 channels at an eighth of the side. One part
of its loss asks that a latent halved by averaging shows the halved picture, because
RALU starts from coarse latents. With --decoder the encoder stays as it is, and with it
all latents: pictures of a painter that knows them become crisper, and it need not learn anew.
"""
import math
import os
import queue
import random
import threading
import time
import zlib
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pictures import levels, run_settings, shelves
from training import (DEVICE, NOTHING_YET, Average, Precision, Stage, Timer, counted, is_trained, memory_format, rate, run_as_team,
                      team_arguments, time_arguments, write_json)


def new_autoencoder(settings):
    from diffusers import AutoencoderKL
    channels = tuple(settings["vae"])
    return AutoencoderKL(
        block_out_channels=channels, layers_per_block=1, latent_channels=16,
        norm_num_groups=max(1, channels[0] // 8),  # with fewer than 8 channels a group, flat colours get lost
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False, sample_size=settings["size"], force_upcast=False)


# Training ------------------------------------------------------------------------

def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    time_arguments(parser)
    team_arguments(parser)
    parser.add_argument("--batch", type=int, help="crops a batch (default 64 on a GPU, 8 on a CPU)")
    parser.add_argument("--crop", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--kl", type=float, default=1e-3, help="weight of the latents' distance from a normal distribution")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--decoder", action="store_true", help="train the decoder alone, on what the encoder gives now")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")


def run(a):
    run_as_team(train, a)


def train(a, team):
    settings, precision, stage = run_settings(a.out), Precision(team), Stage(a.out, "vae")
    vae = new_autoencoder(settings)
    before = stage.load(vae)
    if before is None:
        if a.decoder:
            raise SystemExit("there is no encoder yet: train both first (`vae` without --decoder)")
        before = NOTHING_YET
        with torch.no_grad():  # begin with little noise in the latents
            vae.encoder.conv_out.bias[16:] = -5
            vae.encoder.conv_out.weight[16:] *= 0.1
    vae.to(DEVICE, memory_format=memory_format())
    vae.encoder.requires_grad_(not a.decoder)
    average = Average(vae, 0.998)
    optimizer = torch.optim.AdamW([p for p in vae.parameters() if p.requires_grad], lr=a.lr, betas=(0.9, 0.99), weight_decay=0.0)
    if a.compile:
        vae.encoder.compile()
        vae.decoder.compile()
    team.part_ways(before["steps"])
    batch = a.batch or (64 if DEVICE.type == "cuda" else 8)
    crops = Crops(shelves(a.out), a.crop, batch, seed=before["steps"] * 64 + team.rank)
    timer, step, progress, meters = Timer(a, before), 0, (0, 0), Counter()
    while progress[0] < 1:
        x = crops.next()
        for group in optimizer.param_groups:
            group["lr"] = a.lr * rate(a, step, progress[1])
        with precision():
            q = vae.encode(x).latent_dist
            z = q.mean + q.std * torch.randn_like(q.mean)
            y = vae.decode(z).sample.float()
            kl = 0.5 * (q.mean.float().pow(2) + q.var.float() - 1 - q.logvar.float()).mean()
            loss = picture_loss(y, x) + a.kl * kl
            if step % 2:
                halved = vae.decode(F.avg_pool2d(z, 2)).sample.float()
                loss = loss + 0.5 * picture_loss(halved, F.avg_pool2d(x, 2))
        loss.backward()
        progress = team.average(vae, timer.progress(step + 1))
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(vae)
        step += 1
        meters.update(l1=F.l1_loss(y, x).item(), mse=F.mse_loss(y, x).item(), kl=kl.item(), n=1)
        if team.leads and timer.due():
            n, crops_seen = meters["n"], step * batch * team.count
            print("vae %5d  l1 %.4f  psnr %.2f  kl %.2f  %.1f crops/s" % (
                step, meters["l1"] / n, decibels(meters["mse"] / n), meters["kl"] / n, crops_seen / timer.seconds), flush=True)
            meters.clear()
            stage.save(average.weights, counted(before, step, crops_seen, timer))
    if team.leads:
        total = counted(before, step, step * batch * team.count, timer)
        stage.save(average.weights, total)
        vae.load_state_dict(average.weights)
        print("vae: %s, %s" % (total, precision.format))
        report_unseen(vae.eval(), a.out, precision)


def picture_loss(y, x):
    """L1 on the picture, on its horizontal and vertical differences and on two smaller copies."""
    loss = F.l1_loss(y, x) + F.l1_loss(y.diff(dim=2), x.diff(dim=2)) + F.l1_loss(y.diff(dim=3), x.diff(dim=3))
    return loss + sum(0.5 * F.l1_loss(F.avg_pool2d(y, k), F.avg_pool2d(x, k)) for k in (2, 4))


def decibels(mean_square):
    """PSNR of values in -1…1."""
    return 10 * math.log10(4 / max(mean_square, 1e-12))


class Crops:
    """Random crops, made ready by threads: some as they are, some halved from twice the size."""

    def __init__(self, shelves_, crop, batch, seed):
        self.shelves, self.crop = shelves_, crop
        self.halved = int(batch * 0.4)
        self.plain = batch - self.halved
        self.ready = queue.Queue(4)
        for i in range(8 if DEVICE.type == "cuda" else 1):
            threading.Thread(target=self._work, args=(random.Random(seed * 8 + i),), daemon=True).start()

    def next(self):
        """A batch (B, 3, crop, crop) in -1…1."""
        plain, twice = (torch.from_numpy(c).to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1 for c in self.ready.get())
        x = torch.cat([plain, F.avg_pool2d(twice, 2)]) if twice.shape[2] == 2 * plain.shape[2] else torch.cat([plain, twice])
        return x.contiguous(memory_format=memory_format())

    def _work(self, random_):
        weights = [s.seen for s in self.shelves]
        while True:
            shelf = random_.choices(self.shelves, weights)[0]
            shorter = min(shelf.pictures.shape[1:3])
            crop = min(self.crop, shorter)
            twice = 2 * crop if 2 * crop <= shorter else crop
            self.ready.put((_cut(shelf, self.plain, crop, random_), _cut(shelf, self.halved, twice, random_)))


def _cut(shelf, count, side, random_):
    _, height, width, _ = shelf.pictures.shape
    out = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        y, x = random_.randrange(height - side + 1), random_.randrange(width - side + 1)
        crop = shelf.pictures[random_.randrange(shelf.seen), y:y + side, x:x + side]
        out[k] = crop[:, ::-1] if random_.random() < 0.5 else crop
    return out


# Using it --------------------------------------------------------------------------

def as_pictures(array):
    """Bytes (n, H, W, 3) to (n, 3, H, W) in -1…1."""
    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def report_unseen(vae, out, precision):
    """Prints PSNR of unseen pictures at the two finest levels and draws some of them."""
    settings, shown = run_settings(out), []
    for k in range(2):
        errors = []
        for shelf in shelves(out):
            if k < len(levels(settings, shelf.aspect)):
                x = as_pictures(shelf.pictures[shelf.seen:][:16])
                x = F.avg_pool2d(x, 2 ** k) if k else x
                with precision():
                    y = vae.decode(vae.encode(x.to(DEVICE)).latent_dist.mean).sample.float().cpu().clamp(-1, 1)
                errors += [F.mse_loss(p, q).item() for p, q in zip(y, x)]
                shown += [(x[0], y[0])]
        if errors:
            print("vae on %d unseen pictures, level %d: PSNR %.2f dB" % (
                len(errors), settings["size"] >> k, sum(map(decibels, errors)) / len(errors)))
    draw_rows([[x for x, _ in shown], [y for _, y in shown]], os.path.join(out, "vae.png"))


def draw_rows(rows, path, cell=192):
    """A sheet of rows of pictures (3, H, W) in -1…1."""
    sheet = Image.new("RGB", (cell * max(map(len, rows)), cell * len(rows)), "white")
    for j, row in enumerate(rows):
        for i, picture in enumerate(row):
            image = Image.fromarray(((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
            image.thumbnail((cell, cell))
            sheet.paste(image, (i * cell, j * cell))
    sheet.save(path)


def digest_of(module):
    """What tells weights from others."""
    out = 0
    for name, w in sorted(module.state_dict().items()):
        out = zlib.crc32(w.contiguous().numpy().tobytes(), zlib.crc32(name.encode(), out))
    return "%08x" % out


def encode_arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of this training run")
    parser.add_argument("--batch", type=int, default=32 if DEVICE.type == "cuda" else 1,
                        help="pictures at a time (default %(default)s; on a CPU the arrays of several at 512 pixels come fresh from "
                             "the kernel each time, which took half of the time)")


@torch.no_grad()
def encode(a):
    """Writes the latents; files that this very encoder made of these pictures are kept."""
    settings, precision, stage = run_settings(a.out), Precision(), Stage(a.out, "vae")
    vae = new_autoencoder(settings)
    if stage.load(vae) is None:
        raise SystemExit("train the autoencoder first (`vae`)")
    vae.to(DEVICE, memory_format=memory_format()).eval()
    sample, begin, encoder = [], time.time(), digest_of(vae.encoder)
    for shelf in shelves(a.out):
        path = os.path.join(a.out, "latents-%s.pt" % shelf.aspect)
        kept = torch.load(path) if os.path.exists(path) else None
        made_of = dict(encoder=encoder, data=settings["data"], sides=levels(settings, shelf.aspect))
        if kept is None or any(kept.get(k) != v for k, v in made_of.items()):
            kept = dict(made_of, levels=[[] for _ in made_of["sides"]])
            for i in range(0, len(shelf.pictures), a.batch):
                x = as_pictures(shelf.pictures[i:i + a.batch]).to(DEVICE, memory_format=memory_format())
                for k, latents in enumerate(kept["levels"]):
                    with precision():
                        latents.append(vae.encode(F.avg_pool2d(x, 2 ** k) if k else x).latent_dist.mean.half().cpu())
            kept["levels"] = [torch.cat(latents) for latents in kept["levels"]]
            torch.save(kept, path + ".new")
            os.replace(path + ".new", path)
        sample += [latents[:500].float().flatten() for latents in kept["levels"]]
        print("%s: %s" % (path, [tuple(latents.shape) for latents in kept["levels"]]), flush=True)
    sample = torch.cat(sample)
    # A painter that was trained knows the latents as they were scaled for it.
    if "scaling_factor" not in settings or not is_trained(settings, Stage(a.out, "dit").counters()):
        settings.update(shift_factor=sample.mean().item(), scaling_factor=1 / sample.std().item())
        write_json(os.path.join(a.out, "settings.json"), settings)
    print("encoded in %.0f s; shift %.4f, scale %.4f" % (
        time.time() - begin, settings["shift_factor"], settings["scaling_factor"]))
