"""Drives tests/models/probe.cpp: tensors and numbers in, tensors out."""
import os
import pathlib
import subprocess

from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "models_probe"


def run(folder, operation, tensors, code=0, **numbers):
    """The probe's tensors by name, or what it complains of."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "in", {k: str(v) for k, v in numbers.items()})
    return probe(folder, operation, code)


def probe(folder, operation, code=0):
    """The same on a file that stands there as "in"."""
    done = subprocess.run([PROBE, operation, folder / "in", folder / "out"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else load_file(folder / "out")


def relative_error(ours, theirs):
    """Largest difference over the largest value: what rounding in float32 leaves is near 1e-6."""
    ours, theirs = ours.detach(), theirs.detach()
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())
