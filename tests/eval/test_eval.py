"""`resflow eval` on folders, against scikit-image and the formulas of tests/rewards/test_metrics.py."""
import importlib.util
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage.data")

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESFLOW = os.environ.get("RESFLOW", str(ROOT / "build" / "resflow"))

spec = importlib.util.spec_from_file_location("metric_formulas", ROOT / "tests" / "rewards" / "test_metrics.py")
formulas = importlib.util.module_from_spec(spec)
spec.loader.exec_module(formulas)


def run(*args):
    return subprocess.run([RESFLOW, "eval", *map(str, args)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two photographs and their poor versions -> the two folders and the pixels by name."""
    root, pixels = tmp_path_factory.mktemp("eval"), {}
    for folder in ("pred", "ref"):
        (root / folder).mkdir()
    for name, image in (("astronaut", formulas.photograph()), ("cat", formulas.data.cat()[:256, :288])):
        pixels[name] = formulas.degraded(image), image
        Image.fromarray(pixels[name][0]).save(root / "pred" / f"{name}.png")
        Image.fromarray(image).save(root / "ref" / f"{name}.webp", lossless=True)
    return root / "pred", root / "ref", pixels


def test_scores_and_means_of_folders(folders):
    pred, ref, pixels = folders
    done = run("--pred", pred, "--ref", ref, "--metrics", "psnr,ssim,niqe", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["name"] for row in report["files"]] == ["astronaut", "cat"]
    for row in report["files"]:
        a, b = (formulas.luma(image)[4:-4, 4:-4] for image in pixels[row["name"]])
        assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / ((a - b) ** 2).mean()), abs=1e-4)
        ssim = formulas.metrics.structural_similarity(a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        assert row["ssim"] == pytest.approx(ssim, abs=1e-4)
        assert row["niqe"] == pytest.approx(formulas.niqe(pixels[row["name"]][0]), rel=3e-3)
    for metric in ("psnr", "ssim", "niqe"):
        assert report["mean"][metric] == pytest.approx(np.mean([row[metric] for row in report["files"]]))


def test_niqe_alone_needs_no_reference(folders):
    done = run("--pred", folders[0], "--metrics", "niqe", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean"]["niqe"] > 3


def test_sizes_that_differ_are_a_user_error_with_both_sizes(folders, tmp_path):
    Image.fromarray(folders[2]["cat"][0][:200]).save(tmp_path / "cat.png")
    done = run("--pred", tmp_path / "cat.png", "--ref", folders[1] / "cat.webp", "--metrics", "psnr")
    assert done.returncode == 2
    assert "288x200" in done.stderr and "288x256" in done.stderr
