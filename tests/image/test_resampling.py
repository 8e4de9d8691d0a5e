"""Resizing against Pillow, colour fixes against their formulas in numpy."""

import numpy as np
import pytest
from image_probe import run
from PIL import Image
from scipy import ndimage
from skimage import color

SIZES = [((37, 53), (74, 106)), ((37, 53), (16, 19)), ((64, 48), (5, 111)), ((5, 7), (4, 29)), ((1, 9), (3, 3)), ((60, 80), (15, 20))]


def resized(tmp_path, plane, height, width, kernel):
    plane.astype(np.float32).tofile(tmp_path / "in")
    run("resize", tmp_path / "in", tmp_path / "out", *plane.shape, height, width, kernel)
    return np.fromfile(tmp_path / "out", np.float32).reshape(height, width)


@pytest.mark.parametrize("size,target", SIZES)
@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "bilinear"])
def test_resizing_is_pillows(tmp_path, size, target, kernel):
    plane = np.random.default_rng(0).random(size, np.float32)
    method = {"bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS, "bilinear": Image.BILINEAR}[kernel]
    expected = np.asarray(Image.fromarray(plane).resize(target[::-1], method))
    np.testing.assert_allclose(resized(tmp_path, plane, *target, kernel), expected, atol=2e-6)


@pytest.mark.parametrize("size,target", SIZES)
def test_area_is_the_mean_over_each_pixels_footprint(tmp_path, size, target):
    plane = np.random.default_rng(1).random(size, np.float32)

    def coverage(from_, to):
        edges = np.arange(to + 1) * from_ / to
        low, high = edges[:-1, None], edges[1:, None]
        at = np.arange(from_)[None]
        return np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None) * to / from_

    expected = coverage(size[0], target[0]) @ plane @ coverage(size[1], target[1]).T
    np.testing.assert_allclose(resized(tmp_path, plane, *target, "area"), expected, atol=2e-6)


def fixed(tmp_path, name, content, style):
    content.astype(np.float32).tofile(tmp_path / "c")
    style.astype(np.float32).tofile(tmp_path / "s")
    run("color-fix", name, tmp_path / "c", tmp_path / "s", tmp_path / "o", *content.shape[1:])
    return np.fromfile(tmp_path / "o", np.float32).reshape(content.shape)


def pair(shape=(3, 45, 70)):
    random = np.random.default_rng(2)
    return random.uniform(0.2, 0.7, shape), random.uniform(0.1, 0.9, shape)


def test_wavelet_is_its_formula(tmp_path):
    content, style = pair()

    def low_and_high(image):
        high = np.zeros_like(image)
        for level in range(5):
            kernel = np.zeros((2 * 2**level + 1,) * 2)
            kernel[:: 2**level, :: 2**level] = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
            low = np.stack([ndimage.correlate(channel, kernel, mode="nearest") for channel in image])
            high += image - low
            image = low
        return image, high

    expected = low_and_high(content)[1] + low_and_high(style)[0]
    np.testing.assert_allclose(fixed(tmp_path, "wavelet", content, style), expected, atol=1e-5)


def test_tone_is_a_broad_blur_of_the_difference(tmp_path):
    """Beside the Gaussian itself, with sides that are no multiple of the cells. Catches: another breadth, and cells that are set back at another place."""
    y, x = np.mgrid[:450, :603] / 300
    content = np.stack([0.4 + 0.1 * np.sin(9 * x + c) * np.cos(11 * y) for c in range(3)])
    style = content + np.stack([0.1 * np.sin(2 * x + c) + 0.08 * y - 0.05 for c in range(3)])
    low = np.stack([ndimage.gaussian_filter(channel, 64, mode="nearest") for channel in style - content])
    got = fixed(tmp_path, "tone", content, style) - content
    inner = np.abs(got - low)[:, 150:-150, 150:-150]  # what lies beyond the borders is the outermost cells' means, not the outermost pixels
    assert np.ptp(low) > 0.05 and inner.max() < 2e-3 and np.abs(got - low).max() < 0.02


def test_adain_is_its_formula(tmp_path):
    content, style = pair()
    deviation = lambda x: np.sqrt(x.var((1, 2), ddof=1, keepdims=True) + 1e-5)  # noqa: E731
    mean = lambda x: x.mean((1, 2), keepdims=True)  # noqa: E731
    expected = (content - mean(content)) / deviation(content) * deviation(style) + mean(style)
    np.testing.assert_allclose(fixed(tmp_path, "adain", content, style), expected, atol=1e-5)


def test_lab_is_its_formula(tmp_path):
    random = np.random.default_rng(3)
    content = 0.5 + 0.08 * random.standard_normal((3, 40, 50))
    style = 0.5 + 0.05 * random.standard_normal((3, 40, 50)) + np.array([0.05, 0, -0.05])[:, None, None]
    a, b = (color.rgb2lab(np.moveaxis(np.clip(x, 0, 1), 0, -1)) for x in (content, style))
    for i in (1, 2):
        a[..., i] = (a[..., i] - a[..., i].mean()) / a[..., i].std() * b[..., i].std() + b[..., i].mean()
    expected = np.moveaxis(color.lab2rgb(a), -1, 0)
    got = fixed(tmp_path, "lab", np.clip(content, 0, 1), np.clip(style, 0, 1))
    assert np.abs(got - expected).max() < 2e-3 and np.abs(got - expected).mean() < 1e-4
