"""FeatureDistance against efficientnet_lite_pytorch on random weights, through the converter that makes its weight files."""
import importlib.util
import os
import pathlib
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
reference = pytest.importorskip("efficientnet_lite_pytorch")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "rewards_probe"
TAPS = {"lite0": [0, 2, 4, 7, 10, 15], "lite1": [0, 3, 6, 10, 14, 20], "lite2": [0, 3, 6, 10, 14, 20]}


def converter():
    spec = importlib.util.spec_from_file_location("converter", ROOT / "tools" / "efficientnet_lite_to_safetensors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_model(variant):
    """Random weights and batch norm statistics, of a size that keeps the features alive and ReLU6 at both of its ends."""
    torch.manual_seed(len(variant) + int(variant[-1]))
    model = reference.EfficientNet.from_name(f"efficientnet-{variant}").eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.3, 2)
    return model


@torch.inference_mode()
def expected_features(model, images, taps):
    x = torch.nn.functional.relu6(model._bn0(model._conv_stem((images - 0.498) / 0.502)))
    out = []
    for i, block in enumerate(model._blocks):
        x = block(x)
        if i in taps:
            out.append(torch.nn.functional.normalize(x, dim=1))
    return out


def probe(*args):
    return subprocess.run([PROBE, *map(str, args)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("variant,height,width", [("lite0", 64, 96), ("lite1", 97, 75), ("lite2", 80, 64)])
def test_features_and_distance_equal_the_python_package(tmp_path, variant, height, width):
    model = random_model(variant)
    weights = tmp_path / "trunk.safetensors"
    converter().convert(model.state_dict(), variant, str(weights))
    images = torch.rand(2, 2, 3, height, width)
    for i in range(2):
        (tmp_path / f"{i}.raw").write_bytes(images[i].numpy().tobytes())

    expected = [expected_features(model, images[i], TAPS[variant]) for i in range(2)]
    probe("features", weights, tmp_path / "0.raw", 2, height, width, tmp_path / "features.raw")
    ours = np.fromfile(tmp_path / "features.raw", np.float32)
    assert ours.size == sum(f.numel() for f in expected[0])
    for tap, feature in zip(TAPS[variant], expected[0]):
        part, ours = ours[: feature.numel()].reshape(feature.shape), ours[feature.numel() :]
        assert np.linalg.norm(part - feature.numpy()) <= 1e-4 * np.linalg.norm(feature.numpy()), f"block {tap}"

    distances = sum(((a - b) ** 2).sum(1).mean((1, 2)) for a, b in zip(*expected)) / 6
    got = [float(line) for line in probe("distance", weights, tmp_path / "0.raw", tmp_path / "1.raw", 2, height, width).split()]
    np.testing.assert_allclose(got, distances.numpy(), rtol=1e-4)


def test_another_file_is_refused_with_the_way_to_make_one(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, str(tmp_path / "other.safetensors"))
    (tmp_path / "image.raw").write_bytes(np.zeros((1, 3, 8, 8), np.float32).tobytes())
    run = subprocess.run([PROBE, "features", tmp_path / "other.safetensors", tmp_path / "image.raw", "1", "8", "8", tmp_path / "out"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "efficientnet_lite_to_safetensors.py" in run.stderr
