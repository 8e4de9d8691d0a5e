"""`resflow pack-latents`: what training for FLUX sees of pictures and texts, against diffusers; and a training on it."""

import json
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
image = pytest.importorskip("PIL.Image")
np = pytest.importorskip("numpy")
pytest.importorskip("sentencepiece")

from generate_models import WORDS, parts, saved  # noqa: E402
from program import USER_ERROR, resflow  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

SIDE = 64
PLACE = ("--device", "cpu", "--dtype", "f32", "--size", SIDE, "--max-sequence-length", 40, "--text-type", "f32")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """-> (pipeline, folder of all, the shard): three pictures, one smaller than a crop, two with texts of their own."""
    folder = tmp_path_factory.mktemp("shard")
    pipeline = diffusers.FluxPipeline(**parts(folder / "sources"))
    saved(pipeline, folder / "model", folder / "sources")
    generator = np.random.default_rng(3)
    for name, (width, height) in {"a": (80, 64), "b": (64, 90), "c": (40, 48)}.items():
        small = image.fromarray(generator.integers(0, 255, (5, 6, 3), dtype=np.uint8))
        for kind, factor in (("good", 1), ("poor", 4)):
            (folder / kind).mkdir(exist_ok=True)
            small.resize((width // factor, height // factor), image.Resampling.BICUBIC).save(folder / kind / f"{name}.png")
    (folder / "good" / "a.txt").write_text(WORDS + "\n")
    (folder / "good" / "c.txt").write_text("a red boat")
    resflow("pack-latents", folder / "good", "--poor", folder / "poor", "--model", folder / "model", "-o", folder / "shard.safetensors",
            "--text", "the sea", *PLACE)  # fmt: skip
    return pipeline, folder, load_file(folder / "shard.safetensors")


def pixels(path):
    return torch.from_numpy(np.array(image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


@torch.no_grad()
def encoded(pipeline, picture):
    raw = pipeline.vae.encode(picture[None] * 2 - 1).latent_dist.mode()[0]
    return (raw - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor


# Catches: another crop, a sample in place of the mean, shift or scale left out, a poor picture that is cropped before it is enlarged, texts that
# are swapped, an empty text without its end token.
@torch.no_grad()
def test_a_shard_holds_what_diffusers_would_encode(packed):
    pipeline, folder, shard = packed
    assert {name: tuple(tensor.shape) for name, tensor in shard.items()} == {
        "latents": (3, 4, 8, 8), "conditions": (3, 4, 8, 8), "t5": (3, 40, 32), "pooled": (3, 64),
        "empty.t5": (40, 32), "empty.pooled": (64,), "empty.condition": (4, 8, 8),
    }  # fmt: skip
    good = pixels(folder / "good" / "a.png")[:, :, 8:72]
    resized = [image.fromarray(channel.numpy()).resize((80, 64), image.Resampling.BICUBIC) for channel in pixels(folder / "poor" / "a.png")]
    poor = torch.from_numpy(np.stack([np.array(channel) for channel in resized])).clamp(0, 1)[:, :, 8:72]
    assert (shard["latents"][0] - encoded(pipeline, good)).abs().max() < 1e-4
    assert (shard["conditions"][0] - encoded(pipeline, poor)).abs().max() < 1e-4
    assert (shard["latents"][0] - encoded(pipeline, poor)).abs().max() > 1e-2
    assert (shard["empty.condition"] - encoded(pipeline, torch.zeros(3, SIDE, SIDE))).abs().max() < 1e-4
    for i, text in enumerate([WORDS, "the sea", "a red boat"]):
        tokens, pooled, _ = pipeline.encode_prompt(text, None, max_sequence_length=40)
        assert (shard["t5"][i] - tokens[0]).abs().max() < 1e-4 and (shard["pooled"][i] - pooled[0]).abs().max() < 1e-4
    tokens, pooled, _ = pipeline.encode_prompt("", None, max_sequence_length=40)
    assert (shard["empty.t5"] - tokens[0]).abs().max() < 1e-4 and (shard["empty.pooled"] - pooled[0]).abs().max() < 1e-4


# Catches: the remover's picture in place of the poor one, or cropped otherwise; one that is missing, passed over in silence.
@torch.no_grad()
def test_the_removers_pictures_come_along(packed, tmp_path):
    pipeline, folder, shard = packed
    (tmp_path / "removed").mkdir()
    for path in sorted((folder / "good").glob("*.png")):
        image.open(path).transpose(image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "removed" / path.name)
    command = ("pack-latents", folder / "good", "--poor", folder / "poor", "--removed", tmp_path / "removed", "--model", folder / "model", "-o",
               tmp_path / "shard.safetensors", "--text", "the sea", *PLACE)  # fmt: skip
    resflow(*command)
    told = load_file(tmp_path / "shard.safetensors")
    assert (told["references"][0] - encoded(pipeline, pixels(folder / "good" / "a.png")[:, :, 8:72].flip(2))).abs().max() < 1e-4
    assert set(told) == set(shard) | {"references"} and all(torch.equal(told[name], shard[name]) for name in shard)
    (tmp_path / "removed" / "b.png").unlink()
    (tmp_path / "shard.safetensors").unlink()
    done = resflow(*command, code=USER_ERROR)
    assert "b.png" in done.stderr and "--strength 0" in done.stderr and not (tmp_path / "shard.safetensors").exists()


def test_a_model_is_trained_on_it(packed, tmp_path):
    """From pictures to an adapter with no step between: catches parts that do not fit each other."""
    _, folder, _ = packed
    (tmp_path / "train.toml").write_text(f"""
task = "flux-lora"
data = ["{folder / "shard.safetensors"}"]
steps = 40
batch = 2
learning_rate = 5e-3
warmup = 2
log_every = 1
[flux]
model = "{folder / "model" / "transformer"}"
[fusion]
rank = 4
""")
    resflow("train", tmp_path / "train.toml", "--output", tmp_path / "run")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 40 and sum(losses[-10:]) < sum(losses[:10])
    assert "condition" in resflow("inspect", tmp_path / "run" / "adapter.safetensors").stdout


def test_a_picture_without_its_poor_one_is_told(packed, tmp_path):
    _, folder, _ = packed
    (tmp_path / "a.png").write_bytes((folder / "poor" / "a.png").read_bytes())
    done = resflow("pack-latents", folder / "good", "--poor", tmp_path, "--model", folder / "model", "-o", tmp_path / "s.safetensors", *PLACE, code=USER_ERROR)
    assert "b.png" in done.stderr and "resflow degrade" in done.stderr and not (tmp_path / "s.safetensors").exists()
