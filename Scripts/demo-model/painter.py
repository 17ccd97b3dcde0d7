"""The painter: a transformer of FLUX's architecture with its two text encoders, trained together.

Latents have 16 channels at an eighth of the picture's side; a token is 2x2 of
them, so 16x16 pixels. Positions are (0, y, x) as FLUX has them.
"""
import torch

# FLUX's shapes: heads of 64, rotary axes of 8, 28 and 28 (56 + 8 in all), packed latents of 64.
PRESETS = {
    "demo": dict(vae=(16, 32, 64, 128), heads=4, double=2, single=4, t5=192, t5_layers=2, clip=128, clip_layers=2),
    "large": dict(vae=(32, 64, 128, 128), heads=4, double=3, single=6, t5=192, t5_layers=2, clip=128, clip_layers=2),
    "toy": dict(vae=(8, 8, 16, 16), heads=1, double=1, single=1, t5=32, t5_layers=1, clip=64, clip_layers=1),
}
HEAD = 64
TOKEN = 16  # pixels of a token's side


class Painter(torch.nn.Module):
    """The transformer and the text encoders; one for few steps takes no guidance (few_steps.py)."""

    def __init__(self, settings, takes_guidance=True):
        super().__init__()
        from diffusers import FluxTransformer2DModel
        from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
        s, clip_words = settings, settings["clip_vocabulary"]
        self.transformer = FluxTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=s["double"], num_single_layers=s["single"], attention_head_dim=HEAD,
            num_attention_heads=s["heads"], joint_attention_dim=s["t5"], pooled_projection_dim=s["clip"],
            guidance_embeds=takes_guidance, axes_dims_rope=(8, 28, 28))
        self.clip = CLIPTextModel(CLIPTextConfig(
            vocab_size=clip_words, hidden_size=s["clip"], intermediate_size=4 * s["clip"], projection_dim=s["clip"],
            num_hidden_layers=s["clip_layers"], num_attention_heads=s["clip"] // HEAD, max_position_embeddings=77,
            bos_token_id=clip_words - 2, eos_token_id=clip_words - 1, pad_token_id=clip_words - 1))
        self.t5 = T5EncoderModel(T5Config(
            vocab_size=s["t5_vocabulary"], d_model=s["t5"], d_kv=32, d_ff=8 * s["t5"] // 3, num_layers=s["t5_layers"],
            num_heads=s["t5"] // 32, feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1))
        turn_heads(self.t5)
        self._begin_as_identity()
        self._told = ()
        self.transformer.time_text_embed.register_forward_pre_hook(self._unrounded)

    def _unrounded(self, embedding, inputs):
        """Gives the embedding sigma and guidance as the caller said them.

        diffusers rounds them to the tokens' format. In bfloat16 a guidance of 3.5 becomes 3.504, and the embedding's quickest
        wave turns by a radian for each thousandth: what learned that draws something else when told 3.5 in float32.
        """
        return (*self._told, inputs[-1]) if self._told else inputs

    def _begin_as_identity(self):
        t = self.transformer
        gates = [m for b in t.transformer_blocks for m in (b.norm1.linear, b.norm1_context.linear)]
        gates += [b.norm.linear for b in t.single_transformer_blocks]
        for linear in (*gates, t.norm_out.linear, t.proj_out):
            torch.nn.init.zeros_(linear.weight)
            torch.nn.init.zeros_(linear.bias)

    def text(self, clip_ids, t5_ids):
        """(B, T) ids to the pooled (B, clip) and the context (B, T, t5). No mask: padding is read as FLUX reads it."""
        return self.clip(input_ids=clip_ids).pooler_output, self.t5(input_ids=t5_ids)[0]

    def forward(self, x, sigma, pooled, context, positions, guidance=None):
        """The velocity of the tokens x (B, N, 64) at positions (N, 3)."""
        self._told = tuple(1000 * value.float() for value in (sigma, guidance) if value is not None)
        try:
            return self.transformer(
                hidden_states=x, timestep=sigma, guidance=guidance, pooled_projections=pooled, encoder_hidden_states=context,
                img_ids=positions, txt_ids=torch.zeros(context.shape[1], 3, device=x.device), return_dict=False)[0]
        finally:
            self._told = ()


@torch.no_grad()
def turn_heads(t5, strength=8.0):
    """Lets four heads look one way: only forwards, only backwards, near forwards, near backwards.

    Those of the first layer also begin by averaging what they see. All layers share the biases of relative places: 0 is the
    word itself, 1 to 15 are words before it, nearest first, 17 to 31 words after it. A T5 of fewer heads is left alone.
    """
    attention = t5.encoder.block[0].layer[0].SelfAttention
    if attention.n_heads < 4:
        return
    width = attention.key_value_proj_dim
    places = torch.arange(32)
    before, after = (places > 0) & (places < 16), places > 16
    unseen = (before, after, before | (places >= 20), after | (before & (places >= 4)))
    for head in range(4):
        attention.relative_attention_bias.weight[unseen[head], head] = -strength
        attention.q.weight[head * width:(head + 1) * width] = 0


def grid(rows, columns, step=1.0, device=None):
    """Positions (rows * columns, 3) of a grid of tokens whose neighbours are `step` apart."""
    out = torch.zeros(rows, columns, 3, device=device)
    out[..., 1] = torch.arange(rows, device=device)[:, None] * step
    out[..., 2] = torch.arange(columns, device=device)[None] * step
    return out.reshape(rows * columns, 3)


def pack(latents):
    """(B, 16, h, w) to tokens (B, h w / 4, 64), channels first inside a token."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)


def unpack(tokens, h, w):
    """The inverse of `pack`."""
    b = tokens.shape[0]
    return tokens.view(b, h // 2, w // 2, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, 16, h, w)


def shift(tokens):
    """FLUX's mu: the shift of the noise schedule for that many picture tokens (base 0.5 at 256, 1.15 at 4096)."""
    return 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
