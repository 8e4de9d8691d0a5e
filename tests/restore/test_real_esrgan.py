"""`resflow restore --dr-file`: Real-ESRGAN's networks in place of the compact remover. Small random ones, saved as the published ones are."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from program import USER_ERROR, files_in, resflow
from seams import seam_score

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from esrgan_files import RRDBNet, SRVGGNetCompact, drawn, save_ncnn, save_pth, save_wheel  # noqa: E402


ALONE = ("--strength", "0", "--reference-mix", "1")  # the network's own picture


def gentle(network):
    """Enlarges like the nearest neighbour, and changes what it does a little."""
    with torch.no_grad():
        network.body[-1].weight.mul_(0.3)
        network.body[-1].bias.zero_()
    return network


@pytest.fixture(scope="session")
def network():
    return gentle(drawn(SRVGGNetCompact(4, features=16, convolutions=3)))


@pytest.fixture(scope="session")
def net(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("net") / "gentle-x4.pth"
    save_pth(network, path)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory, pictures):
    """One picture of 48 x 36."""
    path = tmp_path_factory.mktemp("small") / "coffee.png"
    Image.open(pictures / "coffee.png").resize((48, 36), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="session")
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, "--no-checks", *arguments, **options)


def pixels(path):
    return np.asarray(Image.open(path))


def difference(a, b):
    return np.abs(pixels(a).astype(int) - pixels(b).astype(int))


def enlarged(network, picture):
    """What PyTorch makes of it, 0..255, not rounded."""
    image = torch.from_numpy(pixels(picture).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return network(image).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255


def test_strength_zero_is_the_network_alone(restore, net, network, small, tmp_path):
    done = restore(small, "-o", tmp_path / "out.png", "--dr-file", net, *ALONE, "--scale", "4", "--dtype", "f32", "--json")
    wanted = enlarged(network, small)
    assert np.abs(wanted - pixels(tmp_path / "out.png")).max() < 0.51
    restore(small, "-o", tmp_path / "own.png", *ALONE, "--scale", "4", "--dtype", "f32")
    assert difference(tmp_path / "own.png", tmp_path / "out.png").max() > 5
    item = json.loads(done.stdout)["items"][0]
    assert item["nfe"] == 0 and item["model"]["remover"]["name"] == "gentle-x4.pth"
    assert item["model"]["remover"]["architecture"] == "SRVGGNetCompact, 3 convolutions of 16 features, x4" and item["model"]["remover"]["scale"] == 4


def test_which_remover_it_was_stands_in_the_file(restore, net, small, tmp_path):
    restore(small, "-o", tmp_path / "out.png", "--dr-file", net, *ALONE)
    text = Image.open(tmp_path / "out.png").text
    told = json.loads(resflow("inspect", net, "--json").stdout)["fingerprint"]
    assert f"Remover: gentle-x4.pth, Remover hash: {told}" in text["parameters"]
    assert json.loads(text["resflow"])["model"]["remover"]["fingerprint"] == told
    restore(small, "-o", tmp_path / "own.png", *ALONE)
    assert "Remover" not in Image.open(tmp_path / "own.png").text["parameters"]


@pytest.mark.parametrize("arguments, size", [(["--scale", "2"], (96, 72)), (["--scale", "1"], (48, 36)), (["--scale", "6"], (288, 216)), (["--width", "100"], (100, 75))], ids=str)
def test_other_sizes_are_its_picture_resized(restore, net, network, small, tmp_path, arguments, size):
    restore(small, "-o", tmp_path / "out.png", "--dr-file", net, *ALONE, "--dtype", "f32", *arguments)
    planes = [Image.fromarray(plane).resize(size, Image.LANCZOS) for plane in enlarged(network, small).transpose(2, 0, 1).astype(np.float32)]
    wanted = np.stack([np.asarray(plane) for plane in planes], -1).clip(0, 255)
    assert np.abs(wanted - pixels(tmp_path / "out.png")).max() < 0.6


def test_a_network_of_two_times_and_sides_that_are_odd(restore, tmp_path, pictures):
    network = drawn(RRDBNet(2, blocks=1))
    save_pth(network, tmp_path / "x2.pth")
    Image.open(pictures / "chelsea.png").crop((0, 0, 45, 31)).save(tmp_path / "odd.png")
    restore(tmp_path / "odd.png", "-o", tmp_path / "out.png", "--dr-file", tmp_path / "x2.pth", *ALONE, "--scale", "2", "--dtype", "f32")
    padded = np.pad(pixels(tmp_path / "odd.png"), ((0, 1), (0, 3), (0, 0)), mode="reflect")
    Image.fromarray(padded).save(tmp_path / "padded.png")
    assert np.abs(enlarged(network, tmp_path / "padded.png")[:62, :90] - pixels(tmp_path / "out.png")).max() < 0.6


@pytest.mark.parametrize("mix", [0, 0.3, None])
def test_the_mix_is_of_both_removers_pictures(restore, net, small, tmp_path, mix):
    """None: by default three quarters are the network's. Catches: shares the wrong way round, and a mix that the flow's features come from."""
    share = [] if mix is None else ["--reference-mix", str(mix)]
    made = {}
    for name, options in {"net": [*ALONE, "--dr-file", net], "own": ["--strength", "0"], "mixed": ["--strength", "0", "--dr-file", net, *share]}.items():
        made[name] = tmp_path / f"{name}.png"
        restore(small, "-o", made[name], "--scale", "4", "--dtype", "f32", *options)
    mix = 0.75 if mix is None else mix
    net_made, own = pixels(made["net"]).astype(float), pixels(made["own"]).astype(float)
    inside = (own > 0) & (own < 255) & (net_made > 0) & (net_made < 255)  # what was cut off is not known here
    assert np.abs(net_made - own)[inside].max() > 5
    assert np.abs(mix * net_made + (1 - mix) * own - pixels(made["mixed"]))[inside].max() < 1.1


def test_the_flow_goes_on_from_its_picture(restore, net, small, tmp_path):
    made = {}
    for name, options in {
        "alone": [*ALONE, "--dr-file", net],
        "little": ["--strength", "0.02", "--sigma-s", "0.01", "--reference-mix", "1", "--dr-file", net],
        "flow": ["--reference-mix", "1", "--dr-file", net],
        "own": [],
    }.items():
        made[name] = tmp_path / f"{name}.png"
        done = restore(small, "-o", made[name], "--scale", "4", "--json", *options)
        calls = json.loads(done.stdout)["items"][0]["nfe"]
        assert calls == 0 if name == "alone" else calls >= 1
    assert difference(made["alone"], made["flow"]).mean() > 0.3, "the flow does something"
    assert difference(made["own"], made["flow"]).mean() > 0.5, "from another start"
    assert difference(made["alone"], made["little"]).mean() < 0.7 * difference(made["own"], made["little"]).mean()


def test_a_search_judges_against_its_picture(restore, net, small, tmp_path):
    options = ["--scale", "2", "--search", "best-of-n", "--candidates", "3", "--rewards", "dr-consistency", "--json"]
    scores = []
    for remover in ([], ["--dr-file", net]):
        trace = tmp_path / f"{len(scores)}.json"
        done = restore(small, "-o", tmp_path / "out.png", "--trace", trace, *options, *remover)
        assert ("remover" in json.loads(done.stdout)["items"][0]["model"]) == bool(remover)
        scores.append([c["scores"]["dr-consistency"] for c in json.loads(trace.read_text())["tiles"][0]["search"]["candidates"]])
    assert len(scores[1]) == 3 and scores[0] != scores[1]


def test_tiles_leave_no_seam(restore, pictures, tmp_path):
    """A deep network without residuals sees as far as its convolutions reach, 12 px: what a border between tiles changes is seen, if anything is."""
    deep = drawn(SRVGGNetCompact(4, features=24, convolutions=10))
    with torch.no_grad():
        for layer in deep.body[0:-1:2]:
            layer.weight.mul_(1.25)
    save_pth(deep, tmp_path / "deep.pth")
    Image.open(pictures / "chelsea.png").resize((192, 144), Image.LANCZOS).save(tmp_path / "in.png")
    options = ["--dr-file", tmp_path / "deep.pth", *ALONE, "--scale", "4", "--dtype", "f32", "--json"]
    report = json.loads(restore(tmp_path / "in.png", "-o", tmp_path / "tiles.png", "--tile", "256", *options).stdout)
    assert report["items"][0]["result"]["tiles"] > 1
    restore(tmp_path / "in.png", "-o", tmp_path / "whole.png", "--tile", "2048", *options)
    tiled, whole = pixels(tmp_path / "tiles.png").astype(int), pixels(tmp_path / "whole.png").astype(int)
    left = tiled - whole
    assert whole.std() > 20 and np.abs(left).mean() < 0.1 and np.abs(left).max() < 8
    # The network's tiles have 112 source pixels, 64 of their own and 24 at each side, and are spread evenly over 192 and 144: at 0, 40, 80 and 0, 32.
    # The ramp over 32 of what they share lies in its middle; its ends, its middle and the tiles' own borders:
    across = sorted(4 * at for middle in (76, 116) for at in (middle - 36, middle - 16, middle, middle + 16, middle + 36))
    down = [4 * at for at in (32, 56, 72, 88, 112)]
    assert seam_score(left, across) < 3 and seam_score(left.swapaxes(0, 1), down) < 3
    left[:, across[1] :] += 1
    assert seam_score(left, across) > 10, "the detector sees a step of one level"


def test_bf16_is_nearly_the_same_picture(restore, net, small, tmp_path):
    for dtype in ("f32", "bf16"):
        restore(small, "-o", tmp_path / f"{dtype}.png", "--dr-file", net, *ALONE, "--scale", "4", "--dtype", dtype)
    assert 0 < difference(tmp_path / "f32.png", tmp_path / "bf16.png").mean() < 0.5


def test_alpha_is_enlarged_too(restore, net, small, tmp_path):
    see_through = Image.open(small).convert("RGBA")
    see_through.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 48).astype(np.uint8), (36, 1))))
    see_through.save(tmp_path / "in.png")
    restore(tmp_path / "in.png", "-o", tmp_path / "out.png", "--dr-file", net, *ALONE, "--scale", "4")
    alpha = pixels(tmp_path / "out.png")[:, :, 3].astype(int)
    wanted = np.asarray(see_through.getchannel("A").resize((192, 144), Image.BICUBIC)).astype(int)
    assert np.abs(alpha - wanted).mean() < 15


def test_a_wheel_and_a_pair_make_the_same_picture(restore, network, small, tmp_path):
    save_pth(network, tmp_path / "net.pth")
    save_ncnn(network, tmp_path / "net.bin")
    save_wheel(tmp_path / "nets.whl", [tmp_path / "net.bin"])
    for i, file in enumerate(("net.pth", "net.bin", "nets.whl:net")):
        restore(small, "-o", tmp_path / f"{i}.png", "--dr-file", tmp_path / file, *ALONE, "--scale", "2")
    assert difference(tmp_path / "0.png", tmp_path / "1.png").max() == 0 and difference(tmp_path / "0.png", tmp_path / "2.png").max() == 0


def test_a_folder_made_with_another_remover_counts_as_not_done(restore, net, small, tmp_path):
    other = tmp_path / "other.pth"
    save_pth(gentle(drawn(SRVGGNetCompact(4), seed=5)), other)
    skipped = []
    for remover in (net, net, other):
        done = restore(small, "-o", f"{tmp_path}/out/", "--dr-file", remover, *ALONE, "--json")
        skipped.append(json.loads(done.stdout)["skipped"])
    assert skipped == [0, 1, 0]


@pytest.mark.parametrize(
    "name, damage, wanted",
    [
        ("net.bin", lambda folder: (folder / "net.bin").write_bytes((folder / "net.bin").read_bytes()[:-100]), "the .bin file ends within layer"),
        ("net.bin", lambda folder: (folder / "net.param").unlink(), "net.param: no such file"),
        ("net.whl:x8", lambda folder: None, "no model 'x8' in it: wanted one of net"),
        ("net.pth", lambda folder: torch.save({"features.weight": torch.zeros(1)}, folder / "net.pth"), "not a network of Real-ESRGAN"),
        ("nothing.pth", lambda folder: None, "nothing.pth: no such file"),
    ],
    ids=["cut", "half a pair", "no such model", "other tensors", "nothing"],
)
def test_a_wrong_file_is_told_before_any_picture(name, damage, wanted, restore, network, small, tmp_path):
    save_pth(network, tmp_path / "net.pth")
    save_ncnn(network, tmp_path / "net.bin")
    save_wheel(tmp_path / "net.whl", [tmp_path / "net.bin"])
    damage(tmp_path)
    before = files_in(tmp_path)
    done = restore(small, "-o", tmp_path / "out.png", "--dr-file", tmp_path / name, code=USER_ERROR)
    assert wanted in done.stderr and files_in(tmp_path) == before
