"""FLUX's transformer from every kind of file that people have, against diffusers on the same weights."""

import inspect
import json
import os

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")
gguf = pytest.importorskip("gguf")

from diffusers.loaders import single_file_utils  # noqa: E402
from flux_files import bfl_shapes, to_bfl  # noqa: E402
from models_probe import relative_error, run  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from test_flux import sparse_file  # noqa: E402

SHAPE = dict(
    num_layers=2, num_single_layers=2, attention_head_dim=64, num_attention_heads=2, axes_dims_rope=[8, 28, 28], in_channels=32, joint_attention_dim=64,
    pooled_projection_dim=96, guidance_embeds=True,
)  # fmt: skip
WIDTH = 128


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    out = flux.FluxTransformer2DModel(**SHAPE).eval()
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5)
    return out


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(4)
    return {
        "hidden_states": torch.randn(2, 35, 32), "encoder_hidden_states": torch.randn(2, 11, 64), "pooled": torch.randn(2, 96), "timestep": torch.tensor([0.1, 0.9]),
        "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(5.0), torch.arange(7.0)), "txt_ids": torch.zeros(11, 3), "guidance": torch.tensor([1.0, 3.5]),
    }  # fmt: skip


@torch.no_grad()
def wanted(model, inputs, weights=None):
    """The forward pass of diffusers with these weights, by diffusers' names."""
    other = flux.FluxTransformer2DModel(**SHAPE).eval()
    other.load_state_dict(model.state_dict() if weights is None else weights)
    return other(**{"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}, return_dict=False)[0]


def found(folder, path, inputs, **more):
    return run(folder, "flux_file", inputs, file=path, **more)["out"]


def from_bfl(state):
    """diffusers' own converter, whose one number for the width is for FLUX alone."""
    source = inspect.getsource(single_file_utils.convert_flux_transformer_checkpoint_to_diffusers).replace("inner_dim = 3072", f"inner_dim = {WIDTH}")
    scope = {"torch": torch}
    exec(source, scope)
    return scope["convert_flux_transformer_checkpoint_to_diffusers"](dict(state))


def saved(folder, state, prefix="", metadata=None):
    path = folder / "weights.safetensors"
    save_file({prefix + name: value.detach().clone().contiguous() for name, value in state.items()}, path, metadata)
    return path


def shapes_of(folder, path, naming):
    return {name: tuple(shape.tolist()) for name, shape in run(folder, "flux_names", {}, file=path, naming=naming).items()}


def diffusers_shapes(**config):
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in flux.FluxTransformer2DModel(**config).state_dict().items()}


# dev and Kontext; schnell; Control; Fill. Catches: any name or shape that is not BFL's or diffusers', in either direction.
@pytest.mark.parametrize("bfl, diffusers", [({}, dict(guidance_embeds=True)), (dict(guidance=False), {}), (dict(inputs=128), dict(guidance_embeds=True, in_channels=128, out_channels=64)), (dict(inputs=384), dict(guidance_embeds=True, in_channels=384, out_channels=64))])  # fmt: skip
def test_every_tensor_of_flux_1(tmp_path, bfl, diffusers):
    theirs, ours = bfl_shapes(**bfl), diffusers_shapes(**diffusers)
    if not bfl:
        assert (len(theirs), len(ours)) == (780, 1160)
    sparse_file(tmp_path / "bfl", theirs, {})
    sparse_file(tmp_path / "diffusers", ours, {})
    assert shapes_of(tmp_path, tmp_path / "bfl", "diffusers") == ours
    assert shapes_of(tmp_path, tmp_path / "diffusers", "bfl") == theirs
    assert shapes_of(tmp_path, tmp_path / "bfl", "bfl") == theirs
    text = run(tmp_path, "flux_file_config", {}, file=tmp_path / "bfl")["config"]
    config = json.loads("".join(map(chr, text.tolist())))
    full = {"out_channels": None, "guidance_embeds": False, "in_channels": 64} | diffusers
    assert {name: config[name] for name in full} == full
    assert (config["num_layers"], config["num_single_layers"], config["attention_head_dim"], config["axes_dims_rope"]) == (19, 38, 128, [16, 56, 56])


# The first trap: the last modulation's halves are turned round. Catches also q, k, v or mlp cut wrongly, a prefix that stays.
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_file_of_bfl_is_diffusers_model(tmp_path, model, inputs, prefix):
    state = to_bfl(model.state_dict())
    back = from_bfl(state)
    assert back.keys() == model.state_dict().keys() and all(torch.equal(value, model.state_dict()[name]) for name, value in back.items())
    assert relative_error(found(tmp_path, saved(tmp_path, state, prefix), inputs), wanted(model, inputs)) < 1e-4
    turned = dict(state)
    for ending in ("weight", "bias"):
        name = f"final_layer.adaLN_modulation.1.{ending}"
        turned[name] = torch.cat(state[name].chunk(2)[::-1])
    assert relative_error(found(tmp_path, saved(tmp_path, turned, prefix), inputs), wanted(model, inputs)) > 1e-2


def test_an_all_in_one_file_holds_more(tmp_path, model, inputs):
    """Catches: parts of other models taken for unexpected tensors."""
    state = {f"model.diffusion_model.{name}": value for name, value in to_bfl(model.state_dict()).items()}
    others = {"vae.decoder.conv_in.weight": torch.zeros(3), "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": torch.zeros(3)}
    assert relative_error(found(tmp_path, saved(tmp_path, state | others), inputs), wanted(model, inputs)) < 1e-4


def test_what_diffusers_fused_and_what_it_saves(tmp_path, model, inputs):
    """A folder with config.json, and fuse_projections()'s attn.to_qkv in one file."""
    model.save_pretrained(tmp_path / "transformer")
    expected = wanted(model, inputs)
    assert relative_error(found(tmp_path, tmp_path / "transformer", inputs), expected) < 1e-4
    state = dict(model.state_dict())
    for i in range(2):
        for fused, parts in (("to_qkv", ["to_q", "to_k", "to_v"]), ("to_added_qkv", ["add_q_proj", "add_k_proj", "add_v_proj"])):
            for ending in ("weight", "bias"):
                names = [f"transformer_blocks.{i}.attn.{part}.{ending}" for part in parts]
                state[f"transformer_blocks.{i}.attn.{fused}.{ending}"] = torch.cat([state.pop(name) for name in names])
    assert relative_error(found(tmp_path, saved(tmp_path, state), inputs), expected) < 1e-4


def written_gguf(path, state, kind, prefix=""):
    """As city96's tools do it: what has one axis or is small is float32. -> what a reader must find"""
    writer, out = gguf.GGUFWriter(str(path), "flux"), {}
    for name, value in state.items():
        array = value.detach().numpy().astype(np.float32)
        small = array.ndim < 2 or array.size <= 1024
        use = gguf.GGMLQuantizationType.F32 if small else kind
        raw = gguf.quants.quantize(array, use)
        writer.add_tensor(prefix + name, raw, raw_dtype=use)
        out[name] = torch.from_numpy(np.array(gguf.quants.dequantize(raw, use), np.float32)).reshape(value.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


# Both namings: city96's (BFL's names alone) and stable-diffusion.cpp's. Catches: blocks cut at the wrong row, scales of another row.
@pytest.mark.parametrize("kind, prefix", [("F16", ""), ("BF16", ""), ("Q8_0", ""), ("Q8_0", "model.diffusion_model."), ("Q4_0", ""), ("Q5_1", "")])
def test_gguf_is_diffusers_model_with_the_packages_numbers(tmp_path, model, inputs, kind, prefix):
    held = written_gguf(tmp_path / "model.gguf", to_bfl(model.state_dict()), gguf.GGMLQuantizationType[kind], prefix)
    expected = wanted(model, inputs, from_bfl(held))
    assert relative_error(found(tmp_path, tmp_path / "model.gguf", inputs), expected) < 1e-4
    if kind == "Q8_0" and not prefix:
        assert relative_error(found(tmp_path, tmp_path / "model.gguf", inputs, dtype="bf16").float(), expected) < 3e-2


def float8(state, dtype, form):
    """A state in one of the forms of float8 files -> (tensors, metadata, numbers that are meant)"""
    tensors, meant, layers = {}, {}, {}
    for name, value in state.items():
        matrix = value.dim() == 2 and "img_in" not in name
        if form == "plain":
            tensors[name] = value.to(dtype)
            meant[name] = tensors[name].float()
            continue
        if not matrix:
            tensors[name] = meant[name] = value.to(torch.bfloat16 if value.dim() == 2 else torch.float32)
            meant[name] = meant[name].float()
            continue
        layer = name.removesuffix(".weight")
        rows = form == "new, a scale a row"
        limit = 127.0 if dtype == torch.int8 else torch.finfo(dtype).max
        scale = (value.abs().amax(1, keepdim=True) if rows else value.abs().max()) / limit * 1.37
        number = value / scale
        tensors[name] = number.round().to(dtype) if dtype == torch.int8 else number.to(dtype)
        meant[name] = tensors[name].float() * scale
        if form == "old":
            tensors[f"{layer}.scale_weight"], tensors[f"{layer}.scale_input"] = scale.reshape(1), torch.ones(1)
        else:
            tensors[f"{layer}.weight_scale"], tensors[f"{layer}.input_scale"] = scale, torch.ones(())
            kind = {torch.int8: "int8_tensorwise", torch.float8_e5m2: "float8_e5m2"}.get(dtype, "float8_e4m3fn")
            layers[layer] = {"format": kind}
            if form == "new, in tensors":
                tensors[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(layers[layer]).encode()), dtype=torch.uint8)
    if form == "old":
        tensors["scaled_fp8"] = torch.zeros(2, dtype=dtype)
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})} if form.startswith("new") else None
    return tensors, metadata, meant


E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


@pytest.mark.parametrize("dtype, form", [(E4M3, "plain"), (E5M2, "plain"), (E4M3, "old"), (E5M2, "old"), (E4M3, "new"), (E5M2, "new, in tensors"), (E4M3, "new, a scale a row"), (torch.int8, "new")])  # fmt: skip
def test_float8_with_and_without_scales(tmp_path, model, inputs, dtype, form):
    """Catches: scales that are left out, divided by, or taken for tensors of the model; q, k and v that lose theirs when they are cut apart."""
    tensors, metadata, meant = float8(to_bfl(model.state_dict()), dtype, form)
    expected = wanted(model, inputs, from_bfl(meant))
    assert relative_error(expected, wanted(model, inputs)) < 0.5  # the numbers are meant to be the model's
    prefix = "model.diffusion_model." if form in ("old", "new, in tensors") else ""
    assert relative_error(found(tmp_path, saved(tmp_path, tensors, prefix, metadata), inputs), expected) < 1e-4


@pytest.mark.parametrize(
    "beside, told",
    [({"absmax": torch.ones(8)}, "nf4"), ({"weight_scale": torch.ones(4, 2), "weight_scale_2": torch.ones(())}, "nvfp4"), ({"weight_scale": torch.ones(12, 4)}, "blocks with scales of their own")],
)  # fmt: skip
def test_packings_that_are_not_read_are_told(tmp_path, model, inputs, beside, told):
    state = dict(to_bfl(model.state_dict()))
    layer = "double_blocks.0.img_mlp.0"
    state[f"{layer}.weight"] = torch.zeros(64, 128, dtype=torch.uint8)
    state |= {f"{layer}.{'weight.' if name == 'absmax' else ''}{name}": value for name, value in beside.items()}
    complaint = run(tmp_path, "flux_file", inputs, code=2, file=saved(tmp_path, state))
    assert told in complaint and "double_blocks.0.img_mlp.0.weight" in complaint and "weights.safetensors" in complaint


def test_files_that_do_not_fit_are_told(tmp_path, model, inputs):
    """Catches: a crash, or silence, where a tensor is missing, is too many, or has another shape."""
    state = to_bfl(model.state_dict())

    def complaint(change):
        return run(tmp_path, "flux_file", inputs, code=2, file=saved(tmp_path, change(dict(state))))

    assert "no FLUX transformer" in complaint(lambda s: {"a": torch.zeros(2)})
    assert "1 missing: transformer_blocks.1.ff.net.2.bias" in complaint(lambda s: without(s, "double_blocks.1.img_mlp.2.bias"))
    assert "2 unexpected" in complaint(lambda s: s | {"double_blocks.0.new.weight": torch.zeros(2), "lower": torch.zeros(2)})
    assert "a multiple of 3 rows" in complaint(lambda s: s | {"double_blocks.0.img_attn.qkv.weight": torch.zeros(100, 128)})
    assert "more than 3 x 128 rows" in complaint(lambda s: s | {"single_blocks.1.linear1.bias": torch.zeros(384)})
    assert "model expects [128, 128], file has [64, 128]" in complaint(lambda s: s | {"double_blocks.0.txt_attn.proj.weight": torch.zeros(64, 128)})


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantised_weights_stay_so_in_memory(tmp_path, kind):
    """69 million parameters: 276 MB in float32. Catches: weights dequantised when they are bound, or kept after a layer has used them."""
    use = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(tmp_path / "model.gguf"), "flux")
    parameters = 0
    for name, shape in bfl_shapes(512, 8, 4, 8, 32, 32, 64, 96).items():
        parameters += int(np.prod(shape))
        if len(shape) == 1:
            writer.add_tensor(name, np.zeros(shape, np.float32))
        else:
            block, size = gguf.GGML_QUANT_SIZES[use]
            writer.add_tensor(name, np.zeros((shape[0], shape[1] // block * size), np.uint8), raw_dtype=use)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert parameters > 60e6
    one = {"hidden_states": torch.randn(1, 8, 32), "encoder_hidden_states": torch.randn(1, 4, 64), "pooled": torch.randn(1, 96), "timestep": torch.ones(1), "guidance": torch.ones(1)}  # fmt: skip
    ids = {"img_ids": torch.zeros(8, 3), "txt_ids": torch.zeros(4, 3)}
    done = run(tmp_path, "flux_file", one | ids, file=tmp_path / "model.gguf")
    print(f"{kind}: file {(tmp_path / 'model.gguf').stat().st_size / 1e6:.0f} MB, anonymous {done['loaded'].item() / 1e6:.1f} MB loaded, {done['used'].item() / 1e6:.1f} MB after a pass")
    assert done["loaded"] < 8e6  # the mapping is the file's
    assert done["used"] < 40e6  # and one layer's float32, at most 512 x 3584
