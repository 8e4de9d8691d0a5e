"""FLUX's transformer in the forms that files of it have, written here without any of resflow's or diffusers' converters."""

import torch

# BFL's layer -> diffusers' layers, from BFL's model.py and layers.py and diffusers' scripts/convert_flux_to_diffusers.py.
TOP = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1", "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1", "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1", "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
}  # fmt: skip


def to_bfl(state):
    """diffusers' state -> BFL's names. Every tensor must be used."""
    left, out = dict(state), {}

    def move(theirs, *ours):
        for ending in ("weight", "bias"):
            parts = [left.pop(f"{name}.{ending}") for name in ours if f"{name}.{ending}" in left]
            if parts:
                out[f"{theirs}.{ending}"] = torch.cat(parts) if len(parts) > 1 else parts[0]

    for theirs, ours in TOP.items():
        move(theirs, ours)
    for ending in ("weight", "bias"):
        scale, shift = left.pop(f"norm_out.linear.{ending}").chunk(2)
        out[f"final_layer.adaLN_modulation.1.{ending}"] = torch.cat([shift, scale])
    for i in range(1000):
        ours, theirs = f"transformer_blocks.{i}.", f"double_blocks.{i}."
        if f"{ours}norm1.linear.weight" not in left:
            break
        for kind, context, added, out_name in (("img", "", "", "attn.to_out.0"), ("txt", "_context", "added_", "attn.to_add_out")):
            move(f"{theirs}{kind}_mod.lin", f"{ours}norm1{context}.linear")
            move(f"{theirs}{kind}_attn.qkv", *(ours + (f"attn.add_{x}_proj" if added else f"attn.to_{x}") for x in "qkv"))
            move(f"{theirs}{kind}_attn.proj", ours + out_name)
            for n in (0, 2):
                move(f"{theirs}{kind}_mlp.{n}", f"{ours}ff{context}.net.{n}" + (".proj" if n == 0 else ""))
            for letter, word in (("q", "query"), ("k", "key")):
                out[f"{theirs}{kind}_attn.norm.{word}_norm.scale"] = left.pop(f"{ours}attn.norm_{added}{letter}.weight")
    for i in range(1000):
        ours, theirs = f"single_transformer_blocks.{i}.", f"single_blocks.{i}."
        if f"{ours}norm.linear.weight" not in left:
            break
        move(f"{theirs}modulation.lin", f"{ours}norm.linear")
        move(f"{theirs}linear1", *(f"{ours}{x}" for x in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")))
        move(f"{theirs}linear2", f"{ours}proj_out")
        for letter, word in (("q", "query"), ("k", "key")):
            out[f"{theirs}norm.{word}_norm.scale"] = left.pop(f"{ours}attn.norm_{letter}.weight")
    assert not left, list(left)
    return out


XLABS_HINT = {"conv_in": 0, "conv_out": 14} | {f"blocks.{i}": 2 * i + 2 for i in range(6)}


def as_xlabs(net):
    """A ControlNet's tensors under x-labs' names (x-flux: src/flux/controlnet.py): BFL's, with q, k and v in one."""
    trunk, own = {}, {}
    for name, tensor in net.state_dict().items():
        if name.startswith("input_hint_block."):
            part, _, ending = name.removeprefix("input_hint_block.").rpartition(".")
            own[f"input_hint_block.{XLABS_HINT[part]}.{ending}"] = tensor
        elif name.startswith("controlnet_"):
            own[name.replace("controlnet_x_embedder", "pos_embed_input")] = tensor
        else:
            trunk[name] = tensor
    last = {"norm_out.linear.weight": torch.zeros(2, 1), "norm_out.linear.bias": torch.zeros(2)}  # of a whole transformer
    return {name: tensor for name, tensor in to_bfl(trunk | last).items() if not name.startswith("final_layer.")} | own


def bfl_shapes(width=3072, heads=24, double=19, single=38, inputs=64, outputs=64, text=4096, pooled=768, guidance=True):
    """Names and shapes of BFL's Flux(FluxParams), from its layers' constructors."""
    out = {}

    def linear(name, rows, columns):
        out[f"{name}.weight"], out[f"{name}.bias"] = (rows, columns), (rows,)

    linear("img_in", width, inputs)
    linear("txt_in", width, text)
    for name, columns in [("time_in", 256), ("vector_in", pooled)] + [("guidance_in", 256)] * guidance:
        linear(f"{name}.in_layer", width, columns)
        linear(f"{name}.out_layer", width, width)
    for i in range(double):
        for kind in ("img", "txt"):
            block = f"double_blocks.{i}.{kind}"
            linear(f"{block}_mod.lin", 6 * width, width)
            linear(f"{block}_attn.qkv", 3 * width, width)
            linear(f"{block}_attn.proj", width, width)
            linear(f"{block}_mlp.0", 4 * width, width)
            linear(f"{block}_mlp.2", width, 4 * width)
            for word in ("query", "key"):
                out[f"{block}_attn.norm.{word}_norm.scale"] = (width // heads,)
    for i in range(single):
        block = f"single_blocks.{i}"
        linear(f"{block}.modulation.lin", 3 * width, width)
        linear(f"{block}.linear1", 7 * width, width)
        linear(f"{block}.linear2", width, 5 * width)
        for word in ("query", "key"):
            out[f"{block}.norm.{word}_norm.scale"] = (width // heads,)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    linear("final_layer.linear", outputs, width)
    return out
