"""A scan as professionals keep it, through `resflow restore`, looked at with other programs: exiftool, ImageMagick and libvips' own tool."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from program import resflow

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
for tool in ("exiftool", "identify", "vips"):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed (tools/setup.sh test)", allow_module_level=True)

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'tiff:Orientation="6"><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">The archive</rdf:li></rdf:Alt></dc:rights>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
TAGS = {
    "IFD0:Make": "Maker & Sons",
    "IFD0:Model": "Scanner 9",
    "IFD0:Artist": "A. Photographer",
    "IFD0:ModifyDate": "2020:01:02 03:04:05",
    "ExifIFD:DateTimeOriginal": "1955:06:07 08:09:10",
    "ExifIFD:FNumber": "5.6",
    "ExifIFD:LensModel": "A lens of many letters 50mm",
    "ExifIFD:ExposureTime": "0.004",
    "GPS:GPSLatitude": "48.1375",
    "GPS:GPSLatitudeRef": "N",
}


def told(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exif(path):
    """-> {"Group:Tag": value}, printed the same for numbers and words."""
    return {k: str(v) for k, v in json.loads(told("exiftool", "-j", "-G1", "-n", "-api", "struct=0", path))[0].items()}


def adobe_rgb():
    """A matrix profile with Adobe RGB (1998)'s primaries and gamma, D50-adapted, as that standard gives them. ICC version 2."""

    def xyz(*values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(v * 65536) for v in values])

    text = b"Adobe RGB (1998)"
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, 0x0233, 0)
    tags = {
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78 + (-len(text) - 3) % 4),
        b"wtpt": xyz(0.9505, 1, 1.0891),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + struct.pack(">6H", 1998, 8, 11, 0, 0, 0)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + table + body


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """48 x 36 as it lies in the file, to be shown turned: 36 x 48. 16 bits, Adobe RGB, alpha, EXIF, GPS, XMP, 300 dpi, big-endian."""
    path = tmp_path_factory.mktemp("scan") / "scan.tif"
    y, x = np.mgrid[0:36, 0:48]
    colours = np.stack([9000 + 700 * x, 12000 + 900 * y, 40000 - 400 * x - 300 * y], -1)
    alpha = np.where(x < 24, 65535, 20000)[..., None]
    tifffile.imwrite(
        path,
        np.concatenate([colours, alpha], -1).astype(np.uint16),
        byteorder=">",
        photometric="rgb",
        extrasamples=["unassalpha"],
        resolution=(300, 300),
        resolutionunit="INCH",
        iccprofile=adobe_rgb(),
        metadata=None,
        software=False,
        extratags=[(700, 1, len(XMP), XMP.encode(), True)],
    )
    told("exiftool", "-q", "-n", "-overwrite_original", "-IFD0:Orientation=6", *[f"-{tag}={value}" for tag, value in TAGS.items()], path)
    assert exif(path)["IFD0:Orientation"] == "6"
    return path


@pytest.fixture(scope="module")
def restored(scan, tiny):
    out = scan.parent / "restored.tif"
    said = json.loads(resflow("restore", "--model", tiny.model, scan, "-o", out, "--scale", 2, "--json").stdout)["items"][0]
    assert "notes" not in said, "nothing was lost, so nothing is to be told"
    return out


def test_depth_alpha_and_orientation(scan, restored):
    assert told("identify", "-format", "%w %h %z %A %[orientation]", restored).split() == ["72", "96", "16", "True", "TopLeft"]
    assert "USHORT" in told("vipsheader", "-f", "format", restored).upper()
    tags = exif(restored)
    assert tags["IFD0:Orientation"] == "1" and tags["IFD0:ExtraSamples"] == "2" and tags["IFD0:SamplesPerPixel"] == "4"
    assert tags["XMP-tiff:Orientation"] == "1" and tags["IFD0:ResolutionUnit"] in "23"
    assert abs(float(tags["IFD0:XResolution"]) * (2.54 if tags["IFD0:ResolutionUnit"] == "3" else 1) - 300) < 0.01
    pixels = tifffile.imread(restored)
    assert pixels.shape == (96, 72, 4) and pixels.dtype == np.uint16 and len(np.unique(pixels[..., 0])) > 600
    # Turned clockwise: what was on the left is on top.
    assert np.abs(pixels[:40, :, 3].astype(int) - 65535).max() < 4000 and np.abs(pixels[56:, :, 3].astype(int) - 20000).max() < 4000


def test_every_tag_is_there(scan, restored):
    before, after = exif(scan), exif(restored)
    kept = {k: v for k, v in before.items() if k.split(":")[0] in ("ExifIFD", "GPS", "XMP-dc")}
    kept |= {k: before[k] for k in ("IFD0:Make", "IFD0:Model", "IFD0:Artist", "IFD0:ModifyDate")}
    assert set(TAGS) <= set(kept) and "XMP-dc:Rights" in kept
    assert {k: after.get(k) for k in kept} == kept
    assert told("exiftool", "-warning", "-error", "-a", restored) == ""


def test_the_profile_is_kept_and_colours_agree_through_it(scan, restored, tiny, tmp_path):
    told("exiftool", "-icc_profile", "-b", "-w!", str(tmp_path / "%f.icc"), restored)
    assert (tmp_path / "restored.icc").read_bytes() == adobe_rgb()
    assert told("identify", "-format", "%[profile:icc]", restored).startswith("Adobe RGB (1998)")
    # The same picture, made sRGB by vips beforehand, is restored to the same colours.
    told("vips", "autorot", scan, tmp_path / "upright.tif")
    told("vips", "icc_transform", tmp_path / "upright.tif", tmp_path / "srgb.tif", "srgb", "--embedded", "--depth", "16")
    assert tifffile.imread(tmp_path / "srgb.tif").shape == (48, 36, 4)
    resflow("restore", "--model", tiny.model, tmp_path / "srgb.tif", "-o", tmp_path / "wanted.tif", "--scale", 2)
    told("vips", "icc_transform", restored, tmp_path / "got.tif", "srgb", "--embedded", "--depth", "16")
    wanted, got, raw = (tifffile.imread(path)[..., :3].astype(float) / 65535 for path in (tmp_path / "wanted.tif", tmp_path / "got.tif", restored))
    inside = (wanted.min(-1) > 0.06) & (wanted.max(-1) < 0.99)  # at the end of sRGB's range the way back is rounded along a steep curve
    assert inside.mean() > 0.4 and np.quantile(np.abs(got - wanted)[inside], 0.95) < 0.002 and np.abs(raw - wanted)[inside].mean() > 0.02


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_the_tags_go_into_other_formats_too(scan, tiny, tmp_path, extension):
    out = tmp_path / f"out.{extension}"
    resflow("restore", "--model", tiny.model, scan, "-o", out, "--scale", 1, "--strength", 0)
    tags = exif(out)
    for tag, value in TAGS.items():
        assert tags[tag] == value if tag != "GPS:GPSLatitude" else abs(float(tags[tag]) - float(value)) < 1e-6, tag
    assert tags.get("IFD0:Orientation", "1") == "1" and tags["XMP-dc:Rights"] == "The archive"


def test_tags_of_a_jpeg_go_into_a_tiff(tiny, tmp_path):
    Image.new("RGB", (40, 30), (90, 120, 60)).save(tmp_path / "a.jpg", dpi=(72, 72))
    told("exiftool", "-q", "-n", "-overwrite_original", "-ExifIFD:ExifImageWidth=40", *[f"-{tag}={value}" for tag, value in TAGS.items()], tmp_path / "a.jpg")
    resflow("restore", "--model", tiny.model, tmp_path / "a.jpg", "-o", tmp_path / "a.tif", "--scale", 2, "--strength", 0)
    tags = exif(tmp_path / "a.tif")
    assert {k: tags[k] for k in TAGS if k != "GPS:GPSLatitude"} == {k: v for k, v in TAGS.items() if k != "GPS:GPSLatitude"}
    assert tags["ExifIFD:ExifImageWidth"] == "80" and tags["IFD0:BitsPerSample"] == "8 8 8" and "IFD1:Compression" not in tags
    assert tifffile.imread(tmp_path / "a.tif").shape == (60, 80, 3)


def test_a_damaged_directory_costs_the_tags_alone(scan, tiny, tmp_path):
    raw = bytearray(scan.read_bytes())
    place = raw.find(struct.pack(">HHI", 0x8769, 4, 1))
    raw[place + 8 : place + 12] = struct.pack(">I", len(raw) + 1000)
    (tmp_path / "a.tif").write_bytes(raw)
    resflow("restore", "--model", tiny.model, tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--scale", 1, "--strength", 0)
    assert exif(tmp_path / "b.tif")["IFD0:Make"] == "Maker & Sons" and "ExifIFD:FNumber" not in exif(tmp_path / "b.tif")


def test_grey_of_sixteen_bits_stays_so(tiny, tmp_path):
    ramp = np.linspace(3000, 61000, 40 * 30).astype(np.uint16).reshape(30, 40)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    resflow("restore", "--model", tiny.model, tmp_path / "grey.png", "-o", tmp_path / "out.png", "--scale", 2)
    assert told("identify", "-format", "%w %h %z %[channels]", tmp_path / "out.png").split()[:4] == ["80", "60", "16", "gray"]
    assert told("vipsheader", "-f", "bands", tmp_path / "out.png").strip() == "1"
    assert exif(tmp_path / "out.png")["PNG:ColorType"] == "0" and exif(tmp_path / "out.png")["PNG:BitDepth"] == "16"
    assert len(np.unique(np.asarray(Image.open(tmp_path / "out.png")))) > 1000
