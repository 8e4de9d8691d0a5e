"""A tiny FLUX to train for, and a feature network."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tiny_flux(tmp_path_factory):
    """A transformer's folder with a shard and a configuration that names both, and diffusers' model of it."""
    from flux_runs import make_tiny_flux  # what needs torch is skipped without it, not broken

    return make_tiny_flux(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="session")
def feature_network(tmp_path_factory):
    """An EfficientNet-Lite0 of random weights."""
    torch, efficientnet = pytest.importorskip("torch"), pytest.importorskip("efficientnet_lite_pytorch")
    spec = importlib.util.spec_from_file_location("converter", Path(__file__).resolve().parents[2] / "tools" / "efficientnet_lite_to_safetensors.py")
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("lite") / "lite0.safetensors"
    converter.convert(efficientnet.EfficientNet.from_name("efficientnet-lite0").eval().state_dict(), "lite0", path)
    return path
