"""A transformer of a few thousand parameters, and a shard and a configuration to train for it."""

import os
import pathlib
import sys

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")
from safetensors.torch import save_file  # noqa: E402  (after the skips)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

SHAPE = dict(num_layers=1, num_single_layers=2, attention_head_dim=32, num_attention_heads=2, axes_dims_rope=[8, 12, 12], guidance_embeds=True,
             in_channels=16, joint_attention_dim=24, pooled_projection_dim=20)  # fmt: skip
STEPS, RANK, ALPHA, SIDE = 50, 4, 8, 8


def shard(path, samples=6, seed=1, side=SIDE):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    clean = draw(samples, 4, side, side)
    save_file(
        {
            "latents": clean,
            "conditions": (clean + 0.5 * draw(samples, 4, side, side)).bfloat16(),
            "references": 0.8 * clean,
            "t5": draw(samples, 5, 24).bfloat16(),
            "pooled": draw(samples, 20),
            "empty.t5": draw(5, 24),
            "empty.pooled": draw(20),
            "empty.condition": draw(4, side, side),
        },
        path,
    )


def make_tiny_flux(folder):
    """A transformer's folder, a shard, and a configuration that names both. -> the folder, diffusers' model"""
    torch.manual_seed(2)
    model = flux.FluxTransformer2DModel(**SHAPE).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5)
    model.save_pretrained(folder / "transformer")
    shard(folder / "a.safetensors")
    (folder / "train.toml").write_text(f"""
task = "flux-lora"
data = ["{folder / "a.safetensors"}"]
steps = {STEPS}
batch = 2
learning_rate = 2e-3
warmup = 5
weight_decay = 0.01
clip_norm = 0.5
ema = 0
log_every = 1
save_every = 5
[flux]
model = "{folder / "transformer"}"
accumulate = 2
drop_text = 0.3
drop_image = 0.3
[fusion]
rank = {RANK}
alpha = {ALPHA}
""")
    return folder, model


def pack(map_):
    b, c, h, w = map_.shape
    return map_.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h // 2 * w // 2, c * 4)


def unpack(tokens, side=SIDE):
    b, _, c = tokens.shape
    return tokens.view(b, side // 2, side // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c // 4, side, side)
