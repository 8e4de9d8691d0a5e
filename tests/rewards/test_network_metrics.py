"""lpips, lpips-vgg and dists on random weights of the true architectures, in the published layouts, against the papers' formulas in PyTorch."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from program import USER_ERROR, resflow  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PROBE = pathlib.Path(os.environ.get("RESFLOW", pathlib.Path(__file__).resolve().parents[2] / "build" / "resflow")).parent / "tests" / "rewards_probe"
VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # layers whose outputs LPIPS compares


def alexnet():
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(3, 2))


def vgg16():
    layers, width = [], 3
    for word in VGG:
        layers += [nn.MaxPool2d(2, 2)] if word == "M" else [nn.Conv2d(width, word, 3, padding=1), nn.ReLU()]
        width = width if word == "M" else word
    return nn.Sequential(*layers)


class Data:
    """A data folder, and the networks whose files lie there."""

    def __init__(self, folder):
        torch.manual_seed(0)
        self.folder, self.rewards, self.trunks, self.heads = folder, folder / "rewards", {"alex": alexnet(), "vgg": vgg16()}, {}
        (self.rewards / "lpips-v0.1").mkdir(parents=True)
        (self.rewards / "DISTS").mkdir()
        for name, trunk in self.trunks.items():
            for module in trunk:
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
                    nn.init.normal_(module.bias, std=0.2)
            rest = {"classifier.1.weight": torch.rand(4, 4), "classifier.1.bias": torch.rand(4)}
            torch.save({**{f"features.{key}": value for key, value in trunk.state_dict().items()}, **rest}, self.rewards / FILES[name])
            widths = [trunk[tap - 1].out_channels for tap in TAPS[name]]
            self.heads[name] = [torch.rand(1, width, 1, 1) for width in widths]
            torch.save({f"lin{i}.model.1.weight": head for i, head in enumerate(self.heads[name])}, self.rewards / "lpips-v0.1" / f"{name}.pth")
        self.alpha, self.beta = (torch.rand(1, 3 + 64 + 128 + 256 + 512 + 512, 1, 1) for _ in range(2))
        torch.save({"alpha": nn.Parameter(self.alpha), "beta": nn.Parameter(self.beta)}, self.rewards / "DISTS" / "weights.pt")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("data"))


def pictures(seed=0, height=67, width=82):
    generator = torch.Generator().manual_seed(seed)
    reference = F.interpolate(torch.rand(1, 3, height // 4, width // 4, generator=generator), (height, width), mode="bilinear").clamp(0, 1)
    return (reference + 0.1 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 1), reference


def score(folder, tmp_path, metric, prediction, reference):
    for name, image in (("prediction", prediction), ("reference", reference)):
        (tmp_path / name).write_bytes(image.numpy().tobytes())
    # Luma and a border are asked for, which these metrics pay no heed to.
    arguments = (PROBE, "metric", metric, tmp_path / "prediction", tmp_path / "reference", *prediction.shape[2:], 1, 4)
    environment = {**os.environ, "RESFLOW_DATA": str(folder)}
    done = subprocess.run([str(word) for word in arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@torch.no_grad()
def lpips(trunk, taps, heads, a, b):
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    sum = 0
    x, y = ((2 * image.double() - 1 - shift) / scale for image in (a, b))
    trunk = trunk.double()
    for i, layer in enumerate(trunk):
        x, y = layer(x), layer(y)
        if i in taps:
            difference = F.normalize(x, dim=1) - F.normalize(y, dim=1)
            sum += F.conv2d(difference**2, heads[taps.index(i)].double()).mean()
    trunk.float()
    return sum.item()


@pytest.mark.parametrize("metric, net", [("lpips", "alex"), ("lpips-vgg", "vgg")])
def test_lpips_is_the_papers(tmp_path, data, metric, net):
    """1e-6 of the value. Catches: 0..1 or ImageNet's own mean instead of -1..1 and the authors' rounded one, a feature before its ReLU or behind its
    pool, sums over positions, heads in another order, a root of the sum, a cropped border, luma."""
    for seed in (0, 1):
        a, b = pictures(seed)
        wanted = lpips(data.trunks[net], TAPS[net], data.heads[net], a, b)
        assert score(data.folder, tmp_path, metric, a, b) == pytest.approx(wanted, rel=1e-6)
    assert score(data.folder, tmp_path, metric, b, b) == 0


def test_a_file_saved_from_the_whole_lpips_module_needs_no_other(tmp_path, data):
    """Catches: layers under the package's own names that are not found, or are taken from another file."""
    cuts, state = (0, 2, 5, 8, 10, 12), {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for key, value in data.trunks["alex"].state_dict().items():
        number = int(key.split(".")[0])
        state[f"net.slice{sum(number >= cut for cut in cuts)}.{key}"] = value
    for i, head in enumerate(data.heads["alex"]):
        state |= {f"lin{i}.model.1.weight": head, f"lins.{i}.model.1.weight": head}
    (tmp_path / "rewards" / "lpips-v0.1").mkdir(parents=True)
    torch.save(state, tmp_path / "rewards" / "lpips-v0.1" / "alex.pth")
    assert score(tmp_path, tmp_path, "lpips", *pictures()) == score(data.folder, tmp_path, "lpips", *pictures())


def l2_pool(x):
    hanning = torch.from_numpy(np.hanning(5)[1:-1])
    window = torch.outer(hanning, hanning)
    window = (window / window.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x**2, window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


@torch.no_grad()
def dists(trunk, alpha, beta, a, b):
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    maps = [[image.double()] for image in (a, b)]
    trunk = trunk.double()
    for of_one in maps:
        x = (of_one[0] - mean) / deviation
        for i, layer in enumerate(trunk):
            x = l2_pool(x) if isinstance(layer, nn.MaxPool2d) else layer(x)
            if i in TAPS["vgg"]:
                of_one.append(x)
    trunk.float()
    total, place = 0, 0
    for x, y in zip(*maps, strict=True):
        x, y = x.flatten(2)[0], y.flatten(2)[0]
        (mx, vx), (my, vy) = ((z.mean(1), z.var(1, unbiased=False)) for z in (x, y))
        covariance = (x * y).mean(1) - mx * my
        here = slice(place, place := place + len(x))
        total += (alpha.flatten()[here] * (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)).sum()
        total += (beta.flatten()[here] * (2 * covariance + 1e-6) / (vx + vy + 1e-6)).sum()
    return (1 - total / (alpha.sum() + beta.sum())).item()


def test_dists_is_the_papers(tmp_path, data):
    """1e-6 of numbers of 0.02 and more. Catches: max pools, a window of another width or without the zeros outside, variances over n - 1, alpha and
    beta interchanged, maps in another order, the picture itself left out or normalised, a resize."""
    for seed in (0, 1):
        a, b = pictures(seed)
        wanted = dists(data.trunks["vgg"], data.alpha, data.beta, a, b)
        assert wanted > 0.02
        assert score(data.folder, tmp_path, "dists", a, b) == pytest.approx(wanted, abs=1e-6)
    assert score(data.folder, tmp_path, "dists", b, b) == pytest.approx(0, abs=1e-6)


def test_eval_measures_them_by_name_only(tmp_path, data):
    """Catches: a plain eval that asks for files nobody has, a mean that is not of the pictures' numbers, a metric re-made for the report."""
    image = pytest.importorskip("PIL.Image")
    for folder, index in (("pred", 0), ("ref", 1)):
        (tmp_path / folder).mkdir()
        for seed in (0, 1):
            pixels = (pictures(seed)[index][0] * 255).round().byte().permute(1, 2, 0).numpy()
            image.fromarray(pixels).save(tmp_path / folder / f"{seed}.png")
    arguments = ("eval", "--pred", tmp_path / "pred", "--ref", tmp_path / "ref")
    environment = {**os.environ, "RESFLOW_DATA": str(data.folder)}
    report = json.loads(resflow(*arguments, "--metrics", "lpips,dists,psnr", "--json", env=environment).stdout)
    assert report["options"]["metrics"] == ["lpips", "dists", "psnr"]
    assert report["higher_is_better"] == {"lpips": False, "dists": False, "psnr": True}
    for metric in ("lpips", "dists"):
        rows = [row[metric] for row in report["files"]]
        assert len(rows) == 2 and min(rows) > 0
        assert report["mean"][metric] == pytest.approx(np.mean(rows))
    assert json.loads(resflow(*arguments, "--json").stdout)["options"]["metrics"] == ["psnr", "ssim", "niqe"]


@pytest.mark.parametrize(
    "metric, told",
    [
        ("lpips", ["rewards/lpips-v0.1/alex.pth", "richzhang/PerceptualSimilarity", "BSD-2-Clause", "RESFLOW_DATA"]),
        ("dists", ["rewards/DISTS/weights.pt", "dingkeyan93/DISTS", "MIT"]),
        ("fid", ["rewards/pt_inception-2015-12-05-6726825d.pth", "mseitzer/pytorch-fid", "Apache-2.0"]),
    ],
)
def test_a_missing_file_is_told_with_its_origin(tmp_path, metric, told):
    """Catches: an error for each picture, or one that does not say what to fetch."""
    environment = {**os.environ, "RESFLOW_DATA": str(tmp_path)}
    said = resflow("eval", "--pred", tmp_path, "--ref", tmp_path, "--metrics", metric, code=USER_ERROR, env=environment).stderr
    assert all(word in said for word in told), said


def test_files_of_another_network_are_a_user_error_with_both_shapes(tmp_path, data):
    """Catches: a trunk bound by name alone."""
    (tmp_path / "rewards" / "lpips-v0.1").mkdir(parents=True)
    (tmp_path / "rewards" / "lpips-v0.1" / "alex.pth").symlink_to(data.rewards / "lpips-v0.1" / "alex.pth")
    (tmp_path / "rewards" / FILES["alex"]).symlink_to(data.rewards / FILES["vgg"])
    environment = {**os.environ, "RESFLOW_DATA": str(tmp_path)}
    said = resflow("eval", "--pred", tmp_path, "--ref", tmp_path, "--metrics", "lpips", code=USER_ERROR, env=environment).stderr
    assert all(word in said for word in ("AlexNet", "[64, 3, 11, 11]", "[64, 3, 3, 3]")), said
