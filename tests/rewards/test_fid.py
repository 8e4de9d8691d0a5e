"""fid on random weights of the true Inception-v3, in pytorch-fid's layout, against plain PyTorch and the published formula."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
linalg = pytest.importorskip("scipy.linalg")

from program import USER_ERROR, resflow  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PROBE = pathlib.Path(os.environ.get("RESFLOW", pathlib.Path(__file__).resolve().parents[2] / "build" / "resflow")).parent / "tests" / "rewards_probe"
NAME = "pt_inception-2015-12-05-6726825d.pth"


class Conv(nn.Module):
    def __init__(self, width_in, width, kernel, stride=1, padding=0):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width_in, width, kernel, stride, padding, bias=False), nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


def mean_pool(x):
    """TensorFlow's: the padding does not count."""
    ones = torch.ones_like(x[:1, :1])
    return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)


class Block(nn.Module):
    """Branches by name: (pool before, the convolutions in turn); the last may be a pair whose outputs are joined."""

    def __init__(self, branches, max_pooled=False):
        super().__init__()
        self.branches, self.max_pooled = [], max_pooled
        for pool, *layers in branches:
            for name, *arguments in layers:
                self.add_module(name, Conv(*arguments))
            self.branches.append((pool, [name for name, *_ in layers]))

    def forward(self, x):
        out = []
        for pool, names in self.branches:
            y = pool(x) if pool else x
            pair = [name for name in names if name[-1] in "ab"]
            for name in names[: len(names) - len(pair)]:
                y = getattr(self, name)(y)
            out += [getattr(self, name)(y) for name in pair] or [y]
        return torch.cat(out + [F.max_pool2d(x, 3, 2)] * self.max_pooled, 1)


def block_a(w, pooled):
    double = (None, ("branch3x3dbl_1", w, 64, 1), ("branch3x3dbl_2", 64, 96, 3, 1, 1), ("branch3x3dbl_3", 96, 96, 3, 1, 1))
    five = (None, ("branch5x5_1", w, 48, 1), ("branch5x5_2", 48, 64, 5, 1, 2))
    return Block([(None, ("branch1x1", w, 64, 1)), five, double, (mean_pool, ("branch_pool", w, pooled, 1))])


def block_b(w):
    double = (None, ("branch3x3dbl_1", w, 64, 1), ("branch3x3dbl_2", 64, 96, 3, 1, 1), ("branch3x3dbl_3", 96, 96, 3, 2))
    return Block([(None, ("branch3x3", w, 384, 3, 2)), double], max_pooled=True)


def block_c(w, c):
    wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    seven = (None, ("branch7x7_1", w, c, 1), ("branch7x7_2", c, c, *wide), ("branch7x7_3", c, 192, *tall))
    double = [(f"branch7x7dbl_{i}", c, c if i < 5 else 192, *(wide if i % 2 else tall)) for i in (2, 3, 4, 5)]
    pooled = (mean_pool, ("branch_pool", w, 192, 1))
    return Block([(None, ("branch1x1", w, 192, 1)), seven, (None, ("branch7x7dbl_1", w, c, 1), *double), pooled])


def block_d(w):
    seven = (("branch7x7x3_2", 192, 192, (1, 7), 1, (0, 3)), ("branch7x7x3_3", 192, 192, (7, 1), 1, (3, 0)), ("branch7x7x3_4", 192, 192, 3, 2))
    three = (None, ("branch3x3_1", w, 192, 1), ("branch3x3_2", 192, 320, 3, 2))
    return Block([three, (None, ("branch7x7x3_1", w, 192, 1), *seven)], max_pooled=True)


def block_e(w, pool):
    def pair(name):
        return (f"{name}a", 384, 384, (1, 3), 1, (0, 1)), (f"{name}b", 384, 384, (3, 1), 1, (1, 0))

    three = (None, ("branch3x3_1", w, 384, 1), *pair("branch3x3_2"))
    double = (None, ("branch3x3dbl_1", w, 448, 1), ("branch3x3dbl_2", 448, 384, 3, 1, 1), *pair("branch3x3dbl_3"))
    return Block([(None, ("branch1x1", w, 320, 1)), three, double, (pool, ("branch_pool", w, 192, 1))])


def inception():
    layers = {
        "Conv2d_1a_3x3": Conv(3, 32, 3, 2), "Conv2d_2a_3x3": Conv(32, 32, 3), "Conv2d_2b_3x3": Conv(32, 64, 3, 1, 1), "pool1": nn.MaxPool2d(3, 2),
        "Conv2d_3b_1x1": Conv(64, 80, 1), "Conv2d_4a_3x3": Conv(80, 192, 3), "pool2": nn.MaxPool2d(3, 2),
        "Mixed_5b": block_a(192, 32), "Mixed_5c": block_a(256, 64), "Mixed_5d": block_a(288, 64), "Mixed_6a": block_b(288),
        "Mixed_6b": block_c(768, 128), "Mixed_6c": block_c(768, 160), "Mixed_6d": block_c(768, 160), "Mixed_6e": block_c(768, 192),
        "Mixed_7a": block_d(768), "Mixed_7b": block_e(1280, mean_pool), "Mixed_7c": block_e(2048, lambda x: F.max_pool2d(x, 3, 1, 1)),
    }  # fmt: skip
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.6, 1.4)
    return model.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """-> data folder, the network"""
    torch.manual_seed(0)
    folder, model = tmp_path_factory.mktemp("data"), inception()
    (folder / "rewards").mkdir()
    torch.save({**model.state_dict(), "fc.weight": torch.rand(8, 8), "fc.bias": torch.rand(8)}, folder / "rewards" / NAME)
    return folder, model


def pictures(count, seed, height=150, width=401):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 9, generator=generator)
    fine = torch.randn(count, 3, height, width, generator=generator) * torch.rand(count, 1, 1, 1, generator=generator)
    return ((F.interpolate(coarse, (height, width), mode="bicubic") + 0.3 * fine).clamp(0, 1) * 255).round() / 255


@torch.no_grad()
def features(model, images):
    seen = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
    return torch.cat([model(2 * image[None] - 1).mean((2, 3)) for image in seen]).double().numpy()


def distance(a, b):
    """The published formula, in the space that the features span: elsewhere both covariances are 0."""
    basis = linalg.orth(np.concatenate([a - a.mean(0), b - b.mean(0)]).T)
    one, other = (np.cov(x @ basis, rowvar=False) for x in (a, b))
    root = np.asarray(linalg.sqrtm(one @ other)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * np.trace(root)


def probe(folder, *arguments):
    done = subprocess.run([str(word) for word in (PROBE, *arguments)], capture_output=True, text=True, env={**os.environ, "RESFLOW_DATA": str(folder)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_features_are_pytorch_fids(tmp_path, data):
    """1e-4 of the largest. Catches: pools that count the padding, a mean instead of the last block's max, branches in another order, 1x7 for 7x1, batch
    norm's epsilon, an antialiased resize or one with aligned corners, 0..1 instead of -1..1."""
    folder, model = data
    images = pictures(2, seed=0)
    (tmp_path / "images").write_bytes(images.numpy().tobytes())
    probe(folder, "set_features", "fid", tmp_path / "images", *(images.shape[i] for i in (0, 2, 3)), tmp_path / "out")
    ours, wanted = np.fromfile(tmp_path / "out", np.float32).reshape(2, 2048), features(model, images)
    assert wanted.std(0).mean() > 1e-3 * wanted.max()  # the pictures differ
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-4 * wanted.max())


@pytest.mark.parametrize("n, m, width", [(60, 45, 8), (60, 5, 8), (4, 6, 40)], ids=["full rank", "one of them singular", "both singular"])
def test_the_distance_is_the_published_formula(tmp_path, n, m, width):
    """1e-6, in double; 1e-4 where scipy's root of a singular matrix is the less exact one. Catches: covariances over n, a root of each covariance by
    itself, features cut to fewer dimensions."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(width, width))
    a, b = (rng.normal(size=(n, width)) @ mix).astype(np.float32), (rng.normal(size=(m, width)) + 0.3).astype(np.float32)
    for name, values in (("a", a), ("b", b)):
        (tmp_path / name).write_bytes(values.tobytes())
    ours = float(probe(tmp_path, "frechet", tmp_path / "a", n, tmp_path / "b", m, width))
    a, b = a.astype(np.float64), b.astype(np.float64)
    singular = min(n, m) <= width
    if not singular:
        root = np.asarray(linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))).real
        trace = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False)) - 2 * np.trace(root)
        assert ours == pytest.approx(((a.mean(0) - b.mean(0)) ** 2).sum() + trace, rel=1e-6)
    assert ours == pytest.approx(distance(a, b), rel=1e-4 if singular else 1e-6)


def save(folder, images, prefix):
    image = pytest.importorskip("PIL.Image")
    folder.mkdir()
    for i, pixels in enumerate((images * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        image.fromarray(pixels).save(folder / f"{prefix}{i}.png")


def test_eval_compares_two_folders_whose_pictures_have_no_partners(tmp_path, data):
    """1e-4 of the value. Catches: only pairs read, one folder compared with itself, fid taken for a mean over pictures, prediction and
    reference mixed."""
    folder, model = data
    ours, theirs = pictures(3, seed=1), pictures(2, seed=2, height=120, width=96)
    save(tmp_path / "pred", ours, "p")
    save(tmp_path / "ref", theirs, "r")
    environment = {**os.environ, "RESFLOW_DATA": str(folder)}
    arguments = ("eval", "--pred", tmp_path / "pred", "--ref", tmp_path / "ref", "--metrics", "fid", "--threads", 1)
    report = json.loads(resflow(*arguments, "--json", env=environment).stdout)
    assert report["sets"]["fid"] == pytest.approx(distance(features(model, ours), features(model, theirs)), rel=1e-4)
    assert report["higher_is_better"] == {"fid": False} and "mean" not in report
    assert report["files"] == [{"name": f"p{i}"} for i in range(3)]


def test_fid_beside_a_metric_of_pairs_sees_the_same_folders(tmp_path, data):
    """Catches: references that only the other metric gets, a number of the set in the table of pictures."""
    save(tmp_path / "pred", pictures(2, seed=1), "p")
    environment = {**os.environ, "RESFLOW_DATA": str(data[0])}
    arguments = ("eval", "--pred", tmp_path / "pred", "--ref", tmp_path / "pred", "--metrics", "fid,psnr", "--threads", 1)
    table = resflow(*arguments, env=environment).stdout.split("\n")
    assert table[0].split() == ["psnr"] and table[-3].split()[0] == "mean"
    name, value = table[-2].split()
    assert name == "fid" and float(value) == pytest.approx(0, abs=1e-3)


def test_one_picture_or_no_reference_is_a_user_error(tmp_path, data):
    """Catches: a covariance of one picture, which is not a number."""
    save(tmp_path / "pred", pictures(1, seed=1), "p")
    options = {"code": USER_ERROR, "env": {**os.environ, "RESFLOW_DATA": str(data[0])}}
    arguments = ("eval", "--pred", tmp_path / "pred", "--metrics", "fid", "--threads", 1)
    assert "too few" in resflow(*arguments, "--ref", tmp_path / "pred", **options).stderr
    assert "reference" in resflow(*arguments, **options).stderr


def test_torchvisions_own_inception_is_refused(tmp_path, data):
    """Catches: numbers of another network under FID's name."""
    (tmp_path / "rewards").mkdir()
    torch.save({**torch.load(data[0] / "rewards" / NAME), "AuxLogits.conv0.conv.weight": torch.rand(2)}, tmp_path / "rewards" / NAME)
    environment = {**os.environ, "RESFLOW_DATA": str(tmp_path)}
    said = resflow("eval", "--pred", tmp_path, "--ref", tmp_path, "--metrics", "fid", code=USER_ERROR, env=environment).stderr
    assert "AuxLogits" in said
