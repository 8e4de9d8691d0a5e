"""Files as other programs write them, decoded and encoded by resflow::image. Pillow makes and checks them."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_probe import run


def read(path, *limits):
    """-> (facts, planes [3 or 4, H, W])"""
    raw = Path(str(path) + ".f32")
    facts = run("read", path, raw, *limits)
    planes = np.fromfile(raw, np.float32).reshape(-1, facts["height"], facts["width"])
    raw.unlink()
    return facts, planes


def noise(height=24, width=36, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([40 + 2 * x, 60 + 3 * y, 200 - x - y], -1).astype(np.uint8)


def planar(array):
    return np.moveaxis(array.astype(np.float32) / 255, -1, 0)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(width, height, depth, colour, rows):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def display_p3():
    """A profile with primaries wider than sRGB, made of ImageCms' sRGB by exchanging its red, green and blue columns."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if name in columns:
            struct.pack_into(">3i", profile, offset + 8, *[round(v * 65536) for v in columns[name]])
        if name == b"desc":
            text = bytes(profile[offset : offset + size])
            text = text.replace("sRGB".encode("utf-16-be"), "PPP3".encode("utf-16-be")).replace(b"sRGB", b"PPP3")
            profile[offset : offset + size] = text
    return bytes(profile)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "ppm", "webp"])
def test_lossless_eight_bit_files_decode_to_the_very_samples(tmp_path, extension):
    image = noise()
    Image.fromarray(image).save(tmp_path / f"a.{extension}", lossless=True)
    facts, planes = read(tmp_path / f"a.{extension}")
    assert facts["bits"] == 8 and not facts["grey"] and not facts["alpha"] and facts["notes"] == []
    np.testing.assert_array_equal(planes, planar(image))


@pytest.mark.parametrize("extension", ["jpg", "webp", "avif", "gif"])
def test_lossy_files_decode_as_pillow_decodes_them(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    Image.fromarray(smooth()).save(path, quality=90)
    _, planes = read(path)
    expected = planar(np.asarray(Image.open(path).convert("RGB")))
    assert np.abs(planes - expected).mean() < 1.0 / 255  # chroma upsampling differs between decoders


def test_sixteen_bit_png_keeps_every_level_there_and_back(tmp_path):
    levels = np.random.default_rng(1).integers(0, 65536, (9, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    (tmp_path / "a.png").write_bytes(png_bytes(7, 9, 16, 2, rows))
    facts, planes = read(tmp_path / "a.png")
    assert facts["bits"] == 16
    np.testing.assert_array_equal(planes, np.moveaxis(levels.astype(np.float32), -1, 0) / np.float32(65535))
    for extension in ("png", "tif"):
        run("write", tmp_path / "a.png", tmp_path / f"b.{extension}")
        again, written = read(tmp_path / f"b.{extension}")
        assert again["bits"] == 16
        np.testing.assert_array_equal(written, planes)
    notes = run("write", tmp_path / "a.png", tmp_path / "b.jpg")["notes"]
    assert any("8 bits" in note for note in notes)


def test_grey_sixteen_bit_and_float_tiff(tmp_path):
    ramp = np.linspace(0, 65535, 60).round().astype(np.uint16).reshape(6, 10)
    Image.fromarray(ramp).save(tmp_path / "g.tif")
    facts, planes = read(tmp_path / "g.tif")
    assert facts["grey"] and facts["bits"] == 16
    np.testing.assert_array_equal(planes[0], ramp.astype(np.float32) / np.float32(65535))
    np.testing.assert_array_equal(planes[0], planes[2])
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "f.tif")
    _, planes = read(tmp_path / "f.tif")
    assert np.abs(planes[1] - ramp / 65535).max() < 1e-5


def test_grey_palette_bilevel_and_alpha(tmp_path):
    grey = noise(channels=1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    facts, planes = read(tmp_path / "l.png")
    assert facts["grey"]
    np.testing.assert_array_equal(planes, planar(np.repeat(grey[..., None], 3, -1)))

    la = noise(channels=2)
    Image.fromarray(la, "LA").save(tmp_path / "la.png")
    facts, planes = read(tmp_path / "la.png")
    assert facts["grey"] and facts["alpha"]
    np.testing.assert_array_equal(planes, planar(la[..., [0, 0, 0, 1]]))

    rgba = noise(channels=4)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    facts, planes = read(tmp_path / "rgba.png")
    np.testing.assert_array_equal(planes, planar(rgba))

    palette = Image.fromarray(noise()).quantize(17)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png")[1], planar(np.asarray(palette.convert("RGB"))))

    bilevel = Image.fromarray(grey > 127)
    bilevel.save(tmp_path / "1.png")
    np.testing.assert_array_equal(read(tmp_path / "1.png")[1][0], np.asarray(bilevel).astype(np.float32))


def test_alpha_is_kept_where_the_format_can_and_laid_on_white_elsewhere(tmp_path):
    rgba = noise(channels=4)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    for extension in ("png", "tif", "webp", "avif"):
        run("write", tmp_path / "a.png", tmp_path / f"b.{extension}", json.dumps({"options": {"lossless": True}}))
        written = np.asarray(Image.open(tmp_path / f"b.{extension}").convert("RGBA"))
        np.testing.assert_array_equal(written[..., 3], rgba[..., 3], err_msg=extension)
    flat = Image.new("RGB", (36, 24), (10, 200, 30)).convert("RGBA")
    flat.putalpha(128)
    flat.save(tmp_path / "h.png")
    notes = run("write", tmp_path / "h.png", tmp_path / "h.jpg")["notes"]
    assert any("white" in note for note in notes)
    want = 255 + (np.array([10, 200, 30]) - 255) * 128 / 255
    assert np.abs(np.asarray(Image.open(tmp_path / "h.jpg")).reshape(-1, 3).mean(0) - want).max() < 1.5


def test_cmyk_jpeg_becomes_srgb(tmp_path):
    colours = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255), (128, 128, 128)]
    strip = Image.new("RGB", (5 * 16, 16))
    for i, colour in enumerate(colours):
        strip.paste(colour, (16 * i, 0, 16 * i + 16, 16))
    strip.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    facts, planes = read(tmp_path / "a.jpg")
    assert any("CMYK" in note for note in facts["notes"])
    white, black, red, blue, _ = [planes[:, 8, 16 * i + 8] for i in range(5)]
    assert white.min() > 0.95 and black.max() < 0.25
    assert red[0] > 0.7 and red[1:].max() < 0.35 and blue[2] > 0.3 and blue[0] < blue[2]
    run("write", tmp_path / "a.jpg", tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").mode == "RGB" and "icc_profile" not in Image.open(tmp_path / "b.png").info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_reset(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A maker"
    Image.fromarray(noise(16, 24)).save(tmp_path / "a.png", exif=exif)
    expected = planar(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))))
    facts, planes = read(tmp_path / "a.png")
    np.testing.assert_array_equal(planes, expected)
    info = run("info", tmp_path / "a.png")
    assert (info["height"], info["width"]) == expected.shape[1:] == (facts["height"], facts["width"])
    run("write", tmp_path / "a.png", tmp_path / "b.png")
    written = Image.open(tmp_path / "b.png")
    assert written.getexif().get(0x0112, 1) == 1 and written.getexif()[0x010F] == "A maker"
    np.testing.assert_array_equal(planar(np.asarray(written)), expected)


def test_exif_gps_xmp_and_resolution_survive(tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "Model X"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 15.5)
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Artist="me"/></rdf:RDF></x:xmpmeta>'
    )
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif, xmp=xmp, dpi=(240, 240))
    for extension in ("jpg", "png", "webp"):
        run("write", tmp_path / "a.jpg", tmp_path / f"b.{extension}")
        written = Image.open(tmp_path / f"b.{extension}")
        got = written.getexif()
        assert got[0x0110] == "Model X" and got.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert [float(v) for v in got.get_ifd(0x8825)[2]] == [48.0, 8.0, 15.5]
        assert 'tiff:Artist="me"' in read(tmp_path / f"b.{extension}")[0]["xmp"]
        assert 'tiff:Orientation="1"' in read(tmp_path / f"b.{extension}")[0]["xmp"]  # the pixels are upright now
        if extension != "webp":
            assert abs(written.info["dpi"][0] - 240) < 0.1
    run("write", tmp_path / "a.jpg", tmp_path / "c.jpg", json.dumps({"options": {"metadata": False}, "text": {"parameters": "x"}}))
    assert dict(Image.open(tmp_path / "c.jpg").getexif()) == {} and "xmp" not in Image.open(tmp_path / "c.jpg").info


def test_a_wide_profile_is_converted_to_srgb_and_back(tmp_path):
    profile = display_p3()
    image = smooth()
    Image.fromarray(image).save(tmp_path / "a.png", icc_profile=profile)
    facts, planes = read(tmp_path / "a.png")
    assert facts["icc_name"].startswith("PPP3") and facts["bits"] == 8
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    expected = planar(np.asarray(ImageCms.applyTransform(Image.fromarray(image), transform)))
    assert np.abs(planes - planar(image)).max() > 8 / 255  # there is something to convert
    assert np.abs(planes - expected).max() < 1.01 / 255
    for extension in ("png", "jpg", "webp", "tif", "avif"):
        run("write", tmp_path / "a.png", tmp_path / f"b.{extension}", json.dumps({"options": {"quality": 100}}))
        written = Image.open(tmp_path / f"b.{extension}")
        assert written.info["icc_profile"] == profile, extension
        inside = (planes.min(0) > 0.01) & (planes.max(0) < 0.99)  # colours that sRGB holds
        assert inside.mean() > 0.3
        limit = 1 if extension in ("png", "tif") else 6
        assert np.abs(np.asarray(written.convert("RGB")).astype(int) - image)[inside].max() <= limit, extension


def test_an_srgb_profile_changes_no_sample_and_is_kept(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = noise()
    Image.fromarray(image).save(tmp_path / "a.png", icc_profile=profile)
    facts, planes = read(tmp_path / "a.png")
    np.testing.assert_array_equal(planes, planar(image))
    run("write", tmp_path / "a.png", tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").info["icc_profile"] == profile
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), image)


def test_a_broken_or_foreign_profile_is_told_and_ignored(tmp_path):
    image = noise()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name, profile in {"garbage": b"x" * 300, "lab": lab}.items():
        Image.fromarray(image).save(tmp_path / f"{name}.tif", icc_profile=profile)
        facts, planes = read(tmp_path / f"{name}.tif")
        assert any("profile" in note for note in facts["notes"]), name
        np.testing.assert_array_equal(planes, planar(image))


@pytest.mark.parametrize("extension", ["gif", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_read_and_told(tmp_path, extension):
    frames = [Image.new("RGB", (20, 10), c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=frames[1:], duration=100)
    facts, planes = read(tmp_path / f"a.{extension}")
    assert facts["pages"] == 3 and planes.shape[1:] == (10, 20)
    assert any("3 frames" in note for note in facts["notes"])
    assert planes[0].min() > 0.95 and planes[1].max() < 0.05


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "avif"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, extension):
    path = tmp_path / f"cut.{extension}"
    Image.fromarray(noise(64, 64)).save(path)
    whole = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        error = run("read", path, tmp_path / "out", code=2)
        assert f"cut.{extension}" in error and "damaged" in error
    path.write_bytes(whole[:20])
    assert "cut" in run("read", path, tmp_path / "out", code=2)


def test_damaged_files_never_crash(tmp_path):
    random = np.random.default_rng(5)
    for extension in ("png", "jpg", "webp", "tif", "gif", "bmp", "avif"):
        path = tmp_path / f"a.{extension}"
        Image.fromarray(noise(32, 32)).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(6):
            broken = whole.copy()
            broken[random.integers(8, len(broken), 12)] = random.integers(0, 256, 12)
            path.write_bytes(broken.tobytes())
            run("read", path, tmp_path / "out", code=(0, 2))


def test_what_is_no_picture_is_told_apart(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello, I am a text")
    (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    for name, words in {"none.png": "no such file", "": "folder", "empty.png": "empty", "text.png": "not a picture", "a.svg": "not a picture"}.items():
        for command in (["info", tmp_path / name], ["read", tmp_path / name, tmp_path / "out"]):
            assert words in run(*command, code=2)


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path):
    rows = zlib.compress(b"\0" * 1000)
    bomb = png_bytes(60000, 60000, 8, 2, rows)
    (tmp_path / "bomb.png").write_bytes(bomb)
    error = run("read", tmp_path / "bomb.png", tmp_path / "out", code=2)
    assert "too large" in error and "60000 x 60000" in error
    assert run("info", tmp_path / "bomb.png")["width"] == 60000
    Image.fromarray(noise(20, 20)).save(tmp_path / "a.png")
    assert "400 pixels" in run("read", tmp_path / "a.png", tmp_path / "out", 399, code=2)
    assert read(tmp_path / "a.png", 400)[1].shape == (3, 20, 20)
    (tmp_path / "zero.png").write_bytes(png_bytes(0, 5, 8, 2, b""))
    run("read", tmp_path / "zero.png", tmp_path / "out", code=2)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "avif"])
def test_one_pixel_goes_there_and_back(tmp_path, extension):
    Image.new("RGB", (1, 1), (250, 10, 90)).save(tmp_path / "a.png")
    run("write", tmp_path / "a.png", tmp_path / f"b.{extension}")
    _, planes = read(tmp_path / f"b.{extension}")
    assert planes.shape == (3, 1, 1) and np.abs(planes[:, 0, 0] * 255 - [250, 10, 90]).max() < 12


def test_grey_can_be_written_as_grey(tmp_path):
    grey = noise(channels=1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    run("write", tmp_path / "a.png", tmp_path / "b.png", json.dumps({"options": {"grey": True}}))
    written = Image.open(tmp_path / "b.png")
    assert written.mode == "L"
    np.testing.assert_array_equal(np.asarray(written), grey)


def test_texts_are_read_by_other_programs(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    texts = {"parameters": "a (wet) cat\nSteps: 20, Seed: 1", "resflow": json.dumps({"a": "<&>\"é猫"})}
    run("write", tmp_path / "a.png", tmp_path / "b.png", json.dumps({"text": texts}))
    written = Image.open(tmp_path / "b.png")
    written.load()
    assert written.text["parameters"] == texts["parameters"] and written.text["resflow"] == texts["resflow"]
    assert read(tmp_path / "b.png")[0]["text"] == texts
    beyond = {"parameters": "猫 é\nSteps: 20", "résumé": "x"}
    run("write", tmp_path / "b.png", tmp_path / "b2.png", json.dumps({"text": beyond}))
    written = Image.open(tmp_path / "b2.png")
    written.load()
    assert written.text["parameters"] == beyond["parameters"] and written.text["resflow"] == texts["resflow"]

    for extension in ("jpg", "webp", "avif"):
        run("write", tmp_path / "b.png", tmp_path / f"c.{extension}", json.dumps({"text": texts}))
        comment = Image.open(tmp_path / f"c.{extension}").getexif().get_ifd(0x8769)[0x9286]
        assert comment == b"ASCII\0\0\0" + texts["parameters"].encode()
        assert read(tmp_path / f"c.{extension}")[0]["text"]["parameters"] == texts["parameters"]
        assert b"resflow:resflow=" in Image.open(tmp_path / f"c.{extension}").info["xmp"]
    run("write", tmp_path / "b.png", tmp_path / "c.tif", json.dumps({"text": texts}))
    xmp = read(tmp_path / "c.tif")[0]["xmp"]
    assert "resflow:parameters=" in xmp and "猫" not in json.dumps(xmp) and "&lt;&amp;&gt;" in xmp
    notes = run("write", tmp_path / "b.png", tmp_path / "d.jpg", json.dumps({"text": {"resflow": "x" * 70000}}))["notes"]
    assert any("64 KB" in note for note in notes)


def test_targets_that_cannot_be_written(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    for target, words in {"nowhere/b.png": "folder does not exist", "folder.png": "is a folder", "b.xyz": "extension", "b": "extension"}.items():
        assert words in run("write", tmp_path / "a.png", tmp_path / target, code=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "folder.png"]
    Image.new("RGB", (17000, 2)).save(tmp_path / "long.png")
    assert "too large for webp" in run("write", tmp_path / "long.png", tmp_path / "b.webp", code=2)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "avif"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, extension):
    import resource
    import signal

    def little_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    Image.fromarray(noise(400, 400)).save(tmp_path / "a.png")
    (tmp_path / f"b.{extension}").write_text("the old file")
    error = run("write", tmp_path / "a.png", tmp_path / f"b.{extension}", code=2, alone=little_space)
    assert f"b.{extension}" in error and "cannot be written" in error
    assert (tmp_path / f"b.{extension}").read_text() == "the old file"
    assert len(list(tmp_path.iterdir())) == 2
