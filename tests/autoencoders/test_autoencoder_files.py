"""Autoencoders from files that are not diffusers', against diffusers on the same weights."""

import json
import os
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
kl = pytest.importorskip("diffusers.models.autoencoders.autoencoder_kl")

from diffusers.loaders import single_file_utils  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from test_autoencoders import PROBE, relative_error, theirs  # noqa: E402

# FLUX's form but narrow; the constants are FLUX's, since a single file does not tell them.
CONFIG = dict(
    block_out_channels=[32, 64, 64, 96], down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2,
    latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
)  # fmt: skip
# Within an encoder or a decoder (reference: BFL's autoencoder.py).
INSIDE = {
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q", "mid_block.attentions.0.to_k": "mid.attn_1.k", "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out", "conv_norm_out": "norm_out",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    out = kl.AutoencoderKL(**CONFIG).eval()
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else (1.5 / parameter[0].numel()) ** 0.5)
    return out


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(6)
    return {"image": torch.rand(1, 3, 40, 24), "latent": 3 * torch.randn(1, 16, 5, 3)}


def to_bfl(state):
    out = {}
    for name, value in state.items():
        half, _, rest = name.partition(".")
        if ".attentions.0.to_" in name and name.endswith("weight"):
            value = value[:, :, None, None]
        for ours, there in INSIDE.items():
            if rest.startswith(ours + "."):
                rest = there + rest[len(ours) :]
        if "_blocks" in rest:
            _, number, kind, second, *last = rest.split(".")
            number = 3 - int(number) if half == "decoder" else number
            last = [{"conv_shortcut": "nin_shortcut"}.get(last[0], last[0]), *last[1:]]
            middle = f"block.{second}" if kind == "resnets" else {"downsamplers": "downsample", "upsamplers": "upsample"}[kind]
            rest = ".".join([{"encoder": "down", "decoder": "up"}[half], str(number), middle, *last])
        out[f"{half}.{rest}"] = value
    return out


def found(folder, path, inputs, code=0):
    save_file(inputs, folder / "in", {"file": str(path)})
    done = subprocess.run([PROBE, "file", folder / "in", folder / "out"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else load_file(folder / "out")


def saved(folder, state, prefix=""):
    path = folder / "ae.safetensors"
    save_file({prefix + name: value.detach().clone().contiguous() for name, value in state.items()}, path)
    return path


# Catches: the decoder's blocks in the wrong order, 1 x 1 convolutions for linear maps, a prefix that stays, another scale or shift.
@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
@torch.no_grad()
def test_bfls_file_is_diffusers_model(tmp_path, model, inputs, prefix):
    state = to_bfl(model.state_dict())
    assert "decoder.up.3.upsample.conv.weight" in state and "encoder.down.0.downsample.conv.weight" in state
    back = single_file_utils.convert_ldm_vae_checkpoint(dict(state), dict(model.config))
    assert back.keys() == model.state_dict().keys() and all(torch.equal(value, model.state_dict()[name]) for name, value in back.items())
    expected = theirs(model, inputs)
    result = found(tmp_path, saved(tmp_path, state, prefix), inputs)
    for name in ("latent", "image"):
        assert relative_error(result[name], expected[name]) < 1e-4, name


@torch.no_grad()
def test_a_folder_of_diffusers_and_its_file_alone(tmp_path, model, inputs):
    """The folder's configuration counts: its scale is not FLUX's."""
    expected = theirs(model, inputs)
    assert relative_error(found(tmp_path, saved(tmp_path, model.state_dict()), inputs)["latent"], expected["latent"]) < 1e-4
    model.save_pretrained(tmp_path / "vae")
    config = json.loads((tmp_path / "vae" / "config.json").read_text()) | {"scaling_factor": 0.7}
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config))
    assert relative_error(found(tmp_path, tmp_path / "vae", inputs)["latent"], expected["latent"] * (0.7 / 0.3611)) < 1e-4


def test_other_files_are_told(tmp_path, model, inputs):
    state = to_bfl(model.state_dict())
    lacking = {name: value for name, value in state.items() if name != "decoder.mid.block_2.conv1.bias"}
    assert "1 missing: decoder.mid_block.resnets.1.conv1.bias" in found(tmp_path, saved(tmp_path, lacking), inputs, code=2)
    assert "no tensor" in found(tmp_path, saved(tmp_path, {"a": torch.zeros(2)}), inputs, code=2)
