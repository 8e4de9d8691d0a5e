"""`resflow compare` and `make compare` on two tiny pictures: results, table, sheet and page."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from program import RESFLOW, ROOT, USER_ERROR, files_in, resflow

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from esrgan_files import SRVGGNetCompact, drawn, save_pth  # noqa: E402

WAYS = ["bicubic", "real-esrgan", "remover", "plain", "mixed", "flow-from-mixed", "search"]


@pytest.fixture(scope="session")
def data(tmp_path_factory, pictures):
    """hq/ of 128 x 96, lq/ of 32 x 24."""
    folder = tmp_path_factory.mktemp("data")
    for part in ("lq", "hq"):
        (folder / part).mkdir()
    for name in ("astronaut", "coffee"):
        photo = Image.open(pictures / f"{name}.png")
        photo.save(folder / f"hq/{name}.png")
        photo.resize((32, 24), Image.BICUBIC).save(folder / f"lq/{name}.jpg", quality=90)
    return folder


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    network = drawn(SRVGGNetCompact(4))
    with torch.no_grad():
        network.body[-1].weight.mul_(0.3)
    path = tmp_path_factory.mktemp("net") / "net.pth"
    save_pth(network, path)
    return path


@pytest.fixture(scope="session")
def options(tiny, net):
    return ["--model", tiny.model, "--dr-file", net, "--candidates", "2", "--rewards", "lq-consistency", "--metrics", "psnr,ssim", "--no-checks"]


@pytest.fixture(scope="session")
def compared(tmp_path_factory, data, options):
    out = tmp_path_factory.mktemp("compared") / "out"
    printed = resflow("compare", data, "-o", out, *options, "--through").stdout
    return out, json.loads((out / "compare.json").read_text()), printed


def test_every_way_makes_every_picture(compared):
    out, report, _ = compared
    assert [way["name"] for way in report["ways"]] == WAYS and report["pictures"] == 2
    for way in WAYS:
        assert files_in(out / way) == ["astronaut.png", "coffee.png"]
        assert Image.open(out / way / "coffee.png").size == (128, 96), "the scale of the pairs, not asked for"
    made = [np.asarray(Image.open(out / way / "coffee.png")).astype(int) for way in WAYS]
    for i, one in enumerate(made):
        for other in made[:i]:
            assert np.abs(one - other).mean() > 0.05, "each way is another one"


def test_the_table_says_what_eval_says(compared, data):
    out, report, printed = compared
    for way in report["ways"]:
        told = json.loads(resflow("eval", "--pred", out / way["name"], "--ref", data / "hq", "--metrics", "psnr,ssim", "--json").stdout)
        assert way["mean"] == pytest.approx(told["mean"]) and way["files"] == told["files"]
        line = next(line for line in printed.splitlines() if line.startswith(way["name"] + " "))
        assert f"{told['mean']['psnr']:.4f}" in line
    assert report["remover"]["name"] == "net.pth" and report["higher_is_better"] == {"psnr": True, "ssim": True}
    assert all(way["seconds"] > 0 for way in report["ways"][1:])


def test_the_sheet_has_a_row_a_picture(compared, data):
    out, _, _ = compared
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape == (2 * 256 + 4, 8 * 256 + 7 * 4, 3)
    truth = np.asarray(Image.open(data / "hq/coffee.png"))
    assert (sheet[260:356, 7 * 260 : 7 * 260 + 128] == truth).all(), "the true picture stands last"
    assert (sheet[0:96, 260:388] == np.asarray(Image.open(out / "real-esrgan/astronaut.png"))).all()


def test_the_page_loads_nothing_and_has_every_picture(compared):
    out, report, _ = compared
    page = (out / "index.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|https?://|fetch\(""", page)
    figures = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)]
    assert len(figures) == 2 and list(figures[0]) == [*WAYS, "truth"]
    shown = Image.open(io.BytesIO(base64.b64decode(figures[1]["plain"].split(",")[1])))
    made = np.asarray(Image.open(out / "plain/coffee.png")).astype(int)
    assert shown.size == (128, 96) and np.abs(np.asarray(shown).astype(int) - made).mean() < 6
    for way in report["ways"]:
        assert f"{way['mean']['psnr']:.4f}" in page


def test_a_second_run_keeps_what_is_there(compared, data, options):
    out, report, _ = compared
    before = {way: (out / way / "coffee.png").stat().st_mtime_ns for way in WAYS}
    again = json.loads(resflow("compare", data, "-o", out, *options, "--through", "--json").stdout)
    assert again["ways"] == report["ways"]
    after = {way: (out / way / "coffee.png").stat().st_mtime_ns for way in WAYS}
    assert all(before[way] == after[way] for way in WAYS[1:])


def test_without_true_pictures_and_without_real_esrgan(tmp_path, data, tiny):
    words = ["--model", tiny.model, "--candidates", "2", "--rewards", "lq-consistency", "--metrics", "niqe", "--scale", "8", "--pictures", "1", "--no-checks"]
    report = json.loads(resflow("compare", "--lq", data / "lq", "-o", tmp_path / "out", *words, "--json").stdout)
    assert [way["name"] for way in report["ways"]] == ["bicubic", "remover", "plain", "search"] and report["pictures"] == 1
    assert all(way["mean"]["niqe"] > 0 for way in report["ways"])
    assert "truth" not in (tmp_path / "out/index.html").read_text()


def test_a_folder_of_another_comparison_is_left_alone(compared, data, options):
    before = files_in(compared[0])
    told = resflow("compare", data, "-o", compared[0], *options, "--pictures", "1", code=USER_ERROR).stderr
    assert "coffee.png: a result of another comparison" in told and files_in(compared[0]) == before


def test_what_is_missing_is_told(tmp_path, data, tiny):
    assert "lq: no such folder" in resflow("compare", tmp_path, "-o", tmp_path / "out", "--model", tiny.model, code=USER_ERROR).stderr
    (tmp_path / "hq").mkdir()
    Image.open(data / "hq/coffee.png").save(tmp_path / "hq/coffee.png")
    told = resflow("compare", "--lq", data / "lq", "--hq", tmp_path / "hq", "-o", tmp_path / "out", "--model", tiny.model, code=USER_ERROR).stderr
    assert "astronaut.jpg: no true picture of that name" in told


def test_make_compare(tmp_path, data, tiny, net):
    script = ROOT / "tools" / "compare.sh"
    environment = os.environ | {"RESFLOW": RESFLOW, "DATA": str(data), "OUT": str(tmp_path / "out"), "DR": str(net)}
    environment["ARGS"] = f"--model {tiny.model} --pictures 1 --candidates 2 --rewards lq-consistency --metrics psnr --no-checks"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "real-esrgan" in done.stdout and (tmp_path / "out/index.html").is_file()
    done = subprocess.run([script], env=environment | {"DATA": ""}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "wanted DATA=folder with lq/" in done.stderr
