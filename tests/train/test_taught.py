"""Training towards a teacher's pictures: `resflow pack --degraded --taught`, `taught_share`."""

import json

import numpy
import pytest
from PIL import Image
from program import USER_ERROR, resflow

SIZE = (98, 131)  # not multiples of the scale: `resflow degrade` leaves the rest out, from both sides alike


def losses(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def folder_of(pictures, folder):
    folder.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def triples(pictures, tmp_path_factory):
    """-> {name: (clean, degraded, taught)} of two pictures, and their folders."""
    home = tmp_path_factory.mktemp("taught")
    clean = {}
    for name in ("coffee", "astronaut"):
        pixels = numpy.array(Image.open(pictures / f"{name}.png").convert("RGB").resize(SIZE))
        clean[name] = pixels
    folders = {"clean": folder_of(clean, home / "clean"), "degraded": home / "degraded"}
    resflow("degrade", folders["clean"], "-o", folders["degraded"], "--scale", "2", "--format", "png")
    small = {name: Image.open(folders["degraded"] / f"{name}.png") for name in clean}
    taught = {name: numpy.array(image.resize((image.width * 2, image.height * 2), Image.NEAREST)) for name, image in small.items()}
    folders["taught"] = folder_of(taught, home / "taught")
    return folders


def pack(folders, output, code=0):
    return resflow("pack", folders["clean"], "-o", output, "--degraded", folders["degraded"], "--taught", folders["taught"], code=code)


def changed(folders, which, home):
    """The same folders, with every picture of one of them inverted."""
    pictures = {path.stem: 255 - numpy.array(Image.open(path)) for path in folders[which].iterdir()}
    return {**folders, which: folder_of(pictures, home / f"other-{which}")}


def test_a_shard_holds_the_three_pictures_cut_alike(triples, tmp_path):
    load = pytest.importorskip("safetensors.numpy").load_file
    pack(triples, tmp_path / "shard.safetensors")
    tensors = load(tmp_path / "shard.safetensors")
    assert set(tensors) == {name + kind for name in ("coffee", "astronaut") for kind in ("", "/degraded", "/taught")}
    assert tensors["coffee"].shape == tensors["coffee/taught"].shape == (3, 130, 98) and tensors["coffee/degraded"].shape == (3, 65, 49)
    whole = numpy.array(Image.open(triples["clean"] / "coffee.png")).transpose(2, 0, 1)
    assert (tensors["coffee"] == whole[:, :130]).all()  # (131 - 130) / 2 rows less at the top: none
    for kind in ("degraded", "taught"):
        assert (tensors[f"coffee/{kind}"] == numpy.array(Image.open(triples[kind] / "coffee.png")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("share, seen, unseen", [(1, "taught", "clean"), (0, "clean", "taught")])
def test_the_share_says_which_picture_is_learnt(tiny, triples, tmp_path, share, seen, unseen):
    """Catches: a teacher's picture that is not used, is used where it has no share, or a degraded picture made anew."""

    def run(name, folders):
        pack(folders, tmp_path / f"{name}.safetensors")
        resflow("train", tiny.config, "--data", tmp_path / f"{name}.safetensors", "--output", tmp_path / name, "--crop", "64", "--taught-share", str(share))
        return losses(tmp_path / name)

    plain = run("plain", triples)
    assert run("unseen", changed(triples, unseen, tmp_path)) == plain
    for which in (seen, "degraded"):
        other = run(which, changed(triples, which, tmp_path))
        assert len(other) == len(plain) and all(a != b for a, b in zip(other, plain, strict=True)), which


def test_company_that_is_missing_or_does_not_fit(tiny, triples, tmp_path):
    done = resflow("pack", triples["clean"], "-o", tmp_path / "x.safetensors", "--taught", triples["taught"], code=USER_ERROR)
    assert "belong together" in done.stderr
    fewer = {**triples, "taught": folder_of({"coffee": numpy.zeros((130, 98, 3), numpy.uint8)}, tmp_path / "fewer")}
    assert "has no picture 'astronaut'" in pack(fewer, tmp_path / "x.safetensors", code=1).stderr
    small = {name: numpy.zeros((100, 98, 3), numpy.uint8) for name in ("coffee", "astronaut")}
    done = pack({**triples, "taught": folder_of(small, tmp_path / "small")}, tmp_path / "y.safetensors", code=USER_ERROR)
    assert "do not fit it" in done.stderr and not (tmp_path / "y.safetensors").exists()

    save = pytest.importorskip("safetensors.numpy").save_file
    picture = numpy.zeros((3, 64, 64), numpy.uint8)
    for tensors, said in (
        ({"a": picture, "a/degraded": picture[:, :32, :32]}, "only one of its degraded and its taught"),
        ({"a": picture, "a/degraded": picture[:, :32, :30], "a/taught": picture}, "do not fit"),
        ({"a": picture, "a/degraded": picture[:, :1, :1], "a/taught": picture}, "8 at most"),
    ):
        save({name: numpy.ascontiguousarray(tensor) for name, tensor in tensors.items()}, tmp_path / "bad.safetensors")
        done = resflow("train", tiny.config, "--data", tmp_path / "bad.safetensors", "--output", tmp_path / "run", code=USER_ERROR)
        assert said in done.stderr, done.stderr
