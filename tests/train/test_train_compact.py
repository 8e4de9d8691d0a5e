"""`make train-compact`: from a folder of images to a model, by the script that it runs, with the shipped configurations made small; and what it does with
the fixed pattern of cells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program import RESFLOW, ROOT, resflow

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
safetensors = pytest.importorskip("safetensors")
data = pytest.importorskip("skimage.data")
sys.path.insert(0, str(ROOT / "tests" / "restore"))
from seams import lattice_score  # noqa: E402

SMALL = ("--steps 2 --warmup 1 --crop 64 --batch 4 --loaders 1 --workers 1 --log-every 1 --validation-crop 64 --validation-sigma-s 0.1 --validation-steps 1 "
         "--model.channels 16 --model.remover-blocks 1 --model.stem-blocks 1 --model.head-blocks 1 --model.width 32 --model.heads 2 "
         "--model.depth 1 --model.condition-rank 4")  # fmt: skip


def contents(path):
    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, feature_network):
    """The script with what it takes from around it, and a folder of twelve photographs and a damaged one."""
    home = tmp_path_factory.mktemp("checkout")
    for folder in ("tools", "configs"):
        shutil.copytree(ROOT / folder, home / folder)
    (home / "build").mkdir()
    (home / "build" / "resflow").symlink_to(Path(RESFLOW).resolve())
    (home / ".venv").symlink_to(sys.prefix)
    (home / "data").mkdir()
    for network in ("lite1", "lite2"):
        shutil.copy(feature_network, home / "data" / f"{network}.safetensors")
    (home / "photos").mkdir()
    for i in range(12):
        picture = getattr(data, ("astronaut", "chelsea", "coffee")[i % 3])()
        Image.fromarray(picture[10 * i : 10 * i + 128, 100 + 10 * i : 260 + 10 * i]).save(home / "photos" / f"{i:02}.png")
    (home / "photos" / "broken.png").write_bytes((home / "photos" / "00.png").read_bytes()[:300])
    return home


def train_compact(home, **settings):
    environment = {**os.environ, "RESFLOW_DATA": str(ROOT), "DATA": str(home / "photos"), "ARGS": SMALL, **settings}
    return subprocess.run([home / "tools" / "train_compact.sh"], env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def trained(checkout):
    done = train_compact(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def test_a_folder_of_images_becomes_a_model(trained, pictures, tmp_path):
    """Catches: a step that the configurations or the script no longer fit, parts of different runs, means and patterns that are told and not made, and a
    damaged picture that stops it all."""
    assert (trained / "data" / "validation.txt").read_text() == "09.png\n"
    model, metadata = contents(trained / "runs" / "compact.safetensors")
    assert "sigma_s" in metadata["defaults"]
    flows = [contents(trained / "runs" / run / "weights.safetensors")[0] for run in ("flow", "flow_finish")]
    remover = contents(trained / "runs" / "dr" / "weights.safetensors")[0]
    for name, value in model.items():
        if name in ("dr.conv_out.bias", "flow.conv_out.bias"):
            continue
        wanted = remover[name] if name in remover else 0.3 * flows[0][name].astype(float) + 0.7 * flows[1][name]
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-6, err_msg=name)  # weights are half precision
    assert len(model) == len(remover) + len(flows[0]) and (flows[0]["flow.conv_out.bias"] != flows[1]["flow.conv_out.bias"]).any()
    for name, untouched in (("dr.conv_out.bias", remover), ("flow.conv_out.bias", None)):
        before = untouched[name] if untouched else 0.3 * flows[0][name].astype(float) + 0.7 * flows[1][name]
        taken = (model[name] - before).reshape(3, 16)
        assert np.abs(taken).max() > 1e-4 and np.abs(taken.mean(1)).max() < 0.05 * np.abs(taken).max(), "a pattern is taken out, and no colour"
    resflow("restore", pictures / "coffee.png", "-o", tmp_path / "out.png", "--model", trained / "runs" / "compact.safetensors", "--scale", "2")
    assert Image.open(tmp_path / "out.png").size == (256, 192)


def test_what_is_done_is_not_done_again(trained):
    logs = {path: path.read_bytes() for path in trained.glob("runs/*/log.jsonl")}
    model = contents(trained / "runs" / "compact.safetensors")
    assert len(logs) == 4
    done = train_compact(trained)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in logs} == logs
    again = contents(trained / "runs" / "compact.safetensors")
    assert again[1] == model[1] and all((again[0][name] == value).all() for name, value in model[0].items())
    without = train_compact(trained, DATA="")
    assert without.returncode == 0 and "the fixed pattern of cells is left in" in without.stderr, without.stderr


def test_a_folder_that_is_none(checkout, tmp_path):
    shutil.copytree(checkout / "tools", tmp_path / "tools")
    done = train_compact(tmp_path, DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 2 and "wanted DATA=folder of images, got" in done.stderr


def test_a_pattern_of_cells_is_taken_out(tiny, pictures, tmp_path):
    """Weights that leave dots at the same places of every cell. Catches: a pattern that is added once more, turned, of another channel or of another size."""
    tensors, metadata = contents(tiny.model)
    bias = tensors["dr.conv_out.bias"]
    dots = np.random.default_rng(3).choice([-1.0, 1.0], (3, 16))
    bias += (0.2 * (dots - dots.mean(1, keepdims=True))).reshape(-1).astype(bias.dtype)
    pytest.importorskip("safetensors.numpy").save_file(tensors, tmp_path / "dotted.safetensors", metadata)
    resflow("degrade", pictures, "-o", tmp_path / "poor", "--recipe", "see-sr", "--seed", "1", "--scale", "4", "--format", "png")

    def restored(name):
        resflow("restore", tmp_path / "poor", "-o", tmp_path / name, "--model", tmp_path / f"{name}.safetensors", "--strength", "0", "--scale", "4", "--format", "png")
        return lattice_score([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).glob("*.png"))], 4)

    before = restored("dotted")
    tool = [sys.executable, ROOT / "tools" / "level_lattice.py"]
    subprocess.run([*tool, tmp_path / "dotted.safetensors", tmp_path / "dotted", "dr", tmp_path / "level.safetensors"], check=True)
    after = restored("level")
    assert before > 0.3 and after < 0.35 * before, (before, after)
    wrong = subprocess.run([*tool, tmp_path / "dotted.safetensors", tmp_path / "dotted", "both", tmp_path / "no.safetensors"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "level_lattice.py MODEL" in wrong.stderr
