"""`resflow restore --search`: the same laws for every strategy, on a tiny model."""

import json
import pathlib

import numpy as np
import pytest
from program import CANCELLED, USER_ERROR, resflow, started

Image = pytest.importorskip("PIL.Image")
STRATEGIES = ("best-of-n", "greedy", "zero-order", "paths", "rollover", "smc", "resflow")
SMALL = ("--steps", "4", "--sigma-s", "0.3", "--candidates", "4", "--rounds", "2", "--lookahead", "1")
PLAIN_NFE = 4


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.fixture(scope="module")
def source(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "poor.png"
    Image.open(pictures / "chelsea.png").resize((48, 32), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="module")
def searched(tiny, source, tmp_path_factory):
    """searched(name, *options) -> the item of --json, the trace, the result's pixels. The same name again runs nothing."""
    folder, done = tmp_path_factory.mktemp("searched"), {}

    def run(name, *options):
        if name not in done:
            out, trace = folder / f"{name}.png", folder / f"{name}.json"
            said = resflow("restore", "--no-checks", "--model", tiny.model, source, "-o", out, "--json", "--trace", trace, *options).stdout
            done[name] = json.loads(said)["items"][0], json.loads(trace.read_text()), pixels(out)
        return done[name]

    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_trace_tells_what_was_spent_and_whom_was_chosen(searched, strategy):
    item, trace, _ = searched(strategy, "--search", strategy, *SMALL)
    search = trace["tiles"][0]["search"]
    assert item["options"]["search"] == strategy and item["search"] == {"plain_nfe": PLAIN_NFE, "ended": "done"}
    assert item["nfe"] == search["nfe"] > PLAIN_NFE and search["nfe"] == max(c["nfe"] for c in search["candidates"])
    winner = search["candidates"][search["winner"]]
    assert winner["chosen"] and winner["finished"] and search["path"][-1] == search["winner"]
    assert search["rewards"] == ["dr-consistency", "lq-consistency", "niqe"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_is_kept_by_every_tile(searched, strategy):
    item, trace, picture = searched(f"{strategy}-budget", "--search", strategy, *SMALL, "--budget", "11", "--tile", "128", "--overlap", "32")
    assert len(trace["tiles"]) == item["result"]["tiles"] == 2 and picture.shape == (128, 192, 3)
    assert all(PLAIN_NFE <= tile["search"]["nfe"] <= 11 for tile in trace["tiles"])


@pytest.mark.parametrize("strategy", ("best-of-n", "resflow"))
def test_one_candidate_is_the_plain_sampler(searched, tiny, source, tmp_path, strategy):
    plain = tmp_path / "plain.png"
    resflow("restore", "--no-checks", "--model", tiny.model, source, "-o", plain, "--steps", "4", "--sigma-s", "0.3")
    assert np.array_equal(searched(f"{strategy}-one", "--search", strategy, *SMALL, "--candidates", "1")[2], pixels(plain))


def test_the_same_seed_gives_the_same_search_and_another_another(searched):
    again = searched("again", "--search", "resflow", *SMALL)
    other = searched("other", "--search", "resflow", *SMALL, "--seed", "9")
    _, trace, picture = searched("resflow", "--search", "resflow", *SMALL)
    assert np.array_equal(again[2], picture) and not np.array_equal(other[2], picture)
    assert again[1]["tiles"][0]["search"]["candidates"] == trace["tiles"][0]["search"]["candidates"]


def test_the_winner_is_the_one_the_rewards_ask_for(searched, tiny, source, tmp_path):
    """Measured from the pictures, not from the trace: of four seeds' results the one nearest to the source when made small again."""
    _, trace, picture = searched("lq", "--search", "best-of-n", *SMALL, "--candidates", "6", "--rewards", "lq-consistency")
    candidates = trace["tiles"][0]["search"]["candidates"]
    assert len(candidates) == 6
    best = max(candidates, key=lambda c: c["scores"]["lq-consistency"])
    assert best["id"] == trace["tiles"][0]["search"]["winner"]

    def distance(image):
        small = np.asarray(Image.fromarray(image.astype(np.uint8)).resize((48, 32), Image.BICUBIC)).astype(float)
        return np.abs(small - pixels(source)).mean() / 255

    plain = searched("lq-one", "--search", "best-of-n", *SMALL, "--candidates", "1", "--rewards", "lq-consistency")[2]
    assert distance(picture) == pytest.approx(-best["scores"]["lq-consistency"], abs=1e-3)
    assert best["id"] == 0 or distance(picture) < distance(plain)


def test_resflow_puts_its_winner_together_from_whole_samples(searched, tmp_path):
    """By itself, without any rounds. Catches: regions of pictures that were not sampled to the end, or that cost calls; a mixture that cannot be looked at."""
    whole = ("--steps", "4", "--sigma-s", "0.6", "--candidates", "3", "--rewards", "dr-consistency,lq-consistency")
    item, trace, picture = searched("whole", "--search", "resflow", *whole)
    _, _, alone = searched("alone", "--search", "resflow", *whole, "--regions", "1")
    _, _, control = searched("control", "--search", "best-of-n", *whole)
    assert np.array_equal(alone, control) and not np.array_equal(picture, alone)
    search = trace["tiles"][0]["search"]
    winner, finals = search["candidates"][search["winner"]], [c for c in search["candidates"] if c["kind"] == "final"]
    assert item["nfe"] == 3 * PLAIN_NFE and winner["kind"] == "mixed" and search["path"] == [winner["parent"], winner["id"]]
    assert len(winner["parts"]) == 16 and 1 < len(set(winner["parts"])) and set(winner["parts"]) <= {c["id"] for c in finals}
    assert all(sum(winner["scores"].values()) > sum(c["scores"].values()) for c in finals)
    path = pathlib.Path(item["output"]).with_suffix(".json")
    resflow("search-report", path, "-o", tmp_path / "report.html")
    assert f"mixed of {', '.join(map(str, sorted(set(winner['parts']))))}" in (tmp_path / "report.html").read_text()
    resflow("search-report", path, "--pick", winner["parent"], "-o", tmp_path / "parent.png")
    assert not np.array_equal(pixels(tmp_path / "parent.png"), picture)


def test_time_ends_a_search_with_a_result(searched):
    item, trace, picture = searched("time", "--search", "best-of-n", *SMALL, "--candidates", "4096", "--candidate-batch", "2", "--time", "3s")
    assert item["seconds"] < 30 and picture.shape == (128, 192, 3)
    assert 0 < len(trace["tiles"][0]["search"]["candidates"]) < 4096


def test_ctrl_c_gives_the_best_so_far(tiny, source, tmp_path):
    out = tmp_path / "best.png"
    program = started("restore", "--no-checks", "--model", tiny.model, source, "-o", out, "--search", "best-of-n", "--candidates", "4096", "--candidate-batch",
                      "2", "--steps", "4", "--sigma-s", "0.3", "--trace", tmp_path / "run.json")  # fmt: skip
    for line in program.stderr:  # plain progress lines come every ten seconds, the first at once
        if "search" in line:
            break
    program.send_signal(2)
    program.communicate(timeout=120)
    assert program.returncode == CANCELLED
    assert pixels(out).shape == (128, 192, 3)
    assert json.loads((tmp_path / "run.json").read_text())["tiles"][0]["search"]["ended"] == "stopped"


def test_several_pictures_leave_a_folder_of_traces(tiny, source, pictures, tmp_path):
    resflow("restore", "--no-checks", "--model", tiny.model, source, pictures / "coffee.png", "-o", tmp_path / "out", "--width", "64", "--search", "best-of-n",
            "--candidates", "2", "--steps", "2", "--trace", tmp_path / "traces")  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "traces").iterdir()) == ["coffee.json", "coffee.pictures", "poor.json", "poor.pictures"]


@pytest.mark.parametrize(
    "options, told",
    [
        (("--search", "greedi"), "greedy"),
        (("--search", "greedy", "--rewards", "niqe,beauty"), "beauty"),
        (("--search", "greedy", "--rewards", "niqe", "--reward-weights", "1,2"), "weight"),
        (("--search", "greedy", "--rho", "1.5"), "[0, 1]"),
        (("--search", "greedy", "--time", "soon"), "--time"),
        (("--trace", "run.json"), "--search"),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_work(tiny, source, tmp_path, options, told):
    said = resflow("restore", "--no-checks", "--model", tiny.model, source, "-o", tmp_path / "out.png", *options, code=USER_ERROR).stderr
    assert told in said
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def tiled(tiny, source, tmp_path_factory):
    """A search in two tiles, with its trace and pictures, of a source with alpha and a colour fix over the whole picture."""
    folder = tmp_path_factory.mktemp("tiled")
    poor = Image.open(source).convert("RGBA")
    poor.putalpha(Image.linear_gradient("L").resize(poor.size))
    poor.save(folder / "poor.png")
    resflow("restore", "--no-checks", "--model", tiny.model, folder / "poor.png", "-o", folder / "out.png", "--search", "greedy", *SMALL, "--tile", "128",
            "--overlap", "32", "--color-fix", "adain", "--trace", folder / "run.json")  # fmt: skip
    return folder


def finished(folder):
    """Of each tile: the winner, and the other finished candidates."""
    tiles = [tile["search"] for tile in json.loads((folder / "run.json").read_text())["tiles"]]
    return [(t["winner"], [c["id"] for c in t["candidates"] if c["finished"] and c["id"] != t["winner"]]) for t in tiles]


def test_picking_the_winners_gives_the_result_again_and_another_candidate_another(tiled, tmp_path):
    tiles = finished(tiled)
    assert len(tiles) == 2 and all(others for _, others in tiles)
    again, other = tmp_path / "again.png", tmp_path / "other.png"
    resflow("search-report", tiled / "run.json", "--pick", f"0:{tiles[0][0]},1:{tiles[1][0]}", "-o", again)
    resflow("search-report", tiled / "run.json", "--pick", f"1:{tiles[1][1][0]}", "-o", other)
    result = pixels(tiled / "out.png")
    assert result.shape == (128, 192, 4)
    assert np.abs(pixels(again) - result).max() <= 1  # tiles are kept in 16 bits
    changed = np.abs(pixels(other) - result)[..., :3].max(axis=(0, 2))  # by column: the second tile begins at 64
    assert changed[130:].max() > 1
    assert np.array_equal(pixels(other)[..., 3], result[..., 3])
    assert json.loads(Image.open(other).text["resflow"])["picked"] == {"0": tiles[0][0], "1": tiles[1][1][0]}


def test_the_report_shows_every_candidate_and_needs_no_other_file(tiled, tmp_path):
    resflow("search-report", tiled / "run.json", "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    tiles = [tile["search"] for tile in json.loads((tiled / "run.json").read_text())["tiles"]]
    candidates = sum(len(tile["candidates"]) for tile in tiles)
    assert page.count("data:image/jpeg;base64,") == page.count('<rect class="frame') == candidates
    assert page.count("<polyline") == 2 * len(tiles) == 2 * page.count("niqe: could judge no candidate")  # a chart a reward; niqe asks for 192 px
    assert "src=" not in page and "http" not in page
    assert page.count("--pick") - 1 == sum(len(others) for _, others in finished(tiled))


def test_small_pictures_alone_do_for_the_report_and_not_for_a_pick(tiny, source, tmp_path):
    resflow("restore", "--no-checks", "--model", tiny.model, source, "-o", tmp_path / "out.png", "--search", "best-of-n", *SMALL, "--trace", tmp_path / "run.json",
            "--trace-pictures", "small")  # fmt: skip
    assert {path.suffix for path in (tmp_path / "run.pictures").iterdir()} == {".jpg"}
    said = resflow("search-report", tmp_path / "run.json", "--pick", "0", "-o", tmp_path / "p.png", code=USER_ERROR).stderr
    assert "--trace-pictures all" in said and not (tmp_path / "p.png").exists()


@pytest.mark.parametrize("pick, told", [("0:0", "was dropped"), ("7", "which tile"), ("5:1", "no such tile"), ("0:x", "not a number")])
def test_what_cannot_be_picked_is_told(tiled, tmp_path, pick, told):
    assert told in resflow("search-report", tiled / "run.json", "--pick", pick, "-o", tmp_path / "p.png", code=USER_ERROR).stderr
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_no_trace(tiled, tmp_path):
    (tmp_path / "other.json").write_text('{"format": "other"}')
    assert "is no trace" in resflow("search-report", tmp_path / "other.json", "-o", tmp_path / "r.html", code=USER_ERROR).stderr
    assert "html" in resflow("search-report", tiled / "run.json", "-o", tmp_path / "r.png", code=USER_ERROR).stderr
