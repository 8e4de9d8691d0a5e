"""FLUX's transformer with adapters of every format, against diffusers with the same deltas by PEFT, on random weights."""

import json
import logging
import os
import pathlib
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
pytest.importorskip("peft")
diffusers = pytest.importorskip("diffusers")

import omini_oracle  # noqa: E402
from models_probe import PROBE, relative_error, run  # noqa: E402  (after the skips: it needs torch too)
from safetensors.torch import save_file  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
SMALL = {"joint_attention_dim": 48, "pooled_projection_dim": 40, "in_channels": 16}
CASES = {
    "both kinds, guidance": dict(num_layers=2, num_single_layers=2, attention_head_dim=64, num_attention_heads=2, axes_dims_rope=[16, 24, 24], guidance_embeds=True),
    "heads of 128": dict(num_layers=1, num_single_layers=2, attention_head_dim=128, num_attention_heads=1, axes_dims_rope=[16, 56, 56], out_channels=12),
    "odd heads of 32": dict(num_layers=2, num_single_layers=1, attention_head_dim=32, num_attention_heads=3, axes_dims_rope=[8, 12, 12]),
}  # fmt: skip
GUIDED = "both kinds, guidance"
# Which of diffusers' names BFL has as one, and how BFL calls a block's parts.
DOUBLE = {"img_mod.lin": ["norm1.linear"], "txt_mod.lin": ["norm1_context.linear"], "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
          "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"], "img_attn.proj": ["attn.to_out.0"], "txt_attn.proj": ["attn.to_add_out"],
          "img_mlp.0": ["ff.net.0.proj"], "img_mlp.2": ["ff.net.2"], "txt_mlp.0": ["ff_context.net.0.proj"], "txt_mlp.2": ["ff_context.net.2"]}  # fmt: skip
SINGLE = {"modulation.lin": ["norm.linear"], "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"], "linear2": ["proj_out"]}
TOP = {"img_in": "x_embedder", "txt_in": "context_embedder", "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1", "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
       "vector_in.in_layer": "time_text_embed.text_embedder.linear_1", "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
       "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1", "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
       "final_layer.adaLN_modulation.1": "norm_out.linear", "final_layer.linear": "proj_out"}  # fmt: skip


def groups(model):
    """BFL's name -> diffusers' names, of the modules that the model has."""
    out = {theirs: [ours] for theirs, ours in TOP.items()}
    for i in range(model.config.num_layers):
        out |= {f"double_blocks.{i}.{theirs}": [f"transformer_blocks.{i}.{part}" for part in ours] for theirs, ours in DOUBLE.items()}
    for i in range(model.config.num_single_layers):
        out |= {f"single_blocks.{i}.{theirs}": [f"single_transformer_blocks.{i}.{part}" for part in ours] for theirs, ours in SINGLE.items()}
    linears = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    out = {theirs: ours for theirs, ours in out.items() if set(ours) <= linears}
    assert {part for ours in out.values() for part in ours} == linears
    return out


def random_model(case):
    torch.manual_seed(3)
    model = diffusers.FluxTransformer2DModel(**SMALL, **CASES[case]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5)
    return model


def random_input(model, channels=SMALL["in_channels"]):
    torch.manual_seed(4)
    inputs = {
        "hidden_states": torch.randn(2, 12, channels),
        "encoder_hidden_states": torch.randn(2, 5, SMALL["joint_attention_dim"]),
        "pooled": torch.randn(2, SMALL["pooled_projection_dim"]),
        "timestep": torch.tensor([0.2, 0.9]),
        "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(3).float(), torch.arange(4).float()),
        "txt_ids": torch.zeros(5, 3),
    }
    return inputs | ({"guidance": torch.tensor([1.0, 3.5])} if model.config.guidance_embeds else {})


def random_deltas(model, seed, shared=False, only=lambda name: True):
    """diffusers' name -> (A, B) of ranks 1 to 4; shared: what BFL has as one module has one A."""
    torch.manual_seed(seed)
    linears = dict(model.named_modules())
    out = {}
    for index, parts in enumerate(groups(model).values()):
        rank, a = 1 + index % 4, None
        for part in parts:
            rows, columns = linears[part].weight.shape
            a = a if shared and a is not None else torch.randn(rank, columns) / columns**0.5
            if only(part):
                out[part] = (a, torch.randn(rows, rank) * 0.3 / rank**0.5)
    return out


def peft(deltas):
    """What diffusers is given."""
    return {f"transformer.{name}.lora_{half}.weight": value for name, pair in deltas.items() for half, value in zip("AB", pair, strict=True)}


def turned(rows):
    return torch.cat([rows[len(rows) // 2 :], rows[: len(rows) // 2]])


def fused(model, deltas, shared):
    """BFL's name -> (down, up): stacked where A is shared, side by side where not."""
    out = {}
    for theirs, ours in groups(model).items():
        parts = [deltas[name] for name in ours]
        down = parts[0][0] if shared else torch.cat([a for a, _ in parts])
        up = torch.cat([b for _, b in parts]) if shared else torch.block_diag(*[b for _, b in parts])
        out[theirs] = (down, turned(up) if theirs.startswith("final_layer.ada") else up)
    return out


def as_peft(model, deltas):
    return peft(deltas)


def as_peft_alpha(model, deltas):
    """A delta of alpha 3, stored so that alpha / rank makes it what it is."""
    out = peft({name: (a, b * len(a) / 3) for name, (a, b) in deltas.items()})
    return out | {f"transformer.{name}.alpha": torch.tensor(3.0) for name in deltas}


def kohya_keys(model, deltas, shared):
    out = {}
    for name, (down, up) in fused(model, deltas, shared).items():
        key = "lora_unet_" + name.replace(".", "_")
        out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up * len(down) / 2, f"{key}.alpha": torch.tensor(2.0)}
    return out


def as_kohya_sparse(model, deltas):
    return kohya_keys(model, deltas, shared=False)


def as_kohya_dense(model, deltas):
    return kohya_keys(model, deltas, shared=True)


def as_comfy(model, deltas):
    return {f"diffusion_model.{name}.lora_{half}.weight": value for name, pair in fused(model, deltas, False).items() for half, value in zip("AB", pair, strict=True)}


ATTENTION = {"double_blocks": {"img_attn.qkv": "qkv_lora1", "img_attn.proj": "proj_lora1", "txt_attn.qkv": "qkv_lora2", "txt_attn.proj": "proj_lora2"},
             "single_blocks": {"linear1": "qkv_lora", "linear2": "proj_lora"}}  # fmt: skip


def of_attention(name):
    return ".attn." in name or ("single_" in name and name.endswith("proj_out"))


def as_xlabs(model, deltas):
    out = {}
    for theirs, ours in groups(model).items():
        kind, number, part = [*theirs.split(".", 2), "", ""][:3]
        if part not in ATTENTION.get(kind, {}):
            continue
        parts = [deltas[name] for name in ours if name in deltas]
        key = f"{kind}.{number}.processor.{ATTENTION[kind][part]}"
        out |= {f"{key}.down.weight": parts[0][0], f"{key}.up.weight": torch.cat([b for _, b in parts])}
    return out


# format -> (writer, one A for what is one module there, which modules it can hold)
FORMATS = {
    "peft": (as_peft, False, lambda name: True),
    "peft, alpha": (as_peft_alpha, False, lambda name: True),
    "kohya, sparse": (as_kohya_sparse, False, lambda name: True),
    "kohya, dense": (as_kohya_dense, True, lambda name: True),
    "comfy": (as_comfy, False, lambda name: True),
    "x-labs": (as_xlabs, True, of_attention),
}


class Complaints(logging.Handler):
    """What diffusers warns of: unmatched keys are no error there."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        if "No LoRA keys associated to" not in record.getMessage():  # the text encoder, of which there is none
            self.said.append(record.getMessage())


def pipeline(model, *adapters):
    """diffusers' pipeline about the model, with these state dicts or files loaded and nothing to complain of."""
    pipe = diffusers.FluxPipeline(scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, transformer=model)
    complaints, logger = Complaints(), logging.getLogger("diffusers")
    logger.addHandler(complaints)
    try:
        for index, adapter in enumerate(adapters):
            pipe.load_lora_weights(dict(adapter) if isinstance(adapter, dict) else adapter, adapter_name=f"adapter{index}")
    finally:
        logger.removeHandler(complaints)
    assert complaints.said == []
    return pipe


def theirs(model, inputs):
    named = {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}
    return model(**named, return_dict=False)[0]


def ours(folder, model, inputs, uses, code=0, weights=None, full=0):
    """uses: (tensors, {scale, merge, tokens}, metadata). weights: of the model before PEFT renamed them."""
    listed = []
    for index, (tensors, use, *metadata) in enumerate(uses):
        path = folder / f"adapter{index}.safetensors"
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, *metadata)
        listed.append({"path": str(path), "scale": 1, "merge": False, "tokens": ""} | use)
    weights = {f"model.{name}": tensor for name, tensor in (weights or model.state_dict()).items()}
    return run(folder, "lora", weights | inputs, code=code, config=json.dumps(dict(model.config)), loras=json.dumps(listed), full=full)


# Catches, beside what tests/weights/test_lora.py does: a delta on the wrong stream, tokens that it does not reach, a scale taken twice when merged,
# a model that is not the same when the adapter is off again.
@pytest.mark.parametrize("merge", [False, True], ids=["run time", "merged"])
@pytest.mark.parametrize("format, case", [(format, GUIDED) for format in FORMATS] + [(format, case) for format in ("peft, alpha", "kohya, sparse") for case in CASES if case != GUIDED])
@torch.no_grad()
def test_every_format_equals_diffusers(tmp_path, format, case, merge):
    writer, shared, only = FORMATS[format]
    model = random_model(case)
    inputs, deltas = random_input(model), random_deltas(model, 5, shared, only)
    out = ours(tmp_path, model, inputs, [(writer(model, deltas), {"scale": 0.75, "merge": merge})])
    plain = theirs(model, inputs)
    pipe = pipeline(model, peft(deltas))
    pipe.set_adapters(["adapter0"], [0.75])
    wanted = theirs(model, inputs)
    assert relative_error(wanted, plain) > 0.1  # the adapter does something
    assert relative_error(out["out"], wanted) < 1e-4
    assert relative_error(out["before"], plain) < 1e-4 and torch.equal(out["after"], out["before"])


# The reference computes in float32 with what bf16 leaves of weights and adapter. Merging rounds the sum once more.
@pytest.mark.parametrize("merge", [False, True], ids=["run time", "merged"])
@torch.no_grad()
def test_bfloat16_stays_near_float32(tmp_path, merge):
    model = random_model(GUIDED).bfloat16()
    inputs = random_input(model)
    deltas = {name: (a.bfloat16(), b.bfloat16()) for name, (a, b) in random_deltas(model, 5).items()}
    out = ours(tmp_path, model, inputs, [(peft(deltas), {"merge": merge})])["out"]
    assert out.dtype == torch.bfloat16
    model = model.float()
    pipeline(model, {key: value.float() for key, value in peft(deltas).items()})
    assert relative_error(out.float(), theirs(model, inputs)) < 2e-2


@pytest.mark.parametrize("merge", [(False, False), (True, True), (False, True), (True, False)])
@torch.no_grad()
def test_adapters_add_up_each_by_its_scale(tmp_path, merge):
    """Catches: a second adapter in the first one's place, one scale for both; merged on top of one at run time, and the reverse."""
    model = random_model(GUIDED)
    inputs = random_input(model)
    first, second = random_deltas(model, 5), random_deltas(model, 6, shared=True, only=of_attention)
    uses = [(as_kohya_sparse(model, first), {"scale": 0.6, "merge": merge[0]}), (as_xlabs(model, second), {"scale": -0.8, "merge": merge[1]})]
    out = ours(tmp_path, model, inputs, uses)
    pipe = pipeline(model, peft(first), peft(second))
    pipe.set_adapters(["adapter0", "adapter1"], [0.6, -0.8])
    assert relative_error(out["out"], theirs(model, inputs)) < 1e-4
    assert torch.equal(out["after"], out["before"])


@pytest.mark.parametrize("merge", [False, True], ids=["run time", "merged"])
@torch.no_grad()
def test_a_control_adapter_widens_the_model(tmp_path, merge):
    """BFL's: wide x_embedder, biases, whole norms; on top of an ordinary one of the narrow model. Catches: one of them forgotten, scaled or kept."""
    model = random_model(GUIDED)
    narrow, control = random_deltas(model, 5), random_deltas(model, 6)
    control["x_embedder"] = (torch.randn(2, 40) / 40**0.5, torch.randn(control["x_embedder"][1].shape[0], 2))
    biases = {name: torch.randn(len(b)) * 0.3 for name, (_, b) in control.items()}
    norms = {name: torch.randn(value.shape) for name, value in model.state_dict().items() if ".norm_" in name and "attn" in name}
    diffusers_form = peft(control) | {f"transformer.{name}.lora_B.bias": value for name, value in biases.items()} | {f"transformer.{name}": value for name, value in norms.items()}

    bfl_form = {}
    for theirs_name, (down, up) in fused(model, control, shared=False).items():
        bias = torch.cat([biases[name] for name in groups(model)[theirs_name]])
        bias = turned(bias) if theirs_name.startswith("final_layer.ada") else bias
        bfl_form |= {f"{theirs_name}.lora_A.weight": down, f"{theirs_name}.lora_B.weight": up, f"{theirs_name}.lora_B.bias": bias}
    for name, value in norms.items():
        double = name.startswith("transformer")
        number, norm = name.split(".")[1], name.split(".")[-2]
        kind = f"double_blocks.{number}.{'txt' if 'added' in norm else 'img'}_attn" if double else f"single_blocks.{number}"
        bfl_form[f"{kind}.norm.{'query' if norm.endswith('q') else 'key'}_norm.scale"] = value

    wide, plain = random_input(model, 40), dict(model.state_dict())
    out = ours(tmp_path, model, wide, [(peft(narrow), {"merge": merge}), (bfl_form, {"scale": 0.9, "merge": merge})])
    pipe = pipeline(model, diffusers_form, peft(narrow))
    pipe.set_adapters(["adapter0", "adapter1"], [0.9, 1.0])
    assert relative_error(out["out"], theirs(model, wide)) < 1e-4
    assert out["restored"] == 1  # every tensor and width of the model, when they are off again
    wrong = ours(tmp_path, model, random_input(model), [(bfl_form, {})], code=2, weights=plain)
    assert "hidden_states" in wrong


@torch.no_grad()
def test_what_we_save_is_diffusers_own(tmp_path):
    """Ranks and alphas that differ from module to module. Catches: a pattern that PEFT takes for other modules, a key that diffusers does not know."""
    model = random_model(GUIDED)
    inputs, deltas = random_input(model), random_deltas(model, 5)
    file = as_kohya_sparse(model, deltas)
    out = ours(tmp_path, model, inputs, [(file, {})])["out"]
    probe = pathlib.Path(PROBE).parent / "weights_probe"
    subprocess.run([probe, "lora-save", tmp_path / "adapter0.safetensors", tmp_path / "saved.safetensors"], check=True)
    pipeline(model, str(tmp_path / "saved.safetensors"))
    assert relative_error(out, theirs(model, inputs)) < 1e-4


@torch.no_grad()
def test_an_adapter_of_the_condition_leaves_other_tokens_alone(tmp_path):
    """Catches: OminiControl's deltas on image and text."""
    model = random_model(GUIDED)
    inputs, deltas = random_input(model), random_deltas(model, 5)
    out = ours(tmp_path, model, inputs, [(peft(deltas), {}, {"resflow.tokens": "condition"})])
    assert torch.equal(out["out"], out["before"])
    out = ours(tmp_path, model, inputs, [(peft(deltas), {"tokens": "all"}, {"resflow.tokens": "condition"})])
    assert relative_error(out["out"], out["before"]) > 0.1


@pytest.mark.parametrize("attention", ["independent", "full"])
@torch.no_grad()
def test_ominicontrols_file_acts_as_ominicontrol_describes(tmp_path, attention):
    """As its trainer saves it, nothing told. Catches: deltas on other tokens than the condition's, or on its own modulation left out."""
    model = random_model(GUIDED)
    condition = {"condition": torch.randn(2, 6, SMALL["in_channels"]), "condition_ids": omini_oracle.condition_ids(2, 3)}
    inputs, adapter = random_input(model), omini_oracle.random_adapter(model, rank=4)
    file = {f"transformer.{name}.lora_{half}.weight": value for name, pair in adapter.items() for half, value in zip("AB", pair, strict=True)}
    out = ours(tmp_path, model, inputs | condition, [(file, {"scale": 0.8})], full=int(attention == "full"))
    wanted = omini_oracle.Omini(model, adapter, 0.8)(inputs, *condition.values(), attention)
    assert relative_error(out["out"], wanted) < 1e-4 and relative_error(out["before"], wanted) > 1e-2
    assert torch.equal(out["after"], out["before"])


@torch.no_grad()
def test_an_adapter_on_quantised_weights(tmp_path):
    """Float8 weights, which stay so. Catches: an adapter in the weights' type, and one merged into it."""
    model = random_model(GUIDED)
    weights = {name: value.to(torch.float8_e4m3fn) if value.dim() == 2 else value for name, value in model.state_dict().items()}
    inputs, deltas = random_input(model), random_deltas(model, 5)
    out = ours(tmp_path, model, inputs, [(peft(deltas), {})], weights=weights)["out"]
    complaint = ours(tmp_path, model, inputs, [(peft(deltas), {"merge": True})], weights=weights, code=2)
    assert "quantised" in complaint and "without merging" in complaint
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    pipeline(model, peft(deltas))
    assert relative_error(out.float(), theirs(model, inputs)) < (1e-4 if out.dtype == torch.float32 else 2e-2)


@torch.no_grad()
def test_what_does_not_fit_the_model_is_told(tmp_path):
    model = random_model(GUIDED)
    inputs, deltas = random_input(model), random_deltas(model, 5)
    further = {f"transformer_blocks.{i}.attn.to_q": deltas["transformer_blocks.0.attn.to_q"] for i in range(2, 9)}
    complaint = ours(tmp_path, model, inputs, [(peft(deltas | further), {})], code=2)
    assert f"7 of {len(deltas) + 7} modules" in complaint and "transformer_blocks.2.attn.to_q" in complaint and "..." in complaint
    wrong = deltas | {"proj_out": (torch.ones(1, 9), torch.ones(16, 1))}
    assert "'proj_out' is of another size: wanted 128 -> 16, got 9 -> 16" in ours(tmp_path, model, inputs, [(peft(wrong), {})], code=2)
    complaint = ours(tmp_path, model, inputs, [(peft(deltas), {"merge": True}, {"resflow.tokens": "condition"})], code=2)
    assert "cannot be merged" in complaint
