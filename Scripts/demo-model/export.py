"""Writes the trained model as a folder in diffusers layout, and in training.json how long each stage was trained.

The names of tensors are those that transformers 4 and FLUX.1's own files use
(CLIP's begin with `text_model.`): every reader of FLUX folders takes them.
"""
import os
import shutil

import torch

import inherit
from autoencoder import new_autoencoder
from painter import Painter
from pictures import run_settings
from training import NOTHING_YET, Stage, is_trained, write_json

SCHEDULER = dict(_class_name="FlowMatchEulerDiscreteScheduler", num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True,
                 base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
INDEX = dict(
    _class_name="FluxPipeline", _diffusers_version="0.35.2", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
    text_encoder=["transformers", "CLIPTextModel"], text_encoder_2=["transformers", "T5EncoderModel"],
    tokenizer=["transformers", "CLIPTokenizer"], tokenizer_2=["transformers", "T5TokenizerFast"],
    transformer=["diffusers", "FluxTransformer2DModel"], vae=["diffusers", "AutoencoderKL"])


def arguments(parser):
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the training run")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "f16"])
    parser.add_argument("--undistilled", action="store_true", help="take `dit`, although there is a `distill`")


def run(a):
    settings = run_settings(a.out)
    dtype = dict(bf16=torch.bfloat16, f16=torch.float16)[a.dtype]
    vae, painter = new_autoencoder(settings), Painter(settings)
    counters = dict(vae=Stage(a.out, "vae").load(vae), dit=Stage(a.out, "dit").load(painter))
    counters["distill"] = None if a.undistilled else Stage(a.out, "distill").load(painter)
    if not counters["vae"] or not is_trained(settings, counters["dit"]):
        raise SystemExit("train `vae` and `dit` first")
    vae.register_to_config(shift_factor=settings["shift_factor"], scaling_factor=settings["scaling_factor"])
    for part, model in (("vae", vae), ("transformer", painter.transformer), ("text_encoder", painter.clip),
                        ("text_encoder_2", painter.t5)):
        model.to(dtype).save_pretrained(os.path.join(a.model, part))
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(os.path.join(a.out, part), os.path.join(a.model, part), dirs_exist_ok=True)
    os.makedirs(os.path.join(a.model, "scheduler"), exist_ok=True)
    write_json(os.path.join(a.model, "scheduler", "scheduler_config.json"), SCHEDULER)
    write_json(os.path.join(a.model, "model_index.json"), INDEX)
    inherited = settings.get("inherited", {})
    counters = {k: inherit.added(inherited.get(k, NOTHING_YET), v or NOTHING_YET) for k, v in counters.items()}
    write_json(os.path.join(a.model, inherit.HISTORY), counters)
    total = sum(os.path.getsize(os.path.join(root, f)) for root, _, files in os.walk(a.model) for f in files)
    print("%s: %.1f MB, %d pixels, %d objects; trained %s" % (a.model, total / 1e6, settings["size"], settings["objects"], counters))
