"""`resflow restore`: the limit of change, the heat map, masks, and results that are made again."""

import json

import numpy as np
import pytest
from program import USER_ERROR, files_in, resflow

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, "--scale", "2", *arguments, **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("small") / "coffee.png"
    Image.open(pictures / "coffee.png").resize((64, 48), Image.LANCZOS).save(path)
    return path


def item(done):
    return json.loads(done.stdout)["items"][0]


WILD = ["--sigma-s", "0.6", "--steps", "1", "--json"]  # the untrained model changes much


def test_the_report_says_how_faithful_a_result_is(restore, small, tmp_path):
    near = item(restore(small, "-o", tmp_path / "near.png", "--strength", "0", "--json"))["faithfulness"]
    far = item(restore(small, "-o", tmp_path / "far.png", *WILD))["faithfulness"]
    assert 0 <= far["score"] < near["score"] <= 100 and near["largest"] < far["largest"] and near["mean"] < far["mean"]
    text = json.loads(Image.open(tmp_path / "far.png").text["resflow"])
    assert text["faithfulness"] == far and text["checks"]["found"] == []


def test_a_change_above_the_limit_is_drawn_back_or_refused(restore, small, tmp_path):
    free = item(restore(small, "-o", tmp_path / "free.png", *WILD))["faithfulness"]
    most = free["largest"] / 3
    held = restore(small, "-o", tmp_path / "held.png", "--max-change", most, *WILD)
    assert item(held)["faithfulness"]["largest"] <= 1.1 * most and "held back" in held.stderr
    assert (tmp_path / "held.png").read_bytes() != (tmp_path / "free.png").read_bytes()
    refused = restore(small, "-o", tmp_path / "refused.png", "--max-change", most, "--on-change", "refuse", *WILD, code=USER_ERROR)
    assert "departs from the source" in refused.stderr and not (tmp_path / "refused.png").exists()
    idle = restore(small, "-o", tmp_path / "idle.png", "--max-change", min(1, 2 * free["largest"]), *WILD)
    assert "held back" not in idle.stderr
    assert (np.asarray(Image.open(tmp_path / "idle.png")) == np.asarray(Image.open(tmp_path / "free.png"))).all()


def test_the_heat_map_shows_it(restore, small, tmp_path):
    restore(small, "-o", tmp_path / "out.png", *WILD, "--change-map", tmp_path / "new" / "map.png")
    assert files_in(tmp_path) == ["new/map.png", "out.png"]
    assert Image.open(tmp_path / "new" / "map.png").size == (128, 96)
    restore(small, "-o", tmp_path / "out.png", "--change-map", tmp_path / "out.png", code=USER_ERROR)
    restore(small, small.parent, "-o", tmp_path / "many", "--change-map", tmp_path / "map.png", "--strength", "0")  # named twice, one picture


def test_a_mask_keeps_places_as_they_are(restore, small, tmp_path):
    half = np.zeros((48, 64), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")
    restore(small, "-o", tmp_path / "all.png", *WILD)
    restore(small, "-o", tmp_path / "half.png", *WILD, "--mask", tmp_path / "mask.png")
    read = lambda path: np.asarray(Image.open(path)).astype(int)
    everywhere, masked = read(tmp_path / "all.png"), read(tmp_path / "half.png")
    enlarged = np.asarray(Image.open(small).resize((128, 96), Image.BICUBIC)).astype(int)
    assert np.abs(masked[:, 72:] - everywhere[:, 72:]).max() == 0
    assert np.abs(masked[:, :56] - enlarged[:, :56]).max() <= 1
    assert np.abs(everywhere[:, :56] - enlarged[:, :56]).mean() > 3, "there was something to keep out"
    Image.new("L", (64, 64)).save(tmp_path / "square.png")
    assert "another shape" in restore(small, "-o", tmp_path / "no.png", "--mask", tmp_path / "square.png", code=USER_ERROR).stderr
    assert not (tmp_path / "no.png").exists()


def test_a_broken_result_is_made_again_by_the_remover_alone(tiny, small, tmp_path):
    """Weights whose flow adds red everywhere: what a damaged or badly trained model does."""
    load, save = pytest.importorskip("safetensors.torch").load_file, pytest.importorskip("safetensors.torch").save_file
    safe_open = pytest.importorskip("safetensors").safe_open
    weights = load(tiny.model)
    bias = weights["flow.conv_out.bias"]
    weights["flow.conv_out.bias"] = bias.clone()
    weights["flow.conv_out.bias"][: len(bias) // 3] += 8  # in units of 0.05
    with safe_open(tiny.model, "pt") as file:
        save(weights, tmp_path / "red.safetensors", metadata=file.metadata())
    arguments = ["restore", small, "--model", tmp_path / "red.safetensors", "--scale", "2", "--json"]
    done = resflow(*arguments, "-o", tmp_path / "out.png")
    checks = item(done)["checks"]
    assert checks["retried"] and checks["left"] == [] and "colour cast" in checks["found"][0] and "made again" in done.stderr
    assert item(done)["options"]["strength"] == 1, "as asked"
    resflow("restore", small, "-o", tmp_path / "like.png", "--like", tmp_path / "out.png")
    assert (tmp_path / "like.png").read_bytes() == (tmp_path / "out.png").read_bytes()
    resflow(*arguments, "-o", tmp_path / "safe.png", "--strength", "0")
    same = np.asarray(Image.open(tmp_path / "out.png")) == np.asarray(Image.open(tmp_path / "safe.png"))
    assert same.all() and item(done)["nfe"] == 2, "what the first try cost"
    unchecked = resflow(*arguments, "-o", tmp_path / "red.png", "--no-checks")
    red = np.asarray(Image.open(tmp_path / "red.png")).astype(int) - np.asarray(Image.open(tmp_path / "safe.png"))
    assert "checks" not in item(unchecked) and red[:, :, 0].mean() > 30
