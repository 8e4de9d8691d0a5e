"""`resflow degrade`: poor pictures of good ones."""

import json

import numpy as np
import pytest
from program import SOME_FAILED, USER_ERROR, files_in, resflow

Image = pytest.importorskip("PIL.Image")


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_the_seed_decides_and_recipes_differ(pictures, tmp_path):
    made = {}
    for name, recipe, seed in (("a", "see-sr", 7), ("b", "see-sr", 7), ("c", "see-sr", 8), ("d", "real-esrgan", 7)):
        resflow("degrade", pictures, "-o", tmp_path / name, "--recipe", recipe, "--seed", seed)
        made[name] = pixels(tmp_path / name / "coffee.png")
        assert made[name].shape == (24, 32, 3)
    assert (tmp_path / "a" / "coffee.png").read_bytes() == (tmp_path / "b" / "coffee.png").read_bytes()
    assert np.abs(made["a"] - made["c"]).mean() > 1 and np.abs(made["a"] - made["d"]).mean() > 1
    clean = np.asarray(Image.open(pictures / "coffee.png").resize((32, 24), Image.BOX)).astype(int)
    for poor in made.values():
        assert 1 < np.abs(poor - clean).mean() < 60, "poor, and still that picture"


@pytest.mark.parametrize("arguments, size", [(["--scale", "1"], (128, 96)), (["--scale", "3"], (42, 32)), (["--crop", "50"], (12, 12)), (["--crop", "64", "--scale", "2"], (32, 32))], ids=str)
def test_size(pictures, tmp_path, arguments, size):
    done = resflow("degrade", pictures / "chelsea.png", "-o", tmp_path / "poor.jpg", "--json", *arguments)
    assert Image.open(tmp_path / "poor.jpg").size == size
    report = json.loads(done.stdout)
    assert report["failed"] == 0 and report["items"][0]["output"].endswith("poor.jpg")


def test_what_is_wrong_is_told(pictures, tmp_path):
    out = tmp_path / "out"
    for arguments, said in (
        (["--recipe", "sea-sr"], "Did you mean 'see-sr'"),
        (["--scale", "9"], "scale is out of range"),
        (["--format", "bmpp"], "cannot write"),
    ):
        assert said in resflow("degrade", pictures, "-o", out, *arguments, code=USER_ERROR).stderr
        assert not out.exists()
    Image.new("RGB", (3, 3)).save(tmp_path / "dot.png")
    assert "too small" in resflow("degrade", tmp_path / "dot.png", "-o", out, code=USER_ERROR).stderr
    done = resflow("degrade", pictures, tmp_path / "dot.png", "-o", out, "--json", code=SOME_FAILED)
    assert json.loads(done.stdout)["failed"] == 1 and len(files_in(out)) == 3
    (tmp_path / "file").write_text("in the way")
    assert "cannot be created" in resflow("degrade", pictures, "-o", tmp_path / "file" / "out", code=USER_ERROR).stderr
