"""Adapter files at FLUX's real sizes against diffusers' own converters: what each module computes, from the file to the last row."""

import json
import os
import pathlib
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")

from program import resflow  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

PROBE = pathlib.Path(os.environ["RESFLOW"]).parent / "tests" / "weights_probe"
WIDTH, MLP, RANK = 3072, 12288, 4
# BFL's names of the Linears: outputs, inputs.
TOP = {
    "img_in": (WIDTH, 64), "txt_in": (WIDTH, 4096), "time_in.in_layer": (WIDTH, 256), "time_in.out_layer": (WIDTH, WIDTH),
    "vector_in.in_layer": (WIDTH, 768), "vector_in.out_layer": (WIDTH, WIDTH), "guidance_in.in_layer": (WIDTH, 256),
    "guidance_in.out_layer": (WIDTH, WIDTH), "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH), "final_layer.linear": (64, WIDTH),
}  # fmt: skip
DOUBLE = {
    f"{kind}_{name}": shape for kind in ("img", "txt")
    for name, shape in {"mod.lin": (6 * WIDTH, WIDTH), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH), "mlp.0": (MLP, WIDTH), "mlp.2": (WIDTH, MLP)}.items()
}  # fmt: skip
SINGLE = {"modulation.lin": (3 * WIDTH, WIDTH), "linear1": (3 * WIDTH + MLP, WIDTH), "linear2": (WIDTH, WIDTH + MLP)}


def bfl_modules(doubles, singles):
    return TOP | {f"double_blocks.{i}.{n}": s for i in doubles for n, s in DOUBLE.items()} | {f"single_blocks.{i}.{n}": s for i in singles for n, s in SINGLE.items()}


def read(folder, tensors, metadata=None, code=0, name="in.safetensors", operation="lora"):
    """The probe's answer to a file of these tensors, or what it complains of."""
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / name, metadata)
    done = subprocess.run([PROBE, operation, folder / name, folder / "out.safetensors"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else load_file(folder / "out.safetensors")


def summary(folder):
    with safe_open(folder / "out.safetensors", "pt") as file:
        return json.loads(file.metadata()["summary"])


def modules_of(out):
    return {key.removesuffix(".scale") for key in out if key.endswith(".scale")}


def applied(down, up, scale, bias=None):
    """What an adapter gives for one fixed input, so that only what it computes counts and not how it is stored."""
    torch.manual_seed(0)
    x = torch.randn(down.shape[1], dtype=torch.float64)
    return float(scale) * (up.double() @ (down.double() @ x) + (0 if bias is None else bias.double()))


def same(out, theirs):
    """theirs: diffusers' state dict, whose scales are multiplied in."""
    theirs = {key.removeprefix("transformer."): value for key, value in theirs.items()}
    names = {key.split(".lora_A.")[0] for key in theirs if ".lora_A." in key}
    assert modules_of(out) == names
    for name in names:
        wanted = applied(theirs[f"{name}.lora_A.weight"], theirs[f"{name}.lora_B.weight"], 1, theirs.get(f"{name}.lora_B.bias"))
        found = applied(out[f"{name}.down"], out[f"{name}.up"], out[f"{name}.scale"], out.get(f"{name}.bias"))
        assert wanted.abs().max() > 1e-3, name
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5, name


def pair(shape, rank=RANK):
    return torch.randn(rank, shape[1]) / shape[1] ** 0.5, torch.randn(shape[0], rank)


# Catches: a module that goes elsewhere, rows of q, k, v and mlp cut wrongly, the last modulation's halves not turned, alpha forgotten or taken
# twice. The last layer's alpha is its rank here, since diffusers passes over it: the next test has another.
@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model."])
def test_kohya_and_comfy(tmp_path, prefix):
    torch.manual_seed(1)
    tensors = {}
    for index, (name, shape) in enumerate(bfl_modules([0, 18], [3, 37]).items()):
        down, up = pair(shape)
        key = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(float(RANK if "final" in name else 1 + index))}
    out = read(tmp_path, tensors)
    same(out, conversion._convert_kohya_flux_lora_to_diffusers(dict(tensors)))
    assert summary(tmp_path)["format"] == ("kohya" if prefix.endswith("_") else "bfl")


def test_the_last_layers_alpha_counts(tmp_path):
    """Catches: diffusers' fault, which takes 1 for alpha / rank there."""
    torch.manual_seed(2)
    down, up = pair(TOP["final_layer.adaLN_modulation.1"])
    key = "lora_unet_final_layer_adaLN_modulation_1"
    out = read(tmp_path, {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)})
    assert out["norm_out.linear.scale"] == 1 / RANK
    assert torch.equal(out["norm_out.linear.up"], torch.cat([up[WIDTH:], up[:WIDTH]]))


def test_a_block_sparse_adapter_comes_apart(tmp_path):
    """q, k, v (and mlp) trained apart and saved as one. Catches: ranks 3 and 4 times too high, blocks mixed up; a dense one of that rank cut."""
    torch.manual_seed(3)
    tensors = {}
    for name, rows in {"double_blocks_2_img_attn_qkv": [WIDTH] * 3, "single_blocks_1_linear1": [WIDTH] * 3 + [MLP]}.items():
        up = torch.block_diag(*[torch.randn(count, 2) for count in rows])
        tensors |= {f"lora_unet_{name}.lora_down.weight": torch.randn(2 * len(rows), WIDTH) / 55, f"lora_unet_{name}.lora_up.weight": up}
    tensors |= {"lora_unet_double_blocks_3_img_attn_qkv.lora_down.weight": torch.randn(6, WIDTH) / 55, "lora_unet_double_blocks_3_img_attn_qkv.lora_up.weight": torch.randn(3 * WIDTH, 6)}
    out = read(tmp_path, tensors)
    same(out, conversion._convert_kohya_flux_lora_to_diffusers(dict(tensors)))
    assert out["single_transformer_blocks.1.proj_mlp.down"].shape == (2, WIDTH)
    assert summary(tmp_path)["ranks"] == {"2": 7, "6": 3}


def test_diffusers_names_with_underscores(tmp_path):
    """OneTrainer's. Catches: "to_out_0" and "net_0_proj", whose underscores are not all dots."""
    torch.manual_seed(4)
    names = {"transformer_blocks.7.attn.to_out.0": (WIDTH, WIDTH), "transformer_blocks.7.attn.add_k_proj": (WIDTH, WIDTH), "context_embedder": (WIDTH, 4096),
             "single_transformer_blocks.9.attn.to_v": (WIDTH, WIDTH)}  # fmt: skip
    tensors, wanted = {}, {}
    for name, shape in names.items():
        down, up = pair(shape)
        key = "lora_transformer_" + name.replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(3.0)}
        wanted |= {f"{name}.lora_A.weight": down * 3 / RANK, f"{name}.lora_B.weight": up}
    same(read(tmp_path, tensors), wanted)
    same(read(tmp_path, tensors), conversion._convert_kohya_flux_lora_to_diffusers(dict(tensors)))
    for name in ("transformer_blocks_7_ff_net_0_proj", "transformer_blocks_7_ff_context_net_2", "transformer_blocks_7_norm1_context_linear"):
        down, up = pair((8, 8))
        (found,) = modules_of(read(tmp_path, {f"lora_transformer_{name}.lora_down.weight": down, f"lora_transformer_{name}.lora_up.weight": up}))
        assert found.replace(".", "_") == name


def test_xlabs(tmp_path):
    """Catches: image and text exchanged, the single blocks' q, k, v taken for all of linear1, a scale where there is none."""
    torch.manual_seed(5)
    tensors = {}
    for block, names in {"double_blocks.4": {"qkv_lora1": (3 * WIDTH, WIDTH), "proj_lora1": (WIDTH, WIDTH), "qkv_lora2": (3 * WIDTH, WIDTH), "proj_lora2": (WIDTH, WIDTH)},
                         "single_blocks.11": {"qkv_lora": (3 * WIDTH, WIDTH), "proj_lora": (WIDTH, WIDTH + MLP)}}.items():  # fmt: skip
        for name, shape in names.items():
            down, up = pair(shape)
            tensors |= {f"{block}.processor.{name}.down.weight": down, f"{block}.processor.{name}.up.weight": up}
    out = read(tmp_path, tensors)
    same(out, conversion._convert_xlabs_flux_lora_to_diffusers(dict(tensors)))
    assert summary(tmp_path)["format"] == "x-labs" and len(modules_of(out)) == 3 + 1 + 3 + 1 + 3 + 1


def test_bfl_control(tmp_path):
    """All of FLUX's modules, as flux1-canny-dev-lora has them: wide x_embedder, biases, whole norms. Catches: a bias that is not cut or turned."""
    torch.manual_seed(6)
    tensors = {}
    for name, shape in (bfl_modules(range(19), range(38)) | {"img_in": (WIDTH, 128)}).items():
        down, up = pair(shape, rank=2)
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up, f"{name}.lora_B.bias": torch.randn(shape[0])}
    for block in [f"double_blocks.{i}.{kind}_attn.norm" for i in range(19) for kind in ("img", "txt")] + [f"single_blocks.{i}.norm" for i in range(38)]:
        tensors |= {f"{block}.{kind}_norm.scale": torch.randn(128) for kind in ("query", "key")}
    out = read(tmp_path, tensors)
    theirs = conversion._convert_bfl_flux_control_lora_to_diffusers(dict(tensors))
    theirs["transformer.norm_out.linear.lora_A.weight"] = tensors["final_layer.adaLN_modulation.1.lora_A.weight"]  # diffusers turns its rows too, by mistake
    same(out, theirs)
    norms = {key.removeprefix("transformer."): value for key, value in theirs.items() if "norm_" in key and key.endswith(("q.weight", "k.weight"))}
    assert len(norms) == summary(tmp_path)["replacements"] == 4 * 19 + 2 * 38
    for name, value in norms.items():
        assert torch.equal(out[name], value), name


def test_peft_of_bfls_names(tmp_path):
    """fal's Kontext trainer."""
    torch.manual_seed(7)
    tensors = {}
    for name, shape in bfl_modules(range(19), range(38)).items():
        if name in TOP and name != "final_layer.linear":
            continue
        down, up = pair(shape, rank=1)
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    same(read(tmp_path, tensors), conversion._convert_fal_kontext_lora_to_diffusers(dict(tensors)))


PEFT = {"transformer_blocks.0.attn.to_q": 2, "single_transformer_blocks.3.proj_out": 3, "proj_out": 5}


def peft_tensors(prefix="transformer.", ending=".weight"):
    torch.manual_seed(8)
    out = {}
    for name, rank in PEFT.items():
        down, up = pair((16, 12), rank)
        out |= {f"{prefix}{name}.lora_A{ending}": down, f"{prefix}{name}.lora_B{ending}": up}
    return out


@pytest.mark.parametrize("prefix, ending", [("transformer.", ".weight"), ("", ".weight"), ("base_model.model.", ".default.weight"), ("base_model.model.transformer.", ".weight")])
def test_peft_without_alpha(tmp_path, prefix, ending):
    """Catches: prefixes and PEFT's adapter name left in the names; a scale where none is told."""
    out = read(tmp_path, peft_tensors(prefix, ending))
    assert modules_of(out) == set(PEFT) and all(out[f"{name}.scale"] == 1 for name in PEFT)


def test_peft_scales(tmp_path):
    """Catches: a pattern for the last layer that takes every block's proj_out too, or one without "^" that does not; alpha / rank of another rank."""
    config = {"r": 3, "lora_alpha": 6, "rank_pattern": {}, "alpha_pattern": {"^proj_out": 10, "attn.to_q": 1}, "use_rslora": False, "use_dora": False}
    wanted = {"transformer_blocks.0.attn.to_q": 1 / 2, "single_transformer_blocks.3.proj_out": 6 / 3, "proj_out": 10 / 5}

    def scales(out):
        return {name: float(out[f"{name}.scale"]) for name in PEFT}

    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})}
    assert scales(read(tmp_path, peft_tensors(), metadata)) == wanted
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert scales(read(tmp_path, peft_tensors("base_model.model."), name="adapter_model.safetensors")) == wanted
    assert set(scales(read(tmp_path, peft_tensors("base_model.model."))).values()) == {1}  # another file of that folder
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True, "alpha_pattern": {}}))
    rooted = scales(read(tmp_path, peft_tensors("base_model.model."), name="adapter_model.safetensors"))
    assert rooted["proj_out"] == pytest.approx(6 / 5**0.5)
    alphas = {f"transformer.{name}.alpha": torch.tensor(7.0) for name in PEFT}
    assert scales(read(tmp_path, peft_tensors() | alphas)) == {name: 7 / rank for name, rank in PEFT.items()}


OMINI = ["x_embedder", *(f"transformer_blocks.0.{n}" for n in ("norm1.linear", "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.2")),
         *(f"single_transformer_blocks.0.{n}" for n in ("norm.linear", "proj_mlp", "proj_out", "attn.to_q", "attn.to_k", "attn.to_v"))]  # fmt: skip


def test_ominicontrols_adapters_are_known_by_their_modules(tmp_path):
    """Catches: an ordinary adapter kept from the image's tokens, and OminiControl's let onto them."""

    def tensors(names):
        return {f"transformer.{name}.lora_{half}.weight": torch.randn(2, 2) for name in names for half in "AB"}

    def found(*arguments):
        read(tmp_path, *arguments)
        said = summary(tmp_path)
        return said["format"], said["tokens"]

    assert found(tensors(OMINI)) == ("omini-control", "condition")
    assert found(tensors(OMINI[1:])) == ("peft", "all")
    assert found(tensors([*OMINI, "transformer_blocks.0.attn.add_q_proj"])) == ("peft", "all")
    assert found(tensors(OMINI), {"resflow.tokens": "all"}) == ("omini-control", "all")
    assert found(tensors(OMINI[1:]), {"resflow.tokens": "condition"}) == ("peft", "condition")


def test_text_encoders_are_named(tmp_path):
    tensors = {f"lora_{name}.{half}.weight": torch.randn(2, 2) for name in ("unet_img_in", "te1_text_model_encoder_layers_0_mlp_fc1", "te1_text_model_encoder_layers_1_mlp_fc1", "te3_encoder_block_0")
               for half in ("lora_down", "lora_up")}  # fmt: skip
    out = read(tmp_path, tensors)
    assert modules_of(out) == {"x_embedder"} and summary(tmp_path)["text_modules"] == {"CLIP-L": 2, "T5": 1}
    assert "text encoders alone" in read(tmp_path, {key: value for key, value in tensors.items() if "_te" in key}, code=1)


GOOD = {"lora_unet_img_in.lora_down.weight": torch.randn(2, 64), "lora_unet_img_in.lora_up.weight": torch.randn(8, 2)}


@pytest.mark.parametrize(
    "tensors, told",
    [
        (GOOD | {f"lora_unet_up_blocks_{i}_x.{h}.weight": torch.ones(2, 2) for i in range(4) for h in ("lora_down", "lora_up")}, ["8 of 10 keys", "lora_unet_up_blocks_0_x.lora_down.weight", "..."]),
        (GOOD | {"something": torch.ones(2)}, ["1 of 3 keys", "something"]),
        (GOOD | {"lora_unet_double_blocks_x_img_mod_lin.lora_up.weight": torch.ones(2, 2)}, ["1 of 3 keys"]),
        ({"lora_unet_img_in.lora_down.weight": torch.ones(2, 4)}, ["'lora_unet_img_in' is half an adapter"]),
        (GOOD | {"lora_unet_img_in.lora_up.weight": torch.ones(8, 3)}, ["contradict", "[2, 64] and [8, 3]"]),
        (GOOD | {"lora_unet_img_in.lora_up.weight": torch.ones(8, 2, 1, 1)}, ["contradict"]),
        (GOOD | {"lora_unet_img_in.alpha": torch.ones(2)}, ["bad 'lora_unet_img_in.alpha'"]),
        (GOOD | {"lora_unet_img_in.alpha": torch.tensor(float("nan"))}, ["bad 'lora_unet_img_in.alpha'"]),
        (GOOD | {"lora_unet_img_in.dora_scale": torch.ones(8, 1)}, ["a DoRA"]),
        ({"lora_unet_img_in.lokr_w1": torch.ones(2, 2)}, ["a LoKr"]),
        ({"lora_unet_single_blocks_0_linear1.lora_down.weight": torch.ones(2, 4), "lora_unet_single_blocks_0_linear1.lora_up.weight": torch.ones(8, 2)}, ["multiple of 7 rows"]),
        ({"double_blocks.0.processor.qkv_lora3.down.weight": torch.ones(2, 2)}, ["1 of 1 keys", "qkv_lora3"]),
        ({"blocks.0.weight": torch.ones(2, 2)}, ["no adapter in this file"]),
        ({"a.lora_A.weight": torch.ones(2, 2, dtype=torch.int32), "a.lora_B.weight": torch.ones(2, 2)}, ["of integers"]),
        ({f"{p}x_embedder.lora_{h}.weight": torch.ones(2, 2) for p in ("transformer.", "") for h in "AB"}, ["two adapters in one file for 'x_embedder'"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(tmp_path, tensors, told):
    """Catches: keys that are passed over in silence."""
    said = read(tmp_path, tensors, code=1)
    assert all(part in said for part in [*told, "in.safetensors"]), said


def test_metadata_that_lies_is_told(tmp_path):
    for wrong, told in [("{", "not a JSON object"), ('{"transformer.lora_alpha": "x"}', "bad lora_alpha"), ('{"transformer.use_dora": true}', "DoRA"),
                        ('{"transformer.lora_alpha": 1, "transformer.alpha_pattern": {".*a": 2}}', "plain name")]:  # fmt: skip
        assert told in read(tmp_path, peft_tensors(), {"lora_adapter_metadata": wrong}, code=1)


def test_what_is_saved_is_read_again(tmp_path):
    """Catches: scales, biases or tokens lost on the way."""
    torch.manual_seed(9)
    down, up = pair((3 * 16, 16))
    key = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)}
    tensors |= {"lora_unet_img_in.lora_down.weight": torch.randn(7, 4).bfloat16(), "lora_unet_img_in.lora_up.weight": torch.randn(16, 7).bfloat16()}
    before = read(tmp_path, tensors)
    read(tmp_path, tensors, operation="lora-save")
    (tmp_path / "out.safetensors").rename(tmp_path / "saved.safetensors")
    with safe_open(tmp_path / "saved.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["resflow.rank"] == "4" and metadata["resflow.base"] == "a base" and metadata["resflow.tokens"] == "all" and metadata["resflow.version"]
    subprocess.run([PROBE, "lora", tmp_path / "saved.safetensors", tmp_path / "again.safetensors"], check=True)
    again = load_file(tmp_path / "again.safetensors")
    assert set(again) == set(before)
    for name, value in before.items():
        assert again[name].dtype == value.dtype and torch.equal(again[name], value), name


def test_inspect_says_what_an_adapter_is(tmp_path):
    """Catches: what is shared counted for each part, an adapter of another model passed for good."""
    tensors = {"lora_unet_img_in.lora_down.weight": torch.ones(2, 8), "lora_unet_img_in.lora_up.weight": torch.ones(16, 2)}
    tensors |= {"lora_unet_single_blocks_0_linear1.lora_down.weight": torch.ones(1, 3), "lora_unet_single_blocks_0_linear1.lora_up.weight": torch.ones(14, 1), "lora_unet_img_in.alpha": torch.tensor(0.5)}
    save_file(tensors, tmp_path / "a.safetensors")
    said = resflow("inspect", tmp_path / "a.safetensors").stdout
    assert "kohya's naming" in said and "adapts 5 modules with 65 parameters, on every token" in said and "ranks (modules): 1 (4), 2 (1); alpha: 0.5 (1), 1 (4)" in said
    found = json.loads(resflow("inspect", "--json", tmp_path / "a.safetensors").stdout)["adapter"]
    assert found["format"] == "kohya" and found["parameters"] == 2 * 8 + 16 * 2 + 3 + 14 and found["ranks"] == {"1": 4, "2": 1}
    save_file(tensors | {"lora_unet_up_blocks_0.lora_up.weight": torch.ones(2, 2)}, tmp_path / "b.safetensors")
    said = resflow("inspect", tmp_path / "b.safetensors").stdout
    assert "cannot be used: [lora]" in said and "1 of 6 keys" in said
