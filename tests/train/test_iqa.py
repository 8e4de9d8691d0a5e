"""compact-iqa: its training by `resflow train`, and the reward against the same network in PyTorch."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy
import pytest
from program import USER_ERROR, resflow

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "rewards_probe"
WIDTHS, BLOCKS = (24, 48, 72, 96), 2


@pytest.fixture(scope="module")
def arguments(tiny, feature_network):
    return ["train", tiny.config, "--task", "iqa", "--remover", tiny.dr / "weights.safetensors", "--flow", tiny.flow / "weights.safetensors",
            "--feature-network", feature_network, "--crop", "64", "--learning-rate", "3e-3", "--ema", "0.8"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(arguments, tiny, feature_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("iqa")
    resflow(*arguments, "--output", folder, "--steps", "60", "--validation", tiny.shard, "--validation-network", feature_network, "--validation-crop", "64",
            "--validate-every", "60", "--validation-steps", "2", "--validation-sigma-s", "0.3")  # fmt: skip
    return folder


def network(tensors, images):
    """The network in PyTorch. images [N, 3, H, W], 0..1 -> [N]"""
    weights = {name.removeprefix("iqa."): tensor.float() for name, tensor in tensors.items()}
    functional = torch.nn.functional

    def conv(name, x, stride=1):
        weight = weights.pop(f"{name}.weight")
        return functional.conv2d(x, weight, weights.pop(f"{name}.bias"), stride, weight.shape[-1] // 2)

    act = lambda x: functional.leaky_relu(x, 0.1)
    rows, columns = (-images.shape[2] % 16, -images.shape[3] % 16)
    x = functional.pad(images, (0, columns, 0, rows), mode="replicate")
    x = conv("conv_in", functional.pixel_unshuffle(x - 0.5, 2))
    for stage in range(len(WIDTHS)):
        if stage > 0:
            x = conv(f"down.{stage - 1}", act(x), 2)
        for i in range(BLOCKS * stage, BLOCKS * (stage + 1)):
            x = x + conv(f"blocks.{i}.conv2", act(conv(f"blocks.{i}.conv1", x)))
    out = conv("conv_out", act(x)).mean((1, 2, 3)) + 1
    assert not weights, f"not used: {sorted(weights)}"
    return out


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_distance_is_learnt(trained):
    error = [entry["distance"] for entry in log_of(trained) if "distance" in entry]
    assert len(error) == 60 and sum(error[-15:]) < 0.5 * sum(error[:15]), error


def test_validation_says_what_choosing_is_worth(trained):
    choice = [entry for entry in log_of(trained) if "validation" in entry][-1]["validation"]["choice"]
    assert set(choice) == {"mean", "chosen", "best", "rank_correlation"}
    assert 0 < choice["best"] <= choice["chosen"] and choice["best"] < choice["mean"] and -1 <= choice["rank_correlation"] <= 1


def test_what_it_needs_is_told(arguments, feature_network, tmp_path):
    for left_out, said in (("--flow", "needs `remover` and `flow`"), ("--remover", "needs `remover` and `flow`"), ("--feature-network", "needs `feature_network`")):
        at = arguments.index(left_out)
        done = resflow(*arguments[:at], *arguments[at + 2 :], "--output", tmp_path / "run", code=USER_ERROR)
        assert said in done.stderr, done.stderr
    config = tmp_path / "config.toml"
    config.write_text("validation_sigma_s = []\n" + pathlib.Path(arguments[1]).read_text())
    done = resflow("train", config, *arguments[2:], "--output", tmp_path / "run", code=USER_ERROR)
    assert "needs `validation_sigma_s`" in done.stderr, done.stderr


@pytest.mark.parametrize("height, width", [(96, 128), (75, 53), (16, 16)])
def test_the_reward_is_the_network_on_bytes(trained, tmp_path, height, width):
    """Catches: a layer left out or at another place, padding on the wrong side, a sign, a picture that is seen between its bytes."""
    (tmp_path / "rewards").mkdir()
    shutil.copy(trained / "weights.safetensors", tmp_path / "rewards" / "compact-iqa.safetensors")
    tensors = load_file(trained / "weights.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) <= 1_000_000
    images = numpy.random.default_rng(5).uniform(-0.1, 1.1, (2, 3, height, width)).astype(numpy.float32)
    images[0] = numpy.linspace(0, 1, width, dtype=numpy.float32)  # and one that is smooth
    images.tofile(tmp_path / "images.f32")
    command = [PROBE, "reward", "compact-iqa", tmp_path / "images.f32", "2", str(height), str(width)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "RESFLOW_DATA": str(tmp_path)})
    got = [float(word) for word in said.stdout.splitlines()[0].split()]
    expected = -network(tensors, (torch.from_numpy(images).clamp(0, 1) * 255).round() / 255)
    assert got == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_search_asks_it_and_says_where_it_is_looked_for(trained, tiny, pictures, tmp_path):
    search = ["restore", "--no-checks", "--model", tiny.model, pictures / "coffee.png", "-o", tmp_path / "out.png", "--scale", "1", "--search", "best-of-n",
              "--candidates", "3", "--steps", "2", "--rewards", "compact-iqa", "--trace", tmp_path / "run.json"]  # fmt: skip
    assert "configs/iqa.toml" in resflow(*search, code=USER_ERROR).stderr
    (tmp_path / "rewards").mkdir()
    shutil.copy(trained / "weights.safetensors", tmp_path / "rewards" / "compact-iqa.safetensors")
    resflow(*search, env={**os.environ, "RESFLOW_DATA": str(tmp_path)})
    assert "compact-iqa" in (tmp_path / "run.json").read_text()
