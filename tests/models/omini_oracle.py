"""FLUX with a condition image as OminiControl describes it (2411.15098, 2503.08280), on diffusers' weights: another implementation than ours, which
forms one sequence of all tokens with a mask over it, and merges the adapter into the weights that the condition's tokens see."""

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb


def is_adapted(name):
    """OminiControl's target_modules (train/config/spatial_alignment.yaml), spelt out."""
    parts = name.split(".")
    rest = ".".join(parts[2:])
    if parts[0] == "transformer_blocks":
        return rest in ("norm1.linear", "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.2")
    if parts[0] == "single_transformer_blocks":
        return rest in ("norm.linear", "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
    return name == "x_embedder"


def random_adapter(model, rank, seed=7):
    """name -> (lora_A, lora_B), both away from 0, so that each has a gradient."""
    torch.manual_seed(seed)
    return {
        name: (torch.randn(rank, layer.in_features) * layer.in_features**-0.5, 0.5 * torch.randn(layer.out_features, rank) * rank**-0.5)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and is_adapted(name)
    }


def condition_ids(rows, columns, axis0=0.0, scale=1.0, delta=(0, 0), order="scale-delta"):
    """OminiControl's position_scale and position_delta; its trainer scales first, its pipeline moves first."""
    ids = torch.zeros(rows, columns, 3)
    ids[..., 0] = axis0
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None, :]
    ids = ids.reshape(-1, 3)
    for step in order.split("-"):
        if step == "scale":
            ids[:, 1:] *= scale
            ids[:, 1:] += (scale - 1.0) / 2
        else:
            ids[:, 1] += delta[0]
            ids[:, 2] += delta[1]
    return ids


class Omini:
    """One forward pass. adapter: name -> (A, B), seen by the condition's tokens alone."""

    def __init__(self, model, adapter, scale=1.0):
        self.model, self.adapter, self.scale = model, adapter, scale

    def linear(self, name, x, is_condition):
        layer = self.model.get_submodule(name)
        weight = layer.weight
        if is_condition and name in self.adapter:
            down, up = self.adapter[name]
            weight = weight + self.scale * up @ down
        return F.linear(x, weight, layer.bias)

    def heads(self, prefix, names, x, is_condition):
        attn = self.model.get_submodule(prefix + ".attn")
        q, k, v = (self.linear(f"{prefix}.attn.{name}", x, is_condition).unflatten(-1, (attn.heads, -1)) for name in names[:3])
        return getattr(attn, names[3])(q), getattr(attn, names[4])(k), v

    def attention(self, streams):
        """streams: (q, k, v) each [B, L, H, E], in the order text, image, condition. -> [B, L, D] each"""
        q, k, v = (torch.cat(parts, 1) for parts in zip(*streams, strict=True))
        q, k = (apply_rotary_emb(t, self.rope, sequence_dim=1) for t in (q, k))
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=self.mask)
        return out.transpose(1, 2).flatten(2).split(self.lengths, 1)

    def modulated(self, x, shift, scale):
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]

    def double_block(self, prefix, streams):
        own = ("to_q", "to_k", "to_v", "norm_q", "norm_k")
        added = ("add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k")
        plan = [("norm1_context", added, "to_add_out", "ff_context", False), ("norm1", own, "to_out.0", "ff", False), ("norm1", own, "to_out.0", "ff", True)]
        parts = [self.linear(f"{prefix}.{norm}.linear", F.silu(temb), c).chunk(6, -1) for (norm, _, _, _, c), temb in zip(plan, self.tembs, strict=True)]
        seen = [
            self.heads(prefix, names, self.modulated(x, m[0], m[1]), c) for (_, names, _, _, c), x, m in zip(plan, streams, parts, strict=True)
        ]
        out = []
        for (_, _, project, ff, c), x, m, attended in zip(plan, streams, parts, self.attention(seen), strict=True):
            x = x + m[2][:, None] * self.linear(f"{prefix}.attn.{project}", attended, c)
            h = self.linear(f"{prefix}.{ff}.net.0.proj", self.modulated(x, m[3], m[4]), c)
            out.append(x + m[5][:, None] * self.linear(f"{prefix}.{ff}.net.2", F.gelu(h, approximate="tanh"), c))
        return out

    def single_block(self, prefix, streams):
        flags = (False, False, True)
        parts = [self.linear(f"{prefix}.norm.linear", F.silu(temb), c).chunk(3, -1) for temb, c in zip(self.tembs, flags, strict=True)]
        hs = [self.modulated(x, m[0], m[1]) for x, m in zip(streams, parts, strict=True)]
        attended = self.attention([self.heads(prefix, ("to_q", "to_k", "to_v", "norm_q", "norm_k"), h, c) for h, c in zip(hs, flags, strict=True)])
        out = []
        for x, m, h, a, c in zip(streams, parts, hs, attended, flags, strict=True):
            network = F.gelu(self.linear(f"{prefix}.proj_mlp", h, c), approximate="tanh")
            out.append(x + m[2][:, None] * self.linear(f"{prefix}.proj_out", torch.cat([a, network], -1), c))
        return out

    def __call__(self, inputs, condition, ids, attention):
        model, batch = self.model, len(inputs["timestep"])
        embed = lambda t, g: model.time_text_embed(*([t * 1000] + ([g * 1000] if model.config.guidance_embeds else []) + [inputs["pooled"]]))  # noqa: E731
        temb = embed(inputs["timestep"], inputs.get("guidance"))
        self.tembs = [temb, temb, embed(torch.zeros(batch), torch.ones(batch))]
        streams = [
            model.context_embedder(inputs["encoder_hidden_states"]),
            self.linear("x_embedder", inputs["hidden_states"], False),
            self.linear("x_embedder", condition, True),
        ]
        self.lengths = [x.shape[1] for x in streams]
        self.rope = model.pos_embed(torch.cat([inputs["txt_ids"], inputs["img_ids"], ids]))
        others = self.lengths[0] + self.lengths[1]
        self.mask = torch.ones(sum(self.lengths), sum(self.lengths), dtype=torch.bool)
        if attention == "independent":
            self.mask[others:, :others] = False
        for i in range(len(model.transformer_blocks)):
            streams = self.double_block(f"transformer_blocks.{i}", streams)
        for i in range(len(model.single_transformer_blocks)):
            streams = self.single_block(f"single_transformer_blocks.{i}", streams)
        return model.proj_out(model.norm_out(streams[1], temb))
