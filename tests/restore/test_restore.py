"""`resflow restore`: what comes out, on a tiny model."""

import json

import numpy as np
import pytest
from program import files_in, resflow
from seams import grid_score, seam_score

Image = pytest.importorskip("PIL.Image")


def pixels(path):
    return np.asarray(Image.open(path))


def difference(a, b):
    return np.abs(pixels(a).astype(int) - pixels(b).astype(int))


@pytest.fixture(scope="session")
def small(tmp_path_factory, pictures):
    """One picture of 48 x 36."""
    path = tmp_path_factory.mktemp("small") / "coffee.png"
    Image.open(pictures / "coffee.png").resize((48, 36), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="session")
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, *arguments, **options)


@pytest.fixture(scope="session")
def album(tmp_path_factory, pictures, restore):
    """A folder of every kind, restored into another -> the sources' folder, the results' folder, the JSON that was printed."""
    folder = tmp_path_factory.mktemp("album")
    source = folder / "scans"
    source.mkdir()
    photo = Image.open(pictures / "astronaut.png").resize((40, 30), Image.LANCZOS)
    photo.save(source / "photo.jpg", quality=92)
    photo.convert("L").save(source / "grey.png")
    photo.save(source / "web.webp", lossless=True)
    photo.save(source / "old.bmp")
    see_through = photo.convert("RGBA")
    see_through.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))))
    see_through.save(source / "alpha.png")
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(source / "deep.png")
    photo.resize((1, 1)).save(source / "dot.png")
    (source / "notes.txt").write_text("not a picture")
    printed = restore(source, "-o", folder / "new" / "out", "--format", "png", "--scale", "2", "--seed", "5", "--json").stdout
    return source, folder / "new" / "out", json.loads(printed)


def test_a_folder_keeps_stems_and_takes_the_asked_format(album):
    assert files_in(album[1]) == sorted(f"{stem}.png" for stem in ("photo", "grey", "web", "old", "alpha", "deep", "dot"))


def test_json_lists_every_picture_with_its_sizes(album):
    source, out, report = album
    assert report["failed"] == 0 and len(report["items"]) == 7
    for item in report["items"]:
        assert Image.open(item["output"]).size == (item["result"]["width"], item["result"]["height"])
        assert (item["result"]["width"], item["result"]["height"]) == (2 * item["source"]["width"], 2 * item["source"]["height"])
        assert item["options"]["seed"] == 5 and item["options"]["steps"] == 2 and item["nfe"] == 2 and item["seconds"] >= 0
        assert item["input"].startswith(str(source)) and item["output"].startswith(str(out))


def test_one_pixel_is_restored(album):
    assert pixels(album[1] / "dot.png").shape == (2, 2, 3)
    assert difference(album[1] / "dot.png", album[0] / "dot.png").max() < 60


def test_depth_grey_and_alpha_are_the_sources(album):
    source, out, _ = album
    assert Image.open(out / "grey.png").mode == "L"
    assert Image.open(out / "deep.png").mode.startswith("I;16") and len(np.unique(pixels(out / "deep.png"))) > 256
    alpha = pixels(out / "alpha.png")
    assert alpha.shape == (60, 80, 4)
    wanted = np.asarray(Image.open(source / "alpha.png").getchannel("A").resize((80, 60), Image.BICUBIC)).astype(int)
    assert np.abs(alpha[:, :, 3] - wanted).max() < 25
    assert Image.open(out / "photo.png").mode == "RGB"


def test_how_a_picture_was_made_stands_in_the_file(album):
    text = Image.open(album[1] / "photo.png").text
    assert {"Steps: 2", "Sampler: euler", "Seed: 5", "Size: 80x60"} <= set(text["parameters"].split(", "))
    manifest = json.loads(text["resflow"])
    assert manifest["options"]["sigma_s"] == 0.1 and manifest["model"]["fingerprint"] in text["parameters"]
    assert "seconds" not in manifest, "the same picture must be the same file"


@pytest.mark.parametrize(
    "arguments, size",
    [
        (["--scale", "1"], (48, 36)),
        (["--scale", "1.5"], (72, 54)),
        ([], (192, 144)),
        (["--width", "100"], (100, 75)),
        (["--height", "50"], (67, 50)),
        (["--width", "70", "--height", "90"], (70, 90)),
    ],
    ids=str,
)
def test_size(restore, small, tmp_path, arguments, size):
    restore(small, "-o", tmp_path / "out.png", "--strength", "0", *arguments)
    assert Image.open(tmp_path / "out.png").size == size


def test_a_source_of_512_px_is_doubled_by_default(restore, tmp_path):
    Image.new("RGB", (512, 20), "teal").save(tmp_path / "wide.png")
    restore(tmp_path / "wide.png", "-o", tmp_path / "out.png", "--strength", "0")
    assert Image.open(tmp_path / "out.png").size == (1024, 40)


def test_globs_and_a_picture_named_twice(restore, pictures, tmp_path):
    restore(f"{pictures}/c*.png", pictures / "coffee.png", "-o", f"{tmp_path}/", "--scale", "1", "--strength", "0", "--format", "jpg")
    assert files_in(tmp_path) == ["chelsea.jpg", "coffee.jpg"]


def test_the_seed_decides(restore, small, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        restore(small, "-o", tmp_path / f"{name}.png", "--seed", seed, "--sigma-s", "0.5")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert difference(tmp_path / "a.png", tmp_path / "c.png").mean() > 0.5


def test_steps_sampler_and_strength_change_the_result_and_the_number_of_calls(restore, small, tmp_path):
    calls, made = [], []
    for extra in (["--steps", "1"], ["--steps", "4"], ["--steps", "4", "--sampler", "heun"], ["--steps", "4", "--strength", "0.5"]):
        made.append(tmp_path / f"{len(made)}.png")
        calls.append(json.loads(restore(small, "-o", made[-1], "--json", "--no-checks", "--sigma-s", "0.4", *extra).stdout)["items"][0]["nfe"])
    assert calls[0] == 1 and calls[1] == 4 and calls[2] in (7, 8) and 1 <= calls[3] <= 4
    for other in made[:1] + made[2:]:
        assert difference(made[1], other).max() > 1


def test_strength_zero_is_the_remover_alone(restore, tiny, small, tmp_path):
    torch, load_file = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").load_file
    for seed in (1, 2):
        done = restore(small, "-o", tmp_path / f"{seed}.png", "--strength", "0", "--scale", "1", "--seed", seed, "--dtype", "f32", "--json")
        assert json.loads(done.stdout)["items"][0]["nfe"] == 0
    assert difference(tmp_path / "1.png", tmp_path / "2.png").max() == 0

    weights, f = {name[3:]: value.float() for name, value in load_file(tiny.model).items() if name.startswith("dr.")}, torch.nn.functional
    conv = lambda name, x: f.conv2d(x, weights[name + ".weight"], weights[name + ".bias"], padding=1)
    image = torch.from_numpy(pixels(small).copy()).permute(2, 0, 1)[None] / 255
    image = f.pad(image, (0, 0, 0, 12), mode="replicate")  # to multiples of 16
    h = conv("conv_in", f.pixel_unshuffle(image - 0.5, 4))
    h = h + conv("blocks.0.conv2", f.leaky_relu(conv("blocks.0.conv1", h), 0.1))
    wanted = (image + 0.1 * f.pixel_shuffle(conv("conv_out", h), 4)).clamp(0, 1)[0, :, :36].permute(1, 2, 0).numpy() * 255
    assert np.abs(wanted - pixels(tmp_path / "1.png")).max() < 0.51
    assert np.abs(wanted - pixels(small)).max() > 1, "the remover does something"


def test_colour_fixes_bring_the_sources_colours_back(restore, small, tmp_path):
    color = pytest.importorskip("skimage.color")
    source = np.asarray(Image.open(small).resize((96, 72), Image.BICUBIC)).astype(float)
    made = {}
    for fix in ("none", "wavelet", "tone", "adain", "lab"):
        restore(small, "-o", tmp_path / f"{fix}.png", "--scale", "2", "--sigma-s", "0.4", "--color-fix", fix)
        made[fix] = pixels(tmp_path / f"{fix}.png").astype(float)

    def off(fix, measure):
        return np.abs(measure(made[fix]) - measure(source)).max()

    blocks = lambda image: image.reshape(3, 24, 4, 24, 3).mean((1, 3))
    mean = lambda image: image.mean((0, 1))
    moments = lambda image: np.concatenate([image.mean((0, 1)), image.std((0, 1))])
    chroma = lambda image: moments(color.rgb2lab(image / 255)[:, :, 1:])
    for fix, measure, most in (("wavelet", blocks, 0.6), ("tone", mean, 0.6), ("adain", moments, 0.3), ("lab", chroma, 0.6)):
        assert off("none", measure) > 0.5, "nothing to fix"
        assert off(fix, measure) < most * off("none", measure), fix


def test_tiles_leave_no_seam_and_tokens_no_grid(restore, pictures, tmp_path):
    options = ["--scale", "3", "--sigma-s", "0.1", "--overlap", "48", "--json"]
    report = json.loads(restore(pictures / "chelsea.png", "-o", tmp_path / "tiles.png", "--tile", "128", *options).stdout)
    assert report["items"][0]["result"]["tiles"] == 15  # 384 x 288 in 5 columns and 3 rows
    restore(pictures / "chelsea.png", "-o", tmp_path / "whole.png", "--tile", "512", *options)
    tiled, whole = pixels(tmp_path / "tiles.png"), pixels(tmp_path / "whole.png")
    assert np.abs(tiled.astype(int) - whole).mean() < 0.5, "one noise field: tiles give the same picture"

    columns, rows = (0, 64, 128, 192, 256), (0, 80, 160)
    inner = lambda starts, size: sorted({edge for s in starts for edge in (s, s + 128)} - {0, size})
    across, down = inner(columns, 384), inner(rows, 288)
    left = tiled.astype(int) - whole  # the untrained model's own texture goes; what tiles add stays
    assert seam_score(left, across) < 3 and seam_score(left.swapaxes(0, 1), down) < 3
    left[:, across[1] :] += 1
    assert seam_score(left, across) > 10, "the detector sees a step of one level"

    assert grid_score(tiled) < grid_score(whole) * 1.05
    blocks = np.kron(np.random.default_rng(1).integers(-8, 9, (18, 24)), np.ones((16, 16)))[..., None]
    assert grid_score(whole + blocks) > 1.15 * grid_score(whole), "the detector sees a grid"


def test_one_or_two_threads_make_the_same_picture(restore, pictures, tmp_path):
    for threads in (1, 2):
        restore(pictures / "astronaut.png", "-o", tmp_path / f"{threads}.png", "--scale", "2", "--sigma-s", "0.4", "--threads", threads, "--tile", "192")
    assert difference(tmp_path / "1.png", tmp_path / "2.png").max() <= 1


def test_side_by_side(restore, small, tmp_path):
    done = restore(small, "-o", tmp_path / "out.png", "--scale", "2", "--compare", tmp_path / "new" / "sheet.png", "--json")
    sheet, result = pixels(tmp_path / "new" / "sheet.png"), pixels(tmp_path / "out.png")
    assert sheet.shape == (72, 2 * 96 + 4, 3) and json.loads(done.stdout)["items"][0]["compare"].endswith("sheet.png")
    assert (sheet[:, -96:] == result).all() and (sheet[:, 96:100] == 255).all()
    assert np.abs(sheet[:, :96].astype(int) - np.asarray(Image.open(small).resize((96, 72), Image.BICUBIC))).mean() < 2


def test_quiet_says_nothing(restore, small, tmp_path):
    done = restore(small, "-o", tmp_path / "out.png", "--scale", "1", "--quiet")
    assert done.stdout == "" and done.stderr == ""


def test_exif_and_profile_stay(restore, small, tmp_path):
    photo = Image.open(small)
    exif = photo.getexif()
    exif[0x010F], exif[0x0112] = "Kamera", 6  # turned by 90 degrees
    photo.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    restore(tmp_path / "turned.jpg", "-o", tmp_path / "out.jpg", "--scale", "2", "--strength", "0")
    result = Image.open(tmp_path / "out.jpg")
    assert result.size == (72, 96) and result.getexif()[0x010F] == "Kamera" and result.getexif().get(0x0112, 1) == 1
    assert b"Steps: " in result.info["exif"]
