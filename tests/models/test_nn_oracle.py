"""The layers of nn/ against diffusers', on random weights in float32. Here since the probe needs weights/, which nn/ may not use."""
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
embeddings = pytest.importorskip("diffusers.models.embeddings")
normalization = pytest.importorskip("diffusers.models.normalization")
flux = pytest.importorskip("diffusers.models.transformers.transformer_flux")

from models_probe import relative_error, run  # noqa: E402  (after the skips: it needs torch too)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


# Catches: sines before cosines, half - 1 in the exponent (shift 1), another base than 10000. Near angle 1000 float32's own rounding is 6e-5.
def test_timestep_embedding_equals_flux_timesteps(tmp_path):
    values = torch.tensor([0.0, 1.0, 15.625, 250.0, 731.3, 1000.0])
    theirs = embeddings.Timesteps(num_channels=256, flip_sin_to_cos=True, downscale_freq_shift=0)(values)
    assert relative_error(run(tmp_path, "timestep", {"values": values}, width=256)["out"], theirs) < 2e-4


# Catches: another activation than SiLU, its place, linear_1 and linear_2 swapped, names that differ from the checkpoint's.
def test_timestep_network_equals_timestep_embedding(tmp_path):
    theirs = embeddings.TimestepEmbedding(in_channels=64, time_embed_dim=96)
    values = torch.tensor([0.0, 3.0, 90.0])
    wanted = theirs(embeddings.Timesteps(64, True, 0)(values))
    weights = {f"embedder.{name}": tensor for name, tensor in theirs.state_dict().items()}
    assert relative_error(run(tmp_path, "timestep_network", {"values": values, **weights}, **{"in": 64, "width": 96})["out"], wanted) < 1e-4


# Catches: halves rotated instead of pairs, angles not repeated, an axis of the wrong width, the sense of rotation.
def test_rope_tables_and_rotation_equal_flux(tmp_path):
    axes = (16, 56, 56)  # FLUX.1's
    ids = torch.stack([torch.tensor([0.0, 1.0]).repeat_interleave(40), torch.randint(0, 300, (80,)).float(), torch.randint(0, 300, (80,)).float()], 1)
    cos, sin = flux.FluxPosEmbed(theta=10000, axes_dim=list(axes))(ids)
    x = torch.randn(2, 3, 80, 128)  # [B, H, L, E]
    theirs = embeddings.apply_rotary_emb(x, (cos, sin), sequence_dim=2)
    ours = run(tmp_path, "rope", {"ids": ids, "x": x}, axis0=axes[0], axis1=axes[1], axis2=axes[2])
    assert relative_error(ours["cos"], cos) < 1e-5
    assert relative_error(ours["sin"], sin) < 1e-5
    assert relative_error(ours["out"], theirs) < 1e-4


# Catches: a centred norm, the weight before the division or as 1 + weight, eps outside the root (the small rows).
@pytest.mark.parametrize("scale", [1.0, 1e-3, 300.0])
def test_rms_norm_equals_diffusers_and_torchs(tmp_path, scale):
    theirs = normalization.RMSNorm(64, eps=1e-6)
    torch.nn.init.normal_(theirs.weight)
    x = scale * (torch.randn(2, 3, 5, 64) + 0.5)
    ours = run(tmp_path, "rms_norm", {"x": x, "weight": theirs.weight})["out"]
    assert relative_error(ours, theirs(x)) < 1e-5
    assert relative_error(ours, torch.nn.functional.rms_norm(x, (64,), theirs.weight, 1e-6)) < 1e-5  # what FluxAttention itself uses
