"""Pictures to train on from tar shards and lists: `resflow pack`, `pack-latents` and `train` take them as they take folders."""

import io
import json
import os
import tarfile

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file

from program import SOME_FAILED, USER_ERROR, resflow  # noqa: E402


def encoded(picture, kind="PNG"):
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def write_tar(path, members, mode="w"):
    """members: name -> bytes or text."""
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def planes(picture):
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)


@pytest.fixture
def photos(pictures):
    return {path.stem: Image.open(path).convert("RGB") for path in sorted(pictures.glob("*.png"))}


@pytest.mark.parametrize("ending, mode", [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
def test_a_tar_shard_is_packed_as_its_pictures_are(ending, mode, photos, tmp_path):
    members = {"part/astronaut.txt": "a woman"} | {f"part/{name}.png": encoded(photo) for name, photo in photos.items()} | {"part/._coffee.png": b"junk"}
    write_tar(tmp_path / f"shard{ending}", members, mode)
    resflow("pack", tmp_path / f"shard{ending}", "-o", tmp_path / "out.safetensors")
    packed = load_file(tmp_path / "out.safetensors")
    assert set(packed) == {f"part/{name}" for name in photos}
    assert all(torch.equal(packed[f"part/{name}"], planes(photo)) for name, photo in photos.items())


def test_a_list_is_packed_with_what_else_is_named(photos, pictures, tmp_path):
    (tmp_path / "there").mkdir()
    photos["coffee"].save(tmp_path / "there" / "coffee.png")
    lines = [{"image": "there/coffee.png", "caption": "a cup"}, {"file_name": str(pictures / "chelsea.png"), "text": "a cat"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    write_tar(tmp_path / "shard.tar", {"0001.jpg": encoded(photos["astronaut"], "JPEG")})
    resflow("pack", tmp_path / "list.jsonl", tmp_path / "shard.tar", "-o", tmp_path / "out.safetensors")
    packed = load_file(tmp_path / "out.safetensors")
    assert set(packed) == {"coffee", "chelsea", "0001"}
    assert torch.equal(packed["coffee"], planes(photos["coffee"]))
    for choice, names in (("--only", {"0001"}), ("--except", {"coffee", "chelsea"})):
        (tmp_path / "names.txt").write_text("0001.jpg\n")
        resflow("pack", tmp_path / "list.jsonl", tmp_path / "shard.tar", "-o", tmp_path / "some.safetensors", choice, tmp_path / "names.txt")
        assert set(load_file(tmp_path / "some.safetensors")) == names


def test_the_order_of_the_inputs_does_not_change_a_shard(photos, pictures, tmp_path):
    write_tar(tmp_path / "shard.tar", {f"{name}.png": encoded(photos[name]) for name in ("coffee", "astronaut", "chelsea")})
    resflow("pack", tmp_path / "shard.tar", "-o", tmp_path / "a.safetensors")
    resflow("pack", pictures, "-o", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_is_damaged_is_passed_over_and_listed(photos, tmp_path):
    whole = encoded(photos["coffee"])
    write_tar(tmp_path / "shard.tar", {"a.png": encoded(photos["astronaut"]), "b.jpg": b"no picture", "c.txt": "words alone", "d.png": whole[:300], "e.json": "{"})
    (tmp_path / "list.jsonl").write_text(f'{{"image": "gone.png"}}\nnonsense\n{{"caption": "no picture"}}\n{{"image": 3}}\n["image"]\n')
    photos["chelsea"].save(tmp_path / "f.png")
    (tmp_path / "g.png").write_bytes(whole[:100])
    done = resflow("pack", *(tmp_path / name for name in ("shard.tar", "list.jsonl", "f.png", "g.png")), "-o", tmp_path / "out.safetensors", code=SOME_FAILED)
    assert set(load_file(tmp_path / "out.safetensors")) == {"a", "f"}
    listed = done.stderr.split("pictures failed:\n")[1].splitlines()
    wanted = ["shard.tar: b.jpg", "shard.tar: d.png", "g.png", "shard.tar: c", *(f"list.jsonl, line {i}" for i in range(1, 6))]
    assert sorted(listed) == sorted(f"  {tmp_path}/{name}" for name in wanted) and "9 of 11" in done.stderr
    assert "gone.png: no such file" in done.stderr and "no picture of this key" in done.stderr and "/proc/" not in done.stderr


def test_a_shard_that_is_cut_short_gives_what_stands_before(photos, tmp_path):
    write_tar(tmp_path / "shard.tar", {f"{name}.png": encoded(photo) for name, photo in photos.items()})
    data = (tmp_path / "shard.tar").read_bytes()
    (tmp_path / "shard.tar").write_bytes(data[: len(data) // 2])
    done = resflow("pack", tmp_path / "shard.tar", "-o", tmp_path / "out.safetensors", code=SOME_FAILED)
    packed = load_file(tmp_path / "out.safetensors")
    assert set(packed) == {"astronaut"} and torch.equal(packed["astronaut"], planes(photos["astronaut"]))
    assert f"{tmp_path}/shard.tar" in done.stderr.split("pictures failed:\n")[1] and "the rest is lost" in done.stderr
    (tmp_path / "shard.tar").write_bytes(b"not a tar file at all" * 100)
    told = resflow("pack", tmp_path / "shard.tar", "-o", tmp_path / "none.safetensors", code=USER_ERROR).stderr
    assert "no picture left" in told and "shard.tar: cannot be read" in told
    for name in ("gone.tar", "gone.jsonl"):
        assert f"{name}: cannot be read" in resflow("pack", tmp_path / name, "-o", tmp_path / "none.safetensors", code=USER_ERROR).stderr
    assert not (tmp_path / "none.safetensors").exists()


def test_the_same_name_twice_is_told(photos, pictures, tmp_path):
    write_tar(tmp_path / "shard.tar", {"coffee.png": encoded(photos["coffee"])})
    done = resflow("pack", pictures, tmp_path / "shard.tar", "-o", tmp_path / "out.safetensors", code=USER_ERROR)
    assert "two pictures of one name" in done.stderr and "shard.tar: coffee.png" in done.stderr


@pytest.mark.parametrize("kind", ["tar", "list"])
def test_training_takes_them_as_it_takes_folders(kind, tiny, photos, pictures, tmp_path):
    data = tmp_path / ("data.tar" if kind == "tar" else "data.jsonl")
    if kind == "tar":
        write_tar(data, {f"{name}.png": encoded(photo) for name, photo in photos.items()})
    else:
        data.write_text("".join(json.dumps({"image": str(pictures / f"{name}.png")}) + "\n" for name in photos))
    losses = {}
    for name, given in {"folder": pictures, "ours": data}.items():
        resflow("train", tiny.config, "--steps", 3, "--data", given, "--validation", given, "--output", tmp_path / name)
        losses[name] = [json.loads(line).get("loss") for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
    assert losses["ours"] == losses["folder"] and losses["ours"]
    assert (tmp_path / "ours" / "shards" / "data0.safetensors").exists()


# --- pack-latents ---------------------------------------------------------------------------------------------------------------
PLACE = ("--device", "cpu", "--dtype", "f32", "--max-sequence-length", 40, "--text-type", "f32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import sys
    from pathlib import Path

    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("sentencepiece")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "generate"))
    from generate_models import parts, saved

    folder = tmp_path_factory.mktemp("model")
    pipeline = diffusers.FluxPipeline(**parts(folder / "sources"))
    saved(pipeline, folder / "model", folder / "sources")
    return pipeline, folder / "model"


@pytest.fixture(scope="module")
def scenes():
    """name -> (good picture, poor one), of four shapes."""
    generator = np.random.default_rng(3)
    out = {}
    for name, (width, height) in {"wide": (160, 96), "tall": (90, 150), "square": (70, 70), "wider": (170, 90)}.items():
        small = Image.fromarray(generator.integers(0, 255, (5, 6, 3), dtype=np.uint8))
        out[name] = tuple(small.resize((width // factor, height // factor), Image.Resampling.BICUBIC) for factor in (1, 4))
    return out


TEXTS = {"wide": "the sea", "tall": "a red boat"}


def folders(place, scenes):
    for kind, i in (("good", 0), ("poor", 1)):
        (place / kind).mkdir()
        for name, pair in scenes.items():
            pair[i].save(place / kind / f"{name}.png")
    for name, text in TEXTS.items():
        (place / "good" / f"{name}.txt").write_text(text + "\n")
    return [place / "good", "--poor", place / "poor"]


def as_tar(place, scenes):
    members = {}
    for name in sorted(scenes):
        members |= {f"{name}.png": encoded(scenes[name][0]), f"{name}.poor.png": encoded(scenes[name][1])}
        if name in TEXTS:
            members[f"{name}.json"] = json.dumps({"caption": TEXTS[name], "width": 3})
    write_tar(place / "shard.tar", members)
    return [place / "shard.tar"]


def as_list(place, scenes):
    folders(place, scenes)
    lines = [{"image": f"good/{name}.png", "poor": f"poor/{name}.png"} | ({"caption": TEXTS[name]} if name in TEXTS else {}) for name in sorted(scenes)]
    (place / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return [place / "list.jsonl"]


@pytest.mark.parametrize("form", [as_tar, as_list], ids=["tar", "list"])
def test_latents_are_the_same_from_each(form, model, scenes, tmp_path):
    for name, given in {"a": folders, "b": form}.items():
        (tmp_path / name).mkdir()
        resflow("pack-latents", *given(tmp_path / name, scenes), "--model", model[1], "-o", tmp_path / f"{name}.safetensors", "--size", 64, *PLACE)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    shard = load_file(tmp_path / "a.safetensors")
    assert shard["latents"].shape == (4, 4, 8, 8) and not torch.equal(shard["t5"][0], shard["t5"][1]), "texts are with their pictures"


@torch.no_grad()
def test_buckets_are_shards_of_one_shape_each(model, scenes, tmp_path):
    pipeline, folder = model
    (tmp_path / "in").mkdir()
    given = as_tar(tmp_path / "in", scenes)
    resflow("pack-latents", *given, "--model", folder, "-o", tmp_path / "l.safetensors", "--size", 96, "--buckets", "--bucket-step", 32, *PLACE)
    # Of at most 96 x 96 pixels and multiples of 32, from 1:2 to 2:1: 64x128, 96x96, 128x64.
    shards = {path.name: load_file(path) for path in tmp_path.glob("*.safetensors")}
    assert {name: tuple(shard["latents"].shape) for name, shard in shards.items()} == {
        "l-128x64.safetensors": (2, 4, 8, 16), "l-64x128.safetensors": (1, 4, 16, 8), "l-96x96.safetensors": (1, 4, 12, 12),
    }  # fmt: skip
    # "wider" is 170 x 90, brought to 128 x 68 and cut to 128 x 64; it comes after "wide".
    good = scenes["wider"][0]
    channels = [Image.fromarray(channel.numpy()).resize((128, 68), Image.Resampling.BICUBIC) for channel in planes(good).float() / 255]
    covered = torch.from_numpy(np.stack([np.array(channel) for channel in channels])).clamp(0, 1)[:, 2:66]
    raw = pipeline.vae.encode(covered[None] * 2 - 1).latent_dist.mode()[0]
    wanted = (raw - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    assert (shards["l-128x64.safetensors"]["latents"][1] - wanted).abs().max() < 1e-4
    assert shards["l-128x64.safetensors"]["empty.condition"].shape == (4, 8, 16)
    (tmp_path / "train.toml").write_text(f"""
task = "flux-lora"
data = [{", ".join(f'"{path}"' for path in sorted(tmp_path.glob("l-*.safetensors")))}]
steps = 4
batch = 1
log_every = 1
[flux]
model = "{folder / "transformer"}"
[fusion]
rank = 4
""")
    resflow("train", tmp_path / "train.toml", "--output", tmp_path / "run")
    assert (tmp_path / "run" / "adapter.safetensors").exists()


def test_a_damaged_picture_does_not_stop_the_packing(model, scenes, tmp_path):
    (tmp_path / "in").mkdir()
    given = folders(tmp_path / "in", scenes)
    data = (tmp_path / "in/good/tall.png").read_bytes()
    (tmp_path / "in/good/tall.png").write_bytes(data[: len(data) // 3])
    done = resflow("pack-latents", *given, "--model", model[1], "-o", tmp_path / "l.safetensors", "--size", 64, *PLACE, code=SOME_FAILED)
    assert load_file(tmp_path / "l.safetensors")["latents"].shape[0] == 3
    assert f"1 of 4 pictures failed:\n  {tmp_path}/in/good/tall.png" in done.stderr


def test_a_shard_that_ends_within_a_poor_picture_gives_what_stands_before(model, scenes, tmp_path):
    given = as_tar(tmp_path, scenes)  # in the order of the names: the last is "wider", its poor picture the last member
    data = given[0].read_bytes()
    given[0].write_bytes(data[: data.rindex(b"wider.poor.png") + 512 + 100])
    done = resflow("pack-latents", *given, "--model", model[1], "-o", tmp_path / "l.safetensors", "--size", 64, *PLACE, code=SOME_FAILED)
    assert load_file(tmp_path / "l.safetensors")["latents"].shape[0] == 3
    assert "shard.tar" in done.stderr.split("pictures failed:\n")[1] and "the rest is lost" in done.stderr


def test_what_is_wrong_with_latents_is_told_first(model, scenes, tmp_path):
    write_tar(tmp_path / "shard.tar", {"a.png": encoded(scenes["wide"][0])})
    for options, said in (([], "no poor picture of that name"), (["--buckets", "--bucket-step", 24], "multiple of 16"), (["--size", 32, "--buckets"], "no larger than size")):
        done = resflow("pack-latents", tmp_path / "shard.tar", "--model", model[1], "-o", tmp_path / "l.safetensors", *options, *PLACE, code=USER_ERROR)
        assert said in done.stderr and not list(tmp_path.glob("*.safetensors"))
