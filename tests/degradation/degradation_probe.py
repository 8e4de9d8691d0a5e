"""Runs tests/degradation/probe.cpp on numpy arrays."""

import functools
import os
import pathlib
import subprocess
import tempfile

import numpy as np

KINDS = ["isotropic", "anisotropic", "generalised_isotropic", "generalised_anisotropic", "plateau_isotropic", "plateau_anisotropic", "sinc"]
MODES = ["area", "bilinear", "bicubic"]


def program():
    if "RESFLOW_DEGRADATION_PROBE" in os.environ:
        return os.environ["RESFLOW_DEGRADATION_PROBE"]
    root = pathlib.Path(__file__).resolve().parents[2]
    build = pathlib.Path(os.environ.get("RESFLOW", root / "build" / "resflow")).parent
    for folder in (build / "tests", build.parent / "tests", build.parent.parent / "tests", root / "build" / "tests"):
        if (folder / "degradation_probe").exists():
            return str(folder / "degradation_probe")
    raise FileNotFoundError("degradation_probe is not built; set RESFLOW_DEGRADATION_PROBE")


@functools.cache
def process():  # one for all tests: starting it costs more than most steps
    return subprocess.Popen([program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def run(step, *arguments, image=None):
    """image [3, H, W] or None -> the flat float32 array that the probe writes."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        command = [step]
        if image is not None:
            np.ascontiguousarray(image, np.float32).tofile(source)
            command += [source, image.shape[1], image.shape[2]]
        process().stdin.write(" ".join(str(part) for part in [*command, *arguments, target]) + "\n")
        answer = process().stdout.readline()
        assert answer == "ok\n", answer
        return np.fromfile(target, np.float32)


def kernel_arguments(kind, size, sigma_x=1.0, sigma_y=1.0, angle=0.0, beta=1.0, cutoff=2.0):
    return [KINDS.index(kind), size, sigma_x, sigma_y, angle, beta, cutoff]
