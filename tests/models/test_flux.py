"""FLUX's transformer against diffusers' FluxTransformer2DModel, on random weights."""

import json
import os
import struct

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")

from models_probe import probe, relative_error, run  # noqa: E402  (after the skips: it needs torch too)

SMALL = {"joint_attention_dim": 48, "pooled_projection_dim": 40, "in_channels": 16}
# Heads of 64, 128 and 32; guidance or none; both kinds of blocks, and each alone; tokens that go out narrower than they came in.
CASES = {
    "both kinds, guidance": dict(num_layers=2, num_single_layers=3, attention_head_dim=64, num_attention_heads=3, axes_dims_rope=[16, 24, 24], guidance_embeds=True),
    "heads of 128, no guidance": dict(num_layers=1, num_single_layers=2, attention_head_dim=128, num_attention_heads=1, axes_dims_rope=[16, 56, 56], out_channels=12),
    "double only": dict(num_layers=3, num_single_layers=0, attention_head_dim=128, num_attention_heads=2, axes_dims_rope=[16, 56, 56], guidance_embeds=True),
    "single only, patches": dict(num_layers=0, num_single_layers=3, attention_head_dim=32, num_attention_heads=5, axes_dims_rope=[8, 12, 12], patch_size=2),
}  # fmt: skip


def random_model(case):
    torch.manual_seed(3)
    model = flux.FluxTransformer2DModel(**SMALL, **CASES[case]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5)
    return model


def random_input(model, batch=2, rows=5, columns=7, text=11):
    """Positions of the image's own tokens, then of a reference's (axis 0 at 1) past 256; the text's are not all zero here."""
    torch.manual_seed(4)
    own = torch.cartesian_prod(torch.zeros(1), torch.arange(rows).float(), torch.arange(columns).float())
    ids = torch.cat([own, own[:6] + torch.tensor([1.0, 260.0, 300.0])])
    inputs = {
        "hidden_states": torch.randn(batch, len(ids), SMALL["in_channels"]),
        "encoder_hidden_states": torch.randn(batch, text, SMALL["joint_attention_dim"]),
        "pooled": torch.randn(batch, SMALL["pooled_projection_dim"]),
        "timestep": torch.linspace(0.05, 1.0, batch),
        "img_ids": ids,
        "txt_ids": torch.randint(0, 3, (text, 3)).float(),
    }
    if model.config.guidance_embeds:
        inputs["guidance"] = torch.linspace(1.0, 3.5, batch)
    return inputs


def theirs(model, inputs):
    named = {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}
    return model(**named, return_dict=False)[0]


def ours(folder, model, inputs):
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return run(folder, "flux", weights | inputs, config=json.dumps(dict(model.config)))["out"]


# Catches: another order of text and image, of shift and scale (norm_out has scale first), rope of the wrong tokens or axis, text without
# rope, guidance or time without the 1000, exact instead of tanh GELU, a stream that takes the other's weights, names unlike diffusers'.
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_float32_equals_diffusers(tmp_path, case):
    model = random_model(case)
    inputs = random_input(model)
    out = ours(tmp_path, model, inputs)
    assert relative_error(out, theirs(model, inputs)) < 1e-4
    for name in inputs.keys() - {"img_ids"}:  # each input matters, so that none could be left out unseen
        changed = inputs | {name: inputs[name] + torch.linspace(0.1, 1, inputs[name].shape[-1])}
        assert relative_error(out, theirs(model, changed)) > 1e-3, name


# Catches: norms, angles or embeddings in the weights' type. The reference computes in float32 with the weights that bf16 leaves.
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_bfloat16_stays_near_float32(tmp_path, case):
    model = random_model(case).bfloat16()
    inputs = random_input(model)
    out = ours(tmp_path, model, inputs)
    assert out.dtype == torch.bfloat16
    assert relative_error(out.float(), theirs(model.float(), inputs)) < 2e-2


@torch.no_grad()
def test_one_image_one_word(tmp_path):
    """Catches: a batch or a text of one taken for none."""
    model = random_model("both kinds, guidance")
    inputs = random_input(model, batch=1, rows=1, columns=13, text=1)
    assert relative_error(ours(tmp_path, model, inputs), theirs(model, inputs)) < 1e-4


def sparse_file(path, shapes, config):
    """A safetensors file of bf16 zeros that takes no room on the disk."""
    header, end = {"__metadata__": {"config": json.dumps(config)}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


# Strict loading makes this equality of every name and shape. Catches: a wrong one, and weights allocated or read where none is used.
def test_flux_1_dev_is_bound_in_no_time_and_no_memory(tmp_path):
    with torch.device("meta"):
        model = flux.FluxTransformer2DModel(guidance_embeds=True)
    shapes = {f"model.{name}": tensor.shape for name, tensor in model.state_dict().items()}
    assert sparse_file(tmp_path / "in", shapes, dict(model.config)) == 23_802_816_640
    done = probe(tmp_path, "flux_bind")
    assert done["tensors"] == len(shapes) == 1160
    assert done["parameters"] == 11_901_408_320
    assert done["seconds"] < 2
    assert done["bytes"] < 64e6


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"_class_name": "SD3Transformer2DModel"}, "FluxTransformer2DModel"),
        ({"axes_dims_rope": [16, 24, 22]}, "even numbers whose sum is 64"),
        ({"num_layers": "2"}, "num_layers"),
        ({"num_single_layers": 2}, "14 unexpected"),
        ({"guidance_embeds": False}, "unexpected"),
        ({"attention_head_dim": 96, "num_attention_heads": 2, "axes_dims_rope": [16, 40, 40]}, "model expects [96], file has [64]"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(tmp_path, wrong, told):
    """Catches: sizes that are assumed instead of read."""
    model = random_model("both kinds, guidance")
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    complaint = run(tmp_path, "flux", weights, code=2, config=json.dumps(dict(model.config) | wrong))
    assert told in complaint


@torch.no_grad()
def test_positions_past_256_do_not_collide_in_bfloat16(tmp_path):
    """Two equal tokens at columns 300 and 301, which are one number in bf16. Catches: positions in the weights' type."""
    model = random_model("both kinds, guidance").bfloat16()
    inputs = random_input(model, batch=1, rows=1, columns=8)
    inputs["hidden_states"] = torch.cat([inputs["hidden_states"][:, :1].expand(-1, 2, -1), inputs["hidden_states"][:, 2:]], 1)
    inputs["img_ids"][:2] = torch.tensor([[0.0, 300, 300], [0, 300, 301]])
    first, second = ours(tmp_path, model, inputs)[0, :2].float()
    assert relative_error(first, second) > 1e-3  # equal to the last bit where the positions collide
    inputs["img_ids"][1] = inputs["img_ids"][0]
    first, second = ours(tmp_path, model, inputs)[0, :2].float()
    assert torch.equal(first, second)
