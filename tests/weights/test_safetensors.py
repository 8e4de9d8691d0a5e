"""The reference implementation (the `safetensors` package) and ours read each other's files."""

import os
import pathlib
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

PROBE = pathlib.Path(os.environ["RESFLOW"]).parent / "tests" / "weights_probe"
TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2]


def copied(source: pathlib.Path, target: pathlib.Path) -> tuple[dict, dict | None]:
    subprocess.run([PROBE, "copy", source, target], check=True)
    with safe_open(target, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("metadata", [None, {"format": "pt", "note": 'quotes " and ünïcode'}])
def test_their_file_passes_through_ours_unchanged(tmp_path, metadata):
    torch.manual_seed(0)
    tensors = {str(dtype): (torch.randn(3, 5) * 10).abs().to(dtype) for dtype in TYPES}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "transposed": torch.randn(4, 3).t().contiguous()}
    tensors["ünïcode.name"] = torch.ones(2)
    save_file(tensors, tmp_path / "theirs.safetensors", metadata)
    back, back_metadata = copied(tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors")
    assert back_metadata == metadata
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and back[name].shape == tensor.shape, name
        assert bits(back[name]) == bits(tensor), name
