"""Our JPEG against Pillow's libjpeg-turbo: the same arithmetic, so every pixel is the same."""

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


@pytest.mark.parametrize("quality", [1, 2, 5, 30, 49, 50, 51, 60, 75, 83, 90, 95, 99, 100])
@pytest.mark.parametrize("picture", [photo, grain])
def test_every_pixel_is_libjpegs_at_every_quality(quality, picture):
    levels = picture(160, 208)
    np.testing.assert_array_equal(ours(levels, quality), pillow(levels, quality))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (3, 4), (5, 5), (8, 8), (7, 33), (16, 17), (17, 16), (31, 65), (64, 1), (33, 130)])
@pytest.mark.parametrize("picture", [photo, grain])
def test_every_pixel_is_libjpegs_at_sizes_that_need_padding(size, picture):
    levels = picture(*size)
    np.testing.assert_array_equal(ours(levels, 40), pillow(levels, 40))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (12, 200, 99)])
def test_flat_colours_come_back_as_from_libjpeg(colour):
    levels = np.full((24, 24, 3), colour, np.uint8)
    np.testing.assert_array_equal(ours(levels, 70), pillow(levels, 70))


def test_values_outside_the_range_are_clamped_first():
    levels = photo(32, 48)
    image = levels.transpose(2, 0, 1) / np.float32(255)
    beyond = np.where(image == 0, -0.4, np.where(image == 1, 1.7, image))
    np.testing.assert_array_equal(run("jpeg", 60, image=beyond), run("jpeg", 60, image=image))
