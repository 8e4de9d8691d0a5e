"""psnr, ssim and niqe against scikit-image and against numpy written from the papers' formulas."""
import math
import os
import pathlib
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

ndimage = pytest.importorskip("scipy.ndimage")
special = pytest.importorskip("scipy.special")
data = pytest.importorskip("skimage.data")
metrics = pytest.importorskip("skimage.metrics")
Image = pytest.importorskip("PIL.Image")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "rewards_probe"


def score(tmp_path, metric, prediction, reference=None, luma=True, crop_border=4):
    paths = []
    for name, image in (("prediction", prediction), ("reference", reference)):
        paths.append("-" if image is None else tmp_path / name)
        if image is not None:
            paths[-1].write_bytes((image.astype(np.float32) / 255).transpose(2, 0, 1).tobytes())
    args = [PROBE, "metric", metric, *paths, *prediction.shape[:2], int(luma), crop_border]
    return float(subprocess.run([str(a) for a in args], check=True, capture_output=True, text=True).stdout)


def luma(image):
    """ITU-R BT.601, 8-bit video range."""
    return 16 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def photograph():
    return data.astronaut()[:416, :480]


def degraded(image):
    small = Image.fromarray(image).resize((image.shape[1] // 3, image.shape[0] // 3), Image.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    return np.clip(np.round(np.array(small.resize(image.shape[1::-1], Image.BICUBIC)) + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("use_luma,border", [(True, 4), (True, 0), (False, 4), (False, 7)])
def test_psnr_and_ssim_equal_scikit_image(tmp_path, use_luma, border):
    reference = photograph()
    prediction = degraded(reference)
    inner = slice(border, -border or None)
    a, b = (luma(x) if use_luma else x.astype(np.float64) for x in (prediction, reference))
    a, b = a[inner, inner], b[inner, inner]
    psnr = metrics.peak_signal_noise_ratio(b, a, data_range=255)
    ssim = metrics.structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=None if use_luma else 2
    )
    assert score(tmp_path, "psnr", prediction, reference, use_luma, border) == pytest.approx(psnr, abs=1e-4)
    assert score(tmp_path, "ssim", prediction, reference, use_luma, border) == pytest.approx(ssim, abs=1e-5)


# NIQE, Mittal et al. 2013, equations 1-10. The moment estimates of the asymmetric generalised Gaussian are those of Lasmar, Stitou and
# Berthoumieu 2009.
SHAPES = 0.2 + 0.001 * np.arange(9801)
MOMENT_RATIOS = special.gamma(2 / SHAPES) ** 2 / special.gamma(1 / SHAPES) / special.gamma(3 / SHAPES)


def asymmetric_gaussian(values):
    sigma_left, sigma_right = (math.sqrt((side**2).mean()) for side in (values[values < 0], values[values > 0]))
    gamma_hat = sigma_left / sigma_right
    r_hat = np.abs(values).mean() ** 2 / (values**2).mean()
    big_r = r_hat * (gamma_hat**3 + 1) * (gamma_hat + 1) / (gamma_hat**2 + 1) ** 2
    shape = SHAPES[np.abs(MOMENT_RATIOS - big_r).argmin()]
    to_beta = math.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, sigma_left * to_beta, sigma_right * to_beta


def block_statistics(block):
    shape, left, right = asymmetric_gaussian(block)
    statistics = [shape, (left + right) / 2]
    for axes, steps in (((1,), (1,)), ((0,), (1,)), ((0, 1), (1, 1)), ((0, 1), (1, -1))):
        shape, left, right = asymmetric_gaussian(block * np.roll(block, steps, axes))
        mean = (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)
        statistics += [shape, mean, left, right]
    return statistics


def matlab_halved(image):
    """imresize(image, 0.5): cubic convolution (a = -1/2) stretched by 2 against aliasing, the picture mirrored at its edge."""
    t = np.abs(np.arange(-4, 4) + 0.5) / 2
    weights = np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(3, 3) if i == axis else (0, 0) for i in (0, 1)], mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 8, axis=axis)
        image = (windows[::2] if axis == 0 else windows[:, ::2]) @ weights
    return image


def niqe(image):
    parameters = load_file(ROOT / "weights" / "niqe.safetensors")
    rows, columns = image.shape[0] // 96, image.shape[1] // 96
    y = np.round(luma(image))[: rows * 96, : columns * 96]
    statistics = []
    for size in (96, 48):
        mean = ndimage.correlate(y, parameters["window"], mode="nearest")
        variance = ndimage.correlate(y * y, parameters["window"], mode="nearest") - mean * mean
        blocks = ((y - mean) / (np.sqrt(np.abs(variance)) + 1)).reshape(rows, size, columns, size).swapaxes(1, 2).reshape(-1, size, size)
        statistics.append([block_statistics(block) for block in blocks])
        y = matlab_halved(y)
    statistics = np.concatenate(statistics, axis=1)
    difference = parameters["mean"] - statistics.mean(0)
    return math.sqrt(difference @ np.linalg.pinv((parameters["covariance"] + np.cov(statistics.T)) / 2) @ difference)


# 0.3 %: the picture's edge is where MATLAB's resize mirrors and ours, as Pillow's, weighs the pixels there are.
@pytest.mark.parametrize("make", [photograph, lambda: degraded(photograph()), lambda: data.cat()[:256, :288]], ids=["photograph", "degraded", "cat"])
def test_niqe_equals_the_papers_formulas(tmp_path, make):
    image = make()
    assert score(tmp_path, "niqe", image) == pytest.approx(niqe(image), rel=3e-3)


def test_niqe_parameters_are_the_published_ones():
    parameters = load_file(ROOT / "weights" / "niqe.safetensors")
    window = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    np.testing.assert_allclose(parameters["window"], np.outer(window, window) / window.sum() ** 2, atol=1e-15)
    np.testing.assert_allclose(parameters["covariance"], parameters["covariance"].T, atol=1e-12)
    assert np.linalg.eigvalsh(parameters["covariance"]).min() > 0


def test_a_blurred_photograph_scores_worse_everywhere(tmp_path):
    reference = photograph()
    worse = degraded(reference)
    assert score(tmp_path, "niqe", worse) > score(tmp_path, "niqe", reference) + 1
    assert score(tmp_path, "ssim", worse, reference) < 0.9
    assert score(tmp_path, "psnr", worse, reference) < 30
