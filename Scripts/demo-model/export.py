"""Writes the trained model as a folder in diffusers layout, and in training.json how long each stage was trained.

With --mean the weights are halfway to those of another model, such as the one that the run
began with: both lie in one valley, and their mean forgets less (Wortsman et al. 2022, arXiv
2203.05482). With --few it is the variant for few steps (few_steps.py), which has the layout of
FLUX.1-schnell; with --share it links all but its transformer from the folder of the model that
taught it.
The folder is written beside its place and takes it once it is whole. Of a model that was there README.md stays, nothing else.
The names of tensors are those that transformers 4 and FLUX.1's own files use
(CLIP's begin with `text_model.`): every reader of FLUX folders takes them.
"""
import contextlib
import filecmp
import os
import shutil

import torch
from safetensors.torch import load_file

import few_steps
import inherit
from autoencoder import new_autoencoder
from flow import load_with_guidance
from painter import Painter
from pictures import run_settings
from training import NOTHING_YET, Stage, is_trained, read_json, write_json
from vocabulary import write_notice

SCHEDULER = dict(_class_name="FlowMatchEulerDiscreteScheduler", num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True,
                 base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
INDEX = dict(
    _class_name="FluxPipeline", _diffusers_version="0.35.2", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
    text_encoder=["transformers", "CLIPTextModel"], text_encoder_2=["transformers", "T5EncoderModel"],
    tokenizer=["transformers", "CLIPTokenizer"], tokenizer_2=["transformers", "T5TokenizerFast"],
    transformer=["diffusers", "FluxTransformer2DModel"], vae=["diffusers", "AutoencoderKL"])
WRITTEN = (*(name for name in INDEX if not name.startswith("_")), "model_index.json", inherit.HISTORY, "NOTICE")


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the training run")
    parser.add_argument("--model", required=True, metavar="FOLDER",
                        help="where the model goes; one that is there is replaced, its README.md stays")
    parser.add_argument("--side", type=int, metavar="PIXELS",
                        help="of a picture whose size nobody says; default: the run's longest side")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "f16"])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--undistilled", action="store_true", help="take `dit`, although there is a `distill`")
    which.add_argument("--few", action="store_true", help="the variant for few steps")
    parser.add_argument("--mean", metavar="FOLDER", help="write the mean of these weights and those of that model")
    parser.add_argument("--share", metavar="FOLDER",
                        help="with --few: link text encoders, tokenizers and autoencoder from this model")


def run(a):
    if a.share and not a.few:
        raise SystemExit("--share goes with --few")
    settings = run_settings(a.out)
    dtype = dict(bf16=torch.bfloat16, f16=torch.float16)[a.dtype]
    vae, painter = new_autoencoder(settings), Painter(settings)
    if a.share and os.path.realpath(a.share) == os.path.realpath(a.model):
        raise SystemExit("--share names the folder that is written")
    counters = dict(vae=Stage(a.out, "vae").load(vae), dit=Stage(a.out, "dit").load(painter))
    if not counters["vae"] or not is_trained(settings, counters["dit"]):
        raise SystemExit("train `vae` and `dit` first")
    counters["distill"], guided = None, bool(counters["dit"].get("guided"))
    if not a.undistilled:
        stage, known = load_with_guidance(a.out, painter)
        if stage == "distill":
            counters["distill"], guided = known, True
    if a.few:
        painter, counters[few_steps.STAGE] = few_steps.load(a.out, settings)
    vae.register_to_config(sample_size=a.side or settings["size"], shift_factor=settings["shift_factor"],
                           scaling_factor=settings["scaling_factor"])
    parts = dict(vae=vae, transformer=painter.transformer, text_encoder=painter.clip, text_encoder_2=painter.t5)
    inherited = settings.get("inherited", {})
    counters = {k: inherit.added(inherited.get(k, NOTHING_YET), v or NOTHING_YET) for k, v in counters.items()}
    counters["dit"]["guided"] = guided
    with _replacing(a.model) as new:
        for part, model in parts.items():
            if a.mean and part != "vae":
                _take_mean(model, part, a.mean)
            model.to(dtype)
            if a.share and part != "transformer":
                _expect(_same_weights(model, part, a.share), part, a.share)
                _link(new, a.model, part, a.share)
            else:
                model.save_pretrained(os.path.join(new, part))
        for part in ("tokenizer", "tokenizer_2"):
            own = os.path.join(a.out, part)
            if a.share:
                _expect(_same_files(own, os.path.join(a.share, part)), part, a.share)
                _link(new, a.model, part, a.share)
            else:
                shutil.copytree(own, os.path.join(new, part))
        os.makedirs(os.path.join(new, "scheduler"))
        schedule = dict(SCHEDULER, shift=1.0, use_dynamic_shifting=False) if a.few else SCHEDULER
        write_json(os.path.join(new, "scheduler", "scheduler_config.json"), schedule)
        write_json(os.path.join(new, "model_index.json"), INDEX)
        write_json(os.path.join(new, inherit.HISTORY), counters)
        write_notice(new)
    total = sum(os.path.getsize(os.path.join(root, f)) for root, _, files in os.walk(a.model) for f in files)
    print("%s: %.1f MB, %d pixels, %d objects; trained %s" % (
        a.model, total / 1e6, settings["size"], settings["objects"], counters))


@contextlib.contextmanager
def _replacing(model):
    """Gives an empty folder to write a model into, and lays it in the model's place at the end; then the model before goes.

    A folder cannot replace another at one stroke: between two renamings the model before lies beside its place, as
    MODEL.export-old. If the program ends just then, the next export lays it back.
    """
    place = os.path.realpath(model)
    new, old = place + ".export-new", place + ".export-old"
    if os.path.exists(old) and not os.path.exists(place):
        print("an export to %s was stopped: the model before is there again" % model, flush=True)
        os.rename(old, place)
    others = set(os.listdir(place) if os.path.exists(place) else ()) - set(WRITTEN) - {"README.md"}
    if others:
        raise SystemExit("%s is there, and holds what no export wrote (%s): name another --model, or move that away first"
                         % (model, ", ".join(sorted(others)[:5])))
    for path in (new, old):  # of an export that was stopped
        shutil.rmtree(path, ignore_errors=True)
    os.makedirs(new)
    try:
        yield new
        card = os.path.join(place, "README.md")
        if os.path.exists(card):
            shutil.copy2(card, new)
    except BaseException:
        shutil.rmtree(new)
        raise
    if os.path.exists(place):
        os.rename(place, old)
    os.rename(new, place)
    shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def _take_mean(model, part, folder):
    """Brings weights halfway to those of a folder's part."""
    theirs = inherit.weights(folder, part)
    for name, w in model.named_parameters():
        if name not in theirs or theirs[name].shape != w.shape:
            raise SystemExit("%s in %s has other weights than this run: --mean takes a model of its sizes" % (part, folder))
        w.copy_((w.float() + theirs[name].float()) / 2)


def _same_weights(model, part, folder):
    """Whether a folder's part has the model's weights and, of the autoencoder, its scaling."""
    file = "model" if part.startswith("text") else "diffusion_pytorch_model"
    theirs, ours = ({name.removeprefix("text_model."): w for name, w in weights.items()} for weights in (
        load_file(os.path.join(folder, part, file + ".safetensors")), model.state_dict()))
    config = read_json(os.path.join(folder, part, "config.json"))
    return all(name in ours and torch.equal(w, ours[name]) for name, w in theirs.items()) and all(
        part != "vae" or config[key] == getattr(model.config, key) for key in ("scaling_factor", "shift_factor"))


def _same_files(ours, theirs):
    names = [sorted(os.listdir(folder)) for folder in (ours, theirs)]
    return names[0] == names[1] and filecmp.cmpfiles(ours, theirs, names[0], shallow=False)[0] == names[0]


def _expect(condition, part, folder):
    if not condition:
        raise SystemExit("%s in %s is not that of this run: export the run's own model first, in the same --dtype" % (part, folder))


def _link(new, model, part, folder):
    """Makes a link in a new folder to a folder's part, relative to the model's place, which the new folder is to take."""
    source, place = os.path.realpath(os.path.join(folder, part)), os.path.realpath(model)
    if os.path.commonpath([source, place]) == place:
        raise SystemExit("%s in %s is a link to that of %s, which is to be replaced: share from another model" % (
            part, folder, model))
    os.symlink(os.path.relpath(source, place), os.path.join(new, part))
