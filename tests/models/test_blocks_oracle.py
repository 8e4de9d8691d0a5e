"""Packing and the transformer block against diffusers' FLUX, on random weights in float32."""
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")

from models_probe import relative_error, run  # noqa: E402  (after the skips: it needs torch too)

WIDTH, HEADS, RANK, ROWS, COLUMNS = 128, 2, 8, 5, 7
AXES = (16, 24, 24)
# Linears of the image's stream that carry a condition delta, and their names in diffusers' text stream.
STREAMS = {
    "norm1.linear": "norm1_context.linear",
    "attn.to_q": "attn.add_q_proj",
    "attn.to_k": "attn.add_k_proj",
    "attn.to_v": "attn.add_v_proj",
    "attn.to_out.0": "attn.to_add_out",
    "ff.net.0.proj": "ff_context.net.0.proj",
    "ff.net.2": "ff_context.net.2",
}
WITHOUT_DELTA = ("ff.net.0.proj",)


# FluxPipeline._pack_latents and _prepare_latent_image_ids, written out since their module needs transformers.
# Catches: the channel fastest inside a token, rows and columns swapped.
def test_packing_equals_flux_pipelines(tmp_path):
    torch.manual_seed(1)
    b, c, h, w = 2, 16, 6, 10
    latents = torch.randn(b, c, h, w)
    packed = latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, (h // 2) * (w // 2), c * 4)
    ids = torch.zeros(h // 2, w // 2, 3)
    ids[..., 1] += torch.arange(h // 2)[:, None]
    ids[..., 2] += torch.arange(w // 2)[None, :]
    ours = run(tmp_path, "pack", {"map": latents, "tokens": packed}, patch=2)
    assert torch.equal(ours["tokens"], packed)
    assert torch.equal(ours["map"], latents)
    assert torch.equal(ours["ids"].float(), ids.reshape(-1, 3))


class Case:
    """A FluxTransformerBlock of random weights, its inputs, and low-rank deltas for the condition's tokens."""

    def __init__(self):
        torch.manual_seed(2)
        self.theirs = flux.FluxTransformerBlock(dim=WIDTH, num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS).eval()
        for parameter in self.theirs.parameters():
            torch.nn.init.normal_(parameter, std=WIDTH**-0.5 if parameter.dim() == 2 else 0.5)
        self.deltas = {}
        state = self.theirs.state_dict()
        for name in STREAMS:
            out, width = state[f"{name}.weight"].shape
            if name not in WITHOUT_DELTA:
                self.deltas[name] = torch.randn(RANK, width) / width**0.5, torch.randn(out, RANK) / RANK**0.5
        self.x, self.condition = torch.randn(2, ROWS * COLUMNS, WIDTH), torch.randn(2, ROWS * COLUMNS, WIDTH)
        self.temb = torch.randn(2, WIDTH)
        grid = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
        self.ids = torch.stack([torch.zeros(ROWS * COLUMNS), grid[0].flatten(), grid[1].flatten()], 1)

    def merged(self, name):
        down, up = self.deltas.get(name, (None, None))
        weight = self.theirs.state_dict()[f"{name}.weight"]
        return weight if down is None else weight + up @ down

    def rope(self, ids):
        return flux.FluxPosEmbed(theta=10000, axes_dim=list(AXES))(ids)

    def ours(self, tmp_path, with_condition, text=None):
        state = self.theirs.state_dict().items()
        tensors = {f"block.{name}": tensor for name, tensor in state if text is not None or ("context" not in name and "add" not in name)}
        for name, (down, up) in self.deltas.items():
            tensors |= {f"block.{name}.condition.down": down, f"block.{name}.condition.up": up}
        tensors |= {"x": self.x, "temb": self.temb, "ids": self.ids}
        if with_condition:
            tensors["condition"] = self.condition
        if text is not None:
            tensors |= {"text": text, "text_ids": torch.zeros(text.shape[1], 3)}
        return run(tmp_path, "block", tensors, width=WIDTH, heads=HEADS, rank=RANK, axis0=AXES[0], axis1=AXES[1], axis2=AXES[2])


# Catches: order of shift, scale and gate among the six, a missing norm of q or k, exact instead of tanh GELU, (1 + gate),
# weights under other names, deltas that leak into the image's stream.
@torch.no_grad()
def test_block_without_condition_is_the_image_stream_of_flux(tmp_path):
    case = Case()
    _, theirs = case.theirs(case.x, torch.zeros(2, 0, WIDTH), case.temb, case.rope(case.ids))  # a text of no tokens
    assert relative_error(case.ours(tmp_path, False)["out"], theirs) < 1e-4
    assert relative_error(case.x, theirs) > 0.1  # the block does something


# Condition tokens are FLUX's image stream with W + up down for W. Catches: a Linear whose delta is missing, doubled or not passed the
# condition's branch, tokens that attend to anything but themselves.
@torch.no_grad()
def test_condition_tokens_go_through_the_same_block_with_merged_weights(tmp_path):
    case = Case()
    ours = case.ours(tmp_path, True)["condition"]
    for name in STREAMS:
        case.theirs.get_submodule(name).weight.copy_(case.merged(name))
    _, theirs = case.theirs(case.condition, torch.zeros(2, 0, WIDTH), case.temb, case.rope(case.ids))
    assert relative_error(ours, theirs) < 1e-4


# What latents see of the condition is what FLUX's image tokens see of a text whose stream has the merged weights and the image's
# positions. Catches: keys without norm or rotation, keys of the wrong layer's input, a delta on queries only.
@torch.no_grad()
def test_latents_attend_to_the_condition_as_to_a_second_stream_of_flux(tmp_path):
    case = Case()
    ours = case.ours(tmp_path, True)["out"]
    for name, other in STREAMS.items():
        case.theirs.get_submodule(other).weight.copy_(case.merged(name))
        case.theirs.get_submodule(other).bias.copy_(case.theirs.get_submodule(name).bias)
    case.theirs.attn.norm_added_q.weight.copy_(case.theirs.attn.norm_q.weight)
    case.theirs.attn.norm_added_k.weight.copy_(case.theirs.attn.norm_k.weight)
    _, theirs = case.theirs(case.x, case.condition, case.temb, case.rope(torch.cat([case.ids, case.ids])))
    assert relative_error(ours, theirs) < 1e-4
    assert relative_error(case.ours(tmp_path, False)["out"], theirs) > 0.01  # the condition matters


# Text tokens are FLUX's text stream with no image beside them, and what latents see of them is what FLUX's image tokens see of a text whose stream
# has the image's weights for the condition's tokens and the text's for these. Catches: the image's weights or deltas in the text's stream, keys
# without norm, tokens that attend to more than themselves, text seen in the condition's place.
@torch.no_grad()
def test_text_tokens_go_through_the_text_stream_of_flux_and_are_attended_to(tmp_path):
    case = Case()
    text = torch.randn(2, 3, WIDTH)
    ours = case.ours(tmp_path, True, text)
    beside, _ = case.theirs(torch.zeros(2, 0, WIDTH), text, case.temb, case.rope(torch.zeros(3, 3)))
    assert relative_error(ours["text"], beside) < 1e-4
    plain = case.ours(tmp_path, True)
    assert torch.equal(ours["condition"], plain["condition"])
    assert relative_error(plain["out"], ours["out"]) > 0.01  # the text matters

    # The latents' part with diffusers' layers: one softmax over their own keys, the condition's and the text's.
    attn, stream = case.theirs.attn, case.theirs
    heads = lambda x: x.unflatten(-1, (HEADS, -1))  # noqa: E731
    rotate = flux.apply_rotary_emb

    def given(x, norm, key, value, norm_k, rope):
        seen, *_ = norm(x, emb=case.temb)
        return rotate(norm_k(heads(key(seen))), rope, sequence_dim=1), heads(value(seen))

    latents, from_text = case.rope(case.ids), case.rope(torch.zeros(3, 3))
    k_text, v_text = given(text, stream.norm1_context, attn.add_k_proj, attn.add_v_proj, attn.norm_added_k, from_text)
    seen, gate, shift_mlp, scale_mlp, gate_mlp = stream.norm1(case.x, emb=case.temb)
    query = rotate(attn.norm_q(heads(attn.to_q(seen))), latents, sequence_dim=1)
    k_own, v_own = given(case.x, stream.norm1, attn.to_k, attn.to_v, attn.norm_k, latents)
    for name in STREAMS:  # the condition's weights from here on
        stream.get_submodule(name).weight.copy_(case.merged(name))
    k_condition, v_condition = given(case.condition, stream.norm1, attn.to_k, attn.to_v, attn.norm_k, latents)
    key, value = torch.cat([k_own, k_condition, k_text], 1), torch.cat([v_own, v_condition, v_text], 1)
    mixed = torch.nn.functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (query, key, value))).transpose(1, 2).flatten(2)

    fresh = Case().theirs  # the image's own weights again
    x = case.x + gate.unsqueeze(1) * fresh.attn.to_out[0](mixed)
    out = x + gate_mlp.unsqueeze(1) * fresh.ff(fresh.norm2(x) * (1 + scale_mlp[:, None]) + shift_mlp[:, None])
    assert relative_error(ours["out"], out) < 1e-4
