"""The wheel that `make wheel` makes, used from outside the source tree; and the examples of docs/python.md."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from program import ROOT

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
Image = pytest.importorskip("PIL.Image")

import generate_models  # noqa: E402


def run(folder, code, **environment):
    """A Python that knows nothing of the source tree, in that folder."""
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RESFLOW", "RESFLOW_DATA")}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=bare | environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory, built):
    """The wheel, made as `make wheel` does and installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(built, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "*.whl", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"], check=True)
    (wheel,) = folder.glob("*.whl")
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.startswith(f"resflow-0.1.0-{version}-{version}-linux_")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True)
    shutil.rmtree(folder / "source")
    return folder / "site"


def test_the_wheel_restores_with_the_shipped_weights(tmp_path, installed):
    """Catches: weights that stay behind, libraries or weights that are found in the source tree alone."""
    assert (installed / "resflow" / "py.typed").exists() and (installed / "resflow" / "__init__.pyi").exists()
    metadata = next(installed.glob("resflow-*.dist-info/METADATA")).read_text()
    assert f"Requires-Dist: torch=={'.'.join(torch.__version__.split('.')[:2])}.*" in metadata
    code = """
import torch, resflow
made, report = resflow.restore(torch.rand(3, 20, 24), scale=2, seed=1, report=True, search="best-of-n", candidates=2)
print(resflow.__file__, report["model"]["name"], *made.shape)
"""
    done = run(tmp_path, code, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(installed / "resflow" / "__init__.py"), "compact", "3", "40", "48"]
    (installed / "resflow" / "weights").rename(installed / "resflow" / "elsewhere")
    done = run(tmp_path, code, PYTHONPATH=str(installed))
    (installed / "resflow" / "elsewhere").rename(installed / "resflow" / "weights")
    assert "belongs to the program is missing" in done.stderr and str(installed / "resflow" / "weights") in done.stderr


def test_another_torch_is_told_at_import(tmp_path, installed):
    """Catches: a crash or an undefined symbol instead of a word of what to do."""
    done = run(tmp_path, "import torch; torch.__version__ = '2.1.0+cpu'; import resflow", PYTHONPATH=str(installed))
    assert "built with torch" in done.stderr and "torch 2.1.0+cpu is installed" in done.stderr


def test_the_examples_of_the_docs_run(tmp_path, built, pictures):
    """Every Python block of docs/python.md, one after the other, on a small photograph and a model of small random parts."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    Image.open(pictures / "coffee.png").resize((48, 36)).save(tmp_path / "photo.jpg")
    (tmp_path / "models").mkdir()
    pipeline = diffusers.FluxPipeline(**generate_models.parts(tmp_path))
    generate_models.saved(pipeline, tmp_path / "models" / "FLUX.1-dev", tmp_path)
    done = run(tmp_path, "\n".join(blocks), PYTHONPATH=str(built))
    assert done.returncode == 0, done.stderr
    assert "Did you mean" in done.stdout and (tmp_path / "restored.png").exists()
