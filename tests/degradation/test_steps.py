"""Kernels, filter and resize against numpy, scipy and torch."""

import numpy as np
import pytest
import torch
from degradation_probe import KINDS, MODES, kernel_arguments, run
from scipy.special import j1


def reference_kernel(kind, size, sigma_x, sigma_y, angle, beta, cutoff):
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    if kind == "sinc":
        r = np.hypot(x, y)
        with np.errstate(invalid="ignore"):
            kernel = np.where(r == 0, cutoff**2 / (4 * np.pi), cutoff * j1(cutoff * r) / (2 * np.pi * r))
        return kernel / kernel.sum()
    if kind.endswith("_isotropic") or kind == "isotropic":
        sigma_y, angle = sigma_x, 0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    points = np.stack([x, y], -1)
    distance = np.einsum("yxi,ij,yxj->yx", points, inverse, points)
    if kind.startswith("plateau"):
        kernel = 1 / (distance**beta + 1)
    elif kind.startswith("generalised"):
        kernel = np.exp(-0.5 * distance**beta)
    else:
        kernel = np.exp(-0.5 * distance)
    return kernel / kernel.sum()


SHAPES = [(7, 0.2, 1.5, 0.3, 0.5, 3.1), (9, 1.1, 2.7, -2.0, 1.7, 1.1), (13, 3.0, 0.4, 1.2, 4.0, 0.7), (21, 2.2, 3.0, 2.9, 0.8, 2.0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_follow_their_formulas(kind, shape):
    size = shape[0]
    ours = run("kernel", *kernel_arguments(kind, *shape)).reshape(size, size)
    assert np.abs(ours - reference_kernel(kind, *shape)).max() < 2e-7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 61), (12, 30), (4, 5), (1, 1), (1, 50)])
def test_filter_is_a_correlation_with_a_reflected_border(kind, size):
    image = np.random.default_rng(0).random((3, *size), np.float32)
    shape = SHAPES[3]
    ours = run("filter", *kernel_arguments(kind, *shape), image=image).reshape(image.shape)
    half = shape[0] // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), "reflect" if min(size) > 1 else "symmetric")
    if min(size) == 1 and max(size) > 1:  # numpy's reflect refuses an axis of one pixel only for "reflect"
        padded = np.pad(np.repeat(image, 2 * half + 1, axis=1), ((0, 0), (0, 0), (half, half)), "reflect")
    kernel = torch.from_numpy(reference_kernel(kind, *shape))[None, None]
    wanted = torch.nn.functional.conv2d(torch.from_numpy(padded).double()[:, None], kernel)[:, 0].numpy()
    assert np.abs(ours - wanted).max() < 3e-6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [((37, 50), (18, 31)), ((20, 33), (29, 40)), ((64, 64), (64, 64)), ((2, 3), (5, 1)), ((1, 1), (3, 2)), ((100, 9), (7, 9))])
def test_resize_to_a_size_is_torchs_interpolate(mode, sizes):
    image = torch.rand(3, *sizes[0], generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(image[None], size=sizes[1], mode=mode)[0].numpy()
    ours = run("resize", *sizes[1], MODES.index(mode), 0, image=image.numpy()).reshape(wanted.shape)
    assert np.abs(ours - wanted).max() < 1e-5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [0.15, 0.37, 0.731, 1.0, 1.29, 1.5])
def test_resize_by_a_factor_is_torchs_interpolate(mode, factor):
    image = torch.rand(3, 45, 70, generator=torch.Generator().manual_seed(1))
    wanted = torch.nn.functional.interpolate(image[None], scale_factor=factor, mode=mode)[0].numpy()
    ours = run("resize", *wanted.shape[1:], MODES.index(mode), factor, image=image.numpy()).reshape(wanted.shape)
    assert np.abs(ours - wanted).max() < 3e-5
