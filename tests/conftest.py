"""A tiny compact model, trained here in seconds by the program itself, and pictures to use it on."""

from types import SimpleNamespace

import pytest
from program import resflow

TINY = """
data = ["{folder}/train.safetensors"]
batch = 2
crop = 32
steps = 5
learning_rate = 1e-2
warmup = 1
ema = 0.5
log_every = 1
recipes = ["see-sr", "real-esrgan"]
[model]
channels = 16
remover_blocks = 1
stem_blocks = 1
head_blocks = 1
width = 32
heads = 2
depth = 1
condition_rank = 4
"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Three photographs of scikit-image's wheel, cut to 128 x 96."""
    data, image = pytest.importorskip("skimage.data"), pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee"):
        image.fromarray(getattr(data, name)()[60:156, 120:248]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, pictures):
    """-> model (a whole tiny model), config (a TOML file of both tasks' options), shard, dr and flow (the run's folders)."""
    folder = tmp_path_factory.mktemp("tiny")
    shard, config, model = folder / "train.safetensors", folder / "tiny.toml", folder / "tiny.safetensors"
    resflow("pack", pictures, "-o", shard)
    config.write_text(TINY.format(folder=folder))
    resflow("train", config, "--output", folder / "dr")
    resflow("train", config, "--task", "flow", "--remover", folder / "dr/weights.safetensors", "--output", folder / "flow")
    parts = [folder / part / "weights.safetensors" for part in ("dr", "flow")]
    resflow("merge", *parts, "-o", model, "--default", "steps=2", "--default", "sigma_s=0.1")
    return SimpleNamespace(model=model, config=config, shard=shard, dr=folder / "dr", flow=folder / "flow")
