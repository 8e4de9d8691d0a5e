"""`resflow restore` on many pictures: structure, journal, log, crash, watching."""

import json
import os
import random
import shutil
import signal
import sqlite3
import time

import numpy as np
import pytest
from program import GOOD, JOURNAL, SOME_FAILED, USER_ERROR, files_in, resflow, started

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(4)


def picture(path, side=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((2 * side, 2 * side), Image.BICUBIC).save(path)


@pytest.fixture
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, "--scale", "1", *arguments, **options)


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "one/a.png", "one/deep/b.jpg", "two/c.png", ".hidden/d.png"):
        picture(tmp_path / "in" / name)
    return tmp_path / "in"


def report(done):
    return json.loads(done.stdout)


def rows(folder):
    with sqlite3.connect(f"file:{folder / JOURNAL}?mode=ro", uri=True) as journal:
        return {output: (state, attempts) for output, state, attempts in journal.execute("SELECT output, state, attempts FROM results")}


def test_subfolders_only_when_asked_for_and_their_structure_stays(restore, tree, tmp_path):
    restore(tree, "-o", tmp_path / "flat")
    assert files_in(tmp_path / "flat") == ["a.png"]
    restore(tree, "-o", tmp_path / "out", "--recursive", "--format", "png")
    assert files_in(tmp_path / "out") == ["a.png", "one/a.png", "one/deep/b.png", "two/c.png"]
    (tree / "a.png").unlink()
    assert "--recursive" in restore(tree, "-o", tmp_path / "none", code=USER_ERROR).stderr


def test_results_within_the_sources_are_no_sources(restore, tree):
    for _ in range(2):
        restore(tree, "-o", tree / "out", "--recursive", "--no-journal")
    assert files_in(tree / "out") == ["a.png", "one/a.png", "one/deep/b.jpg", "two/c.png"]


def test_a_second_run_does_no_work_and_changed_sources_or_settings_are_done_again(restore, tree, tmp_path):
    out = tmp_path / "out"
    arguments = [tree, "-o", out, "--recursive", "--json"]
    first = report(restore(*arguments))
    assert first["skipped"] == 0 and len(first["items"]) == 4
    stamps = {name: (out / name).stat().st_mtime_ns for name in files_in(out)}
    again = restore(*arguments)
    assert report(again)["skipped"] == 4 and "--no-journal" in again.stderr
    assert {item["skipped"] for item in report(again)["items"]} == {"done before"}
    assert [item["output"] for item in report(again)["items"]] == [item["output"] for item in first["items"]]
    assert {name: (out / name).stat().st_mtime_ns for name in files_in(out)} == stamps

    picture(tree / "two" / "c.png")  # changed
    (out / "a.png").unlink()  # lost
    third = report(restore(*arguments))
    assert {item["output"].removeprefix(f"{out}/") for item in third["items"] if "skipped" not in item} == {"two/c.png", "a.png"}
    assert report(restore(*arguments, "--seed", "9"))["skipped"] == 0
    assert report(restore(*arguments, "--no-journal"))["skipped"] == 0
    assert {state for state, _ in rows(out).values()} == {"done"}


def test_the_folder_of_results_may_be_moved(restore, tree, tmp_path):
    restore(tree, "-o", tmp_path / "out", "-r")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert report(restore(tree, "-o", tmp_path / "elsewhere", "-r", "--json"))["skipped"] == 4


def test_skip_existing_keeps_what_another_program_made(restore, tree, tmp_path):
    out = tmp_path / "out"
    (out / "one").mkdir(parents=True)
    (out / "one" / "a.png").write_bytes(b"mine")
    done = report(restore(tree, "-o", out, "-r", "--skip-existing", "--json"))
    assert done["skipped"] == 1 and (out / "one" / "a.png").read_bytes() == b"mine" and len(files_in(out)) == 4


def test_a_failure_is_noted_and_tried_again(restore, tree, tmp_path):
    out, log = tmp_path / "out", tmp_path / "new" / "log.jsonl"
    whole = (tree / "two" / "c.png").read_bytes()
    (tree / "two" / "c.png").write_bytes(whole[: len(whole) // 3])
    restore(tree, "-o", out, "-r", "--log", log, code=SOME_FAILED)
    assert rows(out)["two/c.png"] == ("failed", 1)
    (tree / "two" / "c.png").write_bytes(whole)
    assert report(restore(tree, "-o", out, "-r", "--log", log, "--json"))["skipped"] == 3
    assert rows(out)["two/c.png"] == ("done", 2)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 5 and sum("error" in line for line in lines) == 1, "a line a picture, and one for the failure"
    assert all("finished" in line for line in lines)


def test_two_runs_into_one_folder_are_kept_apart(restore, tiny, tree, tmp_path):
    with sqlite3.connect(tmp_path / JOURNAL) as journal:
        journal.execute("CREATE TABLE x(y)")
    held = sqlite3.connect(tmp_path / JOURNAL)
    held.execute("BEGIN EXCLUSIVE")
    done = restore(tree, "-o", tmp_path, code=USER_ERROR)
    assert "another run works on this folder" in done.stderr and files_in(tmp_path) == [f"in/{name}" for name in files_in(tree)]
    held.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(600)], ids=["text", "torn"])
def test_a_damaged_journal_is_told(restore, tree, tmp_path, content):
    (tmp_path / JOURNAL).write_bytes(content)
    done = restore(tree, "-o", tmp_path, code=USER_ERROR)
    assert JOURNAL in done.stderr and "journal" in done.stderr and (tmp_path / JOURNAL).read_bytes() == content
    restore(tree, "-o", tmp_path, "--no-journal")


def test_a_log_that_is_something_else_is_left_alone(restore, tree, tmp_path):
    (tmp_path / "log").write_text("dear diary\n")
    assert "not a log of resflow" in restore(tree, "-o", tmp_path / "out", "--log", tmp_path / "log", code=USER_ERROR).stderr
    assert (tmp_path / "log").read_text() == "dear diary\n"


def crash_and_go_on(tiny, tmp_path, count, kills, between):
    """Restores `count` pictures, killed `kills` times at random."""
    source, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log.jsonl"
    for i in range(count):
        picture(source / f"{i:03}.png", 8)
    arguments = ["restore", "--model", tiny.model, "--scale", "1", "--steps", "1", source, "-o", out, "--log", log, "--threads", "1"]
    waits = random.Random(7)
    killed = 0
    while killed < kills:
        run = started(*arguments)
        before = len(files_in(out))
        until = time.monotonic() + 60
        while len(files_in(out)) <= before and time.monotonic() < until and run.poll() is None:
            time.sleep(0.01)
        time.sleep(waits.uniform(0, between))
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.communicate()
        killed += 1
    done = json.loads(resflow(*arguments, "--json").stdout)
    return source, out, log, killed, done


def check_each_once(source, out, log, done, kills):
    names = files_in(source)
    assert files_in(out) == names, "every picture, and nothing half-written"
    for name in names:
        Image.open(out / name).load()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(os.path.basename(line["output"]) for line in lines) == names, "a line each"
    table = rows(out)
    assert sorted(table) == names and {state for state, _ in table.values()} == {"done"}
    # A kill costs at most the picture at work and the one read ahead.
    assert sum(attempts - 1 for _, attempts in table.values()) <= 2 * kills
    assert len(done["items"]) == len(names) and done["failed"] == 0
    with sqlite3.connect(out / JOURNAL) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_kill_9_and_on(tiny, tmp_path):
    source, out, log, killed, done = crash_and_go_on(tiny, tmp_path, 40, 2, 0.1)
    assert killed == 2 and done["skipped"] > 0
    check_each_once(source, out, log, done, killed)


@pytest.mark.slow
def test_200_pictures_and_three_kills(tiny, tmp_path):
    source, out, log, killed, done = crash_and_go_on(tiny, tmp_path, 200, 3, 0.6)
    assert killed == 3
    check_each_once(source, out, log, done, killed)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_watched_folder(tiny, tmp_path):
    inbox, out = tmp_path / "in", tmp_path / "in" / "out"
    picture(inbox / "first.png")
    run = started("restore", "--model", tiny.model, "--scale", "1", inbox, "-o", out, "--watch", "-r")
    try:
        wait_for(lambda: files_in(out) == ["first.png"])
        picture(inbox / "sub" / "second.png")
        whole = (inbox / "first.png").read_bytes()
        (inbox / "slow.png").write_bytes(whole[:40])  # still being copied
        wait_for(lambda: len(files_in(out)) == 2)
        with open(inbox / "slow.png", "ab") as rest:
            rest.write(whole[40:])
        picture(inbox / "first.jpg")  # another result
        Image.open(inbox / "first.png").save(inbox / "first.bmp")  # the same result as first.png's
        wait_for(lambda: len(files_in(out)) == 4)
        time.sleep(2.5)
    finally:
        run.send_signal(signal.SIGINT)
        told = run.communicate(timeout=30)[1]
    assert run.returncode == GOOD, told
    assert files_in(out) == ["first.jpg", "first.png", "slow.png", "sub/second.png"]
    assert told.count("two pictures would be written there") >= 1
    assert (out / "slow.png").stat().st_size > 100


def test_what_cannot_be_watched(restore, tree, tmp_path):
    assert "wanted folders" in restore(tree / "a.png", "-o", tmp_path / "out", "--watch", code=USER_ERROR).stderr
    assert "watched folder" in restore(tree, "-o", tree, "--watch", code=USER_ERROR).stderr
    assert not (tmp_path / "out").exists()
