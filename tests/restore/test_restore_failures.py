"""`resflow restore` where something is wrong: what is said, the exit code, and nothing half-written."""

import json
import os
import resource
import signal
import struct
import subprocess
import time
import zlib

import numpy as np
import pytest
from program import CANCELLED, SOME_FAILED, USER_ERROR, files_in, resflow, started

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="session")
def good(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("good") / "good.png"
    Image.open(pictures / "coffee.png").resize((48, 36), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="session")
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, "--strength", "0", *arguments, **options)


def bomb(path, side=60000):
    """A PNG of a few bytes whose header claims side x side pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    return path


def test_bad_files_do_not_stop_the_rest(restore, good, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    bomb(folder / "bomb.png")
    (folder / "cut.png").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear reader")
    Image.open(good).convert("CMYK").save(folder / "print.jpg")
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "green")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.open(good).save(folder / "zebra.png")
    done = restore(folder, folder / "nowhere.png", "-o", out, "--format", "png", "--json", code=SOME_FAILED)
    assert files_in(out) == ["moving.png", "print.png", "zebra.png"]
    report = json.loads(done.stdout)
    errors = {os.path.basename(item["input"]): item["error"] for item in report["items"] if "error" in item}
    assert report["failed"] == len(errors) == 5
    for name, said in {"bomb.png": "too large", "cut.png": "cut short", "empty.png": "empty", "letter.jpg": "not a picture", "nowhere.png": "no such file"}.items():
        assert said in errors[name], errors[name]
    ends = done.stderr.strip().splitlines()[-6:]
    assert "5 of 8 pictures failed" in ends[0]
    assert [os.path.basename(line.strip()) for line in ends[1:]] == ["bomb.png", "cut.png", "empty.png", "letter.jpg", "nowhere.png"]
    assert "only the first" in done.stderr  # of the moving picture's frames


@pytest.mark.parametrize("kind, said", [("missing", "no such file"), ("cut", "cut short"), ("bomb", "too large"), ("limit", "too large")])
def test_the_one_picture_that_is_bad_is_a_user_error(restore, good, tmp_path, kind, said):
    path = tmp_path / "picture.png"
    if kind == "cut":
        path.write_bytes(good.read_bytes()[:-2000])
    elif kind == "bomb":
        bomb(path)
    elif kind == "limit":
        Image.open(good).save(path)
    done = restore(path, "-o", tmp_path / "out.png", *(["--max-pixels", "1000"] if kind == "limit" else []), code=USER_ERROR)
    assert said in done.stderr and str(path) in done.stderr
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--sampler", "eulr"], "Did you mean 'euler'"),
        (["--color-fix", "wavelets"], "Did you mean 'wavelet'"),
        (["--sede", "1"], "Did you mean '--seed'"),
        (["--scale", "large"], "--scale"),
        (["--scale", "17"], "[0, 16], got 17"),
        (["--strength", "nan"], "strength is out of range"),
        (["--scale", "2", "--width", "100"], "Give one or the other"),
        (["--tile", "128", "--overlap", "128"], "--tile is too small for --overlap: wanted a tile of more than 143 px, got 128"),
        (["--overlap", "600"], "--tile is too small for --overlap: wanted a tile of more than 615 px, got 512"),  # the model's own tile
        (["--device", "cuda:99"], "CUDA device"),
        (["--dtype", "f64"], "wanted one of auto, f32, bf16, f16"),
        (["--format", "bmp"], "wanted one of auto, png"),
        (["--model", "no/such/model"], "no such model"),
        (["--compare", "sheet"], "cannot tell the format"),
    ],
    ids=str,
)
def test_wrong_options_are_told_before_any_work(restore, good, tmp_path, arguments, said):
    done = restore(good, "-o", tmp_path / "out" / "x.png", *arguments, code=USER_ERROR)
    assert said in done.stderr, done.stderr
    assert files_in(tmp_path) == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name, said", [("out.gif", "cannot be written"), ("out.png", "--format and the file's extension disagree")])
def test_formats_that_cannot_be(restore, good, tmp_path, name, said):
    assert said in restore(good, "-o", tmp_path / name, "--format", "jpg", code=USER_ERROR).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_result_never_replaces_a_source(restore, good, tmp_path):
    (tmp_path / "a.png").write_bytes(good.read_bytes())
    for output in (tmp_path / "a.png", tmp_path, f"{tmp_path}/../{tmp_path.name}/a.png"):
        assert "would replace a source" in restore(tmp_path / "a.png", "-o", output, code=USER_ERROR).stderr
    assert "would replace" in restore(tmp_path / "a.png", "-o", tmp_path / "b.png", "--compare", tmp_path / "a.png", code=USER_ERROR).stderr
    assert (tmp_path / "a.png").read_bytes() == good.read_bytes() and files_in(tmp_path) == ["a.png"]


def test_two_sources_of_one_stem_are_refused(restore, good, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.open(good).save(tmp_path / "in" / name)
    done = restore(tmp_path / "in", "-o", tmp_path / "out", "--format", "png", code=USER_ERROR)
    assert "a.jpg" in done.stderr and "a.png" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("output, said", [("one.png", "wanted a folder"), ("there.txt", "is a file")])
def test_several_pictures_need_a_folder(restore, good, pictures, tmp_path, output, said):
    (tmp_path / "there.txt").write_text("here already")
    assert said in restore(good, pictures, "-o", tmp_path / output, code=USER_ERROR).stderr
    assert files_in(tmp_path) == ["there.txt"]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "part", "flipped header"])
def test_damaged_weights(tiny, good, tmp_path, damage):
    whole, path = tiny.model.read_bytes(), tmp_path / "weights.safetensors"
    contents = {"empty": b"", "cut": whole[:-1000], "text": b"<html>Not found</html>", "flipped header": whole[:40] + b"\xff" + whole[41:]}
    if damage == "part":
        path = tiny.dr / "weights.safetensors"  # the remover without the flow
    elif damage != "missing":
        path.write_bytes(contents[damage])
    done = resflow("restore", good, "-o", tmp_path / "out" / "x.png", "--model", path, code=USER_ERROR)
    assert str(path) in done.stderr and "bug" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["file/out.png", "file/deep/er/out.png", "/proc/nothing/out.png"])
def test_folders_that_cannot_be_made(restore, good, tmp_path, output):
    (tmp_path / "file").write_text("in the way")
    done = restore(good, "-o", tmp_path / output, code=USER_ERROR)
    assert "the folder cannot be" in done.stderr and "bug" not in done.stderr
    assert files_in(tmp_path) == ["file"]


@pytest.fixture
def mounted(tmp_path):
    """mounted(options) -> a folder with a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here (needs root): {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)


def test_a_read_only_disk(restore, good, mounted):
    folder = mounted("ro")
    for output in (folder, folder / "out.png", folder / "new" / "out.png"):
        done = restore(good, "-o", output, code=USER_ERROR)
        assert "Read-only file system" in done.stderr and str(folder) in done.stderr


def test_a_full_disk(restore, good, mounted, tmp_path):
    folder = mounted("size=64k")
    done = restore(good, "-o", folder / "out.png", "--scale", "16", code=USER_ERROR)
    assert "cannot be written" in done.stderr and "free space" in done.stderr, done.stderr
    assert files_in(folder) == []
    (folder / "out.png").write_bytes(b"an older result")
    restore(good, "-o", folder / "out.png", "--scale", "16", code=USER_ERROR)
    assert (folder / "out.png").read_bytes() == b"an older result" and files_in(folder) == ["out.png"]


def limit_file_size():
    """Every file ends at 20 kB, with an error in place of a signal: what a full disk does, without one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tif"])
def test_a_write_that_fails_halfway_leaves_nothing(restore, good, tmp_path, format):
    done = restore(good, "-o", tmp_path / f"out.{format}", "--scale", "16", code=USER_ERROR, preexec_fn=limit_file_size)
    assert "cannot be written" in done.stderr and f"out.{format}" in done.stderr, done.stderr
    assert files_in(tmp_path) == []


def test_a_batch_goes_on_after_a_result_that_did_not_fit(restore, good, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "in" / "plain.png")
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "noise.png")
    done = restore(tmp_path / "in", "-o", tmp_path / "out", "--scale", "4", "--no-journal", code=SOME_FAILED, preexec_fn=limit_file_size)
    assert "1 of 2 pictures failed" in done.stderr and files_in(tmp_path / "out") == ["plain.png"]


def test_ctrl_c_keeps_what_is_done_and_leaves_nothing_half_done(tiny, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    photo = Image.open(pictures / "coffee.png").resize((96, 72))
    for i in range(60):
        photo.save(tmp_path / "in" / f"{i:02}.png")
    process = started("restore", tmp_path / "in", "-o", tmp_path / "out", "--model", tiny.model, "--scale", "4", "--steps", "4")
    until = time.monotonic() + 120
    while time.monotonic() < until and len(files_in(tmp_path / "out")) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CANCELLED and "cancelled" in said
    made = files_in(tmp_path / "out")
    assert 2 <= len(made) < 60
    for name in made:
        assert name.endswith(".png") and not name.startswith(".")
        assert np.asarray(Image.open(tmp_path / "out" / name)).shape == (288, 384, 3)
