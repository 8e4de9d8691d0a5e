"""`resflow restore --dr-file` with SwinIR: DiffBIR's general_swinir_v1 in place and enlarging, and the authors' own layouts. Small random networks."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from program import USER_ERROR, resflow

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from swin_ir_reference import SwinIR, drawn  # noqa: E402

ALONE = ("--strength", "0", "--reference-mix", "1")  # the network's own picture
NETWORKS = {
    "general": dict(end="nearest+conv", upscale=8, fold=8),
    "classical": dict(end="pixelshuffle", upscale=4),
    "noise": dict(end=""),
    "jpeg": dict(end="", window=7),
}


def gentle(network):
    """Its picture stays near the middle grey, whatever is drawn: nothing is cut off at 0 or 1."""
    with torch.no_grad():
        network.conv_last.weight.mul_(0.15)
    return network


@pytest.fixture(scope="session")
def nets(tmp_path_factory):
    """name -> (network, file)"""
    folder = tmp_path_factory.mktemp("nets")
    out = {}
    for name, told in NETWORKS.items():
        network = gentle(drawn(SwinIR(**told)))
        file = folder / ("general_swinir_v1.ckpt" if name == "general" else f"{name}.pth")
        torch.save({"state_dict": network.state_dict()} if name == "general" else {"params": network.state_dict()}, file)
        out[name] = (network, file)
    return out


@pytest.fixture(scope="session")
def odd(tmp_path_factory, pictures):
    """One picture of 75 x 58: no window divides its sides."""
    path = tmp_path_factory.mktemp("odd") / "chelsea.png"
    Image.open(pictures / "chelsea.png").convert("RGB").resize((75, 58), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="session")
def restore(tiny):
    return lambda *arguments, **options: resflow("restore", "--model", tiny.model, "--no-checks", "--dtype", "f32", *arguments, **options)


def pixels(path):
    return np.asarray(Image.open(path)).astype(np.float32)


def resized(planes, size, kernel):
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., c])).resize(size, kernel)) for c in range(3)], -1)


def made_by(network, planes):
    """[H, W, 3], 0..255 -> what PyTorch makes of it, the same way, not rounded."""
    image = torch.from_numpy(np.ascontiguousarray(planes)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return network(image).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("name", ["general", "noise", "jpeg"])
def test_it_restores_in_place(name, nets, restore, odd, tmp_path):
    network, file = nets[name]
    done = restore(odd, "-o", tmp_path / "out.png", "--dr-file", file, *ALONE, "--scale", "1", "--json")
    wanted, made = made_by(network, pixels(odd)), pixels(tmp_path / "out.png")
    assert np.abs(wanted - made).max() < 0.51
    assert np.abs(wanted - pixels(odd)).mean() > 3 and wanted.std() > 3, "the network does something"
    told = json.loads(done.stdout)["items"][0]["model"]["remover"]
    assert told["name"] == file.name and told["scale"] == 1 and told["architecture"].startswith("SwinIR, 2 groups of 4 blocks")


def test_diffbirs_sees_the_picture_enlarged(nets, restore, odd, tmp_path):
    network, file = nets["general"]
    restore(odd, "-o", tmp_path / "out.png", "--dr-file", file, *ALONE, "--scale", "4")
    enlarged = resized(pixels(odd), (300, 232), Image.BICUBIC).clip(0, 255)
    made = pixels(tmp_path / "out.png")
    assert made.shape == (232, 300, 3) and np.abs(made_by(network, enlarged) - made).max() < 0.6


def test_diffbirs_does_not_see_a_picture_made_smaller(nets, restore, odd, tmp_path):
    network, file = nets["general"]
    restore(odd, "-o", tmp_path / "out.png", "--dr-file", file, *ALONE, "--width", "50")
    wanted = resized(made_by(network, pixels(odd)), (50, 39), Image.LANCZOS).clip(0, 255)
    assert np.abs(wanted - pixels(tmp_path / "out.png")).max() < 0.6


@pytest.mark.parametrize("name, scale", [("classical", 4), ("classical", 2), ("classical", 1), ("noise", 2)])
def test_the_others_see_it_as_it_is(name, scale, nets, restore, odd, tmp_path):
    network, file = nets[name]
    restore(odd, "-o", tmp_path / "out.png", "--dr-file", file, *ALONE, "--scale", scale)
    made = made_by(network, pixels(odd))
    wanted = made if made.shape[0] == 58 * scale else resized(made, (75 * scale, 58 * scale), Image.LANCZOS).clip(0, 255)
    assert np.abs(wanted - pixels(tmp_path / "out.png")).max() < 0.6


def test_the_flow_goes_on_from_its_picture(nets, restore, odd, tmp_path):
    made = {}
    for name, options in {"alone": [*ALONE], "flow": ["--reference-mix", "1"]}.items():
        done = restore(odd, "-o", tmp_path / f"{name}.png", "--dr-file", nets["general"][1], "--scale", "2", "--json", *options)
        made[name] = pixels(tmp_path / f"{name}.png")
        assert (json.loads(done.stdout)["items"][0]["nfe"] > 0) == (name == "flow")
    assert np.abs(made["alone"] - made["flow"]).mean() > 0.3


@pytest.mark.parametrize("name", ["general", "classical"])
def test_tiles_go_over_into_each_other(name, nets, restore, pictures, tmp_path):
    _, file = nets[name]
    size = (520, 390) if name == "general" else (200, 150)
    Image.open(pictures / "coffee.png").convert("RGB").resize(size, Image.LANCZOS).save(tmp_path / "in.png")
    options = ["--dr-file", file, *ALONE, "--scale", "1" if name == "general" else "4"]
    for tile in (128, 2048):
        restore(tmp_path / "in.png", "-o", tmp_path / f"{tile}.png", "--tile", tile, "--overlap", "16", *options)
    left = np.abs(pixels(tmp_path / "128.png") - pixels(tmp_path / "2048.png"))
    assert 0 < left.mean() < 0.5 and left.max() < 12, (left.mean(), left.max())


def test_a_wrong_file_is_told_before_any_picture(nets, restore, odd, tmp_path):
    state = dict(nets["general"][0].state_dict())
    del state["layers.1.conv.bias"]
    torch.save(state, tmp_path / "net.pth")
    done = restore(odd, "-o", tmp_path / "out.png", "--dr-file", tmp_path / "net.pth", code=USER_ERROR)
    assert "1 missing: layers.1.conv.bias" in done.stderr and not (tmp_path / "out.png").exists()
