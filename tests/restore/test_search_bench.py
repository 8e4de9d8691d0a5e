"""`resflow search-bench`: the gain of searches over their cost, on a tiny model."""

import json
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from program import USER_ERROR, resflow

Image = pytest.importorskip("PIL.Image")
NAMES = ("chelsea", "coffee")
SMALL = ("--steps", "3", "--sigma-s", "0.3", "--rounds", "1", "--lookahead", "1", "--scale", "2")
BASELINE = 4


@pytest.fixture(scope="module")
def folders(pictures, tmp_path_factory):
    """-> poor, true: small pictures and what they were made of."""
    poor, true = tmp_path_factory.mktemp("poor"), tmp_path_factory.mktemp("true")
    for name in NAMES:
        picture = Image.open(pictures / f"{name}.png")
        picture.save(true / f"{name}.png")
        picture.resize((64, 48), Image.LANCZOS).save(poor / f"{name}.jpg", quality=70)
    return poor, true


@pytest.fixture(scope="module")
def bench(tiny, folders, tmp_path_factory):
    """-> report, folder with bench.svg and the pictures."""
    out = tmp_path_factory.mktemp("bench")
    poor, true = folders
    done = resflow("search-bench", "--model", tiny.model, poor, "--references", true, *SMALL, "--strategies", "best-of-n,resflow", "--sizes", "2,4", "--baseline",
                   BASELINE, "--rewards", "lq-consistency", "-o", out / "bench.json", "--plot", out / "bench.svg", "--pictures", out / "pictures")
    assert "best-of-n" in done.stdout and "psnr" in done.stdout
    return json.loads((out / "bench.json").read_text()), out


def run_of(report, strategy, candidates):
    (run,) = [run for run in report["runs"] if (run["strategy"], run["candidates"]) == (strategy, candidates)]
    return run


def test_costs_are_told_in_times_of_plain_sampling(bench):
    report, _ = bench
    assert [(run["strategy"], run["candidates"]) for run in report["runs"]] == [("none", 1), ("best-of-n", 2), ("best-of-n", 4), ("resflow", 2), ("resflow", 4)]
    assert run_of(report, "none", 1)["times"] == 1 and run_of(report, "best-of-n", 2)["times"] == 2 and run_of(report, "best-of-n", 4)["times"] == 4
    assert run_of(report, "resflow", 4)["times"] > 1 and all(run["seconds"] > 0 for run in report["runs"])
    assert report["pictures"] == 2 and report["restore"]["steps"] == 3


def test_the_gain_is_the_winner_among_the_plain_samples_in_their_deviations(bench, tiny, folders, tmp_path):
    """From the traces of `restore`: best of 4 of the very samples that make the scale."""
    report, _ = bench
    gains = []
    for name in NAMES:
        trace = tmp_path / "run.json"
        resflow("restore", "--model", tiny.model, folders[0] / f"{name}.jpg", "-o", tmp_path / "x.png", *SMALL, "--search", "best-of-n", "--candidates", BASELINE,
                "--rewards", "lq-consistency", "--trace", trace, "--trace-pictures", "none")
        (tile,) = json.loads(trace.read_text())["tiles"]
        scores = np.array([c["scores"]["lq-consistency"] for c in tile["search"]["candidates"]])
        assert len(scores) == BASELINE
        gains.append((scores.max() - scores.mean()) / scores.std(ddof=1))
    found = run_of(report, "best-of-n", BASELINE)
    assert found["gain"] == pytest.approx(np.mean(gains), rel=1e-6) and found["gains"]["lq-consistency"] == found["gain"]
    assert run_of(report, "none", 1)["gain"] == 0


def test_the_control_lies_between_the_sizes_of_best_of_n(bench):
    report, _ = bench
    two, four = run_of(report, "best-of-n", 2), run_of(report, "best-of-n", 4)
    assert two["best_of_n"] == pytest.approx(two["gain"]) and four["best_of_n"] == pytest.approx(four["gain"])
    for candidates in (2, 4):
        run = run_of(report, "resflow", candidates)
        if run["times"] > 4:
            assert run["best_of_n"] is None
        else:
            assert min(0, two["gain"]) <= run["best_of_n"] <= max(two["gain"], four["gain"])


def test_measures_are_those_of_eval_on_the_kept_pictures(bench, folders):
    report, out = bench
    assert {folder.name for folder in (out / "pictures").iterdir()} == {"none", "best-of-n-2", "best-of-n-4", "resflow-2", "resflow-4"}
    for folder, key in (("none", ("none", 1)), ("resflow-4", ("resflow", 4))):
        measured = json.loads(resflow("eval", "--pred", out / "pictures" / folder, "--ref", folders[1], "--metrics", "psnr,ssim", "--json").stdout)
        for name in ("psnr", "ssim"):  # the files are 8 bits deep
            assert run_of(report, *key)["measures"][name] == pytest.approx(measured["mean"][name], rel=2e-3)


def test_the_plot_draws_each_strategy(bench):
    _, out = bench
    root = xml.parse(out / "bench.svg").getroot()
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    texts = [text.text for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert len(lines) == 2 and "best-of-n" in texts and "resflow" in texts
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert len(points) == 3 and [x for x, _ in points] == sorted(x for x, _ in points)


@pytest.mark.parametrize(
    "extra, said",
    [
        (("--sizes", "2,2.5"), "whole numbers of 1 to 4096"),
        (("--strategies", "best-of-m"), "best-of-n"),
        (("--strategies", "none"), "is always there"),
        (("--feature-network", "x.safetensors"), "Add --references"),
        (("--baseline", "1"), "baseline"),
        (("--rewards", "niqqe"), "niqe"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_measured_is_told_first(tiny, folders, extra, said):
    assert said in resflow("search-bench", "--model", tiny.model, folders[0], *SMALL, *extra, code=USER_ERROR).stderr


def test_a_reference_that_is_missing_or_of_another_size(tiny, folders, tmp_path):
    poor, true = folders
    Image.open(true / "chelsea.png").save(tmp_path / "chelsea.png")
    run = ("search-bench", "--model", tiny.model, poor, *SMALL, "--strategies", "best-of-n", "--sizes", "2", "--baseline", "2", "--references", tmp_path)
    assert "coffee.jpg] no reference" in resflow(*run, code=USER_ERROR).stderr
    Image.open(true / "coffee.png").resize((64, 64)).save(tmp_path / "coffee.png")
    assert "coffee.png] another size than the result: wanted 128x96, got 64x64" in resflow(*run, code=USER_ERROR).stderr
