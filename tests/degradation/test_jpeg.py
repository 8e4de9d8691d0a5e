"""Our JPEG against Pillow's libjpeg-turbo: the same tables and rounding, so only the integer DCT's last bit may differ."""

import io

import numpy as np
import pytest
from PIL import Image
from degradation_probe import run
from skimage import data


def pillow(levels, quality):  # [H, W, 3] uint8 -> the same after saving and loading
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file).convert("RGB")).astype(np.int32)


def ours(levels, quality):
    height, width = levels.shape[:2]
    flat = run("jpeg", quality, image=levels.transpose(2, 0, 1) / np.float32(255))
    return np.rint(flat.reshape(3, height, width).transpose(1, 2, 0) * 255).astype(np.int32)


def photo(height, width):
    rows, columns = np.arange(height) % 300, np.arange(width) % 400
    return np.ascontiguousarray(data.astronaut()[rows][:, columns])


def grain(height, width):  # the hardest content: every coefficient is large
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("quality", [1, 5, 30, 49, 50, 60, 75, 90, 95, 100])
@pytest.mark.parametrize("picture", [photo, grain])
def test_agrees_with_libjpeg_at_every_quality(quality, picture):
    levels = picture(160, 208)
    difference = np.abs(ours(levels, quality) - pillow(levels, quality))
    print(picture.__name__, quality, difference.mean(), difference.max())
    assert difference.mean() < 0.1
    assert difference.max() <= 12


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (3, 4), (5, 5), (8, 8), (7, 33), (16, 17), (17, 16), (31, 65), (64, 1), (33, 130)])
def test_agrees_with_libjpeg_at_sizes_that_need_padding(size):
    for picture in (photo, grain):
        levels = picture(*size)
        difference = np.abs(ours(levels, 40) - pillow(levels, 40))
        assert difference.mean() < 0.25, (picture.__name__, size)
        assert difference.max() <= 12


def test_flat_colours_come_back_as_from_libjpeg():
    for colour in [(0, 0, 0), (255, 255, 255), (255, 0, 0), (12, 200, 99)]:
        levels = np.full((24, 24, 3), colour, np.uint8)
        assert np.abs(ours(levels, 70) - pillow(levels, 70)).max() <= 1
