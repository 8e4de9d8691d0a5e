"""resflow convert: round trips, and what other programs make of its files."""

import json
import os

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")
gguf = pytest.importorskip("gguf")

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # noqa: E402
from flux_files import to_bfl  # noqa: E402
from program import USER_ERROR, files_in, resflow  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

# Rows of 256 and more, as Q4_K wants them; x_embedder's 48 is no whole block.
SHAPE = dict(
    num_layers=1, num_single_layers=1, attention_head_dim=64, num_attention_heads=4, axes_dims_rope=[16, 24, 24], in_channels=48, joint_attention_dim=256,
    pooled_projection_dim=256, guidance_embeds=True,
)  # fmt: skip
OUTER = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in", "final_layer")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    out = flux.FluxTransformer2DModel(**SHAPE).eval()
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5)
    return out.bfloat16()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("convert") / "transformer"
    model.save_pretrained(out)
    return out


def same(found, wanted):
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def read_gguf(path):
    """-> (numbers by name, types by name, the reader), by the package"""
    reader = gguf.GGUFReader(str(path))
    numbers, types = {}, {}
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        numbers[tensor.name] = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
        types[tensor.name] = tensor.tensor_type.name
    return numbers, types, reader


def relative_rms(found, wanted):
    return float(np.sqrt(((found - wanted) ** 2).sum() / (wanted**2).sum()))


def test_diffusers_and_bfl_and_back_byte_for_byte(model, folder, tmp_path):
    """Every number; diffusers loads what comes back. Catches: halves of the last modulation that are turned once only."""
    said = resflow("convert", folder, "-o", tmp_path / "bfl.safetensors")
    assert "every number is as it was" in said.stdout + said.stderr
    same(load_file(tmp_path / "bfl.safetensors"), to_bfl(model.state_dict()))
    resflow("convert", tmp_path / "bfl.safetensors", "-o", tmp_path / "back")
    back = flux.FluxTransformer2DModel.from_pretrained(tmp_path / "back", torch_dtype=torch.bfloat16)
    same(back.state_dict(), model.state_dict())
    assert {name: back.config[name] for name in SHAPE} == {name: list(v) if isinstance(v, tuple) else v for name, v in SHAPE.items()}
    resflow("convert", tmp_path / "back", "-o", tmp_path / "again.safetensors", "--to", "bfl")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "bfl.safetensors").read_bytes()
    resflow("convert", tmp_path / "bfl.safetensors", "-o", tmp_path / "one.safetensors", "--to", "diffusers")
    same(load_file(tmp_path / "one.safetensors"), model.state_dict())


# Catches: another architecture key, shapes that are not turned round, a wrong place or padding, vectors that are not float32 (city96's convention).
def test_gguf_without_a_type_holds_the_same_numbers(model, folder, tmp_path):
    resflow("convert", folder, "-o", tmp_path / "model.gguf")
    numbers, types, reader = read_gguf(tmp_path / "model.gguf")
    wanted = to_bfl(model.state_dict())
    assert numbers.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(numbers[name], value.float().numpy())
        assert types[name] == ("BF16" if value.dim() == 2 else "F32"), name
    assert str(bytes(reader.fields["general.architecture"].parts[-1]), "utf8") == "flux"
    resflow("convert", tmp_path / "model.gguf", "-o", tmp_path / "back", "--type", "bf16")
    same(flux.FluxTransformer2DModel.from_pretrained(tmp_path / "back", torch_dtype=torch.bfloat16).state_dict(), model.state_dict())


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_blocks_are_the_packages_byte_for_byte(model, folder, tmp_path, kind):
    """Catches: another rounding, scale or order within a block than ggml's reference."""
    said = resflow("convert", folder, "-o", tmp_path / "model.gguf", "--type", kind)
    numbers, types, reader = read_gguf(tmp_path / "model.gguf")
    wanted, use = to_bfl(model.state_dict()), gguf.GGMLQuantizationType[kind.upper()]
    quantised = 0
    for tensor in reader.tensors:
        value = wanted[tensor.name].float().numpy()
        if value.ndim == 2 and not tensor.name.startswith(OUTER):
            assert types[tensor.name] == kind.upper()
            np.testing.assert_array_equal(tensor.data.reshape(-1), gguf.quants.quantize(value, use).reshape(-1))
            quantised += 1
        else:
            np.testing.assert_array_equal(numbers[tensor.name], value)  # first and last layers, and vectors, lose nothing
    assert quantised == 13
    told = float((said.stdout + said.stderr).split("(rms)")[1].split()[0])
    names = [name for name in numbers if types[name] == kind.upper()]
    both = [np.concatenate([source[name].ravel() for name in names]) for source in (numbers, {name: value.float().numpy() for name, value in wanted.items()})]
    assert told == pytest.approx(relative_rms(*both), rel=0.02)
    assert told < {"q8_0": 0.006, "q4_0": 0.1}[kind]
    # What is written is read again, and blocks are copied as they are.
    resflow("convert", tmp_path / "model.gguf", "-o", tmp_path / "again.gguf")
    numbers_again, types_again, _ = read_gguf(tmp_path / "again.gguf")
    assert types_again == types and all(np.array_equal(numbers_again[name], numbers[name]) for name in numbers)


def test_q4_k_is_better_than_q4_0_at_nearly_its_size(model, folder, tmp_path):
    """Its oracle is the package's dequantisation: there is no quantiser of it there. Catches: scales and minima packed wrongly."""
    errors, wanted = {}, {name: value.float().numpy() for name, value in to_bfl(model.state_dict()).items()}
    for kind in ("q4_0", "q4_k"):
        resflow("convert", folder, "-o", tmp_path / f"{kind}.gguf", "--type", kind)
        numbers, types, _ = read_gguf(tmp_path / f"{kind}.gguf")
        names = [name for name in numbers if types[name] == kind.upper()]
        assert len(names) == 13
        errors[kind] = {name: relative_rms(numbers[name], wanted[name]) for name in names}
    print({kind: f"{np.mean(list(found.values())):.4f}" for kind, found in errors.items()})
    assert all(errors["q4_k"][name] < 0.95 * errors["q4_0"][name] for name in errors["q4_0"])
    assert max(errors["q4_k"].values()) < 0.09


def test_float8_has_a_scale_a_layer_and_is_read_again(model, folder, tmp_path):
    """Three bits of mantissa: at most 2^-4 of a number. Catches: a scale that is not applied, or twice."""
    resflow("convert", folder, "-o", tmp_path / "fp8.safetensors", "--type", "fp8")
    found, wanted = load_file(tmp_path / "fp8.safetensors"), to_bfl(model.state_dict())
    with safe_open(tmp_path / "fp8.safetensors", "pt") as file:
        layers = json.loads(file.metadata()["_quantization_metadata"])["layers"]
    assert {f"{layer}.weight" for layer in layers} == {name for name, value in found.items() if value.dtype == torch.float8_e4m3fn} and len(layers) == 13
    for name, value in wanted.items():
        if name.removesuffix(".weight") in layers:
            number = found[name].float() * found[name.removesuffix("weight") + "weight_scale"]
            assert number.abs().max() == pytest.approx(value.abs().max().item(), rel=1e-5)
            assert ((number - value.float()).abs() <= value.float().abs() / 16 + 1e-4 * value.abs().max()).all()
        else:
            assert torch.equal(found[name], value), name
    resflow("convert", tmp_path / "fp8.safetensors", "-o", tmp_path / "back.safetensors", "--type", "f32")
    back = load_file(tmp_path / "back.safetensors")
    layer = "double_blocks.0.img_attn.qkv"
    assert torch.equal(back[f"{layer}.weight"], found[f"{layer}.weight"].float() * found[f"{layer}.weight_scale"])
    resflow("convert", tmp_path / "fp8.safetensors", "-o", tmp_path / "again.safetensors")
    same(load_file(tmp_path / "again.safetensors"), found)


def test_an_autoencoder_goes_both_ways(tmp_path):
    torch.manual_seed(1)
    shape = dict(block_out_channels=[32, 64], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, layers_per_block=1, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)  # fmt: skip
    model = AutoencoderKL(**shape)
    model.save_pretrained(tmp_path / "vae")
    resflow("convert", tmp_path / "vae", "-o", tmp_path / "ae.safetensors")
    bfl = load_file(tmp_path / "ae.safetensors")
    assert bfl["encoder.mid.attn_1.q.weight"].shape == (64, 64, 1, 1) and "decoder.up.1.upsample.conv.weight" in bfl
    resflow("convert", tmp_path / "ae.safetensors", "-o", tmp_path / "back")
    same(AutoencoderKL.from_pretrained(tmp_path / "back").state_dict(), model.state_dict())
    said = resflow("convert", tmp_path / "vae", "-o", tmp_path / "ae.gguf", code=USER_ERROR)
    assert "no GGUF form" in said.stderr


def test_what_cannot_be_is_told_and_leaves_nothing(folder, tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    before = files_in(tmp_path)
    for arguments, told in [
        ([tmp_path / "other.safetensors", "-o", tmp_path / "out.gguf"], "neither FLUX's transformer nor an AutoencoderKL"),
        ([folder, "-o", tmp_path / "out.safetensors", "--type", "q8_0"], "safetensors"),
        ([folder, "-o", tmp_path / "out.gguf", "--type", "fp8"], "GGUF"),
        ([tmp_path / "missing.safetensors", "-o", tmp_path / "out.gguf"], "missing.safetensors"),
    ]:
        assert told in resflow("convert", *arguments, code=USER_ERROR).stderr
    assert files_in(tmp_path) == before


def test_inspect_tells_types_and_use(folder, tmp_path):
    resflow("convert", folder, "-o", tmp_path / "model.gguf", "--type", "q8_0")
    report = json.loads(resflow("inspect", tmp_path / "model.gguf", "--json").stdout)
    assert report["types"]["Q8_0"]["tensors"] == 13 and [family["name"] for family in report["families"]] == ["flux-transformer"]
    assert "resflow generate" in report["families"][0]["use"] and "resflow convert" in report["families"][0]["use"]
