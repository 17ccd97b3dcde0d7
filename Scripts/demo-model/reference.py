"""Reads a model folder with diffusers and renders with it, as the reference for `abbozzo render`."""
import json
import os

import torch


def load_pipeline(folder):
    """A FluxPipeline in float32.

    CLIP is filled by hand: transformers 5 writes its tensors without the `text_model.` that transformers 4 and FLUX.1's
    own files have, and transformers 4 would leave the weights of such a file out with no more than a warning.
    """
    from diffusers import FluxPipeline
    from diffusers.utils import logging
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    path = os.path.join(folder, "text_encoder")
    with open(os.path.join(path, "config.json")) as file:
        clip = CLIPTextModel(CLIPTextConfig(**json.load(file)))
    weights = load_file(os.path.join(path, "model.safetensors"))
    clip.load_state_dict({"text_model." + name.removeprefix("text_model."): w.float() for name, w in weights.items()})
    pipeline = FluxPipeline.from_pretrained(folder, text_encoder=clip.eval(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def render(pipeline, prompt, latents, width, height, steps, guidance, text_length):
    """The picture (PIL) that diffusers makes from the noise `latents` (1, 16, height / 8, width / 8)."""
    packed = pipeline._pack_latents(latents, 1, 16, latents.shape[2], latents.shape[3])
    return pipeline(prompt=prompt, width=width, height=height, num_inference_steps=steps, guidance_scale=guidance,
                    latents=packed, max_sequence_length=text_length).images[0]
