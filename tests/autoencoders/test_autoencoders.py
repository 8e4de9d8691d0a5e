"""The autoencoders against diffusers', on random weights."""

import json
import os
import pathlib
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
kl = pytest.importorskip("diffusers.models.autoencoders.autoencoder_kl")
tiny = pytest.importorskip("diffusers.models.autoencoders.autoencoder_tiny")

from safetensors.torch import load_file, save_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "autoencoders_probe"

FLUX_KL = dict(
    block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2,
    latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
)  # fmt: skip
CASES = {
    "FLUX's form": (kl.AutoencoderKL, FLUX_KL | dict(block_out_channels=[8, 16, 24, 24], norm_num_groups=4, latent_channels=6)),
    "Stable Diffusion's form": (
        kl.AutoencoderKL,
        dict(block_out_channels=[16, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, layers_per_block=1, norm_num_groups=8),
    ),
    "no attention, one size": (kl.AutoencoderKL, dict(block_out_channels=[12], norm_num_groups=3, mid_block_add_attention=False, shift_factor=-0.5, use_quant_conv=False)),
    "TAEF1's form": (tiny.AutoencoderTiny, dict(latent_channels=16)),
    "small": (
        tiny.AutoencoderTiny,
        dict(
            encoder_block_out_channels=(6, 6, 6), decoder_block_out_channels=(10, 10, 10), num_encoder_blocks=(2, 0, 1), num_decoder_blocks=(1, 2, 0),
            latent_channels=5, scaling_factor=0.7, shift_factor=0.2,
        ),
    ),
}  # fmt: skip


def probe(folder, operation, tensors, config, code=0):
    """The probe's tensors by name, or what it complains of."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "in", {"config": json.dumps(config)})
    done = subprocess.run([PROBE, operation, folder / "in", folder / "out"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else load_file(folder / "out")


def config_of(model):
    return {"_class_name": type(model).__name__, **json.loads(model.to_json_string())}


def random_model(case):
    torch.manual_seed(5)
    made, config = CASES[case]
    model = made(**config).eval()
    for parameter in model.parameters():  # norms and biases that are not 1 and 0; maps that neither vanish nor explode
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else (1.5 / parameter[0].numel()) ** 0.5)
    return model


def weights_of(model):
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def inputs_for(model, batch=2):
    factor = 2 ** (len(getattr(model.config, "num_encoder_blocks", model.config.block_out_channels)) - 1)
    torch.manual_seed(6)
    return {"image": torch.rand(batch, 3, 5 * factor, 7 * factor), "latent": 3 * torch.randn(batch, model.config.latent_channels, 5, 3)}


@torch.no_grad()
def theirs(model, inputs):
    """As FluxPipeline calls them: images -1..1, latents shifted and scaled."""
    shift, scale = model.config.shift_factor or 0, model.config.scaling_factor
    encoded = model.encode(inputs["image"] * 2 - 1)
    raw = encoded.latents if isinstance(model, tiny.AutoencoderTiny) else encoded.latent_dist.mode()
    return {"latent": (raw - shift) * scale, "image": model.decode(inputs["latent"] / scale + shift).sample / 2 + 0.5}


def relative_error(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


# Catches: padding on both sides when halving, a shortcut where widths agree, one residual block too few in the decoder, variance for mean,
# shift and scale exchanged, several heads, no tanh on what the tiny decoder gets, images taken for -1..1.
@pytest.mark.parametrize("case", CASES)
def test_float32_equals_diffusers(tmp_path, case):
    model = random_model(case)
    inputs = inputs_for(model)
    expected = theirs(model, inputs)
    found = probe(tmp_path, "run", weights_of(model) | inputs, config_of(model))
    for name in ("latent", "image"):
        assert expected[name].std() > 0.01  # the model does something
        assert relative_error(found[name], expected[name]) < 1e-4, name


@pytest.mark.parametrize("case", ["FLUX's form", "small"])
def test_bfloat16_stays_near_float32(tmp_path, case):
    """Against float32 with the weights that bf16 leaves. Catches: weights that are not used in their own type, results that are not float."""
    model = random_model(case).bfloat16()
    inputs = inputs_for(model)
    found = probe(tmp_path, "run", weights_of(model) | inputs, config_of(model))
    expected = theirs(model.float(), inputs)
    for name in ("latent", "image"):
        assert found[name].dtype == torch.float32
        assert relative_error(found[name], expected[name]) < 5e-2, name


@pytest.mark.parametrize("made, config, tensors, parameters", [(kl.AutoencoderKL, FLUX_KL, 244, 83_819_683), (tiny.AutoencoderTiny, dict(latent_channels=16), None, None)])
def test_flux_own_autoencoders_have_diffusers_tensors(tmp_path, made, config, tensors, parameters):
    with torch.device("meta"):
        model = made(**config)
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: shape.tolist() for name, shape in probe(tmp_path, "shapes", {"none": torch.zeros(1)}, config_of(model)).items()}
    assert found == expected
    assert tensors in (None, len(found))
    assert parameters in (None, sum(tensor.numel() for tensor in model.state_dict().values()))


@pytest.mark.parametrize(
    "case, wrong, told",
    [
        ("FLUX's form", {"_class_name": "AutoencoderKLX"}, "Did you mean 'AutoencoderKL'?"),
        ("FLUX's form", {"down_block_types": ["AttnDownEncoderBlock2D"] * 4}, "DownEncoderBlock2D"),
        ("FLUX's form", {"up_block_types": ["UpDecoderBlock2D"]}, "differ in number"),
        ("FLUX's form", {"norm_num_groups": 5}, "multiples of 5"),
        ("FLUX's form", {"latents_mean": [0.0] * 6}, "latents_mean"),
        ("FLUX's form", {"use_quant_conv": True}, "2 missing"),
        ("small", {"act_fn": "gelu"}, "relu"),
        ("small", {"num_decoder_blocks": [1, 2]}, "decoder's stages"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(tmp_path, case, wrong, told):
    """Catches: a class, a block or an activation taken for the one that is known."""
    model = random_model(case)
    complaint = probe(tmp_path, "run", weights_of(model) | inputs_for(model), config_of(model) | wrong, code=2)
    assert told in complaint
