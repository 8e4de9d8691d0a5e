"""`resflow restore --like`: a picture's own record, read back and done again; `resflow inspect` shows it."""

import json

import pytest
from program import USER_ERROR, resflow

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def photo(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.open(pictures / "coffee.png").resize((48, 36), Image.LANCZOS).save(path)
    return path


CHOSEN = ["--scale", 2, "--steps", 3, "--seed", 11, "--sigma-s", 0.2, "--sampler", "heun", "--color-fix", "wavelet", "--strength", 0.8]


@pytest.mark.parametrize(
    "extension, more",
    [("png", []), ("jpg", ["--quality", 71]), ("webp", ["--lossless"]), ("tif", ["--bits", 16]), ("png", ["--search", "best-of-n", "--candidates", 2])],
    ids=str,
)
def test_the_same_input_gives_the_same_bytes(tiny, photo, tmp_path, extension, more):
    first, again = tmp_path / f"first.{extension}", tmp_path / f"again.{extension}"
    resflow("restore", "--model", tiny.model, photo, "-o", first, *CHOSEN, *more)
    resflow("restore", photo, "-o", again, "--like", first)
    assert again.read_bytes() == first.read_bytes()
    resflow("restore", "--model", tiny.model, photo, "-o", tmp_path / f"plain.{extension}")
    assert (tmp_path / f"plain.{extension}").read_bytes() != first.read_bytes()


def manifest(path):
    return json.loads(resflow("inspect", path, "--json").stdout)["manifest"]


def test_what_the_command_line_says_wins(tiny, photo, tmp_path):
    resflow("restore", "--model", tiny.model, photo, "-o", tmp_path / "first.png", *CHOSEN)
    resflow("restore", photo, "-o", tmp_path / "b.png", "--like", tmp_path / "first.png", "--seed", 12, "--width", 60, "--no-checks")
    options = manifest(tmp_path / "b.png")["options"]
    assert (options["seed"], options["width"], options["scale"], options["checks"]) == (12, 60, 0, False)
    assert (options["steps"], options["sampler"], options["strength"], options["sigma_s"]) == (3, "heun", 0.8, 0.2)
    # A folder of others, in the format that was
    (tmp_path / "in").mkdir()
    Image.open(photo).rotate(90).save(tmp_path / "in" / "c.jpg")
    resflow("restore", tmp_path / "in", "-o", tmp_path / "out", "--like", tmp_path / "first.png")
    assert manifest(tmp_path / "out" / "c.jpg")["options"]["sampler"] == "heun"


def test_inspect_tells_how_a_picture_was_made(tiny, photo, tmp_path):
    out = tmp_path / "out.png"
    resflow("restore", "--model", tiny.model, photo, "-o", out, *CHOSEN)
    report = json.loads(resflow("inspect", out, "--json").stdout)
    assert report["format"] == "png" and (report["width"], report["height"], report["bits"]) == (96, 72, 8)
    assert report["manifest"]["options"]["seed"] == 11 and report["manifest"]["files"]["quality"] == 0
    assert report["texts"]["parameters"].startswith("Steps: 3, Sampler: heun, Seed: 11")
    shown = resflow("inspect", out).stdout
    assert "96x72" in shown and "parameters: Steps: 3" in shown and '"sigma_s": 0.2' in shown
    assert "not made by resflow" in resflow("inspect", photo).stdout
    assert "tensors" in resflow("inspect", tiny.model).stdout
    (tmp_path / "cut.png").write_bytes(out.read_bytes()[:40])
    assert "damaged" in resflow("inspect", tmp_path / "cut.png", code=USER_ERROR).stderr


def test_a_picture_restored_twice_holds_the_last_record_alone(tiny, photo, tmp_path):
    resflow("restore", "--model", tiny.model, photo, "-o", tmp_path / "a.jpg", "--scale", 1, "--seed", 1)
    resflow("restore", "--model", tiny.model, tmp_path / "a.jpg", "-o", tmp_path / "b.jpg", "--scale", 1, "--seed", 2)
    assert manifest(tmp_path / "b.jpg")["options"]["seed"] == 2
    assert Image.open(tmp_path / "b.jpg").info["xmp"].count(b"resflow:resflow=") == 1


def test_other_weights_and_records_that_are_none_are_told(tiny, photo, tmp_path):
    out = tmp_path / "out.png"
    resflow("restore", "--model", tiny.model, photo, "-o", out, "--scale", 1)
    assert "other weights" in resflow("restore", photo, "-o", tmp_path / "b.png", "--like", out, "--model", "compact").stderr
    assert "does not say how it was made" in resflow("restore", photo, "-o", tmp_path / "b.png", "--like", photo, code=USER_ERROR).stderr
    assert "no such file" in resflow("restore", photo, "-o", tmp_path / "b.png", "--like", tmp_path / "none.png", code=USER_ERROR).stderr


def test_a_mask_that_was_used_is_told(tiny, photo, tmp_path):
    Image.new("L", (48, 36), 128).save(tmp_path / "mask.png")
    resflow("restore", "--model", tiny.model, photo, "-o", tmp_path / "a.png", "--mask", tmp_path / "mask.png")
    assert manifest(tmp_path / "a.png")["mask"] == "mask.png"
    assert "add --mask" in resflow("restore", photo, "-o", tmp_path / "b.png", "--like", tmp_path / "a.png").stderr
    resflow("restore", photo, "-o", tmp_path / "c.png", "--like", tmp_path / "a.png", "--mask", tmp_path / "mask.png")
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "a.png").read_bytes()
