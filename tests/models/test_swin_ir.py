"""SwinIR computes what PyTorch does: every published layout in small, on random weights, against an own description and against spandrel's copy of
the authors' code."""

import pytest
import torch
from models_probe import relative_error, run
from program import USER_ERROR, resflow
from safetensors.torch import save_file
from swin_ir_reference import SwinIR, drawn, spandrel_swin_ir

LAYOUTS = {
    "general_swinir_v1": dict(end="nearest+conv", upscale=8, fold=8, width=30, depths=(2, 3), heads=(3, 5)),
    "classical x2": dict(end="pixelshuffle", upscale=2),
    "classical x3": dict(end="pixelshuffle", upscale=3, depths=(1,), heads=(4,)),
    "classical x4": dict(end="pixelshuffle", upscale=4, depths=(2, 1, 2), heads=(3, 3, 3)),
    "classical x8": dict(end="pixelshuffle", upscale=8, depths=(2,), heads=(2,)),
    "lightweight x4": dict(end="pixelshuffledirect", upscale=4, ratio=3),
    "real-world x4, medium": dict(end="nearest+conv", upscale=4),
    "real-world x4, large": dict(end="nearest+conv", upscale=4, three=True, width=32, heads=(4, 4)),
    "real-world x2": dict(end="nearest+conv", upscale=2),
    "noise": dict(end=""),
    "JPEG": dict(end="", window=7),
}
LIMIT = 1e-4  # of the largest value; rounding in float32 leaves about 1e-6


@pytest.fixture
def image():
    """Two pictures whose sides no window divides."""
    return torch.rand(2, 3, 45, 70, generator=torch.Generator().manual_seed(1))


def enlarged(folder, file, network, image, dtype="f32"):
    """Ours sees whole windows; what they add is cut off again."""
    scale = network.upscale // network.fold
    out = run(folder, "esrgan", {"image": network.padded(image)}, file=file, dtype=dtype)["out"]
    return out[:, :, : image.shape[2] * scale, : image.shape[3] * scale]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_checkpoint_computes_what_pytorch_does(name, tmp_path, image):
    network = drawn(SwinIR(**LAYOUTS[name]))
    with torch.no_grad():
        wanted = network(image)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    ours = enlarged(tmp_path, tmp_path / "net.pth", network, image)
    assert relative_error(ours, wanted) < LIMIT
    assert wanted.std() > 0.05, "the network does something"
    half = enlarged(tmp_path, tmp_path / "net.pth", network, image, dtype="bf16")
    assert 0 < (half - wanted).abs().mean() < 0.02 * wanted.abs().max()


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    found = spandrel_swin_ir(tmp_path_factory.mktemp("spandrel"))
    return found or pytest.skip("spandrel is not to be had here")


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_authors_own_code_agrees(name, published, tmp_path, image):
    told = {"width": 24, "depths": (2, 2), "heads": (3, 3), "window": 8, "ratio": 2, "three": False, "fold": 1, "upscale": 1} | LAYOUTS[name]
    network = drawn(
        published(
            img_size=18 * told["window"], in_chans=3, embed_dim=told["width"], depths=list(told["depths"]), num_heads=list(told["heads"]), window_size=told["window"],
            mlp_ratio=told["ratio"], upscale=told["upscale"], img_range=255.0 if told["window"] == 7 else 1.0, upsampler=told["end"],
            resi_connection="3conv" if told["three"] else "1conv", start_unshuffle=told["fold"],
        )
    )  # fmt: skip
    state = network.state_dict()
    assert any(name.endswith("attn_mask") for name in state) or told["depths"] == (1,), "what is made anew is in the file too"
    if told["fold"] > 1:  # DiffBIR has the fold and the convolution in one nn.Sequential
        for kind in ("weight", "bias"):
            state[f"conv_first.1.{kind}"] = state.pop(f"conv_first.{kind}")
        network.check_image_size = lambda x: x  # theirs pads before the fold, too little for windows behind it: DiffBIR pads outside
    torch.save({"params_ema": state}, tmp_path / "net.pth")
    padded = SwinIR(**LAYOUTS[name]).padded(image)
    with torch.no_grad():
        wanted = network(padded)
    ours = run(tmp_path, "esrgan", {"image": padded}, file=tmp_path / "net.pth", dtype="f32")["out"]
    assert relative_error(ours, wanted[:, :, : ours.shape[2], : ours.shape[3]]) < LIMIT


def general():
    return drawn(SwinIR(**LAYOUTS["general_swinir_v1"]))


@pytest.mark.parametrize("kind", ["state_dict", "plain", "module", "safetensors"])
def test_every_file_is_the_same_network(kind, tmp_path, image):
    network = general()
    state = network.state_dict()
    if kind == "safetensors":
        save_file(state, tmp_path / "net.ckpt")  # told by its bytes
    elif kind == "module":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "net.ckpt")
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "state_dict" else state, tmp_path / "net.ckpt")
    with torch.no_grad():
        assert relative_error(enlarged(tmp_path, tmp_path / "net.ckpt", network, image), network(image)) < LIMIT


def changed(**tensors):
    """Of the state dict: None takes a tensor away."""

    def change(state):
        for name, tensor in tensors.items():
            name = name.replace("__", ".")
            assert name in state
            state.pop(name)
            if tensor is not None:
                state[name] = tensor
        return state

    return change


TABLE = "layers__0__residual_group__blocks__0__attn__relative_position_bias_table"
BROKEN = {
    "grey": (changed(conv_first__1__weight=torch.zeros(30, 64, 3, 3)), ["sees no picture of three channels", "got 64"]),
    "grey made": (changed(conv_last__weight=torch.zeros(1, 16, 3, 3)), ["makes no picture of three channels", "got 1"]),
    "no window": (changed(**{TABLE: torch.zeros(196, 3)}), ["fits no window", "got 196"]),
    "a huge window": (changed(**{TABLE: torch.zeros(1001**2, 3)}), ["fits no window", "got 1002001"]),
    "heads that do not divide": (changed(**{TABLE: torch.zeros(225, 7)}), ["no multiple of the heads", "7 heads"]),
    "no scale": (changed(conv_up3__weight=None), ["scale is no whole number", "x4 of a picture folded by 8"]),
    "a missing bias": (changed(layers__1__residual_group__blocks__2__attn__qkv__bias=None), ["1 missing", "blocks.2.attn.qkv.bias"]),
    "another shape": (changed(layers__0__residual_group__blocks__1__mlp__fc2__weight=torch.zeros(30, 61)), ["fc2.weight", "[30, 61]"]),
    "an absolute position": (lambda state: state | {"absolute_pos_embed": torch.zeros(1, 4, 30)}, ["unexpected", "absolute_pos_embed"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_file_is_told(case, tmp_path):
    change, wanted = BROKEN[case]
    torch.save(change(dict(general().state_dict())), tmp_path / "net.pth")
    told = run(tmp_path, "esrgan", {"image": torch.rand(1, 3, 64, 64)}, code=USER_ERROR, file=tmp_path / "net.pth", dtype="f32")
    for words in wanted:
        assert words in told, told


def test_inspect_names_the_network(tmp_path):
    torch.save({"state_dict": general().state_dict()}, tmp_path / "net.ckpt")
    told = resflow("inspect", tmp_path / "net.ckpt").stdout
    assert "SwinIR, 2 groups of 5 blocks in all, width 30, windows of 8, picture folded by 8, x1" in told
    assert "--dr-file" in told and "fingerprint" in told
    torch.save(changed(conv_last__weight=torch.zeros(1, 16, 3, 3))(dict(general().state_dict())), tmp_path / "grey.pth")
    told = resflow("inspect", tmp_path / "grey.pth").stdout
    assert "SwinIR; used by" in told and "cannot be used" in told and "three channels" in told


def test_the_published_size_is_read(tmp_path):
    """general_swinir_v1 has 15.8 M parameters; its file is 63 MB."""
    network = SwinIR(end="nearest+conv", upscale=8, fold=8, width=180, depths=(6,) * 8, heads=(6,) * 8, features=64)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "general_swinir_v1.ckpt")
    told = resflow("inspect", tmp_path / "general_swinir_v1.ckpt").stdout
    assert "SwinIR, 8 groups of 48 blocks in all, width 180, windows of 8, picture folded by 8, x1" in told
